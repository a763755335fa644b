//! Logarithms of sums of exponentials that stay finite where the exponentials do not.
//!
//! Called by `synonyms`. The importer computes them as they are written, and `exp(89)` is beyond `f32`.

use super::words::Words;

/// From here on `ln(1 + exp(x))` is `x` in single precision: what is missing, `exp(-x)`, is below half a unit in the last
/// place.
const SAME_FROM: f32 = 30.0;

impl Words<'_> {
    /// `max(x, ln(1 + exp(min(x, 30))))`.
    pub(super) fn softplus(&mut self) {
        // Of one shape with a number only from this operator set on.
        if self.version < 8 {
            return;
        }
        let value = self.last.clone();
        let most = self.floats(&[], &[SAME_FROM]);
        self.push("Min", &[&most], Vec::new());
        self.push("Softplus", &[], Vec::new());
        self.push("Max", &[&value], Vec::new());
    }

    /// `m + ln(Σ exp(x - m))`, m being the largest.
    pub(super) fn reduce_log_sum_exp(&mut self) {
        let node = self.node;
        let value = self.last.clone();
        self.copy("ReduceMax", node.attribute.clone());
        let largest = self.last.clone();
        let mut kept = node.attribute.clone();
        kept.retain(|a| a.name != "keepdims");
        value.clone_into(&mut self.last);
        self.copy("ReduceMax", kept);
        let subtracted = std::mem::replace(&mut self.last, value);
        self.push("Sub", &[&subtracted], Vec::new());
        self.copy("ReduceLogSumExp", node.attribute.clone());
        self.push("Add", &[&largest], Vec::new());
    }
}
