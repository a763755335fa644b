//! Why a request, or one image of it, has no answer, in words that its client may read.
//!
//! Each cause has its [`Code`]; what a client must not read is kept for the log.

use std::time::Duration;

use super::Code;
use crate::classifier::{ClassifyError, Refusal, Stuck};
use crate::preprocess::PreprocessError;
use crate::repository::RepositoryError;

/// Why there is no answer. The text is what the client reads.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The models are still loading.
    #[error("the models are still loading")]
    NotReady,
    /// The server has been told to stop.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// No key, or a wrong one, where keys are set.
    #[error("{0}")]
    Unauthorized(&'static str),
    /// No model of that name.
    #[error("there is no model \"{name}\", served are: {served}")]
    UnknownModel {
        /// The name asked for.
        name: String,
        /// What there is.
        served: String,
    },
    /// A version of a model that is not served.
    #[error("model \"{model}\" has no version \"{version}\", served is: {served}")]
    UnknownVersion {
        /// The model.
        model: String,
        /// The version asked for.
        version: String,
        /// What there is.
        served: String,
    },
    /// Clients may not exchange models here.
    #[error(
        "no model can be loaded or unloaded by a request: the server runs without --model-control"
    )]
    ModelsFixed,
    /// The models stay what they are.
    #[error("{}", .0.without_directories())]
    Repository(#[from] RepositoryError),
    /// The client's deadline is no time.
    #[error("{name} is \"{value}\", allowed are whole numbers from 1, in milliseconds")]
    BadTimeout {
        /// Where it was given.
        name: &'static str,
        /// Its value.
        value: String,
    },
    /// The body is larger than allowed.
    #[error("the body has {}, allowed are {max} bytes", got.map_or_else(|| "more".into(), |n| format!("{n} bytes")))]
    BodyTooLarge {
        /// Its size, if the client announced it.
        got: Option<u64>,
        /// The limit.
        max: u64,
    },
    /// The body took too long.
    #[error("the body did not arrive within {} s", .0.as_secs_f64())]
    BodyTimeout(Duration),
    /// The body came too slowly.
    #[error(
        "the body came to {received} bytes in {seconds} s, allowed are {min_rate} bytes a second or more"
    )]
    BodyTooSlow {
        /// Bytes that came.
        received: u64,
        /// In this time.
        seconds: f64,
        /// The limit, in bytes a second.
        min_rate: u64,
    },
    /// Other bodies held the memory for bodies.
    #[error("other bodies held the memory for bodies, or this client's part of it, for {} s", .0.as_secs_f64())]
    BodyMemoryFull(Duration),
    /// The answer would take more memory than a request may have for it.
    #[error(
        "the answer to {images} images would take up to {bytes} bytes, allowed are {max}, of as much of each as is asked for those of {most} images"
    )]
    AnswerTooLarge {
        /// Images of the request.
        images: usize,
        /// Most bytes of its answer.
        bytes: usize,
        /// The limit.
        max: usize,
        /// Images whose answer would be within it.
        most: usize,
    },
    /// Bodies and other answers hold the memory that the answer needs.
    #[error(
        "bodies and other answers hold the memory, or this client's part of it, of which the answer takes up to {0} bytes"
    )]
    AnswerMemoryFull(usize),
    /// The body broke off.
    #[error("the body broke off before its announced end")]
    BodyCut,
    /// Too much is waiting already.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// All threads of a pool are stuck.
    #[error("the server does not get on: a {} thread has been busy for {:.0} s", .0.pool, .0.busy.as_secs_f64())]
    Stuck(Stuck),
    /// An image could not be classified.
    #[error("{}", public_text(.0))]
    Classify(#[from] ClassifyError),
    /// The server's own code panicked.
    #[error("{INTERNAL}")]
    Panicked,
}

const INTERNAL: &str =
    "something went wrong inside the server; its log has the details under this request's id";

/// What a client may read of a failure: its own input's faults in full, ours not at all.
fn public_text(error: &ClassifyError) -> String {
    match error {
        ClassifyError::Image(e) => e.to_string(),
        ClassifyError::TooManyPixels { .. }
        | ClassifyError::ShuttingDown
        | ClassifyError::Expired
        | ClassifyError::Values(_) => error.to_string(),
        ClassifyError::DecodePanicked
        | ClassifyError::Engine(_)
        | ClassifyError::WorkerDied
        | ClassifyError::Output(_) => INTERNAL.into(),
    }
}

impl DeskError {
    /// The cause as programs read it.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            DeskError::NotReady => Code::NotReady,
            DeskError::ShuttingDown | DeskError::Classify(ClassifyError::ShuttingDown) => {
                Code::ShuttingDown
            }
            DeskError::Unauthorized(_) => Code::Unauthorized,
            DeskError::UnknownModel { .. } => Code::UnknownModel,
            DeskError::UnknownVersion { .. } => Code::UnknownVersion,
            DeskError::ModelsFixed => Code::ModelsFixed,
            DeskError::Repository(error) => match error {
                RepositoryError::Busy => Code::ModelsBusy,
                RepositoryError::NotFound(_) | RepositoryError::NotServed(_) => Code::UnknownModel,
                RepositoryError::LastModel(_)
                | RepositoryError::Refused(_)
                | RepositoryError::NotReloaded(_) => Code::ModelRefused,
                RepositoryError::Start(_) => Code::Internal,
            },
            DeskError::BadTimeout { .. } => Code::BadTimeout,
            DeskError::BodyTooLarge { .. } => Code::BodyTooLarge,
            DeskError::BodyTimeout(_) | DeskError::BodyTooSlow { .. } => Code::BodyTimeout,
            DeskError::BodyMemoryFull(_) | DeskError::AnswerMemoryFull(_) => Code::BodyMemoryFull,
            DeskError::AnswerTooLarge { .. } => Code::AnswerTooLarge,
            DeskError::BodyCut => Code::BodyIncomplete,
            DeskError::Refused(refusal) => match refusal {
                Refusal::QueueFull { .. } => Code::QueueFull,
                Refusal::ClientFull { .. } => Code::ClientQueueFull,
                Refusal::TooLong { .. } | Refusal::TooLate { .. } => Code::Overloaded,
            },
            DeskError::Stuck(_) => Code::Stuck,
            DeskError::Classify(ClassifyError::Expired) => Code::DeadlineExceeded,
            DeskError::Classify(ClassifyError::Values(_)) => Code::BadValues,
            DeskError::Classify(ClassifyError::Image(e)) => image_code(e),
            DeskError::Classify(ClassifyError::TooManyPixels { .. }) => Code::ImageTooManyPixels,
            DeskError::Classify(_) | DeskError::Panicked => Code::Internal,
        }
    }

    /// The estimated wait for which the request was refused.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        match self {
            DeskError::Refused(refusal) => Some(refusal.wait()),
            _ => None,
        }
    }

    /// What the log should know and the client should not.
    #[must_use]
    pub fn log_detail(&self) -> Option<String> {
        match self {
            DeskError::Classify(ClassifyError::Image(
                PreprocessError::Truncated { detail, .. } | PreprocessError::Corrupt { detail, .. },
            )) => Some(detail.clone()),
            DeskError::Classify(ClassifyError::Image(PreprocessError::Panicked { .. })) => {
                Some("the decoder panicked".into())
            }
            DeskError::Classify(e @ (ClassifyError::Engine(_) | ClassifyError::Output(_))) => {
                Some(e.to_string())
            }
            _ => None,
        }
    }
}

fn image_code(error: &PreprocessError) -> Code {
    match error {
        PreprocessError::Empty => Code::EmptyBody,
        PreprocessError::UnsupportedFormat { .. } => Code::UnsupportedMediaType,
        PreprocessError::Truncated { .. } => Code::ImageTruncated,
        PreprocessError::Corrupt { .. } | PreprocessError::Panicked { .. } => Code::ImageCorrupt,
        PreprocessError::DecodeTimeout(_) => Code::ImageDecodeTimeout,
        PreprocessError::MemoryBusy(_) => Code::DecodeMemoryFull,
        PreprocessError::OutOfMemory { .. } => Code::OutOfMemory,
        PreprocessError::Canceled => Code::Internal,
        PreprocessError::UnsupportedVariant { .. } => Code::ImageUnsupported,
        PreprocessError::TooManyPixels { .. }
        | PreprocessError::SideTooLong { .. }
        | PreprocessError::TooMuchMemory { .. }
        | PreprocessError::LargeCodedPicture { .. }
        | PreprocessError::OverBudget { .. } => Code::ImageTooManyPixels,
    }
}
