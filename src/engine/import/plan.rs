//! A network that was read to the plan that tract executes, with our operators in it in one precision.

use std::collections::HashMap;
use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::ToDim;

use super::super::graph_error::graph_error;
use super::super::lower::{self, Found, Lowered};
use super::super::tract::TractModel;
use super::super::{ColorValues, EngineOptions, EngineSpec, FeatureSpec, LoadError, OutputInfo};
use super::{Batch, Network};
use crate::ops::graph::Shape;
use crate::ops::{self, Region, SharedTeam};
use kernels::nn::{Arithmetic, Precision};
use kernels::{Normalization, NormalizeKernel};

impl Network {
    /// The plan, with our operators in this precision where they have instructions for it.
    pub(in crate::engine) fn finish(
        self,
        precision: Precision,
        colors: &ColorValues,
        options: &EngineOptions,
    ) -> Result<TractModel, LoadError> {
        let quantized = self.is_quantized();
        let Network { model, found, .. } = self;
        let lowering = LoweringPlan {
            // In any other precision than its own, a quantized file is tract's.
            arithmetic: Arithmetic::new(precision, options.features)
                .filter(|_| quantized == (precision == Precision::Int8)),
            normalization: normalizations(colors, options),
            options,
        };
        let lowered = lower(model, found, &lowering).map_err(|e| graph_error(&e))?;
        let plan = |model| optimize(model, self.batch.clone(), lowered.elementwise_rest);
        let bytes = lower::for_bytes(&lowered.model).map(plan);
        let (plan, plan_batch) = plan(lowered.model)?;
        let bytes_plan = match bytes.transpose()? {
            Some((bytes_plan, batch)) if batch == plan_batch => Some(bytes_plan),
            _ => None,
        };
        let mut outputs = vec![self.output];
        let features = self.pooling.as_ref().map(|pooling| {
            let Shape {
                channels,
                height,
                width,
            } = pooling.map_shape;
            let output = |name: &str, shape| OutputInfo {
                name: name.into(),
                shape,
            };
            outputs.push(output("feature_map", vec![channels, height, width]));
            outputs.push(output("features", vec![channels]));
            FeatureSpec {
                channels,
                height,
                width,
            }
        });
        let spec = EngineSpec {
            input_name: self.input_name,
            outputs,
            features,
            output_reason: self.output_reason,
            ending: self.ending,
            input_form: self.about.form,
            pixels: self.about.pixels,
            notes: self.about.notes,
            size: self.size,
            plan_batch,
            takes_bytes: bytes_plan.is_some(),
            runtime: concat!("tract ", "0.23.9").to_owned(),
            lowering: lowered.lowering,
            precision,
            precision_reason: String::new(),
            instructions: String::new(),
        };
        Ok(TractModel {
            spec,
            colors: *colors,
            single: self.single,
            class_weights: self.pooling.map(|pooling| pooling.weights),
            answers: Vec::new(),
            plan,
            bytes_plan,
            programs: lowered.programs,
            max_batch: options.max_batch.max(1),
        })
    }
}

/// How regions are to be computed.
struct LoweringPlan<'a> {
    /// The kernels of the precision; none if this CPU has no instructions for it.
    arithmetic: Option<Arithmetic>,
    normalization: Option<[Normalization; 3]>,
    options: &'a EngineOptions,
}

/// The normalization by channel, for the kernels.
fn normalizations(colors: &ColorValues, options: &EngineOptions) -> Option<[Normalization; 3]> {
    let kernel = NormalizeKernel::new(options.features.isa)?;
    let ColorValues { scale, mean, std } = colors;
    Some([0, 1, 2].map(|c| Normalization::new(kernel, *scale, mean[c], std[c])))
}

/// Replaces the regions of the graph that our operators compute.
fn lower(model: TypedModel, found: Found, plan: &LoweringPlan<'_>) -> TractResult<Lowered> {
    let Some(arithmetic) = plan.arithmetic else {
        let nothing = &mut |_: &_, _| unreachable!("there is no region");
        return found.nothing().replace(model, nothing);
    };
    let options = plan.options;
    let floats = Arithmetic::new(Precision::F32, plan.options.features).unwrap_or(arithmetic);
    found.replace(model, &mut |graph, outputs| {
        let program = ops::compile(
            graph,
            // Parts of a quantized network may be on numbers.
            match arithmetic.precision() == Precision::Int8 && !graph.is_quantized() {
                true => floats,
                false => arithmetic,
            },
            options.max_batch,
            options.threads_per_worker,
            plan.normalization.clone(),
        )?;
        let share = SharedTeam {
            team: Arc::clone(&options.team),
            threads: options.threads_per_worker,
        };
        Ok(Region::new(Arc::new(program), share, outputs))
    })
}

/// The plan, and the batch that it is for if not for any.
fn optimize(
    model: TypedModel,
    batch: Batch,
    elementwise_rest: bool,
) -> Result<(Arc<TypedRunnableModel>, Option<usize>), LoadError> {
    let plan = |model: TypedModel| model.into_optimized()?.into_runnable();
    let refuse = |e: TractError| graph_error(&e);
    let symbol = match batch {
        Batch::Fixed(n) => return Ok((plan(model).map_err(refuse)?, Some(n))),
        Batch::Any(symbol) => symbol,
    };
    if elementwise_rest && let Ok(plan) = plan(model.clone()) {
        return Ok((plan, None));
    }
    let one = HashMap::from([(symbol, 1.to_dim())]);
    let model = model.set_symbols(&one).map_err(refuse)?;
    Ok((plan(model).map_err(refuse)?, Some(1)))
}
