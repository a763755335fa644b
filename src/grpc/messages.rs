//! The messages of `inference.proto`, but for the request that brings images, which `infer_request` reads.
//!
//! Fields that the protocol has and this server neither reads nor writes are left out: protobuf skips them.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;

/// A request that says nothing.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Empty {}

/// The answer to whether something is so.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Yes {
    #[prost(bool, tag = "1")]
    pub(super) yes: bool,
}

/// A request about a model: `ModelReadyRequest` and its like.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct OfModel {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ServerMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) extensions: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct TensorMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub(super) shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ModelMetadata {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) versions: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) platform: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) inputs: Vec<TensorMetadata>,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<TensorMetadata>,
    #[prost(map = "string, string", tag = "6")]
    pub(super) properties: HashMap<String, String>,
}

/// `ModelInferResponse`: its elements are all in `raw_output_contents`, because some clients look nowhere else.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct InferResponse {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(string, tag = "2")]
    pub(super) model_version: String,
    #[prost(string, tag = "3")]
    pub(super) id: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) outputs: Vec<TensorMetadata>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub(super) raw_output_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct StreamInferResponse {
    #[prost(string, tag = "1")]
    pub(super) error_message: String,
    #[prost(message, optional, tag = "2")]
    pub(super) infer_response: Option<InferResponse>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelConfigResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) config: Option<ModelConfig>,
}

/// `DataType.TYPE_FP32`.
pub(super) const TYPE_FP32: i32 = 11;

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelInput {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(int64, repeated, tag = "4")]
    pub(super) dims: Vec<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelOutput {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(int32, tag = "2")]
    pub(super) data_type: i32,
    #[prost(int64, repeated, tag = "3")]
    pub(super) dims: Vec<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Versions {
    #[prost(int64, repeated, tag = "1")]
    pub(super) versions: Vec<i64>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct VersionPolicy {
    #[prost(message, optional, tag = "3")]
    pub(super) specific: Option<Versions>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct DynamicBatching {
    #[prost(int32, repeated, tag = "1")]
    pub(super) preferred_batch_size: Vec<i32>,
    #[prost(uint64, tag = "2")]
    pub(super) max_queue_delay_microseconds: u64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelConfig {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) platform: String,
    #[prost(message, optional, tag = "3")]
    pub(super) version_policy: Option<VersionPolicy>,
    #[prost(int32, tag = "4")]
    pub(super) max_batch_size: i32,
    #[prost(message, repeated, tag = "5")]
    pub(super) input: Vec<ModelInput>,
    #[prost(message, repeated, tag = "6")]
    pub(super) output: Vec<ModelOutput>,
    #[prost(message, optional, tag = "11")]
    pub(super) dynamic_batching: Option<DynamicBatching>,
    #[prost(string, tag = "17")]
    pub(super) backend: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Counted {
    #[prost(uint64, tag = "1")]
    pub(super) count: u64,
    #[prost(uint64, tag = "2")]
    pub(super) ns: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct InferStatistics {
    #[prost(message, optional, tag = "1")]
    pub(super) success: Option<Counted>,
    #[prost(message, optional, tag = "2")]
    pub(super) fail: Option<Counted>,
    #[prost(message, optional, tag = "3")]
    pub(super) queue: Option<Counted>,
    #[prost(message, optional, tag = "4")]
    pub(super) compute_input: Option<Counted>,
    #[prost(message, optional, tag = "5")]
    pub(super) compute_infer: Option<Counted>,
    #[prost(message, optional, tag = "6")]
    pub(super) compute_output: Option<Counted>,
    #[prost(message, optional, tag = "7")]
    pub(super) cache_hit: Option<Counted>,
    #[prost(message, optional, tag = "8")]
    pub(super) cache_miss: Option<Counted>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct BatchStatistics {
    #[prost(uint64, tag = "1")]
    pub(super) batch_size: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) compute_input: Option<Counted>,
    #[prost(message, optional, tag = "3")]
    pub(super) compute_infer: Option<Counted>,
    #[prost(message, optional, tag = "4")]
    pub(super) compute_output: Option<Counted>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelStatistics {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(uint64, tag = "3")]
    pub(super) last_inference: u64,
    #[prost(uint64, tag = "4")]
    pub(super) inference_count: u64,
    #[prost(uint64, tag = "5")]
    pub(super) execution_count: u64,
    #[prost(message, optional, tag = "6")]
    pub(super) inference_stats: Option<InferStatistics>,
    #[prost(message, repeated, tag = "7")]
    pub(super) batch_stats: Vec<BatchStatistics>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct AllStatistics {
    #[prost(message, repeated, tag = "1")]
    pub(super) model_stats: Vec<ModelStatistics>,
}

/// A request for the index; the repository's name, of which there is one, stands before.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct IndexRequest {
    #[prost(bool, tag = "2")]
    pub(super) ready: bool,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelIndex {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
    #[prost(string, tag = "3")]
    pub(super) state: String,
    #[prost(string, tag = "4")]
    pub(super) reason: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Index {
    #[prost(message, repeated, tag = "1")]
    pub(super) models: Vec<ModelIndex>,
}

/// A request to load or unload: of KServe with the model's name first, of Triton with the repository's before it.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelExchange {
    #[prost(string, tag = "1")]
    first: String,
    #[prost(string, tag = "2")]
    second: String,
}

impl ModelExchange {
    /// The model's name.
    pub(super) fn name(self) -> String {
        match self.second.is_empty() {
            true => self.first,
            false => self.second,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ModelExchanged {
    #[prost(string, tag = "1")]
    pub(super) model_name: String,
    #[prost(bool, tag = "2")]
    pub(super) done: bool,
}
