//! Bytes as the EXIF block of a small JPEG: it turns the picture in one of eight ways and changes nothing else.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::{Corpus, fuzz_target};
use resnet_fuzz::panics;
use resnet_fuzz::preprocess::{
    ExifMode, ImageOptions, Pixels, PreprocessSpec, Preprocessor, Stage, StageOutput,
};

/// 17×13 pixels, no two rows or columns alike.
const PICTURE: &[u8] = include_bytes!("../../tests/fixtures/images/odd_17x13_444.jpg");

/// Decoded.
static PLAIN: OnceLock<Pixels> = OnceLock::new();

/// What a JPEG's EXIF block begins with. Source: EXIF 2.32, section 4.7.2.
const START: &[u8] = b"Exif\0\0";

fuzz_target!(init: panics::install(), |block: &[u8]| -> Corpus {
    let Ok(length) = u16::try_from(2 + START.len() + block.len()) else {
        return Corpus::Reject;
    };
    let (start, rest) = PICTURE.split_at(2);
    let bytes = [start, &[0xFF, 0xE1], &length.to_be_bytes(), START, block, rest].concat();
    let plain = PLAIN.get_or_init(|| decoded(PICTURE, ExifMode::Ignore));
    if block.len().is_multiple_of(8) {
        assert_eq!(&decoded(&bytes, ExifMode::Ignore), plain);
    }
    let turned = decoded(&bytes, ExifMode::Apply);
    assert!((0..8).any(|way| turn(plain, way) == turned), "{turned:?}");
    Corpus::Keep
});

fn decoded(bytes: &[u8], exif: ExifMode) -> Pixels {
    let preprocessor = Preprocessor::new(PreprocessSpec::default(), ImageOptions::default());
    match preprocessor.stage(bytes, exif, Stage::Decoded) {
        Ok(StageOutput::Pixels(pixels)) => pixels,
        other => panic!("{other:?}"),
    }
}

/// Mirrored by the first two bits of `way`, transposed by the third.
fn turn(from: &Pixels, way: u32) -> Pixels {
    let transposed = way & 4 != 0;
    let (width, height) = match transposed {
        true => (from.height, from.width),
        false => (from.width, from.height),
    };
    let pixel = |x: u32, y: u32| {
        let (x, y) = if transposed { (y, x) } else { (x, y) };
        let x = if way & 1 != 0 { from.width - 1 - x } else { x };
        let y = if way & 2 != 0 { from.height - 1 - y } else { y };
        let at = (y * from.width + x) as usize * 3;
        [from.rgb[at], from.rgb[at + 1], from.rgb[at + 2]]
    };
    let rgb = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| pixel(x, y)))
        .collect();
    Pixels { width, height, rgb }
}
