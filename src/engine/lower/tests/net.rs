//! Builds a network as ONNX, node by node, with weights from a formula.

use tract_onnx::pb::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TypeProto, ValueInfoProto,
    attribute_proto::AttributeType,
    tensor_shape_proto::{Dimension, dimension::Value},
    type_proto,
};
use tract_onnx::prelude::*;

/// Side of the input.
pub(super) const SIDE: usize = 16;

/// An attribute's value.
pub(super) enum Attribute<'a> {
    Int(i64),
    Ints(&'a [i64]),
    Float(f32),
    Text(&'a str),
}
use Attribute::{Float, Int, Ints, Text};

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

fn tensor_type(name: &str, dims: Vec<Dimension>) -> ValueInfoProto {
    let tensor = type_proto::Tensor {
        elem_type: 1,
        shape: Some(TensorShapeProto { dim: dims }),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(type_proto::Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
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
        attributes: &[(&str, Attribute)],
    ) -> String {
        let name = format!("{}{}", op.to_lowercase(), self.graph.node.len());
        let attribute = |(name, value): &(&str, Attribute)| {
            let mut a = AttributeProto {
                name: (*name).into(),
                ..AttributeProto::default()
            };
            match value {
                Int(i) => (a.i, a.r#type) = (*i, AttributeType::Int as i32),
                Ints(i) => (a.ints, a.r#type) = (i.to_vec(), AttributeType::Ints as i32),
                Text(s) => {
                    (a.s, a.r#type) = (s.as_bytes().to_vec(), AttributeType::String as i32);
                }
                Float(f) => (a.f, a.r#type) = (*f, AttributeType::Float as i32),
            }
            a
        };
        self.graph.node.push(NodeProto {
            name: name.clone(),
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).into()).collect(),
            output: vec![format!("{name}_out")],
            attribute: attributes.iter().map(attribute).collect(),
            ..NodeProto::default()
        });
        format!("{name}_out")
    }

    pub(super) fn tensor(&mut self, dims: &[i64], values: Vec<f32>) -> String {
        let name = format!("w{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims: dims.to_vec(),
            data_type: 1,
            float_data: values,
            ..TensorProto::default()
        });
        name
    }

    pub(super) fn integers(&mut self, values: &[i64]) -> String {
        let name = format!("w{}", self.graph.initializer.len());
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            dims: vec![values.len() as i64],
            data_type: 7,
            int64_data: values.to_vec(),
            ..TensorProto::default()
        });
        name
    }

    /// Numbers in `-size..size` that look random.
    pub(super) fn weight(&mut self, dims: &[i64], size: f32) -> String {
        let count: i64 = dims.iter().product();
        let values = (0..count)
            .map(|_| (self.next() * 2.0 - 1.0) * size)
            .collect();
        self.tensor(dims, values)
    }

    pub(super) fn next(&mut self) -> f32 {
        self.seed = self
            .seed
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.seed >> 8) as f32 / (1 << 24) as f32
    }

    pub(super) fn positive(&mut self, count: i64) -> String {
        let values = (0..count).map(|_| 0.5 + self.next()).collect();
        self.tensor(&[count], values)
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
                ("kernel_shape", Ints(&[k, k])),
                ("pads", Ints(&pads)),
                ("strides", Ints(&stride)),
                ("group", Int(groups)),
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
            &[("epsilon", Float(1e-5))],
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
            ("kernel_shape", Ints(&k)),
            ("strides", Ints(&stride)),
            ("pads", Ints(&pad)),
        ];
        attributes.extend(more.iter().map(|(name, value)| (*name, Int(*value))));
        self.node(op, &[x], &attributes)
    }

    /// 16×16 to 4×4: as a ResNet begins.
    pub(super) fn stem(&mut self) -> String {
        let x = self.conv_bn_relu("data", 3, 8, 7, 2);
        self.pool("MaxPool", &x, 3, 2, 1, &[])
    }

    pub(super) fn dense(&mut self, x: &str, from: i64) -> String {
        let (w, b) = (self.weight(&[7, from], 0.5), self.weight(&[7], 0.5));
        self.node("Gemm", &[x, &w, &b], &[("transB", Int(1))])
    }

    pub(super) fn head(&mut self, x: &str, channels: i64) -> String {
        let x = self.node("GlobalAveragePool", &[x], &[]);
        let x = self.node("Flatten", &[&x], &[("axis", Int(1))]);
        self.dense(&x, channels)
    }

    pub(super) fn finish(mut self, output: &str) -> Network {
        let size = |n| Dimension {
            value: Some(Value::DimValue(n)),
            ..Dimension::default()
        };
        let batch = Dimension {
            value: Some(Value::DimParam("batch".into())),
            ..Dimension::default()
        };
        let dims = vec![batch, size(3), size(SIDE as i64), size(SIDE as i64)];
        self.graph.input.push(tensor_type("data", dims));
        self.graph.output.push(ValueInfoProto {
            name: output.into(),
            ..ValueInfoProto::default()
        });
        Network(ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto {
                domain: String::new(),
                version: 13,
            }],
            graph: Some(self.graph),
            ..ModelProto::default()
        })
    }
}
