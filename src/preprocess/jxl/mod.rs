//! JPEG XL by the project's own decoder, `jxl`.
//!
//! Called by `decode::open`. Files are containers (`container.rs`) or bare codestreams. What a picture will cost is read
//! here from its head (`head.rs`) and its first frame's (`frame.rs`), before the decoder sees anything; it is then asked
//! between the groups of a frame, of 128 to 1024 pixels a side, whether to go on. Pixels are those of libjxl within
//! rounding: the first frame that is shown, alpha dropped, color profiles ignored.

mod bits;
mod container;
mod frame;
mod head;

use std::cell::Cell;

use jxl::api::{
    Event, JxlDecoder, JxlDecoderOptions, JxlOutputBuffer, JxlParallelRunner, JxlParallelRunnerFun,
    JxlPixelFormat,
};
use jxl::error::Error;

use self::container::{Input, codestream, start};
use self::frame::FirstFrame;
use self::head::{Head, HeadError};
use super::decode::{Decoder, Region, RowSink, check_size, hand_over};
use super::exif::Orientation;
use super::watch::{Stopped, Watch};
use super::{Format, ImageLimits, PreprocessError};

/// Bytes within which a head must end: the names of four channels of the longest kind, and the rest of both heads.
const MAX_HEAD: usize = 8 << 10;

/// Extra channels that the format's level 5 allows; the decoder refuses more.
const MAX_EXTRA_CHANNELS: u32 = 4;

/// What unpacking a color profile may hold, in bytes: it has 256 MiB at most, and its packed form 16.
const PROFILE_BYTES: u64 = 280 << 20;

/// A JPEG XL whose heads have been read.
pub(super) struct JxlSource<'a> {
    parts: Vec<&'a [u8]>,
    /// The bytes of all parts together.
    length: u64,
    head: Head,
    /// The first frame; not known before a color profile is unpacked.
    first: Option<FirstFrame>,
}

impl<'a> JxlSource<'a> {
    pub(super) fn open(
        bytes: &'a [u8],
        limits: ImageLimits,
    ) -> Result<JxlSource<'a>, PreprocessError> {
        let parts = codestream(bytes).map_err(|e| e.of(Format::Jxl))?;
        let start_of = |skipped| start(&parts, skipped, MAX_HEAD);
        let head = Head::read(&start_of(0)).map_err(refusal)?;
        check_size(Format::Jxl, head.size, limits)?;
        if head.extra_channels > MAX_EXTRA_CHANNELS {
            return Err(unsupported("more than four channels beside the colors"));
        }
        let first = match head.has_profile {
            true => None,
            false => {
                let at = head.bits.div_ceil(8);
                Some(FirstFrame::read(&start_of(at), &head).map_err(refusal)?)
            }
        };
        Ok(JxlSource {
            length: parts.iter().map(|part| part.len() as u64).sum(),
            parts,
            head,
            first,
        })
    }

    /// What decoding holds, in bytes, if the first frame is of this kind.
    fn needed(&self, first: FirstFrame) -> u64 {
        let (width, height) = self.head.size;
        // Rows have 64 bytes at least.
        let pixels = u64::from(width).max(16) * u64::from(height);
        let extra = u64::from(self.head.extra_channels);
        let channels = 3 + extra;
        // Predicted samples, those of extra channels among them, are held up to three times, in steps of transforms.
        let predicted = 3 * self.head.sample_bytes;
        let (of_pixels, group) = match first {
            FirstFrame::Groups => (COARSE + predicted * extra, 256),
            FirstFrame::Passes => (COARSE + COEFFICIENTS + predicted * extra, 256),
            FirstFrame::Samples(group) => (predicted * channels, group),
            FirstFrame::OfSeveral => {
                let kept = KEPT_FRAMES * size_of::<f32>() as u64;
                (COARSE + COEFFICIENTS + (predicted + kept) * channels, 1024)
            }
        };
        // Two rows of groups, in fractions.
        let side = |side: u32, most: u32| u64::from(side.next_multiple_of(group).min(most));
        let rows = side(width, u32::MAX) * side(height, 2 * group) * size_of::<f32>() as u64;
        // Trees of predictions: one for all groups, and one of a group's own.
        let in_group = u64::from(width.min(group)) * u64::from(height.min(group));
        let nodes = (LEAST_NODES + pixels * channels / 16).min(1 << 22)
            + (LEAST_NODES + in_group * channels).min(1 << 20);
        pixels * (OUTPUT + of_pixels)
            + rows * channels
            + nodes * NODE_BYTES
            + 2 * self.length
            + FIXED_BYTES
    }

    /// A decoder that refuses frames larger than the picture.
    fn decoder(&self, frames_only: bool) -> JxlDecoder {
        let (width, height) = self.head.size;
        let samples = (width.max(16) as usize) * height as usize;
        let mut options = JxlDecoderOptions::default();
        options.adjust_orientation = false;
        options.scan_frames_only = frames_only;
        options.sample_limit =
            Some(samples.max(SMALLEST_LIMIT) * (3 + self.head.extra_channels as usize) + 1);
        JxlDecoder::new(options)
    }

    /// Reads on to the heads of the first frame of a picture with a color profile, and refuses one that needs more than
    /// has been said.
    fn check_first_frame(&self, said: u64, watch: &Watch) -> Result<(), PreprocessError> {
        let runner = &mut Watched::new(watch);
        let mut decoder = self.decoder(true);
        let mut input = Input::new(&self.parts);
        // Frames that are not shown are decoded, which this stops at their first group.
        runner.refuses = true;
        loop {
            match decoder.process(&mut input, None, Some(runner)) {
                Ok(Event::BasicInfo) => watch.check()?,
                Ok(Event::FrameHeader) => break,
                Ok(_) => return Err(PreprocessError::truncated(Format::Jxl, "no first frame")),
                Err(_) if runner.was_asked.get() => {
                    return self.check_needed(FirstFrame::OfSeveral, said);
                }
                Err(error) => return Err(runner.explained(error)),
            }
        }
        let offset = decoder
            .scanned_frames()
            .first()
            .map(|frame| frame.file_offset);
        let offset = offset.and_then(|offset| usize::try_from(offset).ok());
        let at = offset.ok_or_else(|| unsupported("a first frame without a place"))?;
        let first = FirstFrame::read(&start(&self.parts, at, MAX_HEAD), &self.head);
        self.check_needed(first.map_err(refusal)?, said)
    }

    fn check_needed(&self, first: FirstFrame, said: u64) -> Result<(), PreprocessError> {
        match self.needed(first) <= said {
            true => Ok(()),
            false => Err(unsupported(
                "a large picture of several frames with a color profile",
            )),
        }
    }
}

/// Bytes a pixel of the result.
const OUTPUT: u64 = 3;

/// Bytes a pixel of what is coded for blocks of 8×8: a coarse picture, kinds of blocks, strengths of filters.
const COARSE: u64 = 1;

/// Bytes a pixel of the coefficients of three channels.
const COEFFICIENTS: u64 = 12;

/// Frames that are kept at most: four, and coarse ones that are a 64th of the picture and less.
const KEPT_FRAMES: u64 = 5;

/// Nodes that a tree of predictions may have for the smallest picture. A few bytes can ask for as many as the decoder
/// allows.
const LEAST_NODES: u64 = 1024;

/// Bytes of a node, 16, while the list of all of them is copied to one of three times its length.
const NODE_BYTES: u64 = 4 * 16;

/// Tables and histograms; by a counting allocator, rounded up.
const FIXED_BYTES: u64 = 8 << 20;

/// Pixels that a frame may have in any case: letters of a small picture are kept in one of this size.
const SMALLEST_LIMIT: usize = 1 << 16;

impl Decoder for JxlSource<'_> {
    fn size(&self) -> (u32, u32) {
        self.head.size
    }

    fn turn(&self) -> Orientation {
        // The orientation of an EXIF block does not count: the codestream has its own.
        self.head.orientation
    }

    fn memory(&self, _: Region) -> u64 {
        match self.first {
            Some(first) => self.needed(first),
            // Of a profile that is unpacked, what is left is at most as large as its packed form may be.
            None => self.needed(FirstFrame::Samples(1024)).max(PROFILE_BYTES),
        }
    }

    fn decode(
        &mut self,
        region: Region,
        watch: &Watch,
        sink: &mut RowSink<'_>,
    ) -> Result<(), PreprocessError> {
        if self.first.is_none() {
            self.check_first_frame(self.memory(region), watch)?;
        }
        let (width, height) = self.head.size;
        let stride = width as usize * 3;
        let mut rgb = vec![0; stride * height as usize];
        let runner = &mut Watched::new(watch);
        let mut decoder = self.decoder(false);
        let mut input = Input::new(&self.parts);
        loop {
            let mut buffer = [JxlOutputBuffer::new(&mut rgb, height as usize, stride)];
            let buffers = decoder.basic_info().is_some().then_some(&mut buffer[..]);
            match decoder.process(&mut input, buffers, Some(runner)) {
                Ok(Event::BasicInfo) => {
                    let format = JxlPixelFormat::rgb8(self.head.extra_channels as usize);
                    decoder
                        .set_pixel_format(format)
                        .map_err(|e| runner.explained(e))?;
                }
                Ok(Event::FrameHeader) => {}
                Ok(Event::FrameComplete { .. }) => break,
                Ok(Event::NeedMoreInput { .. } | Event::Complete) => {
                    return Err(PreprocessError::truncated(
                        Format::Jxl,
                        "the codestream ends within a frame",
                    ));
                }
                Err(error) => return Err(runner.explained(error)),
            }
            watch.check()?;
        }
        drop(decoder);
        hand_over(&rgb, width, region, sink);
        Ok(())
    }
}

/// Runs the decoder's work in this thread, group by group, as long as it may go on.
struct Watched<'a> {
    watch: &'a Watch<'a>,
    /// Whether all work is refused: the decoder may read heads, and decode nothing.
    refuses: bool,
    was_asked: Cell<bool>,
    stopped: Cell<Option<Stopped>>,
}

impl<'a> Watched<'a> {
    fn new(watch: &'a Watch<'a>) -> Watched<'a> {
        Watched {
            watch,
            refuses: false,
            was_asked: Cell::new(false),
            stopped: Cell::new(None),
        }
    }

    /// The decoder's error, or why it was stopped.
    fn explained(&self, error: Error) -> PreprocessError {
        match self.stopped.get() {
            Some(stopped) => stopped.into(),
            None => jxl_error(error),
        }
    }
}

impl JxlParallelRunner for Watched<'_> {
    fn run(&mut self, count: usize, work: &JxlParallelRunnerFun<'_>) -> Result<(), Error> {
        for i in 0..count {
            self.was_asked.set(true);
            let checked = self.watch.check();
            if let Err(stopped) = checked {
                self.stopped.set(Some(stopped));
            }
            if self.refuses || checked.is_err() {
                // The decoder has no error for it.
                return Err(Error::ApiUsageError("stopped"));
            }
            work(i)?;
        }
        Ok(())
    }

    fn num_threads(&self) -> usize {
        1
    }

    fn run_ordered(
        &mut self,
        count: usize,
        _: Option<usize>,
        work: &JxlParallelRunnerFun<'_>,
    ) -> Result<(), Error> {
        self.run(count, work)
    }
}

fn unsupported(variant: &'static str) -> PreprocessError {
    let format = Format::Jxl;
    PreprocessError::UnsupportedVariant { format, variant }
}

fn refusal(error: HeadError) -> PreprocessError {
    match error {
        HeadError::Cut => PreprocessError::truncated(Format::Jxl, "its head ends too early"),
        HeadError::Corrupt(detail) => PreprocessError::corrupt(Format::Jxl, detail),
    }
}

fn jxl_error(error: Error) -> PreprocessError {
    match error {
        Error::OutOfBounds(_) | Error::SectionTooShort | Error::UnexpectedCodestreamBoxEnd => {
            PreprocessError::truncated(Format::Jxl, error.to_string())
        }
        Error::LevelLimitExceeded { .. } => unsupported("more than its level 5 allows"),
        Error::ImageSizeTooLarge(..) => unsupported("a frame larger than its picture"),
        Error::PatchesUnsupportedMixedUpsampling(..) => {
            unsupported("patches and channels of several sizes")
        }
        error => PreprocessError::corrupt(Format::Jxl, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every fixture.
    fn files() -> impl Iterator<Item = (String, Vec<u8>)> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jxl");
        let entries = std::fs::read_dir(folder).expect("the fixtures");
        entries.filter_map(|entry| {
            let path = entry.expect("an entry").path();
            let name = path.file_name()?.to_string_lossy().into_owned();
            let is_ours = name.ends_with(".jxl");
            is_ours.then(|| (name, std::fs::read(path).expect("a file")))
        })
    }

    #[test]
    fn heads_are_read_as_the_decoder_reads_them() {
        for (name, bytes) in files() {
            let source = JxlSource::open(&bytes, ImageLimits::default()).expect(&name);
            let never = Watch::start(std::time::Duration::from_secs(3600), &|| false);
            let runner = &mut Watched::new(&never);
            let mut decoder = source.decoder(true);
            let mut input = Input::new(&source.parts);
            let event = decoder.process(&mut input, None, Some(runner));
            assert_eq!(event.expect(&name), Event::BasicInfo, "{name}");
            let info = decoder.basic_info().expect("it has been read");
            let (width, height) = source.size();
            assert_eq!(info.size, (width as usize, height as usize), "{name}");
            let turn = Orientation::of_tag(info.orientation as u32);
            assert_eq!(turn, Some(source.turn()), "{name}");
            let extra = info.extra_channels.len();
            assert_eq!(extra, source.head.extra_channels as usize, "{name}");
            assert_eq!(info.uses_original_profile, !source.head.xyb, "{name}");
            assert_eq!(info.animation.is_some(), source.head.animated.0, "{name}");
            let event = decoder.process(&mut input, None, Some(runner));
            assert_eq!(event.expect(&name), Event::FrameHeader, "{name}");
            let first = decoder.scanned_frames()[0].file_offset as usize;
            let comes_first = !runner.was_asked.get();
            let kind = source.first;
            assert_eq!(kind.is_none(), name.contains("profile"), "{name}");
            if let (Some(kind), true) = (kind, comes_first) {
                assert_eq!(first, source.head.bits.div_ceil(8), "{name}");
                assert_ne!(kind, FirstFrame::OfSeveral, "{name}");
            }
            if !comes_first {
                let unknown_or_several = [None, Some(FirstFrame::OfSeveral)];
                assert!(unknown_or_several.contains(&kind), "{name}: {kind:?}");
            }
        }
    }

    #[test]
    fn trees_of_predictions_are_counted() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jxl/hostile");
        let bytes = std::fs::read(format!("{folder}/tree_without_end.jxl")).expect("a fixture");
        let source = JxlSource::open(&bytes, ImageLimits::default()).expect("a head");
        // What the decoder allocates for it, and the result; by a counting allocator.
        let needed = source.memory(Region::whole(source.size()));
        assert!(needed >= 199 << 20, "{needed}");
    }

    #[test]
    fn kinds_of_first_frames_are_told_apart() {
        for (name, due) in [
            ("lossy", Some(FirstFrame::Groups)),
            ("lossy_alpha", Some(FirstFrame::Groups)),
            ("jpeg_422_odd", Some(FirstFrame::Groups)),
            ("progressive_ac", Some(FirstFrame::Passes)),
            ("lossless", Some(FirstFrame::Samples(256))),
            ("lossless_grey_alpha", Some(FirstFrame::Samples(256))),
            ("animation", Some(FirstFrame::Samples(256))),
            ("lossy_patches", Some(FirstFrame::OfSeveral)),
            ("progressive_dc", Some(FirstFrame::OfSeveral)),
            ("lossy_profile", None),
        ] {
            let name = format!("{name}.jxl");
            let (_, bytes) = files().find(|(file, _)| *file == name).expect(&name);
            let source = JxlSource::open(&bytes, ImageLimits::default()).expect(&name);
            assert_eq!(source.first, due, "{name}");
        }
    }
}
