//! Images that a client's program has changed on the way although they still begin as images.
//!
//! Asked when an image cannot be decoded, so that its refusal can say what to do. What changes the first bytes too is
//! for `lookalike` to see.

use memchr::{memchr3, memmem};

use super::{Format, PreprocessError, sniff};

/// U+FFFD in UTF-8, which programs put in the place of bytes that are no text.
const REPLACEMENT: &[u8] = "\u{FFFD}".as_bytes();

/// Shortest image that is told from one that is cut: within so many bytes each format but PNM, which may be text, has
/// zeros.
const SHORTEST: usize = 64;

/// The error of an image that cannot be decoded; another one if that is not the image's own fault.
pub(super) fn explained(error: PreprocessError, bytes: &[u8]) -> PreprocessError {
    let begins_as_image = match error {
        PreprocessError::Truncated { .. }
        | PreprocessError::Corrupt { .. }
        | PreprocessError::UnsupportedVariant { .. }
        | PreprocessError::TooManyPixels { .. }
        | PreprocessError::SideTooLong { .. }
        | PreprocessError::TooMuchMemory { .. }
        | PreprocessError::LargeCodedPicture { .. }
        | PreprocessError::OverBudget { .. } => true,
        // The length before the name of the format has become shorter, or longer.
        PreprocessError::UnsupportedFormat { .. } => {
            let start = &bytes[..bytes.len().min(24)];
            start.starts_with(b"RIFF") && memmem::find(start, b"WEBPVP8").is_some()
        }
        _ => false,
    };
    match begins_as_image.then(|| accident(bytes)).flatten() {
        Some(what) => PreprocessError::UnsupportedFormat {
            looks_like: Some(what),
        },
        None => error,
    }
}

/// What has happened to the bytes of an image that cannot be decoded, with what to do about it.
fn accident(bytes: &[u8]) -> Option<&'static str> {
    if bytes.len() < SHORTEST || sniff(bytes) == Some(Format::Pnm) {
        return None;
    }
    if memchr3(0, b'\r', b'\n', bytes).is_none() {
        return Some(
            "an image without its zeros and line ends, which curl -d takes out; use curl -T or --data-binary",
        );
    }
    // Bytes of an image are UTF-8 by chance only where they are few, and then they are ASCII.
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.is_ascii());
    // Latin-1 turned into UTF-8 has no other bytes from C0 on.
    let was_latin = || bytes.iter().all(|b| matches!(b, ..0xC0 | 0xC2 | 0xC3));
    match is_text && (memmem::find(bytes, REPLACEMENT).is_some() || was_latin()) {
        true => Some("an image that was read as text; read the file as bytes (\"rb\" in Python)"),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preprocess::{ExifMode, ImageOptions, PreprocessSpec, Preprocessor};

    fn photos() -> impl Iterator<Item = (String, Vec<u8>)> {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
        let files = std::fs::read_dir(dir).expect("fixtures");
        files.filter_map(|file| {
            let path = file.expect("an entry").path();
            let name = path.file_name()?.to_string_lossy().into_owned();
            let is_image = [".jpg", ".png", ".webp", ".gif"]
                .iter()
                .any(|end| name.ends_with(end));
            is_image.then(|| (name, std::fs::read(path).expect("a file")))
        })
    }

    fn refusal(bytes: &[u8]) -> Option<PreprocessError> {
        let preprocessor = Preprocessor::new(PreprocessSpec::default(), ImageOptions::default());
        preprocessor.run(bytes, ExifMode::Apply, &|| false).err()
    }

    #[test]
    fn image_of_any_format_that_was_changed_on_the_way_is_recognized() {
        let mut seen = 0;
        for (name, bytes) in photos() {
            let stripped: Vec<u8> = bytes
                .iter()
                .copied()
                .filter(|b| !b"\r\n\0".contains(b))
                .collect();
            let replaced = String::from_utf8_lossy(&bytes).into_owned().into_bytes();
            let latin: String = bytes.iter().map(|b| char::from(*b)).collect();
            for (changed, want) in [
                (stripped, "--data-binary"),
                (replaced, "read as text"),
                (latin.into_bytes(), "read as text"),
            ] {
                // What is too short, or all ASCII, is as it was; one pixel of a GIF is found whatever else is gone.
                if changed.len() < SHORTEST || changed == bytes || name == "1x1.gif" {
                    continue;
                }
                let error = refusal(&changed).map_or_else(String::new, |e| e.to_string());
                assert!(error.contains(want), "{name}: {error}");
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn image_that_is_cut_or_damaged_keeps_its_error() {
        for (name, bytes) in photos() {
            for end in [4, 16, 70, 200, bytes.len() - 8] {
                let cut = &bytes[..end.min(bytes.len())];
                let error = refusal(cut).map_or_else(String::new, |e| e.to_string());
                assert!(
                    !error.contains("curl") && !error.contains("text"),
                    "{name}, {end}: {error}"
                );
            }
        }
        for other in [
            "Été à l'élève, près de là où ça déçoit: noël, maïs, forêt, île, œuf".as_bytes(),
            &[b'a'; 100],
        ] {
            let Some(PreprocessError::UnsupportedFormat { looks_like: None }) = refusal(other)
            else {
                panic!("it is no image");
            };
        }
    }
}
