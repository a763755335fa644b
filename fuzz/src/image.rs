//! What must hold for any bytes that start as an image of a format.
//!
//! Called by the targets of the formats. An input's length chooses how it is preprocessed, so a mutation that keeps the
//! length keeps the way. It must not panic, must end within a second, must hold no more memory than the decoder has
//! announced, and must come to the same bits, or the same refusal, on every instruction set and every time.

use std::time::{Duration, Instant};

use libfuzzer_sys::Corpus;

use crate::memory::peak_of;
use crate::preprocess::{
    DamagedImages, DecodeSize, ExifMode, Format, ImageLimits, ImageOptions, Interpolation,
    MemoryBudget, PreprocessError, PreprocessSpec, Preprocessed, Preprocessor, ResizeMode, sniff,
};
use crate::tensor::Size;
use kernels::Isa;

/// Decode memory of the service under test, in bytes; an image that announces more is refused, and not run.
const BUDGET: u64 = 64 << 20;

/// The longest that one run may take. An instrumented build is a few times slower than the service.
const LONGEST: Duration = Duration::from_secs(1);

/// What a run may hold before it asks for memory, in bytes: parsed headers, tables, an error's words. To that comes the
/// file up to four times: a chunk that doubles as it grows, EXIF once more, and the copy of `DamagedImages::Fill`.
const HEADER_BYTES: u64 = 256 << 10;

/// How one input is preprocessed.
struct Way {
    spec: PreprocessSpec,
    exif: ExifMode,
    damaged: DamagedImages,
    size: DecodeSize,
    limits: ImageLimits,
}

fn size((height, width): (u32, u32)) -> Size {
    Size { height, width }
}

impl Way {
    /// One of 64, by the length of the input.
    fn of(length: usize) -> Way {
        let bit = |n: usize| length >> n & 1 == 1;
        let spec =
            |resize: (u32, u32), crop: (u32, u32), resize_mode, interpolation| PreprocessSpec {
                resize: size(resize),
                crop: size(crop),
                resize_mode,
                interpolation,
                ..PreprocessSpec::default()
            };
        Way {
            spec: match length >> 3 & 7 {
                // The common one is slow: 50,176 pixels.
                0 => PreprocessSpec::default(),
                1 => spec(
                    (32, 32),
                    (32, 32),
                    ResizeMode::Stretch,
                    Interpolation::Bicubic,
                ),
                2 => spec(
                    (24, 40),
                    (24, 33),
                    ResizeMode::Stretch,
                    Interpolation::Bicubic,
                ),
                3 => spec(
                    (40, 40),
                    (32, 32),
                    ResizeMode::ShorterSide,
                    Interpolation::Bicubic,
                ),
                4 => spec(
                    (40, 20),
                    (33, 20),
                    ResizeMode::Cover,
                    Interpolation::Bicubic,
                ),
                _ => spec(
                    (20, 20),
                    (17, 17),
                    ResizeMode::ShorterSide,
                    Interpolation::Bilinear,
                ),
            },
            exif: if bit(0) {
                ExifMode::Apply
            } else {
                ExifMode::Ignore
            },
            damaged: if bit(1) {
                DamagedImages::Fill
            } else {
                DamagedImages::Refuse
            },
            size: if bit(2) {
                DecodeSize::Reduced
            } else {
                DecodeSize::Full
            },
            limits: ImageLimits {
                // Mostly small, to be fast.
                max_pixels: if length % 64 == 63 {
                    4_000_000
                } else {
                    1 << 18
                },
                ..ImageLimits::default()
            },
        }
    }

    fn run(&self, bytes: &[u8], isa: Isa, budget: u64) -> Result<Preprocessed, PreprocessError> {
        let options = ImageOptions {
            limits: self.limits,
            // Long enough for a hang to show as one.
            timeout: Duration::from_secs(60),
            damaged: self.damaged,
            size: self.size,
            memory: MemoryBudget::new(budget),
            isa,
        };
        Preprocessor::new(self.spec.clone(), options).run(bytes, self.exif, &|| false)
    }

    /// What resizing and normalizing an image of this size holds, in bytes: a window of at most twice the rows that one
    /// row of the result depends on (bicubic: 4 of each), weights of both passes, crop and tensor.
    fn resizing(&self, width: u64, height: u64) -> u64 {
        let PreprocessSpec { resize, crop, .. } = &self.spec;
        let (resize, longest) = (resize.height.min(resize.width), crop.longest());
        let (resize, longest) = (u64::from(resize), u64::from(longest));
        let window = 24 * width * height / resize + 100 * width.max(longest);
        window + 64 * (width + height) + 256 * longest + 15 * crop.pixels() as u64
    }
}

/// Takes bytes through the whole of preprocessing and checks what must hold; other formats are not for this target.
///
/// # Panics
/// If anything does not hold.
pub fn check(format: Format, bytes: &[u8]) -> Corpus {
    if sniff(bytes) != Some(format) {
        return Corpus::Reject;
    }
    let way = Way::of(bytes.len());
    let isa = Isa::detect();
    let headers = HEADER_BYTES + 4 * bytes.len() as u64;

    // With no memory at all, an image gets as far as its header and tells what it needs.
    let (refusal, peak) = peak_of(|| way.run(bytes, isa, 0));
    let needed = match refusal {
        Err(PreprocessError::OverBudget { needed, .. }) => needed,
        Err(error) => {
            // Of one that looks as if a client had changed it that is told, though its size may have been read, and where
            // its rows and columns go.
            let is_changed = matches!(
                error,
                PreprocessError::UnsupportedFormat {
                    looks_like: Some(_)
                }
            );
            let plan = if is_changed {
                128 * u64::from(way.limits.max_side)
            } else {
                0
            };
            let allowed = headers + plan;
            assert!(
                peak <= allowed,
                "{peak} bytes held for a header, allowed are {allowed}"
            );
            return Corpus::Keep;
        }
        Ok(_) => panic!("an image was decoded without memory"),
    };
    if needed > BUDGET {
        return Corpus::Keep;
    }

    let (result, peak) = in_time(|| peak_of(|| way.run(bytes, isa, needed)));
    let resizing = match &result {
        Ok(done) => way.resizing(done.info.width.into(), done.info.height.into()),
        // Of a damaged image no size is told, and a strip counts most: 4 bytes of height, 1 of width.
        Err(_) => way.resizing(1 << 14, way.limits.max_pixels >> 14),
    };
    let allowed = needed + headers + resizing;
    assert!(
        peak <= allowed,
        "{peak} bytes held, announced were {needed}, with headers and resizing allowed are {allowed}"
    );

    let scalar = in_time(|| way.run(bytes, Isa::Scalar, needed));
    assert_same(&result, &scalar);
    if bytes.len().is_multiple_of(16) {
        assert_same(&result, &way.run(bytes, isa, BUDGET));
    }
    if let Ok(done) = &result {
        assert_eq!(done.image.shape(), way.spec.crop.shape());
        assert!(done.image.data().iter().all(|v| v.is_finite()));
        assert_eq!(done.info.format, format);
    }
    Corpus::Keep
}

/// The first result of `run`, which must take less than [`LONGEST`]; on a busy machine it gets three attempts.
fn in_time<T>(run: impl Fn() -> T) -> T {
    let timed = || {
        let start = Instant::now();
        let result = run();
        (result, start.elapsed())
    };
    let (result, took) = timed();
    if took > LONGEST {
        let best = (0..2)
            .map(|_| timed().1)
            .min()
            .unwrap_or_default()
            .min(took);
        assert!(
            best <= LONGEST,
            "a run took {best:?}, allowed are {LONGEST:?}"
        );
    }
    result
}

fn assert_same(
    one: &Result<Preprocessed, PreprocessError>,
    other: &Result<Preprocessed, PreprocessError>,
) {
    match (one, other) {
        (Ok(one), Ok(other)) => {
            let bits = |done: &Preprocessed| -> Vec<u32> {
                done.image.data().iter().map(|v| v.to_bits()).collect()
            };
            assert_eq!(one.info, other.info);
            assert!(bits(one) == bits(other), "the tensors differ");
        }
        (Err(one), Err(other)) => assert_eq!(format!("{one:?}"), format!("{other:?}")),
        _ => panic!("{one:?}, but then {other:?}"),
    }
}
