//! The input of a file as `[N, 3, height, width]` of `f32`, whatever form the file takes images in.
//!
//! Called by `onnx` on the decoded file. The nodes between the two are the file's own kind, so that the importer cancels
//! what the file does to change it back.

use std::collections::HashSet;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::{
    AttributeProto, GraphProto, NodeProto, TensorProto, TensorShapeProto, ValueInfoProto,
    type_proto,
};

use super::super::proto::{self, float_tensor, int64_row, integer, integers};
use super::names::{fresh, names};
use super::readers::{readers, reads, rename_reads};
use crate::tensor::Tensor;

/// The form in which a file takes images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InputForm {
    /// `[N, height, width, channels]`.
    pub channels_last: bool,
    /// Without the axis of images.
    pub without_batch: bool,
    /// Bytes from 0 to 255.
    pub bytes: bool,
    /// One channel; it gets the luminance.
    pub grey: bool,
}

/// Of red, green and blue in grey, by ITU-R 601 as Pillow has them; what they give is not rounded to bytes, as Pillow does.
const LUMINANCE: [f32; 3] = [0.299, 0.587, 0.114];

impl InputForm {
    /// What the file's network takes of an image, `[3, height, width]`: that, or its luminance, `[1, height, width]`.
    #[must_use]
    pub fn channels_of(self, image: Tensor) -> Tensor {
        let &[3, height, width] = image.shape() else {
            return image;
        };
        if !self.grey {
            return image;
        }
        let mut grey = vec![0.0; height * width];
        for (plane, weight) in image.data().chunks_exact(height * width).zip(LUMINANCE) {
            for (sum, value) in grey.iter_mut().zip(plane) {
                *sum += weight * value;
            }
        }
        Tensor::new(vec![1, height, width], grey)
    }
}

/// Puts an input of `[N, 3, height, width]` in the place of the file's only one; anything that is no form of an image
/// stays as it is. `version` is that of the operator set.
pub(super) fn settle(graph: &mut GraphProto, version: i64) -> InputForm {
    let Some(at) = of_images(graph) else {
        return InputForm::default();
    };
    let Some((form, image)) = form(&graph.input[at], is_turned(graph, &graph.input[at].name))
    else {
        return InputForm::default();
    };
    if form == InputForm::default() {
        return form;
    }
    let name = graph.input[at].name.clone();
    let mut chain = Chain {
        names: names(graph),
        name: name.clone(),
        last: name.clone(),
        nodes: Vec::new(),
        constants: Vec::new(),
    };
    if form.grey {
        let weights = chain.constant(float_tensor("", &[1, 3, 1, 1], &LUMINANCE));
        chain.push("Conv", &[&weights], vec![]);
    }
    // What the file does to bring channels to the front is left out, rather than undone.
    if form.channels_last && (form.without_batch || !drop_transposes(graph, &name)) {
        chain.push("Transpose", &[], vec![integers("perm", &[0, 2, 3, 1])]);
    }
    if form.without_batch {
        match version {
            13.. => {
                let axes = chain.constant(int64_row("", &[0]));
                chain.push("Squeeze", &[&axes], vec![]);
            }
            _ => chain.push("Squeeze", &[], vec![integers("axes", &[0])]),
        }
    }
    if form.bytes && !is_cast_to_float(graph, &name, MAX_STEPS) {
        chain.push("Round", &[], vec![]);
        let to_bytes = integer("to", DataType::Uint8 as i64);
        chain.push("Cast", &[], vec![to_bytes]);
    }
    rename_reads(graph, &name, &chain.last);
    graph.node.splice(0..0, chain.nodes);
    graph.initializer.extend(chain.constants);
    graph.input[at] = image;
    form
}

/// Which of a file's inputs is the one for images: the only one that is no weight, as which old exporters list those too.
pub(super) fn of_images(graph: &GraphProto) -> Option<usize> {
    let weights: HashSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let mut inputs = (0..graph.input.len()).filter(|i| !weights.contains(&*graph.input[*i].name));
    match (inputs.next(), inputs.next()) {
        (only, None) => only,
        _ => None,
    }
}

/// The form of an input, and the one of `[N, 3, height, width]` in its place; where no size tells, channels come last if
/// the file brings them to the front.
fn form(input: &ValueInfoProto, is_turned: bool) -> Option<(InputForm, ValueInfoProto)> {
    let type_proto::Value::TensorType(tensor) = input.r#type.as_ref()?.value.as_ref()?;
    let dims = &tensor.shape.as_ref()?.dim;
    let size = |d: &Dimension| match d.value {
        Some(dimension::Value::DimValue(n)) => Some(n),
        _ => None,
    };
    let sizes: Vec<Option<i64>> = dims.iter().map(size).collect();
    let is_channels = |size: Option<i64>| matches!(size, Some(1 | 3));
    let without_batch = match sizes[..] {
        [_, _, _, _] => false,
        [a, _, c] if is_channels(a) || is_channels(c) => true,
        _ => return None,
    };
    let (batch, image) = dims.split_at(dims.len() - 3);
    let first = size(&image[0]);
    let last = size(&image[2]);
    let is_open = first.is_none() && last.is_none();
    let channels_last = !is_channels(first) && is_channels(last) || is_open && is_turned;
    let (channels, height, width) = match channels_last {
        true => (last, &image[0], &image[1]),
        false => (first, &image[1], &image[2]),
    };
    let form = InputForm {
        channels_last,
        without_batch,
        bytes: tensor.elem_type == DataType::Uint8 as i32,
        grey: channels == Some(1),
    };
    let known = |n| Dimension {
        value: Some(dimension::Value::DimValue(n)),
        ..Dimension::default()
    };
    let batch = batch.first().cloned().unwrap_or_else(|| known(1));
    let mut image = input.clone();
    if let Some(type_proto::Value::TensorType(tensor)) =
        image.r#type.as_mut().and_then(|t| t.value.as_mut())
    {
        if form.bytes {
            tensor.elem_type = DataType::Float as i32;
        }
        tensor.shape = Some(TensorShapeProto {
            dim: vec![batch, known(3), height.clone(), width.clone()],
        });
    }
    Some((form, image))
}

/// Nodes behind one another from the input on.
struct Chain {
    /// Every name of the graph.
    names: HashSet<String>,
    name: String,
    last: String,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
}

impl Chain {
    fn push(&mut self, op_type: &str, more: &[&str], attribute: Vec<AttributeProto>) {
        let output = self.fresh(&op_type.to_lowercase());
        let read = std::mem::replace(&mut self.last, output.clone());
        let inputs: Vec<&str> = std::iter::once(&*read)
            .chain(more.iter().copied())
            .collect();
        self.nodes.push(NodeProto {
            name: output.clone(),
            attribute,
            ..proto::node(op_type, &inputs, &[&output])
        });
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = self.fresh("constant");
        self.constants.push(TensorProto {
            name: name.clone(),
            ..tensor
        });
        name
    }

    fn fresh(&mut self, what: &str) -> String {
        fresh(&mut self.names, format!("{}/{what}", self.name))
    }
}

/// Whether all that reads an input, and there is something, brings its channels to the front.
fn is_turned(graph: &GraphProto, input: &str) -> bool {
    let Some(readers) = readers(graph, input) else {
        return false;
    };
    let turns = |node: &&NodeProto| {
        let perm = node.attribute.iter().find(|a| a.name == "perm");
        node.op_type == "Transpose" && perm.is_some_and(|a| a.ints == [0, 3, 1, 2])
    };
    !readers.is_empty() && readers.iter().all(turns)
}

/// Makes the identity of the nodes that bring the channels of an input to the front, if nothing else reads it.
fn drop_transposes(graph: &mut GraphProto, input: &str) -> bool {
    if !is_turned(graph, input) {
        return false;
    }
    for node in graph.node.iter_mut().filter(|n| reads(n, input)) {
        node.op_type = "Identity".into();
        node.attribute.clear();
    }
    true
}

/// Most nodes looked at behind one another.
const MAX_STEPS: usize = 4;

/// Most nodes that may read one value there: each is followed.
const MAX_READERS: usize = 4;

/// Whether all that reads the bytes of a value makes floats of them, perhaps in another order.
fn is_cast_to_float(graph: &GraphProto, input: &str, steps: usize) -> bool {
    let Some(readers) = readers(graph, input).filter(|all| all.len() <= MAX_READERS) else {
        return false;
    };
    readers.iter().all(|node| {
        let to = node.attribute.iter().find(|a| a.name == "to");
        match node.op_type.as_str() {
            "Cast" => to.is_some_and(|a| a.i == DataType::Float as i64),
            "Identity" | "Transpose" if steps > 0 => {
                let mut outputs = node.output.iter();
                outputs.all(|output| is_cast_to_float(graph, output, steps - 1))
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::proto::{float_value, tensor_value};

    fn node(op_type: &str, input: &str, perm: &[i64]) -> NodeProto {
        NodeProto {
            attribute: vec![integers("perm", perm)],
            ..proto::node(op_type, &[input], &[&format!("{op_type} of {input}")])
        }
    }

    /// A graph with an input `x` of these sizes, -1 where one is open.
    fn graph(dims: &[i64], nodes: Vec<NodeProto>) -> GraphProto {
        GraphProto {
            input: vec![float_value("x", dims)],
            node: nodes,
            ..GraphProto::default()
        }
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|n| n.op_type.as_str()).collect()
    }

    const TO_FRONT: [i64; 4] = [0, 3, 1, 2];
    const LAST: [i64; 4] = [1, 8, 8, 3];

    #[test]
    fn transpose_to_the_front_is_left_out_where_nothing_else_reads_the_input() {
        let mut alone = graph(&LAST, vec![node("Transpose", "x", &TO_FRONT)]);
        assert!(settle(&mut alone, 17).channels_last);
        assert_eq!(operators(&alone), ["Identity"]);
    }

    #[test]
    fn graph_inside_of_a_node_gets_the_input_as_the_file_has_it() {
        let mut branch = node("If", "c", &[]);
        let inner = GraphProto {
            node: vec![node("Shape", "x", &[])],
            ..GraphProto::default()
        };
        branch.attribute[0].g = Some(inner);
        let mut both = graph(&LAST, vec![node("Transpose", "x", &TO_FRONT), branch]);
        assert!(settle(&mut both, 17).channels_last);
        assert_eq!(operators(&both), ["Transpose", "Transpose", "If"]);
        let turned = &both.node[0].output[0];
        let inner = both.node[2].attribute[0].g.as_ref().unwrap();
        assert_eq!(
            [&both.node[1].input[0], &inner.node[0].input[0]],
            [turned; 2]
        );
    }

    #[test]
    fn bytes_are_made_where_not_all_that_reads_them_is_followed() {
        let casts = |count: usize| {
            let mut cast = node("Cast", "x", &[]);
            cast.attribute = vec![integer("to", DataType::Float as i64)];
            let mut graph = GraphProto {
                input: vec![tensor_value("x", DataType::Uint8, &[1, 3, 8, 8])],
                node: vec![cast; count],
                ..GraphProto::default()
            };
            assert!(settle(&mut graph, 17).bytes);
            operators(&graph).len() - count
        };
        assert_eq!([casts(1), casts(4), casts(5)], [0, 0, 2]);
    }

    #[test]
    fn grey_network_takes_the_luminance() {
        let image = || Tensor::new(vec![3, 1, 2], vec![1.0, 0.5, 0.0, 0.5, 0.0, 0.5]);
        let form = InputForm {
            grey: true,
            ..InputForm::default()
        };
        let grey = form.channels_of(image());
        assert_eq!(grey.shape(), [1, 1, 2]);
        assert!((grey.data()[0] - 0.299).abs() < 1e-6 && (grey.data()[1] - 0.5).abs() < 1e-6);
        let colors = InputForm::default().channels_of(image());
        assert_eq!(
            (colors.shape(), colors.data()),
            (&[3, 1, 2][..], image().data())
        );
    }

    #[test]
    fn input_that_is_given_out_is_not_turned() {
        let mut given = graph(&LAST, vec![node("Transpose", "x", &TO_FRONT)]);
        given.output.push(float_value("x", &LAST));
        settle(&mut given, 17);
        assert_eq!(operators(&given), ["Transpose", "Transpose"]);
    }

    #[test]
    fn open_channels_are_last_only_where_something_turns_them() {
        let open = [-1; 4];
        let mut turned = graph(&open, vec![node("Transpose", "x", &TO_FRONT)]);
        assert!(settle(&mut turned, 17).channels_last);
        let mut unread = graph(&open, vec![node("Relu", "other", &[])]);
        assert!(!settle(&mut unread, 17).channels_last);
    }
}
