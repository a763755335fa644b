//! What it takes from bytes to a tensor, and what each instruction set gives: one thread, medians.
//!
//! `cargo bench --bench preprocess` measures with the JPEG photos that `RESNET_TEST_ASSETS` names, with the test photos
//! without them. Alternatives are interleaved, so a drifting machine hurts all alike.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints and stops at the first failure"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kernels::{
    HorizontalPass, Isa, Normalization, NormalizeKernel, PRECISION_BITS, ResampleKernel,
    VerticalPass, Weights,
};
use resnet::preprocess::{
    DecodeSize, ExifMode, IMAGENET_MEAN, IMAGENET_STD, ImageOptions, PreprocessSpec, Preprocessor,
};

/// The binary's allocator: the figures are to be the binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The crop of the kernels' tables, in pixels a side.
const CROP: usize = 224;

fn main() {
    if std::env::args().any(|arg| arg == "--passes") {
        return passes(&inputs());
    }
    photos(&inputs());
    kernels((500, 375), 40);
    kernels((4000, 3000), 5);
}

/// The JPEG photos of the assets, or what the repository has.
fn inputs() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let assets = std::env::var_os("RESNET_TEST_ASSETS")
        .map_or_else(|| root.join("../shared"), PathBuf::from);
    let (dir, endings): (_, &[&str]) = if assets.join("eval/photos").exists() {
        (assets.join("eval/photos"), &["JPEG", "jpg"])
    } else {
        (root.join("tests/fixtures/photos"), &["png"])
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|f| {
        f.extension()
            .is_some_and(|e| endings.iter().any(|ending| e == *ending))
    });
    files.sort();
    files.iter().map(|f| std::fs::read(f).unwrap()).collect()
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// The value that this part of the values lies below.
fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * part).round() as usize]
}

fn preprocessor(size: DecodeSize) -> Preprocessor {
    let options = ImageOptions {
        size,
        ..ImageOptions::default()
    };
    Preprocessor::new(PreprocessSpec::default(), options)
}

/// For `preprocess_vs_pillow.py`: one pass over the photos for each line of standard input, answered by the seconds
/// that decoding and the rest took a photo.
fn passes(photos: &[Vec<u8>]) {
    let preprocessor = preprocessor(DecodeSize::Full);
    for _ in std::io::stdin().lines() {
        let (mut decode, mut rest) = (Duration::ZERO, Duration::ZERO);
        for photo in photos {
            let done = preprocessor
                .run(photo, ExifMode::Ignore, &|| false)
                .unwrap();
            decode += done.decode;
            rest += done.preprocess;
        }
        let photos = photos.len() as f64;
        println!(
            "{} {}",
            decode.as_secs_f64() / photos,
            rest.as_secs_f64() / photos
        );
    }
}

/// Each photo through the whole of preprocessing, which times its stages itself.
fn photos(photos: &[Vec<u8>]) {
    let (full, reduced) = (
        preprocessor(DecodeSize::Full),
        preprocessor(DecodeSize::Reduced),
    );
    let (mut decode, mut rest, mut fast) = (vec![], vec![], vec![]);
    for round in 0..6 {
        for photo in photos {
            let done = full.run(photo, ExifMode::Apply, &|| false).unwrap();
            let quick = reduced.run(photo, ExifMode::Apply, &|| false).unwrap();
            if round > 0 {
                decode.push(micros(done.decode));
                rest.push(micros(done.preprocess));
                fast.push(micros(quick.decode + quick.preprocess));
            }
        }
    }
    println!(
        "{} photos, {}, µs a photo",
        photos.len(),
        Isa::detect().name()
    );
    println!("{:<32}{:>9}{:>9}{:>9}", "", "mean", "median", "p90");
    for (name, times) in [
        ("decode", &mut decode),
        ("resize, crop and normalize", &mut rest),
        ("all with --fast-decode", &mut fast),
    ] {
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        println!(
            "{name:<32}{mean:>9.1}{:>9.1}{:>9.1}",
            quantile(times, 0.5),
            quantile(times, 0.9)
        );
    }
}

/// The weights of a bilinear resize of `from` pixels by `scale`, for the middle `CROP` outputs.
fn triangle(from: usize, scale: f64) -> Weights {
    let mut weights = Weights::default();
    let offset = (from as f64 / scale) as usize / 2 - CROP / 2;
    for i in offset..offset + CROP {
        let center = (i as f64 + 0.5) * scale;
        let (first, last) = (
            (center - scale + 0.5) as usize,
            (center + scale + 0.5) as usize,
        );
        let exact = |at: usize| 1.0 - ((at as f64 + 0.5 - center) / scale).abs();
        let sum: f64 = (first..last).map(exact).sum();
        let one = f64::from(1 << PRECISION_BITS);
        weights.push(
            first,
            (first..last).map(|at| (exact(at) / sum * one) as i32),
        );
    }
    weights
}

/// The three kernels on an image of this size as decoded, resized to 256 and cropped, for each instruction set in turn.
fn kernels((width, height): (usize, usize), rounds: usize) {
    let scale = width.min(height) as f64 / 256.0;
    let (columns, rows) = (triangle(width, scale), triangle(height, scale));
    let range = rows.source_range();
    let image: Vec<u8> = (0..width * 3 * range.len())
        .map(|i| (i * i % 251) as u8)
        .collect();
    let isas: Vec<Isa> = Isa::ALL
        .into_iter()
        .filter(|isa| isa.is_supported())
        .collect();
    let mut times = vec![[(); 3].map(|()| Vec::new()); isas.len()];
    let mut between = vec![0; range.len() * CROP * 3];
    let mut crop = vec![0; CROP * CROP * 3];
    let mut tensor = Vec::with_capacity(crop.len());
    for _ in 0..rounds {
        for (isa, times) in isas.iter().zip(&mut times) {
            let kernel = ResampleKernel::new(*isa).unwrap();
            let mut across = HorizontalPass::new(kernel, columns.clone(), width);
            let down = VerticalPass::new(kernel, rows.clone());
            let kernel = NormalizeKernel::new(*isa).unwrap();
            let normal = Normalization::new(kernel, 1.0, IMAGENET_MEAN[0], IMAGENET_STD[0]);
            let begin = Instant::now();
            for (row, out) in image.chunks(width * 3).zip(between.chunks_mut(CROP * 3)) {
                across.run(row, out);
            }
            times[0].push(micros(begin.elapsed()));
            let begin = Instant::now();
            for (i, out) in crop.chunks_mut(CROP * 3).enumerate() {
                let first = rows.taps(i).0 - range.start;
                down.run(i, &between[first * CROP * 3..], out);
            }
            times[1].push(micros(begin.elapsed()));
            tensor.clear();
            let begin = Instant::now();
            normal.append(&crop, &mut tensor);
            times[2].push(micros(begin.elapsed()));
        }
    }
    println!("\nkernels, {width}×{height} to 256, crop {CROP}, µs an image (medians)");
    println!(
        "{:<12}{:>12}{:>12}{:>12}{:>12}",
        "", "horizontal", "vertical", "normalize", "all"
    );
    for (isa, times) in isas.iter().zip(&mut times) {
        let [a, b, c] = times.each_mut().map(|t| quantile(t, 0.5));
        println!(
            "{:<12}{a:>12.1}{b:>12.1}{c:>12.1}{:>12.1}",
            isa.name(),
            a + b + c
        );
    }
}
