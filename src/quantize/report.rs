//! What quantizing a network cost and gained, for people and for programs.

use serde::Serialize;

use super::Job;
use super::answers::Answers;
use crate::eval::Proportion;
use crate::table::Table;

/// The figures of a quantized network.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The model it was made of.
    pub of: Before,
    /// Photos that all figures are of.
    pub photos: usize,
    /// Photos on which the values of layers were observed; they are among `photos`.
    pub calibrated_on: usize,
    /// Photos whose most probable class is the right one, before; none if no class is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1_f32: Option<Proportion>,
    /// Photos whose most probable class is the right one, after; none if no class is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top1_int8: Option<Proportion>,
    /// Photos with the same class before and after.
    pub agreement: Proportion,
    /// Points of accuracy, or of agreement where no class is known, that might be lost.
    pub max_drop: f64,
    /// Layers with weights that could be bytes.
    pub layers: usize,
    /// The layers among them that stay in single precision.
    pub kept: Vec<String>,
    /// The network's time over that in single precision, by the fastest photo of each, here.
    pub time: f64,
}

/// A model before it was quantized.
#[derive(Debug, Clone, Serialize)]
pub struct Before {
    /// Its name.
    pub model: String,
    /// SHA-256 of its file, in hex.
    pub sha256: String,
    /// Bytes of its file.
    pub bytes: u64,
}

impl Report {
    pub(super) fn new(
        job: &Job<'_>,
        calibrated_on: usize,
        (before, after): (&Answers, &Answers),
        (layers, kept): (usize, Vec<String>),
        time: f64,
    ) -> Report {
        Report {
            of: Before {
                model: job.model.name.clone(),
                sha256: job.model.sha256.clone(),
                bytes: job.bytes,
            },
            photos: before.photos(),
            calibrated_on,
            top1_f32: before.top1(),
            top1_int8: after.top1(),
            agreement: after.agreement(before),
            max_drop: job.max_drop,
            layers,
            kept,
            time,
        }
    }

    /// One JSON object, on one line.
    ///
    /// # Panics
    /// Never: all of it is numbers and text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("numbers and text")
    }

    /// A table.
    #[must_use]
    pub fn text(&self) -> String {
        let mut table = Table::of_pairs(12);
        let shown = |p: Proportion| {
            format!(
                "{:.2}% ({} of {}; 95% interval {:.1} to {:.1})",
                100.0 * p.accuracy,
                p.right,
                self.photos,
                100.0 * p.low,
                100.0 * p.high
            )
        };
        table.row([
            "photos",
            &format!(
                "{}, of which {} told which values occur",
                self.photos, self.calibrated_on
            ),
        ]);
        if let (Some(before), Some(after)) = (self.top1_f32, self.top1_int8) {
            table.row(["top-1 f32", &shown(before)]);
            table.row(["top-1 int8", &shown(after)]);
        }
        table.row(["same class", &shown(self.agreement)]);
        let kept = match &self.kept[..] {
            [] => format!("all {} on bytes", self.layers),
            kept => format!(
                "{} of {} on bytes; in single precision: {}",
                self.layers - kept.len(),
                self.layers,
                kept.join(", ")
            ),
        };
        table.row(["layers", &kept]);
        table.row(["time", &format!("{:.2} of that in f32", self.time)]);
        table.to_string()
    }
}
