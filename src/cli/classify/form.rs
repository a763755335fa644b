//! What answers look like: a table for people, JSON lines or CSV for programs.
//!
//! Used by `classify` for each file.

use std::fmt::Write as _;
use std::path::Path;

use clap::ValueEnum;
use serde::Serialize;

use crate::classifier::{Classification, Prediction};
use crate::cli::destination::Destination;
use crate::cli::offline::NoAnswer;
use crate::cli::one_answer::{Outcome, csv_line, error_text};
use crate::registry::OutputKind;
use crate::visible::visible;

/// How answers are written.
///
/// `eval` asks here what the name of its answers means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    Table,
    /// One JSON object a file: `file`, `model`, and the answer as the server gives it, or `error`
    Jsonl,
    /// A line for each class of each file, under a line that names the columns
    Csv,
}

/// The columns of CSV.
pub(super) const COLUMNS: [&str; 8] = [
    "file",
    "model",
    "rank",
    "class_index",
    "wnid",
    "label",
    "probability",
    "error",
];

impl Form {
    /// What the name of an output asks for; none of a name that asks for something else.
    pub(crate) fn of_name(path: &Path) -> Option<Form> {
        let ending = path.extension().unwrap_or_default();
        match &*ending.to_str()?.to_ascii_lowercase() {
            "csv" => Some(Form::Csv),
            "jsonl" | "ndjson" => Some(Form::Jsonl),
            "" | "txt" => Some(Form::Table),
            _ => None,
        }
    }

    /// What stands before the first answer.
    pub(super) fn head(self) -> String {
        match self {
            Form::Table | Form::Jsonl => String::new(),
            Form::Csv => csv_line(COLUMNS),
        }
    }

    /// Writes text of this form.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn write_to(self, output: &mut Destination, text: &str) -> anyhow::Result<()> {
        match self {
            Form::Csv => output.write_csv(text),
            Form::Table | Form::Jsonl => output.write(text),
        }
    }

    /// The whole of what is written of a file.
    ///
    /// # Errors
    /// None that can happen: every key is text, and no number is other than finite.
    pub(super) fn answer(
        self,
        file: &str,
        model: &str,
        answer: &Result<Classification, NoAnswer>,
    ) -> serde_json::Result<String> {
        match self {
            Form::Table => Ok(table(file, answer)),
            Form::Csv => Ok(csv(file, model, answer)),
            Form::Jsonl => {
                let outcome = Outcome::new(answer);
                let line = JsonLine {
                    file,
                    model,
                    outcome,
                };
                Ok(serde_json::to_string(&line)? + "\n")
            }
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

fn table(file: &str, answer: &Result<Classification, NoAnswer>) -> String {
    let file = visible(file);
    let Ok(classification) = answer else {
        return format!("{file}: {}\n", error_text(answer));
    };
    let mut text = match &classification.image {
        Some(image) => format!(
            "{file} ({} {}×{})\n",
            image.format, image.width, image.height
        ),
        None => format!("{file}\n"),
    };
    for p in &classification.predictions {
        let wnid = p.label.wnid.as_deref().unwrap_or("");
        let number = match classification.kind {
            OutputKind::Scores => format!("{:7.4}", p.probability),
            OutputKind::Logits | OutputKind::Probabilities => {
                format!("{:6.2}%", p.probability * 100.0)
            }
        };
        let label = visible(&p.label.synset);
        // Writing into a string does not fail.
        let _ = writeln!(text, "  {number}  {wnid:<9}  {label}");
    }
    text
}

fn csv(file: &str, model: &str, answer: &Result<Classification, NoAnswer>) -> String {
    let line = |(rank, p): (usize, &Prediction)| {
        csv_line([
            file,
            model,
            &(rank + 1).to_string(),
            &p.class_index.to_string(),
            p.label.wnid.as_deref().unwrap_or(""),
            &p.label.label,
            &p.probability.to_string(),
            "",
        ])
    };
    match answer {
        Ok(answer) => answer.predictions.iter().enumerate().map(line).collect(),
        Err(_) => csv_line([file, model, "", "", "", "", "", &error_text(answer)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_asks_for_a_form_in_any_case() {
        for (name, form) in [
            ("a.csv", Some(Form::Csv)),
            ("a.CSV", Some(Form::Csv)),
            ("a.Jsonl", Some(Form::Jsonl)),
            ("a.ndjson", Some(Form::Jsonl)),
            ("a.TXT", Some(Form::Table)),
            ("a", Some(Form::Table)),
            ("a.csv.gz", None),
        ] {
            assert_eq!(Form::of_name(Path::new(name)), form, "{name}");
        }
    }
}
