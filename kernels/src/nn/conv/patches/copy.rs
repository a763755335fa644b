//! The loops of the patches: channels of an image interleaved, and runs of that copied into lines.
//!
//! Called by `Patches`, for each of the ways to store a number.

use super::Piece;
use crate::Task;
use crate::nn::layout::format::round;
use crate::nn::layout::line::Line;
use crate::normalize::Steps;

/// A number as it is stored, `N` of them in a line.
///
/// # Safety
/// `N` of them are as long as a line, their alignment is no larger than a line's, and any bits are a valid value:
/// [`Cell::of`] and [`Cell::of_mut`] rely on it.
pub(crate) unsafe trait Cell<const N: usize>: std::marker::Copy + Default {
    /// What plane `plane` stores of a number: the number itself, rounded if need be, or in plane 1 the rounded rest.
    fn part(value: f32, plane: usize) -> Self;

    /// Lines viewed as numbers.
    fn of(lines: &[Line]) -> &[Self] {
        // SAFETY: a line is `N` of them, all bits are allowed, and its alignment is larger.
        unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * N) }
    }

    /// Lines viewed as numbers, to write to.
    fn of_mut(lines: &mut [Line]) -> &mut [Self] {
        // SAFETY: a line is `N` of them, all bits are allowed, and the lines are borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * N) }
    }
}

// SAFETY: sixteen of four bytes; any bits are a number.
unsafe impl Cell<16> for f32 {
    #[inline(always)]
    fn part(value: f32, _plane: usize) -> f32 {
        value
    }
}

// SAFETY: 32 of two bytes; any bits are a number.
unsafe impl Cell<32> for u16 {
    #[inline(always)]
    fn part(value: f32, plane: usize) -> u16 {
        let high = round(value) & 0xffff_0000;
        let bits = match plane {
            0 => high,
            _ => round(value - f32::from_bits(high)),
        };
        (bits >> 16) as u16
    }
}

/// How a value of an image becomes a number.
pub(crate) trait Read<V>: std::marker::Copy {
    /// The number that a value of the image stands for.
    fn read(self, value: V) -> f32;
}

/// Reads values that are numbers already.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsIs;

impl Read<f32> for AsIs {
    #[inline(always)]
    fn read(self, value: f32) -> f32 {
        value
    }
}

impl Read<u8> for Steps {
    #[inline(always)]
    fn read(self, value: u8) -> f32 {
        self.run(value)
    }
}

impl Read<u8> for &[f32; 256] {
    #[inline(always)]
    fn read(self, value: u8) -> f32 {
        self[usize::from(value)]
    }
}

/// Interleaves rows of an image's channels into rows of pixels.
pub(crate) struct Spread<'a, V, R, T, const N: usize, const C: usize> {
    pub(crate) image: &'a [V],
    /// Values from one channel to the next, and from one row to the next.
    pub(crate) step: [usize; 2],
    pub(crate) read: [R; C],
    pub(crate) size: [usize; 2],
    /// The first row, counted from the image's first; negative above the image.
    pub(crate) first: isize,
    pub(crate) rows: usize,
    pub(crate) left: usize,
    pub(crate) pitch: usize,
    pub(crate) plane: usize,
    pub(crate) to: &'a mut [T],
}

impl<V, R, T, const N: usize, const C: usize> Task for Spread<'_, V, R, T, N, C>
where
    V: std::marker::Copy,
    R: Read<V>,
    T: Cell<N>,
{
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let [height, width] = self.size;
        let (rows, behind) = self.to.split_at_mut(self.rows * self.pitch);
        behind[..N].fill(T::default());
        for (row, to) in rows.chunks_exact_mut(self.pitch).enumerate() {
            let row = self.first + row as isize;
            if row < 0 || row >= height as isize {
                to.fill(T::default());
                continue;
            }
            let [channel_step, row_step] = self.step;
            let from: [&[V]; C] = std::array::from_fn(|channel| {
                &self.image[channel * channel_step + row as usize * row_step..][..width]
            });
            let (left, rest) = to.split_at_mut(self.left * C);
            let (pixels, right) = rest.split_at_mut(width * C);
            left.fill(T::default());
            right.fill(T::default());
            for (x, pixel) in pixels.as_chunks_mut::<C>().0.iter_mut().enumerate() {
                for ((to, from), read) in pixel.iter_mut().zip(from).zip(self.read) {
                    *to = T::part(read.read(from[x]), self.plane);
                }
            }
        }
    }
}

/// Copies one line of each of a run of windows.
pub(crate) struct Copy<'a, T, const N: usize> {
    pub(crate) pieces: &'a [Piece],
    /// Numbers from one row to the next.
    pub(crate) row: usize,
    /// Lanes from this one on are beyond the window's last number.
    pub(crate) valid: usize,
    pub(crate) from: &'a [T],
    /// The first number of the first window.
    pub(crate) start: usize,
    /// Numbers from one window to the next.
    pub(crate) step: usize,
    pub(crate) to: &'a mut [Line],
}

impl<T: Cell<N>, const N: usize> Task for Copy<'_, T, N> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match *self.pieces {
            [piece] => self.windows([piece]),
            [first, second] => self.windows([first, second]),
            [first, second, third] => self.windows([first, second, third]),
            _ => self.windows_of_many(),
        }
    }
}

impl<T: Cell<N>, const N: usize> Copy<'_, T, N> {
    /// Copies all windows, each line from `P` pieces.
    #[inline(always)]
    fn windows<const P: usize>(self, pieces: [Piece; P]) {
        let has: [[bool; N]; P] =
            pieces.map(|piece| std::array::from_fn(|lane| lane >= piece.first));
        let valid: [bool; N] = std::array::from_fn(|lane| lane < self.valid);
        let starts = pieces.map(|piece| self.at(piece));
        for (window, to) in T::of_mut(self.to)
            .as_chunks_mut::<N>()
            .0
            .iter_mut()
            .enumerate()
        {
            let mut line = [T::default(); N];
            for (start, has) in starts.iter().zip(has) {
                let start = start + window * self.step;
                let other: [T; N] = self.from[start..start + N].try_into().expect("N of them");
                for lane in 0..N {
                    line[lane] = if has[lane] { other[lane] } else { line[lane] };
                }
            }
            for lane in 0..N {
                line[lane] = if valid[lane] {
                    line[lane]
                } else {
                    T::default()
                };
            }
            *to = line;
        }
    }

    /// Copies all windows, each line from any number of pieces.
    #[inline(always)]
    fn windows_of_many(self) {
        for piece in self.pieces {
            let start = self.at(*piece);
            let lines = T::of_mut(self.to).as_chunks_mut::<N>().0;
            for (window, line) in lines.iter_mut().enumerate() {
                let from = &self.from[start + window * self.step..][piece.first..N];
                line[piece.first..].copy_from_slice(from);
            }
        }
        for line in T::of_mut(self.to).as_chunks_mut::<N>().0 {
            line[self.valid..].fill(T::default());
        }
    }

    /// Where the line of the first window begins for a piece.
    #[inline(always)]
    fn at(&self, piece: Piece) -> usize {
        (self.start + piece.row * self.row).wrapping_add_signed(piece.offset)
    }
}
