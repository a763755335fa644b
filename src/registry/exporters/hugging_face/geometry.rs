//! Resize and crop of a `preprocessor_config.json`.

use serde_json::Value;

use super::super::{Table, refused, setting, shown, side, size};
use super::is_class;
use crate::preprocess::{CropRounding, ResizeMode};
use crate::registry::recipe::{Recipe, Resize, Setting};
use crate::tensor::Size;

/// The size that a file gives, and what becomes it.
type Target = (Size, ResizeMode);

/// Classes for which a plain number is the shorter side; for the others it is both sides.
const SHORTER_SIDE: [&str; 9] = [
    "Bit",
    "CLIP",
    "ConvNext",
    "EfficientFormer",
    "Levit",
    "MobileNet",
    "MobileViT",
    "PoolFormer",
    "TextNet",
];

/// Classes that cut a crop out where a file does not say so.
const CROPS: [&str; 9] = [
    "Bit",
    "CLIP",
    "DeiT",
    "EfficientFormer",
    "Levit",
    "MobileNet",
    "MobileViT",
    "PoolFormer",
    "TextNet",
];

/// Whether a plain number is the shorter side.
fn is_shorter_side(config: &Table) -> bool {
    match config.get("default_to_square").and_then(Value::as_bool) {
        Some(square) => !square,
        None => is_class(config, &SHORTER_SIDE),
    }
}

/// Sets size and crop, or why one of them cannot be honoured.
pub(super) fn set_geometry(recipe: &mut Recipe, config: &Table) {
    let has = |key: &str| config.get(key).is_some_and(|value| !value.is_null());
    // Files that name no class are as old as the first one that has `crop_pct`.
    let names_class = has("image_processor_type") || has("feature_extractor_type");
    let is_old = !names_class && has("crop_pct") && !has("do_center_crop");
    let is_convnext = is_class(config, &["ConvNext"]) || is_old;
    let off = |key: &str| config.get(key) == Some(&Value::Bool(false));
    if off("do_resize") {
        let reason = "but images come in any size: say resize and crop in model.toml";
        recipe.resize = Setting::Refused(format!("do_resize is false, {reason}"));
        return;
    }
    let shorter = is_shorter_side(config);
    let (given, mut mode) = match config.get("size").unwrap_or(&Value::Null) {
        Value::Null => {
            if names_class {
                let reason = "size is not given: say resize and crop in model.toml".to_owned();
                recipe.resize = Setting::Refused(reason);
            }
            return;
        }
        value => match target(value, shorter) {
            Some(target) if !is_convnext || target.0.is_square() => target,
            _ => {
                let expected = match is_convnext {
                    true => "expected one side",
                    false => "expected one side, or height and width",
                };
                recipe.resize = refused("size", value, expected);
                return;
            }
        },
    };
    let positive = |value: &Value| value.as_f64().filter(|share| *share > 0.0);
    let share = match setting(config, "crop_pct", positive, "expected a number above 0") {
        // PoolFormer's own, unless it is switched off.
        Setting::Silent
            if is_class(config, &["PoolFormer"]) && !config.contains_key("crop_pct") =>
        {
            Some(0.9)
        }
        Setting::Silent => None,
        Setting::Said(share) => Some(share),
        Setting::Refused(reason) => {
            recipe.resize = Setting::Refused(reason);
            return;
        }
    };
    let crops = match config.get("do_center_crop") {
        Some(Value::Bool(crops)) => *crops,
        _ => has("crop_size") || is_class(config, &CROPS),
    };
    let mut resize = Resize::Pixels(given);
    let mut crop = match crops {
        true => setting(config, "crop_size", size, "expected height and width"),
        false => Setting::Said(given),
    };
    let shared = |share: f64| given.map(|side| (f64::from(side) / share) as u32);
    if is_convnext {
        // From 384 pixels on it is stretched, below a crop is cut out of a larger image.
        let share = share.unwrap_or(224.0 / 256.0);
        (resize, mode) = match given.height >= 384 {
            true => (Resize::Pixels(given), ResizeMode::Stretch),
            false => (Resize::Share(share, None), ResizeMode::ShorterSide),
        };
        crop = Setting::Said(given);
    } else if let Some(share) = share {
        resize = Resize::Pixels(shared(share));
        mode = match given.is_square() {
            true => ResizeMode::ShorterSide,
            false => ResizeMode::Stretch,
        };
    } else if is_class(config, &["Levit"]) && mode == ResizeMode::ShorterSide {
        let larger = |side: u32| (256.0 / 224.0 * f64::from(side)) as u32;
        resize = Resize::Pixels(given.map(larger));
    }
    if mode == ResizeMode::ShorterSide && !crops && !is_convnext {
        crop = Setting::Refused(format!(
            "do_center_crop is not true with the size {}, which leaves pictures that are not square: say crop in model.toml",
            shown(&config["size"])
        ));
    }
    recipe.resize = Setting::Said(resize);
    recipe.resize_mode = Setting::Said(mode);
    recipe.crop = crop;
    recipe.crop_rounding = Setting::Said(CropRounding::Down);
}

/// A number, height and width, or the length of the shorter side.
fn target(value: &Value, shorter: bool) -> Option<Target> {
    let edge = |key: &str| value.get(key).filter(|value| !value.is_null());
    match (edge("shortest_edge"), edge("longest_edge")) {
        (Some(shortest), None) => {
            let side = side(shortest)?;
            Some((Size::square(side), ResizeMode::ShorterSide))
        }
        (None, None) => Some((
            size(value)?,
            match shorter && value.is_number() {
                true => ResizeMode::ShorterSide,
                false => ResizeMode::Stretch,
            },
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{resnet, vit, whole, whole_of, with};
    use super::*;
    use serde_json::json;

    #[test]
    fn size_is_read_in_every_form() {
        let stretch = |changes: &[(&str, Value)], side| {
            let spec = whole(&with(vit(), changes), side).expect("honoured");
            assert_eq!(
                (spec.crop, spec.crop_rounding),
                (Size::square(side), CropRounding::Down)
            );
            assert!(spec.resize.is_square());
            (spec.resize.height, spec.resize_mode, spec.crop.height)
        };
        let size = |value: Value| ("size", value);
        let both = ResizeMode::Stretch;
        let shorter = ResizeMode::ShorterSide;
        assert_eq!(stretch(&[size(json!(384))], 384), (384, both, 384));
        assert_eq!(stretch(&[size(json!([384, 384]))], 384), (384, both, 384));
        let cut = [
            size(json!({"shortest_edge": 256})),
            ("do_center_crop", json!(true)),
            ("crop_size", json!(224)),
        ];
        assert_eq!(stretch(&cut, 224), (256, shorter, 224));
        let cut = [
            size(json!(256)),
            ("do_center_crop", json!(true)),
            ("crop_size", json!({"height": 224, "width": 224})),
        ];
        assert_eq!(stretch(&cut, 224), (256, both, 224));
        let large =
            whole(&with(resnet(), &[size(json!({"shortest_edge": 384}))]), 384).expect("honoured");
        assert_eq!(
            (large.resize, large.resize_mode, large.crop),
            (Size::square(384), both, Size::square(384))
        );
        let mut old = with(resnet(), &[]);
        old.as_object_mut()
            .expect("a table")
            .remove("feature_extractor_type");
        let old = whole(&old, 224).expect("honoured");
        assert_eq!((old.resize, old.resize_mode), (Size::square(256), shorter));
        let levit = [
            ("image_processor_type", json!("LevitImageProcessor")),
            size(json!({"shortest_edge": 224})),
            ("do_center_crop", json!(true)),
            ("crop_size", json!({"height": 224, "width": 224})),
        ];
        assert_eq!(stretch(&levit, 224), (256, shorter, 224));
    }

    #[test]
    fn height_and_width_may_differ() {
        let wide = Size {
            height: 192,
            width: 256,
        };
        let sizes = json!({"height": 192, "width": 256});
        for changes in [
            &[("size", sizes.clone())][..],
            &[("size", json!([192, 256]))],
            &[
                ("size", json!({"height": 192, "width": 256})),
                ("do_center_crop", json!(true)),
                ("crop_size", sizes.clone()),
            ],
        ] {
            let spec = whole_of(&with(vit(), changes), wide).expect("honoured");
            assert_eq!((spec.resize, spec.resize_mode), (wide, ResizeMode::Stretch));
        }
        let cut = [
            ("size", json!({"shortest_edge": 288})),
            ("do_center_crop", json!(true)),
            ("crop_size", sizes),
        ];
        let spec = whole_of(&with(vit(), &cut), wide).expect("honoured");
        assert_eq!(
            (spec.resize, spec.resize_mode),
            (Size::square(288), ResizeMode::ShorterSide)
        );
        let small = with(
            vit(),
            &[
                cut[1].clone(),
                cut[2].clone(),
                ("size", json!({"shortest_edge": 224})),
            ],
        );
        let error = whole_of(&small, wide).expect_err("pictures as narrow as 224");
        assert!(
            error.contains("crop is [192, 256], larger than resize 224"),
            "{error}"
        );
        // PoolFormer's share is one of both sides.
        let pool = [
            ("image_processor_type", json!("PoolFormerImageProcessor")),
            ("size", json!({"height": 192, "width": 256})),
            ("crop_size", json!({"height": 192, "width": 256})),
            ("crop_pct", json!(0.8)),
        ];
        let spec = whole_of(&with(vit(), &pool), wide).expect("honoured");
        let larger = Size {
            height: 240,
            width: 320,
        };
        assert_eq!(
            (spec.resize, spec.resize_mode),
            (larger, ResizeMode::Stretch)
        );
    }
}
