//! The input of tract's graph: whether it is that of an image classifier, and how large its images are.
//!
//! Called by `import`; whatever form the file has images in, this is `[N, 3, height, width]` already.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::DimLike;
use tract_onnx::tract_hir::infer::Factoid;

use super::LoadError;
use super::graph_error::graph_error;

/// Largest side of a network's input, in pixels; see `preprocess::spec`.
const MAX_SIDE: usize = 2048;

/// Side of the square, and the batch if the file fixes one.
pub(super) struct InputShape {
    pub(super) side: usize,
    pub(super) fixed_batch: Option<usize>,
}

/// The single `[N, 3, side, side]` float input.
pub(super) fn classifier_input(
    model: &InferenceModel,
    default_side: usize,
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
            dtype_name(dtype)
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
            let side = height.or(width).unwrap_or(default_side);
            if height.unwrap_or(side) != side || width.unwrap_or(side) != side {
                return wrong(
                    "expected equal height and width: export it with a square input, or with open sides",
                );
            }
            if !(1..=MAX_SIDE).contains(&side) {
                return wrong("allowed are sides of 1 to 2048 pixels");
            }
            Ok((
                name,
                InputShape {
                    side,
                    fixed_batch: batch,
                },
            ))
        }
        [] if fact.shape.is_open() => Ok((
            name,
            InputShape {
                side: default_side,
                fixed_batch: None,
            },
        )),
        _ => wrong("expected [N, 3, height, width]"),
    }
}

fn dtype_name(dtype: Option<DatumType>) -> String {
    dtype.map_or_else(|| "of unknown type".into(), |d| format!("{d:?}"))
}

fn refuse<T>(reason: String) -> Result<T, LoadError> {
    Err(LoadError::NotAClassifier(reason))
}
