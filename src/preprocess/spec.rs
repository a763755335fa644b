//! What a network was trained on: the resize, crop and normalization of its training pipeline, as data.
//!
//! Read from `models/catalog.toml` or a model's `model.toml`; `registry` hands it to a `Preprocessor`.

use serde::{Deserialize, Serialize};

/// Mean of the ImageNet training set per RGB channel, on the scale 0 to 1.
///
/// Source: torchvision's reference transforms; the value every ResNet of the catalogue was trained with.
pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];

/// Standard deviation of the ImageNet training set per RGB channel, on the scale 0 to 1. Source: as [`IMAGENET_MEAN`].
pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

/// The preprocessing a network expects: `Resize(resize) → CenterCrop(crop) → ToTensor → Normalize(mean, std)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PreprocessSpec {
    /// Length in pixels that the shorter side is resized to (antialiased bilinear, as Pillow does it).
    pub resize: u32,
    /// Side in pixels of the square cut out of the middle; the network's input height and width.
    pub crop: u32,
    /// Subtracted per RGB channel after scaling to 0–1.
    pub mean: [f32; 3],
    /// Divided by per RGB channel after subtracting the mean.
    pub std: [f32; 3],
}

impl Default for PreprocessSpec {
    /// The ImageNet standard: shorter side 256, center crop 224, ImageNet mean and standard deviation.
    fn default() -> Self {
        PreprocessSpec {
            resize: 256,
            crop: 224,
            mean: IMAGENET_MEAN,
            std: IMAGENET_STD,
        }
    }
}

/// Largest `resize` and `crop` accepted, in pixels: four times the largest input any published ResNet uses (600 or
/// less), small enough that one tensor stays below 50 MB.
pub const MAX_SIDE: u32 = 2048;

impl PreprocessSpec {
    /// Checks the values against their ranges.
    ///
    /// # Errors
    /// A sentence naming the field, its value and the allowed range.
    pub fn validate(&self) -> Result<(), String> {
        for (name, value) in [("resize", self.resize), ("crop", self.crop)] {
            if !(1..=MAX_SIDE).contains(&value) {
                return Err(format!(
                    "{name} is {value}, allowed are 1 to {MAX_SIDE} pixels"
                ));
            }
        }
        if self.crop > self.resize {
            return Err(format!(
                "crop is {}, larger than resize {}: the crop must fit into the resized image",
                self.crop, self.resize
            ));
        }
        if let Some(mean) = self.mean.iter().find(|m| !m.is_finite()) {
            return Err(format!("mean holds {mean}, allowed are finite numbers"));
        }
        if let Some(std) = self.std.iter().find(|s| !s.is_finite() || **s <= 0.0) {
            return Err(format!(
                "std holds {std}, allowed are finite numbers above 0"
            ));
        }
        Ok(())
    }
}
