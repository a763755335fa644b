//! One image on its way from bytes to upright pixels, within the limits of memory and time.
//!
//! Used by `Preprocessor`: it opens the decoder of the format, turns what comes out of it, takes the memory for it from
//! the budget, and keeps a decoder's panic from harming anybody else.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::budget::NotReserved;
use super::decode::{Decoder, Region, RowSink};
use super::exif::{self, Orientation};
use super::options::{DamagedImages, ImageOptions};
use super::resize::{Pose, Resampler, ResizePlan};
use super::watch::{Stopped, Watch};
use super::{ExifMode, Format, ImageInfo, PreprocessError, decode, sniff};

/// An image whose header has been read, seen upright.
pub(super) struct OpenImage<'a> {
    decoder: Box<dyn Decoder + 'a>,
    format: Format,
    turn: Orientation,
    options: &'a ImageOptions,
}

impl<'a> OpenImage<'a> {
    /// Tells the format and reads the header.
    pub(super) fn open(
        bytes: &'a [u8],
        exif: ExifMode,
        options: &'a ImageOptions,
    ) -> Result<OpenImage<'a>, PreprocessError> {
        let format = sniff::accepted_format(bytes)?;
        let open = || decode::open(bytes, format, options.limits, options.isa);
        let decoder = contained(format, open)?;
        let turn = match exif {
            ExifMode::Apply => decoder.turn().then(decoder.orientation()),
            ExifMode::Ignore => decoder.turn(),
        };
        Ok(OpenImage {
            decoder,
            format,
            turn,
            options,
        })
    }

    /// Width and height of the upright image.
    pub(super) fn size(&self) -> (u32, u32) {
        exif::upright_size(self.decoder.size(), self.turn)
    }

    /// What an answer tells about it.
    pub(super) fn info(&self) -> ImageInfo {
        let (width, height) = self.size();
        ImageInfo {
            format: self.format,
            width,
            height,
        }
    }

    /// Makes the picture smaller while decoding where the format can, its shorter side at least `shortest` pixels.
    pub(super) fn reduce(&mut self, shortest: u32) {
        self.decoder.reduce(shortest);
    }

    /// The image as it is to be resized.
    pub(super) fn pose(&self) -> Pose {
        Pose {
            size: self.size(),
            turn: self.turn,
        }
    }

    /// All pixels, upright: `[height, width, 3]`.
    pub(super) fn pixels(&mut self, watch: &Watch) -> Result<Vec<u8>, PreprocessError> {
        let stored = self.decoder.size();
        let mut rgb = Vec::with_capacity(stored.0 as usize * stored.1 as usize * 3);
        self.decode(Region::whole(stored), watch, &mut |rows| {
            rgb.extend_from_slice(rows)
        })?;
        Ok(match self.turn {
            Orientation::NoTransforms => rgb,
            turn => exif::upright(&rgb, stored, turn),
        })
    }

    /// Decodes and hands the rows of a region of the stored image to `sink`, from top to bottom.
    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let needed = self.decoder.memory(region);
        let memory = &self.options.memory;
        let asked = Instant::now();
        let share = memory.share(needed, watch);
        watch.waited_for_memory(asked.elapsed());
        let _share = share.map_err(|e| match e {
            NotReserved::TooLarge => PreprocessError::OverBudget {
                format: self.format,
                needed,
                max: memory.total(),
            },
            NotReserved::Stopped(Stopped::TimedOut(limit)) => PreprocessError::MemoryBusy(limit),
            NotReserved::Stopped(Stopped::Canceled) => PreprocessError::Canceled,
        })?;
        check_allocation(needed)?;
        self.decode_rows(region, watch, sink)
    }

    /// Decodes within the memory; rows that a damaged picture lacks are black where that is allowed.
    fn decode_rows(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        let (format, decoder) = (self.format, &mut self.decoder);
        let row = region.width as usize * 3;
        let mut handed = 0;
        let result = contained(format, || {
            fault!("decode");
            decoder.decode(region, watch, &mut |rows| {
                handed += rows.len() / row;
                sink(rows);
            })
        });
        match result {
            Err(PreprocessError::Truncated { .. } | PreprocessError::Corrupt { .. })
                if handed > 0 && self.options.damaged == DamagedImages::Fill =>
            {
                let black = vec![0; row];
                (handed..region.height as usize).for_each(|_| sink(&black));
                Ok(())
            }
            result => result,
        }
    }

    /// What the plan makes of the image, `[rows, 3, columns]`, and how long that took besides decoding.
    pub(super) fn resample(
        &mut self,
        plan: ResizePlan,
        watch: &Watch,
    ) -> Result<(Vec<u8>, Duration), PreprocessError> {
        let region = plan.region();
        let mut resampler = Resampler::new(plan);
        let mut spent = Duration::ZERO;
        self.decode(region, watch, &mut |rows| {
            let start = Instant::now();
            resampler.push(rows);
            spent += start.elapsed();
        })?;
        Ok((resampler.finish(), spent))
    }
}

/// The image as it is decoded: a JPEG gets an end where a truncated one may be accepted, as Pillow does it for
/// `LOAD_TRUNCATED_IMAGES`.
pub(super) fn completed<'a>(bytes: &'a [u8], options: &ImageOptions) -> Cow<'a, [u8]> {
    const END_OF_IMAGE: [u8; 2] = [0xFF, 0xD9];
    let lenient = options.damaged == DamagedImages::Fill;
    if lenient && sniff::sniff(bytes) == Some(Format::Jpeg) && !bytes.ends_with(&END_OF_IMAGE) {
        return Cow::Owned([bytes, &END_OF_IMAGE].concat());
    }
    Cow::Borrowed(bytes)
}

/// Asks the system for the memory once and gives it back. Decoders allocate without asking, and an allocation that
/// fails ends the process; so where there is a limit (`ulimit -v`), it is met here as a rule, and costs one request.
fn check_allocation(bytes: u64) -> Result<(), PreprocessError> {
    let refusal = || Err(PreprocessError::OutOfMemory { needed: bytes });
    fault!("decode-allocation", refusal());
    let length = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut space = Vec::<u8>::new();
    let reserved = space.try_reserve_exact(length);
    std::hint::black_box(&space); // or the compiler finds out that nobody uses it
    reserved.or_else(|_| refusal())
}

/// Runs a decoder and makes an error of its panic; the panic hook has logged it. Errors name the file's format, whatever
/// the picture inside it is.
fn contained<T>(
    format: Format,
    decode: impl FnOnce() -> Result<T, PreprocessError>,
) -> Result<T, PreprocessError> {
    // What the decoder leaves half done is dropped with it.
    let result = catch_unwind(AssertUnwindSafe(decode));
    result
        .unwrap_or(Err(PreprocessError::Panicked { format }))
        .map_err(|error| error.of(format))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::preprocess::{Interest, MemoryBudget, PreprocessSpec, Preprocessor};

    #[test]
    fn panicking_decoder_is_the_images_own_error() {
        let result: Result<(), _> = contained(Format::Gif, || panic!("a mistake"));
        let error = result.expect_err("a panic");
        assert!(matches!(
            error,
            PreprocessError::Panicked {
                format: Format::Gif
            }
        ));
        assert_eq!(
            error.to_string(),
            "the GIF is damaged and cannot be decoded"
        );
    }

    /// The time that an image was told to wait for memory.
    #[derive(Default)]
    struct Waiting(Cell<Duration>);

    impl Interest for Waiting {
        fn is_lost(&self) -> bool {
            false
        }

        fn waited_for_memory(&self, time: Duration) {
            self.0.set(time);
        }
    }

    #[test]
    fn image_whose_memory_does_not_become_free_in_time_is_refused() {
        let options = ImageOptions {
            memory: MemoryBudget::new(1 << 20),
            timeout: Duration::from_millis(20),
            ..ImageOptions::default()
        };
        let watch = Watch::start(options.timeout, &|| false);
        let others = options.memory.share(1 << 20, &watch).expect("all of it");
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/images/rgb.png");
        let bytes = std::fs::read(path).expect("a fixture");
        let interest = Waiting::default();
        let run = |options: &ImageOptions| {
            let preprocessor = Preprocessor::new(PreprocessSpec::default(), options.clone());
            preprocessor.run(&bytes, ExifMode::Apply, &interest)
        };
        let error = run(&options).expect_err("no memory");
        // Less than the timeout, which begins when the image comes.
        assert!(!interest.0.take().is_zero(), "it was told to wait");
        assert!(
            matches!(error, PreprocessError::MemoryBusy(limit) if limit == options.timeout),
            "{error}"
        );
        drop(others);
        let patient = ImageOptions {
            timeout: ImageOptions::default().timeout,
            ..options.clone()
        };
        let start = Instant::now();
        run(&patient).expect("memory");
        assert!(interest.0.take() < start.elapsed(), "decoding is no wait");
        assert_eq!(options.memory.in_use(), 0);
    }

    #[test]
    fn truncated_jpeg_gets_an_end_only_where_it_may_be_filled() {
        let cut = [0xFF, 0xD8, 0xFF, 0xE0, 0];
        let mut options = ImageOptions::default();
        assert_eq!(&*completed(&cut, &options), cut);
        options.damaged = DamagedImages::Fill;
        assert!(completed(&cut, &options).ends_with(&[0, 0xFF, 0xD9]));
        assert_eq!(&*completed(b"GIF89a", &options), b"GIF89a");
    }
}
