//! Operators that the importer lacks, or computes otherwise than ONNX says, in those that it computes right.
//!
//! Called by `onnx` on the decoded file. What each means is ONNX's own definition; those on bytes are in
//! `byte_products`, ONNX Runtime's own in `fused`.

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::{AttributeProto, GraphProto, NodeProto};

use super::super::LoadError;
use super::super::proto::{float_tensor, integer, integers, tensor_attribute, text};
use super::names::names;
use super::numbers::{Constants, Numbers, numbers_of, one};
use super::recurrent::is_recurrent;
use super::windows::MAX_STEPS;
use super::words::{Words, say_instead};
use super::{domain, graphs_mut, node_name};

/// Whether [`rewrite`] says an operator by others.
pub(super) fn is_known(domain: &str, op_type: &str) -> bool {
    matches!(
        (domain, op_type),
        (
            "",
            "Celu"
                | "ConvInteger"
                | "GlobalLpPool"
                | "LpPool"
                | "ReduceLogSumExp"
                | "Softplus"
                | "Swish"
                | "Upsample"
        ) | (
            "com.microsoft",
            "Attention"
                | "DynamicQuantizeMatMul"
                | "FusedConv"
                | "FusedGemm"
                | "FusedMatMul"
                | "MatMulIntegerToFloat"
                | "MultiHeadAttention"
                | "QuickGelu"
                | "SkipLayerNormalization"
                | "SkipSimplifiedLayerNormalization"
        )
    )
}

/// Says these operators otherwise, those of graphs inside of nodes too; `version` is that of the operator set.
///
/// # Errors
/// [`LoadError::BadNode`] where one has a form that no other operator has.
pub(super) fn rewrite(graph: &mut GraphProto, version: i64) -> Result<(), LoadError> {
    for node in &mut graph.node {
        say_valid_as_no_padding(node);
        for inner in node.attribute.iter_mut().flat_map(graphs_mut) {
            rewrite(inner, version)?;
        }
    }
    let is_meant = |node: &&NodeProto| {
        is_known(domain(&node.domain), &node.op_type)
            || matches!(
                &*node.op_type,
                "ConstantOfShape"
                    | "CumSum"
                    | "MatMulNBits"
                    | "Mean"
                    | "Pad"
                    | "QuantizeLinear"
                    | "Resize"
                    | "SpaceToDepth"
                    | "Trilu"
            )
            || is_recurrent(&node.op_type)
    };
    if !graph.node.iter().any(|node| is_meant(&node)) {
        return Ok(());
    }
    let mut names = names(graph);
    let constants = Constants::of(graph);
    let (mut said, mut added) = (Vec::new(), Vec::new());
    for (i, node) in graph.node.iter().enumerate().filter(|(_, n)| is_meant(n)) {
        let mut words = Words::of(node, version, &mut names);
        words.say(&constants).map_err(|reason| LoadError::BadNode {
            node: node_name(node),
            reason,
        })?;
        let Words {
            nodes, constants, ..
        } = words;
        added.extend(constants);
        if !nodes.is_empty() {
            said.push((i, nodes));
        }
    }
    say_instead(graph, said, added);
    Ok(())
}

/// Of a pool whose windows are `VALID` the importer forgets `ceil_mode`: with no padding it is the same.
fn say_valid_as_no_padding(node: &mut NodeProto) {
    let is_pool = node.op_type.ends_with("Pool") && !node.op_type.contains("Global");
    let is_valid = |a: &AttributeProto| a.name == "auto_pad" && a.s == b"VALID";
    if is_pool && node.attribute.iter().any(is_valid) {
        node.attribute
            .retain(|a| !matches!(&*a.name, "auto_pad" | "pads"));
    }
}

impl Words<'_> {
    fn say(&mut self, constants: &Constants<'_>) -> Result<(), String> {
        match &*self.node.op_type {
            // ONNX's own is the importer's, by `attention`.
            "Attention" if domain(&self.node.domain).is_empty() => {}
            "Attention" => self.attention_of_one()?,
            "Celu" => self.celu()?,
            "ConvInteger" => self.conv_integer(constants)?,
            "ConstantOfShape" => self.constant_of_shape(),
            "CumSum" | "Trilu" => self.with_scalar(1, constants),
            "DynamicQuantizeMatMul" => self.dynamic_quantize_mat_mul(constants)?,
            "FusedConv" => self.fused_conv()?,
            "FusedGemm" => self.fused_gemm()?,
            "FusedMatMul" => self.fused_mat_mul(),
            "GlobalLpPool" => self.global_lp_pool(),
            "LpPool" => self.lp_pool()?,
            "MatMulIntegerToFloat" => self.mat_mul_integer_to_float(constants)?,
            "MatMulNBits" => self.mat_mul_of_bytes()?,
            "Mean" => self.mean(),
            "MultiHeadAttention" => self.multi_head_attention()?,
            "Pad" => self.pad(constants)?,
            "QuantizeLinear" => self.quantize_linear(constants),
            "QuickGelu" => self.quick_gelu(),
            "ReduceLogSumExp" => self.reduce_log_sum_exp(),
            "Resize" => self.resize(constants),
            "Softplus" => self.softplus(),
            "SpaceToDepth" => self.space_to_depth()?,
            "Swish" => self.swish(),
            "GRU" | "LSTM" | "RNN" => self.recurrent()?,
            "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => self.skip_layer_norm(),
            "Upsample" => self.upsample(),
            _ => {}
        }
        Ok(())
    }

    /// The same with a whole number of no axes in place of a row of one, which the importer does not take.
    fn with_scalar(&mut self, input: usize, constants: &Constants<'_>) {
        let node = self.node;
        let given = self.input(input).and_then(|name| constants.get(name));
        let Some(number) = given.filter(|number| number.dims == [1]) else {
            return;
        };
        let number = self.integer(number.values[0] as i64);
        let mut more: Vec<&str> = node.input.iter().skip(1).map(String::as_str).collect();
        more[input - 1] = &number;
        self.push(&node.op_type, &more, node.attribute.clone());
    }

    /// The sum divided by the count. The importer divides by a number with as many axes as the first value has, and so
    /// refuses a later value of more.
    fn mean(&mut self) {
        let count = self.node.input.len();
        if count > 1 {
            self.copy("Sum", Vec::new());
            let count = self.floats(&[], &[count as f32]);
            self.push("Div", &[&count], Vec::new());
        }
    }

    /// The type of bytes that it is to make, which the importer reads from the zero point alone.
    fn quantize_linear(&mut self, constants: &Constants<'_>) {
        let node = self.node;
        let made = node.attribute.iter().find(|a| a.name == "output_dtype");
        let is_signed = made.is_some_and(|a| a.i == i64::from(DataType::Int8 as i32));
        if !is_signed || self.input(2).is_some() {
            return;
        }
        if let Some(dims) = self.input(1).and_then(|name| constants.dims(name)) {
            let zeros = self.zeros(DataType::Int8, &dims);
            let mut attributes = node.attribute.clone();
            attributes.retain(|a| a.name != "output_dtype");
            let scale = node.input[1].clone();
            self.push("QuantizeLinear", &[&scale, &zeros], attributes);
        }
    }

    /// Refuses the order of channels that operator set 28 has added, which the importer does not read.
    fn space_to_depth(&self) -> Result<(), String> {
        let mode = self.node.attribute.iter().find(|a| a.name == "mode");
        match mode.map(|mode| String::from_utf8_lossy(&mode.s)) {
            Some(mode) if mode != "DCR" => Err(format!("its mode is {mode}, served is DCR")),
            _ => Ok(()),
        }
    }

    /// Zeros in single precision where no value is said, which the importer makes in double.
    fn constant_of_shape(&mut self) {
        if self.node.attribute.is_empty() {
            let zero = tensor_attribute("value", float_tensor("", &[1], &[0.0]));
            self.push("ConstantOfShape", &[], vec![zero]);
        }
    }

    /// `alpha · Elu(x / alpha)`.
    fn celu(&mut self) -> Result<(), String> {
        let alpha = one(self.node, "alpha").unwrap_or(1.0) as f32;
        if alpha == 0.0 || !alpha.is_finite() {
            return Err(format!(
                "its alpha is {alpha}, allowed are finite numbers but 0"
            ));
        }
        let alpha = self.floats(&[], &[alpha]);
        self.push("Div", &[&alpha], Vec::new());
        self.push("Elu", &[], Vec::new());
        self.push("Mul", &[&alpha], Vec::new());
        Ok(())
    }

    /// The norm of each channel's values.
    fn global_lp_pool(&mut self) {
        let p = one(self.node, "p").unwrap_or(2.0);
        let shape = self.integers(&[0, 0, -1, 1]);
        self.push("Reshape", &[&shape], Vec::new());
        self.powers(p);
        let kept = integer("keepdims", 1);
        match self.version {
            13.. => {
                let axes = self.integers(&[2]);
                self.push("ReduceSum", &[&axes], vec![kept]);
            }
            _ => self.push("ReduceSum", &[], vec![integers("axes", &[2]), kept]),
        }
        self.root(p);
    }

    /// The root of a window's mean times its elements; what is padded counts as zero.
    fn lp_pool(&mut self) -> Result<(), String> {
        let p = one(self.node, "p").unwrap_or(2.0);
        let window = numbers_of(self.node, "kernel_shape").ok_or("it has no kernel_shape")?;
        let elements: f64 = window.iter().product();
        let of_window = |a: &&AttributeProto| a.name != "p";
        if one(self.node, "ceil_mode").unwrap_or(0.0) != 0.0 {
            return Err("its ceil_mode is 1, allowed is 0: export it with windows that fit".into());
        }
        let mut window: Vec<AttributeProto> = self
            .node
            .attribute
            .iter()
            .filter(of_window)
            .cloned()
            .collect();
        window.push(integer("count_include_pad", 1));
        self.powers(p);
        self.push("AveragePool", &[], window);
        let elements = self.floats(&[], &[elements as f32]);
        self.push("Mul", &[&elements], Vec::new());
        self.root(p);
        Ok(())
    }

    /// `|x|` to the power of `p`.
    fn powers(&mut self, p: f64) {
        self.push("Abs", &[], Vec::new());
        if p != 1.0 {
            let p = self.floats(&[], &[p as f32]);
            self.push("Pow", &[&p], Vec::new());
        }
    }

    fn root(&mut self, p: f64) {
        match p {
            1.0 => {}
            2.0 => self.push("Sqrt", &[], Vec::new()),
            _ => {
                let inverse = self.floats(&[], &[(1.0 / p) as f32]);
                self.push("Pow", &[&inverse], Vec::new());
            }
        }
    }

    /// Negative numbers of a padding cut off; a value that operators make, as quantizers leave it, as a constant, and a row
    /// of one number as that number.
    fn pad(&mut self, constants: &Constants<'_>) -> Result<(), String> {
        let node = self.node;
        let constant = |i: usize| node.input.get(i).and_then(|name| constants.get(name));
        let given = numbers_of(node, "pads").or_else(|| constant(1).map(|c| c.values));
        let made = |i: usize| (node.input.get(i).filter(|name| constants.is_made(name))).is_some();
        let is_odd = |value: &Numbers| made(2) || value.dims == [1];
        let value = constant(2).filter(|value| is_odd(value) && value.values.len() == 1);
        let cuts = |pads: &[f64]| pads.iter().any(|p| *p < 0.0);
        let Some(pads) = given.filter(|pads| cuts(pads) || value.is_some()) else {
            return Ok(());
        };
        let is_beyond = |p: &&f64| !(-MAX_STEPS as f64..=MAX_STEPS as f64).contains(*p);
        if let Some(beyond) = pads.iter().find(is_beyond) {
            return Err(format!(
                "its pads holds {beyond:.0}, allowed are -{MAX_STEPS} to {MAX_STEPS}"
            ));
        }
        if pads.len() % 2 != 0 {
            return Err(format!(
                "it has {} pads, allowed are two for each axis",
                pads.len()
            ));
        }
        let count = pads.len() / 2;
        let axes: Vec<i64> = match constant(3) {
            Some(axes) => axes.values.iter().map(|a| *a as i64).collect(),
            None => (0..count as i64).collect(),
        };
        if axes.len() != count {
            return Err(format!(
                "it has {} pads for {} axes",
                pads.len(),
                axes.len()
            ));
        }
        let cut: Vec<i64> = pads.iter().map(|p| -p.min(0.0) as i64).collect();
        let ends = cut[count..]
            .iter()
            .map(|c| if *c == 0 { i64::MAX } else { -c });
        let (starts, ends) = (cut[..count].to_vec(), ends.collect::<Vec<_>>());
        match self.version {
            _ if !cuts(&pads) => {}
            10.. => {
                let inputs = [&starts, &ends, &axes].map(|all| self.integers(all));
                self.push("Slice", &inputs.each_ref().map(|i| &**i), Vec::new());
            }
            _ => {
                let attributes = vec![
                    integers("starts", &starts),
                    integers("ends", &ends),
                    integers("axes", &axes),
                ];
                self.push("Slice", &[], attributes);
            }
        }
        let left: Vec<i64> = pads.iter().map(|p| p.max(0.0) as i64).collect();
        let others = node.attribute.iter().filter(|a| a.name != "pads");
        let mut attributes: Vec<AttributeProto> = others.cloned().collect();
        match self.version {
            11.. => {
                let pads = self.integers(&left);
                let value = value.map(|value| self.floats(&[], &[value.values[0] as f32]));
                let mut more: Vec<&str> = node.input.iter().skip(1).map(String::as_str).collect();
                more[0] = &pads;
                if let Some(value) = &value {
                    more[1] = value;
                }
                self.push("Pad", &more, attributes);
            }
            _ => {
                attributes.push(integers("pads", &left));
                self.push("Pad", &[], attributes);
            }
        }
        Ok(())
    }

    /// In operator set 10 the nearest pixel is the one before, and the one behind of a smaller picture.
    fn resize(&mut self, constants: &Constants<'_>) {
        let is_said = self.node.attribute.iter().any(|a| a.name == "nearest_mode");
        if self.version != 10 || is_said {
            return;
        }
        let scales = self.node.input.get(1).and_then(|name| constants.get(name));
        let shrinks = scales.is_some_and(|s| s.values.iter().any(|s| *s < 1.0));
        let mut attributes = self.node.attribute.clone();
        attributes.push(text("nearest_mode", if shrinks { "ceil" } else { "floor" }));
        self.copy("Resize", attributes);
    }

    /// What `Resize` has been since.
    fn upsample(&mut self) {
        let scales = self.node.attribute.iter().find(|a| a.name == "scales");
        let mode = self.node.attribute.iter().find(|a| a.name == "mode");
        let mut mode = mode.cloned().unwrap_or_else(|| text("mode", "nearest"));
        if mode.s == b"bilinear" {
            mode.s = b"linear".to_vec();
        }
        let attributes = vec![mode, text("nearest_mode", "floor")];
        match scales.map(|s| s.floats.clone()) {
            Some(scales) => {
                let scales = self.floats(&[scales.len() as i64], &scales);
                self.push("Resize", &[&scales], attributes);
            }
            None => self.copy("Resize", attributes),
        }
    }
}
