//! A model in single precision and photos to a file of 8 bits that answers alike, with the figures that show it.
//!
//! Called by `resnet quantize`. Photos tell which numbers occur; then more and more of the layers that 8 bits cost most
//! stay in single precision, until the answers are as good as they have to be. Touches no argument and writes no file.

mod answers;
mod report;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use self::answers::Answers;
pub use self::report::{Before, Report};
use crate::engine::{EngineOptions, LoadError, Quantizable};
use crate::preprocess::{ExifMode, ImageOptions, Interest, PreprocessError, Preprocessor};
use crate::registry::{LoadedModel, ModelError};
use kernels::nn::Precision;

/// Photos without which nothing is known of what values occur.
pub const LEAST_PHOTOS: usize = 32;

/// The key of the report in the file's metadata.
pub const METADATA_KEY: &str = "resnet.quantize";

/// A photo, and its class where one is known, as a position in the model's output.
#[derive(Debug, Clone)]
pub struct Photo {
    /// Where the photo lies.
    pub path: PathBuf,
    /// The class that it shows, where that is known.
    pub class_index: Option<usize>,
}

/// What is to be quantized, and on what.
pub struct Job<'a> {
    /// The model in single precision.
    pub model: &'a LoadedModel,
    /// Its file.
    pub file: &'a Quantizable,
    /// Bytes of its file.
    pub bytes: u64,
    /// The photos; each has a class or none has.
    pub photos: &'a [Photo],
    /// On how many of the photos the values of layers are observed.
    pub calibrate: usize,
    /// Points of accuracy, or of agreement where no class is known, that may be lost.
    pub max_drop: f64,
    /// How images are decoded.
    pub images: ImageOptions,
    /// How networks are computed; the precision is chosen here.
    pub options: &'a EngineOptions,
    /// Reads a photo.
    pub read: &'a (dyn Fn(&Path) -> Result<Bytes, String> + Sync),
    /// Told of each photo that is done with, in any of the passes over them.
    pub step: &'a (dyn Fn() + Sync),
    /// Told of each attempt, in one line for people.
    pub say: &'a dyn Fn(&str),
}

impl std::fmt::Debug for Job<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("model", &self.model.name)
            .field("photos", &self.photos.len())
            .finish_non_exhaustive()
    }
}

/// A network of 8 bits.
#[derive(Debug)]
pub struct Quantized {
    /// The file.
    pub onnx: Vec<u8>,
    /// What was measured.
    pub report: Report,
}

/// Why a network was not quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// Too few photos can be read.
    #[error(
        "{readable} of {photos} photos can be read, at least {LEAST_PHOTOS} are needed to see which values occur; a few \
         hundred are better{}", .first.as_ref().map(|e| format!(" (the first that cannot: {e})")).unwrap_or_default()
    )]
    TooFewPhotos {
        /// Photos there are.
        photos: usize,
        /// Photos that were decoded.
        readable: usize,
        /// Why the first of the others was not.
        first: Option<String>,
    },
    /// The network's graph cannot be quantized, or what came out cannot be computed.
    #[error(transparent)]
    Network(#[from] LoadError),
    /// What came out cannot be served.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An image cannot be computed.
    #[error("{0}")]
    Run(String),
    /// The network gains nothing from 8 bits.
    #[error(
        "on bytes it takes {share:.1} times as long as in single precision, because of what has no kernel of ours \
         there: {left}; serve it as it is"
    )]
    Slower {
        /// Its time on bytes over that in single precision.
        share: f64,
        /// Operators without a kernel of ours, and how many of each.
        left: String,
    },
    /// The answers are worse than they may be, whatever stays in single precision.
    #[error(
        "{lost:.2} points are lost with {kept} of {layers} layers in single precision, allowed are {allowed}: give more \
         photos to --data, or a larger --max-drop"
    )]
    WorseThanAllowed {
        /// Points lost by the last attempt.
        lost: f64,
        /// Layers in single precision in the last attempt.
        kept: usize,
        /// Layers of the network that could be of 8 bits.
        layers: usize,
        /// Points that may be lost.
        allowed: f64,
    },
}

/// Share of the time in single precision above which bytes are no gain, whatever noise the machine has.
const MOST_TIME: f64 = 1.5;

/// Operators that stay tract's and how many of each.
fn left_to_tract(model: &LoadedModel) -> String {
    let left = &model.model.spec().lowering.left;
    let words: Vec<String> = left
        .iter()
        .map(|(op, count)| format!("{count} {op}"))
        .collect();
    words.join(", ")
}

/// Interest in every image: somebody always waits.
struct Always;

impl Interest for Always {
    fn is_lost(&self) -> bool {
        false
    }
}

/// Quantizes the network.
///
/// # Errors
/// [`QuantizeError`].
pub fn quantize(job: &Job<'_>) -> Result<Quantized, QuantizeError> {
    let preprocessor = Preprocessor::new(job.model.preprocess.clone(), job.images.clone());
    let image = |photo: &Photo| -> Result<_, String> {
        let bytes = (job.read)(&photo.path)?;
        let tensor = preprocessor.run(&bytes, ExifMode::Apply, &Always);
        let tensor = tensor.map_err(|e: PreprocessError| e.to_string())?;
        Ok(tensor.image)
    };
    let mut observer = job.file.observer(job.model.model.spec().size)?;
    let (mut seen, mut tried, mut first) = (0, 0, None);
    // Spread over all photos, so that a folder of classes is seen from its first to its last; then those between, where
    // some cannot be read.
    let chosen = job.calibrate.min(job.photos.len());
    let stride = (job.photos.len() / chosen.max(1)).max(1);
    let spread = (0..stride).flat_map(|first| (first..job.photos.len()).step_by(stride));
    for i in spread {
        if seen == chosen {
            break;
        }
        tried += 1;
        match image(&job.photos[i]) {
            Ok(tensor) => {
                observer.see(tensor.data())?;
                seen += 1;
                (job.step)();
            }
            Err(error) => {
                let named = || format!("{}: {error}", job.photos[i].path.display());
                first.get_or_insert_with(named);
            }
        }
    }
    if seen < LEAST_PHOTOS {
        return Err(QuantizeError::TooFewPhotos {
            photos: tried,
            readable: seen,
            first,
        });
    }
    let observed = observer.observed();
    let before = Answers::of(job.model, job, &image)?;
    if let Some(first) = &before.first_unread {
        let unread = job.photos.len() - before.photos();
        (job.say)(&format!(
            "{unread} of {} photos cannot be read and count nowhere, the first: {first}",
            job.photos.len()
        ));
    }
    let rounded = job.file.rounded(observed, job.options.threads_per_worker);
    let order = job.file.by_noise(&rounded);
    let layers = order.len();
    let mut kept = 0;
    loop {
        let left: HashSet<usize> = order[..kept].iter().copied().collect();
        let onnx = job.file.quantized(&rounded, &left, &[]);
        let options = EngineOptions {
            precision: Some(Precision::Int8),
            ..job.options.clone()
        };
        let model = job.model.with_network(onnx, &options)?;
        let after = Answers::of(&model, job, &image)?;
        let lost = after.lost(&before);
        (job.say)(&format!(
            "{} of {layers} layers on bytes: {lost:.2} points lost, allowed are {}; {:.1}% keep their class",
            layers - kept,
            job.max_drop,
            100.0 * after.agreement(&before).accuracy
        ));
        if lost <= job.max_drop {
            let share = after.least.as_secs_f64() / before.least.as_secs_f64();
            let runtimes = left_to_tract(&model);
            // Small layers of ours may take longer on bytes as well, and the file is a quarter all the same.
            if share > MOST_TIME && !runtimes.is_empty() {
                return Err(QuantizeError::Slower {
                    share,
                    left: runtimes,
                });
            }
            let names: Vec<String> = job.file.layers().map(str::to_owned).collect();
            let mut names: Vec<(usize, String)> = order[..kept]
                .iter()
                .map(|layer| (*layer, names[*layer].clone()))
                .collect();
            names.sort_unstable();
            let kept: Vec<String> = names.into_iter().map(|(_, name)| name).collect();
            let report = Report::new(job, seen, (&before, &after), (layers, kept), share);
            let metadata = [(METADATA_KEY.to_owned(), report.json())];
            return Ok(Quantized {
                onnx: job.file.quantized(&rounded, &left, &metadata),
                report,
            });
        }
        // One layer less on bytes, then two, four, …; never the last.
        let next = (2 * kept).max(1);
        if next >= layers {
            return Err(QuantizeError::WorseThanAllowed {
                lost,
                kept,
                layers,
                allowed: job.max_drop,
            });
        }
        kept = next;
    }
}
