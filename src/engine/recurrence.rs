//! Recurrent operators that begin anew with every image.
//!
//! Called by `import` and `quantize` on the typed graph. tract-core carries the state of a `Scan`, which ONNX's `LSTM`,
//! `GRU`, `RNN` and `Scan` become, from one run of a plan to the next, as a stream of sound wants it; a photo would be
//! answered by what the photo before it was.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::gru_seq::GruSeq;
use tract_onnx::tract_core::ops::scan::Scan;

/// Lets every recurrence begin with its initial state in each run, those inside of others too.
pub(super) fn begin_anew(model: &mut TypedModel) {
    for node in &mut model.nodes {
        if let Some(scan) = node.op_as_mut::<Scan>() {
            scan.reset_every_turn = true;
            begin_anew(&mut scan.body);
        } else if let Some(gru) = node.op_as_mut::<GruSeq>() {
            gru.reset_every_turn = true;
        }
    }
}
