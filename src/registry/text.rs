//! Files of a model: a limit on their size, and text in the encodings that editors write.
//!
//! Used by whatever in this room reads a file.

use std::fs::File;
use std::io::{self, Read, Take};
use std::path::Path;

use super::ModelError;

/// Largest text file, in bytes.
const MAX_TEXT_BYTES: u64 = 16 << 20;

/// Reads a whole regular file: a pipe or device could block or never end.
///
/// # Errors
/// [`ModelError::Unreadable`], with the file and the reason.
pub(super) fn read_capped(path: &Path, max: u64) -> Result<Vec<u8>, ModelError> {
    let (mut file, size) = open_capped(path, max)?;
    let mut bytes = Vec::with_capacity(size);
    file.read_to_end(&mut bytes)
        .map_err(|e| unreadable(path, &e))?;
    Ok(bytes)
}

/// Opens a regular file that has at most `max` bytes; no more are read of it. With its size.
///
/// # Errors
/// [`ModelError::Unreadable`], with the file and the reason.
pub(super) fn open_capped(path: &Path, max: u64) -> Result<(Take<File>, usize), ModelError> {
    let refuse = |reason: String| ModelError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if !meta.is_file() {
        return Err(refuse("is not a file".into()));
    }
    let size = meta.len();
    if size > max {
        return Err(refuse(format!("has {size} bytes, allowed are {max}")));
    }
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    Ok((file.take(max), usize::try_from(size).unwrap_or(0)))
}

/// The refusal of a file for an error of the system's.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> ModelError {
    ModelError::Unreadable {
        path: path.to_owned(),
        reason: format!("cannot be read: {error}"),
    }
}

/// Reads a text file, without the byte order mark that it may begin with.
///
/// # Errors
/// [`ModelError::Unreadable`]; [`ModelError::BadSpec`] if it is no text.
pub(super) fn read_text(path: &Path) -> Result<String, ModelError> {
    decode(read_capped(path, MAX_TEXT_BYTES)?).map_err(|reason| ModelError::BadSpec {
        path: path.to_owned(),
        reason,
    })
}

/// UTF-8, or UTF-16 with a byte order mark, as Windows' editor and shell write it.
fn decode(bytes: Vec<u8>) -> Result<String, String> {
    let wide = |unit: fn([u8; 2]) -> u16| {
        let units = bytes[2..]
            .chunks_exact(2)
            .map(|pair| unit([pair[0], pair[1]]));
        let whole = bytes.len().is_multiple_of(2);
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.ok()
            .filter(|_| whole)
            .ok_or_else(|| "is not UTF-16, as its first bytes say".into())
    };
    match &bytes[..] {
        [0xFF, 0xFE, ..] => wide(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => wide(u16::from_be_bytes),
        _ => {
            let text = String::from_utf8(bytes).map_err(|e| format!("is not UTF-8: {e}"))?;
            Ok(match text.strip_prefix('\u{feff}') {
                Some(text) => text.to_owned(),
                None => text,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_every_editor_is_read() {
        let text = "é\r\n";
        let le: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [
            text.as_bytes().to_vec(),
            [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
            [&[0xFF, 0xFE], &le[..]].concat(),
            [&[0xFE, 0xFF], &be[..]].concat(),
        ] {
            assert_eq!(decode(bytes.clone()).as_deref(), Ok(text), "{bytes:?}");
        }
        for bytes in [&b"caf\xE9"[..], &[0xFF, 0xFE, 65], &[0xFF, 0xFE, 0, 0xD8]] {
            let error = decode(bytes.to_vec()).expect_err("no text");
            assert!(error.starts_with("is not UTF-"), "{error}");
        }
    }
}
