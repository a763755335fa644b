//! One line a photo: what it shows, what the model said, and at which place the right class was.
//!
//! Written by `eval --answers` while it runs, so that whoever ends it has the lines until then.

use std::path::Path;

use serde::Serialize;

use crate::classifier::Classification;
use crate::cli::classify::form::Form;
use crate::cli::destination::{Destination, check_name};
use crate::cli::offline::NoAnswer;
use crate::cli::one_answer::{Outcome, csv_line, error_text};
use crate::cli::output::UsageError;
use crate::eval::Photo;
use crate::registry::Labels;

/// The columns of CSV.
const COLUMNS: [&str; 10] = [
    "file",
    "true_class_index",
    "true_wnid",
    "true_label",
    "true_rank",
    "class_index",
    "wnid",
    "label",
    "probability",
    "error",
];

/// The destination of the lines, and their format.
pub(super) struct Answers {
    output: Destination,
    is_csv: bool,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    file: &'a str,
    r#true: TrueClass<'a>,
    #[serde(flatten)]
    outcome: Outcome<'a>,
}

/// What the labels say of the photo.
#[derive(Serialize)]
struct TrueClass<'a> {
    class_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    wnid: Option<&'a str>,
    label: &'a str,
    /// Its place in the answer, from 1; `null` if it is not among them.
    rank: Option<usize>,
}

impl Answers {
    /// Refuses a name that is that of another format.
    ///
    /// # Errors
    /// A usage error.
    pub(super) fn check(path: &Path) -> Result<(), UsageError> {
        check_name("--answers", path, &["csv", "jsonl", "ndjson"])
    }

    /// Opens the file of a right name and leaves its content, until the photos are known to be right.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn open(path: &Path) -> anyhow::Result<Answers> {
        Ok(Answers {
            output: Destination::open(Some(path))?,
            is_csv: Form::of_name(path) == Some(Form::Csv),
        })
    }

    /// Refuses to replace what is to be read.
    ///
    /// # Errors
    /// A usage error with the first of the `inputs` that is the file.
    pub(super) fn refuse_inputs<'a>(
        &self,
        inputs: impl Iterator<Item = &'a Path>,
    ) -> Result<(), UsageError> {
        self.output.refuse_inputs(inputs)
    }

    /// Begins the file anew.
    ///
    /// # Errors
    /// As [`Answers::open`].
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        self.output.cut(0)?;
        match self.is_csv {
            true => self.output.write_csv(&csv_line(COLUMNS)),
            false => Ok(()),
        }
    }

    /// Writes the line of a photo.
    ///
    /// # Errors
    /// As [`Answers::open`].
    pub(super) fn write(
        &mut self,
        photo: &Photo,
        labels: &Labels,
        answer: &Result<Classification, NoAnswer>,
    ) -> anyhow::Result<()> {
        let label = labels
            .get(photo.class_index)
            .expect("a photo's class is one of the model's");
        let classes = answer.as_ref().map(|answer| &answer.predictions[..]);
        let classes = classes.unwrap_or_default();
        let place = classes
            .iter()
            .position(|p| p.class_index == photo.class_index);
        let truth = TrueClass {
            class_index: photo.class_index,
            wnid: label.wnid.as_deref(),
            label: &label.label,
            rank: place.map(|place| place + 1),
        };
        if !self.is_csv {
            let line = JsonLine {
                file: &photo.file,
                r#true: truth,
                outcome: Outcome::new(answer),
            };
            return self.output.write(&(serde_json::to_string(&line)? + "\n"));
        }
        let first = classes.first();
        let field = |text: Option<String>| text.unwrap_or_default();
        self.output.write_csv(&csv_line([
            &photo.file,
            &truth.class_index.to_string(),
            truth.wnid.unwrap_or(""),
            truth.label,
            &field(truth.rank.map(|rank| rank.to_string())),
            &field(first.map(|p| p.class_index.to_string())),
            first.and_then(|p| p.label.wnid.as_deref()).unwrap_or(""),
            first.map_or("", |p| &p.label.label),
            &field(first.map(|p| p.probability.to_string())),
            &error_text(answer),
        ]))
    }
}
