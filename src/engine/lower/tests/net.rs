//! Builds a network as ONNX, node by node, with weights from a formula.

use tract_onnx::pb::{AttributeProto, GraphProto, ModelProto, NodeProto};
use tract_onnx::prelude::*;

use crate::engine::proto::{
    self, float, float_tensor, float_value, int64_row, integer, integers, uint8_scalar, value,
};

/// Side of the input.
pub(super) const SIDE: usize = 16;

/// A network under construction; every method returns the name of its value.
#[derive(Default)]
pub(super) struct Net {
    graph: GraphProto,
    seed: u32,
}

/// A finished network.
pub(super) struct Network(ModelProto);

impl Network {
    pub(super) fn model(&self) -> InferenceModel {
        let onnx = tract_onnx::onnx().with_ignore_value_info(true);
        onnx.parse(&self.0, None).unwrap().model
    }
}

impl Net {
    pub(super) fn new() -> Net {
        Net::default()
    }

    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: &[AttributeProto],
    ) -> String {
        let name = format!("{}{}", op.to_lowercase(), self.graph.node.len());
        let output = format!("{name}_out");
        self.graph.node.push(NodeProto {
            name,
            attribute: attributes.to_vec(),
            ..proto::node(op, inputs, &[&output])
        });
        output
    }

    pub(super) fn tensor(&mut self, dims: &[i64], values: &[f32]) -> String {
        let name = format!("w{}", self.graph.initializer.len());
        let tensor = float_tensor(&name, dims, values);
        self.graph.initializer.push(tensor);
        name
    }

    pub(super) fn integers(&mut self, values: &[i64]) -> String {
        let name = format!("w{}", self.graph.initializer.len());
        self.graph.initializer.push(int64_row(&name, values));
        name
    }

    pub(super) fn byte(&mut self, value: u8) -> String {
        let name = format!("w{}", self.graph.initializer.len());
        self.graph.initializer.push(uint8_scalar(&name, value));
        name
    }

    /// Numbers in `-size..size` that look random.
    pub(super) fn weight(&mut self, dims: &[i64], size: f32) -> String {
        let count: i64 = dims.iter().product();
        let values = (0..count).map(|_| (self.next() * 2.0 - 1.0) * size);
        let values: Vec<f32> = values.collect();
        self.tensor(dims, &values)
    }

    pub(super) fn next(&mut self) -> f32 {
        self.seed = self
            .seed
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.seed >> 8) as f32 / (1 << 24) as f32
    }

    pub(super) fn positive(&mut self, count: i64) -> String {
        let values: Vec<f32> = (0..count).map(|_| 0.5 + self.next()).collect();
        self.tensor(&[count], &values)
    }

    /// Without bias, padded to keep the size.
    pub(super) fn conv(
        &mut self,
        x: &str,
        from: i64,
        to: i64,
        k: i64,
        stride: [i64; 2],
        groups: i64,
    ) -> String {
        let w = self.kernel(from, to, k, groups);
        self.conv_of(&[x, &w], k, stride, groups)
    }

    pub(super) fn conv_bias(
        &mut self,
        x: &str,
        from: i64,
        to: i64,
        k: i64,
        stride: [i64; 2],
    ) -> String {
        let w = self.kernel(from, to, k, 1);
        let b = self.weight(&[to], 0.3);
        self.conv_of(&[x, &w, &b], k, stride, 1)
    }

    pub(super) fn kernel(&mut self, from: i64, to: i64, k: i64, groups: i64) -> String {
        let size = (3.0 * groups as f32 / (from * k * k) as f32).sqrt();
        self.weight(&[to, from / groups, k, k], size)
    }

    pub(super) fn conv_of(
        &mut self,
        inputs: &[&str],
        k: i64,
        stride: [i64; 2],
        groups: i64,
    ) -> String {
        let pads = [k / 2; 4];
        self.node(
            "Conv",
            inputs,
            &[
                integers("kernel_shape", &[k, k]),
                integers("pads", &pads),
                integers("strides", &stride),
                integer("group", groups),
            ],
        )
    }

    pub(super) fn bn(&mut self, x: &str, channels: i64) -> String {
        let scale = self.weight(&[channels], 1.0);
        let shift = self.weight(&[channels], 0.5);
        let mean = self.weight(&[channels], 0.5);
        let variance = self.positive(channels);
        self.node(
            "BatchNormalization",
            &[x, &scale, &shift, &mean, &variance],
            &[float("epsilon", 1e-5)],
        )
    }

    pub(super) fn relu(&mut self, x: &str) -> String {
        self.node("Relu", &[x], &[])
    }

    pub(super) fn add(&mut self, a: &str, b: &str) -> String {
        self.node("Add", &[a, b], &[])
    }

    pub(super) fn conv_bn(
        &mut self,
        x: &str,
        from: i64,
        to: i64,
        k: i64,
        stride: i64,
        groups: i64,
    ) -> String {
        let x = self.conv(x, from, to, k, [stride; 2], groups);
        self.bn(&x, to)
    }

    pub(super) fn conv_bn_relu(
        &mut self,
        x: &str,
        from: i64,
        to: i64,
        k: i64,
        stride: i64,
    ) -> String {
        let x = self.conv_bn(x, from, to, k, stride, 1);
        self.relu(&x)
    }

    pub(super) fn pool(
        &mut self,
        op: &str,
        x: &str,
        k: i64,
        stride: i64,
        pad: i64,
        more: &[(&str, i64)],
    ) -> String {
        let (k, stride, pad) = ([k; 2], [stride; 2], [pad; 4]);
        let mut attributes = vec![
            integers("kernel_shape", &k),
            integers("strides", &stride),
            integers("pads", &pad),
        ];
        attributes.extend(more.iter().map(|(name, value)| integer(name, *value)));
        self.node(op, &[x], &attributes)
    }

    /// 16×16 to 4×4: as a ResNet begins.
    pub(super) fn stem(&mut self) -> String {
        let x = self.conv_bn_relu("data", 3, 8, 7, 2);
        self.pool("MaxPool", &x, 3, 2, 1, &[])
    }

    pub(super) fn dense(&mut self, x: &str, from: i64) -> String {
        let (w, b) = (self.weight(&[7, from], 0.5), self.weight(&[7], 0.5));
        self.node("Gemm", &[x, &w, &b], &[integer("transB", 1)])
    }

    pub(super) fn head(&mut self, x: &str, channels: i64) -> String {
        let x = self.node("GlobalAveragePool", &[x], &[]);
        let x = self.node("Flatten", &[&x], &[integer("axis", 1)]);
        self.dense(&x, channels)
    }

    pub(super) fn finish(mut self, output: &str) -> Network {
        let any_batch = [-1, 3, SIDE as i64, SIDE as i64];
        self.graph.input.push(float_value("data", &any_batch));
        self.graph.output.push(value(output));
        Network(proto::model(self.graph, 13))
    }
}
