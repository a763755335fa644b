//! Hugging Face's `preprocessor_config.json`.
//!
//! Source: the image processors of transformers, whose defaults differ by class; where a file leaves a key out, the
//! class that it names decides.

mod colors;
mod geometry;

use serde_json::Value;

use super::{Table, interpolation, refused, setting, shown, timm};
use crate::preprocess::Interpolation;
use crate::registry::recipe::{Recipe, Setting};

use self::colors::set_colors;
use self::geometry::set_geometry;

/// What a `preprocessor_config.json` says.
pub(in crate::registry) fn preprocessor_recipe(source: String, config: &Table) -> Recipe {
    if let Some(config) = config.get("pretrained_cfg").and_then(Value::as_object) {
        return timm::recipe(source, config);
    }
    let mut recipe = Recipe {
        source,
        interpolation: match setting(config, "resample", resample, RESAMPLE) {
            Setting::Silent => default_filter(config),
            said => said,
        },
        ..Recipe::default()
    };
    set_geometry(&mut recipe, config);
    set_colors(&mut recipe, config);
    if let Some((key, value)) = config
        .iter()
        .find(|(key, value)| is_unknown_step(key, value))
    {
        recipe.resize = refused(key, value, "which is not done here");
    }
    let is_no_flag = |(key, value): &(&String, &Value)| {
        let is_flag = key.starts_with("do_") || FLAGS.contains(&key.as_str());
        is_flag && !value.is_boolean() && !value.is_null()
    };
    if let Some((key, value)) = config.iter().find(is_no_flag) {
        recipe.resize = refused(key, value, "expected true or false");
    }
    let unread = config.iter().filter(|(key, value)| {
        is_on(value) && !KNOWN.contains(&key.as_str()) && !is_unknown_step(key, value)
    });
    recipe.unread = unread
        .map(|(key, value)| format!("{key} is {}", shown(value)))
        .collect();
    recipe
}

/// Pillow's numbers of the filters, or their names.
fn resample(value: &Value) -> Option<Interpolation> {
    match value.as_u64() {
        Some(2) => Some(Interpolation::Bilinear),
        Some(3) => Some(Interpolation::Bicubic),
        Some(_) => None,
        None => interpolation(value),
    }
}

/// The filter of a class whose file names none.
fn default_filter(config: &Table) -> Setting<Interpolation> {
    const BICUBIC: [&str; 8] = [
        "Beit",
        "Bit",
        "CLIP",
        "ConvNext",
        "DeiT",
        "EfficientFormer",
        "Levit",
        "PoolFormer",
    ];
    const BILINEAR: [&str; 5] = ["MobileNet", "MobileViT", "Pvt", "TextNet", "ViT"];
    if is_class(config, &["EfficientNet"]) {
        return refused("resample", &Value::from(0), RESAMPLE);
    }
    match (is_class(config, &BICUBIC), is_class(config, &BILINEAR)) {
        (true, _) => Setting::Said(Interpolation::Bicubic),
        (_, true) => Setting::Said(Interpolation::Bilinear),
        _ => Setting::Silent,
    }
}

/// Whether a file is of one of these classes of image processors.
fn is_class(config: &Table, names: &[&str]) -> bool {
    let keys = ["image_processor_type", "feature_extractor_type"];
    let class = keys.iter().find_map(|key| config.get(*key)?.as_str());
    class.is_some_and(|class| names.iter().any(|name| class.starts_with(name)))
}

const RESAMPLE: &str = "allowed are 2 (bilinear) and 3 (bicubic)";

/// Keys that switch something on or off and do not say so by their name.
const FLAGS: [&str; 4] = [
    "default_to_square",
    "include_top",
    "offset",
    "rescale_offset",
];

/// Keys that are read, or that change no pixel.
const KNOWN: [&str; 32] = [
    "do_resize",
    "size",
    "default_to_square",
    "crop_pct",
    "resample",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "rescale_offset",
    "offset",
    "do_normalize",
    "image_mean",
    "image_std",
    "include_top",
    "do_flip_channel_order",
    "do_convert_rgb",
    // of segmentation maps
    "do_reduce_labels",
    "do_convert_annotations",
    "image_processor_type",
    "feature_extractor_type",
    "processor_class",
    "auto_map",
    "_valid_processor_keys",
    "data_format",
    "input_data_format",
    "return_tensors",
    "device",
    "disable_grouping",
    "num_channels",
    "transformers_version",
    "name_or_path",
];

/// Whether a key stands for a step that changes pixels and is done by none of ours.
fn is_unknown_step(key: &str, value: &Value) -> bool {
    const GEOMETRY: [&str; 6] = [
        "size_divisor",
        "size_divisibility",
        "keep_aspect_ratio",
        "ensure_multiple_of",
        "pad_size",
        "max_size",
    ];
    let is_step = key.starts_with("do_") || GEOMETRY.contains(&key);
    let is_one = key == "ensure_multiple_of" && value.as_u64() == Some(1);
    is_step && is_on(value) && !is_one && !KNOWN.contains(&key)
}

fn is_on(value: &Value) -> bool {
    value != &Value::Bool(false) && !value.is_null()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::PreprocessSpec;
    use crate::preprocess::{Channels, CropRounding, ResizeMode};
    use crate::registry::recipe::Recipes;
    use crate::tensor::Size;
    use serde_json::json;

    pub(super) fn whole(config: &Value, side: u32) -> Result<PreprocessSpec, String> {
        whole_of(config, Size::square(side))
    }

    pub(super) fn whole_of(config: &Value, size: Size) -> Result<PreprocessSpec, String> {
        let recipe = preprocessor_recipe(
            "preprocessor_config.json".into(),
            config.as_object().expect("a table"),
        );
        Ok(Recipes(vec![recipe]).whole(size, None)?.0)
    }

    pub(super) fn with(mut config: Value, changes: &[(&str, Value)]) -> Value {
        for (key, value) in changes {
            config[*key] = value.clone();
        }
        config
    }

    /// The configuration of `google/vit-base-patch16-224`.
    pub(super) fn vit() -> Value {
        json!({"do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "ViTImageProcessor", "image_std": [0.5, 0.5, 0.5], "resample": 2,
            "rescale_factor": 0.00392156862745098, "size": {"height": 224, "width": 224}})
    }

    /// The configuration of `microsoft/resnet-50`.
    pub(super) fn resnet() -> Value {
        json!({"crop_pct": 0.875, "do_normalize": true, "do_resize": true,
            "feature_extractor_type": "ConvNextFeatureExtractor", "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225], "resample": 3, "size": 224})
    }

    /// The configuration of `apple/mobilevit-small`.
    fn mobilevit() -> Value {
        json!({"crop_size": {"height": 256, "width": 256}, "do_center_crop": true, "do_flip_channel_order": true,
            "do_rescale": true, "do_resize": true, "image_processor_type": "MobileViTImageProcessor", "resample": 2,
            "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 288}})
    }

    #[test]
    fn files_of_the_hub_mean_what_their_processors_do() {
        let vit = whole(&vit(), 224).expect("honoured");
        assert_eq!(
            (vit.resize, vit.resize_mode, vit.crop),
            (Size::square(224), ResizeMode::Stretch, Size::square(224))
        );
        assert_eq!((vit.mean, vit.std, vit.scale), ([0.5; 3], [0.5; 3], 1.0));

        let resnet = whole(&resnet(), 224).expect("honoured");
        assert_eq!(
            resnet,
            PreprocessSpec {
                interpolation: Interpolation::Bicubic,
                crop_rounding: CropRounding::Down,
                ..PreprocessSpec::default()
            }
        );

        let mobilevit = whole(&mobilevit(), 256).expect("honoured");
        assert_eq!(
            (mobilevit.resize, mobilevit.crop),
            (Size::square(288), Size::square(256))
        );
        assert_eq!((mobilevit.channels, mobilevit.scale), (Channels::Bgr, 1.0));
        assert_eq!((mobilevit.mean, mobilevit.std), ([0.0; 3], [1.0; 3]));
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_key_and_value() {
        for (key, value, words) in [
            (
                "resample",
                json!(1),
                "resample is 1, allowed are 2 (bilinear) and 3 (bicubic)",
            ),
            ("resample", json!(0), "resample is 0, allowed"),
            (
                "do_resize",
                json!(false),
                "do_resize is false, but images come in any size",
            ),
            (
                "do_pad",
                json!(true),
                "do_pad is true, which is not done here",
            ),
            ("do_thumbnail", json!(true), "do_thumbnail is true"),
            (
                "do_rescale",
                json!("false"),
                "do_rescale is \"false\", expected true or false",
            ),
            (
                "crop_pct",
                json!(0),
                "crop_pct is 0, expected a number above 0",
            ),
            ("crop_pct", json!("x"), "crop_pct is \"x\""),
            ("size_divisor", json!(32), "size_divisor is 32"),
            (
                "size",
                json!({"height": 224}),
                "size is {\"height\":224}, expected one side, or height and width",
            ),
            (
                "size",
                json!({"longest_edge": 224}),
                "size is {\"longest_edge\":224}",
            ),
            (
                "size",
                json!({"shortest_edge": 224}),
                "do_center_crop is not true with the size",
            ),
            (
                "image_mean",
                json!([0.5, 0.5]),
                "image_mean is [0.5,0.5], expected three numbers",
            ),
            (
                "size",
                json!(null),
                "size is not given: say resize and crop in model.toml",
            ),
            (
                "rescale_offset",
                json!(true),
                "rescale_offset is true, with do_normalize true",
            ),
            ("include_top", json!(true), "include_top is true"),
            ("rescale_factor", json!("x"), "rescale_factor is \"x\""),
            (
                "offset",
                json!("yes"),
                "offset is \"yes\", expected true or false",
            ),
        ] {
            let error = whole(&with(vit(), &[(key, value)]), 224).expect_err(words);
            assert!(error.starts_with("preprocessor_config.json: "), "{error}");
            assert!(error.contains(words), "{words}: {error}");
        }
        let unknown = [
            ("image_processor_type", json!("X")),
            ("image_mean", json!(null)),
        ];
        let error = whole(&with(vit(), &unknown), 224).expect_err("no mean");
        let words = "do_normalize is true, but image_mean is not given";
        assert!(error.contains(words), "{error}");
        let error = whole(&vit(), 192).expect_err("another side");
        assert!(
            error.contains(
                "crops to 224, the network takes 192 (preprocessor_config.json says crop)"
            ),
            "{error}"
        );
        for (key, value) in [
            ("do_pad", json!(false)),
            ("do_convert_rgb", json!(true)),
            ("size_divisor", json!(null)),
            ("ensure_multiple_of", json!(1)),
        ] {
            whole(&with(vit(), &[(key, value)]), 224).expect(key);
        }
    }

    #[test]
    fn what_a_file_leaves_out_is_as_its_class_has_it() {
        let file = |class: &str, side: u32| {
            let config = json!({"image_processor_type": class, "size": {"shortest_edge": side},
                "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]});
            whole(&config, side).expect(class)
        };
        let pool = file("PoolFormerImageProcessor", 224);
        assert_eq!(
            (pool.resize, pool.interpolation),
            (Size::square(248), Interpolation::Bicubic)
        );
        let convnext = file("ConvNextImageProcessorFast", 224);
        assert_eq!(
            (convnext.resize, convnext.interpolation),
            (Size::square(256), Interpolation::Bicubic)
        );
        let mobile = file("MobileViTImageProcessor", 256);
        assert_eq!(
            (mobile.resize, mobile.channels),
            (Size::square(256), Channels::Bgr)
        );
        assert_eq!(mobile.interpolation, Interpolation::Bilinear);
        let efficient = json!({"image_processor_type": "EfficientNetImageProcessor", "size": 224});
        let error = whole(&efficient, 224).expect_err("nearest");
        assert!(error.contains("resample is 0"), "{error}");
        let nothing = whole(&json!({"size": 224}), 224).expect("honoured");
        assert_eq!(
            (nothing.mean, nothing.scale),
            (crate::preprocess::IMAGENET_MEAN, 1.0)
        );
    }

    #[test]
    fn key_that_is_not_known_is_said() {
        let config = with(vit(), &[("gamma", json!(2.2)), ("beta", json!(false))]);
        let recipe = preprocessor_recipe(String::new(), config.as_object().expect("a table"));
        assert_eq!(recipe.unread, ["gamma is 2.2"]);
        for config in [vit(), resnet(), mobilevit()] {
            let recipe = preprocessor_recipe(String::new(), config.as_object().expect("a table"));
            assert!(recipe.unread.is_empty(), "{:?}", recipe.unread);
        }
    }
}
