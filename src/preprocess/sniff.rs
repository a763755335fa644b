//! The format of an upload by its first bytes; names and content types are never trusted.
//!
//! Called by `Preprocessor::run`. Never reads past the signature.

use super::{PreprocessError, looks_like};

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
}

impl Format {
    /// The lower-case name used in answers and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Format::Jpeg => "jpeg",
            Format::Png => "png",
            Format::WebP => "webp",
            Format::Gif => "gif",
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
        })
    }
}

/// The accepted format whose signature starts `bytes`.
///
/// Source: the signatures of ITU-T T.81, PNG (third edition) section 5.2, RFC 9649 section 2.4 and GIF89a.
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
        _ => None,
    }
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
        for not in [
            &b"GIF88a"[..],
            b"RIFF\0\0\0\0WAVE",
            b"\xFF\xD8",
            b"",
            b"\x89PNG\n",
        ] {
            assert_eq!(sniff(not), None, "{not:?}");
        }
    }

    #[test]
    fn refusal_names_what_the_bytes_look_like() {
        let text = |b: &[u8]| accepted_format(b).expect_err("not accepted").to_string();
        assert!(text(b"\0\0\0\x18ftypheic").contains("HEIC"));
        assert!(text(b"%PDF-1.7").contains("PDF"));
        assert!(text(b"").contains("0 bytes"));
        assert_eq!(
            text(b"hello"),
            "this is not an image in an accepted format: send JPEG, PNG, WebP or GIF"
        );
    }
}
