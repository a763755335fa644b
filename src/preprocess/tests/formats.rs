//! Tests of the decoders against Pillow: every fixture of `tests/fixtures/images`, as a whole, in parts and cut short.
//!
//! `expected.json` beside the fixtures has what Pillow makes of them and the versions it was made with.

use std::cell::Cell;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::hex;
use crate::preprocess::decode::{Region, hand_over, open};
use crate::preprocess::exif::{Orientation, upright};
use crate::preprocess::watch::Watch;
use crate::preprocess::{
    ExifMode, ImageLimits, ImageOptions, Interest, PreprocessError, PreprocessSpec, Preprocessor,
    sniff,
};
use kernels::Isa;

const LIMITS: ImageLimits = ImageLimits {
    max_pixels: 50_000_000,
    max_side: 16_384,
};

/// JPEGs that lack scans and end properly all the same: libjpeg smooths what it has of them, we show it as it is.
const JPEG_UNSMOOTHED: &[&str] = &["progressive_dc_only.jpg", "progressive_no_refinement.jpg"];

/// JPEGs that are refused although Pillow decodes them.
const JPEG_REFUSED: &[&str] = &[
    "arithmetic.jpg",
    "arithmetic_progressive.jpg",
    "arithmetic_restart.jpg",
    "odd_33x7_420_arithmetic.jpg",
];

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");

fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(format!("{FIXTURES}/{path}")).expect("a fixture")
}

/// Every accepted image: its name, its bytes, and what `expected.json` says about it.
fn images() -> Vec<(String, Vec<u8>, Value)> {
    let all: Value = serde_json::from_slice(&fixture("images/expected.json")).expect("JSON");
    let images = all["images"].as_object().expect("an object");
    assert!(images.len() > 150, "the fixtures are found");
    let read = |(name, about): (&String, &Value)| {
        let bytes = fixture(&format!("images/{name}"));
        (name.clone(), bytes, about.clone())
    };
    images.iter().map(read).collect()
}

fn is_jpeg(name: &str) -> bool {
    name.ends_with(".jpg")
}

/// Size, orientation and RGB of the whole image as stored.
#[derive(Debug, PartialEq)]
struct Whole {
    size: (u32, u32),
    turn: Orientation,
    rgb: Vec<u8>,
}

fn decode(bytes: &[u8]) -> Result<Whole, PreprocessError> {
    let format = sniff(bytes).ok_or(PreprocessError::UnsupportedFormat { looks_like: None })?;
    let decoder = open(bytes, format, LIMITS, Isa::detect())?;
    let (size, turn) = (decoder.size(), decoder.orientation());
    drop(decoder);
    let rgb = decode_region(bytes, Region::whole(size), Isa::detect())?;
    Ok(Whole { size, turn, rgb })
}

fn decode_region(bytes: &[u8], region: Region, isa: Isa) -> Result<Vec<u8>, PreprocessError> {
    let mut rgb = Vec::new();
    let watch = Watch::start(Duration::from_secs(3600), &|| false);
    open(bytes, sniff(bytes).expect("a format"), LIMITS, isa)?.decode(
        region,
        &watch,
        &mut |rows| rgb.extend_from_slice(rows),
    )?;
    assert_eq!(rgb.len(), (region.width * region.height * 3) as usize);
    Ok(rgb)
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

#[test]
fn header_tells_how_many_pixels_there_are() {
    let preprocessor = Preprocessor::new(PreprocessSpec::default(), ImageOptions::default());
    for (name, bytes, about) in images() {
        let side = |name| about[name].as_u64().expect("a number");
        let pixels = side("width") * side("height");
        let pixels = (!JPEG_REFUSED.contains(&name.as_str())).then_some(pixels);
        assert_eq!(asked_for(&preprocessor, &bytes), pixels, "{name}");
    }
    for unreadable in [&b""[..], b"GIF89a", b"<svg/>"] {
        assert_eq!(asked_for(&preprocessor, unreadable), None);
    }
}

/// For how many pixels an image is asked whether it may be decoded; none if its header is refused.
fn asked_for(preprocessor: &Preprocessor, bytes: &[u8]) -> Option<u64> {
    #[derive(Default)]
    struct Asked(Cell<Option<u64>>);
    impl Interest for Asked {
        fn is_lost(&self) -> bool {
            false
        }
        fn may_decode(&self, pixels: u64) -> bool {
            self.0.set(Some(pixels));
            false
        }
    }
    let asked = Asked::default();
    let result = preprocessor.crop(bytes, ExifMode::Ignore, &asked);
    let pixels = asked.0.take();
    let canceled = matches!(result, Err(PreprocessError::Canceled));
    assert_eq!(canceled, pixels.is_some(), "it is not decoded");
    pixels
}

#[test]
fn png_gif_and_webp_pixels_are_pillows() {
    let (mut seen, mut better) = (0, 0);
    for (name, bytes, about) in images() {
        if is_jpeg(&name) {
            continue;
        }
        let whole = decode(&bytes).expect(&name);
        assert_eq!(about["width"], whole.size.0, "{name}");
        assert_eq!(about["height"], whole.size.1, "{name}");
        let due = about.get("due_sha256");
        better += u32::from(due.is_some());
        assert_eq!(
            due.unwrap_or(&about["rgb_sha256"]),
            &sha256(&whole.rgb),
            "{name}"
        );
        seen += 1;
    }
    assert!(seen > 90, "{seen}");
    assert_eq!(better, 2);
}

#[test]
fn jpeg_pixels_are_pillows_with_every_isa() {
    let mut seen = 0;
    for (name, bytes, about) in images() {
        if !is_jpeg(&name) {
            continue;
        }
        if JPEG_REFUSED.contains(&name.as_str()) {
            let refused = decode(&bytes).expect_err(&name);
            assert!(
                matches!(refused, PreprocessError::UnsupportedVariant { .. }),
                "{name}: {refused}"
            );
            continue;
        }
        let size = decode(&bytes).expect(&name).size;
        let same = !JPEG_UNSMOOTHED.contains(&name.as_str());
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_supported()) {
            let rgb = decode_region(&bytes, Region::whole(size), isa).expect(&name);
            assert_eq!(about["rgb_sha256"] == sha256(&rgb), same, "{name}, {isa:?}");
        }
        seen += 1;
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn a_region_is_a_part_of_the_whole() {
    for (name, bytes, _) in images() {
        let Ok(whole) = decode(&bytes) else { continue };
        let (width, height) = whole.size;
        let (left, top) = (width / 3, height / 4);
        for region in [
            (left, top, (width / 2).max(1), (height / 2).max(1)),
            (0, 0, 1, 1),
            (width - 1, height - 1, 1, 1),
            (width / 2, 0, 1, height),
            (0, height / 2, width, 1),
        ] {
            let (left, top, width, height) = region;
            let region = Region {
                left,
                top,
                width,
                height,
            };
            let mut part = Vec::new();
            hand_over(&whole.rgb, whole.size.0, region, &mut |rows| {
                part.extend_from_slice(rows);
            });
            assert_eq!(
                decode_region(&bytes, region, Isa::detect()).expect(&name),
                part,
                "{name}"
            );
        }
    }
}

#[test]
fn orientation_of_every_format_is_found() {
    let plain = decode(&fixture("images/interlaced.png")).expect("a PNG");
    for name in [
        "exif_orientation_6.png",
        "exif_behind_data.png",
        "lossless_exif_orientation_6.webp",
        "lossless_exif_bare.webp",
    ] {
        let whole = decode(&fixture(&format!("images/{name}"))).expect(name);
        assert_eq!(whole.turn, Orientation::Rotate90, "{name}");
        assert_eq!(
            upright(&whole.rgb, whole.size, whole.turn),
            plain.rgb,
            "{name}"
        );
    }
    let plain = decode(&fixture("images/baseline_444.jpg")).expect("a JPEG");
    for value in 1..=8 {
        let name = format!("exif_orientation_{value}.jpg");
        let whole = decode(&fixture(&format!("images/{name}"))).expect(&name);
        let turned = upright(&whole.rgb, whole.size, whole.turn);
        let pairs = turned.iter().zip(&plain.rgb);
        let apart: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        // Other blocks were compressed, so it is not the same; unturned it is 40 levels apart and more.
        assert!(apart < plain.rgb.len() as u64 * 8, "{name}: {apart}");
    }
}

#[test]
fn a_cut_file_is_refused_or_complete() {
    let (mut cuts, mut accepted) = (0, 0);
    for (name, bytes, about) in images() {
        let Some(whole_from) = about["whole_from"].as_u64() else {
            continue;
        };
        let whole = decode(&bytes).expect(&name);
        // Pillow wants the byte of the end code, which no pixel needs.
        let slack = u64::from(name.ends_with(".gif"));
        for length in 0..bytes.len() {
            cuts += 1;
            if let Ok(cut) = decode(&bytes[..length]) {
                accepted += 1;
                assert_eq!(cut.rgb, whole.rgb, "{name}, {length} bytes");
                assert!(
                    length as u64 + slack >= whole_from,
                    "{name}, {length} bytes: Pillow refuses"
                );
            }
        }
    }
    assert!(cuts > 20_000, "{cuts}");
    assert!(accepted > 0, "ends that no pixel needs");
}

#[test]
fn a_canvas_that_the_frame_enlarges_is_within_the_limits() {
    let bytes = fixture("images/frame_beyond_canvas.gif"); // 20×10, and 28×16 with its frame
    let format = sniff(&bytes).expect("a GIF");
    let refused = |max_side, max_pixels| {
        let limits = ImageLimits {
            max_side,
            max_pixels,
        };
        open(&bytes, format, limits, Isa::detect()).err()
    };
    assert!(refused(28, 28 * 16).is_none());
    let long = refused(27, 28 * 16);
    assert!(matches!(
        long,
        Some(PreprocessError::SideTooLong { width: 28, .. })
    ));
    let large = refused(28, 28 * 16 - 1);
    assert!(matches!(large, Some(PreprocessError::TooManyPixels { .. })));
}

#[test]
fn memory_of_a_png_is_that_of_a_few_rows() {
    let memory = |path: &str| {
        let bytes = fixture(path);
        let decoder = open(
            &bytes,
            sniff(&bytes).expect("a format"),
            LIMITS,
            Isa::detect(),
        )
        .expect(path);
        decoder.memory(Region::whole(decoder.size()))
    };
    let (rows, whole) = (memory("hostile/whole_7071x7071.png"), 7071 * 7071 * 3);
    assert!(rows < whole / 50, "{rows}");
    for (name, pixels) in [
        ("interlaced.png", 32 * 24 * 3),
        ("interlaced.gif", 32 * 24),
        ("lossless.webp", 32 * 24 * 4),
        ("lossy.webp", 64 * 48 * 9 / 2),
        ("progressive.jpg", 64 * 48 * 3),
        ("progressive_444.jpg", 64 * 48 * 6),
    ] {
        assert!(memory(&format!("images/{name}")) >= pixels, "{name}");
    }
}

/// A JPEG whose header says this size; its data is that of a small one.
fn of_size(path: &str, (width, height): (u16, u16)) -> Vec<u8> {
    let mut bytes = fixture(path);
    let is_frame = |marker: &[u8]| matches!(marker, [0xFF, 0xC0..=0xC2]);
    let at = bytes.windows(2).position(is_frame).expect("a frame header");
    bytes[at + 5..at + 7].copy_from_slice(&height.to_be_bytes());
    bytes[at + 7..at + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

#[test]
fn photos_of_phones_and_cameras_are_let_in_if_their_memory_fits() {
    // 50, 61, 108 and 200 megapixels, and the largest sensor there is.
    let sizes = [
        (8160, 6120),
        (9504, 6336),
        (12_000, 9000),
        (16_320, 12_240),
        (16_384, 12_288),
    ];
    let options = ImageOptions::default();
    let needed = |path: &str, size| {
        let bytes = of_size(path, size);
        let format = sniff(&bytes).expect("a JPEG");
        let decoder = open(&bytes, format, options.limits, options.isa).expect("within the limits");
        decoder.memory(Region::whole(decoder.size()))
    };
    for size in sizes {
        let rows = needed("images/baseline_420.jpg", size);
        assert!(rows < 4 << 20, "{size:?}: {rows}");
        let pixels = u64::from(size.0) * u64::from(size.1);
        let whole = needed("images/progressive.jpg", size);
        assert!(
            (3 * pixels..3 * pixels + (4 << 20)).contains(&whole),
            "{size:?}: {whole}"
        );
        assert_eq!(
            whole > options.memory.total(),
            pixels > 178_000_000,
            "{size:?}"
        );
    }
}
