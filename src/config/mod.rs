//! Every setting of the server: flag, `RESNET_` variable, default and range, in sections.
//!
//! Flattened into the commands by `cli`, which turns each section into the rooms' own options.

mod access;
mod arithmetic;
mod cgroup;
mod memory;
mod threads;
mod units;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Args;
use clap::builder::BoolishValueParser;

pub use self::access::{API_KEYS_VARIABLE, AccessConfig, api_keys_variable};
pub use self::arithmetic::{ArithmeticConfig, IsaChoice, PrecisionChoice};
pub use self::memory::{MemoryLimit, MemoryRoom};
pub use self::threads::{CpuBudget, ThreadPlan};
pub use self::units::{parse_bytes, parse_duration, parse_timeout, whole_number};

/// Where the server listens and how it stops.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server")]
pub struct ServerConfig {
    /// Address to listen on; :: for every network by IPv6 and IPv4, 0.0.0.0 by IPv4 alone
    #[arg(long, env = "RESNET_HOST", default_value = "127.0.0.1", value_parser = parse_host, value_name = "ADDRESS")]
    pub host: IpAddr,

    /// Port to listen on; 0 takes a free one and prints it
    #[arg(long, env = "RESNET_PORT", default_value_t = 8080, value_parser = whole_number::<u16>(0, 65_535))]
    pub port: u16,

    /// Address and port to serve /metrics and health on, as 127.0.0.1:9090; /metrics is then not on the other port
    #[arg(long, env = "RESNET_ADMIN_ADDRESS", value_parser = parse_address, value_name = "ADDRESS:PORT")]
    pub admin_address: Option<SocketAddr>,

    /// Port to serve the Open Inference Protocol by gRPC on, on the same address; 0 takes a free one and prints it
    /// [default: no gRPC]
    #[arg(long, env = "RESNET_GRPC_PORT", value_parser = whole_number::<u16>(0, 65_535), value_name = "PORT")]
    pub grpc_port: Option<u16>,

    /// Most connections at a time; further clients wait until one ends
    #[arg(long, env = "RESNET_MAX_CONNECTIONS", default_value_t = 10_240, value_parser = whole_number::<u32>(1, 1_048_576), value_name = "N")]
    pub max_connections: u32,

    /// How long a client may take to send a request's head, from its first byte; a TLS handshake has as long
    #[arg(long, env = "RESNET_HEADER_TIMEOUT", default_value = "10s", value_parser = parse_timeout, value_name = "TIME")]
    pub header_timeout: Duration,

    /// How long a connection may stay open before its first byte, and between two requests; a load balancer's must be
    /// shorter
    #[arg(long, env = "RESNET_IDLE_TIMEOUT", default_value = "75s", value_parser = parse_timeout, value_name = "TIME")]
    pub idle_timeout: Duration,

    /// How long a client may take to take an answer, once it reads more slowly than the answer is written
    #[arg(long, env = "RESNET_WRITE_TIMEOUT", default_value = "30s", value_parser = parse_timeout, value_name = "TIME")]
    pub write_timeout: Duration,

    /// Speak HTTP/2 too, with clients that begin with it unasked (h2c with prior knowledge)
    #[arg(long, env = "RESNET_HTTP2", value_parser = parse_switch)]
    pub http2: bool,

    /// Let clients load, reload and unload models by the calls of the Open Inference Protocol: those that --model named
    /// at the start, are built in, pulled, or lie in the models directory
    #[arg(long, env = "RESNET_MODEL_CONTROL", value_parser = parse_switch)]
    pub model_control: bool,

    /// How long to keep accepting requests after SIGTERM, while /readyz says no: a load balancer's reaction time
    #[arg(long, env = "RESNET_SHUTDOWN_DELAY", default_value = "200ms", value_parser = parse_duration, value_name = "TIME")]
    pub shutdown_delay: Duration,

    /// How long running requests may take to finish after that
    #[arg(long, env = "RESNET_SHUTDOWN_TIMEOUT", default_value = "25s", value_parser = parse_duration, value_name = "TIME")]
    pub shutdown_timeout: Duration,
}

/// What one image may cost.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Image limits")]
pub struct ImageConfig {
    /// Largest image, width × height, in pixels; checked before decoding
    #[arg(long, env = "RESNET_MAX_PIXELS", default_value_t = 250_000_000, value_parser = whole_number::<u64>(1, 1_000_000_000), value_name = "N")]
    pub max_pixels: u64,

    /// Longest image side, in pixels
    #[arg(long, env = "RESNET_MAX_SIDE", default_value_t = 16_384, value_parser = whole_number::<u32>(1, 65_535), value_name = "N")]
    pub max_side: u32,

    /// Memory for decoding all images together; an image waits until its share is free
    #[arg(long, env = "RESNET_DECODE_MEMORY", default_value = "512MiB", value_parser = parse_bytes, value_name = "SIZE")]
    pub decode_memory: u64,

    /// How long one image may take to decode, waiting for memory included
    #[arg(long, env = "RESNET_DECODE_TIMEOUT", default_value = "10s", value_parser = parse_timeout, value_name = "TIME")]
    pub decode_timeout: Duration,

    /// Classify damaged and truncated images too, as far as they can be decoded; what is missing is grey or black
    #[arg(long, env = "RESNET_DECODE_LENIENT", value_parser = parse_switch)]
    pub decode_lenient: bool,

    /// Decode large JPEGs at a half, a quarter or an eighth of their size: faster, but not the pixels of training
    #[arg(long, env = "RESNET_FAST_DECODE", value_parser = parse_switch)]
    pub fast_decode: bool,
}

/// What requests may cost.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Request limits")]
pub struct RequestConfig {
    /// Largest request body
    #[arg(long, env = "RESNET_MAX_BODY_BYTES", default_value = "100MiB", value_parser = parse_bytes, value_name = "SIZE")]
    pub max_body_bytes: u64,

    /// Memory for the bodies of all requests together, and for embeddings, explanations and feature maps of answers; when
    /// it is used up, or one client holds three quarters of it, reading waits, for --max-queue-wait at most, and such an
    /// answer is refused. No less than a largest body [default: 256MiB, or one largest body where that is more]
    #[arg(long, env = "RESNET_BODY_MEMORY", value_parser = parse_bytes, value_name = "SIZE")]
    pub body_memory: Option<u64>,

    /// Most images in one request
    #[arg(long, env = "RESNET_MAX_IMAGES", default_value_t = 32, value_parser = whole_number::<usize>(1, 1024), value_name = "N")]
    pub max_images: usize,

    /// Longest time from a request's complete upload to its answer, else 504; a client may ask for less by the header
    /// X-Request-Timeout-Ms
    #[arg(long, env = "RESNET_REQUEST_TIMEOUT", default_value = "10s", value_parser = parse_timeout, value_name = "TIME")]
    pub request_timeout: Duration,

    /// Longest estimated wait for a worker; a request that would wait longer is refused with 503 before its body is
    /// read. Also the longest wait of a body for --body-memory
    #[arg(long, env = "RESNET_MAX_QUEUE_WAIT", default_value = "2s", value_parser = parse_timeout, value_name = "TIME")]
    pub max_queue_wait: Duration,

    /// Images that may wait for a worker; more are refused with 503
    #[arg(long, env = "RESNET_QUEUE_CAPACITY", default_value_t = 256, value_parser = whole_number::<usize>(1, 65_536), value_name = "N")]
    pub queue_capacity: usize,

    /// How long one image may be decoded, or one batch run, before its thread counts as stuck and /livez says so
    #[arg(long, env = "RESNET_WATCHDOG_TIMEOUT", default_value = "30s", value_parser = parse_timeout, value_name = "TIME")]
    pub watchdog_timeout: Duration,

    /// How long a client may take to send its request's body
    #[arg(long, env = "RESNET_BODY_TIMEOUT", default_value = "15s", value_parser = parse_timeout, value_name = "TIME")]
    pub body_timeout: Duration,

    /// How fast a body must arrive after its first 5 s, in bytes a second on average
    #[arg(long, env = "RESNET_MIN_UPLOAD_RATE", default_value = "4KiB", value_parser = parse_bytes, value_name = "SIZE")]
    pub min_upload_rate: u64,
}

impl RequestConfig {
    /// Most bytes of bodies at a time, before one more.
    #[must_use]
    pub fn body_memory_bytes(&self) -> u64 {
        let default = || self.max_body_bytes.max(256 << 20);
        self.body_memory.unwrap_or_else(default)
    }
}

/// Threads and batches.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Performance")]
pub struct EngineConfig {
    /// Inference threads [default: one per CPU that affinity and cgroup quota allow]
    #[arg(long, env = "RESNET_WORKERS", value_parser = whole_number::<usize>(1, 1024), value_name = "N")]
    pub workers: Option<usize>,

    /// Most threads that share one inference, its worker's included: a lone image takes those that have nothing to do
    /// [default: one per CPU that affinity and cgroup quota allow, at most 8]
    #[arg(long, env = "RESNET_THREADS_PER_WORKER", value_parser = whole_number::<usize>(1, 1024), value_name = "N")]
    pub threads_per_worker: Option<usize>,

    /// Instructions and precision.
    #[command(flatten)]
    pub arithmetic: ArithmeticConfig,

    /// Decoding threads; one more takes small images while all of these have large ones [default: one per CPU that
    /// affinity and cgroup quota allow]
    #[arg(long, env = "RESNET_PREP_THREADS", value_parser = whole_number::<usize>(1, 1024), value_name = "N")]
    pub prep_threads: Option<usize>,

    /// Most images that a worker takes from the queue at once
    #[arg(long, env = "RESNET_MAX_BATCH_SIZE", default_value_t = 8, value_parser = whole_number::<usize>(1, 256), value_name = "N")]
    pub max_batch_size: usize,

    /// How long an image may wait for company although a worker is free
    #[arg(long, env = "RESNET_MAX_QUEUE_DELAY", default_value = "0s", value_parser = parse_duration, value_name = "TIME")]
    pub max_queue_delay: Duration,
}

impl EngineConfig {
    /// The threads asked for, the CPU budget's where nothing was asked.
    #[must_use]
    pub fn threads(&self, budget: &CpuBudget) -> ThreadPlan {
        let plan = ThreadPlan::for_cpus(budget.cpus);
        ThreadPlan {
            prep: self.prep_threads.unwrap_or(plan.prep),
            engine: self.workers.unwrap_or(plan.engine),
            per_worker: self.threads_per_worker.unwrap_or(plan.per_worker),
            ..plan
        }
    }
}

/// Reads an IP address, or `localhost`.
///
/// # Errors
/// A sentence naming the value and what is allowed.
pub fn parse_host(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        _ => {
            // As URLs have the addresses of IPv6.
            let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            let inner = inner.filter(|t| t.contains(':')).unwrap_or(text);
            inner.parse().map_err(|_| {
                format!("`{text}` is no IP address, allowed are those as 127.0.0.1, 0.0.0.0 or ::")
            })
        }
    }
}

/// Reads an IP address, or `localhost`, and a port.
///
/// # Errors
/// A sentence naming the value and what is allowed.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let localhost = text
        .strip_prefix("localhost:")
        .map(|port| format!("127.0.0.1:{port}"));
    localhost.as_deref().unwrap_or(text).parse().map_err(|_| {
        format!(
            "`{text}` is no IP address with a port, allowed are those as 127.0.0.1:9090, 0.0.0.0:9090 or [::1]:9090"
        )
    })
}

/// Reads a switch from its variable; on the command line the flag alone turns it on.
fn parse_switch(text: &str) -> Result<bool, String> {
    use clap::builder::TypedValueParser as _;
    let wrong =
        |_| format!("`{text}` is no switch, allowed are true, yes, on, 1, false, no, off and 0");
    BoolishValueParser::new()
        .parse_ref(&clap::Command::new(""), None, text.as_ref())
        .map_err(wrong)
}
