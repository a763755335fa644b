//! Windows that slide over an image: their size, steps, padding and groups.

use super::super::proto::{integer, integers};
use super::{Attributes, FAR, Graph, of_image};

/// Graphs, and words of the error for each.
pub(super) fn cases() -> Vec<(Graph, &'static str)> {
    let conv = |attributes| of_image("Conv", &["w"], attributes);
    let pool = |op, mut attributes: Attributes| {
        if !attributes.iter().any(|a| a.name == "kernel_shape") {
            attributes.push(integers("kernel_shape", &[2, 2]));
        }
        of_image(op, &[], attributes)
    };
    let transposed = |attributes| {
        let weights: Vec<f32> = (0..54).map(|i| i as f32 / 54.0).collect();
        Graph::new().floats("t", &[3, 2, 3, 3], &weights).node(
            "ConvTranspose",
            &["x", "t"],
            "v",
            attributes,
        )
    };
    let mut all = vec![
        (
            conv(vec![integers("pads", &[1 << 20; 4])]),
            "its pads holds 1048576, allowed are 0 to 65536",
        ),
        (
            conv(vec![integers("pads", &[1 << 16; 4])]),
            "its result is [1, 2, 131078, 131078]",
        ),
        (conv(vec![integers("pads", &[-1; 4])]), "its pads holds -1"),
        (
            conv(vec![integers("strides", &[FAR; 2])]),
            "its strides holds 1099511627776",
        ),
        (
            conv(vec![integers("strides", &[0, 1])]),
            "its strides holds 0",
        ),
        (
            conv(vec![integers("strides", &[-1, 1])]),
            "its strides holds -1",
        ),
        (
            conv(vec![integers("dilations", &[1 << 62; 2])]),
            "its dilations holds 4611686018427387904",
        ),
        (
            conv(vec![integers("dilations", &[0, 0])]),
            "its dilations holds 0",
        ),
        (
            conv(vec![integers("kernel_shape", &[FAR; 2])]),
            "its kernel_shape holds 1099511627776",
        ),
        (
            conv(vec![integers("kernel_shape", &[60_000; 2])]),
            "its kernel_shape is [60000, 60000]",
        ),
        (conv(vec![integers("kernel_shape", &[5, 5])]), ""),
        (
            conv(vec![integer("group", FAR)]),
            "its group holds 1099511627776",
        ),
        (conv(vec![integer("group", 0)]), "its group holds 0"),
        (conv(vec![integer("group", 2)]), ""),
        (conv(vec![integers("strides", &[1])]), ""),
        (conv(vec![integers("pads", &[1, 1, 1])]), ""),
        (
            transposed(vec![integers("strides", &[60_000; 2])]),
            "the v\": its result is",
        ),
        (
            transposed(vec![integers("strides", &[FAR; 2])]),
            "its strides holds",
        ),
        (
            transposed(vec![integers("pads", &[1 << 20; 4])]),
            "its pads holds",
        ),
        (transposed(vec![integers("pads", &[60_000; 4])]), ""),
        (
            transposed(vec![integers("output_padding", &[FAR; 2])]),
            "its output_padding holds",
        ),
        (
            transposed(vec![integers("output_shape", &[FAR; 2])]),
            "its output_shape is [1099511627776, 1099511627776]",
        ),
        (
            transposed(vec![integers("output_shape", &[1, 1])]),
            "its output_shape is [1, 1], served are pads",
        ),
        (
            transposed(vec![integers("dilations", &[60_000; 2])]),
            "its result is",
        ),
    ];
    for op in ["MaxPool", "AveragePool", "LpPool"] {
        all.extend([
            (
                pool(op, vec![integers("kernel_shape", &[FAR; 2])]),
                "its kernel_shape holds",
            ),
            (
                pool(op, vec![integers("kernel_shape", &[0, 0])]),
                "its kernel_shape holds 0",
            ),
            (
                pool(op, vec![integers("kernel_shape", &[4096; 2])]),
                "its kernel_shape is [4096, 4096]",
            ),
            (
                pool(op, vec![integers("strides", &[1 << 62; 2])]),
                "its strides holds",
            ),
            (
                pool(op, vec![integers("strides", &[0; 2])]),
                "its strides holds 0",
            ),
            (
                pool(op, vec![integers("dilations", &[1 << 62; 2])]),
                "its dilations holds",
            ),
            (
                pool(op, vec![integers("pads", &[1 << 20; 4])]),
                "its pads holds",
            ),
            (
                pool(op, vec![integers("pads", &[60_000; 4])]),
                "its result is",
            ),
            (
                pool(
                    op,
                    vec![
                        integers("pads", &[2000; 4]),
                        integers("kernel_shape", &[2000, 2000]),
                    ],
                ),
                "an image takes",
            ),
        ]);
    }
    all
}
