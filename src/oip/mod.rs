//! The Open Inference Protocol, version 2, without a wire: messages, tensors, the checks of both, and what a model is in
//! the protocol's words.
//!
//! Used by the protocols that carry it. [`json`] and [`binary`] read the bodies of REST, [`request`] makes images and
//! wishes of an inference request whoever has read it, [`response`] its answer; [`metadata`], [`config`] and
//! [`statistics`] tell what there is. Knows no status code.

pub mod binary;
pub mod config;
mod datatype;
mod error;
pub mod index;
pub mod json;
pub mod metadata;
mod model;
mod numbers;
mod parameters;
pub mod request;
pub mod response;
pub mod statistics;
mod tensor;

pub use self::datatype::Datatype;
pub use self::error::OipError;
pub use self::model::{InputForm, ModelForm, OutputForm, Values};
pub use self::parameters::{Parameter, Parameters};
pub(crate) use self::request::JSON_NUMBER;
pub use self::request::{Request, Wanted, WantedOutput, Work};
pub use self::response::Response;
pub use self::tensor::{InputTensor, NOTHING, RequestedOutput, TensorData};

/// The extensions that exist here, as the server's metadata lists them.
pub const EXTENSIONS: [&str; 6] = [
    "binary_tensor_data",
    "classification",
    "parameters",
    "schedule_policy",
    "statistics",
    "model_configuration",
];
