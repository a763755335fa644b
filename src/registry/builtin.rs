//! The models compiled into the binary, so that it serves without any download.
//!
//! Used by `reference`, `parts` and the commands that list models; there are none without the cargo feature
//! `embedded-model`.

use crate::preprocess::PreprocessSpec;
#[cfg(feature = "embedded-model")]
use crate::preprocess::{Channels, CropRounding, Interpolation, ResizeMode};
#[cfg(feature = "embedded-model")]
use crate::tensor::Size;

/// A model compiled into the binary.
#[derive(Debug)]
pub struct Builtin {
    /// What flags and URLs call it.
    pub name: &'static str,
    /// SPDX expression of its weights' licence.
    pub license: &'static str,
    /// One line for people.
    pub description: &'static str,
    /// How images become its input.
    pub preprocess: PreprocessSpec,
    /// Its ONNX file.
    pub(super) onnx: &'static [u8],
    /// One line for each class.
    pub(super) labels: &'static str,
}

impl Builtin {
    /// Size of its file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.onnx.len() as u64
    }

    /// The built-in model of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Builtin> {
        BUILTINS.iter().find(|b| b.name == name)
    }
}

/// All built-in models; the first is served where no model is named.
///
/// Source: the models' cards, `models/NAME.md`.
#[cfg(feature = "embedded-model")]
pub static BUILTINS: &[Builtin] = &[
    Builtin {
        name: "efficientnet-lite0",
        license: "Apache-2.0",
        description: "EfficientNet-Lite0, all 1000 ImageNet classes, 8-bit weights",
        preprocess: PreprocessSpec {
            resize: Size::square(256),
            resize_mode: ResizeMode::ShorterSide,
            interpolation: Interpolation::Bicubic,
            crop: Size::square(224),
            crop_rounding: CropRounding::HalfEven,
            channels: Channels::Rgb,
            scale: 1.0,
            mean: [0.498_039; 3],
            std: [0.501_961; 3],
        },
        onnx: include_bytes!("../../models/efficientnet-lite0.onnx"),
        labels: include_str!("../../models/imagenet1k_synsets.txt"),
    },
    Builtin {
        name: "resnet18-tiny",
        license: env!("CARGO_PKG_LICENSE"),
        description: "half-width ResNet-18, 200 ImageNet classes at 64 x 64: a demonstration",
        preprocess: PreprocessSpec {
            resize: Size::square(64),
            resize_mode: ResizeMode::ShorterSide,
            interpolation: Interpolation::Bilinear,
            crop: Size::square(64),
            crop_rounding: CropRounding::HalfEven,
            channels: Channels::Rgb,
            scale: 1.0,
            mean: crate::preprocess::IMAGENET_MEAN,
            std: crate::preprocess::IMAGENET_STD,
        },
        onnx: include_bytes!("../../models/resnet18-tiny.onnx"),
        labels: include_str!("../../models/resnet18-tiny.labels.txt"),
    },
];

/// None in this build.
#[cfg(not(feature = "embedded-model"))]
pub static BUILTINS: &[Builtin] = &[];
