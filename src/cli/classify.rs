//! `resnet classify FILE…`: the server's answers for files, without a server.
//!
//! Goes through the same `Classifier` as HTTP, by way of `offline`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::offline::{NoAnswer, OfflineArgs};
use super::output::{UsageError, complain, print};
use crate::classifier::{Classification, ClassifyOptions};
use crate::http::{AnswerBody, ApiError, Problem};
use crate::registry::OutputKind;

/// The flags of `resnet classify`.
#[derive(Debug, Args)]
pub(crate) struct ClassifyArgs {
    /// Image files; - reads one image from standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Classes to print for each image [default: 5, or all if the model has fewer]
    #[arg(long, short = 'k', env = "RESNET_TOP_K", value_name = "N")]
    top_k: Option<usize>,

    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    offline: OfflineArgs,
}

/// Classifies the files in order; exit code 1 if one of them has no answer.
///
/// # Errors
/// If the model cannot be served or standard output fails.
pub(crate) fn run(args: &ClassifyArgs) -> anyhow::Result<ExitCode> {
    let offline = args.offline.start("classify")?;
    let info = &offline.model.info;
    let options = ClassifyOptions {
        top_k: top_k(args.top_k, info.labels.len())?,
        exif: args.offline.exif.mode(),
        ..ClassifyOptions::default()
    };
    let mut all_answered = true;
    let files = args.files.iter().map(PathBuf::as_path);
    offline.run(files, options, |i, answer| {
        all_answered &= answer.is_ok();
        report(args, &args.files[i], &info.name, answer)
    })?;
    Ok(if all_answered {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The number of classes to print.
fn top_k(asked: Option<usize>, classes: usize) -> Result<usize, UsageError> {
    match asked {
        None => Ok(ClassifyOptions::default().top_k.min(classes)),
        Some(k) if (1..=classes).contains(&k) => Ok(k),
        Some(k) => Err(UsageError(format!(
            "--top-k is {k}, allowed are 1 to {classes}"
        ))),
    }
}

fn report(
    args: &ClassifyArgs,
    file: &Path,
    model: &str,
    answer: Result<Classification, NoAnswer>,
) -> anyhow::Result<()> {
    let name = file.display().to_string();
    match (answer, args.json) {
        (Ok(c), true) => print(&line(&name, model, Outcome::Answer(AnswerBody::new(&c)))?),
        (Ok(c), false) => print(&table(&name, &c)),
        (Err(NoAnswer::Refused(e)), true) => print(&line(
            &name,
            model,
            Outcome::Problem(ApiError::from(e).problem()),
        )?),
        (Err(NoAnswer::Unreadable(e)), true) => {
            let error = format!("{e:#}");
            print(&line(&name, model, Outcome::Unreadable { error })?)
        }
        (Err(e), false) => {
            complain(&format!("{name}: {e}"));
            Ok(())
        }
    }
}

#[derive(Serialize)]
struct JsonLine<'a> {
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
    Ok(serde_json::to_string(&JsonLine {
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
        let number = match classification.kind {
            OutputKind::Scores => format!("{:7.4}", p.probability),
            OutputKind::Logits | OutputKind::Probabilities => {
                format!("{:6.2}%", p.probability * 100.0)
            }
        };
        // Writing into a string does not fail.
        let _ = writeln!(text, "  {number}  {wnid:<9}  {}", p.label.synset);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_classes_is_lowered_only_where_nobody_asked() {
        assert_eq!(top_k(None, 1000).expect("fine"), 5);
        assert_eq!(top_k(None, 3).expect("fine"), 3);
        assert_eq!(top_k(Some(3), 3).expect("fine"), 3);
        for (asked, classes) in [(5, 3), (0, 3), (4, 3), (1001, 1000)] {
            let error = top_k(Some(asked), classes).expect_err("there are not so many");
            assert!(
                error
                    .to_string()
                    .contains(&format!("is {asked}, allowed are 1 to {classes}")),
                "{error}"
            );
        }
    }
}
