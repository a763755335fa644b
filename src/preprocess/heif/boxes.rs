//! Boxes of the ISO base media file format, and numbers in them, read without a copy.
//!
//! Used by the files beside it. Source: ISO/IEC 14496-12, section 4.2.

/// Why a container cannot be read; the words are for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum HeifError {
    /// The file ends before what it announces.
    Truncated,
    /// It contradicts itself or the standard.
    Corrupt(&'static str),
    /// It may be right, and is not read here. These words are the client's.
    Unsupported(&'static str),
}

/// One box: its type and what is in it.
pub(super) type Child<'a> = ([u8; 4], &'a [u8]);

/// Takes the first box of `data`; none where nothing is left.
pub(super) fn next_box<'a>(data: &mut &'a [u8]) -> Result<Option<Child<'a>>, HeifError> {
    if data.is_empty() {
        return Ok(None);
    }
    let mut reader = Reader(data);
    let size = u64::from(reader.u32()?);
    let kind = reader.array()?;
    let (head, size) = match size {
        0 => (8, data.len() as u64),
        1 => (16, reader.u64()?),
        size => (8, size),
    };
    if size < head {
        return Err(HeifError::Corrupt("a box smaller than its head"));
    }
    let size = usize::try_from(size).map_err(|_| HeifError::Truncated)?;
    let (whole, rest) = data.split_at_checked(size).ok_or(HeifError::Truncated)?;
    *data = rest;
    Ok(Some((kind, &whole[head as usize..])))
}

/// The first box of this type in `data`.
pub(super) fn find<'a>(
    mut data: &'a [u8],
    wanted: &[u8; 4],
) -> Result<Option<&'a [u8]>, HeifError> {
    while let Some((kind, body)) = next_box(&mut data)? {
        if kind == *wanted {
            return Ok(Some(body));
        }
    }
    Ok(None)
}

/// Reads big-endian numbers from the front of a slice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], HeifError> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(HeifError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], HeifError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(HeifError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, HeifError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, HeifError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, HeifError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, HeifError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A number of 16 bits, or of 32 where `wide`.
    pub(super) fn id(&mut self, wide: bool) -> Result<u32, HeifError> {
        if wide {
            self.u32()
        } else {
            self.u16().map(u32::from)
        }
    }

    /// A number of 0, 4 or 8 bytes, as `iloc` has them.
    pub(super) fn sized(&mut self, bytes: u8) -> Result<u64, HeifError> {
        match bytes {
            0 => Ok(0),
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => Err(HeifError::Corrupt("a field of another size than 0, 4, 8")),
        }
    }

    /// Version and flags of a full box.
    pub(super) fn version(&mut self) -> Result<(u8, u32), HeifError> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0xFF_FFFF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_have_three_kinds_of_sizes() {
        let mut data = &b"\0\0\0\x0Aabcd12\0\0\0\x01wide\0\0\0\0\0\0\0\x1234\0\0\0\0last567"[..];
        assert_eq!(next_box(&mut data), Ok(Some((*b"abcd", &b"12"[..]))));
        assert_eq!(next_box(&mut data), Ok(Some((*b"wide", &b"34"[..]))));
        assert_eq!(next_box(&mut data), Ok(Some((*b"last", &b"567"[..]))));
        assert_eq!(next_box(&mut data), Ok(None));
    }

    #[test]
    fn a_box_that_is_cut_or_smaller_than_its_head_is_refused() {
        for (mut data, error) in [
            (&b"\0\0\0\x0Aabcd1"[..], HeifError::Truncated),
            (b"\0\0\0", HeifError::Truncated),
            (
                b"\0\0\0\x01wide\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
                HeifError::Truncated,
            ),
            (
                b"\0\0\0\x07abcd",
                HeifError::Corrupt("a box smaller than its head"),
            ),
        ] {
            assert_eq!(next_box(&mut data), Err(error));
        }
    }
}
