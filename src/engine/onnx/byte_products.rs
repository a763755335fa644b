//! Products of bytes said by those of numbers: products of bytes and their sums are whole numbers there too, and the
//! importer's own take a hundred times as long.
//!
//! Called by `synonyms`.

use tract_onnx::pb::tensor_proto::DataType;

use super::super::proto::integer;
use super::numbers::Constants;
use super::words::Words;

/// What a product of matrices of bytes has beside its first operand; every value by its name.
struct Operands<'n> {
    /// The scale and zero point of the first.
    scale: &'n str,
    zero: Option<&'n str>,
    /// The second, with one scale and zero point for all of it or for each column.
    second: &'n str,
    second_scale: &'n str,
    second_zero: Option<&'n str>,
    /// Added to the result.
    bias: Option<&'n str>,
}

impl<'g> Words<'g> {
    /// A convolution of bytes.
    pub(super) fn conv_integer(&mut self, constants: &Constants<'_>) -> Result<(), String> {
        let images = self.last.clone();
        // Said as weights of bytes are, which `widen` makes numbers.
        let shape = |zero: &str| constants.get(zero).map(|numbers| numbers.dims);
        let dims = match self.input(3) {
            None => Vec::new(),
            Some(zero) => shape(zero).ok_or_else(|| {
                format!("the zero point of its weights, \"{zero}\", is no constant")
            })?,
        };
        let count = dims.iter().product::<usize>();
        let dims: Vec<i64> = dims.into_iter().map(|n| n as i64).collect();
        let scale = self.floats(&dims, &vec![1.0; count]);
        let more: Vec<&str> = std::iter::once(&*scale).chain(self.input(3)).collect();
        let axis = (count > 1).then(|| integer("axis", 0));
        self.input(1).unwrap_or_default().clone_into(&mut self.last);
        self.push("DequantizeLinear", &more, axis.into_iter().collect());
        let weights = self.last.clone();
        self.subtract_zero(&images, self.input(2));
        self.push("Conv", &[&weights], self.node.attribute.clone());
        self.push("Cast", &[], vec![integer("to", DataType::Int32 as i64)]);
        Ok(())
    }

    /// A product of matrices of bytes, scaled.
    pub(super) fn mat_mul_integer_to_float(
        &mut self,
        constants: &Constants<'_>,
    ) -> Result<(), String> {
        let operands = Operands {
            scale: self.needed(2, "scale of its first operand")?,
            zero: self.input(4),
            second: self.needed(1, "second operand")?,
            second_scale: self.needed(3, "scale of its second operand")?,
            second_zero: self.input(5),
            bias: self.input(6),
        };
        self.scaled_product(&operands, constants);
        Ok(())
    }

    /// A product of matrices the first of which becomes bytes, by its own range, to be multiplied with bytes.
    pub(super) fn dynamic_quantize_mat_mul(
        &mut self,
        constants: &Constants<'_>,
    ) -> Result<(), String> {
        self.push("DynamicQuantizeLinear", &[], Vec::new());
        let [scale, zero] = [self.another_output(), self.another_output()];
        let operands = Operands {
            scale: &scale,
            zero: Some(&zero),
            second: self.needed(1, "second operand")?,
            second_scale: self.needed(2, "scale of its second operand")?,
            second_zero: self.input(3),
            bias: self.input(4),
        };
        self.scaled_product(&operands, constants);
        Ok(())
    }

    /// The product of the value before, of bytes, and the second operand, as numbers.
    fn scaled_product(&mut self, of: &Operands<'_>, constants: &Constants<'_>) {
        let first = self.last.clone();
        let is_stored = |name: &str| constants.contains(name) && !constants.is_made(name);
        let is_weight = is_stored(of.second) && is_stored(of.second_scale);
        if is_weight {
            // Which `widen` makes numbers.
            let scales = constants.get(of.second_scale);
            let axis = scales.is_some_and(|scales| scales.values.len() > 1);
            let axis = axis.then(|| integer("axis", -1));
            let more: Vec<&str> = std::iter::once(of.second_scale)
                .chain(of.second_zero)
                .collect();
            of.second.clone_into(&mut self.last);
            self.push("DequantizeLinear", &more, axis.into_iter().collect());
        } else {
            self.subtract_zero(of.second, of.second_zero);
        }
        let second = self.last.clone();
        self.subtract_zero(&first, of.zero);
        self.push("MatMul", &[&second], Vec::new());
        self.push("Mul", &[of.scale], Vec::new());
        if !is_weight {
            self.push("Mul", &[of.second_scale], Vec::new());
        }
        if let Some(bias) = of.bias {
            self.push("Add", &[bias], Vec::new());
        }
    }

    /// Bytes less their zero point, as numbers.
    fn subtract_zero(&mut self, bytes: &str, zero: Option<&str>) {
        let to_float = || vec![integer("to", DataType::Float as i64)];
        let zero = zero.map(|zero| {
            zero.clone_into(&mut self.last);
            self.push("Cast", &[], to_float());
            self.last.clone()
        });
        bytes.clone_into(&mut self.last);
        self.push("Cast", &[], to_float());
        if let Some(zero) = zero {
            self.push("Sub", &[&zero], Vec::new());
        }
    }

    /// An operand that must be there.
    fn needed(&self, number: usize, what: &str) -> Result<&'g str, String> {
        let operand = self.input(number);
        operand.ok_or_else(|| format!("it lacks the {what}, input {number}"))
    }
}
