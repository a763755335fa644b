//! The loop of one `engine-N` thread: take a batch, drop what nobody waits for, run, answer.
//!
//! Started by `Batcher`. Owns an engine a lane; a panic in one costs only the image that caused it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::queue::{Batch, Queue};
use super::{BatchAnswer, Lane};
use crate::engine::{Engine, EngineError, Model};
use crate::metrics::Metrics;
use crate::tensor::{Crop, Image, Tensor};

/// Runs until the queue is closed and empty; reports the warm-up's result once.
pub(super) fn run(
    queue: &Queue,
    lanes: &[Lane],
    metrics: &Metrics,
    warm: &Sender<Result<(), EngineError>>,
) {
    let engines = lanes
        .iter()
        .map(|lane| warm_engine(&*lane.model))
        .collect::<Result<Vec<_>, _>>();
    let mut engines = match engines {
        Ok(engines) => engines,
        Err(e) => {
            let _ = warm.send(Err(e)); // the starter may have given up on another worker's failure
            return;
        }
    };
    let _ = warm.send(Ok(()));
    while let Some(batch) = queue.next() {
        let (lane, engine) = (&lanes[batch.lane], &mut engines[batch.lane]);
        serve(batch, lane, engine, metrics);
    }
}

/// An engine that has run once: its buffers exist and its code is in the cache before the first request.
fn warm_engine(model: &dyn Model) -> Result<Box<dyn Engine>, EngineError> {
    let side = model.spec().side;
    let mut engine = spawn_caught(model)?;
    let image: Image = match model.spec().takes_bytes {
        true => Crop::new(side, vec![0; 3 * side * side]).into(),
        false => Tensor::zeros(vec![3, side, side]).into(),
    };
    run_caught(&mut engine, &[image])?;
    Ok(engine)
}

fn serve(batch: Batch, lane: &Lane, engine: &mut Box<dyn Engine>, metrics: &Metrics) {
    let mut images = Vec::with_capacity(batch.entries.len());
    let mut waiting = Vec::with_capacity(batch.entries.len());
    let start = Instant::now();
    for entry in batch.entries {
        if entry.reply.is_closed() {
            metrics
                .requests_canceled
                .with_label_values(&["queue"])
                .inc();
            continue; // its client has gone
        }
        drop(entry.place);
        images.push(entry.image);
        waiting.push((entry.reply, start - entry.arrived));
    }
    if images.is_empty() {
        return;
    }
    let batch_size = images.len();
    metrics
        .batch_size
        .with_label_values(&[&lane.name])
        .observe(batch_size as f64);
    let outputs = run_apart(&*lane.model, engine, &images);
    let infer = start.elapsed();
    for ((reply, queue), output) in waiting.into_iter().zip(outputs) {
        let answer = output.map(|output| BatchAnswer {
            output,
            queue,
            infer,
            batch_size,
        });
        let _ = reply.send(answer); // a client that left during the run needs no answer
    }
}

/// Runs a batch; if that fails, runs its images one by one, so that only the guilty one fails.
fn run_apart(
    model: &dyn Model,
    engine: &mut Box<dyn Engine>,
    images: &[Image],
) -> Vec<Result<Vec<f32>, EngineError>> {
    let error = match run_caught(engine, images) {
        Ok(outputs) => return outputs.into_iter().map(Ok).collect(),
        Err(e) => e,
    };
    tracing::error!(%error, batch_size = images.len(), "a batch failed");
    if matches!(error, EngineError::Panicked) {
        match spawn_caught(model) {
            // A panic may have left the old one in any state.
            Ok(fresh) => *engine = fresh,
            Err(e) => return images.iter().map(|_| Err(e.clone())).collect(),
        }
    }
    match images {
        [_] => vec![Err(error)],
        _ => images
            .chunks(1)
            .flat_map(|image| run_apart(model, engine, image))
            .collect(),
    }
}

fn spawn_caught(model: &dyn Model) -> Result<Box<dyn Engine>, EngineError> {
    catch_unwind(AssertUnwindSafe(|| model.spawn())).unwrap_or(Err(EngineError::Panicked))
}

fn run_caught(
    engine: &mut Box<dyn Engine>,
    images: &[Image],
) -> Result<Vec<Vec<f32>>, EngineError> {
    let outputs = catch_unwind(AssertUnwindSafe(|| engine.run(images)))
        .unwrap_or(Err(EngineError::Panicked))?;
    if outputs.len() != images.len() {
        return Err(EngineError::Failed(format!(
            "{} outputs for {} images",
            outputs.len(),
            images.len()
        )));
    }
    Ok(outputs)
}
