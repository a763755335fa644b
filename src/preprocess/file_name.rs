//! Whether a file's name is that of an image: never what decides how it is read, but what tells a damaged photo in a
//! folder from a note beside it.
//!
//! Used by the commands that go through folders.

use std::path::Path;

/// The endings under which photos and pictures are kept, in lower case, those of formats that are refused among them: who
/// keeps such photos wants to hear of it. Formats of cameras' sensors are not, as their JPEG lies beside them.
const ENDINGS: [&str; 26] = [
    "apng", "avif", "avifs", "bmp", "dib", "gif", "heic", "heif", "hif", "ico", "jfif", "jpe",
    "jpeg", "jpg", "jxl", "pam", "pbm", "pgm", "png", "pnm", "ppm", "qoi", "tga", "tif", "tiff",
    "webp",
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
    use crate::preprocess::Format;

    #[test]
    fn every_accepted_format_has_its_endings() {
        let named = |format: Format| match format {
            Format::Jpeg => &["jpg", "jpeg", "jpe", "jfif"][..],
            Format::Png => &["png", "apng"],
            Format::WebP => &["webp"],
            Format::Gif => &["gif"],
            Format::Bmp => &["bmp", "dib"],
            Format::Tiff => &["tif", "tiff"],
            Format::Pnm => &["pbm", "pgm", "ppm", "pnm", "pam"],
            Format::Ico => &["ico"],
            Format::Qoi => &["qoi"],
            Format::Tga => &["tga"],
            Format::Heic => &["heic", "heif", "hif"],
            Format::Avif => &["avif", "avifs"],
            Format::Jxl => &["jxl"],
        };
        for format in Format::ALL {
            for ending in named(format).iter().chain([&format.name()]) {
                let path = format!("a.{ending}");
                assert!(named_as_image(Path::new(&path)), "{path}");
            }
        }
    }

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
