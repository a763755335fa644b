//! What numbers a network takes for a pixel, where its first layers tell: networks that normalize images themselves.
//!
//! Called by `onnx` on the decoded file. Where these layers change pixels, but do not tell which, nothing is guessed.

#[cfg(test)]
mod tests;

use tract_onnx::pb::GraphProto;

use super::channels::{Channel, Value};
use super::node_name;
use super::walk::{Followed, follow};

/// The numbers that stand for a pixel at the network's input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Pixels {
    /// Normalized by mean and deviation.
    #[default]
    Normalized,
    /// From 0 to 1; the network normalizes them.
    Unit,
    /// From 0 to 255; the network normalizes them.
    Bytes,
    /// Changed by the network in a way that does not tell; with the reason.
    Unknown(String),
}

impl Pixels {
    /// What white is, where pixels are taken as they are; none if the model's own mean and deviation tell.
    #[must_use]
    pub fn white(&self) -> Option<f32> {
        match self {
            Pixels::Normalized | Pixels::Unknown(_) => None,
            Pixels::Unit => Some(1.0),
            Pixels::Bytes => Some(255.0),
        }
    }
}

/// What is said of a network that subtracts means in the order of blue, green and red.
const OF_BGR: &str = "its first operators subtract means in the order of blue, green and red, and it is given RGB unless \
    model.toml says otherwise: if it was trained on BGR, as Caffe's networks are, say [preprocess] channels = \"bgr\"";

/// What the first operators of a graph make of its input `name` says of the numbers that it takes, and what is to be
/// said of that.
pub(super) fn of(graph: &GraphProto, name: &str) -> (Pixels, Option<String>) {
    let followed = follow(graph, name);
    let pixels = pixels(&followed);
    let is_bgr = || followed.read.iter().any(is_of_bgr);
    let note = matches!(pixels, Pixels::Unit | Pixels::Bytes) && is_bgr();
    (pixels, note.then(|| OF_BGR.to_owned()))
}

fn pixels(followed: &Followed<'_>) -> Pixels {
    match followed.range.map(of_range) {
        Some(Some(Pixels::Normalized)) | None => {}
        Some(Some(pixels)) => return pixels,
        Some(None) => {
            let (least, most) = followed.range.unwrap_or_default();
            return Pixels::Unknown(format!(
                "its first operators cut what is not from {least} to {most}"
            ));
        }
    }
    if let Some(node) = followed.lost {
        return Pixels::Unknown(format!(
            "node \"{}\" ({}) changes pixels in a way that does not tell which it takes",
            node_name(node),
            node.op_type
        ));
    }
    let mut read = followed.read.iter().map(of_value);
    let first = read.next().unwrap_or_default();
    match read.all(|other| other == first) {
        true => first,
        false => Pixels::Unknown("its first operators take pixels in several ways".into()),
    }
}

/// The numbers of a network that leaves those of this range as they are; none if that is neither of the usual ones nor
/// as wide as normalized pixels.
fn of_range((least, most): (f32, f32)) -> Option<Pixels> {
    let near = |value: f32, to: f32, by: f32| (value - to).abs() <= by;
    match (least, most) {
        _ if near(least, 0.0, 0.02) && near(most, 1.0, 0.1) => Some(Pixels::Unit),
        _ if near(least, 0.0, 4.0) && near(most, 255.0, 15.0) => Some(Pixels::Bytes),
        (..=-1.5, 1.5..) if least.is_finite() && most.is_finite() => Some(Pixels::Normalized),
        _ => None,
    }
}

/// The numbers of a network whose layers take this value: a pixel of mean brightness is about zero in it, and a deviation
/// about one.
fn of_value(value: &Value) -> Pixels {
    let gains = || value.channels.iter().map(Channel::gain);
    let largest = gains().map(f32::abs).fold(0.0, f32::max);
    // Of what is only a difference of colors, brightness does not tell.
    let bright = value
        .channels
        .iter()
        .filter(|c| c.gain().abs() >= 0.1 * largest);
    let count = bright.clone().count() as f32;
    let scale = bright.clone().map(Channel::gain).sum::<f32>() / count;
    let shift = bright.map(|c| c.shift).sum::<f32>() / count;
    let (middle, deviation) = (-shift / scale, 1.0 / scale);
    let near = |low: f32, high: f32| low <= deviation && deviation <= high;
    let is_middle = |low: f32, high: f32| low <= middle && middle <= high;
    match scale > 0.0 && scale.is_finite() {
        true if near(30.0, 300.0) && is_middle(0.0, 140.0) => Pixels::Bytes,
        true if scale == 1.0 && is_middle(30.0, 140.0) => Pixels::Bytes,
        true if near(0.15, 0.55) && is_middle(0.25, 0.6) => Pixels::Unit,
        true if scale == 1.0 && is_middle(0.3, 0.6) => Pixels::Unit,
        // Made bytes again.
        true if near(1.0 / 256.0, 1.0 / 100.0) && is_middle(0.0, 0.6) => Pixels::Unit,
        // 2 · 0.449 - 1 and 2 · 0.226: ImageNet's mean and deviation where black is -1 and white 1.
        true if near(0.35, 0.6) && is_middle(-0.3, 0.1) => Pixels::Unknown(format!(
            "its first operators multiply pixels by {scale} and add {shift}, as those of a network do that takes pixels from \
             -1 to 1, mean = [0.5, 0.5, 0.5] and std = [0.5, 0.5, 0.5]"
        )),
        true if near(0.6, 1.7) && is_middle(-0.5, 0.5) => Pixels::Normalized,
        // ImageNet's mean and deviation made 0.5 and 0.5, as by Inception: 0.5 / 0.226 and (0.5 - 0.449) / 0.226.
        true if near(1.8, 2.6) && is_middle(0.05, 0.5) => Pixels::Normalized,
        _ => Pixels::Unknown(format!(
            "its first operators multiply pixels by {scale} and add {shift}, which does not tell which it takes"
        )),
    }
}

/// Whether what is subtracted grows from the first channel of the input to the last, as in photos from blue to red.
fn is_of_bgr(value: &Value) -> bool {
    let mean = |source: usize| {
        let of_source = |c: &&Channel| c.source() == Some(source);
        let channel = value.channels.iter().find(of_source)?;
        Some(-channel.shift / channel.gain())
    };
    match [0, 1, 2].map(mean) {
        [Some(blue), Some(green), Some(red)] => {
            blue < green && green < red && (red - blue) > 0.1 * green
        }
        _ => false,
    }
}
