//! `resnet preprocess FILE`: what the network sees of an image, as an array in a file, or against a reference's.
//!
//! The pixels come from the served path's `Preprocessor`; the network is neither optimized nor run.

mod compare;
mod differences;

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use self::compare::{Comparison, Layout};
use super::args::{ExifArgs, ModelArgs};
use super::destination::{Destination, check_name, refuse_inputs};
use super::image_file::read_image;
use super::load;
use super::output::{complain, print};
use crate::config::ImageConfig;
use crate::engine::InputForm;
use crate::npy::{Array, Values};
use crate::preprocess::{Pixels, Preprocessor, Stage, StageOutput};
use kernels::Isa;

/// The flags of `resnet preprocess`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  resnet preprocess photo.jpg --npy tensor.npy
  resnet preprocess photo.jpg --compare training.npy --tolerance 1e-5
  resnet preprocess photo.jpg --stage cropped --npy - | python -c 'import numpy, sys; …'

Exit code 0: done, and equal if compared. 1: different, or failed. 2: wrong usage.
docs/ACCURACY.md tells how to find the step in which training and serving differ.")]
pub(crate) struct PreprocessArgs {
    /// Image file; - reads one image from standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Write the array to this .npy file; - writes it to standard output
    #[arg(long, value_name = "OUT", required_unless_present = "compare")]
    npy: Option<PathBuf>,

    /// How far to take the image
    #[arg(long, value_name = "STAGE", default_value = "tensor")]
    stage: StageArg,

    /// Compare with this .npy file, as a training pipeline wrote it; a batch dimension of 1 may be there or not
    #[arg(long, value_name = "REF")]
    compare: Option<PathBuf>,

    /// Largest difference of two values that still counts as equal
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true, value_parser = parse_tolerance, requires = "compare")]
    tolerance: f64,

    #[command(flatten)]
    exif: ExifArgs,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    images: ImageConfig,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StageArg {
    /// Decoded and turned upright: [height, width, 3] uint8
    Decoded,
    /// Then resized, the whole picture: [height, width, 3] uint8
    Resized,
    /// Then cropped: [crop, crop, 3] uint8
    Cropped,
    /// Then normalized, the network's input: [1, 3, crop, crop] float32, of a grey network [1, 1, crop, crop]
    Tensor,
}

impl StageArg {
    fn stage(self) -> Stage {
        match self {
            StageArg::Decoded => Stage::Decoded,
            StageArg::Resized => Stage::Resized,
            StageArg::Cropped => Stage::Cropped,
            StageArg::Tensor => Stage::Tensor,
        }
    }

    fn name(self) -> &'static str {
        match self {
            StageArg::Decoded => "decoded",
            StageArg::Resized => "resized",
            StageArg::Cropped => "cropped",
            StageArg::Tensor => "tensor",
        }
    }
}

fn parse_tolerance(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(tolerance) if tolerance.is_finite() && tolerance >= 0.0 => Ok(tolerance),
        _ => Err(format!(
            "`{text}` is no tolerance, allowed are finite numbers from 0"
        )),
    }
}

/// Runs the command; exit code 1 if the array differs from the reference.
///
/// # Errors
/// If model, image or reference cannot be used, or the output cannot be written.
pub(crate) fn run(args: &PreprocessArgs) -> anyhow::Result<ExitCode> {
    if let Some(out) = args.npy.as_deref().filter(|out| *out != Path::new("-")) {
        check_name("--npy", out, &["npy"])?;
        let inputs = [Some(&args.file), args.compare.as_ref()];
        refuse_inputs(out, inputs.into_iter().flatten().map(PathBuf::as_path))?;
    }
    let reference = args.compare.as_deref().map(read_array).transpose()?;
    let (spec, form) = args.model.preprocess_spec("preprocess")?;
    let preprocessor = Preprocessor::new(spec, load::image_options(&args.images, Isa::detect()));
    let name = args.file.display().to_string();
    let bytes = read_image(&args.file).with_context(|| name.clone())?;
    let output = preprocessor
        .stage(&bytes, args.exif.mode(), args.stage.stage())
        .with_context(|| format!("{name}, {}", args.stage.name()))?;
    let (array, layout) = array_of(output, form);
    if let Some(out) = &args.npy {
        write_array(&array, out)?;
    }
    let (Some(reference), Some(path)) = (reference, &args.compare) else {
        return Ok(ExitCode::SUCCESS);
    };
    let comparison = Comparison::of(&array, layout, &reference, args.tolerance);
    let title = format!("{name}, {}", args.stage.name());
    let report = comparison.report(&title, &path.display().to_string());
    if args.npy.as_deref() == Some(Path::new("-")) {
        report.lines().for_each(complain); // standard output holds the array
    } else {
        print(&report)?;
    }
    Ok(if comparison.is_equal() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The output as an array, the tensor with the channels and the batch dimension that a network's input has.
fn array_of(output: StageOutput, form: InputForm) -> (Array, Layout) {
    match output {
        StageOutput::Pixels(Pixels { width, height, rgb }) => {
            let shape = vec![height as usize, width as usize, 3];
            (Array::new(shape, Values::U8(rgb)), Layout::Nhwc)
        }
        StageOutput::Tensor(tensor) => {
            let tensor = form.channels_of(tensor);
            let shape = [&[1], tensor.shape()].concat();
            (
                Array::new(shape, Values::F32(tensor.into_data())),
                Layout::Nchw,
            )
        }
    }
}

fn read_array(path: &Path) -> anyhow::Result<Array> {
    let name = || path.display().to_string();
    let file = File::open(path)
        .context("cannot be read")
        .with_context(name)?;
    Array::read(&mut BufReader::new(file)).with_context(name)
}

fn write_array(array: &Array, out: &Path) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    array
        .write(&mut bytes)
        .expect("a vector takes it, and an image's header is short");
    Destination::open(Some(out))?.write_whole(&bytes)
}
