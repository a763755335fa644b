//! Whether a file's name is that of an image: never what decides how it is read, but what tells a damaged photo in a
//! folder from a note beside it.
//!
//! Used by the commands that go through folders.

use std::path::Path;

/// The endings under which photos and pictures are kept, in lower case, those of formats that are refused among them: who
/// keeps such photos wants to hear of it. Formats of cameras' sensors are not, as their JPEG lies beside them.
const ENDINGS: [&str; 20] = [
    "avif", "bmp", "dib", "gif", "heic", "heif", "jfif", "jpe", "jpeg", "jpg", "jxl", "pbm", "pgm",
    "png", "pnm", "ppm", "qoi", "tif", "tiff", "webp",
];

/// Whether the file's name ends as an image's.
#[must_use]
pub fn named_as_image(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ENDINGS.contains(&&*ending.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ending_tells_in_any_case() {
        for image in [
            "a.jpg",
            "n01440764_10026.JPEG",
            "b/c.d/IMG_1.HEIC",
            "a.b.png",
        ] {
            assert!(named_as_image(Path::new(image)), "{image}");
        }
        for other in ["jpg", ".jpg", "a.jpg.txt", "labels.tsv", "a", "a.", "x.cr2"] {
            assert!(!named_as_image(Path::new(other)), "{other}");
        }
    }
}
