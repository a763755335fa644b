//! `resnet eval --data DIR`: a labelled folder through the served path, and how often the answers are right.
//!
//! Labels, score and report are those of the room `eval`; here are the flags, the photos and the progress.

mod answers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Error;
use clap::Args;

use self::answers::Answers;
use super::image_file::read_image;
use super::offline::{Offline, OfflineArgs};
use super::output::print;
use super::progress::Progress;
use super::signals::Stop;
use crate::classifier::ClassifyOptions;
use crate::eval::{Listing, Photo, Report, Score, TOP_K};

/// The flags of `resnet eval`.
#[derive(Debug, Args)]
#[command(after_help = "\
Labels are a table or folders.

A table is DIR/labels.tsv: a head line, then one photo a line, columns separated by tabs. The column file is relative to \
DIR or to DIR/photos. The column wnid names the class where the model's labels have wnids; class_index must then agree \
with it. Elsewhere class_index is the place in the model's output.

Without a table, each folder of DIR is a class, named by its wnid, its name or its place in the model's output. The \
files in it that are named as images are its photos.

A photo that cannot be read or is refused counts as wrong and is named. docs/ACCURACY.md defines every figure.

Examples:
  resnet eval --data photos --model resnet50
  resnet eval --data photos --known-only --json
  resnet eval --data photos --answers answers.csv

Exit code 0: every photo has an answer. 1: one has none, the photos or their labels are not there or do not fit, or the \
model failed. 2: wrong usage. 130: ended by Ctrl-C, with the figures of the photos until then.")]
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

    /// Write a line for each photo, its class and the answer, into this file: CSV if its name ends in .csv, JSON if it
    /// ends in .jsonl
    #[arg(long, value_name = "OUT")]
    answers: Option<PathBuf>,

    #[command(flatten)]
    offline: OfflineArgs,
}

/// Runs the command; exit code 1 if a photo has no answer.
///
/// # Errors
/// If the labels do not fit, the model cannot be served, or the output cannot be written.
pub(crate) fn run(args: &EvalArgs) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.answers {
        Answers::check(path)?;
    }
    let listing = Listing::read(&args.data, args.labels.as_deref()).map_err(Error::msg)?;
    let answers = args.answers.as_deref().map(Answers::open).transpose()?;
    let offline = args.offline.start("eval")?;
    let info = &offline.model.info;
    let labelled = listing
        .resolve(&info.name, &info.labels, args.known_only)
        .map_err(Error::msg)?;
    if let Some(answers) = &answers {
        let photos = labelled.photos.iter().map(|photo| &*photo.path);
        let table = args.data.join("labels.tsv");
        answers.refuse_inputs(photos.chain(args.labels.as_deref()).chain([&*table]))?;
    }
    let photos = labelled.photos.len();
    let start = Instant::now();
    let (score, stopped) = classify(args, &offline, labelled.photos, answers)?;
    let report = Report {
        model: info,
        data: &args.data,
        exif: args.offline.exif.mode(),
        left_out: labelled.left_out,
        not_reached: photos - score.photos(),
        score: &score,
        elapsed: start.elapsed(),
    };
    print(&if args.json {
        report.json()? + "\n"
    } else {
        report.text()
    })?;
    Ok(match stopped {
        Some(signal) => ExitCode::from(signal.exit_code()),
        None if score.failures().is_empty() => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    })
}

/// The score of the photos, of all of them or until a signal.
fn classify(
    args: &EvalArgs,
    offline: &Offline,
    photos: Vec<Photo>,
    mut answers: Option<Answers>,
) -> anyhow::Result<(Score, Option<Stop>)> {
    let labels = &offline.model.info.labels;
    let options = ClassifyOptions {
        top_k: TOP_K.min(labels.len()),
        exif: args.offline.exif.mode(),
        ..ClassifyOptions::default()
    };
    if let Some(answers) = &mut answers {
        answers.begin()?;
    }
    let progress = Progress::start(|| photos.len() as u64);
    let mut score = Score::default();
    let images = photos.into_iter().map(|photo| {
        let image = read_image(&photo.path);
        (photo, image)
    });
    let ran = offline.run(images, options, |photo, answer| {
        progress.step();
        if let Some(answers) = &mut answers {
            answers.write(&photo, labels, &answer)?;
        }
        score.add(&photo, answer);
        Ok(())
    });
    progress.end();
    Ok((score, ran?))
}
