//! The extension `statistics`: what a model's requests have come to since it is served.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde::Serialize;

use crate::classifier::{Runs, ServedModel, Total};

/// The statistics of some models.
#[derive(Debug, Serialize)]
pub struct AllStatistics {
    /// One entry a model.
    pub model_stats: Vec<ModelStatistics>,
}

/// The statistics of a model.
#[derive(Debug, Serialize)]
pub struct ModelStatistics {
    /// The name it is served by.
    pub name: String,
    /// Its version.
    pub version: String,
    /// When it last answered, in milliseconds since 1970; 0 if it never has.
    pub last_inference: u64,
    /// Images that were answered.
    pub inference_count: u64,
    /// Runs of the network.
    pub execution_count: u64,
    /// Requests and their stages.
    pub inference_stats: InferStatistics,
    /// Statistics of requests with several answers, which there are none of.
    pub response_stats: BTreeMap<String, ()>,
    /// Runs by the size of their batch.
    pub batch_stats: Vec<BatchStatistics>,
    /// Memory of accelerators, which there are none of.
    pub memory_usage: [(); 0],
}

/// How often something was done, and how long that took together.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Counted {
    /// How often.
    pub count: u64,
    /// The time of all of it together, in nanoseconds.
    pub ns: u64,
}

/// Requests and their stages.
#[derive(Debug, Default, Serialize)]
pub struct InferStatistics {
    /// Requests with an answer.
    pub success: Counted,
    /// Requests without an answer.
    pub fail: Counted,
    /// Waiting for a thread and a worker.
    pub queue: Counted,
    /// From bytes to the network's input.
    pub compute_input: Counted,
    /// The run of the network.
    pub compute_infer: Counted,
    /// From its output to an answer.
    pub compute_output: Counted,
    /// Answers out of a cache, which there is none of.
    pub cache_hit: Counted,
    /// Answers that a cache lacked, which there is none of.
    pub cache_miss: Counted,
}

/// The runs of batches of one size.
#[derive(Debug, Serialize)]
pub struct BatchStatistics {
    /// Images in each batch.
    pub batch_size: usize,
    /// The runs' count, and no time: images are decoded one by one, and their time is told for the model.
    pub compute_input: Counted,
    /// The runs of the network.
    pub compute_infer: Counted,
    /// The runs' count, and no time: images are ranked one by one, and their time is told for the model.
    pub compute_output: Counted,
}

impl Counted {
    fn new(count: u64, time: Duration) -> Counted {
        Counted {
            count,
            ns: u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
        }
    }
}

impl From<Total> for Counted {
    fn from(total: Total) -> Counted {
        Counted::new(total.count, total.time)
    }
}

impl ModelStatistics {
    /// The statistics of a model with these runs.
    #[must_use]
    pub fn of(model: &ServedModel, runs: &[Runs]) -> ModelStatistics {
        let served = model.statistics().read();
        let since_1970 = served.last.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let last = since_1970.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        let of_size = |runs: &Runs| BatchStatistics {
            batch_size: runs.batch_size,
            compute_input: Counted::new(runs.count, Duration::ZERO),
            compute_infer: Counted::new(runs.count, runs.time),
            compute_output: Counted::new(runs.count, Duration::ZERO),
        };
        ModelStatistics {
            name: model.info.base_name().to_owned(),
            version: model.info.version().to_string(),
            last_inference: last,
            inference_count: served.images,
            execution_count: runs.iter().map(|runs| runs.count).sum(),
            inference_stats: InferStatistics {
                success: served.success.into(),
                fail: served.fail.into(),
                queue: served.queue.into(),
                compute_input: served.input.into(),
                compute_infer: served.infer.into(),
                compute_output: served.output.into(),
                ..InferStatistics::default()
            },
            response_stats: BTreeMap::new(),
            batch_stats: runs.iter().map(of_size).collect(),
            memory_usage: [],
        }
    }
}
