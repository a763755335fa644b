//! Every instruction set against the scalar passes, which `preprocess` compares with Pillow.

use super::*;

/// A fixed sequence of bytes without a visible pattern: a linear congruential generator, its upper bits.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    // Runs of the extremes provoke sums at both ends of the range.
    (0..length)
        .map(|i| match i / 40 % 4 {
            0 => 255,
            1 => 0,
            _ => next(),
        })
        .collect()
}

/// `outputs` outputs of `taps` weights each, spread over `sources` positions; some weights are negative, as bicubic's.
fn weights(sources: usize, outputs: usize, taps: usize) -> Weights {
    let mut weights = Weights::default();
    for i in 0..outputs {
        let span = taps - usize::from(i % 3 == 1 && taps > 1);
        let first = (sources - taps) * i / outputs.max(2).saturating_sub(1).max(1);
        let first = first.min(sources - span);
        let values = noise(i as u64, span);
        let mut values: Vec<i32> = values
            .iter()
            .map(|v| i32::from(*v) * 9_973 - 200_000)
            .collect();
        let one = 1 << PRECISION_BITS;
        // The rest goes to one of them, so that the sum is 1; small enough for 32 bits even if all others are negative.
        for value in &mut values {
            *value /= i32::try_from(span).expect("small");
        }
        values[i % span] += one - values.iter().sum::<i32>();
        weights.push(first, values);
    }
    weights
}

/// All instruction sets of this CPU but the scalar one.
fn vector_kernels() -> impl Iterator<Item = ResampleKernel> {
    Isa::ALL[1..]
        .iter()
        .filter_map(|isa| ResampleKernel::new(*isa))
}

fn scalar_kernel() -> ResampleKernel {
    ResampleKernel::new(Isa::Scalar).expect("runs everywhere")
}

#[test]
fn vector_rows_equal_scalar_rows_for_all_tails_and_tap_counts() {
    for taps in (1..=13).chain([16, 17, 31, 64]) {
        for outputs in (1..=36).chain([64, 67]) {
            for extra in [0, 1, 2, 7, 90] {
                let width = taps + extra;
                let row = noise((taps * outputs) as u64, width * 3);
                let weights = weights(width, outputs, taps);
                let mut expected = vec![0; outputs * 3];
                HorizontalPass::new(scalar_kernel(), weights.clone(), width)
                    .run(&row, &mut expected);
                for kernel in vector_kernels() {
                    let mut out = vec![0x55; outputs * 3];
                    HorizontalPass::new(kernel, weights.clone(), width).run(&row, &mut out);
                    assert_eq!(
                        out, expected,
                        "{kernel:?}, {taps} taps, {outputs} outputs, {width} wide"
                    );
                }
            }
        }
    }
}

#[test]
fn vector_columns_equal_scalar_columns_for_all_tails_and_tap_counts() {
    for taps in (1..=9).chain([32, 33]) {
        for length in (0..=200).chain([672]) {
            let rows = noise((taps * length) as u64, taps * length);
            let weights = weights(taps, 2, taps);
            let mut expected = vec![0; length];
            VerticalPass::new(scalar_kernel(), weights.clone()).run(0, &rows, &mut expected);
            for kernel in vector_kernels() {
                let mut out = vec![0x55; length];
                VerticalPass::new(kernel, weights.clone()).run(0, &rows, &mut out);
                assert_eq!(out, expected, "{kernel:?}, {taps} taps, {length} columns");
            }
        }
    }
}

#[test]
fn one_tap_of_weight_one_copies() {
    for isa in Isa::ALL.iter().filter_map(|isa| ResampleKernel::new(*isa)) {
        let mut weights = Weights::default();
        for i in 0..50 {
            weights.push(i, [1 << PRECISION_BITS]);
        }
        let row = noise(1, 150);
        let mut out = vec![0; 150];
        HorizontalPass::new(isa, weights.clone(), 50).run(&row, &mut out);
        for (i, value) in row.iter().enumerate() {
            assert_eq!(out[i % 3 * 50 + i / 3], *value);
        }
        let mut same = vec![0; 150];
        VerticalPass::new(isa, weights).run(7, &row, &mut same);
        assert_eq!(same, row);
    }
}

#[test]
#[should_panic(expected = "weights read up to pixel 5 of 4")]
fn weights_that_read_beyond_the_row_are_refused() {
    let mut weights = Weights::default();
    weights.push(4, [1 << PRECISION_BITS]);
    let _ = HorizontalPass::new(scalar_kernel(), weights, 4);
}
