//! How small graphs end, operator by operator, and what looks like a function and is none.

use super::*;
use crate::engine::proto::{float, float_tensor, node, value};

/// The ending of `y` in a graph of `output = operator(inputs)`, with `k` constant.
fn ending(nodes: &[(&str, &[&str], &str)]) -> Ending {
    let nodes = nodes.iter();
    let graph = GraphProto {
        node: nodes
            .map(|(op, inputs, output)| node(op, inputs, &[output]))
            .collect(),
        initializer: vec![float_tensor("k", &[0], &[])],
        output: vec![value("y")],
        ..GraphProto::default()
    };
    endings(&graph)["y"]
}

#[test]
fn function_is_found_behind_what_moves_rounds_and_scales() {
    let of = |op: &str| {
        let first = (op, &["x"][..], "a");
        [
            ending(&[(op, &["x"], "y")]),
            ending(&[first, ("Reshape", &["a", "k"], "b"), ("Cast", &["b"], "y")]),
            ending(&[
                first,
                ("QuantizeLinear", &["a", "k", "k"], "b"),
                ("DequantizeLinear", &["b", "k", "k"], "y"),
            ]),
            ending(&[
                first,
                ("Mul", &["a", "k"], "b"),
                ("Slice", &["b", "k"], "y"),
            ]),
            ending(&[
                first,
                ("Mul", &["a", "k"], "b"),
                ("Round", &["b"], "c"),
                ("Div", &["c", "k"], "y"),
            ]),
            ending(&[first, ("Floor", &["a"], "b"), ("Ceil", &["b"], "y")]),
            ending(&[
                first,
                ("Sub", &["k", "a"], "b"),
                ("Concat", &["a", "b"], "y"),
            ]),
        ]
    };
    assert_eq!(of("Softmax"), [Ending::Softmax; 7]);
    assert_eq!(of("LogSoftmax"), [Ending::LogSoftmax; 7]);
    assert_eq!(of("Sigmoid"), [Ending::Sigmoid; 7]);
    assert_eq!(of("HardSigmoid"), [Ending::Sigmoid; 7]);
    assert_eq!(of("Gemm"), [Ending::Linear; 7]);
    assert_eq!(of("Erf"), [Ending::Other; 7]);
}

#[test]
fn value_that_many_ways_lead_to_is_looked_at_once() {
    let bomb = |op: &str, copies: usize| {
        let names: Vec<String> = (0..MAX_STEPS).map(|i| i.to_string()).collect();
        let join = |pair: &[String]| node(op, &vec![&*pair[0]; copies], &[&pair[1]]);
        let mut graph = GraphProto {
            node: vec![node("Sigmoid", &["x"], &["0"])],
            output: vec![value(&names[MAX_STEPS - 1])],
            ..GraphProto::default()
        };
        graph.node.extend(names.windows(2).map(join));
        endings(&graph)[&names[MAX_STEPS - 1]]
    };
    assert_eq!(bomb("Add", 2), Ending::Sigmoid);
    assert_eq!(bomb("Sum", 100), Ending::Sigmoid);
    assert_eq!(bomb("Concat", 100), Ending::Sigmoid);
}

#[test]
fn swish_and_sums_of_different_kinds_are_something_else() {
    let (gemm, sigmoid) = (("Gemm", &["x"][..], "a"), ("Sigmoid", &["a"][..], "b"));
    assert_eq!(
        ending(&[gemm, sigmoid, ("Mul", &["a", "b"], "y")]),
        Ending::Other
    );
    assert_eq!(
        ending(&[gemm, sigmoid, ("Add", &["a", "b"], "y")]),
        Ending::Other
    );
    assert_eq!(ending(&[gemm, ("Mul", &["a", "a"], "y")]), Ending::Other);
    let mean = [
        ("Softmax", &["x"][..], "a"),
        ("Softmax", &["z"], "b"),
        ("Add", &["a", "b"], "c"),
    ];
    assert_eq!(
        ending(&[mean[0], mean[1], mean[2], ("Div", &["c", "k"], "y")]),
        Ending::Softmax
    );
    assert_eq!(
        ending(&[
            gemm,
            ("Relu", &["a"], "b"),
            ("GlobalAveragePool", &["b"], "y")
        ]),
        Ending::Linear
    );
    assert_eq!(ending(&[gemm, ("TopK", &["a", "k"], "y")]), Ending::Sorted);
    assert_eq!(ending(&[]), Ending::Other);
}

#[test]
fn functions_in_parts_are_known_by_their_division() {
    let (exp, sum) = (("Exp", &["x"][..], "a"), ("ReduceSum", &["a"][..], "b"));
    assert_eq!(
        ending(&[exp, sum, ("Div", &["a", "b"], "y")]),
        Ending::Softmax
    );
    assert_eq!(
        ending(&[exp, sum, ("Div", &["b", "a"], "y")]),
        Ending::Other
    );
    let one_more = ("Add", &["a", "k"][..], "b");
    assert_eq!(
        ending(&[exp, one_more, ("Div", &["k", "b"], "y")]),
        Ending::Sigmoid
    );
    assert_eq!(
        ending(&[exp, one_more, ("Reciprocal", &["b"], "y")]),
        Ending::Sigmoid
    );
    assert_eq!(
        ending(&[exp, one_more, ("Div", &["b", "k"], "y")]),
        Ending::Other
    );
}

/// The ending of `y` where a sum of products is followed by these operators with constants.
fn after_sum(operators: &[(&str, &[f32])]) -> Ending {
    let mut graph = GraphProto::default();
    let mut last = "sum".to_owned();
    graph.node.push(node("Gemm", &["x"], &[&last]));
    for (i, (op, constants)) in operators.iter().enumerate() {
        let mut inputs = vec![std::mem::replace(&mut last, i.to_string())];
        for (k, number) in constants.iter().enumerate() {
            let name = format!("{i} k{k}");
            graph.initializer.push(float_tensor(&name, &[], &[*number]));
            inputs.push(name);
        }
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        graph.node.push(node(op, &inputs, &[&last]));
    }
    graph.output.push(value(&last));
    endings(&graph)[&last]
}

#[test]
fn sum_cut_to_what_a_share_can_be_is_a_hard_sigmoid() {
    for shares in [
        &[("Clip", &[0.0, 1.0][..])][..],
        &[("Clip", &[0.0, 100.0])],
        &[("Add", &[3.0]), ("Clip", &[0.0, 6.0]), ("Div", &[6.0])],
        &[("Clip", &[0.0, 6.0]), ("Mul", &[1.0 / 6.0])],
        &[("Clip", &[-0.5, 0.5]), ("Add", &[0.5])],
        &[("Relu", &[]), ("Min", &[1.0])],
        &[
            ("Max", &[0.0]),
            ("Min", &[6.0]),
            ("Div", &[6.0]),
            ("Mul", &[100.0]),
        ],
        &[("Clip", &[-1.0, 0.0]), ("Mul", &[-1.0])],
        &[("Clip", &[0.0, 1.0]), ("Round", &[])],
    ] {
        assert_eq!(after_sum(shares), Ending::Sigmoid, "{shares:?}");
    }
    for sums in [
        &[("Clip", &[0.0, 6.0][..])][..], // ReLU6
        &[("Relu", &[]), ("Min", &[6.0])],
        &[("Clip", &[-50.0, 50.0])],
        &[("Clip", &[0.0, f32::INFINITY])],
        &[("Clip", &[-1.0, 1.0])],
        &[("Clip", &[0.0, 1.0]), ("Mul", &[0.0])],
        &[("Clip", &[0.0, 1.0]), ("Elu", &[])],
    ] {
        assert_eq!(after_sum(sums), Ending::Linear, "{sums:?}");
    }
}

#[test]
fn bounds_of_a_clip_may_be_attributes() {
    let clip = |max: f32| {
        let clip = NodeProto {
            attribute: vec![float("min", 0.0), float("max", max)],
            ..node("Clip", &["a"], &["y"])
        };
        let graph = GraphProto {
            node: vec![node("Gemm", &["x"], &["a"]), clip],
            output: vec![value("y")],
            ..GraphProto::default()
        };
        endings(&graph)["y"]
    };
    assert_eq!([clip(1.0), clip(6.0)], [Ending::Sigmoid, Ending::Linear]);
}

#[test]
fn sign_of_a_log_softmax_is_followed_to_the_end() {
    let log = ("LogSoftmax", &["x"][..], "a");
    let neg = ("Neg", &["a"][..], "b");
    let negated = [
        ending(&[log, ("Neg", &["a"], "y")]),
        ending(&[
            log,
            neg,
            ("Reshape", &["b", "k"], "c"),
            ("Identity", &["c"], "y"),
        ]),
        ending(&[
            log,
            ("Cast", &["a"], "b"),
            ("Neg", &["b"], "c"),
            ("Cast", &["c"], "y"),
        ]),
        ending(&[
            ("Softmax", &["x"], "p"),
            ("Log", &["p"], "a"),
            ("Neg", &["a"], "y"),
        ]),
        ending(&[log, ("Sub", &["k", "a"], "y")]),
        ending(&[log, neg, ("Concat", &["b", "b"], "y")]),
    ];
    assert_eq!(negated, [Ending::NegatedLogSoftmax; 6]);
    let upright = [
        ending(&[log, neg, ("Neg", &["b"], "y")]),
        ending(&[log, ("Sub", &["a", "k"], "y")]),
        ending(&[("Softmax", &["x"], "p"), ("Log", &["p"], "y")]),
    ];
    assert_eq!(upright, [Ending::LogSoftmax; 3]);
    // Distances have their sign changed to become scores.
    let distance = ending(&[("Gemm", &["x"], "a"), ("Neg", &["a"], "y")]);
    assert_eq!(distance, Ending::Other);
    assert_eq!(after_sum(&[("Mul", &[-1.0])]), Ending::Linear);
}

#[test]
fn what_names_only_the_largest_is_no_score() {
    for (op, inputs) in [
        ("Hardmax", &["x"][..]),
        ("OneHot", &["x", "k", "k"]),
        ("ArgMax", &["x"]),
    ] {
        let got = ending(&[(op, inputs, "a"), ("Cast", &["a"], "y")]);
        assert_eq!(got, Ending::Winner, "{op}");
        assert!(got.fault().unwrap().contains(op), "{op}");
    }
    let argmax = ("ArgMax", &["x"][..], "a");
    for way in [
        &[argmax, ("Squeeze", &["a"], "b"), ("Cast", &["b"], "y")][..],
        &[argmax, ("Add", &["a", "k"], "y")],
        &[argmax, ("Gather", &["k", "a"], "y")],
    ] {
        assert_eq!(ending(way), Ending::Winner, "{way:?}");
    }
    assert_eq!(ending(&[("Gather", &["k", "x"], "y")]), Ending::Other);
    assert_eq!(
        ending(&[("Softmax", &["x"], "a"), ("Gather", &["a", "k"], "y")]),
        Ending::Softmax
    );
}

#[test]
fn largest_numbers_are_sorted_and_their_places_name_classes() {
    let graph = GraphProto {
        node: vec![
            node("Softmax", &["x"], &["s"]),
            node("TopK", &["s", "k"], &["values", "places"]),
            node("Cast", &["places"], &["numbers"]),
        ],
        output: ["s", "values", "places", "numbers"].map(value).into(),
        ..GraphProto::default()
    };
    let endings = endings(&graph);
    let of = |name: &str| endings[name];
    assert_eq!(
        ["s", "values", "places", "numbers"].map(of),
        [
            Ending::Softmax,
            Ending::Sorted,
            Ending::Winner,
            Ending::Winner
        ]
    );
}
