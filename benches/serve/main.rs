//! What the service adds to decode, resize and inference, and how its throughput grows with workers.
//!
//! `cargo bench --bench serve` measures all of it, `cargo bench --bench serve doors` what the doors of the Open Inference
//! Protocol cost. It is done with the ResNet-50 and photos that `RESNET_TEST_ASSETS` names, with the
//! built-in model and the test photos without them. Alternatives are interleaved, so a drifting machine hurts all
//! alike.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench prints and stops at the first failure"
)]

mod doors;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use resnet::batcher::BatchPolicy;
use resnet::classifier::{Classifier, ClassifierOptions};
use resnet::desk::{Desk, RequestLimits, TrustedProxies};
use resnet::metrics::Metrics;
use resnet::preprocess::{ExifMode, ImageOptions, Preprocessor};
use resnet::registry::{Builtin, Catalog, ModelRef, load};
use resnet::server::{Server, ServerOptions};
use resnet::tensor::Image;

/// The binary's allocator: the figures are to be the binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let (model, photos) = inputs();
    println!("model {}, {} photos", model.name, photos.len());
    let parts: [(&str, Part); 3] = [
        ("overhead", overhead),
        ("doors", |model, _| doors::run(model)),
        ("scaling", scaling),
    ];
    // cargo adds flags of its own.
    let only: Vec<String> = std::env::args().skip(1).collect();
    let only: Vec<&String> = only.iter().filter(|a| !a.starts_with('-')).collect();
    for (name, measure) in parts {
        if only.is_empty() || only.iter().any(|o| *o == name) {
            measure(&model, &photos);
        }
    }
}

/// What is measured, with a model and photos.
type Part = fn(&ModelRef, &[Vec<u8>]);

/// Where a server answers.
struct Addresses {
    http: SocketAddr,
    grpc: SocketAddr,
}

/// ResNet-50 and 60 JPEG photos, or what the repository has.
fn inputs() -> (ModelRef, Vec<Vec<u8>>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let assets = std::env::var_os("RESNET_TEST_ASSETS")
        .map_or_else(|| root.join("../shared"), PathBuf::from);
    let weights = assets.join("models/resnet50.onnx");
    let (model, dir, ending) = if weights.exists() {
        let model =
            ModelRef::parse(&weights.display().to_string(), &Catalog::builtin(), None).unwrap();
        (model, assets.join("eval/photos"), "JPEG")
    } else {
        (
            ModelRef::builtin(Builtin::find("resnet18-tiny").unwrap()),
            root.join("tests/fixtures/photos"),
            "png",
        )
    };
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    files.retain(|f| f.extension().is_some_and(|e| e == ending));
    files.sort();
    (
        model,
        files
            .iter()
            .take(60)
            .map(|f| std::fs::read(f).unwrap())
            .collect(),
    )
}

/// A ready server on a port of its own; it lives as long as the process.
fn start(model: &ModelRef, workers: usize) -> Addresses {
    let metrics = Arc::new(Metrics::new());
    let options = ClassifierOptions {
        images: ImageOptions::default(),
        batching: BatchPolicy {
            max_batch_size: 8,
            max_queue_delay: Duration::ZERO,
            workers,
        },
        prep_threads: 2,
        queue_capacity: 256,
        max_queue_wait: Duration::MAX,
        stuck_after: Duration::from_secs(30),
    };
    let classifier = Classifier::start(
        vec![load(model, &resnet::engine::EngineOptions::default()).unwrap()],
        options,
        Arc::clone(&metrics),
    )
    .unwrap();
    let limits = RequestLimits {
        body_timeout: Duration::from_secs(30),
        ..RequestLimits::default()
    };
    let desk = Desk::new(metrics, limits, TrustedProxies::default());
    desk.set_classifier(classifier);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let options = ServerOptions {
                header_timeout: Duration::from_secs(75),
                shutdown_delay: Duration::ZERO,
                shutdown_timeout: Duration::ZERO,
                ..ServerOptions::default()
            };
            let free = ([127, 0, 0, 1], 0).into();
            let server = Server::bind(free, options).unwrap();
            let server = server.with_grpc(free, None).unwrap();
            let addresses = Addresses {
                http: server.address().unwrap(),
                grpc: server.grpc_address().unwrap().unwrap(),
            };
            tell.send(addresses).unwrap();
            server.run(desk, std::future::pending()).await
        })
    });
    told.recv().unwrap()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One connection: each photo through the functions themselves and through the server, in turn; and for each request
/// what it took beyond the decode, resize and inference that the server itself timed for it.
fn overhead(reference: &ModelRef, photos: &[Vec<u8>]) {
    let model = load(reference, &resnet::engine::EngineOptions::default()).unwrap();
    let preprocessor = Preprocessor::new(model.preprocess.clone(), ImageOptions::default());
    let mut engine = model.model.spawn().unwrap();
    let url = format!("http://{}/classify", start(reference, 1).http);
    let agent = ureq::Agent::new_with_defaults();
    let (mut direct, mut served, mut added) = (vec![], vec![], vec![]);
    for round in 0..3 {
        for photo in photos {
            let begin = Instant::now();
            let never = &|| false;
            let image: Image = match model.model.spec().takes_bytes {
                true => preprocessor
                    .crop(photo, ExifMode::Apply, never)
                    .unwrap()
                    .image
                    .into(),
                false => preprocessor
                    .run(photo, ExifMode::Apply, never)
                    .unwrap()
                    .image
                    .into(),
            };
            engine.run(&[image]).unwrap();
            let alone = millis(begin);
            let begin = Instant::now();
            let mut response = agent.post(&url).send(&photo[..]).unwrap();
            response.body_mut().read_to_vec().unwrap();
            let through = millis(begin);
            if round > 0 {
                direct.push(alone);
                served.push(through);
                added.push(through - work(&response));
            }
        }
    }
    println!(
        "one connection: decode + resize + inference {:.2} ms, request {:.2} ms (medians)",
        median(direct),
        median(served),
    );
    added.sort_by(f64::total_cmp);
    println!(
        "a request's time beyond its own decode + resize + inference: median {:.2} ms, p90 {:.2} ms",
        added[added.len() / 2],
        added[added.len() * 9 / 10]
    );
}

fn millis(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}

/// Decode, resize and inference of one request in milliseconds, by its Server-Timing header.
fn work(response: &ureq::http::Response<ureq::Body>) -> f64 {
    let header = response.headers()["server-timing"].to_str().unwrap();
    let duration = |stage: &str| -> f64 {
        let entry = header.split(", ").find(|e| e.starts_with(stage)).unwrap();
        entry
            .split(';')
            .find_map(|p| p.strip_prefix("dur="))
            .unwrap()
            .parse()
            .unwrap()
    };
    duration("decode") + duration("preprocess") + duration("infer")
}

/// Eight connections against one worker and against two, in turn.
fn scaling(reference: &ModelRef, photos: &[Vec<u8>]) {
    let servers = [start(reference, 1), start(reference, 2)];
    let (mut one, mut two, mut ratio) = (vec![], vec![], vec![]);
    for round in 0..5 {
        let [a, b] = [&servers[0], &servers[1]]
            .map(|server| throughput(server.http, photos, Duration::from_secs(15)));
        if round > 0 {
            one.push(a);
            two.push(b);
            ratio.push(b / a);
        }
    }
    println!(
        "eight connections: one worker {:.1}/s, two workers {:.1}/s, ratio {:.2} (medians)",
        median(one),
        median(two),
        median(ratio)
    );
}

/// Answers per second between the first and the last of them: batches answer at once, so counting those inside a fixed
/// window would be off by up to a batch.
fn throughput(server: SocketAddr, photos: &[Vec<u8>], time: Duration) -> f64 {
    let url = format!("http://{server}/classify");
    let (answers, begin) = (Mutex::new(Vec::new()), Instant::now());
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (url, answers) = (&url, &answers);
            scope.spawn(move || {
                let agent = ureq::Agent::new_with_defaults();
                for photo in photos.iter().cycle().skip(client * 7) {
                    if begin.elapsed() > time {
                        return;
                    }
                    agent
                        .post(url)
                        .send(&photo[..])
                        .unwrap()
                        .body_mut()
                        .read_to_vec()
                        .unwrap();
                    answers.lock().unwrap().push(begin.elapsed().as_secs_f64());
                }
            });
        }
    });
    let mut answers = answers.into_inner().unwrap();
    answers.sort_by(f64::total_cmp);
    // While the last clients finish, the others are gone: only the full load counts.
    answers.retain(|t| *t <= time.as_secs_f64());
    let (first, last) = (answers[0], answers[answers.len() - 1]);
    let after_first = answers.iter().filter(|t| **t > first + 0.01).count();
    after_first as f64 / (last - first)
}
