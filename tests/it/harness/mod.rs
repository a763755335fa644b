//! A real server on a free port, the real binary, and what the tests ask them with.

mod command;
pub(crate) mod http2;
mod process;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use resnet::batcher::BatchPolicy;
use resnet::classifier::{Classifier, ClassifierOptions};
use resnet::desk::{Desk, RequestLimits, TrustedProxies};
use resnet::engine::EngineOptions;
use resnet::metrics::Metrics;
use resnet::preprocess::ImageOptions;
use resnet::registry::{Builtin, LoadedModel, ModelRef, load};
use resnet::server::{Drained, Server, ServerOptions};
use serde_json::Value;

pub(crate) use self::command::{ended_by, text_of, without_a_reader};
pub(crate) use self::process::{Process, preset, resnet};

/// A file below `tests/fixtures`.
pub(crate) fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(path)
}

/// A fixture's content.
pub(crate) fn fixture_bytes(path: &str) -> Vec<u8> {
    std::fs::read(fixture(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A fixture's JSON.
pub(crate) fn fixture_json(path: &str) -> Value {
    serde_json::from_slice(&fixture_bytes(path)).unwrap()
}

/// The weights and photos that are not part of the repository; `None`, and a line that says so, where they are absent.
pub(crate) fn assets(what: &str) -> Option<PathBuf> {
    let dir = std::env::var_os("RESNET_TEST_ASSETS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"),
        PathBuf::from,
    );
    let path = dir.join(what);
    if path.exists() {
        return Some(path);
    }
    let path = path.display();
    skipped(&format!(
        "{path} does not exist; RESNET_TEST_ASSETS names the directory that has it"
    ));
    None
}

/// Says that the running test, or a part of it, cannot run here.
pub(crate) fn skipped(reason: &str) {
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    // past the test runner, which hides what a passing test prints
    let _ = writeln!(std::io::stderr().lock(), "SKIPPED {test}: {reason}");
}

/// The small one of the built-in models: what most tests serve, because it is fast on any machine.
pub(crate) fn tiny_reference() -> ModelRef {
    ModelRef::builtin(Builtin::find("resnet18-tiny").unwrap())
}

/// The small built-in model, loaded.
pub(crate) fn tiny() -> LoadedModel {
    load(&tiny_reference(), &EngineOptions::default()).unwrap()
}

/// Settings of a test server; the fields a test does not name are the defaults of `resnet serve`.
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) max_batch_size: usize,
    pub(crate) queue_capacity: usize,
    pub(crate) max_body_bytes: u64,
    pub(crate) body_memory_bytes: u64,
    pub(crate) body_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) max_queue_wait: Duration,
    pub(crate) stuck_after: Duration,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) images: ImageOptions,
    pub(crate) server: ServerOptions,
    /// Whether gRPC is spoken, on a port of its own.
    pub(crate) grpc: bool,
}

impl Default for Settings {
    /// The defaults of `resnet serve`, but that nothing is late on a machine that does much else beside: a test of a
    /// time limit sets it.
    fn default() -> Self {
        let limits = RequestLimits::default();
        Settings {
            workers: 2,
            max_batch_size: 8,
            queue_capacity: 256,
            max_body_bytes: limits.max_body_bytes,
            body_memory_bytes: limits.body_memory_bytes,
            body_timeout: limits.body_timeout,
            request_timeout: PATIENT,
            max_queue_wait: PATIENT,
            stuck_after: Duration::from_secs(30),
            trusted_proxies: TrustedProxies::default(),
            images: ImageOptions {
                timeout: PATIENT,
                ..ImageOptions::default()
            },
            server: ServerOptions {
                shutdown_timeout: Duration::from_secs(10),
                ..ServerOptions::default()
            },
            grpc: false,
        }
    }
}

/// The real server in this process, stopped when dropped.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    grpc_address: Option<SocketAddr>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) desk: Arc<Desk>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<Drained>>,
}

impl TestServer {
    /// Serves the models, ready.
    pub(crate) fn start(models: Vec<LoadedModel>, settings: &Settings) -> TestServer {
        let server = TestServer::start_unready(settings);
        server.replace_models(models, settings);
        server
    }

    /// Serves these models from now on.
    pub(crate) fn replace_models(&self, models: Vec<LoadedModel>, settings: &Settings) {
        let options = ClassifierOptions {
            images: settings.images.clone(),
            batching: BatchPolicy {
                max_batch_size: settings.max_batch_size,
                max_queue_delay: Duration::ZERO,
                workers: settings.workers,
            },
            prep_threads: 2,
            queue_capacity: settings.queue_capacity,
            max_queue_wait: settings.max_queue_wait,
            stuck_after: settings.stuck_after,
        };
        let classifier = Classifier::start(models, options, Arc::clone(&self.metrics)).unwrap();
        self.desk.set_classifier(classifier);
    }

    /// Serves nothing yet.
    pub(crate) fn start_unready(settings: &Settings) -> TestServer {
        let metrics = Arc::new(Metrics::new());
        let limits = RequestLimits {
            max_body_bytes: settings.max_body_bytes,
            body_timeout: settings.body_timeout,
            request_timeout: settings.request_timeout,
            max_memory_wait: settings.max_queue_wait,
            body_memory_bytes: settings.body_memory_bytes,
            ..RequestLimits::default()
        };
        let desk = Desk::new(
            Arc::clone(&metrics),
            limits,
            settings.trusted_proxies.clone(),
        );
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (tell, told) = std::sync::mpsc::channel();
        let served = Arc::clone(&desk);
        let (options, grpc) = (settings.server, settings.grpc);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let free = ([127, 0, 0, 1], 0).into();
                let mut server = Server::bind(free, options).unwrap();
                if grpc {
                    server = server.with_grpc(free, None).unwrap();
                }
                let addresses = (server.address().unwrap(), server.grpc_address().unwrap());
                tell.send(addresses).unwrap();
                server
                    .run(served, async {
                        let _ = stopped.await;
                    })
                    .await
            })
        });
        let (address, grpc_address) = told.recv().unwrap();
        TestServer {
            address,
            grpc_address,
            metrics,
            desk,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it speaks gRPC.
    pub(crate) fn grpc(&self) -> SocketAddr {
        self.grpc_address.unwrap()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The answer to a GET.
    pub(crate) fn get(&self, path: &str) -> Answer {
        Answer::of(agent().get(self.url(path)).call())
    }

    /// The answer to a POST of raw bytes.
    pub(crate) fn post(&self, path: &str, body: &[u8]) -> Answer {
        Answer::of(
            agent()
                .post(self.url(path))
                .content_type("application/octet-stream")
                .send(body),
        )
    }

    /// The answer to a POST with a content type.
    pub(crate) fn post_as(&self, path: &str, content_type: &str, body: &[u8]) -> Answer {
        Answer::of(
            agent()
                .post(self.url(path))
                .content_type(content_type)
                .send(body),
        )
    }

    /// The answer to a POST of JSON.
    pub(crate) fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post_as(path, "application/json", body.to_string().as_bytes())
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A client that reports every status as an answer.
pub(crate) fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .new_agent()
}

/// A response, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn of(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut response = result.expect("the server answers");
        let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().iter().map(header).collect(),
            body: response.body_mut().read_to_vec().unwrap(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of a 200.
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The stable code of a problem document, checked for its form.
    pub(crate) fn code(&self) -> String {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], self.status);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        let code = problem["code"].as_str().unwrap();
        assert_eq!(problem["type"], format!("urn:resnet:problem:{code}"));
        assert!(
            !problem["title"].as_str().unwrap().is_empty()
                && !problem["detail"].as_str().unwrap().is_empty()
        );
        code.to_owned()
    }
}

/// A multipart/form-data body with its content type.
pub(crate) fn multipart(parts: &[(&str, &[u8])]) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for (name, bytes) in parts {
        write!(
            body,
            "--XyZ\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a\"\r\n\r\n"
        )
        .unwrap();
        body.extend_from_slice(bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--XyZ--\r\n");
    ("multipart/form-data; boundary=XyZ".into(), body)
}

/// A raw request on a connection of its own; everything the server answers until it closes.
pub(crate) fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let _ = stream.write_all(request); // the server may refuse before it has read everything
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a reset after the answer is an end too
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads one answer of a connection that stays open: its head and its body.
pub(crate) fn read_answer(stream: &mut impl Read) -> (String, String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "));
    let mut body = vec![0; length.unwrap().parse().unwrap()];
    stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// How long a test waits for what must come before it gives up: for a machine on which much else runs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long a request may take that is not to be late.
const PATIENT: Duration = Duration::from_secs(300);

/// Repeats a check until it holds.
pub(crate) fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "it never came to pass: {what}");
        // leaves the CPU to what is waited for
        std::thread::sleep(Duration::from_millis(2));
    }
}
