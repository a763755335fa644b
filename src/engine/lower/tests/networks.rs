//! Small networks of every family, and those that have no words for everything.

use tract_onnx::pb::AttributeProto;

use super::net::{Net, Network};
use crate::engine::proto::{float, integer, integers, text};

/// A network around a block of 8 channels, 4×4.
fn around(block: impl Fn(&mut Net, &str) -> (String, i64)) -> Network {
    let mut net = Net::new();
    let x = net.stem();
    let (x, channels) = block(&mut net, &x);
    let x = net.head(&x, channels);
    net.finish(&x)
}

/// A network with another end behind 8 channels of 4×4.
fn ending(end: impl Fn(&mut Net, &str) -> String) -> Network {
    let mut net = Net::new();
    let x = net.stem();
    let x = end(&mut net, &x);
    net.finish(&x)
}

/// Stride on the first or the second convolution, as in v1 and v1.5.
fn bottleneck(net: &mut Net, x: &str, strides: [i64; 2], groups: i64) -> (String, i64) {
    let y = net.conv_bn_relu(x, 8, 4, 1, strides[0]);
    let y = net.conv_bn(&y, 4, 4, 3, strides[1], groups);
    let y = net.relu(&y);
    let y = net.conv_bn(&y, 4, 12, 1, 1, 1);
    let shortcut = net.conv_bn(x, 8, 12, 1, strides[0] * strides[1], 1);
    let x = net.add(&y, &shortcut);
    (net.relu(&x), 12)
}

/// Name, network, and its convolutions, affines, sums, pools and what is none of them once fused.
pub(super) fn families() -> Vec<(&'static str, Network, [usize; 5])> {
    let basic = around(|net, x| {
        let y = net.conv_bn_relu(x, 8, 8, 3, 1);
        let y = net.conv_bn(&y, 8, 8, 3, 1, 1);
        let x = net.add(&y, x);
        (net.relu(&x), 8)
    });
    let shortcut_first = around(|net, x| {
        let shortcut = net.conv_bn(x, 8, 8, 1, 2, 1);
        let y = net.conv_bn_relu(x, 8, 8, 3, 2);
        let y = net.conv_bn(&y, 8, 8, 3, 1, 1);
        let x = net.add(&shortcut, &y);
        (net.relu(&x), 8)
    });
    let preactivation = around(|net, x| {
        let y = net.bn(x, 8);
        let activated = net.relu(&y);
        let y = net.conv(&activated, 8, 8, 3, [1, 1], 1);
        let y = net.bn(&y, 8);
        let y = net.relu(&y);
        let y = net.conv(&y, 8, 8, 3, [1, 1], 1);
        let x = net.add(&y, x);
        let x = net.bn(&x, 8);
        (net.relu(&x), 8)
    });
    let resnet_d = around(|net, x| {
        let y = net.conv_bn_relu(x, 8, 8, 3, 2);
        let y = net.conv_bn(&y, 8, 12, 3, 1, 1);
        let rounded_up = [("ceil_mode", 1), ("count_include_pad", 0)];
        let shortcut = net.pool("AveragePool", x, 2, 2, 0, &rounded_up);
        let shortcut = net.conv_bn(&shortcut, 8, 12, 1, 1, 1);
        let x = net.add(&y, &shortcut);
        (net.relu(&x), 12)
    });
    let average = |k, stride, pad, include| {
        around(move |net, x| {
            let more = [("count_include_pad", include)];
            (net.pool("AveragePool", x, k, stride, pad, &more), 8)
        })
    };
    let rounded_up = |op: &'static str, include| {
        around(move |net, x| {
            let more = [("ceil_mode", 1), ("count_include_pad", include)];
            let more = if op == "MaxPool" { &more[..1] } else { &more };
            (net.pool(op, x, 3, 2, 0, more), 8)
        })
    };
    let same_padding = around(|net, x| {
        let w = net.kernel(8, 8, 2, 1);
        let auto = [text("auto_pad", "SAME_UPPER"), integers("strides", &[1, 2])];
        (net.node("Conv", &[x, &w], &auto), 8)
    });
    let pad_apart = around(|net, x| {
        let pads = net.integers(&[0, 0, 1, 1, 0, 0, 2, 0]);
        let x = net.node("Pad", &[x, &pads], &[]);
        let w = net.kernel(8, 8, 3, 1);
        (net.node("Conv", &[&x, &w], &[]), 8)
    });
    // As ONNX Runtime's quantizer writes it.
    let pad_with_a_dequantized_value = around(|net, x| {
        let pads = net.integers(&[0, 0, 1, 1, 0, 0, 2, 0]);
        let byte = net.byte(1);
        let scale = net.tensor(&[], &[0.25]);
        let zero = net.byte(1);
        let value = net.node("DequantizeLinear", &[&byte, &scale, &zero], &[]);
        let x = net.node("Pad", &[x, &pads, &value], &[]);
        let w = net.kernel(8, 8, 3, 1);
        (net.node("Conv", &[&x, &w], &[]), 8)
    });
    let with_bias = around(|net, x| {
        let x = net.conv_bias(x, 8, 12, 3, [2, 1]);
        (net.relu(&x), 12)
    });
    let clip = around(|net, x| {
        let x = net.conv_bias(x, 8, 8, 1, [1, 1]);
        let zero = net.weight(&[], 0.0);
        (net.node("Clip", &[&x, &zero], &[]), 8)
    });
    // MobileNet's, of which 12 channels fill no block of ours.
    let inverted_residual = around(|net, x| {
        let (zero, six) = (net.tensor(&[], &[0.0]), net.tensor(&[], &[0.6]));
        let y = net.conv_bn(x, 8, 12, 1, 1, 1);
        let y = net.node("Clip", &[&y, &zero, &six], &[]);
        let y = net.conv_bn(&y, 12, 12, 5, 1, 12);
        let y = net.node("Clip", &[&y, &zero, &six], &[]);
        let y = net.conv_bn(&y, 12, 8, 1, 1, 1);
        (net.add(x, &y), 8)
    });
    let squeeze = around(|net, x| {
        let y = net.conv_bn(x, 8, 8, 3, 1, 1);
        let s = net.node("GlobalAveragePool", &[&y], &[]);
        let s = net.conv_bias(&s, 8, 4, 1, [1, 1]);
        let s = net.relu(&s);
        let s = net.conv_bias(&s, 4, 8, 1, [1, 1]);
        let s = net.node("Sigmoid", &[&s], &[]);
        let y = net.node("Mul", &[&y, &s], &[]);
        let x = net.add(&y, x);
        (net.relu(&x), 8)
    });
    let two_values = around(|net, x| {
        let a = net.conv_bias(x, 8, 8, 3, [1, 1]);
        let b = net.node("Mul", &[&a, x], &[]);
        (net.add(&a, &b), 8)
    });
    let activation = |op: &str, attributes: &[AttributeProto]| {
        around(move |net, x| {
            let y = net.conv_bn(x, 8, 12, 3, 1, 1);
            (net.node(op, &[&y], attributes), 12)
        })
    };
    let gated = |op: &str, attributes: &[AttributeProto]| {
        around(move |net, x| {
            let y = net.conv_bn(x, 8, 12, 3, 1, 1);
            let gate = net.node(op, &[&y], attributes);
            (net.node("Mul", &[&gate, &y], &[]), 12)
        })
    };
    let hard: &[_] = &[float("alpha", 1.0 / 6.0), float("beta", 0.5)];
    // DenseNet's, of which 5 channels fill no block of ours.
    let dense = around(|net, x| {
        let mut x = x.to_owned();
        for i in 0..3 {
            let y = net.bn(&x, 8 + 5 * i);
            let y = net.relu(&y);
            let y = net.conv(&y, 8 + 5 * i, 5, 3, [1, 1], 1);
            x = net.node("Concat", &[&x, &y], &[integer("axis", 1)]);
        }
        (x, 23)
    });
    let reduce_mean = ending(|net, x| {
        let x = net.node(
            "ReduceMean",
            &[x],
            &[integers("axes", &[2, 3]), integer("keepdims", 0)],
        );
        net.dense(&x, 8)
    });
    let whole_pool = ending(|net, x| {
        let x = net.pool("AveragePool", x, 4, 1, 0, &[]);
        let shape = net.integers(&[0, -1]);
        let x = net.node("Reshape", &[&x, &shape], &[]);
        let (w, b) = (net.weight(&[8, 7], 0.5), net.weight(&[7], 0.5));
        net.node("Gemm", &[&x, &w, &b], &[])
    });
    let mat_mul = ending(|net, x| {
        let x = net.node("GlobalAveragePool", &[x], &[]);
        let shape = net.integers(&[-1, 8]);
        let x = net.node("Reshape", &[&x, &shape], &[]);
        let (w, b) = (net.weight(&[8, 7], 0.5), net.weight(&[7], 0.5));
        let x = net.node("MatMul", &[&x, &w], &[]);
        net.add(&x, &b)
    });
    let convolutional = ending(|net, x| {
        let x = net.conv_bias(x, 8, 7, 1, [1, 1]);
        net.node("GlobalAveragePool", &[&x], &[])
    });
    vec![
        ("basic", basic, [4, 0, 0, 2, 0]),
        ("shortcut first", shortcut_first, [5, 0, 0, 2, 0]),
        (
            "bottleneck v1",
            around(|net, x| bottleneck(net, x, [2, 1], 1)),
            [6, 0, 0, 2, 0],
        ),
        (
            "bottleneck v1.5",
            around(|net, x| bottleneck(net, x, [1, 2], 1)),
            [6, 0, 0, 2, 0],
        ),
        (
            "groups",
            around(|net, x| bottleneck(net, x, [1, 2], 2)),
            [6, 0, 0, 2, 0],
        ),
        ("pre-activation", preactivation, [4, 2, 0, 2, 0]),
        ("resnet-d", resnet_d, [5, 0, 0, 3, 0]),
        (
            "average, padding counted",
            average(3, 2, 1, 1),
            [2, 0, 0, 3, 0],
        ),
        (
            "average, padding not counted",
            average(3, 2, 1, 0),
            [2, 0, 0, 3, 0],
        ),
        ("max, rounded up", rounded_up("MaxPool", 0), [2, 0, 0, 3, 0]),
        (
            "average, rounded up",
            rounded_up("AveragePool", 0),
            [2, 0, 0, 3, 0],
        ),
        ("same padding", same_padding, [3, 0, 0, 2, 0]),
        ("padding apart", pad_apart, [3, 0, 0, 2, 0]),
        (
            "padding with a dequantized value",
            pad_with_a_dequantized_value,
            [3, 0, 0, 2, 0],
        ),
        ("convolution with bias", with_bias, [3, 0, 0, 2, 0]),
        ("clip", clip, [3, 0, 0, 2, 0]),
        ("inverted residual", inverted_residual, [5, 0, 0, 2, 0]),
        ("squeeze and excite", squeeze, [5, 0, 0, 3, 2]),
        ("product of two values", two_values, [3, 0, 0, 2, 1]),
        (
            "leaky relu",
            activation("LeakyRelu", &[float("alpha", 0.1)]),
            [3, 0, 0, 2, 1],
        ),
        ("sigmoid", activation("Sigmoid", &[]), [3, 0, 0, 2, 1]),
        ("silu", gated("Sigmoid", &[]), [3, 0, 0, 2, 1]),
        ("hard swish", gated("HardSigmoid", hard), [3, 0, 0, 2, 1]),
        (
            "hard sigmoid",
            activation("HardSigmoid", &[float("alpha", 0.2), float("beta", 0.5)]),
            [3, 0, 0, 2, 0],
        ),
        ("dense", dense, [5, 3, 0, 2, 3]),
        ("reduce mean", reduce_mean, [2, 0, 0, 2, 0]),
        (
            "whole pool, gemm not transposed",
            whole_pool,
            [2, 0, 0, 2, 0],
        ),
        ("mat mul", mat_mul, [2, 0, 0, 2, 0]),
        ("convolutional", convolutional, [2, 0, 0, 2, 0]),
    ]
}

/// Name, network, the number of regions and what stays tract's.
type Partial = (&'static str, Network, usize, Vec<(&'static str, usize)>);

/// Networks that have no words for everything.
pub(super) fn partial() -> Vec<Partial> {
    let softmax = ending(|net, x| {
        let x = net.head(x, 8);
        net.node("Softmax", &[&x], &[integer("axis", 1)])
    });
    let dilated = around(|net, x| {
        let w = net.kernel(8, 8, 3, 1);
        let attributes = [
            integers("dilations", &[2, 2]),
            integers("pads", &[2, 2, 2, 2]),
        ];
        (net.node("Conv", &[x, &w], &attributes), 8)
    });
    // What tract makes of strided 1×1 convolutions when it simplifies.
    let dilated_bottleneck = around(|net, x| {
        let w = net.kernel(8, 8, 3, 1);
        let attributes = [
            integers("dilations", &[2, 2]),
            integers("pads", &[2, 2, 2, 2]),
        ];
        let x = net.node("Conv", &[x, &w], &attributes);
        bottleneck(net, &x, [2, 1], 2)
    });
    let average_counting_padding_rounded_up = around(|net, x| {
        let more = [("ceil_mode", 1), ("count_include_pad", 1)];
        (net.pool("AveragePool", x, 3, 2, 0, &more), 8)
    });
    vec![
        ("dilated", dilated, 2, vec![("Conv", 1)]),
        ("softmax", softmax, 1, vec![("Softmax", 1)]),
        (
            "dilated, then strided",
            dilated_bottleneck,
            2,
            vec![("Conv", 1)],
        ),
        (
            "average, padding counted, rounded up",
            average_counting_padding_rounded_up,
            2,
            vec![("SumPool", 1)],
        ),
    ]
}
