//! Where a JPEG XL file has its codestream: it is one, or a container has it in one box or several.
//!
//! Source: ISO/IEC 18181-2, section 4.

use std::io::{Error, IoSliceMut, Read};

use jxl::api::JxlBitstreamInput;

use crate::preprocess::boxes::{ContainerError, next_box};

/// The bytes with which a container begins.
const CONTAINER: &[u8] = b"\0\0\0\x0CJXL \r\n\x87\n";

/// The bit that marks a part's number as the last.
const LAST: u32 = 1 << 31;

/// Most parts that a codestream may lie in.
const MAX_PARTS: usize = 1 << 16;

/// The parts of a file's codestream, in their order.
pub(super) fn codestream(file: &[u8]) -> Result<Vec<&[u8]>, ContainerError> {
    let Some(mut boxes) = file.strip_prefix(CONTAINER) else {
        return Ok(vec![file]);
    };
    let mut parts = Vec::new();
    while let Some((kind, body)) = next_box(&mut boxes)? {
        match &kind {
            b"jxlc" if parts.is_empty() => return Ok(vec![body]),
            b"jxlp" => {
                let (number, part) = body.split_first_chunk().ok_or(ContainerError::Truncated)?;
                let number = u32::from_be_bytes(*number);
                if parts.len() == MAX_PARTS {
                    return Err(ContainerError::Unsupported("more than 65536 parts"));
                }
                if (number & !LAST) as usize != parts.len() {
                    return Err(ContainerError::Corrupt("parts in another order"));
                }
                parts.push(part);
                if number & LAST != 0 {
                    return Ok(parts);
                }
            }
            _ => {}
        }
    }
    Err(ContainerError::Truncated)
}

/// The first bytes of a codestream, behind so many, up to so many.
pub(super) fn start(parts: &[&[u8]], skipped: usize, count: usize) -> Vec<u8> {
    let all = parts.iter().flat_map(|part| *part).copied();
    all.skip(skipped).take(count).collect()
}

/// The bytes that the decoder reads, part by part.
#[derive(Debug, Clone)]
pub(super) struct Input<'a> {
    /// The bytes of the current part that are not read yet.
    current: &'a [u8],
    rest: &'a [&'a [u8]],
}

impl<'a> Input<'a> {
    pub(super) fn new(parts: &'a [&'a [u8]]) -> Input<'a> {
        Input {
            current: &[],
            rest: parts,
        }
    }

    /// Goes on to the next part that has bytes, if the current one has none left; whether there is one.
    fn advance(&mut self) -> bool {
        while self.current.is_empty() {
            let Some((next, rest)) = self.rest.split_first() else {
                return false;
            };
            (self.current, self.rest) = (next, rest);
        }
        true
    }
}

impl JxlBitstreamInput for Input<'_> {
    fn available_bytes(&mut self) -> Result<usize, Error> {
        // A part at a time: what is not asked for is not copied.
        self.advance();
        Ok(self.current.len())
    }

    fn read(&mut self, buffers: &mut [IoSliceMut]) -> Result<usize, Error> {
        let mut total = 0;
        for buffer in buffers {
            let mut at = 0;
            while at < buffer.len() && self.advance() {
                at += Read::read(&mut self.current, &mut buffer[at..])?;
            }
            total += at;
        }
        Ok(total)
    }

    fn skip(&mut self, count: usize) -> Result<usize, Error> {
        let mut left = count;
        while left > 0 && self.advance() {
            let step = left.min(self.current.len());
            self.current = &self.current[step..];
            left -= step;
        }
        Ok(count - left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut out = ((body.len() + 8) as u32).to_be_bytes().to_vec();
        out.extend(kind);
        out.extend(body);
        out
    }

    fn file(boxes: &[Vec<u8>]) -> Vec<u8> {
        [CONTAINER, &boxes.concat()].concat()
    }

    #[test]
    fn a_codestream_lies_bare_or_in_boxes() {
        assert_eq!(codestream(b"\xFF\x0A123"), Ok(vec![&b"\xFF\x0A123"[..]]));
        let whole = file(&[boxed(b"ftyp", b"jxl "), boxed(b"jxlc", b"abc")]);
        assert_eq!(codestream(&whole), Ok(vec![&b"abc"[..]]));
        let parts = file(&[
            boxed(b"jxlp", b"\0\0\0\0abc"),
            boxed(b"Exif", b"between"),
            boxed(b"jxlp", b"\0\0\0\x01"),
            boxed(b"jxlp", b"\x80\0\0\x02de"),
            boxed(b"jxlp", b"\0\0\0\x03behind the last"),
        ]);
        let got = codestream(&parts).expect("three parts");
        assert_eq!(got, [&b"abc"[..], b"", b"de"]);
        assert_eq!(start(&got, 1, 3), b"bcd");
    }

    #[test]
    fn parts_out_of_order_or_without_an_end_are_refused() {
        let first = boxed(b"jxlp", b"\0\0\0\0abc");
        for (boxes, due) in [
            (vec![], ContainerError::Truncated),
            (vec![first.clone()], ContainerError::Truncated),
            (vec![boxed(b"jxlp", b"\0\0\0")], ContainerError::Truncated),
            (
                vec![first.clone(), first.clone()],
                ContainerError::Corrupt("parts in another order"),
            ),
        ] {
            assert_eq!(codestream(&file(&boxes)), Err(due));
        }
    }

    #[test]
    fn the_decoder_reads_on_across_parts() {
        let parts = [&b"ab"[..], b"", b"cde", b"f"];
        let mut input = Input::new(&parts);
        let (mut one, mut two) = ([0; 3], [0; 1]);
        let mut buffers = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
        assert_eq!(input.read(&mut buffers).expect("bytes"), 4);
        assert_eq!((&one, &two), (b"abc", b"d"));
        assert_eq!(input.available_bytes().expect("bytes"), 1);
        assert_eq!(input.skip(9).expect("bytes"), 2);
        assert_eq!(input.available_bytes().expect("bytes"), 0);
    }
}
