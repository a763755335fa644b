//! The segments of a JPEG: frame, tables, scan headers and what applications wrote.
//!
//! Read before the first scan and again between scans. Touches no entropy-coded data.
//!
//! Source: ITU-T T.81, annex B; the color rules are those of libjpeg's `default_decompress_parms`.

use super::JpegError;
use super::frame::{Color, Component, Frame, Process, Scan, ScanComponent};
use super::tables::Tables;

/// Finds the next marker from a position on, and the position behind it; what stands before it is skipped, as libjpeg
/// does.
pub(super) fn next_marker(bytes: &[u8], mut at: usize) -> Result<(u8, usize), JpegError> {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let ff = rest.iter().position(|&b| b == 0xFF);
        let after = ff.and_then(|ff| rest[ff..].iter().position(|&b| b != 0xFF).map(|n| ff + n));
        let Some(after) = after else {
            return Err(NO_MARKER);
        };
        at += after + 1;
        if rest[after] != 0 {
            return Ok((rest[after], at));
        }
    }
}

/// What [`next_marker`] fails with.
pub(super) const NO_MARKER: JpegError = JpegError::Truncated("the data ends where a marker is due");

const TOO_SHORT: JpegError = JpegError::Corrupt("a segment shorter than its own length");

/// A reader of segments, at a position between two markers.
#[derive(Debug, Clone)]
pub(super) struct Segments<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) at: usize,
    pub(super) tables: Tables,
    pub(super) frame: Option<Frame>,
    /// The content of the first EXIF segment.
    pub(super) exif: Option<&'a [u8]>,
    jfif: bool,
    adobe_transform: Option<u8>,
}

impl<'a> Segments<'a> {
    /// Starts behind the start-of-image marker.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Segments<'a>, JpegError> {
        if !bytes.starts_with(&[0xFF, 0xD8]) {
            return Err(JpegError::Corrupt("no start-of-image marker"));
        }
        Ok(Segments {
            bytes,
            at: 2,
            tables: Tables::default(),
            frame: None,
            exif: None,
            jfif: false,
            adobe_transform: None,
        })
    }

    /// Reads segments up to the next scan header, which it returns; `None` at the end of the image.
    pub(super) fn next_scan(&mut self) -> Result<Option<Scan>, JpegError> {
        loop {
            let (marker, behind) = next_marker(self.bytes, self.at)?;
            self.at = behind;
            match marker {
                0xD9 => return Ok(None),
                0xDA => return self.scan_header().map(Some),
                0x01 | 0xD0..=0xD7 => {} // without content
                0xD8 => return Err(JpegError::Corrupt("a second start-of-image marker")),
                0xC0..=0xCF | 0xDB..=0xDD | 0xE0..=0xEF | 0xFE => self.segment(marker)?,
                _ => return Err(JpegError::Corrupt("an unknown marker")), // even if it has no content
            }
        }
    }

    fn segment(&mut self, marker: u8) -> Result<(), JpegError> {
        let content = match self.content() {
            // As libjpeg, which looks at the length only where it reads the content.
            Err(TOO_SHORT) if matches!(marker, 0xDC | 0xE0..=0xEF | 0xFE) => {
                self.at += 2;
                &[]
            }
            content => content?,
        };
        match marker {
            0xC0 | 0xC1 => self.frame_header(content, Process::Sequential, false),
            0xC2 => self.frame_header(content, Process::Progressive, false),
            0xC9 => self.frame_header(content, Process::Sequential, true),
            0xCA => self.frame_header(content, Process::Progressive, true),
            0xC3 | 0xC7 | 0xCB | 0xCF => Err(JpegError::Unsupported("lossless coding")),
            0xC5 | 0xC6 | 0xCD | 0xCE => Err(JpegError::Unsupported("hierarchical coding")),
            0xC4 => self.tables.define_huffman(content),
            0xDB => self.tables.define_quantization(content),
            0xDD => {
                let &[high, low] = content else {
                    return Err(JpegError::Corrupt("a restart interval of the wrong length"));
                };
                self.tables.restart_interval = usize::from(u16::from_be_bytes([high, low]));
                Ok(())
            }
            0xE0 => {
                self.jfif |= content.len() >= 12 && content.starts_with(b"JFIF\0");
                Ok(())
            }
            0xE1 => {
                if let (None, Some(exif)) = (self.exif, content.strip_prefix(b"Exif\0\0")) {
                    self.exif = Some(exif);
                }
                Ok(())
            }
            0xEE => {
                if content.len() >= 12 && content.starts_with(b"Adobe") {
                    self.adobe_transform = Some(content[11]);
                }
                Ok(())
            }
            // Of the skipped ones, 0xCC prepares for arithmetic coding, which is refused, and 0xDC tells the height
            // late.
            0xCC | 0xDC | 0xE2..=0xED | 0xEF | 0xFE => Ok(()),
            _ => Err(JpegError::Corrupt("a reserved marker")),
        }
    }

    /// The content of the segment whose marker has been read.
    fn content(&mut self) -> Result<&'a [u8], JpegError> {
        const EARLY: JpegError = JpegError::Truncated("the data ends inside a segment");
        let &[high, low] = self.bytes.get(self.at..self.at + 2).ok_or(EARLY)? else {
            unreachable!("a range of two bytes")
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < 2 {
            return Err(TOO_SHORT);
        }
        let content = self.bytes.get(self.at + 2..self.at + length).ok_or(EARLY)?;
        self.at += length;
        Ok(content)
    }

    fn frame_header(
        &mut self,
        content: &[u8],
        process: Process,
        arithmetic: bool,
    ) -> Result<(), JpegError> {
        if self.frame.is_some() {
            return Err(JpegError::Corrupt("a second frame header"));
        }
        let [precision, y1, y0, x1, x0, count, components @ ..] = content else {
            return Err(JpegError::Corrupt("a frame header of the wrong length"));
        };
        if *precision != 8 {
            return Err(JpegError::Unsupported("samples of more than 8 bits"));
        }
        let height = usize::from(u16::from_be_bytes([*y1, *y0]));
        let width = usize::from(u16::from_be_bytes([*x1, *x0]));
        if width == 0 || height == 0 {
            return Err(JpegError::Corrupt("a side of 0 pixels"));
        }
        if components.len() != usize::from(*count) * 3 {
            return Err(JpegError::Corrupt("a frame header of the wrong length"));
        }
        if !matches!(count, 1 | 3 | 4) {
            return Err(JpegError::Corrupt(
                "a number of components other than 1, 3 or 4",
            ));
        }
        let mut parsed = Vec::with_capacity(4);
        for c in components.chunks_exact(3) {
            let (h, v) = (usize::from(c[1] >> 4), usize::from(c[1] & 15));
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return Err(JpegError::Corrupt("a sampling factor outside of 1 to 4"));
            }
            if c[2] > 3 {
                return Err(JpegError::Corrupt("a quantization table above 3"));
            }
            parsed.push(Component {
                id: c[0],
                h,
                v,
                quant_index: usize::from(c[2]),
                quant: None,
            });
        }
        let max_h = parsed.iter().map(|c| c.h).max().unwrap_or(1);
        let max_v = parsed.iter().map(|c| c.v).max().unwrap_or(1);
        if parsed.iter().any(|c| max_h % c.h != 0 || max_v % c.v != 0) {
            return Err(JpegError::Unsupported("fractional sampling"));
        }
        self.frame = Some(Frame {
            process,
            arithmetic,
            width,
            height,
            components: parsed,
            max_h,
            max_v,
        });
        Ok(())
    }

    fn scan_header(&mut self) -> Result<Scan, JpegError> {
        const BAD: JpegError = JpegError::Corrupt("a wrong scan header");
        let content = self.content()?;
        let frame = self
            .frame
            .as_mut()
            .ok_or(JpegError::Corrupt("a scan before the frame header"))?;
        let [count, rest @ ..] = content else {
            return Err(BAD);
        };
        let count = usize::from(*count);
        if !(1..=4).contains(&count) || rest.len() != count * 2 + 3 {
            return Err(BAD);
        }
        let mut components: Vec<ScanComponent> = Vec::with_capacity(count);
        for c in rest[..count * 2].chunks_exact(2) {
            let taken = |i: usize| components.iter().any(|s| s.index == i);
            let index = (0..frame.components.len())
                .find(|&i| frame.components[i].id == c[0] && !taken(i))
                .ok_or(JpegError::Corrupt(
                    "a scan of a component that the frame lacks",
                ))?;
            components.push(ScanComponent {
                index,
                dc_table: usize::from(c[1] >> 4),
                ac_table: usize::from(c[1] & 15),
            });
        }
        let blocks = |s: &ScanComponent| {
            let component = &frame.components[s.index];
            component.h * component.v
        };
        // T.81, B.2.3: at most ten blocks in an MCU.
        if count > 1 && components.iter().map(blocks).sum::<usize>() > 10 {
            return Err(JpegError::Corrupt("more than ten blocks in an MCU"));
        }
        for s in &components {
            let component = &mut frame.components[s.index];
            if component.quant.is_none() {
                component.quant = Some(
                    self.tables.quant[component.quant_index]
                        .ok_or(JpegError::Corrupt("a quantization table is missing"))?,
                );
            }
        }
        let &[first, last, approximation] = &rest[count * 2..] else {
            return Err(BAD);
        };
        let scan = Scan {
            components,
            first: usize::from(first),
            last: usize::from(last),
            high: u32::from(approximation >> 4),
            low: u32::from(approximation & 15),
        };
        match frame.process {
            // What a sequential scan says here has no meaning; libjpeg warns and goes on.
            Process::Sequential => Ok(Scan {
                first: 0,
                last: 63,
                high: 0,
                low: 0,
                ..scan
            }),
            Process::Progressive => {
                let dc = scan.first == 0 && scan.last == 0;
                let ac = scan.first > 0
                    && scan.first <= scan.last
                    && scan.last < 64
                    && scan.components.len() == 1;
                let refines = scan.high == 0 || scan.high == scan.low + 1;
                if (dc || ac) && refines && scan.low <= 13 {
                    Ok(scan)
                } else {
                    Err(JpegError::Corrupt("a wrong progressive scan header"))
                }
            }
        }
    }

    /// What the components mean.
    pub(super) fn color(&self, frame: &Frame) -> Color {
        let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
        match (ids.len(), self.adobe_transform) {
            (1, _) => Color::Grey,
            (4, Some(0) | None) => Color::Cmyk,
            (4, Some(_)) => Color::Ycck,
            _ if self.jfif => Color::YCbCr,
            (_, Some(0)) => Color::Rgb,
            (_, Some(_)) => Color::YCbCr,
            (_, None) if ids == *b"RGB" => Color::Rgb,
            (_, None) => Color::YCbCr,
        }
    }
}
