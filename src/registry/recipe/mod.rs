//! What each source says of a model's preprocessing.
//!
//! Filled by `parts` from `model.toml`, and by `exporters` from what they leave beside a model; `load` asks for the
//! whole.

mod whole;

use serde::Deserialize;

use crate::preprocess::{Channels, Interpolation, PreprocessSpec, ResizeMode};

pub(super) use self::whole::Recipes;

/// One setting of a source.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Setting<T> {
    /// Left to other sources.
    #[default]
    Silent,
    /// Its value.
    Said(T),
    /// What cannot be honoured: a sentence with key and value.
    Refused(String),
}

impl<T> From<Option<T>> for Setting<T> {
    fn from(value: Option<T>) -> Setting<T> {
        value.map_or(Setting::Silent, Setting::Said)
    }
}

/// The length that an image is resized to before the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Resize {
    /// In pixels.
    Pixels(u32),
    /// The crop divided by this share, rounded down; by another for a crop of that side.
    Share(f64, Option<(u32, f64)>),
}

/// What one source says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Recipe {
    /// Its name, for people.
    pub(super) source: String,
    pub(super) resize: Setting<Resize>,
    pub(super) resize_mode: Setting<ResizeMode>,
    pub(super) interpolation: Setting<Interpolation>,
    pub(super) crop: Setting<u32>,
    pub(super) channels: Setting<Channels>,
    pub(super) scale: Setting<f32>,
    pub(super) mean: Setting<[f32; 3]>,
    pub(super) std: Setting<[f32; 3]>,
    /// Side of the input, for a network that leaves it open.
    pub(super) side: Option<u32>,
    /// Keys and values that nothing here knows.
    pub(super) unread: Vec<String>,
}

/// The `[preprocess]` table of a `model.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    resize: Option<u32>,
    resize_mode: Option<ResizeMode>,
    interpolation: Option<Interpolation>,
    crop: Option<u32>,
    channels: Option<Channels>,
    scale: Option<f32>,
    mean: Option<ByChannel>,
    std: Option<ByChannel>,
}

/// A number for each channel, or one for all.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(try_from = "Vec<f32>")]
struct ByChannel([f32; 3]);

impl TryFrom<Vec<f32>> for ByChannel {
    type Error = String;

    fn try_from(numbers: Vec<f32>) -> Result<ByChannel, String> {
        match numbers[..] {
            [all] => Ok(ByChannel([all; 3])),
            [a, b, c] => Ok(ByChannel([a, b, c])),
            _ => Err(format!(
                "there are {} numbers, allowed are 3, one for each channel, or 1 for all",
                numbers.len()
            )),
        }
    }
}

impl Recipe {
    /// What a `model.toml` says.
    pub(super) fn of_given(source: String, given: &Given) -> Recipe {
        Recipe {
            source,
            resize: given.resize.map(Resize::Pixels).into(),
            resize_mode: given.resize_mode.into(),
            interpolation: given.interpolation.into(),
            crop: given.crop.into(),
            channels: given.channels.into(),
            scale: given.scale.into(),
            mean: given.mean.map(|all| all.0).into(),
            std: given.std.map(|all| all.0).into(),
            side: None,
            unread: Vec::new(),
        }
    }

    /// Every setting, as the project itself knows it of a model.
    pub(super) fn of_known(source: &str, spec: &PreprocessSpec) -> Recipe {
        Recipe {
            source: source.into(),
            resize: Setting::Said(Resize::Pixels(spec.resize)),
            resize_mode: Setting::Said(spec.resize_mode),
            interpolation: Setting::Said(spec.interpolation),
            crop: Setting::Said(spec.crop),
            channels: Setting::Said(spec.channels),
            scale: Setting::Said(spec.scale),
            mean: Setting::Said(spec.mean),
            std: Setting::Said(spec.std),
            side: None,
            unread: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_is_that_of_all_channels() {
        let given = |text: &str| toml::from_str::<Given>(text).map_err(|e| e.to_string());
        let of = |text: &str| Recipe::of_given("model.toml".into(), &given(text).expect(text));
        assert_eq!(of("mean = [0.5]").mean, Setting::Said([0.5; 3]));
        assert_eq!(of("std = [1, 2, 3]").std, Setting::Said([1.0, 2.0, 3.0]));
        for text in ["mean = []", "std = [0.5, 0.5]", "mean = [1, 2, 3, 4]"] {
            let error = given(text).expect_err(text);
            assert!(
                error.contains("allowed are 3, one for each channel"),
                "{error}"
            );
        }
    }
}
