//! Loading models, and the classifier around them, as the flags say.
//!
//! Shared by the commands that classify.

use std::sync::Arc;
use std::time::Duration;

use super::show;
use crate::batcher::BatchPolicy;
use crate::classifier::ClassifierOptions;
use crate::config::{EngineConfig, ImageConfig, ThreadPlan};
use crate::engine::{EngineOptions, OutputWish};
use crate::metrics::Metrics;
use crate::preprocess::{DamagedImages, DecodeSize, ImageLimits, ImageOptions, MemoryBudget};
use crate::registry::{self, LoadedModel};
use crate::repository::{Names, Repository, Source};
use kernels::Isa;

/// A repository that loads and announces models as the flags say; `names` are those that clients give.
pub(crate) fn repository(
    engine: EngineOptions,
    options: ClassifierOptions,
    names: Names,
    metrics: &Arc<Metrics>,
) -> Repository {
    let (engine, announced) = (engine.clone(), (engine, Arc::clone(metrics)));
    let source = Source {
        names,
        load: Box::new(move |reference| registry::load(reference, &engine)),
        announce: Box::new(move |model| announce(model, &announced.0, &announced.1)),
    };
    Repository::new(source, options, Arc::clone(metrics))
}

/// A loaded model in the log and the metrics.
fn announce(model: &LoadedModel, engine: &EngineOptions, metrics: &Metrics) {
    let spec = model.model.spec();
    tracing::info!(
        model = model.name,
        origin = model.origin,
        sha256 = model.sha256,
        classes = model.labels.len(),
        input = %spec.size,
        output = model.output.name(),
        runtime = spec.runtime,
        precision = spec.precision.name(),
        because = spec.precision_reason,
        instructions = spec.instructions,
        load_ms = millis(model.load_time),
        "model loaded"
    );
    if model.origin != "built-in" {
        tracing::info!(
            model = model.name,
            preprocess = show::preprocess_words(&model.preprocess),
            preprocess_from = model.preprocess_from,
            labels_from = model.labels_from,
            "model described"
        );
    }
    if spec.output_reason != OutputWish::ONLY {
        tracing::info!(
            model = model.name,
            output = spec.output_name(),
            because = model.output_reason,
            "one of the model's outputs is served"
        );
    }
    for note in model.notes.iter().chain(&spec.notes) {
        tracing::warn!(model = model.name, "{note}");
    }
    for line in show::not_ours(&spec.lowering.refused) {
        tracing::warn!(model = model.name, "left to tract: {line}");
    }
    if let Some(wish) = engine.precision
        && wish != spec.precision
    {
        tracing::warn!(
            model = model.name,
            "--precision is {}, but no operator of this model is ours: tract computes it in {}",
            wish.name(),
            spec.precision.name()
        );
    }
    let labels = [
        model.name.as_str(),
        &model.sha256,
        &spec.runtime,
        spec.precision.name(),
        &spec.instructions,
    ];
    metrics.model_info.with_label_values(&labels).set(1);
    for (precision, layers) in &spec.lowering.layers {
        let labels = [model.name.as_str(), precision];
        let layers = i64::try_from(*layers).unwrap_or(i64::MAX);
        metrics.model_layers.with_label_values(&labels).set(layers);
    }
    metrics
        .model_load_duration
        .with_label_values(&[&model.name])
        .set(model.load_time.as_secs_f64());
}

/// The classifier's options for the flags; `isa` is what the pixel kernels may use.
pub(crate) fn classifier_options(
    engine: &EngineConfig,
    images: &ImageConfig,
    threads: ThreadPlan,
    isa: Isa,
) -> ClassifierOptions {
    ClassifierOptions {
        images: image_options(images, isa),
        batching: BatchPolicy {
            max_batch_size: engine.max_batch_size,
            max_queue_delay: engine.max_queue_delay,
            workers: threads.engine,
        },
        prep_threads: threads.prep,
        // A command line asks nobody; `serve` sets its limits.
        queue_capacity: usize::MAX,
        max_queue_wait: Duration::MAX,
        stuck_after: Duration::MAX,
    }
}

/// The room's own options for the flags; `isa` is what the pixel kernels may use.
pub(crate) fn image_options(images: &ImageConfig, isa: Isa) -> ImageOptions {
    ImageOptions {
        limits: ImageLimits {
            max_pixels: images.max_pixels,
            max_side: images.max_side,
        },
        timeout: images.decode_timeout,
        damaged: match images.decode_lenient {
            true => DamagedImages::Fill,
            false => DamagedImages::Refuse,
        },
        size: match images.fast_decode {
            true => DecodeSize::Reduced,
            false => DecodeSize::Full,
        },
        memory: MemoryBudget::new(images.decode_memory),
        isa,
    }
}

/// Whole milliseconds, as a number that a JSON log keeps as one.
pub(crate) fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
