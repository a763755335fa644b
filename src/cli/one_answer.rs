//! One file's answer as programs read it: a line of JSON, or the fields of a line of CSV.
//!
//! Used by the commands that classify files. An answer's words are those of `POST /classify`.

use serde::Serialize;

use super::offline::NoAnswer;
use crate::classifier::Classification;
use crate::http::{AnswerBody, Problem};

/// What a line of JSON says of a file: its classes, or in `error` why it has none.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Outcome<'a> {
    Answer(AnswerBody<'a>),
    Refused {
        #[serde(flatten)]
        problem: Problem,
        error: String,
    },
    Unreadable {
        error: String,
    },
}

impl<'a> Outcome<'a> {
    /// The answer or the reason.
    pub(crate) fn new(answer: &'a Result<Classification, NoAnswer>) -> Outcome<'a> {
        match answer {
            Ok(classification) => Outcome::Answer(AnswerBody::new(classification)),
            Err(NoAnswer::Unreadable(_)) => Outcome::Unreadable {
                error: error_text(answer),
            },
            Err(NoAnswer::Refused(error)) => Outcome::Refused {
                problem: error.problem(),
                error: error_text(answer),
            },
        }
    }
}

/// Why a file has no answer; empty where it has one.
pub(crate) fn error_text(answer: &Result<Classification, NoAnswer>) -> String {
    answer
        .as_ref()
        .err()
        .map(NoAnswer::to_string)
        .unwrap_or_default()
}

/// A line of CSV, quoted as RFC 4180 says, with its end.
pub(crate) fn csv_line<const N: usize>(fields: [&str; N]) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let line = writer
        .write_record(fields)
        .ok()
        .and_then(|()| writer.into_inner().ok());
    let line = line.and_then(|line| String::from_utf8(line).ok());
    line.expect("a vector takes every record, and text stays text")
}
