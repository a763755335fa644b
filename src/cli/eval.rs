//! `resnet eval --data DIR`: a labelled folder through the served path, and how often the answers are right.
//!
//! Labels, score and report are those of the room `eval`; here are the flags, the photos and the progress.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::offline::{Offline, OfflineArgs};
use super::output::{UsageError, print};
use crate::classifier::ClassifyOptions;
use crate::eval::{Labelled, Listing, Report, Score, TOP_K};

/// The flags of `resnet eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Labels are a table or folders.

A table is DIR/labels.tsv: a head line, then one photo a line, columns separated by tabs. The column file is relative to \
DIR or to DIR/photos. The column wnid names the class where the model's labels have wnids; class_index must then agree \
with it. Elsewhere class_index is the place in the model's output.

Without a table, each folder of DIR is a class, named by its wnid, its name or its place in the model's output. The \
JPEG, PNG, WebP and GIF files in it are its photos.

A photo that cannot be read or is refused counts as wrong and is named. docs/ACCURACY.md defines every figure.

Examples:
  resnet eval --data photos --model resnet50
  resnet eval --data photos --known-only --json

Exit code 0: every photo has an answer. 1: one has none, or the model failed. 2: wrong usage, or labels that do not fit.")]
pub(crate) struct EvalArgs {
    /// Directory of labelled photos
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Table of labels [default: DIR/labels.tsv if it exists, else the folders of DIR]
    #[arg(long, value_name = "TSV")]
    labels: Option<PathBuf>,

    /// Leave out the photos of classes that the model does not have, instead of refusing them
    #[arg(long)]
    known_only: bool,

    /// Print one JSON object with every figure
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    offline: OfflineArgs,
}

/// Runs the command; exit code 1 if a photo has no answer.
///
/// # Errors
/// If the labels do not fit, the model cannot be served, or standard output fails.
pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    let listing = Listing::read(&args.data, args.labels.as_deref()).map_err(UsageError)?;
    let offline = args.offline.start("eval")?;
    let info = &offline.model.info;
    let labelled = listing
        .resolve(&info.name, &info.labels, args.known_only)
        .map_err(UsageError)?;
    let start = Instant::now();
    let score = classify(args, &offline, &labelled)?;
    let report = Report {
        model: info,
        data: &args.data,
        exif: args.offline.exif.mode(),
        left_out: labelled.left_out,
        score: &score,
        elapsed: start.elapsed(),
    };
    print(&if args.json {
        report.json()? + "\n"
    } else {
        report.text()
    })?;
    Ok(if score.failures().is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn classify(args: &EvalArgs, offline: &Offline, labelled: &Labelled) -> anyhow::Result<Score> {
    let options = ClassifyOptions {
        top_k: TOP_K.min(offline.model.info.labels.len()),
        exif: args.offline.exif.mode(),
        ..ClassifyOptions::default()
    };
    let photos = &labelled.photos;
    let bar = progress(photos.len() as u64);
    let mut score = Score::default();
    let files = photos.iter().map(|p| Path::new(&p.path));
    let fed = offline.run(files, options, |i, answer| {
        score.add(&photos[i], answer);
        bar.inc(1);
        Ok(())
    });
    bar.finish_and_clear();
    fed.map(|()| score)
}

/// A bar on standard error if that is a terminal; nothing otherwise.
fn progress(photos: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template("classifying [{bar:30}] {pos}/{len}, {per_sec}, {eta} left")
            .expect("the template is right; it is the same in every run")
            .progress_chars("=> ");
    ProgressBar::new(photos).with_style(style)
}
