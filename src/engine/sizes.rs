//! How much a network may compute: the size of each of its values, and the products that an image costs.
//!
//! Called by `import` on the typed graph, and while its constants are computed. A file of a few bytes can ask for any of
//! these.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::Cost;
use tract_onnx::tract_core::ops::cnn::{MaxPool, SumPool};

/// Most numbers of one value of an image: 1 GiB in `f32`, as the first layer of a VGG has at the largest side.
pub(super) const MAX_NUMBERS: usize = 1 << 28;

/// Most products of an image: twice what a ResNet-152 takes at the largest side.
const MAX_PRODUCTS: usize = 1 << 41;

/// Why a value of this shape is not computed.
pub(super) fn too_large(shape: &[TDim]) -> Option<String> {
    let product =
        |all: usize, dim: &TDim| all.checked_mul(usize::try_from(of_one_image(dim)?).ok()?);
    let numbers = shape.iter().try_fold(1, product);
    numbers.is_none_or(|n| n > MAX_NUMBERS).then(|| {
        let sizes = listed(shape);
        format!("its result is [{sizes}], allowed are {MAX_NUMBERS} numbers for an image")
    })
}

/// Why a value of this shape has nothing of an image. Constants may be empty, as where an operator takes no regions.
fn empty(shape: &[TDim]) -> Option<String> {
    let is_empty = shape.iter().filter_map(of_one_image).any(|n| n < 1);
    is_empty.then(|| {
        let sizes = listed(shape);
        format!("its result is [{sizes}], allowed are sizes of at least 1")
    })
}

/// A shape as messages name it: `N, 3, 224, 224`.
pub(super) fn listed(shape: &[TDim]) -> String {
    let sizes: Vec<String> = shape.iter().map(ToString::to_string).collect();
    sizes.join(", ")
}

/// A size where whatever is not known is one, as the number of images; none if it is beyond all numbers.
fn of_one_image(dim: &TDim) -> Option<i64> {
    let mut dim = dim.clone();
    for symbol in dim.symbols() {
        dim = dim.substitute(&symbol, &1.into()).ok()?;
    }
    dim.simplify().to_i64().ok()
}

/// Checks every value of a graph for one image, and what all of it costs.
///
/// # Errors
/// One that names the node.
pub(super) fn check(model: &TypedModel) -> TractResult<()> {
    let mut products = 0_usize;
    for node in &model.nodes {
        let named = || format!("node #{} \"{}\"", node.id, node.name);
        let inputs = model.node_input_facts(node.id)?;
        let is_of_image = inputs.iter().any(|fact| fact.konst.is_none());
        for output in &node.outputs {
            let shape: Vec<TDim> = output.fact.shape.iter().cloned().collect();
            let reason = too_large(&shape).or_else(|| {
                let is_value = is_of_image && output.fact.datum_type.is_float();
                empty(&shape).filter(|_| is_value)
            });
            if let Some(reason) = reason {
                return Err(TractError::msg(reason).context(named()));
            }
        }
        let of_node = of_one_image(&products_of(model, node)?);
        let of_node = of_node.and_then(|n| usize::try_from(n).ok());
        products = products.saturating_add(of_node.unwrap_or(usize::MAX));
        if products > MAX_PRODUCTS {
            let reason = format!(
                "an image takes {products} products up to here, allowed are {MAX_PRODUCTS}"
            );
            return Err(TractError::msg(reason).context(named()));
        }
    }
    Ok(())
}

fn products_of(model: &TypedModel, node: &TypedNode) -> TractResult<TDim> {
    let pool = node.op_as::<MaxPool>().map(|p| &p.pool_spec);
    let pool = pool.or_else(|| node.op_as::<SumPool>().map(|p| &p.pool_spec));
    if let (Some(pool), Some(output)) = (pool, node.outputs.first()) {
        let kernel: usize = pool.kernel_shape.iter().product();
        return Ok(output.fact.shape.volume() * kernel);
    }
    let costs = node.op.cost(&model.node_input_facts(node.id)?)?;
    let products = costs.into_iter().filter_map(|(cost, count)| match cost {
        Cost::FMA(_) => Some(count),
        _ => None,
    });
    Ok(products.fold(0.into(), |all, count| all + count))
}
