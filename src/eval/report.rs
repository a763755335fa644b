//! The figures of an evaluation as a page for people and as one JSON object.
//!
//! Called by `eval` at the end; computes nothing but the rate.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::score::{ClassScore, Failure, Proportion, Score};
use crate::preprocess::ExifMode;
use crate::registry::LoadedModel;
use crate::table::Table;
use crate::visible::visible;

/// Classes and failures that the page lists; the JSON has all.
const LISTED: usize = 10;

/// Confusions that the page lists for a class.
const CONFUSIONS: usize = 3;

/// What the page and the JSON tell.
#[derive(Debug)]
pub struct Report<'a> {
    /// The model.
    pub model: &'a LoadedModel,
    /// Where the photos lie.
    pub data: &'a Path,
    /// Whether they were turned upright.
    pub exif: ExifMode,
    /// Photos of classes that the model does not have.
    pub left_out: usize,
    /// Photos that a signal came before: the figures are of the others alone.
    pub not_reached: usize,
    /// The figures.
    pub score: &'a Score,
    /// From the first photo read to the last answer.
    pub elapsed: Duration,
}

/// The JSON object.
#[derive(Serialize)]
struct Document<'a> {
    model: &'a str,
    sha256: &'a str,
    precision: &'static str,
    precision_reason: &'a str,
    instructions: &'a str,
    data: String,
    exif: &'static str,
    photos: usize,
    left_out: usize,
    not_reached: usize,
    top1: Proportion,
    top5: Proportion,
    mean_confidence: Option<f64>,
    calibration_error: Option<f64>,
    seconds: f64,
    images_per_second: f64,
    /// Every class of the labels, the worst first.
    classes: Vec<ClassDocument<'a>>,
    failures: &'a [Failure],
}

#[derive(Serialize)]
struct ClassDocument<'a> {
    #[serde(flatten)]
    class: ClassName<'a>,
    photos: usize,
    right: usize,
    failed: usize,
    taken_for: Vec<Confusion<'a>>,
}

#[derive(Serialize)]
struct Confusion<'a> {
    #[serde(flatten)]
    class: ClassName<'a>,
    photos: usize,
}

#[derive(Serialize)]
struct ClassName<'a> {
    class_index: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    wnid: Option<&'a str>,
    label: &'a str,
}

impl Report<'_> {
    fn class(&self, class_index: usize) -> ClassName<'_> {
        let label = self
            .model
            .labels
            .get(class_index)
            .expect("labels and answers are of the model's classes");
        ClassName {
            class_index,
            wnid: label.wnid.as_deref(),
            label: &label.label,
        }
    }

    fn rate(&self) -> f64 {
        self.score.photos() as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// One JSON object, without a line end.
    ///
    /// # Errors
    /// None that can happen: every key is text, and numbers that are not finite become `null`.
    pub fn json(&self) -> serde_json::Result<String> {
        let class = |(index, score): (usize, &ClassScore)| ClassDocument {
            class: self.class(index),
            photos: score.photos,
            right: score.right,
            failed: score.failed,
            taken_for: score
                .confusions()
                .into_iter()
                .map(|(index, photos)| Confusion {
                    class: self.class(index),
                    photos,
                })
                .collect(),
        };
        let spec = self.model.model.spec();
        serde_json::to_string(&Document {
            model: &self.model.name,
            sha256: &self.model.sha256,
            precision: spec.precision.name(),
            precision_reason: &spec.precision_reason,
            instructions: &spec.instructions,
            data: self.data.display().to_string(),
            exif: match self.exif {
                ExifMode::Apply => "apply",
                ExifMode::Ignore => "ignore",
            },
            photos: self.score.photos(),
            left_out: self.left_out,
            not_reached: self.not_reached,
            top1: self.score.top1(),
            top5: self.score.top5(),
            mean_confidence: self.score.mean_confidence(),
            calibration_error: self.score.calibration_error(),
            seconds: self.elapsed.as_secs_f64(),
            images_per_second: self.rate(),
            classes: self.score.worst_classes().into_iter().map(class).collect(),
            failures: self.score.failures(),
        })
    }

    /// A page of text.
    #[must_use]
    pub fn text(&self) -> String {
        let score = self.score;
        let mut figures = Table::of_pairs(14);
        let mut row = |key: &str, value: &str| figures.row([key, value]);
        let spec = self.model.model.spec();
        row("model", &self.model.name);
        row("precision", &spec.precision_reason);
        row("instructions", &spec.instructions);
        row("photos", &self.photos_words());
        let share = |s: Proportion| {
            let Proportion {
                right,
                accuracy,
                low,
                high,
            } = s;
            format!(
                "{accuracy:.4} ({right}/{}), 95% interval {low:.4} to {high:.4}",
                score.photos()
            )
        };
        row("top-1", &share(score.top1()));
        row("top-5", &share(score.top5()));
        let mean = |value: Option<f64>| value.map_or("n/a".into(), |v| format!("{v:.4}"));
        row("confidence", &mean(score.mean_confidence()));
        row("ECE", &mean(score.calibration_error()));
        row(
            "speed",
            &format!(
                "{:.1} images/s ({:.1} s)",
                self.rate(),
                self.elapsed.as_secs_f64()
            ),
        );
        let mut text = figures.to_string();
        self.list_classes(&mut text);
        self.list_failures(&mut text);
        text
    }

    fn photos_words(&self) -> String {
        let mut words = self.score.photos().to_string();
        for (count, what) in [
            (self.score.failures().len(), "without an answer"),
            (self.left_out, "more left out, not of its classes"),
            (self.not_reached, "more not reached: the run was ended"),
        ] {
            if count > 0 {
                let _ = write!(words, ", {count} {what}");
            }
        }
        words
    }

    fn list_classes(&self, text: &mut String) {
        let worst = self.score.worst_classes();
        let wrong: Vec<_> = worst.iter().filter(|(_, c)| c.wrong() > 0).collect();
        if wrong.is_empty() {
            return;
        }
        text.push_str("\nworst classes, right answers of photos:\n");
        for (index, class) in wrong.iter().take(LISTED) {
            let mut taken: Vec<String> = class
                .confusions()
                .into_iter()
                .take(CONFUSIONS)
                .map(|(other, photos)| counted(&self.class(other).to_string(), photos))
                .collect();
            if class.failed > 0 {
                taken.push(counted("no answer", class.failed));
            }
            let _ = writeln!(
                text,
                "  {:>3} of {:<3} {}: {}",
                class.right,
                class.photos,
                self.class(*index),
                taken.join(", ")
            );
        }
        more(text, wrong.len(), "classes with wrong answers");
    }

    fn list_failures(&self, text: &mut String) {
        let failures = self.score.failures();
        if failures.is_empty() {
            return;
        }
        text.push_str("\nwithout an answer, counted as wrong:\n");
        for Failure { file, error } in failures.iter().take(LISTED) {
            let _ = writeln!(text, "  {}: {}", visible(file), visible(error));
        }
        more(text, failures.len(), "photos without an answer");
    }
}

impl std::fmt::Display for ClassName<'_> {
    /// The wnid and the short name; the index where there is no wnid.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let label = visible(self.label);
        match self.wnid {
            Some(wnid) => write!(f, "{wnid} {label}"),
            None => write!(f, "{} {label}", self.class_index),
        }
    }
}

fn counted(what: &str, count: usize) -> String {
    match count {
        1 => what.to_owned(),
        _ => format!("{what} ×{count}"),
    }
}

fn more(text: &mut String, all: usize, what: &str) {
    if all > LISTED {
        let _ = writeln!(text, "  … {} more {what}; --json has all", all - LISTED);
    }
}
