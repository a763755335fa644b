//! The crop against Pillow's, byte for byte, on every instruction set of this CPU.
//!
//! Cases and digests are those of `tests/fixtures/resize.json`; `tests/fixtures/make_resize.py` made them.

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::hex;
use crate::preprocess::exif::Orientation;
use crate::preprocess::resize::{Pose, Resampler, ResizePlan};
use crate::preprocess::{CropRounding, Interpolation, PreprocessSpec, ResizeMode};
use crate::tensor::Size;
use kernels::{Isa, ResampleKernel};

#[derive(Deserialize)]
struct Golden {
    pillow: String,
    cases: Vec<Case>,
}

/// Width and height, resize, crop, the three modes and the SHA-256 of the crop, `[height, width, 3]`.
#[derive(Debug, Deserialize)]
struct Case(
    u32,
    u32,
    Size,
    Size,
    ResizeMode,
    Interpolation,
    CropRounding,
    String,
);

/// One value of the picture, as `picture` in the script computes it.
fn value(x: u32, y: u32, channel: u32) -> u8 {
    let h =
        x.wrapping_mul(73_856_093) ^ y.wrapping_mul(19_349_663) ^ channel.wrapping_mul(83_492_791);
    let noise = (h ^ (h >> 15)).wrapping_mul(2_654_435_761) >> 24;
    let extreme = (x / 7 + y / 5 + channel).is_multiple_of(3);
    (if extreme { noise / 128 * 255 } else { noise }) as u8
}

/// Crops of one case, `[height, width, 3]`, one an instruction set.
fn crops(case: &Case) -> Vec<(ResampleKernel, Vec<u8>)> {
    let spec = PreprocessSpec {
        resize: case.2,
        resize_mode: case.4,
        interpolation: case.5,
        crop: case.3,
        crop_rounding: case.6,
        ..PreprocessSpec::default()
    };
    assert_eq!(spec.validate(), Ok(()));
    let kernels: Vec<ResampleKernel> = Isa::ALL
        .into_iter()
        .filter_map(ResampleKernel::new)
        .collect();
    let pose = Pose {
        size: (case.0, case.1),
        turn: Orientation::NoTransforms,
    };
    let plan = |kernel: &ResampleKernel| ResizePlan::new(pose, &spec, *kernel);
    let region = plan(&kernels[0]).region();
    let mut resamplers: Vec<Resampler> = kernels
        .iter()
        .map(|kernel| Resampler::new(plan(kernel)))
        .collect();
    let columns = region.left..region.left + region.width;
    let mut row = Vec::new();
    for y in region.top..region.top + region.height {
        row.clear();
        row.extend(
            columns
                .clone()
                .flat_map(|x| [0, 1, 2].map(|c| value(x, y, c))),
        );
        resamplers.iter_mut().for_each(|r| r.push(&row));
    }
    let width = case.3.width as usize;
    let interleaved = |crop: Vec<u8>| {
        let rows = crop.chunks_exact(width * 3);
        rows.flat_map(|row| (0..width * 3).map(|i| row[i % 3 * width + i / 3]))
            .collect()
    };
    let crops = resamplers.into_iter().map(|r| interleaved(r.finish()));
    kernels.into_iter().zip(crops).collect()
}

#[test]
fn crop_is_pillows_to_the_byte_for_every_size_mode_filter_and_isa() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../tests/fixtures/resize.json")).expect("valid");
    assert_eq!(golden.pillow, "13.0.0");
    assert!(golden.cases.len() > 300, "the cases are there");
    for case in &golden.cases {
        for (kernel, crop) in crops(case) {
            let digest = hex::encode(&Sha256::digest(&crop));
            assert_eq!(digest, case.7, "{case:?} by {kernel:?}");
        }
    }
}
