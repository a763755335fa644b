//! What bytes are that are no accepted image: other formats, and images that a client's program has changed on the way.
//!
//! Asked by `sniff`, so that a refusal can say what to do, and by whoever must tell a caption from an image. Looks at
//! the first bytes only.

/// Names that `ftyp` boxes have for their content, the major brand or a compatible one.
///
/// Source: ISO/IEC 23008-12, the registry of the MP4 registration authority.
const BRANDS: [(&[&[u8; 4]], &str); 4] = [
    (&[b"avif", b"avis"], "AVIF"),
    (&[b"crx "], "a Canon CR3 raw file"),
    (
        &[
            b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1",
        ],
        "HEIC; iPhones save JPEG with Settings > Camera > Formats > Most Compatible",
    ),
    (&[b"jp2 ", b"jpx ", b"jpm "], "JPEG 2000"),
];

/// How other formats begin. Source: their specifications; the raw formats as `file` and `exiftool` know them.
const SIGNATURES: [(&[u8], &str); 32] = [
    (b"II*\0\x10\0\0\0CR", "a Canon CR2 raw file"),
    (b"IIRO", "an Olympus raw file"),
    (b"IIRS", "an Olympus raw file"),
    (b"IIU\0", "a Panasonic raw file"),
    (b"FUJIFILMCCD-RAW", "a Fujifilm raw file"),
    (b"FOVb", "a Sigma raw file"),
    (b"8BPS", "a Photoshop document (PSD)"),
    (b"\0\0\0\x0CjP  ", "JPEG 2000"),
    (b"\xFF\x4F\xFF\x51", "JPEG 2000"),
    (b"\xFF\x0A", "JPEG XL"),
    (b"\0\0\0\x0CJXL ", "JPEG XL"),
    (b"DDS ", "DDS"),
    (b"\x76\x2F\x31\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"\xC5\xD0\xD3\xC6", "PostScript"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1F\x8B", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xFD7zXZ\0", "xz"),
    (b"\x28\xB5\x2F\xFD", "zstd"),
    (b"7z\xBC\xAF\x27\x1C", "a 7z archive"),
    (b"\x1A\x45\xDF\xA3", "a WebM or Matroska video"),
    (b"\x93NUMPY", "a numpy array; send the image file itself"),
    (b"\x89HDF", "HDF5"),
    (
        b"\x80\x04\x95",
        "a Python pickle; send the image file itself",
    ),
    (b"<", "SVG, HTML or XML"),
    (
        b"--",
        "multipart; send it with its content-type and boundary",
    ),
    (b"GIF8", "a damaged GIF"),
    (b"\xFF\xD8", "a damaged JPEG"),
];

/// Images and their names as they look after an accident, and what to do. JPEG, PNG, GIF and WebP, where a program has
/// turned bytes into other bytes.
const ACCIDENTS: [(&[&[u8]], &str); 9] = [
    (
        &[
            b"/9j/",
            b"_9j_",
            b"iVBORw0KGgo",
            b"R0lGOD",
            b"UklGR",
            b"\"/9j/",
            b"\"iVBORw0KGgo",
        ],
        "base64 text; send the bytes, or {\"image\": \"<base64>\"} with content-type application/json",
    ),
    (
        &[b"data:", b"\"data:"],
        "a data URI; send the bytes, or {\"image\": \"<data URI>\"} with content-type application/json",
    ),
    (
        &[
            b"http://",
            b"https://",
            b"s3://",
            b"gs://",
            b"file://",
            b"ftp://",
        ],
        "a URL; URLs are not fetched, send the image's bytes",
    ),
    (
        &[b"\x89PNG\x1A", b"\x89PNG\n\x1A", b"\x89PNG\r\r\n\x1A"],
        "a PNG whose line ends were changed, as curl -d or a transfer as text does; use curl -T or --data-binary",
    ),
    (
        // U+FFFD in place of what is no UTF-8, and Latin-1 turned into UTF-8.
        &[
            b"\xEF\xBF\xBDPNG",
            b"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD",
            b"\xC2\x89PNG",
            b"\xC3\xBF\xC3\x98\xC3\xBF",
        ],
        "an image that was read as text; read the file as bytes (\"rb\" in Python)",
    ),
    (
        &[b"b'\\x", b"b\"\\x", b"bytearray(b"],
        "the printed form of Python's bytes; send the bytes themselves",
    ),
    (
        &[
            b"ffd8ff",
            b"FFD8FF",
            b"89504e47",
            b"89504E47",
            b"52494646",
            b"47494638",
        ],
        "hexadecimal digits; send the bytes themselves",
    ),
    (
        &[b"image=", b"file=", b"data=", b"images=", b"files="],
        "a form in the body; use curl -F file=@photo.jpg, or curl -T photo.jpg for the bytes alone",
    ),
    (
        &[b"@"],
        "the name of a file; curl reads it with -F file=@photo.jpg, --data-binary @photo.jpg or -T photo.jpg",
    ),
];

/// Ends of file names that stand for images.
const EXTENSIONS: [&str; 10] = [
    ".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".avif",
];

/// What the bytes look like, with what to do where that helps.
#[must_use]
pub fn looks_like(bytes: &[u8]) -> Option<&'static str> {
    // A mark and white space in front of text.
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    let accident = |(starts, _): &&(&[&[u8]], &str)| starts.iter().any(|s| text.starts_with(s));
    if let Some((_, what)) = ACCIDENTS.iter().find(accident) {
        return Some(what);
    }
    let prints = |start: &&[u8]| text.starts_with(start);
    if [&b"[object"[..], b"<_io", b"<bytes", b"<open file", b"<PIL"]
        .iter()
        .any(prints)
    {
        return Some("the printed form of a program's object; send the image's bytes");
    }
    if let [b'{' | b'[', ..] | [0xFF, 0xFE, b'{' | b'[', ..] = text {
        return Some("JSON; send it with content-type application/json");
    }
    if is_file_name(text) {
        return Some(
            "the name of a file; curl reads it with -F file=@photo.jpg or -T photo.jpg (mind the @)",
        );
    }
    if let Some(brands) = brands(bytes) {
        let known = |(names, _): &&(&[&[u8; 4]], &str)| {
            names.iter().any(|name| brands.clone().any(|b| b == *name))
        };
        let found = BRANDS.iter().find(known).map(|(_, what)| *what);
        return Some(found.unwrap_or("an MP4 or QuickTime video"));
    }
    if bytes.starts_with(b"RIFF") {
        return Some("an AVI video, a WAVE sound or a damaged WebP");
    }
    if bytes.get(128..132) == Some(b"DICM") {
        return Some("DICOM");
    }
    let signature = |(start, _): &&(&[u8], &str)| bytes.starts_with(start);
    if let Some((_, what)) = SIGNATURES.iter().find(signature) {
        return Some(what);
    }
    match bytes.iter().take(64).all(|b| *b == 0) {
        true => Some("nothing but zeros"),
        false => None,
    }
}

/// The brands of a file that begins with an `ftyp` box: the major one, and those that it is compatible with.
fn brands(bytes: &[u8]) -> Option<impl Iterator<Item = &[u8; 4]> + Clone> {
    if bytes.get(4..8)? != b"ftyp" {
        return None;
    }
    let size = bytes
        .first_chunk::<4>()
        .map(|s| u32::from_be_bytes(*s) as usize)?;
    let end = size.clamp(12, 256).min(bytes.len());
    let brands = bytes.get(8..end).unwrap_or(&[]).as_chunks::<4>().0;
    // The second word is a version.
    Some(
        brands
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != 1)
            .map(|(_, brand)| brand),
    )
}

/// Whether all of it is a short line of text that ends as the names of images do.
fn is_file_name(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(&text[..text.len().min(1024)]) else {
        return false;
    };
    let text = text
        .trim_end()
        .trim_end_matches(['"', '\''])
        .to_ascii_lowercase();
    text.len() < 512
        && !text.contains(char::is_control)
        && EXTENSIONS.iter().any(|e| text.ends_with(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_formats_are_named() {
        for (bytes, want) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], "HEIC"),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1heicmiaf", "HEIC"),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "CR3"),
            (b"\0\0\0\x18ftypisom\0\0\0\0isomavc1", "MP4"),
            (b"\0\0\0\x14ftypqt  ", "QuickTime"),
            (b"\0\0\0\x0CjP  \r\n\x87\n", "JPEG 2000"),
            (b"\xFF\x4F\xFF\x51\0", "JPEG 2000"),
            (b"8BPS\0\x01", "PSD"),
            (b"II*\0\x10\0\0\0CR\x02\0", "CR2"),
            (b"FUJIFILMCCD-RAW 0201", "Fujifilm"),
            (b"IIRO\x08\0", "Olympus"),
            (b"IIU\0\x18\0", "Panasonic"),
            (b"RIFF\0\0\0\0AVI LIST", "AVI"),
            (b"\x93NUMPY\x01\0", "numpy"),
            (b"%PDF-1.7", "PDF"),
            (&[0; 100], "zeros"),
        ] {
            let got = looks_like(bytes).unwrap_or("nothing");
            assert!(got.contains(want), "{want}: {got}");
        }
        assert_eq!(looks_like(b"hello"), None);
        assert_eq!(looks_like(b"\x01\x02\x03 a.jpg"), None);
        assert_eq!(
            looks_like(b"Please classify photo.jpg for me, will you"),
            None
        );
    }

    #[test]
    fn accidents_are_named_with_what_helps() {
        for (bytes, want) in [
            (&b"iVBORw0KGgoAAAANSUhEUgAA"[..], "application/json"),
            (b"/9j/4AAQSkZJRgABAQ", "base64 text"),
            (b"\r\nR0lGODdh", "base64 text"),
            (b"UklGRiQAAABXRUJQVlA4", "base64 text"),
            (b"data:image/png;base64,iVBO", "a data URI"),
            (b"https://example.com/cat.jpg", "URLs are not fetched"),
            (b"\x89PNG\x1a\x00\x00", "--data-binary"),
            (b"\x89PNG\n\x1a\n\0", "--data-binary"),
            (b"\xEF\xBF\xBDPNG\r\n\x1a\n", "read as text"),
            (
                b"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\0\x10JFIF",
                "read as text",
            ),
            (
                b"\xC3\xBF\xC3\x98\xC3\xBF\xC3\xA0\0\x10JFIF",
                "read as text",
            ),
            (b"b'\\xff\\xd8\\xff\\xe0'", "Python's bytes"),
            (b"ffd8ffe000104a46", "hexadecimal"),
            (b"<_io.BufferedReader name='a.jpg'>", "a program's object"),
            (b"[object File]", "a program's object"),
            (b"_9j_4AAQSkZJRg", "base64 text"),
            (b"photo.jpg", "-F file=@"),
            (b"C:\\Users\\me\\My Pictures\\IMG_1.JPG\r\n", "-F file=@"),
            (b"@photo.jpg", "-F file=@"),
            (b"image=%2F9j%2F4AAQ", "a form in the body"),
            (b"\xEF\xBB\xBF{\"image\": \"iVBO\"}", "application/json"),
            (b"[255, 216, 255]", "application/json"),
        ] {
            let got = looks_like(bytes).unwrap_or("nothing");
            assert!(got.contains(want), "{want}: {got}");
        }
    }
}
