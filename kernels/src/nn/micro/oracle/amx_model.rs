//! Tiles in plain Rust, for tests of the micro-kernel on CPUs that have none.
//!
//! Source: Intel's Software Developer's Manual, operation of `TILELOADD`, `TDPBF16PS`, `TDPBUSD` and
//! `TILESTORED`.

use crate::nn::layout::line::Line;
use crate::nn::micro::amx::Tiles;

pub(crate) struct Model {
    /// The rows of each tile; none before the first configuration.
    rows: Option<[usize; 8]>,
    tiles: [[Line; 16]; 8],
}

impl Model {
    pub(crate) fn new() -> Model {
        Model {
            rows: None,
            tiles: [[Line::from_f32([f32::NAN; 16]); 16]; 8],
        }
    }

    fn rows(&self, tile: u8) -> usize {
        self.rows.expect("tiles are configured before use")[usize::from(tile)]
    }
}

/// A bfloat16 of a line, zero instead of a denormal.
fn value(line: Line, i: usize) -> f32 {
    let bits = line.words()[i / 2] >> (16 * (i % 2));
    zero_denormal(f32::from_bits(bits << 16))
}

fn zero_denormal(x: f32) -> f32 {
    if x.is_subnormal() { x * 0.0 } else { x }
}

impl Tiles for Model {
    unsafe fn shape(&mut self, [first, second]: [u8; 2]) {
        assert!((1..=16).contains(&first) && (1..=16).contains(&second));
        let rows = [first, first, second, second, first, second, 16, 16];
        self.rows = Some(rows.map(usize::from));
    }

    unsafe fn load<const TILE: u8>(&mut self, from: *const Line, step: usize) {
        let rows = self.rows(TILE);
        let tile = &mut self.tiles[usize::from(TILE)];
        *tile = [Line::ZERO; 16];
        for (row, line) in tile[..rows].iter_mut().enumerate() {
            // SAFETY: the caller promises 64 bytes of each row.
            *line = unsafe { from.byte_add(row * step).read_unaligned() };
        }
    }

    unsafe fn dot_bytes<const SUM: u8, const A: u8, const B: u8>(&mut self) {
        assert_eq!(self.rows(SUM), self.rows(A), "rows of the sum and of A");
        assert_eq!(self.rows(B), 16, "quads of A and rows of B");
        let [a, b] = [A, B].map(|t| self.tiles[usize::from(t)]);
        let rows = self.rows(SUM);
        let bytes = |line: Line, i: usize| line.words()[i].to_le_bytes();
        for (sums, a) in self.tiles[usize::from(SUM)][..rows].iter_mut().zip(a) {
            for (n, sum) in sums.f32_mut().iter_mut().enumerate() {
                let mut total = sum.to_bits() as i32;
                for (k, b) in b.into_iter().enumerate() {
                    for (a, b) in bytes(a, k).into_iter().zip(bytes(b, n)) {
                        total = total.wrapping_add(i32::from(a) * i32::from(b as i8));
                    }
                }
                *sum = f32::from_bits(total as u32);
            }
        }
    }

    unsafe fn dot<const SUM: u8, const A: u8, const B: u8>(&mut self) {
        assert_eq!(self.rows(SUM), self.rows(A), "rows of the sum and of A");
        assert_eq!(self.rows(B), 16, "pairs of A and rows of B");
        let [a, b] = [A, B].map(|t| self.tiles[usize::from(t)]);
        let rows = self.rows(SUM);
        for (sums, a) in self.tiles[usize::from(SUM)][..rows].iter_mut().zip(a) {
            let mut products = [0.0_f32; 32];
            for (k, b) in b.into_iter().enumerate() {
                for (n, sum) in products.iter_mut().enumerate() {
                    *sum = zero_denormal(value(a, 2 * k + n % 2).mul_add(value(b, n), *sum));
                }
            }
            for (sum, pair) in sums.f32_mut().iter_mut().zip(products.chunks(2)) {
                *sum = zero_denormal(zero_denormal(*sum) + zero_denormal(pair[0] + pair[1]));
            }
        }
    }

    unsafe fn store<const TILE: u8>(&mut self, to: *mut Line, step: usize) {
        for (row, line) in self.tiles[usize::from(TILE)][..self.rows(TILE)]
            .iter()
            .enumerate()
        {
            // SAFETY: the caller promises each row's line to itself.
            unsafe { to.byte_add(row * step).write_unaligned(*line) };
        }
    }
}
