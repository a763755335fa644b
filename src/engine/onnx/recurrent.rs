//! `LSTM`, `GRU` and `RNN` that go backwards alone, which the importer would compute forwards: in a sequence turned round
//! they go forwards.
//!
//! Called by `synonyms`. tract-onnx 0.23.9 walks backwards in the second direction of `bidirectional` only
//! (`ops/rec/common.rs`).

use tract_onnx::pb::NodeProto;

use super::super::proto::text;
use super::words::Words;

/// Whether a node is a recurrent one that only goes backwards.
pub(super) fn goes_backwards(node: &NodeProto) -> bool {
    let direction = node.attribute.iter().find(|a| a.name == "direction");
    matches!(&*node.op_type, "LSTM" | "GRU" | "RNN") && direction.is_some_and(|a| a.s == b"reverse")
}

impl Words<'_> {
    /// The same forwards, in its sequence turned round; so is what it answers at each step, but not its last state.
    pub(super) fn go_forwards(&mut self) -> Result<(), String> {
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
