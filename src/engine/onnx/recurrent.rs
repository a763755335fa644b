//! `LSTM`, `GRU` and `RNN` that go backwards alone, which the importer would compute forwards: in a sequence turned round
//! they go forwards. Bounds and activations that the importer does not read are refused.
//!
//! Called by `synonyms`. tract-onnx 0.23.9 walks backwards in the second direction of `bidirectional` only
//! (`ops/rec/common.rs`).

use tract_onnx::pb::NodeProto;

use super::super::proto::text;
use super::words::Words;

/// Whether an operator is a recurrent one.
pub(super) fn is_recurrent(op_type: &str) -> bool {
    matches!(op_type, "LSTM" | "GRU" | "RNN")
}

/// From here on a `clip` bounds nothing: no weights of `f32` make such a sum.
const UNBOUND: f32 = 1e30;

/// Holds a recurrent node to what the importer reads of it, which is neither of its bounds nor other activations than
/// those of each direction that ONNX has as the default.
fn check(node: &NodeProto) -> Result<(), String> {
    let defaults: &[&[u8]] = match &*node.op_type {
        "LSTM" => &[b"Sigmoid", b"Tanh", b"Tanh"],
        "GRU" => &[b"Sigmoid", b"Tanh"],
        _ => &[b"Tanh"],
    };
    for attribute in &node.attribute {
        match &*attribute.name {
            "clip" if attribute.f < UNBOUND => {
                let clip = attribute.f;
                return Err(format!(
                    "its clip is {clip}, served is none: export it without"
                ));
            }
            "input_forget" if attribute.i != 0 => {
                return Err(format!("its input_forget is {}, served is 0", attribute.i));
            }
            "activations" => {
                let mut named = attribute.strings.iter().enumerate();
                let other = named
                    .find(|(i, name)| !name.eq_ignore_ascii_case(defaults[i % defaults.len()]));
                if let Some((i, name)) = other {
                    let name = String::from_utf8_lossy(name);
                    let default = String::from_utf8_lossy(defaults[i % defaults.len()]);
                    return Err(format!(
                        "its activation {i} is \"{name}\", served is {default}"
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

impl Words<'_> {
    /// The same where it goes forwards, or in both directions.
    ///
    /// # Errors
    /// The attribute that is not served, and its value.
    pub(super) fn recurrent(&mut self) -> Result<(), String> {
        check(self.node)?;
        let direction = self.node.attribute.iter().find(|a| a.name == "direction");
        match direction.is_some_and(|a| a.s == b"reverse") {
            true => self.go_forwards(),
            false => Ok(()),
        }
    }

    /// The same forwards, in its sequence turned round; so is what it answers at each step, but not its last state.
    fn go_forwards(&mut self) -> Result<(), String> {
        const SINCE: i64 = 10;
        if self.version < SINCE {
            return Err(format!(
                "it goes backwards in operator set {}, allowed is that from set {SINCE} on: export it anew",
                self.version
            ));
        }
        let node = self.node;
        let batch_first = node
            .attribute
            .iter()
            .any(|a| a.name == "layout" && a.i == 1);
        // `[steps, batch, …]` and `[steps, directions, batch, …]`, or with the batch in front.
        let steps = i64::from(batch_first);
        self.turn_round(steps);
        let mut attributes = node.attribute.clone();
        attributes.retain(|a| a.name != "direction");
        attributes.push(text("direction", "forward"));
        self.copy(&node.op_type, attributes);
        if node.output.first().is_some_and(|name| !name.is_empty()) {
            let states = node.output.iter().skip(1).cloned();
            let forwards = self.nodes.last_mut().expect("it was pushed");
            forwards.output.extend(states);
            self.turn_round(steps);
        }
        Ok(())
    }

    /// The value before with the last along an axis first.
    fn turn_round(&mut self, axis: i64) {
        let [last, before_first, axes, step] =
            [-1, i64::MIN + 1, axis, -1].map(|number| self.integers(&[number]));
        self.push("Slice", &[&last, &before_first, &axes, &step], Vec::new());
    }
}
