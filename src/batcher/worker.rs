//! The loop of one `engine-N` thread: take a batch, run it, answer.
//!
//! Started by `supervisor`. Owns an engine a lane; a panic in one costs only the image that caused it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Sender;
use std::time::Instant;

use super::queue::Batch;
use super::{BatchAnswer, BatchError, Entry, Lane, Shared};
use crate::engine::{self, Engine, EngineError, Given, Model, Wish};
use crate::tensor::{Crop, Image, Tensor};

/// Runs until the queue is closed and empty; reports the warm-up's result to `warm`.
///
/// # Errors
/// The warm-up's.
pub(super) fn run(
    shared: &Shared,
    worker: usize,
    warm: Sender<Result<(), EngineError>>,
) -> Result<(), EngineError> {
    let lanes = &shared.lanes;
    let engines = lanes.iter().map(|lane| warm_engine(&*lane.model));
    let mut engines = match engines.collect::<Result<Vec<_>, _>>() {
        Ok(engines) => engines,
        Err(e) => {
            let _ = warm.send(Err(e.clone())); // the starter may have given up on another worker's failure
            return Err(e);
        }
    };
    let _ = warm.send(Ok(()));
    drop(warm);
    while let Some(batch) = shared.queue.next() {
        let _beat = shared.heartbeats[worker].begin();
        fault!("worker");
        let engine = &mut engines[batch.lane];
        serve(shared, batch, engine);
    }
    Ok(())
}

/// An engine that has run once: its buffers exist and its code is in the cache before the first request.
fn warm_engine(model: &dyn Model) -> Result<Box<dyn Engine>, EngineError> {
    let size = model.spec().size;
    let mut engine = spawn_caught(model)?;
    let image: Image = match model.spec().takes_bytes {
        true => Crop::new(size, vec![0; size.values()]).into(),
        false => Tensor::zeros(size.shape().to_vec()).into(),
    };
    run_caught(model, &mut engine, &[image], &[Wish::default()])?;
    Ok(engine)
}

fn serve(shared: &Shared, batch: Batch<Entry>, engine: &mut Box<dyn Engine>) {
    let Batch {
        lane: index,
        entries,
        dropped,
    } = batch;
    let lane = &shared.lanes[index];
    dropped.into_iter().for_each(|entry| forget(shared, entry));
    if entries.is_empty() {
        return;
    }
    let batch_size = entries.len();
    let (mut images, mut wishes, mut waiting) = (
        Vec::with_capacity(batch_size),
        Vec::with_capacity(batch_size),
        Vec::with_capacity(batch_size),
    );
    let start = Instant::now();
    for mut entry in entries {
        entry.permit.start();
        drop(entry.until_run);
        images.push(entry.image);
        wishes.push(entry.wish);
        waiting.push((entry.reply, entry.permit));
    }
    shared
        .metrics
        .batch_size
        .with_label_values(&[&lane.name])
        .observe(batch_size as f64);
    let outputs = run_apart(lane, engine, &images, &wishes);
    let infer = start.elapsed();
    shared.metrics.worker_busy.inc_by(infer.as_secs_f64());
    shared.lanes[index].runs.ran(batch_size, infer);
    shared
        .admission
        .ran(index, batch_size, infer, start + infer);
    for ((reply, permit), output) in waiting.into_iter().zip(outputs) {
        // First, so that a client that asks again at once does not find itself still being served.
        drop(permit);
        let answer = output.map(|(output, further)| BatchAnswer {
            output,
            further,
            began: start,
            infer,
            batch_size,
        });
        let _ = reply.send(answer.map_err(BatchError::from)); // a client that left during the run needs no answer
    }
}

/// Drops an entry whose client has gone, or whose deadline has passed.
fn forget(shared: &Shared, entry: Entry) {
    let Entry {
        reply,
        permit,
        deadline,
        ..
    } = entry;
    drop(permit);
    // Whoever waited until the deadline is gone as well.
    let counter = match deadline.is_some_and(|deadline| deadline <= Instant::now()) {
        true => &shared.metrics.requests_expired,
        false => &shared.metrics.requests_canceled,
    };
    counter.with_label_values(&["queue"]).inc();
    let _ = reply.send(Err(BatchError::Expired)); // fails for one whose client has gone
}

/// Runs a batch; if that fails, runs its halves, so that in the end only the guilty images fail.
fn run_apart(
    lane: &Lane,
    engine: &mut Box<dyn Engine>,
    images: &[Image],
    wishes: &[Wish],
) -> Vec<Result<Given, EngineError>> {
    let error = match run_caught(&*lane.model, engine, images, wishes) {
        Ok(outputs) => return outputs.into_iter().map(Ok).collect(),
        Err(e) => e,
    };
    tracing::error!(model = lane.name, %error, batch_size = images.len(), "a batch failed");
    if matches!(error, EngineError::Panicked) {
        match spawn_caught(&*lane.model) {
            // A panic may have left the old one in any state.
            Ok(fresh) => *engine = fresh,
            Err(e) => return images.iter().map(|_| Err(e.clone())).collect(),
        }
    }
    if images.len() == 1 {
        return vec![Err(error)];
    }
    let half = images.len() / 2;
    let mut outputs = run_apart(lane, engine, &images[..half], &wishes[..half]);
    outputs.extend(run_apart(lane, engine, &images[half..], &wishes[half..]));
    outputs
}

fn spawn_caught(model: &dyn Model) -> Result<Box<dyn Engine>, EngineError> {
    catch_unwind(AssertUnwindSafe(|| model.spawn())).unwrap_or(Err(EngineError::Panicked))
}

fn run_caught(
    model: &dyn Model,
    engine: &mut Box<dyn Engine>,
    images: &[Image],
    wishes: &[Wish],
) -> Result<Vec<Given>, EngineError> {
    let run = || {
        fault!("engine-run");
        engine::run_with(&mut **engine, model, images, wishes)
    };
    let outputs = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(EngineError::Panicked))?;
    if outputs.len() != images.len() {
        return Err(EngineError::Failed(format!(
            "{} outputs for {} images",
            outputs.len(),
            images.len()
        )));
    }
    Ok(outputs)
}
