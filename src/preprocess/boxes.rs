//! Boxes of the ISO base media file format, read without a copy.
//!
//! Used by `heif` and `jxl`, whose files are made of them. Source: ISO/IEC 14496-12, section 4.2.

use super::{Format, PreprocessError};

/// Why a container cannot be read; the words are for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ContainerError {
    /// The file ends before what it announces.
    Truncated,
    /// The file contradicts itself or the standard.
    Corrupt(&'static str),
    /// The file may be right, and is not read here. These words are the client's.
    Unsupported(&'static str),
    /// A coded picture above a limit of its own, which the client is told.
    #[cfg(any(feature = "heic", feature = "avif"))]
    TooLarge {
        /// How many of `unit` the picture has.
        got: u64,
        /// What is counted.
        unit: &'static str,
        /// The limit.
        max: u64,
    },
}

impl ContainerError {
    /// The error of an image of this format.
    pub(super) fn of(self, format: Format) -> PreprocessError {
        match self {
            ContainerError::Truncated => {
                PreprocessError::truncated(format, "a box or an item ends beyond the file")
            }
            ContainerError::Corrupt(detail) => PreprocessError::corrupt(format, detail),
            ContainerError::Unsupported(variant) => {
                PreprocessError::UnsupportedVariant { format, variant }
            }
            #[cfg(any(feature = "heic", feature = "avif"))]
            ContainerError::TooLarge { got, unit, max } => PreprocessError::LargeCodedPicture {
                format,
                got,
                unit,
                max,
            },
        }
    }
}

/// One box: its type and what is in it.
pub(super) type Child<'a> = ([u8; 4], &'a [u8]);

/// Takes the first box of `data`; none where nothing is left.
pub(super) fn next_box<'a>(data: &mut &'a [u8]) -> Result<Option<Child<'a>>, ContainerError> {
    if data.is_empty() {
        return Ok(None);
    }
    let cut = ContainerError::Truncated;
    let (head, behind) = data.split_first_chunk::<8>().ok_or(cut)?;
    let [a, b, c, d, kind @ ..] = *head;
    let (head, size) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (8, data.len() as u64),
        1 => (16, u64::from_be_bytes(*behind.first_chunk().ok_or(cut)?)),
        size => (8, u64::from(size)),
    };
    if size < head {
        return Err(ContainerError::Corrupt("a box smaller than its head"));
    }
    let size = usize::try_from(size).map_err(|_| cut)?;
    let (whole, rest) = data.split_at_checked(size).ok_or(cut)?;
    *data = rest;
    Ok(Some((kind, &whole[head as usize..])))
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
            (&b"\0\0\0\x0Aabcd1"[..], ContainerError::Truncated),
            (b"\0\0\0", ContainerError::Truncated),
            (
                b"\0\0\0\x01wide\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
                ContainerError::Truncated,
            ),
            (
                b"\0\0\0\x07abcd",
                ContainerError::Corrupt("a box smaller than its head"),
            ),
        ] {
            assert_eq!(next_box(&mut data), Err(error));
        }
    }
}
