//! The input of tract's graph: whether it is that of an image classifier, and how large its images are.
//!
//! Called by `import`; whatever form the file has images in, this is `[N, 3, height, width]` already.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_hir::infer::Factoid;

use super::LoadError;
use super::graph_error::graph_error;
use crate::tensor::Size;

/// Largest side of a network's input, in pixels; see `preprocess::spec`.
const MAX_SIDE: u32 = 2048;

/// Size of the images, and the batch if the file fixes one.
pub(super) struct InputShape {
    pub(super) size: Size,
    pub(super) fixed_batch: Option<usize>,
}

/// The single `[N, 3, height, width]` float input. `default_size` is that of a network that leaves its own open; where it
/// leaves one side open, the default counts if it agrees in the other, else the input is square.
pub(super) fn classifier_input(
    model: &InferenceModel,
    default_size: Size,
) -> Result<(String, InputShape), LoadError> {
    let inputs = model.input_outlets().map_err(|e| graph_error(&e))?;
    let &[input] = inputs else {
        let names: Vec<_> = inputs
            .iter()
            .map(|i| model.node(i.node).name.as_str())
            .collect();
        return refuse(format!(
            "it has {} inputs ({}), expected one",
            names.len(),
            names.join(", ")
        ));
    };
    let name = model.node(input.node).name.clone();
    let fact = model.outlet_fact(input).map_err(|e| graph_error(&e))?;
    let dtype = fact.datum_type.concretize();
    if dtype.is_some_and(|d| d != DatumType::F32) {
        return refuse(format!(
            "input \"{name}\" is {}, expected float32, float16, double or uint8",
            dtype.map_or_else(|| "of unknown type".into(), type_name)
        ));
    }
    let dims: Vec<Option<usize>> = fact
        .shape
        .dims()
        .map(|d| d.concretize().and_then(|d| d.to_usize().ok()))
        .collect();
    let shown = |d: &Option<usize>| d.map_or_else(|| "?".into(), |d| d.to_string());
    let shape = dims.iter().map(shown).collect::<Vec<_>>().join(", ");
    let wrong = |why: &str| refuse(format!("input \"{name}\" has shape [{shape}], {why}"));
    match dims[..] {
        [batch, channels, height, width] => {
            if channels.is_some_and(|c| c != 3) {
                return wrong("expected [N, 3, height, width] (RGB, channels first)");
            }
            let side = |known: usize| u32::try_from(known).unwrap_or(u32::MAX);
            let (height, width) = (height.map(side), width.map(side));
            let size = match (height, width) {
                (Some(height), Some(width)) => Size { height, width },
                (None, None) => default_size,
                (Some(height), None) if height == default_size.height => default_size,
                (None, Some(width)) if width == default_size.width => default_size,
                (Some(side), None) | (None, Some(side)) => Size::square(side),
            };
            let allowed = 1..=MAX_SIDE;
            if !allowed.contains(&size.height) || !allowed.contains(&size.width) {
                return wrong("allowed are sides of 1 to 2048 pixels");
            }
            Ok((
                name,
                InputShape {
                    size,
                    fixed_batch: batch,
                },
            ))
        }
        [] if fact.shape.is_open() => Ok((
            name,
            InputShape {
                size: default_size,
                fixed_batch: None,
            },
        )),
        _ => wrong("expected [N, 3, height, width]"),
    }
}

/// A type as ONNX calls it: int64, uint8, bool.
pub(super) fn type_name(kind: DatumType) -> String {
    // Whole numbers that may depend on the batch.
    if kind == DatumType::TDim {
        return "int64".into();
    }
    let name = format!("{kind:?}").to_lowercase();
    match name.split_at_checked(1) {
        Some(("i", bits)) => format!("int{bits}"),
        Some(("u", bits)) => format!("uint{bits}"),
        Some(("f", bits)) => format!("float{bits}"),
        _ => name,
    }
}

fn refuse<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError::NotAClassifier(reason))
}
