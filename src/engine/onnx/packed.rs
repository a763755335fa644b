//! `MatMulNBits` of 8 bits, which the importer does not unpack: the weights in single precision, and their product.
//!
//! Called by `synonyms`. Source: ONNX Runtime's definition, `ContribOperators.md`.

use tract_onnx::pb::tensor_proto::DataType;

use super::super::proto::{integer, integers};
use super::numbers::one;
use super::words::Words;

impl Words<'_> {
    /// Bytes `[N, blocks, block]`, each less the zero point and times the scale of its block; the last block of a row may
    /// reach beyond it. Of fewer bits it stays as it is.
    pub(super) fn mat_mul_of_bytes(&mut self) -> Result<(), String> {
        let node = self.node;
        if one(node, "bits") != Some(8.0) {
            return Ok(());
        }
        if self.input(4).is_some() {
            return Err("its g_idx is given: blocks of rows out of order are not served".into());
        }
        let number = |name| one(node, name).map(|n| n as i64);
        let of_attribute = |name| number(name).ok_or_else(|| format!("it has no {name}"));
        let (rows, width, block) = (
            of_attribute("N")?,
            of_attribute("K")?,
            of_attribute("block_size")?,
        );
        let as_floats = || vec![integer("to", DataType::Float as i64)];
        let of_blocks = self.integers(&[rows, -1, 1]);
        let scale = self.input(2).ok_or("it has no scales")?;
        let factor = self.aside(scale, |words| {
            words.push("Reshape", &[&of_blocks], Vec::new());
        });
        // The middle of bytes, where none is given.
        let zero = match self.input(3) {
            None => self.floats(&[], &[128.0]),
            Some(zero) => self.aside(zero, |words| {
                words.push("Cast", &[], as_floats());
                words.push("Reshape", &[&of_blocks], Vec::new());
            }),
        };
        let [start, end, axis] = [0, width, 1].map(|number| self.integers(&[number]));
        let flat = self.integers(&[rows, -1]);
        let bytes = self.input(1).ok_or("it has no weights")?;
        let weights = self.aside(bytes, |words| {
            words.push("Cast", &[], as_floats());
            words.push("Sub", &[&zero], Vec::new());
            words.push("Mul", &[&factor], Vec::new());
            words.push("Reshape", &[&flat], Vec::new());
            if width % block != 0 {
                words.push("Slice", &[&start, &end, &axis], Vec::new());
            }
            words.push("Transpose", &[], vec![integers("perm", &[1, 0])]);
        });
        self.push("MatMul", &[&weights], Vec::new());
        if let Some(bias) = self.input(5) {
            self.push("Add", &[bias], Vec::new());
        }
        Ok(())
    }
}
