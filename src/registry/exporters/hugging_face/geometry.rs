//! Resize and crop of a `preprocessor_config.json`.

use serde_json::Value;

use super::super::{Table, refused, setting, shown, side};
use super::is_class;
use crate::preprocess::ResizeMode;
use crate::registry::recipe::{Recipe, Resize, Setting};

/// The size that a file gives.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    ShorterSide(u32),
    Square(u32),
}

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
    let size = match config.get("size").unwrap_or(&Value::Null) {
        Value::Null => return,
        value => match size_of(value, shorter) {
            Some(size) => size,
            None => {
                let expected = "expected one side, or height and width that are equal";
                recipe.resize = refused("size", value, expected);
                return;
            }
        },
    };
    let (side, mut mode) = match size {
        Size::ShorterSide(side) => (side, ResizeMode::ShorterSide),
        Size::Square(side) => (side, ResizeMode::Stretch),
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
    let mut resize = Resize::Pixels(side);
    let mut crop = match crops {
        true => setting(
            config,
            "crop_size",
            square,
            "expected equal height and width",
        ),
        false => Setting::Said(side),
    };
    if is_convnext {
        // From 384 pixels on it is stretched, below a crop is cut out of a larger image.
        let share = share.unwrap_or(224.0 / 256.0);
        (resize, mode) = match side >= 384 {
            true => (Resize::Pixels(side), ResizeMode::Stretch),
            false => (Resize::Share(share, None), ResizeMode::ShorterSide),
        };
        crop = Setting::Said(side);
    } else if let Some(share) = share {
        resize = Resize::Pixels((f64::from(side) / share) as u32);
        mode = ResizeMode::ShorterSide;
    } else if is_class(config, &["Levit"]) {
        resize = Resize::Pixels((256.0 / 224.0 * f64::from(side)) as u32);
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
}

fn size_of(value: &Value, shorter: bool) -> Option<Size> {
    let Value::Object(table) = value else {
        let side = square(value)?;
        return Some(match shorter && !value.is_array() {
            true => Size::ShorterSide(side),
            false => Size::Square(side),
        });
    };
    let edge = |key: &str| table.get(key).filter(|value| !value.is_null());
    match (edge("shortest_edge"), edge("longest_edge")) {
        (Some(shortest), None) => side(shortest).map(Size::ShorterSide),
        (None, None) => square(value).map(Size::Square),
        _ => None,
    }
}

/// A side, `[side, side]`, or height and width that are equal.
fn square(value: &Value) -> Option<u32> {
    let (height, width) = match value {
        Value::Object(table) => (table.get("height")?, table.get("width")?),
        Value::Array(sides) => match &sides[..] {
            [height, width] => (height, width),
            _ => return None,
        },
        side => (side, side),
    };
    side(height).filter(|_| height == width)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{resnet, vit, whole, with};
    use super::*;
    use serde_json::json;

    #[test]
    fn size_is_read_in_every_form() {
        let stretch = |changes: &[(&str, Value)], side| {
            let spec = whole(&with(vit(), changes), side).expect("honoured");
            (spec.resize, spec.resize_mode, spec.crop)
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
            (384, both, 384)
        );
        let mut old = with(resnet(), &[]);
        old.as_object_mut()
            .expect("a table")
            .remove("feature_extractor_type");
        let old = whole(&old, 224).expect("honoured");
        assert_eq!((old.resize, old.resize_mode), (256, shorter));
        let levit = [
            ("image_processor_type", json!("LevitImageProcessor")),
            size(json!({"shortest_edge": 224})),
            ("do_center_crop", json!(true)),
            ("crop_size", json!({"height": 224, "width": 224})),
        ];
        assert_eq!(stretch(&levit, 224), (256, shorter, 224));
    }
}
