//! Classifying without a server: image files through the classifier, in order, read ahead only a little.
//!
//! Shared by `classify` and `eval`, which so get what HTTP gets; `preprocess` reads its file here too.

use std::collections::VecDeque;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;

use super::args::{ExifArgs, LogArgs, ModelArgs, arithmetic};
use super::load;
use crate::classifier::{Classification, Classifier, ClassifyOptions, Pending, ServedModel};
use crate::config::{CpuBudget, EngineConfig, ImageConfig};
use crate::desk::DeskError;
use crate::metrics::Metrics;
use crate::preprocess::sniff;

/// Images on their way at once: enough to keep every thread busy, few enough not to hold a folder in memory.
const AHEAD: usize = 64;

/// Largest image file, in bytes; a guard against devices and mistakes, far above any photo.
const MAX_FILE_BYTES: u64 = 1 << 30;

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
    /// The file system's reason.
    #[error("{0:#}")]
    Unreadable(anyhow::Error),
    /// What a client of the server would be told.
    #[error("{0}")]
    Refused(#[from] DeskError),
}

impl OfflineArgs {
    /// Loads the model and warms it up; the log starts first. `command` is for the message to who names two models.
    ///
    /// # Errors
    /// If the model cannot be served or there is more than one.
    pub(crate) fn start(&self, command: &str) -> anyhow::Result<Offline> {
        self.log.install("warn")?;
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
        let classifier = load::start(&[reference], &engine, options, &metrics)?;
        let model = Arc::clone(&classifier.models()[0]);
        Ok(Offline { model, classifier })
    }
}

impl Offline {
    /// Classifies the files and hands each answer to `each` with the file's position, in order.
    ///
    /// # Errors
    /// The first of `each`, which ends the run.
    pub(crate) fn run<'a>(
        &self,
        files: impl IntoIterator<Item = &'a Path>,
        options: ClassifyOptions,
        mut each: impl FnMut(usize, Result<Classification, NoAnswer>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .context("cannot start")?;
        runtime.block_on(async {
            let mut running: VecDeque<anyhow::Result<Pending>> = VecDeque::new();
            let mut files = files.into_iter();
            for position in 0.. {
                while running.len() < AHEAD {
                    let Some(file) = files.next() else { break };
                    running.push_back(self.submit(file, options));
                }
                let answer = match running.pop_front() {
                    None => break,
                    Some(Err(e)) => Err(NoAnswer::Unreadable(e)),
                    Some(Ok(pending)) => {
                        pending.wait().await.map_err(|e| DeskError::from(e).into())
                    }
                };
                each(position, answer)?;
            }
            Ok(())
        })
    }

    fn submit(&self, file: &Path, options: ClassifyOptions) -> anyhow::Result<Pending> {
        let bytes = read_image(file)?;
        let place = self.classifier.enter(&self.model);
        Ok(self.classifier.submit(&self.model, bytes, options, place))
    }
}

/// Bytes that tell what a file is, and what it looks like if it is no image.
const HEAD: u64 = 4 << 10;

/// Reads an image file; `-` is standard input. What does not begin as an image is not read on: its first bytes are
/// enough for the refusal.
///
/// # Errors
/// Why it cannot be read, without its name.
pub(crate) fn read_image(file: &Path) -> anyhow::Result<Bytes> {
    let mut source: Box<dyn Read> = match file == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => Box::new(std::fs::File::open(file).context("cannot be read")?),
    };
    let mut bytes = Vec::new();
    let mut read = |most: u64| {
        let most = most.saturating_sub(bytes.len() as u64);
        let read = (&mut source).take(most).read_to_end(&mut bytes);
        read.context("cannot be read")
            .map(|_| (sniff(&bytes).is_some(), bytes.len() as u64))
    };
    let (is_image, _) = read(HEAD)?;
    if is_image {
        let (_, length) = read(MAX_FILE_BYTES + 1)?;
        if length > MAX_FILE_BYTES {
            bail!("has more than {MAX_FILE_BYTES} bytes");
        }
    }
    Ok(bytes.into())
}
