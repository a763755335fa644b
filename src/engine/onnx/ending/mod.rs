//! How a network ends: which function makes the numbers of an output, and what they so can be.
//!
//! Called by `onnx` on the graph as it is handed to the importer. Looks at operators and constants only; what the numbers
//! of an output really are, its values for probe images say.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::{GraphProto, NodeProto};

use super::numbers::{Constants, one};

/// What makes the numbers of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// A sum of products, as a fully connected layer: any numbers.
    Linear,
    /// The logarithm of a softmax.
    LogSoftmax,
    /// A softmax, whatever scales or rounds it.
    Softmax,
    /// A sigmoid, or another function from 0 to 1 of each number alone.
    Sigmoid,
    /// The largest numbers in their order, which is not that of the classes.
    Sorted,
    /// Which classes have the largest numbers, and nothing of the others.
    Winner,
    /// The logarithm of a softmax with its sign changed, as a loss has it: the largest is that of the least probable class.
    NegatedLogSoftmax,
    /// Something else.
    Other,
}

impl Ending {
    /// What is wrong with an output that ends so, and what to do, behind "its output"; none if it can be class scores.
    pub(in crate::engine) fn fault(self) -> Option<&'static str> {
        match self {
            Ending::Sorted => Some(
                "gives the largest numbers in their order, expected one for each class in that of the classes: export it \
                without TopK",
            ),
            Ending::Winner => Some(
                "says only which class is the most probable, expected a number for each: make what its ArgMax, TopK, OneHot \
                or Hardmax reads the output of the file",
            ),
            Ending::NegatedLogSoftmax => Some(
                "is a LogSoftmax with its sign changed, as a loss has it, so that the largest number is that of the least \
                probable class: export it without the Neg behind the LogSoftmax",
            ),
            Ending::Linear
            | Ending::LogSoftmax
            | Ending::Softmax
            | Ending::Sigmoid
            | Ending::Other => None,
        }
    }
}

/// The ending of each output, by name.
pub(super) fn endings(graph: &GraphProto) -> HashMap<String, Ending> {
    let makers = graph
        .node
        .iter()
        .flat_map(|node| node.output.iter().map(move |o| (o.as_str(), node)))
        .collect();
    let mut walk = Walk {
        makers,
        constants: Constants::of(graph),
        known: HashMap::new(),
    };
    let outputs = graph.output.iter().map(|o| o.name.as_str());
    outputs
        .map(|name| (name.to_owned(), walk.end(name, MAX_STEPS).ending()))
        .collect()
}

/// What makes the numbers of a value, and between which they so are.
#[derive(Debug, Clone, Copy, PartialEq)]
struct End {
    ending: Ending,
    /// Of a sum of products only.
    least: f32,
    most: f32,
    /// Whether a logarithm of a softmax has its sign changed.
    is_negated: bool,
}

impl End {
    /// Any numbers, as far as is known.
    fn of(ending: Ending) -> End {
        End {
            ending,
            least: f32::NEG_INFINITY,
            most: f32::INFINITY,
            is_negated: false,
        }
    }

    /// The same with its sign changed.
    fn negated(self) -> End {
        let is_negated = !self.is_negated;
        End { is_negated, ..self }
    }

    /// Sums cut to what a probability or a percentage can be are a hard sigmoid; cut otherwise, as by ReLU6, they stay
    /// what they are.
    fn ending(self) -> Ending {
        let near = |value: f32, to: f32| (value - to).abs() <= 0.001 * to.max(1.0);
        let is_share = near(self.most, 1.0) || near(self.most, 100.0);
        match self.ending {
            Ending::Linear if near(self.least, 0.0) && is_share => Ending::Sigmoid,
            Ending::LogSoftmax if self.is_negated => Ending::NegatedLogSoftmax,
            ending => ending,
        }
    }

    fn cut(self, least: Option<f32>, most: Option<f32>) -> End {
        End {
            least: least.map_or(self.least, |l| self.least.max(l)),
            most: most.map_or(self.most, |m| self.most.min(m)),
            ..self
        }
    }

    /// The bounds by a function that keeps their order, or turns it.
    fn map(self, function: impl Fn(f32) -> f32) -> End {
        let (a, b) = (function(self.least), function(self.most));
        End {
            least: a.min(b),
            most: a.max(b),
            ..self
        }
    }
}

/// Most operators looked at behind one another, from an output on.
const MAX_STEPS: usize = 24;

struct Walk<'g> {
    makers: HashMap<&'g str, &'g NodeProto>,
    constants: Constants<'g>,
    /// Of values with the steps left there: many ways may lead to one.
    known: HashMap<(&'g str, usize), End>,
}

impl<'g> Walk<'g> {
    fn end(&mut self, value: &'g str, steps: usize) -> End {
        let (Some(node), Some(left)) = (self.makers.get(value).copied(), steps.checked_sub(1))
        else {
            return End::of(Ending::Other);
        };
        if let Some(known) = self.known.get(&(value, steps)) {
            return *known;
        }
        let end = match &*node.op_type {
            "TopK" if node.output.get(1).is_some_and(|places| places == value) => {
                End::of(Ending::Winner)
            }
            _ => self.of_node(node, left),
        };
        self.known.insert((value, steps), end);
        end
    }

    fn of_node(&mut self, node: &'g NodeProto, steps: usize) -> End {
        let first = node.input.first().map(String::as_str).unwrap_or_default();
        match node.op_type.as_str() {
            "Softmax" => End::of(Ending::Softmax),
            "LogSoftmax" => End::of(Ending::LogSoftmax),
            "Log" if self.end(first, steps).ending == Ending::Softmax => {
                End::of(Ending::LogSoftmax)
            }
            "Neg" if self.end(first, steps).ending == Ending::LogSoftmax => {
                self.end(first, steps).negated()
            }
            "Sigmoid" | "HardSigmoid" => End::of(Ending::Sigmoid),
            "TopK" => End::of(Ending::Sorted),
            "ArgMax" | "ArgMin" | "Hardmax" | "OneHot" => End::of(Ending::Winner),
            // A table, of names or numbers, at the place of a class.
            "Gather" if !self.is_computed(first) => match node.input.get(1) {
                Some(places) => End::of(self.end(places, steps).ending),
                None => End::of(Ending::Other),
            },
            "Gemm" | "MatMul" | "Conv" | "Einsum" | "BatchNormalization" => End::of(Ending::Linear),
            // The same numbers, or some of them, or the same but for rounding.
            "Cast" | "DequantizeLinear" | "Dropout" | "Flatten" | "Gather" | "Identity"
            | "QuantizeLinear" | "Reshape" | "Slice" | "Split" | "Squeeze" | "Transpose"
            | "Unsqueeze" => self.end(first, steps),
            "Ceil" => self.end(first, steps).map(f32::ceil),
            "Floor" => self.end(first, steps).map(f32::floor),
            "Round" => self.end(first, steps).map(f32::round_ties_even),
            // Means and largest of the same.
            "AveragePool" | "GlobalAveragePool" | "GlobalMaxPool" | "MaxPool" | "ReduceMax"
            | "ReduceMean" => self.end(first, steps),
            // Functions that are not bounded.
            "Elu" | "HardSwish" | "LeakyRelu" | "PRelu" | "Softplus" => {
                End::of(self.end(first, steps).ending)
            }
            "Relu" => self.end(first, steps).cut(Some(0.0), None),
            "Clip" => {
                let bound = |input: usize, name: &str| {
                    self.number(node, input)
                        .or_else(|| one(node, name).map(|n| n as f32))
                };
                let (least, most) = (bound(1, "min"), bound(2, "max"));
                self.end(first, steps).cut(least, most)
            }
            "Div" if self.is_share(node) => End::of(Ending::Softmax),
            "Div" | "Reciprocal" if self.is_logistic(node) => End::of(Ending::Sigmoid),
            "Add" | "Sub" | "Mul" | "Div" | "Sum" | "Mean" | "Max" | "Min" | "Concat" => {
                self.joined(node, steps)
            }
            _ => End::of(Ending::Other),
        }
    }

    /// What several values make together: numbers from 0 to 1 stay such but for a factor, and numbers of any size any.
    fn joined(&mut self, node: &'g NodeProto, steps: usize) -> End {
        let (mut endings, mut last) = (HashSet::new(), None);
        let mut is_negated = true;
        for input in &node.input {
            if self.is_computed(input) {
                let end = self.end(input, steps);
                endings.insert(end.ending);
                is_negated &= end.is_negated;
                last = Some(end);
            }
        }
        let mut endings = endings.into_iter();
        let scales = matches!(&*node.op_type, "Mul" | "Div");
        match (endings.next(), endings.next(), last) {
            (Some(_), None, Some(end)) if self.computed(node) == 1 => self.moved(node, end),
            // The product of two values is neither.
            (Some(ending), None, _) if !scales => End {
                is_negated,
                ..End::of(ending)
            },
            (Some(Ending::Softmax), Some(Ending::Sigmoid), _)
            | (Some(Ending::Sigmoid), Some(Ending::Softmax), _)
                if endings.next().is_none() =>
            {
                End::of(Ending::Sigmoid)
            }
            _ => End::of(Ending::Other),
        }
    }

    /// A value with a constant.
    fn moved(&self, node: &NodeProto, end: End) -> End {
        let is_second = node.input.first().is_some_and(|i| !self.is_computed(i));
        let other = usize::from(!is_second);
        let end = match (&*node.op_type, is_second) {
            ("Sub", true) => end.negated(),
            ("Mul" | "Div", _) if self.is_negative(node, other) => end.negated(),
            _ => end,
        };
        let unbounded = End {
            is_negated: end.is_negated,
            ..End::of(end.ending)
        };
        let Some(k) = self.number(node, other) else {
            return unbounded;
        };
        match (&*node.op_type, is_second) {
            ("Add" | "Sum", _) => end.map(|v| v + k),
            ("Sub", false) => end.map(|v| v - k),
            ("Sub", true) => end.map(|v| k - v),
            ("Mul", _) if k != 0.0 => end.map(|v| v * k),
            ("Div", false) if k != 0.0 => end.map(|v| v / k),
            ("Max", _) => end.cut(Some(k), None),
            ("Min", _) => end.cut(None, Some(k)),
            _ => unbounded,
        }
    }

    /// Whether all numbers of a constant are below zero.
    fn is_negative(&self, node: &NodeProto, input: usize) -> bool {
        let name = node.input.get(input).filter(|name| !name.is_empty());
        let constant = name.and_then(|name| self.constants.get(name));
        constant.is_some_and(|c| !c.values.is_empty() && c.values.iter().all(|v| *v < 0.0))
    }

    /// The only number of a constant.
    fn number(&self, node: &NodeProto, input: usize) -> Option<f32> {
        let name = node.input.get(input).filter(|name| !name.is_empty())?;
        match self.constants.get(name)?.values[..] {
            [number] => Some(number as f32),
            _ => None,
        }
    }

    /// Whether a division is by the sum of what is divided, as a softmax in parts ends.
    fn is_share(&self, node: &NodeProto) -> bool {
        let [value, sum] = &node.input[..] else {
            return false;
        };
        let maker = self.makers.get(sum.as_str());
        maker.is_some_and(|m| m.op_type == "ReduceSum" && m.input.first() == Some(value))
    }

    /// Whether a node computes `1 / (1 + exp(…))`.
    fn is_logistic(&self, node: &NodeProto) -> bool {
        let computed = |node: &NodeProto| {
            let mut computed = node.input.iter().filter(|i| self.is_computed(i));
            match (computed.next(), computed.next()) {
                (Some(one), None) => self.makers.get(one.as_str()).copied(),
                _ => None,
            }
        };
        let divides = node.input.last().is_some_and(|last| self.is_computed(last));
        let sum = computed(node).filter(|sum| divides && sum.op_type == "Add");
        sum.and_then(computed)
            .is_some_and(|power| power.op_type == "Exp")
    }

    fn is_computed(&self, value: &str) -> bool {
        !value.is_empty() && !self.constants.contains(value)
    }

    fn computed(&self, node: &NodeProto) -> usize {
        node.input.iter().filter(|i| self.is_computed(i)).count()
    }
}
