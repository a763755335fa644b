//! What exporters and hubs leave beside a model, or in its file, about preprocessing and classes.
//!
//! Called by `parts` with parsed JSON or the file's metadata; gives `Recipe`s and labels. What cannot be honoured is
//! refused by key and value, unless `model.toml` says otherwise.

mod hugging_face;
mod labels;
mod metadata;
mod timm;

use serde_json::{Map, Value};

use super::python_json;
use super::recipe::Setting;
use crate::preprocess::Interpolation;
use crate::tensor::{Sides, Size};

pub(super) use self::hugging_face::preprocessor_recipe;
pub(super) use self::labels::labels;
pub(super) use self::metadata::Metadata;
pub(super) use self::timm::config_recipe;

/// A table of JSON.
pub(super) type Table = Map<String, Value>;

/// Three numbers, one a channel; a single one, of a grey picture, stands for all.
fn per_channel(value: &Value) -> Option<[f32; 3]> {
    let number = |value: &Value| value.as_f64().map(|v| v as f32);
    match value {
        Value::Array(values) => match &values[..] {
            [r, g, b] => Some([number(r)?, number(g)?, number(b)?]),
            [grey] => number(grey).map(|v| [v; 3]),
            _ => None,
        },
        _ => number(value).map(|v| [v; 3]),
    }
}

/// The setting that a key's value is, refused by its name if it is none.
fn setting<T>(
    table: &Table,
    key: &str,
    read: impl Fn(&Value) -> Option<T>,
    expected: &str,
) -> Setting<T> {
    match table.get(key) {
        None | Some(Value::Null) => Setting::Silent,
        Some(value) => read(value).map_or_else(|| refused(key, value, expected), Setting::Said),
    }
}

/// A refusal of a key's value.
fn refused<T>(key: &str, value: &Value, expected: &str) -> Setting<T> {
    Setting::Refused(format!(
        "{key} is {}, {expected}; what model.toml says instead is served",
        shown(value)
    ))
}

/// The first characters of a value.
fn shown(value: &Value) -> String {
    python_json::shown(value, 80)
}

fn side(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|side| u32::try_from(side).ok())
}

/// `224`, `[224]`, `[height, width]`, `[channels, height, width]`, or a table of height and width.
fn sides(value: &Value) -> Option<Sides> {
    let two = |height, width| {
        Some(Sides::Two(Size {
            height: side(height)?,
            width: side(width)?,
        }))
    };
    match value {
        Value::Object(table) => two(table.get("height")?, table.get("width")?),
        Value::Array(sides) => match &sides[..] {
            [one] => side(one).map(Sides::One),
            [height, width] | [_, height, width] => two(height, width),
            _ => None,
        },
        one => side(one).map(Sides::One),
    }
}

/// A size in any form that [`sides`] reads.
fn size(value: &Value) -> Option<Size> {
    sides(value).map(Size::from)
}

/// `bilinear`, `BICUBIC`, `InterpolationMode.BILINEAR`.
fn interpolation(value: &Value) -> Option<Interpolation> {
    let name = value.as_str()?.to_lowercase();
    match name.rsplit('.').next().unwrap_or(&name) {
        "bilinear" => Some(Interpolation::Bilinear),
        "bicubic" => Some(Interpolation::Bicubic),
        _ => None,
    }
}

const FILTERS: &str = "allowed are bilinear and bicubic";
