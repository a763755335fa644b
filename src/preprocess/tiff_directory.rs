//! The first directory of a TIFF or BigTIFF: its fields, read where they lie.
//!
//! Called by `tiff`. No other directory is looked at, so no chain of them can be endless, and a field's values are not
//! copied, so no count in it costs memory. Source: TIFF revision 6.0, section 2, and the BigTIFF design of libtiff.

/// Numbers of the fields that a picture needs. Source: TIFF revision 6.0, section 8 and after; DNG 1.4.
pub(super) mod tag {
    pub(crate) const NEW_SUBFILE_TYPE: u16 = 254;
    pub(crate) const IMAGE_WIDTH: u16 = 256;
    pub(crate) const IMAGE_LENGTH: u16 = 257;
    pub(crate) const BITS_PER_SAMPLE: u16 = 258;
    pub(crate) const COMPRESSION: u16 = 259;
    pub(crate) const PHOTOMETRIC_INTERPRETATION: u16 = 262;
    pub(crate) const FILL_ORDER: u16 = 266;
    pub(crate) const STRIP_OFFSETS: u16 = 273;
    pub(crate) const ORIENTATION: u16 = 274;
    pub(crate) const SAMPLES_PER_PIXEL: u16 = 277;
    pub(crate) const ROWS_PER_STRIP: u16 = 278;
    pub(crate) const STRIP_BYTE_COUNTS: u16 = 279;
    pub(crate) const PLANAR_CONFIGURATION: u16 = 284;
    pub(crate) const PREDICTOR: u16 = 317;
    pub(crate) const COLOR_MAP: u16 = 320;
    pub(crate) const TILE_WIDTH: u16 = 322;
    pub(crate) const TILE_LENGTH: u16 = 323;
    pub(crate) const TILE_OFFSETS: u16 = 324;
    pub(crate) const TILE_BYTE_COUNTS: u16 = 325;
    pub(crate) const EXTRA_SAMPLES: u16 = 338;
    pub(crate) const SAMPLE_FORMAT: u16 = 339;
    pub(crate) const JPEG_TABLES: u16 = 347;
    pub(crate) const DNG_VERSION: u16 = 50_706;
}

/// The fields of the first picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Directory<'a> {
    file: &'a [u8],
    layout: Layout,
    /// The bytes from the first field on.
    fields: &'a [u8],
    count: usize,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy)]
struct Layout {
    little: bool,
    /// Whether offsets and counts have eight bytes (BigTIFF).
    big: bool,
}

/// The values of a field, all of one kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    little: bool,
    /// Bytes of a value.
    size: usize,
    bytes: &'a [u8],
}

impl<'a> Directory<'a> {
    /// Finds the fields of a file that starts with the signature; none if it ends before.
    pub(super) fn first(file: &'a [u8]) -> Option<Directory<'a>> {
        let layout = Layout {
            little: file.starts_with(b"II"),
            big: matches!(file.get(2..4)?, [43, 0] | [0, 43]),
        };
        let (at, word) = if layout.big { (8, 8) } else { (4, 4) };
        let start = number(layout.little, file.get(at..at + word)?);
        let directory = file.get(usize::try_from(start).ok()?..)?;
        let (count, fields) = directory.split_at_checked(if layout.big { 8 } else { 2 })?;
        Some(Directory {
            file,
            layout,
            fields,
            // More than a classic one can have are not looked at.
            count: number(layout.little, count).min(u64::from(u16::MAX)) as usize,
        })
    }

    /// Whether the low byte of a number comes first.
    pub(super) fn is_little_endian(&self) -> bool {
        self.layout.little
    }

    /// The values of a field; none where it is missing, of another kind than whole numbers, or not all there.
    pub(super) fn values(&self, tag: u16) -> Option<Values<'a>> {
        let Layout { little, big } = self.layout;
        let (length, word) = if big { (20, 8) } else { (12, 4) };
        let mut fields = self.fields.chunks_exact(length).take(self.count);
        let field = fields.find(|field| number(little, &field[..2]) == u64::from(tag))?;
        let size = match number(little, &field[2..4]) {
            1 | 7 => 1,
            3 => 2,
            4 | 13 => 4,
            16 => 8,
            _ => return None,
        };
        let (count, inline) = field[4..].split_at(word);
        let count = usize::try_from(number(little, count)).ok()?;
        let length = size * count.min(self.file.len() + 1);
        let bytes = if length <= word {
            &inline[..length]
        } else {
            let at = usize::try_from(number(little, inline)).ok()?;
            self.file.get(at..)?.get(..length)?
        };
        Some(Values {
            little,
            size,
            bytes,
        })
    }

    /// The first value of a field.
    pub(super) fn value(&self, tag: u16) -> Option<u64> {
        self.values(tag)?.get(0)
    }

    /// The first value of a field that has a default.
    pub(super) fn value_or(&self, tag: u16, default: u64) -> u64 {
        self.value(tag).unwrap_or(default)
    }
}

impl<'a> Values<'a> {
    pub(super) fn get(&self, index: usize) -> Option<u64> {
        let at = index.checked_mul(self.size)?;
        let bytes = self.bytes.get(at..)?.get(..self.size)?;
        Some(number(self.little, bytes))
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len() / self.size
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + use<'a> {
        let little = self.little;
        self.bytes
            .chunks_exact(self.size)
            .map(move |bytes| number(little, bytes))
    }

    /// The values as they lie in the file.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// A number of at most eight bytes.
fn number(little: bool, bytes: &[u8]) -> u64 {
    let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
    if little {
        bytes.iter().rev().fold(0, add)
    } else {
        bytes.iter().fold(0, add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_in_either_byte_order_and_width() {
        let little = b"II*\0\x08\0\0\0\x02\0\x00\x01\x03\0\x01\0\0\0\x07\0\0\0\x02\x01\x03\0\x03\0\0\0\x26\0\0\0\
            \0\0\0\0\x08\0\x08\0\x05\0";
        let big = b"MM\0+\0\x08\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0\x01\
            \x01\x00\0\x04\0\0\0\0\0\0\0\x01\0\0\0\x07\0\0\0\0";
        let directory = Directory::first(little).expect("a directory");
        assert_eq!(directory.value(tag::IMAGE_WIDTH), Some(7));
        let bits = directory.values(tag::BITS_PER_SAMPLE).expect("a field");
        assert_eq!(bits.iter().collect::<Vec<_>>(), [8, 8, 5]);
        assert_eq!((bits.len(), bits.get(2), bits.get(3)), (3, Some(5), None));
        assert_eq!(directory.value(tag::IMAGE_LENGTH), None);
        let directory = Directory::first(big).expect("a directory");
        assert_eq!(directory.value(tag::IMAGE_WIDTH), Some(7));
        assert!(!directory.is_little_endian());
    }

    #[test]
    fn values_beyond_the_file_are_none() {
        let mut file = *b"II*\0\x08\0\0\0\x01\0\x02\x01\x03\0\xFF\xFF\xFF\xFF\x08\0\0\0";
        let directory = Directory::first(&file).expect("a directory");
        assert!(directory.values(tag::BITS_PER_SAMPLE).is_none());
        file[4] = 200;
        assert!(Directory::first(&file).is_none());
    }
}
