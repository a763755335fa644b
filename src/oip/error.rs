//! What can be wrong with a request of the protocol, in words that its client may read.

/// Why an inference request cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OipError {
    /// The message is no JSON, or has something else than the protocol's members.
    #[error("the request's JSON is wrong: {0}")]
    Json(String),
    /// The message of gRPC is none.
    #[error("the request's message is wrong: {0}")]
    Message(String),
    /// The header that tells the length of the JSON.
    #[error("Inference-Header-Content-Length is \"{value}\", allowed is {allowed}")]
    JsonLength {
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// An input's name, datatype or shape.
    #[error("{0}")]
    Input(String),
    /// An input's data.
    #[error("{0}")]
    Data(String),
    /// A requested output.
    #[error("{0}")]
    Output(String),
    /// A parameter.
    #[error("parameter {name} is {value}, allowed are {allowed}")]
    Parameter {
        /// Its name.
        name: String,
        /// Its value.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// More images than allowed.
    #[error("the request has {got} images, allowed are {max}")]
    TooManyImages {
        /// Images sent.
        got: u64,
        /// The limit.
        max: usize,
    },
    /// A part of the protocol, or of its extensions, that is not here.
    #[error("{0}")]
    Unsupported(String),
}
