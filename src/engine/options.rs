//! What an engine may use: instructions, precision, threads.

use std::sync::Arc;

use kernels::Features;
use kernels::nn::{Precision, Team};

/// How a network is to be computed.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The instructions that may be used.
    pub features: Features,
    /// How values are stored and multiplied; none leaves the choice to a self-check at load.
    pub precision: Option<Precision>,
    /// The threads that engines share an inference with.
    pub team: Arc<Team>,
    /// Most threads of one inference, the worker's own included.
    pub threads_per_worker: usize,
    /// Most images of one run; a worker's memory is made for them.
    pub max_batch: usize,
}

impl Default for EngineOptions {
    /// All that the CPU offers, but f32; one thread, batches of one.
    fn default() -> EngineOptions {
        EngineOptions {
            features: Features::detect(),
            precision: Some(Precision::F32),
            team: Arc::new(Team::new(1)),
            threads_per_worker: 1,
            max_batch: 1,
        }
    }
}
