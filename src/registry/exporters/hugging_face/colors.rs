//! Range, normalization and order of the colors of a `preprocessor_config.json`.

use serde_json::Value;

use super::super::{Table, per_channel, refused, setting};
use super::is_class;
use crate::preprocess::{Channels, IMAGENET_MEAN, IMAGENET_STD};
use crate::registry::recipe::{Recipe, Setting};

/// Sets what becomes of a pixel, or why it cannot be honoured.
pub(super) fn set_colors(recipe: &mut Recipe, config: &Table) {
    let flag = |key: &str| config.get(key).and_then(Value::as_bool);
    recipe.scale = match flag("do_rescale") {
        Some(false) => Setting::Said(255.0),
        _ => match config.get("rescale_factor").unwrap_or(&Value::Null) {
            Value::Null => Setting::Said(1.0),
            factor => match factor.as_f64().filter(|factor| *factor > 0.0) {
                Some(factor) => Setting::Said(scale_of(factor)),
                None => refused("rescale_factor", factor, "expected a number above 0"),
            },
        },
    };
    let is_mobilevit = is_class(config, &["MobileViT"]);
    let flips = flag("do_flip_channel_order").unwrap_or(is_mobilevit);
    recipe.channels = Setting::Said(match flips {
        true => Channels::Bgr,
        false => Channels::Rgb,
    });
    let normalizes = match flag("do_normalize") {
        Some(normalizes) => normalizes,
        None if config.contains_key("image_mean") => true,
        None if is_mobilevit => false,
        None if default_colors(config).is_some() => true,
        None => return,
    };
    let of_class = default_colors(config);
    let numbers = |key: &str, none: f32| match normalizes {
        false => Setting::Said([none; 3]),
        true => match (
            setting(config, key, per_channel, "expected three numbers"),
            of_class,
        ) {
            (Setting::Silent, Some((mean, std))) => Setting::Said(match key {
                "image_mean" => mean,
                _ => std,
            }),
            (Setting::Silent, None) => Setting::Refused(format!(
                "do_normalize is true, but {key} is not given: say mean and std in model.toml"
            )),
            // Channels are turned round last, what was subtracted before is in the order of RGB.
            (Setting::Said([r, g, b]), _) if flips => Setting::Said([b, g, r]),
            (said, _) => said,
        },
    };
    recipe.mean = numbers("image_mean", 0.0);
    recipe.std = numbers("image_std", 1.0);
    let offset = ["rescale_offset", "offset"]
        .into_iter()
        .find(|key| flag(key) == Some(true));
    if let Some(key) = offset {
        match normalizes {
            false => recipe.mean = Setting::Said([1.0; 3]),
            true => {
                recipe.mean = refused(
                    key,
                    &Value::Bool(true),
                    "with do_normalize true, which is not done here",
                )
            }
        }
    }
    if flag("include_top") == Some(true) {
        let expected = "by which pixels are divided by image_std twice, which is not done here";
        recipe.std = refused("include_top", &Value::Bool(true), expected);
    }
}

/// Mean and deviation of a class whose file names none.
///
/// Source: the constructors of transformers' image processors (`IMAGENET_STANDARD_MEAN`, `OPENAI_CLIP_MEAN`,
/// `IMAGENET_DEFAULT_MEAN`).
fn default_colors(config: &Table) -> Option<([f32; 3], [f32; 3])> {
    const CLIP: [&str; 3] = ["Bit", "CLIP", "ViTHybrid"];
    const HALF: [&str; 8] = [
        "Beit",
        "ConvNext",
        "DeiT",
        "EfficientNet",
        "MobileNetV1",
        "MobileNetV2",
        "Siglip",
        "ViT",
    ];
    const IMAGENET: [&str; 7] = [
        "EfficientFormer",
        "Levit",
        "Perceiver",
        "PoolFormer",
        "Pvt",
        "Segformer",
        "TextNet",
    ];
    // In this order: the name of one begins with that of another.
    if is_class(config, &CLIP) {
        let mean = [0.481_454_66, 0.457_827_5, 0.408_210_73];
        return Some((mean, [0.268_629_54, 0.261_302_6, 0.275_777_1]));
    }
    if is_class(config, &HALF) {
        return Some(([0.5; 3], [0.5; 3]));
    }
    is_class(config, &IMAGENET).then_some((IMAGENET_MEAN, IMAGENET_STD))
}

/// What white becomes by a factor that was printed with some digits: 1/255 is 1, 1/127.5 is 2.
fn scale_of(factor: f64) -> f32 {
    let scale = factor * 255.0;
    match (scale - scale.round()).abs() < 1e-5 * scale && scale >= 0.5 {
        true => scale.round() as f32,
        false => scale as f32,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{vit, whole, with};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_a_class_leaves_out_is_as_that_class_has_it() {
        let spec = |class: &str| {
            let changes = [
                ("image_processor_type", json!(class)),
                ("do_normalize", Value::Null),
                ("image_mean", Value::Null),
                ("image_std", Value::Null),
            ];
            whole(&with(vit(), &changes), 224).expect("honoured")
        };
        for (class, mean, std) in [
            ("ViTImageProcessor", 0.5, 0.5),
            ("ViTFeatureExtractor", 0.5, 0.5),
            ("ViTHybridImageProcessor", 0.481_454_66, 0.268_629_54),
            ("CLIPImageProcessorFast", 0.481_454_66, 0.268_629_54),
            ("DeiTImageProcessor", 0.5, 0.5),
            ("PvtImageProcessor", 0.485, 0.229),
        ] {
            let spec = spec(class);
            assert_eq!((spec.mean[0], spec.std[0]), (mean, std), "{class}");
        }
    }

    #[test]
    fn pixels_may_stay_as_stored_or_have_another_range() {
        let spec = |changes: &[(&str, Value)]| whole(&with(vit(), changes), 224).expect("honoured");
        let raw = spec(&[
            ("do_rescale", json!(false)),
            ("image_mean", json!([123.675, 116.28, 103.53])),
            ("image_std", json!([58.395, 57.12, 57.375])),
        ]);
        assert_eq!((raw.scale, raw.mean[0]), (255.0, 123.675));
        let none = spec(&[("do_rescale", json!(false)), ("do_normalize", json!(false))]);
        assert_eq!(
            (none.scale, none.mean, none.std),
            (255.0, [0.0; 3], [1.0; 3])
        );
        let offset = spec(&[
            ("rescale_factor", json!(1.0 / 127.5)),
            ("rescale_offset", json!(true)),
            ("do_normalize", json!(false)),
        ]);
        assert_eq!(
            (offset.scale, offset.mean, offset.std),
            (2.0, [1.0; 3], [1.0; 3])
        );
        let flipped = spec(&[
            ("do_flip_channel_order", json!(true)),
            ("image_mean", json!([0.1, 0.2, 0.3])),
        ]);
        assert_eq!(
            (flipped.channels, flipped.mean),
            (Channels::Bgr, [0.3, 0.2, 0.1])
        );
        assert_eq!(scale_of(1.0 / 256.0), 0.996_093_75);
        assert_eq!((scale_of(0.003_921_568), scale_of(1.0)), (1.0, 255.0));
    }
}
