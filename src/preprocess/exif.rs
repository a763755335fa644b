//! The orientation that a camera wrote into the image's EXIF block.
//!
//! Read by the decoders, applied by `ResizePlan` and `OpenImage`. Reads one tag and nothing else of the block.

/// Whether a picture is turned the way its EXIF orientation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExifMode {
    /// Turn it, as every viewer does.
    #[default]
    Apply,
    /// Leave the picture as its format means it, as Pillow's `Image.open` and torchvision do.
    Ignore,
}

/// How a stored picture must be turned to be upright; the values of the EXIF tag from 1 to 8, in order.
///
/// Turns are clockwise; where a name has two parts, the turn comes first. Source: EXIF 2.32, section 4.6.4, tag 274.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Orientation {
    #[default]
    NoTransforms,
    FlipHorizontal,
    Rotate180,
    FlipVertical,
    Rotate90FlipH,
    Rotate90,
    Rotate270FlipH,
    Rotate270,
}

impl Orientation {
    /// The turn that the tag's value stands for.
    pub(super) fn of_tag(value: u32) -> Option<Orientation> {
        use Orientation as O;
        let all = [
            O::NoTransforms,
            O::FlipHorizontal,
            O::Rotate180,
            O::FlipVertical,
            O::Rotate90FlipH,
            O::Rotate90,
            O::Rotate270FlipH,
            O::Rotate270,
        ];
        all.get((value as usize).checked_sub(1)?).copied()
    }

    /// This turn, and then another one.
    pub(super) fn then(self, next: Orientation) -> Orientation {
        let swaps = self.swaps_sides() != next.swaps_sides();
        let (columns, rows) = self.mirrors();
        let (mut next_columns, mut next_rows) = next.mirrors();
        if self.swaps_sides() {
            (next_columns, next_rows) = (next_rows, next_columns);
        }
        let mirrors = (columns != next_columns, rows != next_rows);
        let all = (1..=8).filter_map(Orientation::of_tag);
        let mut same = all.filter(|o| o.swaps_sides() == swaps && o.mirrors() == mirrors);
        same.next().expect("eight turns, each with its own answers")
    }

    /// Whether stored rows are seen as columns.
    pub(super) fn swaps_sides(self) -> bool {
        use Orientation as O;
        matches!(
            self,
            O::Rotate90 | O::Rotate270 | O::Rotate90FlipH | O::Rotate270FlipH
        )
    }

    /// Whether stored columns, and stored rows, are seen in the reverse order.
    pub(super) fn mirrors(self) -> (bool, bool) {
        match self {
            Orientation::NoTransforms | Orientation::Rotate90FlipH => (false, false),
            Orientation::FlipHorizontal | Orientation::Rotate270 => (true, false),
            Orientation::FlipVertical | Orientation::Rotate90 => (false, true),
            Orientation::Rotate180 | Orientation::Rotate270FlipH => (true, true),
        }
    }

    /// Column and row of the stored image, whose size is given, that is seen at this column and row.
    fn stored(self, (x, y): (usize, usize), (width, height): (usize, usize)) -> (usize, usize) {
        let (x, y) = if self.swaps_sides() { (y, x) } else { (x, y) };
        let (mirrors_columns, mirrors_rows) = self.mirrors();
        (
            if mirrors_columns { width - 1 - x } else { x },
            if mirrors_rows { height - 1 - y } else { y },
        )
    }
}

/// The orientation in an EXIF block; upright if the block is damaged or has none.
///
/// The block is a TIFF header and its first directory, with or without `Exif\0\0` in front: JPEG has it, PNG does not,
/// WebP has seen both.
pub(super) fn orientation(exif: Option<&[u8]>) -> Orientation {
    exif.and_then(orientation_tag)
        .and_then(Orientation::of_tag)
        .unwrap_or_default()
}

/// The value of tag 274 in the first directory; each of its entries is looked at once.
fn orientation_tag(block: &[u8]) -> Option<u32> {
    const TAG: u16 = 274;
    let tiff = block.strip_prefix(b"Exif\0\0").unwrap_or(block);
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let u16_of = |bytes: &[u8]| {
        let bytes: &[u8; 2] = bytes.first_chunk()?;
        Some(if little {
            u16::from_le_bytes(*bytes)
        } else {
            u16::from_be_bytes(*bytes)
        })
    };
    let u32_of = |bytes: &[u8]| {
        let bytes: &[u8; 4] = bytes.first_chunk()?;
        Some(if little {
            u32::from_le_bytes(*bytes)
        } else {
            u32::from_be_bytes(*bytes)
        })
    };
    let directory = tiff.get(u32_of(&tiff[4..])? as usize..)?;
    let count = usize::from(u16_of(directory)?);
    let entries = directory[2..].chunks_exact(12).take(count);
    let mut found = entries.filter(|entry| u16_of(entry) == Some(TAG));
    let entry = found.next()?;
    // A value of up to four bytes stands in the entry itself, at its start.
    let is_empty = u32_of(&entry[4..])? == 0;
    match u16_of(&entry[2..])? {
        _ if is_empty => None,
        // With a sign or without one: of the values that mean something none has one.
        1 | 6 => Some(u32::from(entry[8])),
        3 | 8 => u16_of(&entry[8..]).map(u32::from),
        4 | 9 => u32_of(&entry[8..]),
        _ => None,
    }
}

/// Width and height of an image of this stored size once it is upright, and the other way round.
pub(super) fn upright_size((width, height): (u32, u32), turn: Orientation) -> (u32, u32) {
    if turn.swaps_sides() {
        (height, width)
    } else {
        (width, height)
    }
}

/// Turns stored pixels upright.
///
/// # Shapes
/// - `stored`: `[height, width, 3]` `u8`, of the size given
/// - returns: the same pixels, `[width, height, 3]` where the turn swaps the sides
pub(super) fn upright(stored: &[u8], size: (u32, u32), turn: Orientation) -> Vec<u8> {
    let (columns, rows) = upright_size(size, turn);
    let size = (size.0 as usize, size.1 as usize);
    let mut out = Vec::with_capacity(stored.len());
    for y in 0..rows as usize {
        for x in 0..columns as usize {
            let (from_x, from_y) = turn.stored((x, y), size);
            let at = (from_y * size.0 + from_x) * 3;
            out.extend_from_slice(&stored[at..at + 3]);
        }
    }
    out
}

/// [`upright`] of rows that hold their channels one after another.
///
/// # Shapes
/// - `stored`: `[height, 3, width]` `u8`, of the size given
/// - returns: `[height, 3, width]`, or `[width, 3, height]` where the turn swaps the sides
pub(super) fn upright_planes(stored: &[u8], size: (u32, u32), turn: Orientation) -> Vec<u8> {
    let (columns, rows) = upright_size(size, turn);
    let size = (size.0 as usize, size.1 as usize);
    let mut out = Vec::with_capacity(stored.len());
    for y in 0..rows as usize {
        for channel in 0..3 {
            for x in 0..columns as usize {
                let (from_x, from_y) = turn.stored((x, y), size);
                out.push(stored[(from_y * 3 + channel) * size.0 + from_x]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where EXIF says that a stored pixel is seen: its row 0 and column 0 are the named sides of the scene.
    fn seen_at(value: u32, (x, y): (u32, u32), (w, h): (u32, u32)) -> (u32, u32) {
        match value {
            1 => (x, y),                 // top, left
            2 => (w - 1 - x, y),         // top, right
            3 => (w - 1 - x, h - 1 - y), // bottom, right
            4 => (x, h - 1 - y),         // bottom, left
            5 => (y, x),                 // left, top
            6 => (h - 1 - y, x),         // right, top
            7 => (h - 1 - y, w - 1 - x), // right, bottom
            _ => (y, w - 1 - x),         // left, bottom
        }
    }

    #[test]
    fn upright_puts_each_pixel_where_exif_says_it_is_seen() {
        let size @ (width, height) = (7, 5);
        let pixels: Vec<u8> = (0..width * height)
            .flat_map(|i| [i as u8, (i * 7) as u8, 9])
            .collect();
        for value in 1..=8 {
            let turn = Orientation::of_tag(value).expect("eight of them");
            let (w, _) = upright_size(size, turn);
            let mut expected = vec![0; pixels.len()];
            for y in 0..height {
                for x in 0..width {
                    let (to_x, to_y) = seen_at(value, (x, y), size);
                    let (from, to) = ((y * width + x) as usize * 3, (to_y * w + to_x) as usize * 3);
                    expected[to..to + 3].copy_from_slice(&pixels[from..from + 3]);
                }
            }
            assert_eq!(upright(&pixels, size, turn), expected, "{turn:?}");

            let planes = |rgb: &[u8], width: u32| -> Vec<u8> {
                let row = |row: &[u8]| -> Vec<u8> {
                    let channel = |c| row.iter().skip(c).step_by(3).copied();
                    (0..3).flat_map(channel).collect()
                };
                rgb.chunks_exact(width as usize * 3).flat_map(row).collect()
            };
            assert_eq!(
                upright_planes(&planes(&pixels, width), size, turn),
                planes(&expected, w),
                "{turn:?}"
            );
        }
    }

    #[test]
    fn a_turn_after_a_turn_is_one_turn() {
        let (size, turns) = ((5, 3), (1..=8).filter_map(Orientation::of_tag));
        let pixels: Vec<u8> = (0..5 * 3 * 3).collect();
        for (first, next) in turns
            .clone()
            .flat_map(|a| turns.clone().map(move |b| (a, b)))
        {
            let once = upright(&pixels, size, first);
            let twice = upright(&once, upright_size(size, first), next);
            assert_eq!(
                upright(&pixels, size, first.then(next)),
                twice,
                "{first:?}, {next:?}"
            );
        }
    }

    /// A block with one entry of another tag and the orientation, in either byte order.
    fn block(little: bool, kind: u16, value: u32) -> Vec<u8> {
        let short = |v: u16| {
            if little {
                v.to_le_bytes()
            } else {
                v.to_be_bytes()
            }
        };
        let long = |v: u32| {
            if little {
                v.to_le_bytes()
            } else {
                v.to_be_bytes()
            }
        };
        let mut out = if little { b"II*\0" } else { b"MM\0*" }.to_vec();
        out.extend(long(10)); // two bytes of nothing before the directory
        out.extend([0xEE; 2]);
        out.extend(short(2));
        for (tag, value) in [(256, 6), (274, value)] {
            out.extend(short(tag));
            out.extend(short(kind));
            out.extend(long(1));
            match kind {
                1 | 6 => out.extend([value as u8, 0, 0, 0]),
                3 | 8 => out.extend([short(value as u16), [0; 2]].concat()),
                _ => out.extend(long(value)),
            }
        }
        out.extend(long(0));
        out
    }

    #[test]
    fn orientation_is_read_in_both_byte_orders_with_and_without_prefix() {
        for little in [true, false] {
            for kind in [1, 3, 4, 6, 8, 9] {
                for value in 1..=8 {
                    let bare = block(little, kind, value);
                    let prefixed = [b"Exif\0\0", &bare[..]].concat();
                    let expected = Orientation::of_tag(value).expect("eight of them");
                    assert_eq!(orientation(Some(&bare)), expected);
                    assert_eq!(orientation(Some(&prefixed)), expected);
                }
            }
        }
    }

    #[test]
    fn damaged_exif_is_upright() {
        let good = block(true, 3, 6);
        let end_of_entry = 8 + 2 + 2 + 24;
        for length in 0..end_of_entry {
            let cut = orientation(Some(&good[..length]));
            assert_eq!(cut, Orientation::NoTransforms, "{length} bytes");
        }
        assert_eq!(
            orientation(Some(&good[..end_of_entry])),
            Orientation::Rotate90
        );
        for value in [0, 9, 0xFFFF, 0xFFFF_FFFF] {
            let block = block(false, 4, value);
            assert_eq!(
                orientation(Some(&block)),
                Orientation::NoTransforms,
                "{value}"
            );
        }
        let mut empty = good.clone();
        let entry = 8 + 2 + 2 + 12;
        empty[entry + 4..entry + 8].fill(0); // of no values
        assert_eq!(orientation(Some(&empty)), Orientation::NoTransforms);
        let mut far = good.clone();
        far[4..8].fill(0xFF); // a directory beyond the block
        assert_eq!(orientation(Some(&far)), Orientation::NoTransforms);
        let mut many = good;
        many[10..12].fill(0xFF); // more entries than there are
        assert_eq!(orientation(Some(&many)), Orientation::Rotate90);
        assert_eq!(orientation(None), Orientation::NoTransforms);
    }
}
