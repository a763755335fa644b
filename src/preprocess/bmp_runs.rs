//! The run-length codes of a BMP to indices.
//!
//! Called by `bmp`. Pixels that no run reaches have index 0; a picture whose codes end before its last pixel is not all
//! there. Source: the formats `BI_RLE4` and `BI_RLE8` of Windows; where codes go beyond a row, Pillow 13.

use super::PreprocessError;
use super::bmp::truncated;
use super::watch::Watch;

/// The indices in the order of the file's rows.
///
/// # Shapes
/// - returns: `[height, width]` `u8`
///
/// # Errors
/// [`PreprocessError::Truncated`] if there are fewer, or that `watch` stopped it.
pub(super) fn indices_of(
    bytes: &[u8],
    start: usize,
    (width, height): (usize, usize),
    four_bits: bool,
    watch: &Watch,
) -> Result<Vec<u8>, PreprocessError> {
    let total = width * height;
    let mut indices = Vec::with_capacity(total);
    let mut at = start;
    let mut x = 0;
    let mut looked = 0;
    // Two indices of four bits, or twice the same.
    let pair = |byte: u8| {
        if four_bits {
            [byte >> 4, byte & 15]
        } else {
            [byte; 2]
        }
    };
    while indices.len() < total {
        if at - start >= looked {
            watch.check()?;
            looked = at - start + (16 << 10);
        }
        let [count, value] = *bytes
            .get(at..)
            .and_then(|b| b.first_chunk())
            .ok_or_else(truncated)?;
        at += 2;
        match (count, value) {
            (1.., _) => {
                let count = usize::from(count).min(width.saturating_sub(x));
                let room = total - indices.len();
                indices.extend(pair(value).iter().cycle().take(count.min(room)));
                x += count;
            }
            (0, 0) => {
                let row_end = indices.len().next_multiple_of(width);
                indices.resize(row_end, 0);
                x = 0;
            }
            (0, 1) => break,
            (0, 2) => {
                let [right, up] = *bytes
                    .get(at..)
                    .and_then(|b| b.first_chunk())
                    .ok_or_else(truncated)?;
                at += 2;
                let skipped = usize::from(right) + usize::from(up) * width;
                indices.resize(total.min(indices.len() + skipped), 0);
                x = indices.len() % width;
            }
            (0, _) => {
                let count = usize::from(value).min(total - indices.len());
                let length = if four_bits { count.div_ceil(2) } else { count };
                let stored = bytes.get(at..at + length).ok_or_else(truncated)?;
                if four_bits {
                    indices.extend(stored.iter().flat_map(|byte| pair(*byte)).take(count));
                } else {
                    indices.extend(stored);
                }
                x += usize::from(value);
                at += length;
                // Codes begin at even places of the file.
                at += at % 2;
            }
        }
    }
    if indices.len() < total {
        return Err(truncated());
    }
    Ok(indices)
}
