//! HEIC against libheif's pixels: every fixture of `tests/fixtures/heic`.
//!
//! The pixels lie beside each as a PNG, `NAME.png`. Colors are rounded in other places there, so pixels are near, and not
//! the same.

use std::time::Duration;

use serde_json::Value;

use crate::preprocess::decode::{Region, hand_over, open};
use crate::preprocess::exif::{Orientation, upright};
use crate::preprocess::watch::Watch;
use crate::preprocess::{
    ExifMode, Format, ImageLimits, ImageOptions, PreprocessError, PreprocessSpec, Preprocessor,
    sniff,
};
use kernels::Isa;

/// How far a sample may be from libheif's, and all of a picture on average.
const MOST: u8 = 2;
const MEAN: f64 = 0.5;

fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/heic");
    std::fs::read(format!("{folder}/{name}")).expect("a fixture")
}

/// The name of every file.
fn names() -> Vec<String> {
    let all: Value = serde_json::from_slice(&fixture("expected.json")).expect("JSON");
    let images = all["images"].as_object().expect("an object");
    assert!(images.len() > 35, "the fixtures are found");
    images.keys().cloned().collect()
}

/// Pixels and their size.
#[derive(PartialEq, Debug)]
struct Pixels {
    size: (u32, u32),
    rgb: Vec<u8>,
}

fn decode_region(
    bytes: &[u8],
    region: Option<Region>,
) -> Result<(Pixels, [Orientation; 2]), PreprocessError> {
    let format = sniff(bytes).ok_or(PreprocessError::UnsupportedFormat { looks_like: None })?;
    let mut decoder = open(bytes, format, ImageLimits::default(), Isa::detect())?;
    let region = region.unwrap_or(Region::whole(decoder.size()));
    let turns = [decoder.turn(), decoder.orientation()];
    let mut rgb = Vec::new();
    let watch = Watch::start(Duration::from_secs(3600), &|| false);
    decoder.decode(region, &watch, &mut |rows| rgb.extend_from_slice(rows))?;
    let size = (region.width, region.height);
    Ok((Pixels { size, rgb }, turns))
}

/// The picture as the format's library gives it, which does not apply what only stands for an EXIF block.
fn decode(bytes: &[u8]) -> Result<Pixels, PreprocessError> {
    let (pixels, [turn, _]) = decode_region(bytes, None)?;
    Ok(Pixels {
        rgb: upright(&pixels.rgb, pixels.size, turn),
        size: crate::preprocess::exif::upright_size(pixels.size, turn),
    })
}

/// The library's pixels.
fn reference(name: &str) -> Pixels {
    let bytes = fixture(&format!("{name}.png"));
    assert_eq!(sniff(&bytes), Some(Format::Png));
    decode(&bytes).expect("a PNG")
}

#[test]
fn pixels_are_those_of_the_formats_own_libraries_within_rounding() {
    let mut wrong = Vec::new();
    for name in names() {
        let due = reference(&name);
        let got = match decode(&fixture(&name)) {
            Ok(got) => got,
            Err(e) => {
                wrong.push(format!("{name}: {e:?}"));
                continue;
            }
        };
        if got.size != due.size {
            wrong.push(format!("{name}: {:?} instead of {:?}", got.size, due.size));
            continue;
        }
        let apart = got.rgb.iter().zip(&due.rgb).map(|(a, b)| a.abs_diff(*b));
        let most = apart.clone().max().unwrap_or(0);
        let mean = apart.map(f64::from).sum::<f64>() / due.rgb.len() as f64;
        if most > MOST || mean > MEAN {
            wrong.push(format!("{name}: {most} at most, {mean:.3} on average"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_region_is_a_part_of_the_whole() {
    for name in names() {
        let bytes = fixture(&name);
        let Ok((whole, _)) = decode_region(&bytes, None) else {
            continue;
        };
        let (width, height) = whole.size;
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
            hand_over(&whole.rgb, width, region, &mut |rows| {
                part.extend_from_slice(rows)
            });
            let got = decode_region(&bytes, Some(region)).expect(&name).0.rgb;
            assert!(got == part, "{name}: {region:?}");
        }
    }
}

#[test]
fn a_cut_file_is_refused_or_complete() {
    for name in [
        "plain.heic",
        "grid_3x2.heic",
        "clap_irot.heic",
        "grid_in_idat.heic",
    ] {
        let bytes = fixture(name);
        let whole = decode(&bytes).expect(name);
        for length in (0..bytes.len()).step_by(7) {
            if let Ok(cut) = decode(&bytes[..length]) {
                assert!(cut == whole, "{name}, {length} bytes");
            }
        }
    }
}

#[test]
fn what_the_container_turns_is_turned_although_exif_is_ignored() {
    let preprocessor = Preprocessor::new(PreprocessSpec::default(), ImageOptions::default());
    for exif in [ExifMode::Apply, ExifMode::Ignore] {
        let bytes = fixture("exif_orientation_6.heic");
        let info = preprocessor
            .crop(&bytes, exif, &|| false)
            .expect("a HEIC")
            .info;
        assert_eq!((info.width, info.height), (48, 64), "{exif:?}");
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
    for name in [
        "1x1.heic",
        "quality_10.heic",
        "grid_of_two_parts.heic",
        "10_bit_422.heic",
    ] {
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
