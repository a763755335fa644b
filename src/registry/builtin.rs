//! The small model compiled into the binary, so that it serves without any download.
//!
//! Used by `load`; present with the cargo feature `embedded-model`.

#[cfg(feature = "embedded-model")]
use crate::preprocess::PreprocessSpec;

/// Name of the built-in model.
pub const BUILTIN_NAME: &str = "resnet18-tiny";

/// The built-in model's file and what belongs to it.
#[cfg(feature = "embedded-model")]
pub(super) struct Builtin {
    pub(super) onnx: &'static [u8],
    pub(super) labels: &'static str,
    pub(super) preprocess: PreprocessSpec,
}

/// Source: the model's card, `models/resnet18-tiny.md`.
#[cfg(feature = "embedded-model")]
pub(super) fn builtin() -> Builtin {
    Builtin {
        onnx: include_bytes!("../../models/resnet18-tiny.onnx"),
        labels: include_str!("../../models/resnet18-tiny.labels.txt"),
        preprocess: PreprocessSpec {
            resize: 64,
            crop: 64,
            ..PreprocessSpec::default()
        },
    }
}
