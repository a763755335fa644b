//! What the first operators of a graph make of the input's channels, as far as a value's channels are sums of these.
//!
//! Called by `pixels`. Follows what normalizes, converts and reorders colors, up to where the network proper begins.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::channels::{Channel, MAX_CHANNELS, Value, without_axis};
use super::graphs;
use super::numbers::{Constants, Numbers, numbers_of, one};
use super::readers::is_read_in;

/// How far the input's channels were followed.
#[derive(Debug, Default)]
pub(super) struct Followed<'g> {
    /// The values that the network proper reads.
    pub(super) read: Vec<Value>,
    /// The least and the largest number of the input that the first operators leave as it is.
    pub(super) range: Option<(f32, f32)>,
    /// The first node that changes colors in a way that is not followed.
    pub(super) lost: Option<&'g NodeProto>,
}

/// Most values that are followed; no known preprocessing has half as many.
const MAX_VALUES: usize = 64;

/// Most nodes that are looked at, as each may read large constants.
const MAX_NODES: usize = 256;

/// Follows the channels of the input `name`.
pub(super) fn follow<'g>(graph: &'g GraphProto, name: &'g str) -> Followed<'g> {
    let mut walk = Walk {
        constants: Constants::of(graph),
        known: HashMap::from([(name, Value::input())]),
    };
    let mut followed = Followed::default();
    let mut read: HashSet<&str> = HashSet::new();
    let mut looked_at = 0;
    // What else is computed from the input.
    let mut of_images: HashSet<&str> = HashSet::new();
    for node in &graph.node {
        let inputs = || node.input.iter().map(String::as_str);
        if node.attribute.iter().flat_map(graphs).next().is_some() {
            let is_read = |name: &str| {
                let mut inner = node.attribute.iter().flat_map(graphs);
                inner.any(|graph| is_read_in(graph, name))
            };
            read.extend(walk.known.keys().filter(|name| is_read(name)));
        }
        if inputs().any(|i| of_images.contains(i)) {
            of_images.extend(node.output.iter().map(String::as_str));
        }
        if !inputs().any(|i| walk.known.contains_key(i)) {
            continue;
        }
        if looked_at < MAX_NODES && walk.known.len() < MAX_VALUES {
            looked_at += 1;
            if walk.value(node).is_some_and(Value::is_untouched) {
                followed.range = within(followed.range, walk.range(node));
            }
            if let Some(values) = walk.step(node) {
                let outputs = node.output.iter().map(String::as_str);
                walk.known.extend(outputs.zip(values));
                continue;
            }
        }
        of_images.extend(node.output.iter().map(String::as_str));
        if matches!(&*node.op_type, "Shape" | "Size") {
            continue;
        }
        let is_of_images = |i: &str| of_images.contains(i);
        if followed.lost.is_none() && walk.changes_colors(node, &is_of_images) {
            followed.lost = Some(node);
        }
        read.extend(inputs().filter(|i| walk.known.contains_key(i)));
    }
    read.extend(graph.output.iter().map(|o| o.name.as_str()));
    let values = walk
        .known
        .into_iter()
        .filter(|(name, _)| read.contains(name));
    followed.read = values.map(|(_, value)| value).collect();
    followed
}

/// What two nodes behind one another leave as it is: `Max` gives the least number, `Min` the largest.
fn within(first: Option<(f32, f32)>, second: Option<(f32, f32)>) -> Option<(f32, f32)> {
    match (first, second) {
        (Some((least, most)), Some(then)) if least.is_infinite() || most.is_infinite() => {
            Some((least.max(then.0), most.min(then.1)))
        }
        (first, second) => first.or(second),
    }
}

struct Walk<'g> {
    constants: Constants<'g>,
    known: HashMap<&'g str, Value>,
}

impl Walk<'_> {
    fn constant(&self, node: &NodeProto, input: usize) -> Option<Numbers> {
        self.constants.get(node.input.get(input)?)
    }

    /// The first of a node's inputs that is known.
    fn value(&self, node: &NodeProto) -> Option<&Value> {
        node.input.iter().find_map(|i| self.known.get(i.as_str()))
    }

    /// What a node makes of the values that it reads, for each output; none where that is not followed.
    fn step(&self, node: &NodeProto) -> Option<Vec<Value>> {
        let value = self.value(node)?;
        let alone = |value: Value| Some(vec![value]);
        match &*node.op_type {
            "Cast" | "Ceil" | "Clip" | "DequantizeLinear" | "Dropout" | "Floor" | "Identity"
            | "MaxPool" | "AveragePool" | "Pad" | "QuantizeLinear" | "Resize" | "Round"
            | "Upsample" => alone(value.clone()),
            "Max" | "Min" => alone(self.bound(node).map(|_| value.clone())?),
            "Neg" => alone(value.with(value.channels.iter().map(|c| c.map(-1.0, 0.0)).collect())),
            "Add" | "Sub" | "Mul" | "Div" => alone(self.combined(node, value)?),
            "BatchNormalization" => alone(self.normalized(node, value)?),
            "Concat" => alone(self.joined(node)?),
            "Conv" => alone(self.mixed(node, value)?),
            "Gather" => alone(self.gathered(node, value)?),
            "Slice" => alone(self.sliced(node, value)?),
            "Split" => self.split(node, value),
            "Squeeze" | "Unsqueeze" => alone(self.of_other_rank(node, value)?),
            "Transpose" => {
                let perm = numbers_of(node, "perm")?;
                let axis = perm.iter().position(|p| *p == value.axis as f64)?;
                (perm.len() == value.rank).then_some(())?;
                alone(Value {
                    axis,
                    ..value.clone()
                })
            }
            _ => None,
        }
    }

    /// The number of a `Max` or `Min` of a value with one.
    fn bound(&self, node: &NodeProto) -> Option<f32> {
        let [a, b] = &node.input[..] else {
            return None;
        };
        let other = usize::from(self.known.contains_key(a.as_str()));
        let is_known = self
            .known
            .contains_key(if other == 0 { b } else { a }.as_str());
        match self.constant(node, other)?.values[..] {
            [number] if is_known => Some(number as f32),
            _ => None,
        }
    }

    /// The least and the largest number that a node leaves as it is.
    fn range(&self, node: &NodeProto) -> Option<(f32, f32)> {
        let bytes = Some((0.0, 255.0));
        match &*node.op_type {
            "Ceil" | "Floor" | "Round" => bytes,
            // To an integer.
            "Cast" if matches!(one(node, "to"), Some(2.0..=7.0)) => bytes,
            "Clip" => {
                let bound = |input: usize, name: &str| -> Option<f64> {
                    let constant = self.constant(node, input);
                    constant
                        .and_then(|c| c.values.first().copied())
                        .or_else(|| one(node, name))
                };
                Some((bound(1, "min")? as f32, bound(2, "max")? as f32))
            }
            "Max" => Some((self.bound(node)?, f32::INFINITY)),
            "Min" => Some((f32::NEG_INFINITY, self.bound(node)?)),
            "QuantizeLinear" => {
                let [scale] = self.constant(node, 1)?.values[..] else {
                    return None;
                };
                let (zero, least) = match self.constant(node, 2) {
                    Some(zero) => {
                        let least = if zero.is_signed { -128.0 } else { 0.0 };
                        (*zero.values.first()?, least)
                    }
                    None => (0.0, 0.0),
                };
                let at = |step: f64| ((step - zero) * scale) as f32;
                let (least, most) = (at(least), at(least + 255.0));
                // Others are what some photos happened to reach.
                let is_telling =
                    least > -0.05 * most || (least + 1.0).abs() < 0.02 && (most - 1.0).abs() < 0.02;
                is_telling.then_some((least, most))
            }
            _ => None,
        }
    }

    /// Whether a node that is not followed makes other colors, rather than features of them.
    fn changes_colors(&self, node: &NodeProto, is_of_images: &dyn Fn(&str) -> bool) -> bool {
        let is_other = |i: &&String| !i.is_empty() && !self.known.contains_key(i.as_str());
        match &*node.op_type {
            "Abs" | "Exp" | "Log" | "Neg" | "Reciprocal" | "Sqrt" => true,
            "BatchNormalization" | "Gather" | "GatherND" | "ReverseSequence" | "Slice"
            | "Split" => true,
            // What is chosen by the colors themselves.
            "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "Sign" | "Where" => {
                true
            }
            "ReduceMax" | "ReduceMean" | "ReduceMin" | "ReduceSum" | "ReduceL2" => true,
            "Add" | "Div" | "Max" | "Mean" | "Min" | "Mod" | "Mul" | "Pow" | "Sub" | "Sum" => {
                let mut others = node.input.iter().filter(is_other);
                others.all(|i| !is_of_images(i))
            }
            _ => false,
        }
    }

    /// A value with a constant, or with another that is known.
    fn combined(&self, node: &NodeProto, value: &Value) -> Option<Value> {
        let [a, b] = &node.input[..] else {
            return None;
        };
        let op = &*node.op_type;
        if let (Some(a), Some(b)) = (self.known.get(a.as_str()), self.known.get(b.as_str())) {
            let factor = match op {
                "Add" => 1.0,
                "Sub" => -1.0,
                _ => return None,
            };
            let is_alike = (a.channels.len(), a.axis, a.rank) == (b.channels.len(), b.axis, b.rank);
            let sum = |(a, b): (&Channel, &Channel)| a.plus(*b, factor);
            let sums = a.channels.iter().zip(&b.channels).map(sum).collect();
            return is_alike.then(|| a.with(sums));
        }
        let is_second = self.known.contains_key(b.as_str());
        let constant = self.constant(node, if is_second { 0 } else { 1 })?;
        let numbers = value.meeting(&constant)?;
        let channel = |(channel, number): (&Channel, f32)| match (op, is_second) {
            ("Mul", _) => Some(channel.map(number, 0.0)),
            ("Div", false) => Some(channel.map(1.0 / number, 0.0)),
            ("Add", _) => Some(channel.map(1.0, number)),
            ("Sub", false) => Some(channel.map(1.0, -number)),
            ("Sub", true) => Some(channel.map(-1.0, number)),
            _ => None,
        };
        let channels = value.channels.iter().zip(numbers).map(channel);
        Some(value.with(channels.collect::<Option<_>>()?))
    }

    fn normalized(&self, node: &NodeProto, value: &Value) -> Option<Value> {
        let each = |input: usize| {
            let numbers = self.constant(node, input)?.values;
            (numbers.len() == value.channels.len()).then_some(numbers)
        };
        let (gain, shift, mean, variance) = (each(1)?, each(2)?, each(3)?, each(4)?);
        let epsilon = one(node, "epsilon").unwrap_or(1e-5);
        let channel = |(i, channel): (usize, &Channel)| {
            let factor = gain[i] / (variance[i] + epsilon).sqrt();
            channel.map(factor as f32, (shift[i] - mean[i] * factor) as f32)
        };
        let channels = value.channels.iter().enumerate().map(channel).collect();
        (value.axis == 1).then(|| value.with(channels))
    }

    /// A convolution of single pixels to as few channels as colors have.
    fn mixed(&self, node: &NodeProto, value: &Value) -> Option<Value> {
        let weights = self.constant(node, 1)?;
        let [outputs, inputs, 1, 1] = weights.dims[..] else {
            return None;
        };
        let pads = numbers_of(node, "pads").unwrap_or_default();
        let groups = one(node, "group").unwrap_or(1.0) as usize;
        let channels = value.channels.len();
        let is_whole = inputs * groups == channels && (groups == 1 || groups == outputs);
        if outputs > 4 || !is_whole || value.axis != 1 || pads.iter().any(|p| *p != 0.0) {
            return None;
        }
        let bias = self.constant(node, 2).map(|b| b.values);
        let channel = |o: usize| {
            let start = Channel {
                weights: [0.0; 3],
                shift: bias.as_ref().map_or(Some(0.0), |b| b.get(o).copied())? as f32,
            };
            let first = if groups == 1 { 0 } else { o * inputs };
            let products = (0..inputs).map(|i| (first + i, weights.values[o * inputs + i] as f32));
            Some(products.fold(start, |sum, (i, w)| sum.plus(value.channels[i], w)))
        };
        let channels = (0..outputs).map(channel).collect::<Option<_>>()?;
        (node.input.len() < 3 || bias.is_some()).then(|| value.with(channels))
    }

    fn joined(&self, node: &NodeProto) -> Option<Value> {
        let values = node.input.iter().map(|i| self.known.get(i.as_str()));
        let values: Vec<&Value> = values.collect::<Option<_>>()?;
        let count: usize = values.iter().map(|v| v.channels.len()).sum();
        (count <= MAX_CHANNELS).then_some(())?;
        let first = values.first()?;
        let axis = first.position(one(node, "axis")?)?;
        let is_of_channels = values.iter().all(|v| {
            // A single channel is on any axis of one.
            v.rank == first.rank && (v.axis == axis || v.channels.len() == 1)
        });
        match is_of_channels {
            true => Some(Value {
                channels: values.iter().flat_map(|v| v.channels.clone()).collect(),
                axis,
                rank: first.rank,
            }),
            // Parts of one picture.
            false => values.iter().all(|v| v == first).then(|| (*first).clone()),
        }
    }

    fn gathered(&self, node: &NodeProto, value: &Value) -> Option<Value> {
        let axis = value.position(one(node, "axis").unwrap_or(0.0))?;
        let indices = self.constant(node, 1)?;
        let picked = match axis == value.axis {
            true => {
                let count = value.channels.len() as f64;
                let index = |i: &f64| (if *i < 0.0 { i + count } else { *i }) as usize;
                let indices = indices.values.iter().take(MAX_CHANNELS + 1).map(index);
                let indices: Vec<usize> = indices.collect();
                value.picked(&indices)?
            }
            false => value.clone(),
        };
        match indices.dims.len() {
            0 => without_axis(picked, axis),
            1 => Some(picked),
            _ => None,
        }
    }

    fn sliced(&self, node: &NodeProto, value: &Value) -> Option<Value> {
        let given = |input: usize, name: &str| {
            let constant = self.constant(node, input).map(|c| c.values);
            constant.or_else(|| numbers_of(node, name))
        };
        let all_axes = || given(1, "starts").map(|s| (0..s.len()).map(|a| a as f64).collect());
        let axes: Vec<f64> = given(3, "axes").or_else(all_axes)?;
        let positions = axes.iter().map(|axis| value.position(*axis));
        let positions: Vec<usize> = positions.collect::<Option<_>>()?;
        let Some(i) = positions.iter().position(|p| *p == value.axis) else {
            return Some(value.clone());
        };
        let step = given(4, "steps").map_or(Some(1.0), |all| all.get(i).copied())?;
        let range = (
            *given(1, "starts")?.get(i)?,
            *given(2, "ends")?.get(i)?,
            step,
        );
        value.picked(&slice(range, value.channels.len())?)
    }

    fn split(&self, node: &NodeProto, value: &Value) -> Option<Vec<Value>> {
        let axis = value.position(one(node, "axis").unwrap_or(0.0))?;
        let outputs = node.output.len();
        (1..=MAX_CHANNELS).contains(&outputs).then_some(())?;
        if axis != value.axis {
            return Some(vec![value.clone(); outputs]);
        }
        let count = value.channels.len();
        let given = self.constant(node, 1).map(|c| c.values);
        let sizes = given.or_else(|| numbers_of(node, "split"));
        let sizes = sizes.unwrap_or_else(|| vec![count.div_ceil(outputs) as f64; outputs]);
        let mut start = 0_usize;
        let parts = sizes.iter().map(|size| {
            let end = start.saturating_add(*size as usize);
            let indices: Vec<usize> = (start..end.min(count)).collect();
            start = end;
            value.picked(&indices)
        });
        parts.collect()
    }

    fn of_other_rank(&self, node: &NodeProto, value: &Value) -> Option<Value> {
        let given = self.constant(node, 1).map(|c| c.values);
        let axes = given.or_else(|| numbers_of(node, "axes"))?;
        let &[axis] = &axes[..] else {
            return None;
        };
        if node.op_type == "Squeeze" {
            return without_axis(value.clone(), value.position(axis)?);
        }
        let mut wider = Value {
            rank: value.rank + 1,
            ..value.clone()
        };
        let axis = wider.position(axis)?;
        wider.axis += usize::from(axis <= wider.axis);
        Some(wider)
    }
}

/// The indices of a slice with a step, of an axis of `count`.
fn slice((start, end, step): (f64, f64, f64), count: usize) -> Option<Vec<usize>> {
    let count = count as f64;
    let from_front = |at: f64| if at < 0.0 { at + count } else { at };
    let (least, most) = if step > 0.0 {
        (0.0, count)
    } else {
        (-1.0, count - 1.0)
    };
    let (mut at, end) = (
        from_front(start).clamp(least, most),
        from_front(end).clamp(least, most),
    );
    // With less than a whole step it may never end.
    if step == 0.0 || step.fract() != 0.0 || !step.is_finite() || at.is_nan() || end.is_nan() {
        return None;
    }
    let mut indices = Vec::new();
    while (step > 0.0 && at < end) || (step < 0.0 && at > end) {
        indices.push(at as usize);
        at += step;
    }
    Some(indices)
}
