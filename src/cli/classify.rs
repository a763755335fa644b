//! `resnet classify FILE…`: the server's answers for files, without a server.
//!
//! Goes through the same `Classifier` as HTTP; files are read ahead only as far as the queue has places.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::logging::LogArgs;
use super::models::{self, ModelArgs};
use super::output::{UsageError, complain, print};
use crate::classifier::{Classification, Classifier, ClassifyOptions, Pending, ServedModel};
use crate::config::{CpuBudget, EngineConfig, ImageConfig};
use crate::http::{AnswerBody, ApiError, Problem};
use crate::metrics::Metrics;
use crate::preprocess::ExifMode;

/// Images on their way at once: enough to keep every thread busy, few enough not to hold a folder in memory.
const AHEAD: usize = 64;

/// Largest image file, in bytes; a guard against devices and mistakes, far above any photo.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// The flags of `resnet classify`.
#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// Image files; - reads one image from standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Classes to print for each image
    #[arg(
        long,
        short = 'k',
        env = "RESNET_TOP_K",
        default_value_t = 5,
        value_name = "N"
    )]
    top_k: usize,

    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,

    /// Leave the pixels as stored, whatever orientation the camera noted
    #[arg(long)]
    ignore_exif: bool,

    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    images: ImageConfig,
    #[command(flatten)]
    engine: EngineConfig,
    #[command(flatten)]
    log: LogArgs,
}

/// Classifies the files in order; exit code 1 if one of them has no answer.
///
/// # Errors
/// If the model cannot be served or standard output fails.
pub(crate) fn run(args: &ClassifyArgs) -> anyhow::Result<ExitCode> {
    args.log.install("warn")?;
    let references = args.model.references()?;
    if references.len() > 1 {
        let count = references.len();
        return Err(UsageError(format!("classify takes one --model, {count} were given")).into());
    }
    let threads = args.engine.threads(&CpuBudget::detect());
    let metrics = Arc::new(Metrics::new());
    let classifier = models::start(
        &references,
        &args.engine,
        &args.images,
        AHEAD,
        threads,
        &metrics,
    )?;
    let model = Arc::clone(&classifier.models()[0]);
    let classes = model.info.labels.len();
    let exif = if args.ignore_exif {
        ExifMode::Ignore
    } else {
        ExifMode::Apply
    };
    if args.top_k == 0 || (args.top_k > classes && args.top_k != 5) {
        let text = format!("--top-k is {}, allowed are 1 to {classes}", args.top_k);
        return Err(UsageError(text).into());
    }
    let options = ClassifyOptions {
        top_k: args.top_k.min(classes),
        exif,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .context("cannot start")?;
    let all_answered = runtime.block_on(classify_all(args, &classifier, &model, options))?;
    Ok(if all_answered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

async fn classify_all(
    args: &ClassifyArgs,
    classifier: &Classifier,
    model: &Arc<ServedModel>,
    options: ClassifyOptions,
) -> anyhow::Result<bool> {
    let mut all_answered = true;
    let mut running: VecDeque<(&PathBuf, anyhow::Result<Pending>)> = VecDeque::new();
    let mut files = args.files.iter();
    loop {
        while running.len() < AHEAD {
            let Some(file) = files.next() else { break };
            let pending = match read(file) {
                Ok(bytes) => Ok(classifier.submit(model, bytes, options, classifier.place().await)),
                Err(e) => Err(e),
            };
            running.push_back((file, pending));
        }
        let Some((file, pending)) = running.pop_front() else {
            return Ok(all_answered);
        };
        let answer = match pending {
            Ok(pending) => pending.wait().await.map_err(ApiError::from),
            Err(error) => {
                all_answered = false;
                let (name, error) = (file.display().to_string(), format!("{error:#}"));
                if args.json {
                    print(&line(
                        &name,
                        &model.info.name,
                        Outcome::Unreadable { error },
                    )?)?;
                } else {
                    complain(&format!("{name}: {error}"));
                }
                continue;
            }
        };
        all_answered &= answer.is_ok();
        report(args, file, model, answer)?;
    }
}

fn report(
    args: &ClassifyArgs,
    file: &std::path::Path,
    model: &ServedModel,
    answer: Result<Classification, ApiError>,
) -> anyhow::Result<()> {
    let name = file.display().to_string();
    match (answer, args.json) {
        (Ok(c), true) => print(&line(
            &name,
            &model.info.name,
            Outcome::Answer(AnswerBody::new(&c)),
        )?),
        (Ok(c), false) => print(&table(&name, &c)),
        (Err(e), true) => print(&line(
            &name,
            &model.info.name,
            Outcome::Problem(e.problem()),
        )?),
        (Err(e), false) => {
            complain(&format!("{name}: {e}"));
            Ok(())
        }
    }
}

fn read(file: &PathBuf) -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(MAX_FILE_BYTES + 1)
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|f| f.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
    };
    read.context("cannot be read")?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        bail!("has more than {MAX_FILE_BYTES} bytes");
    }
    Ok(bytes.into())
}

#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    model: &'a str,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a> {
    Answer(AnswerBody<'a>),
    Problem(Problem),
    Unreadable { error: String },
}

fn line(file: &str, model: &str, outcome: Outcome) -> anyhow::Result<String> {
    Ok(serde_json::to_string(&Line {
        file,
        model,
        outcome,
    })? + "\n")
}

fn table(file: &str, classification: &Classification) -> String {
    let image = &classification.image;
    let mut text = format!(
        "{file} ({} {}×{})\n",
        image.format, image.width, image.height
    );
    for p in &classification.predictions {
        let wnid = p.label.wnid.as_deref().unwrap_or("");
        // Writing into a string does not fail.
        let _ = writeln!(
            text,
            "  {:6.2}%  {:<9}  {}",
            p.probability * 100.0,
            wnid,
            p.label.synset
        );
    }
    text
}
