//! Numbers and children of boxes, read without a copy.
//!
//! Used by the files beside it. Source: ISO/IEC 14496-12, section 4.2.

use super::super::boxes::{ContainerError, next_box};

/// The first box of this type in `data`.
pub(super) fn find<'a>(
    mut data: &'a [u8],
    wanted: &[u8; 4],
) -> Result<Option<&'a [u8]>, ContainerError> {
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
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], ContainerError> {
        let (head, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(ContainerError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ContainerError> {
        let (head, rest) = self
            .0
            .split_first_chunk()
            .ok_or(ContainerError::Truncated)?;
        self.0 = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ContainerError> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ContainerError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ContainerError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ContainerError> {
        self.array().map(u64::from_be_bytes)
    }

    /// A number of 16 bits, or of 32 where `wide`.
    pub(super) fn id(&mut self, wide: bool) -> Result<u32, ContainerError> {
        if wide {
            self.u32()
        } else {
            self.u16().map(u32::from)
        }
    }

    /// A number of 0, 4 or 8 bytes, as `iloc` has them.
    pub(super) fn sized(&mut self, bytes: u8) -> Result<u64, ContainerError> {
        match bytes {
            0 => Ok(0),
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => Err(ContainerError::Corrupt(
                "a field of another size than 0, 4, 8",
            )),
        }
    }

    /// Version and flags of a full box.
    pub(super) fn version(&mut self) -> Result<(u8, u32), ContainerError> {
        let word = self.u32()?;
        Ok(((word >> 24) as u8, word & 0xFF_FFFF))
    }
}
