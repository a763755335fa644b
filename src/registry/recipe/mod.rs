//! What each source says of a model's preprocessing.
//!
//! Filled by `parts` from `model.toml`, and by `exporters` from what they leave beside a model; `load` asks for the
//! whole.

mod resized;
mod whole;

use serde::Deserialize;

use crate::preprocess::{Channels, CropRounding, Interpolation, PreprocessSpec, ResizeMode};
use crate::tensor::{Sides, Size};

pub(super) use self::whole::{Provenance, Recipes};

/// One setting of a source.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Setting<T> {
    /// The source says nothing, which leaves the setting to other sources.
    #[default]
    Silent,
    /// The value that the source gives.
    Said(T),
    /// The source gives a value that cannot be honoured: a sentence with key and value.
    Refused(String),
}

impl<T> From<Option<T>> for Setting<T> {
    fn from(value: Option<T>) -> Setting<T> {
        value.map_or(Setting::Silent, Setting::Said)
    }
}

/// The size that an image is resized to before the crop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Resize {
    /// A size in pixels.
    Pixels(Size),
    /// The crop divided by this share, rounded down; by another for a crop of that size.
    Share(f64, Option<(Size, f64)>),
}

/// What one source says of a model's preprocessing.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Recipe {
    /// The name of the source, for people.
    pub(super) source: String,
    pub(super) resize: Setting<Resize>,
    pub(super) resize_mode: Setting<ResizeMode>,
    pub(super) interpolation: Setting<Interpolation>,
    pub(super) crop: Setting<Size>,
    pub(super) crop_rounding: Setting<CropRounding>,
    pub(super) channels: Setting<Channels>,
    pub(super) scale: Setting<f32>,
    pub(super) mean: Setting<[f32; 3]>,
    pub(super) std: Setting<[f32; 3]>,
    /// Size of the input, for a network that leaves it open.
    pub(super) input: Option<Size>,
    /// Keys and values that nothing here knows.
    pub(super) unread: Vec<String>,
    /// Whether the source was written for this server, so that it counts against the network's own word too.
    pub(super) decides: bool,
}

/// The `[preprocess]` table of a `model.toml`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Given {
    resize: Option<Sides>,
    resize_mode: Option<ResizeMode>,
    interpolation: Option<Interpolation>,
    crop: Option<Size>,
    crop_rounding: Option<CropRounding>,
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
        let mut recipe = Recipe {
            source,
            interpolation: given.interpolation.into(),
            crop: given.crop.into(),
            crop_rounding: given.crop_rounding.into(),
            channels: given.channels.into(),
            scale: given.scale.into(),
            mean: given.mean.map(|all| all.0).into(),
            std: given.std.map(|all| all.0).into(),
            decides: true,
            ..Recipe::default()
        };
        if let Some(sides) = given.resize {
            recipe.set_resize(sides);
        }
        if let Some(mode) = given.resize_mode {
            recipe.resize_mode = Setting::Said(mode);
        }
        recipe
    }

    /// Takes a size as torchvision's `Resize` does: two numbers are height and width of the result, whatever the
    /// proportion; what one number means is left open.
    pub(super) fn set_resize(&mut self, sides: Sides) {
        self.resize = Setting::Said(Resize::Pixels(sides.into()));
        if matches!(sides, Sides::Two(_)) {
            self.resize_mode = Setting::Said(ResizeMode::Stretch);
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
            crop_rounding: Setting::Said(spec.crop_rounding),
            channels: Setting::Said(spec.channels),
            scale: Setting::Said(spec.scale),
            mean: Setting::Said(spec.mean),
            std: Setting::Said(spec.std),
            input: None,
            unread: Vec::new(),
            decides: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_numbers_stretch_unless_another_mode_is_given() {
        let of = |text: &str| {
            let given: Given = toml::from_str(text).expect(text);
            let recipe = Recipe::of_given("model.toml".into(), &given);
            (recipe.resize, recipe.resize_mode)
        };
        let pixels = |height, width| Setting::Said(Resize::Pixels(Size { height, width }));
        assert_eq!(of("resize = 256"), (pixels(256, 256), Setting::Silent));
        let stretch = Setting::Said(ResizeMode::Stretch);
        assert_eq!(
            of("resize = [256, 128]"),
            (pixels(256, 128), stretch.clone())
        );
        assert_eq!(of("resize = [256, 256]"), (pixels(256, 256), stretch));
        let cover = Setting::Said(ResizeMode::Cover);
        assert_eq!(
            of("resize = [9, 8]\nresize_mode = \"cover\""),
            (pixels(9, 8), cover)
        );
    }

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
