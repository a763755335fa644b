//! `resnet quantize MODEL --data DIR`: a file of 8 bits that answers as the model does, in less time.
//!
//! The work is the room `quantize`; here are the flags, the photos and the files. Nothing is written before all of it is
//! known to be right.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use walkdir::WalkDir;

use super::args::{LogArgs, LogSample, StoreArgs};
use super::image_file::read_image;
use super::output::{UsageError, complain, print};
use super::progress::Progress;
use crate::config::CpuBudget;
use crate::engine::{BeforeSums, EngineOptions, Quantizable};
use crate::eval::Listing;
use crate::preprocess::{ImageOptions, named_as_image};
use crate::quantize::{Job, Photo, Quantized, quantize};
use crate::registry::{self, Catalog, LoadedModel, ModelRef};
use kernels::nn::{Precision, Team};

/// Points that may be lost where the classes of the photos are known.
const MAX_DROP: f64 = 0.5;

/// Points of agreement that may be lost where they are not: an answer that changes is often one that was wrong.
const MAX_DROP_UNLABELLED: f64 = 2.5;

/// The flags of `resnet quantize`.
#[derive(Debug, Args)]
#[command(after_help = "\
The photos should be like those that will be classified; a few hundred are enough. Where DIR/labels.tsv, --labels or \
class folders tell what they show, as for `resnet eval`, accuracy decides how much of the network may be bytes, else \
agreement with the model as it is.

Written are OUT, its preprocessing and labels beside it, and OUT.json with the figures, which are in the file's metadata \
too. The file is standard ONNX: ONNX Runtime and OpenVINO run it as well.

Examples:
  resnet quantize resnet50 --data photos
  resnet quantize model.onnx --data photos --out fast/model.onnx

Exit code 0: written. 1: it cannot be quantized, or not well enough, or the photos or their labels are not there or do \
not fit. 2: wrong usage.")]
pub(crate) struct QuantizeArgs {
    /// Catalogue name, .onnx file, directory with model.onnx or with versions of it, or name of one in --models-dir
    #[arg(value_name = "MODEL")]
    model: String,

    /// Directory of photos
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    /// Table of labels [default: DIR/labels.tsv if it exists, else class folders, else none]
    #[arg(long, value_name = "TSV")]
    labels: Option<PathBuf>,

    /// File to write [default: NAME-int8.onnx here]
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,

    /// Points of top-1 accuracy that may be lost, 0 to 100; of agreement where no class is known [default: 0.5; 2.5 of
    /// agreement]
    #[arg(long, value_name = "POINTS", value_parser = parse_points)]
    max_drop: Option<f64>,

    /// Photos on which the network's values are looked at
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(32..=10_000))]
    calibrate: u32,

    /// Store bytes between a convolution and its sum too: ONNX Runtime is faster on such a file, whose answers are less
    /// alike
    #[arg(long)]
    bytes_before_sums: bool,

    #[command(flatten)]
    store: StoreArgs,
    #[command(flatten)]
    log: LogArgs,
}

fn parse_points(text: &str) -> Result<f64, String> {
    let points: f64 = text
        .parse()
        .map_err(|_| "allowed are 0 to 100".to_owned())?;
    match (0.0..=100.0).contains(&points) {
        true => Ok(points),
        false => Err("allowed are 0 to 100".into()),
    }
}

/// Runs the command.
///
/// # Errors
/// If the model cannot be quantized, the labels do not fit, or the files cannot be written.
pub(crate) fn run(args: &QuantizeArgs) -> anyhow::Result<ExitCode> {
    args.log.install("warn", LogSample::ALL)?;
    let (catalog, store) = (Catalog::builtin(), args.store.store()?);
    let reference = ModelRef::parse(&args.model, &catalog, store.as_ref())?;
    let out = match &args.out {
        Some(out) => out.clone(),
        None => PathBuf::from(format!("{}-int8.onnx", reference.name)),
    };
    let files = Files::beside(&out)?;
    let (bytes, dir) = registry::file_of(&reference)?;
    let original = bytes.len() as u64;
    let before_sums = match args.bytes_before_sums {
        true => BeforeSums::Bytes,
        false => BeforeSums::Numbers,
    };
    let file = Quantizable::read(bytes, dir.as_ref()).context(args.model.clone())?;
    let file = file.with_before_sums(before_sums);
    let cpus = CpuBudget::detect().cpus;
    let options = EngineOptions {
        precision: Some(Precision::F32),
        team: Team::new(cpus).into(),
        threads_per_worker: cpus,
        ..EngineOptions::default()
    };
    let model = registry::load(&reference, &options)?;
    let photos = photos(args, &model)?;
    let labelled = photos.first().is_some_and(|p| p.class_index.is_some());
    let max_drop = args.max_drop.unwrap_or(match labelled {
        true => MAX_DROP,
        false => MAX_DROP_UNLABELLED,
    });
    let calibrate = args.calibrate as usize;
    // Two passes at least; each attempt that is not good enough adds one.
    let steps = calibrate.min(photos.len()) + 2 * photos.len();
    let progress = Progress::start(|| steps as u64);
    let read =
        |path: &Path| -> Result<Bytes, String> { read_image(path).map_err(|e| format!("{e:#}")) };
    let result = quantize(&Job {
        model: &model,
        file: &file,
        bytes: original,
        photos: &photos,
        calibrate,
        max_drop,
        images: ImageOptions::default(),
        options: &options,
        read: &read,
        step: &|| progress.step(),
        say: &|line| progress.say(line),
    });
    progress.end();
    let Quantized { onnx, report } = result.context(args.model.clone())?;
    files.write(&model, &onnx, &report.json())?;
    let [size, before] = [onnx.len() as u64, original].map(|bytes| bytes as f64 / 1e6);
    print(&format!(
        "{}file        {}, {size:.1} MB of {before:.1}\n",
        report.text(),
        out.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The photos, with their classes where these are told.
fn photos(args: &QuantizeArgs, model: &LoadedModel) -> anyhow::Result<Vec<Photo>> {
    let named = args.labels.is_some() || args.data.join("labels.tsv").exists();
    let listed = Listing::read(&args.data, args.labels.as_deref());
    let resolved = listed.and_then(|listing| listing.resolve(&model.name, &model.labels, false));
    match resolved {
        Ok(labelled) => {
            let photo = |photo: crate::eval::Photo| Photo {
                path: photo.path,
                class_index: Some(photo.class_index),
            };
            return Ok(labelled.photos.into_iter().map(photo).collect());
        }
        Err(reason) if named || !args.data.is_dir() => bail!(reason),
        Err(reason) => complain(&format!(
            "no labels ({reason}): the answers are compared with those of the model as it is"
        )),
    }
    let mut photos = Vec::new();
    for entry in WalkDir::new(&args.data)
        .follow_links(true)
        .sort_by_file_name()
    {
        let entry = entry?;
        if entry.file_type().is_file() && named_as_image(entry.path()) {
            photos.push(Photo {
                path: entry.into_path(),
                class_index: None,
            });
        }
    }
    if photos.is_empty() {
        bail!("{}: no photos in it", args.data.display());
    }
    Ok(photos)
}

/// The files that are written.
struct Files {
    onnx: PathBuf,
    spec: PathBuf,
    labels: PathBuf,
    report: PathBuf,
}

impl Files {
    /// The names beside `out`, which are still free.
    ///
    /// # Errors
    /// If there is no such directory; a usage error if the name is not that of a model, or something has one of the names.
    fn beside(out: &Path) -> anyhow::Result<Files> {
        if out.extension().is_none_or(|extension| extension != "onnx") {
            let text = format!(
                "--out is {}, allowed are names that end in .onnx",
                out.display()
            );
            return Err(UsageError(text).into());
        }
        let with = |extension: &str| out.with_extension(extension);
        let files = Files {
            onnx: out.to_owned(),
            spec: with("toml"),
            labels: with("labels.txt"),
            report: with_ending(out, ".json"),
        };
        for path in files.all() {
            if path.symlink_metadata().is_ok() {
                let text = format!("{} exists already: give another --out", path.display());
                return Err(UsageError(text).into());
            }
        }
        let folder = out.parent().filter(|p| !p.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            bail!("{}: no such directory", folder.display());
        }
        Ok(files)
    }

    fn all(&self) -> [&Path; 4] {
        [&self.onnx, &self.spec, &self.labels, &self.report]
    }

    /// Writes all of them, the model last: what has no model beside it is found by nobody.
    fn write(&self, model: &LoadedModel, onnx: &[u8], report: &str) -> anyhow::Result<()> {
        let (spec, labels, report) = (model.toml(), model.labels_text(), format!("{report}\n"));
        let parts: [(&Path, &[u8]); 4] = [
            (&self.spec, spec.as_bytes()),
            (&self.labels, labels.as_bytes()),
            (&self.report, report.as_bytes()),
            (&self.onnx, onnx),
        ];
        let mut created = Vec::new();
        let written = parts.iter().try_for_each(|(path, content)| {
            let part = with_ending(path, ".part");
            // A link is refused where something has the name by now; a rename would replace it.
            let moved = fs::write(&part, content).and_then(|()| fs::hard_link(&part, path));
            // Nobody is left to tell if that fails too.
            let _ = fs::remove_file(&part);
            created.extend(moved.is_ok().then_some(*path));
            moved.with_context(|| format!("{}: cannot be written", path.display()))
        });
        if written.is_err() {
            for path in created {
                let _ = fs::remove_file(path);
            }
        }
        written
    }
}

/// A name with an ending behind all that it has.
fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
