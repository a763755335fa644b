//! HEIC, AVIF and JPEG XL, as far as the format is in the build: regions, cut and damaged files, and an end when nobody
//! waits, for the fixtures of `tests/fixtures/heic`, `avif` and `jxl`. `tests/it/matrix.rs` has their pixels.

use std::time::Duration;

use serde_json::Value;

use crate::preprocess::decode::{Region, hand_over, open};
use crate::preprocess::watch::Watch;
use crate::preprocess::{
    ExifMode, ImageLimits, ImageOptions, PreprocessError, PreprocessSpec, Preprocessor, sniff,
};
use kernels::Isa;

fn fixture(path: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    std::fs::read(format!("{folder}/{path}")).expect("a fixture")
}

/// The formats of this build: their folders, and how many files there are at least.
fn formats() -> impl Iterator<Item = (&'static str, usize)> {
    let all = [
        (cfg!(feature = "heic"), ("heic", 46)),
        (cfg!(feature = "avif"), ("avif", 50)),
        (cfg!(feature = "jxl"), ("jxl", 50)),
    ];
    all.into_iter()
        .filter(|(is_built_in, _)| *is_built_in)
        .map(|(_, format)| format)
}

/// The path of every file.
fn files() -> Vec<String> {
    let of_format = |(folder, at_least)| {
        let expected = fixture(&format!("{folder}/expected.json"));
        let all: Value = serde_json::from_slice(&expected).expect("JSON");
        let images = all["images"].as_object().expect("an object");
        assert!(images.len() >= at_least, "the fixtures are found");
        let paths = images.keys().map(|name| format!("{folder}/{name}"));
        paths.collect::<Vec<_>>()
    };
    formats().flat_map(of_format).collect()
}

/// Those of these files whose format is in this build.
fn built_in(names: &[&'static str]) -> Vec<&'static str> {
    let is_built_in = |name: &&&str| formats().any(|(folder, _)| name.starts_with(folder));
    names.iter().filter(is_built_in).copied().collect()
}

/// The picture as it is stored, or a region of it: its size and pixels.
fn decode(bytes: &[u8], region: Option<Region>) -> Result<((u32, u32), Vec<u8>), PreprocessError> {
    let format = sniff(bytes).ok_or(PreprocessError::UnsupportedFormat { looks_like: None })?;
    let mut decoder = open(bytes, format, ImageLimits::default(), Isa::detect())?;
    let region = region.unwrap_or(Region::whole(decoder.size()));
    let mut rgb = Vec::new();
    let watch = Watch::start(Duration::from_secs(3600), &|| false);
    decoder.decode(region, &watch, &mut |rows| rgb.extend_from_slice(rows))?;
    Ok(((region.width, region.height), rgb))
}

#[test]
fn a_region_is_a_part_of_the_whole() {
    for name in files() {
        let bytes = fixture(&name);
        let ((width, height), whole) = decode(&bytes, None).expect(&name);
        for (left, top, w, h) in [
            (
                width / 3,
                height / 4,
                (width / 2).max(1),
                (height / 2).max(1),
            ),
            (0, 0, 1, 1),
            (width - 1, height - 1, 1, 1),
            (width / 2, 0, 1, height),
        ] {
            let region = Region {
                left,
                top,
                width: w,
                height: h,
            };
            let mut part = Vec::new();
            hand_over(&whole, width, region, &mut |rows| {
                part.extend_from_slice(rows)
            });
            let (_, got) = decode(&bytes, Some(region)).expect(&name);
            assert!(got == part, "{name}: {region:?}");
        }
    }
}

#[test]
fn a_cut_file_is_refused_or_complete() {
    for name in built_in(&[
        "heic/plain.heic",
        "heic/grid_3x2.heic",
        "heic/clap_irot.heic",
        "heic/grid_in_idat.heic",
        "avif/plain.avif",
        "avif/grid_444.avif",
        "jxl/lossy.jxl",
        "jxl/lossless.jxl",
        "jxl/container.jxl",
        "jxl/progressive.jxl",
    ]) {
        let bytes = fixture(name);
        let whole = decode(&bytes, None).expect(name);
        for length in (0..bytes.len()).step_by(7) {
            if let Ok(cut) = decode(&bytes[..length], None) {
                assert!(cut == whole, "{name}, {length} bytes");
            }
        }
    }
}

#[test]
#[cfg(all(feature = "heic", feature = "avif", feature = "jxl"))]
fn what_is_no_exif_block_turns_although_exif_is_ignored_but_for_avif_as_in_pillow() {
    let preprocessor = Preprocessor::new(PreprocessSpec::default(), ImageOptions::default());
    for exif in [ExifMode::Apply, ExifMode::Ignore] {
        let avif = match exif {
            ExifMode::Apply => (18, 24),
            ExifMode::Ignore => (24, 18),
        };
        for (name, due) in [
            ("heic/exif_orientation_6.heic", (48, 64)),
            ("jxl/orientation_6.jxl", (18, 24)),
            ("avif/exif_orientation_6.avif", avif),
        ] {
            let cropped = preprocessor.crop(&fixture(name), exif, &|| false);
            let info = cropped.expect(name).info;
            assert_eq!((info.width, info.height), due, "{name}, {exif:?}");
        }
    }
}

#[test]
fn damaged_bytes_cost_neither_a_panic_nor_more_than_a_moment() {
    let options = ImageOptions {
        timeout: Duration::from_secs(5),
        ..ImageOptions::default()
    };
    let preprocessor = Preprocessor::new(PreprocessSpec::default(), options);
    let mut state = 1_u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    for name in built_in(&[
        "heic/1x1.heic",
        "heic/quality_10.heic",
        "heic/grid_of_two_parts.heic",
        "heic/10_bit_422.heic",
        "avif/1x1.avif",
        "avif/10_bit_422.avif",
        "avif/grid_444.avif",
        "avif/screen_content.avif",
        "jxl/lossy_patches.jxl",
        "jxl/lossless_palette.jxl",
        "jxl/lossless_squeezed.jxl",
        "jxl/container_of_parts.jxl",
        "jxl/progressive_dc.jxl",
    ]) {
        let whole = fixture(name);
        for _ in 0..100 {
            let mut bytes = whole.clone();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                bytes[at] = next(256) as u8;
            }
            let result = preprocessor.crop(&bytes, ExifMode::Apply, &|| false);
            let bad = |e: &PreprocessError| {
                matches!(
                    e,
                    PreprocessError::Panicked { .. } | PreprocessError::DecodeTimeout(_)
                )
            };
            assert!(!result.as_ref().is_err_and(bad), "{name}: {result:?}");
        }
    }
}

#[test]
fn decoding_stops_when_nobody_waits() {
    for name in files() {
        let bytes = fixture(&name);
        let format = sniff(&bytes).expect("a format");
        let opened = open(&bytes, format, ImageLimits::default(), Isa::detect());
        let mut decoder = opened.expect(&name);
        let region = Region::whole(decoder.size());
        let watch = Watch::start(Duration::from_secs(3600), &|| true);
        let result = decoder.decode(region, &watch, &mut |_| panic!("no rows are due"));
        assert!(
            matches!(result, Err(PreprocessError::Canceled)),
            "{name}: {result:?}"
        );
    }
}
