//! The format of an upload by its first bytes; names and content types are never trusted.
//!
//! Called by `OpenImage::open`. Reads no further than the header begins.

use super::{PreprocessError, looks_like};

/// What a client is told to send.
pub(super) const ACCEPTED: &str = match (
    cfg!(feature = "heic"),
    cfg!(feature = "avif"),
    cfg!(feature = "jxl"),
) {
    (false, false, false) => "JPEG, PNG, WebP, GIF, TIFF or BMP",
    (true, false, false) => "JPEG, PNG, WebP, GIF, TIFF, BMP or HEIC",
    (false, true, false) => "JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF",
    (false, false, true) => "JPEG, PNG, WebP, GIF, TIFF, BMP or JPEG XL",
    (true, true, false) => "JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or AVIF",
    (true, false, true) => "JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC or JPEG XL",
    (false, true, true) => "JPEG, PNG, WebP, GIF, TIFF, BMP, AVIF or JPEG XL",
    (true, true, true) => "JPEG, PNG, WebP, GIF, TIFF, BMP, HEIC, AVIF or JPEG XL",
};

/// The image formats that are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG, baseline or progressive.
    Jpeg,
    /// PNG; of an animated one the default image.
    Png,
    /// WebP, lossy or lossless; of an animated one the first frame.
    WebP,
    /// GIF; the first frame.
    Gif,
    /// BMP.
    Bmp,
    /// TIFF or BigTIFF; the first picture.
    Tiff,
    /// PBM, PGM, PPM or PAM.
    Pnm,
    /// ICO; the largest picture.
    Ico,
    /// QOI.
    Qoi,
    /// TGA.
    Tga,
    /// HEIC: HEVC in HEIF, in a build with the feature `heic`; the primary picture.
    Heic,
    /// AVIF: AV1 in HEIF, in a build with the feature `avif`; the primary picture.
    Avif,
    /// JPEG XL, in a build with the feature `jxl`; of an animated one the first frame.
    Jxl,
}

impl Format {
    /// All formats.
    pub(super) const ALL: [Format; 13] = [
        Format::Jpeg,
        Format::Png,
        Format::WebP,
        Format::Gif,
        Format::Bmp,
        Format::Tiff,
        Format::Pnm,
        Format::Ico,
        Format::Qoi,
        Format::Tga,
        Format::Heic,
        Format::Avif,
        Format::Jxl,
    ];

    /// The formats that are not in every build, and whether they are in this one.
    const OPTIONAL: [(Format, bool); 3] = [
        (Format::Heic, cfg!(feature = "heic")),
        (Format::Avif, cfg!(feature = "avif")),
        (Format::Jxl, cfg!(feature = "jxl")),
    ];

    /// The formats that this build decodes.
    pub fn built_in() -> impl Iterator<Item = Format> {
        let is_left_out = |format| Self::OPTIONAL.contains(&(format, false));
        let all = Self::ALL.into_iter();
        all.filter(move |format| !is_left_out(*format))
    }

    /// The lower-case name used in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "jpeg",
            Format::Png => "png",
            Format::WebP => "webp",
            Format::Gif => "gif",
            Format::Bmp => "bmp",
            Format::Tiff => "tiff",
            Format::Pnm => "pnm",
            Format::Ico => "ico",
            Format::Qoi => "qoi",
            Format::Tga => "tga",
            Format::Heic => "heic",
            Format::Avif => "avif",
            Format::Jxl => "jxl",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Jpeg => "JPEG",
            Format::Png => "PNG",
            Format::WebP => "WebP",
            Format::Gif => "GIF",
            Format::Bmp => "BMP",
            Format::Tiff => "TIFF",
            Format::Pnm => "PNM",
            Format::Ico => "ICO",
            Format::Qoi => "QOI",
            Format::Tga => "TGA",
            Format::Heic => "HEIC",
            Format::Avif => "AVIF",
            Format::Jxl => "JPEG XL",
        })
    }
}

/// The accepted format whose signature starts `bytes`.
///
/// Source: the signatures of ITU-T T.81, PNG (third edition) section 5.2, RFC 9649 section 2.4 and GIF89a; those of the
/// other formats as their decoders name their sources.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<Format> {
    match bytes {
        [0xFF, 0xD8, 0xFF, ..] => Some(Format::Jpeg),
        [0x89, b'P', b'N', b'G', 0x0D, 0x0A, 0x1A, 0x0A, ..] => Some(Format::Png),
        [
            b'R',
            b'I',
            b'F',
            b'F',
            _,
            _,
            _,
            _,
            b'W',
            b'E',
            b'B',
            b'P',
            ..,
        ] => Some(Format::WebP),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
        [b'B', b'M', ..] if is_bmp(bytes) => Some(Format::Bmp),
        // A Canon raw file begins as a TIFF of a small picture.
        [b'I', b'I', b'*', 0, _, _, _, _, b'C', b'R', ..] => None,
        [b'I', b'I', b'*' | b'+', 0, ..] | [b'M', b'M', 0, b'*' | b'+', ..] => Some(Format::Tiff),
        [b'P', kind @ b'1'..=b'7', rest @ ..] if is_pnm(*kind, rest) => Some(Format::Pnm),
        [0, 0, 1, 0, low, high, ..] if (*low, *high) != (0, 0) => Some(Format::Ico),
        [b'q', b'o', b'i', b'f', ..] if is_qoi(bytes) => Some(Format::Qoi),
        _ => optional(bytes).or_else(|| is_tga(bytes).then_some(Format::Tga)),
    }
}

/// Whether a header of a known size follows that of the file; two letters begin many a text.
fn is_bmp(bytes: &[u8]) -> bool {
    matches!(
        bytes.get(14..18),
        Some([12 | 40 | 52 | 56 | 64 | 108 | 124, 0, 0, 0])
    )
}

/// Whether a header follows the two characters of a PNM, which begin many a text: a number, or a PAM's name of a line.
fn is_pnm(kind: u8, rest: &[u8]) -> bool {
    const LOOKED_AT: usize = 64;
    let is_space = |c: &u8| matches!(c, b' ' | b'\t'..=b'\r');
    let next = rest.iter().take(LOOKED_AT).find(|c| !is_space(c));
    let fits = |c: &u8| match kind {
        b'7' => c.is_ascii_uppercase(),
        _ => c.is_ascii_digit(),
    };
    let is_apart = rest.first().is_some_and(|c| match kind {
        b'7' => matches!(c, b'\r' | b'\n'),
        _ => is_space(c) || *c == b'#',
    });
    is_apart && next.is_none_or(|c| *c == b'#' || fits(c))
}

/// Whether the numbers of channels and color space, as far as they are there, are small ones, as no text has. Pillow
/// takes others than the specification names.
fn is_qoi(bytes: &[u8]) -> bool {
    const CHANNELS: usize = 12;
    let numbers = bytes.iter().skip(CHANNELS).take(2);
    numbers.copied().all(|number| number < b'\t')
}

/// Whether every field of a TGA's header has one of its few values; the format has no signature in front.
fn is_tga(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<18>() else {
        return false;
    };
    let [
        _,
        mapped,
        kind,
        map @ ..,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        _,
        bits,
        flags,
    ] = *header;
    let size = &header[12..16];
    let colors = match (mapped, kind) {
        (0, 2 | 3 | 10 | 11) => map[2..4] == [0; 2] && matches!(bits, 8 | 16 | 24 | 32),
        (1, 1 | 9) => bits == 8 && matches!(map[4], 15 | 16 | 24 | 32),
        _ => false,
    };
    let grey = kind & 7 == 3;
    let fits = kind & 7 == 1 || grey == (bits == 8) || bits == 16;
    let has_pixels = size[..2] != [0; 2] && size[2..] != [0; 2];
    colors && fits && has_pixels && flags & 0xC0 == 0 && matches!(flags & 0x0F, 0 | 1 | 8)
}

/// The format of those that are not in every build.
fn optional(bytes: &[u8]) -> Option<Format> {
    let name = looks_like(bytes)?;
    let mut built_in = Format::OPTIONAL.into_iter().filter(|(_, there)| *there);
    let found = built_in.find(|(format, _)| name.starts_with(&format.to_string()));
    found.map(|(format, _)| format)
}

/// [`sniff`], or an error that names what the bytes look like instead.
pub(super) fn accepted_format(bytes: &[u8]) -> Result<Format, PreprocessError> {
    if bytes.is_empty() {
        return Err(PreprocessError::Empty);
    }
    sniff(bytes).ok_or_else(|| PreprocessError::UnsupportedFormat {
        looks_like: looks_like(bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_decide() {
        assert_eq!(sniff(&[0xFF, 0xD8, 0xFF, 0xE0]), Some(Format::Jpeg));
        assert_eq!(sniff(b"\x89PNG\r\n\x1a\n...."), Some(Format::Png));
        assert_eq!(sniff(b"RIFF\0\0\0\0WEBPVP8 "), Some(Format::WebP));
        assert_eq!(sniff(b"GIF89a"), Some(Format::Gif));
        assert_eq!(
            sniff(b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0"),
            Some(Format::Bmp)
        );
        assert_eq!(sniff(b"MM\0*\0\0\0\x08"), Some(Format::Tiff));
        assert_eq!(sniff(b"II+\0\x08\0\0\0"), Some(Format::Tiff));
        for pnm in [
            &b"P6\n640 480\n255\n"[..],
            b"P1 # a comment\n8 8",
            b"P4#a comment\n8 8",
            b"P5\r\n\n 8 8 255 ",
            b"P7\nWIDTH 8",
            b"P7\n# a comment",
        ] {
            assert_eq!(sniff(pnm), Some(Format::Pnm), "{pnm:?}");
        }
        assert_eq!(sniff(b"\0\0\x01\0\x02\0\x10\x10"), Some(Format::Ico));
        assert_eq!(sniff(b"qoif\0\0\0\x01"), Some(Format::Qoi));
        let tga = b"\0\0\x02\0\0\0\0\0\0\0\0\0\x07\0\x05\0\x18\x20";
        assert_eq!(sniff(tga), Some(Format::Tga));
        let with_size_of_no_map = b"\0\0\x02\0\0\0\0\x18\0\0\0\0\x07\0\x05\0\x18\x20";
        assert_eq!(sniff(with_size_of_no_map), Some(Format::Tga));
        for not in [
            &b"GIF88a"[..],
            b"RIFF\0\0\0\0WAVE",
            b"\xFF\xD8",
            b"",
            b"\x89PNG\n",
            b"BM of the two",
            b"II*\0\x10\0\0\0CR\x02\0",
            b"P6",
            b"P6 is a format",
            b"P1 incidents page the engineer at once.",
            b"P2\n\n\nP3",
            b"P7 24 rows",
            b"P7\nand the others",
            b"qoif is a format of images",
            b"\0\0\x01\0\0\0",
            // A cursor, zeros, and a header of impossible bits.
            b"\0\0\x02\0\x01\0\x20\x20\0\0\0\0\x01\0\x20\0\x30\x01",
            &[0; 40],
            b"\0\0\x02\0\0\0\0\0\0\0\0\0\x07\0\x05\0\x17\x20",
        ] {
            assert_eq!(sniff(not), None, "{not:?}");
        }
    }

    #[test]
    fn refusal_names_what_the_bytes_look_like() {
        let text = |b: &[u8]| accepted_format(b).expect_err("not accepted").to_string();
        assert!(text(b"%PDF-1.7").contains("PDF"));
        assert!(text(b"").contains("0 bytes"));
        assert!(
            text(b"hello").starts_with("this is not an image in an accepted format: send JPEG")
        );
    }

    #[test]
    fn jpeg_xl_begins_as_a_codestream_or_a_container() {
        for jxl in [&b"\xFF\x0A\xFA"[..], b"\0\0\0\x0CJXL \r\n\x87\n"] {
            let due = cfg!(feature = "jxl").then_some(Format::Jxl);
            assert_eq!(sniff(jxl), due);
        }
    }

    #[test]
    fn brands_tell_heic_and_avif() {
        for heic in [
            &b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..],
            b"\0\0\0\x14ftypmif1\0\0\0\0heic",
            b"\0\0\0\x14ftypmif1\0\0\0\0miaf",
        ] {
            let due = cfg!(feature = "heic").then_some(Format::Heic);
            assert_eq!(sniff(heic), due);
        }
        for avif in [
            &b"\0\0\0\x14ftypmif1\0\0\0\0avif"[..],
            b"\0\0\0\x1Cftypavis\0\0\0\0msf1avif",
        ] {
            let due = cfg!(feature = "avif").then_some(Format::Avif);
            assert_eq!(sniff(avif), due);
        }
        assert_eq!(sniff(b"\0\0\0\x14ftypisom\0\0\0\0avc1"), None);
    }
}
