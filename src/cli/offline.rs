//! A model and images on this machine, without a server: what `classify` and `eval` share.
//!
//! Goes through the same `Classifier` as HTTP, so answers and reasons for refusals are the server's.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use tokio::sync::mpsc;

use super::args::{ExifArgs, LogArgs, LogSample, ModelArgs, arithmetic};
use super::load;
use super::signals::{Signals, Stop};
use crate::classifier::{Classification, Classifier, ClassifyError, ClassifyOptions, ServedModel};
use crate::config::{CpuBudget, EngineConfig, ImageConfig};
use crate::http::ApiError;
use crate::metrics::Metrics;
use crate::registry::ModelError;
use crate::repository::Names;

/// Images on their way at once: enough to keep every thread busy, few enough not to hold a folder in memory.
const AHEAD: usize = 64;

/// Files that have been read before their turn.
const READ_AHEAD: usize = 4;

/// The flags of a command that classifies files with one model.
#[derive(Debug, Args)]
pub(crate) struct OfflineArgs {
    #[command(flatten)]
    pub(crate) exif: ExifArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    images: ImageConfig,
    #[command(flatten)]
    engine: EngineConfig,
    #[command(flatten)]
    log: LogArgs,
}

/// A running classifier of one model.
pub(crate) struct Offline {
    pub(crate) model: Arc<ServedModel>,
    classifier: Classifier,
}

/// Why a file has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// The file cannot be read, for this reason.
    #[error("{0:#}")]
    Unreadable(anyhow::Error),
    /// The server would refuse it, and tell a client this.
    #[error("{0}")]
    Refused(#[from] ApiError),
}

/// An image by what the caller calls it: its bytes, or why they cannot be read.
pub(crate) type Read<K> = (K, anyhow::Result<Bytes>);

/// An answer that is being waited for.
type Waiting = Pin<Box<dyn Future<Output = Result<Classification, NoAnswer>>>>;

impl OfflineArgs {
    /// Loads the model and warms it up; the log starts first. `command` is for the message to who names two models.
    ///
    /// # Errors
    /// If the model cannot be served or there is more than one.
    pub(crate) fn start(&self, command: &str) -> anyhow::Result<Offline> {
        self.log.install("warn", LogSample::ALL)?;
        let reference = self.model.one_reference(command)?;
        let budget = CpuBudget::detect();
        let engine = arithmetic::engine_options(&self.engine, &budget)?;
        let options = load::classifier_options(
            &self.engine,
            &self.images,
            self.engine.threads(&budget),
            engine.features.isa,
        );
        let metrics = Arc::new(Metrics::new());
        let nobody_asks = Names {
            find: Box::new(|name: &str| Err(ModelError::NoStore(name.into()))),
            list: Box::new(Vec::new),
        };
        let repository = load::repository(engine, options, nobody_asks, &metrics);
        let classifier = repository.start(vec![reference])?;
        let model = Arc::clone(&classifier.models()[0]);
        Ok(Offline { model, classifier })
    }
}

impl Offline {
    /// Classifies the images and hands each answer to `each`, in order. They are read on a thread of their own. A
    /// signal ends the run at once, between two answers, and is returned.
    ///
    /// # Errors
    /// The first of `each`, which ends the run.
    pub(crate) fn run<K: Send + 'static>(
        &self,
        images: impl Iterator<Item = Read<K>> + Send + 'static,
        options: ClassifyOptions,
        mut each: impl FnMut(K, Result<Classification, NoAnswer>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Option<Stop>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start")?;
        runtime.block_on(async {
            let mut signals = Signals::new().context("cannot listen for signals")?;
            let mut read = read_ahead(images)?;
            let mut all_read = false;
            let mut running: VecDeque<(K, Waiting)> = VecDeque::new();
            while !all_read || !running.is_empty() {
                tokio::select! {
                    biased;
                    stop = signals.next() => return Ok(Some(stop)),
                    image = read.recv(), if !all_read && running.len() < AHEAD => match image {
                        Some((key, image)) => running.push_back((key, self.submit(image, options))),
                        None => all_read = true,
                    },
                    Some(answer) = next_answer(&mut running) => {
                        let (key, _) = running.pop_front().expect("it has just answered");
                        each(key, answer)?;
                    }
                }
            }
            Ok(None)
        })
    }

    fn submit(&self, image: anyhow::Result<Bytes>, options: ClassifyOptions) -> Waiting {
        let bytes = match image {
            Ok(bytes) => bytes,
            Err(error) => return Box::pin(async { Err(NoAnswer::Unreadable(error)) }),
        };
        let place = self.classifier.enter(&self.model);
        let pending = self
            .classifier
            .submit(&self.model, bytes.into(), options, place);
        let refused = |error: ClassifyError| NoAnswer::Refused(error.into());
        Box::pin(async move { pending.wait().await.map_err(refused) })
    }
}

/// The answer for the first of those on their way; none if there is none.
async fn next_answer<K>(
    running: &mut VecDeque<(K, Waiting)>,
) -> Option<Result<Classification, NoAnswer>> {
    let (_, first) = running.front_mut()?;
    Some(first.await)
}

/// Takes the images on a thread of their own, a few before they are asked for. It ends with the process if it blocks, as
/// on a terminal that nobody types on.
fn read_ahead<K: Send + 'static>(
    images: impl Iterator<Item = Read<K>> + Send + 'static,
) -> anyhow::Result<mpsc::Receiver<Read<K>>> {
    let (send, read) = mpsc::channel(READ_AHEAD);
    let work = move || {
        for image in images {
            if send.blocking_send(image).is_err() {
                break; // the run has ended
            }
        }
    };
    std::thread::Builder::new()
        .name("read".into())
        .spawn(work)
        .context("cannot start a thread that reads")?;
    Ok(read)
}
