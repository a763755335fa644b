//! timm's `config.json`, in which `pretrained_cfg` says what the weights were trained with.
//!
//! The size that an image is resized to depends on that of the exported network's input, not on the one in the file: timm
//! divides it by `crop_pct`. An input that is not square is covered in proportion, as `transforms_imagenet_eval` does it.

use serde_json::Value;

use super::{FILTERS, Table, interpolation, per_channel, refused, setting, shown, size};
use crate::preprocess::{CropRounding, ResizeMode};
use crate::registry::recipe::{Recipe, Resize, Setting};

/// What a `config.json` says of preprocessing; of Hugging Face's that is no more than the size of the input.
pub(in crate::registry) fn config_recipe(source: String, config: &Table) -> Recipe {
    let nested = config.get("pretrained_cfg").and_then(Value::as_object);
    let own = (config.contains_key("input_size") && config.contains_key("mean")).then_some(config);
    match nested.or(own) {
        Some(config) => recipe(source, config),
        None => Recipe {
            input: config.get("image_size").and_then(size),
            source,
            unread: no_sizes(config, &["image_size"]),
            ..Recipe::default()
        },
    }
}

/// Names and values of these keys whose values are no sizes.
fn no_sizes(config: &Table, keys: &[&str]) -> Vec<String> {
    let said = keys.iter().filter_map(|key| Some((key, config.get(*key)?)));
    said.filter(|(_, value)| !value.is_null() && size(value).is_none())
        .map(|(key, value)| format!("{key} is {}", shown(value)))
        .collect()
}

/// What a `pretrained_cfg` says.
pub(super) fn recipe(source: String, config: &Table) -> Recipe {
    let input = |key: &str| config.get(key).and_then(size);
    let positive = |value: &Value| value.as_f64().filter(|share| *share > 0.0);
    let share = |key: &str| setting(config, key, positive, "expected a number above 0");
    let resize = match (share("crop_pct"), share("test_crop_pct")) {
        (Setting::Refused(reason), _) | (_, Setting::Refused(reason)) => Setting::Refused(reason),
        (usual, of_test) => {
            let said = |share| match share {
                Setting::Said(share) => Some(share),
                _ => None,
            };
            let usual = said(usual).unwrap_or(DEFAULT_CROP_PCT);
            let of_test = said(of_test).unwrap_or(usual);
            let test = input("test_input_size").map(|test| (test, of_test));
            Setting::Said(Resize::Share(usual, test))
        }
    };
    Recipe {
        source,
        resize,
        resize_mode: match config.get("crop_mode").unwrap_or(&Value::Null) {
            Value::Null => Setting::Said(ResizeMode::ShorterSide),
            mode => match mode.as_str() {
                Some("center") => Setting::Said(ResizeMode::ShorterSide),
                Some("squash") => Setting::Said(ResizeMode::Stretch),
                _ => refused("crop_mode", mode, "allowed are \"center\" and \"squash\""),
            },
        },
        interpolation: setting(config, "interpolation", interpolation, FILTERS),
        crop: Setting::Silent,
        crop_rounding: Setting::Said(CropRounding::HalfEven),
        channels: Setting::Said(Default::default()),
        scale: Setting::Said(1.0),
        mean: setting(config, "mean", per_channel, "expected three numbers"),
        std: setting(config, "std", per_channel, "expected three numbers"),
        input: input("input_size"),
        unread: no_sizes(config, &["input_size", "test_input_size"]),
        decides: false,
    }
}

/// timm's own default.
///
/// Source: `DEFAULT_CROP_PCT` in `timm/data/constants.py`.
const DEFAULT_CROP_PCT: f64 = 0.875;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{Interpolation, PreprocessSpec};
    use crate::registry::recipe::Recipes;
    use crate::tensor::Size;
    use serde_json::json;

    const SIZE: Size = Size::square(224);

    fn whole(config: &Value, size: Size) -> Result<PreprocessSpec, String> {
        let recipe = config_recipe("config.json".into(), config.as_object().expect("a table"));
        Ok(Recipes(vec![recipe]).whole(size, None)?.0)
    }

    fn resnet50() -> Value {
        json!({"architecture": "resnet50", "num_classes": 1000, "pretrained_cfg": {
            "input_size": [3, 224, 224], "fixed_input_size": false, "interpolation": "bicubic", "crop_pct": 0.95,
            "crop_mode": "center", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "num_classes": 1000,
            "test_input_size": [3, 288, 288], "test_crop_pct": 1.0}})
    }

    #[test]
    fn pretrained_cfg_is_scaled_to_the_side_of_the_network() {
        for (side, resize) in [(224, 235), (288, 288), (160, 168)] {
            let size = Size::square(side);
            let spec = whole(&resnet50(), size).expect("honoured");
            assert_eq!((spec.crop, spec.resize), (size, Size::square(resize)));
            assert_eq!(spec.interpolation, Interpolation::Bicubic);
            assert_eq!((spec.mean, spec.std), ([0.5; 3], [0.5; 3]));
        }
        let flat = resnet50()["pretrained_cfg"].clone();
        assert_eq!(whole(&flat, SIZE), whole(&resnet50(), SIZE));
        let mut squash = resnet50();
        squash["pretrained_cfg"]["crop_mode"] = json!("squash");
        let spec = whole(&squash, SIZE).expect("honoured");
        assert_eq!(spec.resize_mode, ResizeMode::Stretch);
    }

    #[test]
    fn input_that_is_not_square_is_covered_or_squashed() {
        let tall = Size {
            height: 288,
            width: 160,
        };
        let resized = Size {
            height: 303,
            width: 168,
        };
        let mut config = resnet50();
        for (crop_mode, mode) in [
            ("center", ResizeMode::Cover),
            ("squash", ResizeMode::Stretch),
        ] {
            config["pretrained_cfg"]["crop_mode"] = json!(crop_mode);
            let spec = whole(&config, tall).expect("honoured");
            assert_eq!(
                (spec.crop, spec.resize, spec.resize_mode),
                (tall, resized, mode)
            );
        }
        config["pretrained_cfg"]["test_input_size"] = json!([3, 288, 160]);
        let spec = whole(&config, tall).expect("honoured");
        assert_eq!(spec.resize, tall);
    }

    #[test]
    fn size_of_an_open_network_is_said() {
        let recipe =
            |config: &Value| config_recipe(String::new(), config.as_object().expect("a table"));
        let tall = Size {
            height: 256,
            width: 192,
        };
        assert_eq!(recipe(&resnet50()).input, Some(SIZE));
        for (config, size) in [
            (json!({"image_size": 384}), Size::square(384)),
            (json!({"image_size": [192, 192]}), Size::square(192)),
            (json!({"image_size": [256, 192]}), tall),
            (
                json!({"pretrained_cfg": {"input_size": [3, 256, 192]}}),
                tall,
            ),
        ] {
            assert_eq!(recipe(&config).input, Some(size), "{config}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_key_and_value() {
        for (key, value, words) in [
            ("crop_mode", json!("border"), "crop_mode is \"border\""),
            (
                "interpolation",
                json!("lanczos"),
                "interpolation is \"lanczos\"",
            ),
            (
                "mean",
                json!([0.5, 0.5]),
                "mean is [0.5,0.5], expected three numbers",
            ),
            ("crop_pct", json!(0), "crop_pct is 0"),
            ("test_crop_pct", json!("x"), "test_crop_pct is \"x\""),
        ] {
            let mut config = resnet50();
            config["pretrained_cfg"][key] = value;
            let error = whole(&config, SIZE).expect_err(key);
            assert!(
                error.starts_with(&format!("config.json: {words}")),
                "{error}"
            );
        }
    }
}
