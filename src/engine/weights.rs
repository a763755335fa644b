//! Whether all weights of a file are finite numbers.
//!
//! Called by `import`, before tract computes anything from them, so that a refusal can name the tensor.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::konst::Const;

use super::{LoadError, onnx};

/// Looks at every constant of the graph.
///
/// Infinity is refused in a tensor of several numbers only: a single one may be the open end of a `Clip`. A tensor of at
/// least two axes that holds zeros and negative infinities and nothing else is a mask, which is added before a softmax.
///
/// # Errors
/// [`LoadError::DamagedWeights`], naming the tensor.
pub(super) fn check(model: &InferenceModel) -> Result<(), LoadError> {
    let constants = model
        .nodes
        .iter()
        .filter_map(|node| Some((node, node.op_as::<Const>()?)));
    let branches = model
        .nodes
        .iter()
        .flat_map(|node| onnx::branches(&*node.op));
    branches.flatten().try_for_each(check)?;
    for (node, constant) in constants {
        if let Some(value) = damage(constant.val()) {
            return Err(LoadError::DamagedWeights {
                tensor: node.name.clone(),
                value,
            });
        }
    }
    Ok(())
}

/// The first number that is not finite, as text.
fn damage(tensor: &Tensor) -> Option<String> {
    let plain = tensor.try_as_plain_ram().ok()?;
    let value = if let Ok(values) = plain.as_slice::<f32>() {
        let suspect = |block: &&[f32]| !all_finite(block);
        let block = values.chunks(4096).find(suspect)?;
        f64::from(*block.iter().find(|v| !v.is_finite())?)
    } else if let Ok(values) = plain.as_slice::<f16>() {
        f64::from(values.iter().find(|v| !v.is_finite())?.to_f32())
    } else if let Ok(values) = plain.as_slice::<f64>() {
        *values.iter().find(|v| !v.is_finite())?
    } else {
        return None;
    };
    (value.is_nan() || tensor.len() > 1 && !is_mask(tensor)).then(|| value.to_string())
}

/// Whether a tensor of at least two axes holds zeros and negative infinities and nothing else.
fn is_mask(tensor: &Tensor) -> bool {
    if tensor.rank() < 2 {
        return false; // a bias
    }
    let Ok(numbers) = tensor.cast_to::<f32>() else {
        return false;
    };
    let Ok(plain) = numbers.try_as_plain_ram() else {
        return false;
    };
    plain.as_slice::<f32>().is_ok_and(|values| {
        let mut values = values.iter();
        let hides = |v: &f32| *v == f32::NEG_INFINITY;
        values.clone().any(|v| *v == 0.0) && values.all(|v| *v == 0.0 || hides(v))
    })
}

/// Whether all are finite: one comparison of bits a number and no branch, so that it becomes vector code.
fn all_finite(values: &[f32]) -> bool {
    let largest = values
        .iter()
        .fold(0, |largest: u32, v| largest.max(v.to_bits() << 1));
    largest < f32::INFINITY.to_bits() << 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_found_wherever_it_is() {
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 1, 4095, 4096, 9999] {
                let mut values = vec![f32::MAX; 10_000];
                values[at] = value;
                let found = damage(&Tensor::from_shape(&[10_000], &values).unwrap());
                assert_eq!(found, Some(f64::from(value).to_string()), "{at}");
            }
        }
        let sound = [f32::MAX, f32::MIN, 0.0, -0.0, f32::MIN_POSITIVE / 2.0];
        assert_eq!(damage(&tensor1(&sound)), None);
        let halves = [f16::from_f32(1.0), f16::INFINITY];
        assert_eq!(damage(&tensor1(&halves)), Some("inf".into()));
    }

    #[test]
    fn mask_is_zeros_and_negative_infinities_alone() {
        let hidden = f32::NEG_INFINITY;
        assert_eq!(damage(&tensor2(&[[0.0, hidden], [hidden, 0.0]])), None);
        assert!(damage(&tensor1(&[0.0, hidden, hidden])).is_some());
        for other in [f32::INFINITY, 1.0, f32::NAN, hidden] {
            assert!(damage(&tensor2(&[[other, hidden]])).is_some(), "{other}");
        }
    }

    #[test]
    fn single_infinity_may_be_an_open_end() {
        assert_eq!(damage(&tensor0(f32::INFINITY)), None);
        assert_eq!(damage(&tensor0(f32::NAN)), Some("NaN".into()));
    }
}
