//! What one request may cost.
//!
//! Set by `cli`, kept by the desk.

use std::time::Duration;

/// What one request may cost.
#[derive(Debug, Clone, Copy)]
pub struct RequestLimits {
    /// Largest body, in bytes.
    pub max_body_bytes: u64,
    /// Most images in one request.
    pub max_images: usize,
    /// How long the body may take to arrive, time in which the server waits for memory not counted.
    pub body_timeout: Duration,
    /// How long the answer may take after that.
    pub request_timeout: Duration,
    /// How long the server may wait for memory while it reads the body.
    pub max_memory_wait: Duration,
    /// How fast it must arrive after the first 5 s, in bytes a second on average; at least 1.
    pub min_upload_rate: u64,
    /// Memory for the bodies of all requests together, in bytes; when it is used up, reading waits. One body more may
    /// be held, so that bodies need not wait for one another.
    pub body_memory_bytes: u64,
}

impl Default for RequestLimits {
    /// The defaults of `resnet serve`.
    fn default() -> RequestLimits {
        RequestLimits {
            max_body_bytes: 100 << 20,
            max_images: 32,
            body_timeout: Duration::from_secs(15),
            request_timeout: Duration::from_secs(10),
            max_memory_wait: Duration::from_secs(2),
            min_upload_rate: 4 << 10,
            body_memory_bytes: 256 << 20,
        }
    }
}
