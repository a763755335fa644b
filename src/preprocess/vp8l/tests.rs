//! Streams written by hand, by libwebp, by chance and damaged; `image-webp` tells which of them are valid.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;

use super::{FIXED_BYTES, GROUP_BYTES, ScanError, Tables, scan};
use crate::preprocess::tests::webp_writer::{
    LONG_CODE_BYTES, Writer, every_transform, file, many_groups, noise,
};
use crate::preprocess::{ExifMode, ImageOptions, PreprocessError, PreprocessSpec, Preprocessor};

#[test]
fn scan_was_written_against_the_version_that_is_built_in() {
    let lock = include_str!("../../../Cargo.lock");
    assert!(
        lock.contains("name = \"image-webp\"\nversion = \"0.2.4\"\n"),
        "another image-webp than 0.2.4: look whether its memory limit covers the tables of prefix codes now (then this \
         scan can go), else compare lossless.rs with what the scan assumes, and the constants of mod.rs"
    );
}

fn tables(data: &[u8]) -> Tables {
    scan(data).expect("a valid stream")
}

/// The chunk as a file with alpha announced, decoded by the crate: `[height, width, 4]` RGBA.
fn decoded(data: &[u8]) -> Option<Vec<u8>> {
    let mut file = file(data);
    *file.get_mut(24)? |= 0x10;
    let decode = || {
        let mut decoder = image_webp::WebPDecoder::new(Cursor::new(file)).ok()?;
        let mut pixels = vec![0; decoder.output_buffer_size()?];
        decoder.read_image(&mut pixels).ok()?;
        Some(pixels)
    };
    catch_unwind(AssertUnwindSafe(decode)).unwrap_or(None)
}

/// Every lossless fixture whose picture is the first chunk: its name and the content of the chunk.
fn fixtures() -> Vec<(String, Vec<u8>)> {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the fixtures") {
        let path = entry.expect("a file").path();
        let bytes = std::fs::read(&path).expect("a file");
        if let Some([b'V', b'P', b'8', b'L', length @ ..]) = bytes.get(12..20) {
            let length = u32::from_le_bytes(length.try_into().expect("4 bytes")) as usize;
            let name = path.file_name().expect("a name").to_string_lossy();
            found.push((name.into_owned(), bytes[20..20 + length].to_vec()));
        }
    }
    assert!(found.len() >= 8, "the fixtures are found");
    found
}

#[test]
fn one_pixel_can_ask_for_every_group() {
    let mut writer = Writer::new(1, 1);
    writer.put([(0, 1), (0, 1), (1, 1), (0, 3), (0, 1)]);
    writer.only([255, 255, 0, 0, 0]);
    for _ in 0..1 << 16 {
        writer.only([1, 2, 3, 4, 5]);
    }
    let Tables { groups, bytes } = tables(&writer.bytes);
    assert_eq!(groups, 1 << 16);
    assert!(bytes < 32 << 20, "codes of one symbol are cheap: {bytes}");
    assert_eq!(decoded(&writer.bytes), Some(vec![2, 1, 3, 4]));
    writer.bytes.truncate(writer.bytes.len() / 2);
    assert_eq!(scan(&writer.bytes), Err(ScanError::Truncated));
}

#[test]
fn long_codes_count_with_their_trees() {
    for groups in [1, 2, 3, 300] {
        let data = many_groups(groups);
        assert_eq!(decoded(&data), Some(vec![7, 0, 8, 9]), "{groups}");
        let Tables {
            groups: found,
            bytes,
        } = tables(&data);
        assert_eq!(found, groups);
        let least = u64::from(groups) * (LONG_CODE_BYTES + GROUP_BYTES);
        let most = u64::from(groups) * (LONG_CODE_BYTES + 3 * GROUP_BYTES) + 2 * FIXED_BYTES;
        assert!((least..most).contains(&bytes), "{groups}: {bytes}");
    }
}

#[test]
fn the_default_budget_has_room_for_a_megabyte_of_pixels_but_not_of_codes() {
    let run = |data: &[u8]| {
        let options = ImageOptions::default();
        Preprocessor::new(PreprocessSpec::default(), options).run(
            &file(data),
            ExifMode::Ignore,
            &|| false,
        )
    };
    let pixels = noise(700, 500);
    assert!(pixels.len() > 1 << 20);
    assert!(tables(&pixels).bytes < 64 << 10);
    run(&pixels).expect("one group of codes");

    let codes = many_groups(8000);
    assert!(codes.len() < 1_200_000);
    let refused = run(&codes).expect_err("8000 large groups");
    assert!(
        matches!(refused, PreprocessError::OverBudget { needed, .. } if needed >= 8000 * LONG_CODE_BYTES),
        "{refused}"
    );
}

#[test]
fn every_transform_is_read_to_its_end() {
    let whole = every_transform(257);
    assert_eq!(tables(&whole).groups, 257);
    assert!(decoded(&whole).is_some(), "the crate agrees");
    for length in 0..whole.len() {
        assert_eq!(scan(&whole[..length]), Err(ScanError::Truncated));
    }
    assert_eq!(scan(&every_transform(255)), Err(ScanError::Truncated));
    assert_eq!(decoded(&every_transform(255)), None);
}

#[test]
fn libwebps_streams_are_scanned_up_to_their_pixels() {
    for (name, data) in fixtures() {
        let whole = tables(&data);
        // What libwebp made of the parts of the patchwork and of the transparent corner.
        let groups = match name.as_str() {
            "lossless_groups.webp" => 4,
            "lossless_alpha.webp" => 2,
            _ => 1,
        };
        assert_eq!(whole.groups, groups, "{name}");
        let enough = (0..=data.len()).find(|&length| scan(&data[..length]).is_ok());
        let enough = enough.expect("the whole at least");
        for length in 0..=data.len() {
            let due = if length < enough {
                Err(ScanError::Truncated)
            } else {
                Ok(whole)
            };
            assert_eq!(scan(&data[..length]), due, "{name}, {length} bytes");
        }
    }
}

#[test]
fn contradictions_are_refused() {
    let refused = |values: &[(u32, u32)]| {
        let mut writer = Writer::new(8, 8);
        values.iter().for_each(|&value| {
            writer.put([value]);
        });
        writer.put([(0, 32)]);
        scan(&writer.bytes).expect_err("a contradiction")
    };
    let twice = [(1, 1), (2, 2), (1, 1), (2, 2)];
    assert_eq!(
        refused(&twice),
        ScanError::Corrupt("a transform that occurs twice")
    );
    for bits in [0, 12, 15] {
        assert_eq!(
            refused(&[(0, 1), (1, 1), (bits, 4)]),
            ScanError::Corrupt("a color cache of no or too many bits")
        );
    }
    // No transform, no cache, no group numbers; the code for green.
    let code = |values: &[(u32, u32)]| refused(&[&[(0, 3)], values].concat());
    assert_eq!(
        code(&[(0, 1), (15, 4), (0, 32), (0, 25)]),
        ScanError::Corrupt("a prefix code that is not complete")
    );
    // Green, red, blue and alpha; then a distance of 40, where 39 is the last.
    let distance = [(0b101, 3), (0, 8)].repeat(4);
    assert_eq!(
        code(&[&distance[..], &[(0b101, 3), (40, 8)]].concat()),
        ScanError::Corrupt("a symbol beyond its alphabet")
    );

    let mut writer = Writer::new(8, 8);
    // Predictors of 2×2 blocks: a literal and a repetition, 4 long.
    writer.put([(1, 1), (0, 2), (0, 3), (0, 1)]);
    writer.code(280, &[(0, 1), (259, 1)]).only([0, 0, 0, 1]);
    writer.put([(0, 1), (1, 1), (0, 32)]);
    assert_eq!(
        scan(&writer.bytes),
        Err(ScanError::Corrupt("a back reference beyond its image"))
    );
}

proptest! {
    #[test]
    fn nothing_makes_the_scan_panic(
        width in 1_u32..400,
        height in 1_u32..400,
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let data = [Writer::new(width, height).bytes, bytes].concat();
        if let Ok(Tables { groups, bytes }) = scan(&data) {
            // Five codes of four bits at least, and a length of a symbol for no less than a sixth of a bit.
            prop_assert!(groups <= data.len() as u32 * 8 / 20);
            let images = u64::from(width.div_ceil(4) * height.div_ceil(4)) * (4 + 4 + 6);
            let most = 2 * FIXED_BYTES + images + data.len() as u64 * 1200;
            prop_assert!(bytes <= most, "{bytes} of {most}");
        }
    }

    #[test]
    fn what_the_crate_decodes_is_scanned(
        which in any::<prop::sample::Index>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), 0_u32..8), 1..3),
    ) {
        let fixtures = fixtures();
        let mut data = which.get(&fixtures).1.clone();
        let size: [u8; 5] = data[..5].try_into().expect("a header");
        for (at, bit) in flips {
            *at.get_mut(&mut data) ^= 1 << bit;
        }
        data[..5].copy_from_slice(&size);
        if decoded(&data).is_some() {
            prop_assert!(scan(&data).is_ok());
        }
    }
}
