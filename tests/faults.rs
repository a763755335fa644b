//! What happens when something breaks inside the server: one fault in the real binary each, by the names in
//! `RESNET_FAULTS`.
//!
//! cargo test --features fail-points --test faults

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "it/harness/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the harness of tests/it has more than these need"
)]
mod harness;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use harness::{Answer, Process, agent, eventually, fixture_bytes, multipart, resnet};
use resnet::registry::Catalog;
use serde_json::Value;

/// A server with faults, with one worker so that it is known who meets them.
fn serve(faults: &str, args: &[&str]) -> Process {
    let mut command = resnet();
    command.env("RESNET_FAULTS", faults);
    let one = ["--workers", "1", "--prep-threads", "1"];
    Process::start_as(command, &[&one[..], args].concat())
}

fn photo() -> Vec<u8> {
    fixture_bytes("photos/espresso.png")
}

fn post(server: &Process, body: &[u8]) -> Answer {
    let url = format!("http://{}/classify", server.address);
    Answer::of(agent().post(url).send(body))
}

/// The results for a request of the photo `N` times.
fn post_photos<const N: usize>(server: &Process) -> Vec<Value> {
    let photo = photo();
    let (content_type, body) = multipart(&[("file", &photo[..]); N]);
    let url = format!("http://{}/classify", server.address);
    let request = agent().post(url).content_type(&content_type);
    let answer = Answer::of(request.send(&body[..])).ok();
    answer["results"].as_array().unwrap().clone()
}

fn get(server: &Process, path: &str) -> Answer {
    let url = format!("http://{}{path}", server.address);
    Answer::of(agent().get(url).call())
}

fn metric(server: &Process, line: &str) -> Option<f64> {
    let text = String::from_utf8(get(server, "/metrics").body).unwrap();
    let value = text.lines().find_map(|l| l.strip_prefix(line));
    value.map(|v| v.trim().parse().unwrap())
}

/// The server lives and answers the photo as ever.
fn assert_unharmed(server: &Process) {
    assert_eq!(get(server, "/livez").status, 200);
    assert_eq!(get(server, "/readyz").status, 200);
    let answer = post(server, &photo()).ok();
    assert_eq!(answer["predictions"][0]["label"], "espresso");
    assert_eq!(metric(server, "resnet_requests_in_flight "), Some(1.0));
}

fn status_and_code(answer: &Answer) -> (u16, String) {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        !text.contains("a test wants") && !text.contains("panicked"),
        "{text}"
    );
    (answer.status, answer.code())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[test]
fn panicking_handler_costs_its_request() {
    let server = serve("http-handler=1*panic", &[]);
    assert_eq!(
        status_and_code(&post(&server, &photo())),
        refused(500, "internal")
    );
    assert_unharmed(&server);
}

#[test]
fn panicking_decoder_costs_its_image() {
    let server = serve("decode=1*off->1*panic", &[]);
    let results = post_photos::<3>(&server);
    assert_eq!(results[1]["code"], "image_corrupt");
    assert!(results[0]["predictions"].is_array() && results[2]["predictions"].is_array());
    let panics = metric(&server, "resnet_decode_panics_total{format=\"png\"}");
    assert_eq!(panics, Some(1.0));
    assert_unharmed(&server);
}

#[test]
fn image_that_gets_no_memory_costs_its_request() {
    let server = serve("decode-allocation=1*return", &[]);
    let answer = post(&server, &photo());
    assert_eq!(status_and_code(&answer), refused(503, "out_of_memory"));
    assert!(answer.header("retry-after").is_some());
    assert_unharmed(&server);
}

#[test]
fn panic_in_a_batch_costs_a_lone_image_and_no_batch() {
    // The first run is the warm-up.
    let server = serve("engine-run=1*off->1*panic", &[]);
    assert_eq!(
        status_and_code(&post(&server, &photo())),
        refused(500, "internal")
    );
    assert_unharmed(&server);

    let server = serve("engine-run=2*off->1*panic", &[]);
    let alone = post(&server, &photo()).ok();
    let results = post_photos::<4>(&server);
    // Whichever of them met the panic together ran again in halves; one that met it alone has failed.
    let failed = results
        .iter()
        .filter(|r| r["predictions"] != alone["predictions"]);
    assert!(failed.count() <= 1, "{results:?}");
    assert_unharmed(&server);
}

#[test]
fn dead_worker_is_replaced() {
    let server = serve("worker=1*panic", &[]);
    assert_eq!(
        status_and_code(&post(&server, &photo())),
        refused(500, "internal")
    );
    eventually("another has started", || {
        metric(&server, "resnet_worker_restarts_total ") == Some(1.0)
    });
    assert_unharmed(&server);
}

#[test]
fn workers_that_die_one_after_the_other_end_the_server_with_code_70() {
    let mut server = serve("worker=panic", &["--shutdown-delay", "2s"]);
    let photo = photo();
    let mut answers = Vec::new();
    let mut not_ready = false;
    let url = format!("http://{}", server.address);
    let status = loop {
        if let Some(status) = server.child.try_wait().unwrap() {
            break status;
        }
        if let Ok(response) = agent().post(format!("{url}/classify")).send(&photo[..]) {
            answers.push(response.status().as_u16());
        }
        if let Ok(response) = agent().get(format!("{url}/readyz")).call() {
            not_ready |= response.status() == 503;
        }
    };
    assert_eq!(status.code(), Some(70));
    // One may still be taken in before the sixth death is noticed.
    let failed = answers.iter().filter(|&&s| s == 500).count();
    assert!((6..=7).contains(&failed), "{answers:?}");
    assert!(
        answers.iter().all(|s| [500, 503].contains(s)),
        "{answers:?}"
    );
    assert!(not_ready, "a probe sees it");
    let what = "giving up: more than 5 engine threads died within 60 s";
    server.log.line(what, |l| {
        l["message"].as_str().is_some_and(|m| m.contains(what))
    });
}

#[test]
fn worker_that_cannot_be_replaced_ends_the_server_with_the_reason() {
    // The first thread is started, the second is not.
    let mut server = serve("worker=panic; start-worker=1*off->return", &[]);
    let answer = post(&server, &photo());
    assert_eq!(status_and_code(&answer), refused(500, "internal"));
    assert_eq!(server.child.wait().unwrap().code(), Some(70));
    let log = server.log.whole();
    let said = |what: &str| {
        let mut messages = log.iter().filter_map(|l| l["message"].as_str());
        messages.any(|m| m.contains(what))
    };
    assert!(!said("more than 5 engine threads"), "{log:?}");
    let why =
        "giving up: an engine thread died and another cannot be started: a test wants no thread";
    assert!(said(why), "{log:?}");
}

#[test]
fn probes_are_answered_while_a_large_json_body_is_taken_apart() {
    let server = serve("large-json=1*sleep(2000)", &[]);
    // Behind the photo come 300 KiB of line ends, which base64 may have.
    let photo = base64::engine::general_purpose::STANDARD.encode(photo());
    let body = serde_json::json!({ "image": photo + &"\n".repeat(300 << 10) }).to_string();
    let url = format!("http://{}/classify", server.address);
    let slowest = thread::scope(|scope| {
        let request = agent().post(url).content_type("application/json");
        let answer = scope.spawn(move || Answer::of(request.send(body.as_bytes())));
        let mut slowest = Duration::ZERO;
        while !answer.is_finished() {
            let start = Instant::now();
            assert_eq!(get(&server, "/livez").status, 200);
            slowest = slowest.max(start.elapsed());
        }
        let answer = answer.join().unwrap().ok();
        assert_eq!(answer["predictions"][0]["label"], "espresso");
        slowest
    });
    // One that had to wait for the body would take the two seconds.
    assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
    assert_unharmed(&server);
}

/// Stuck for three seconds at `fault`; what clients see meanwhile, and after it.
fn stuck_at(fault: &str, pool: &str) {
    let server = serve(
        &format!("{fault}1*sleep(3000)"),
        &[
            "--watchdog-timeout",
            "500ms",
            "--decode-timeout",
            "400ms",
            "--request-timeout",
            "1s",
        ],
    );
    thread::scope(|scope| {
        let start = Instant::now();
        let late = scope.spawn(|| post(&server, &photo()));
        eventually("the probe sees it", || get(&server, "/livez").status == 503);
        let probe = get(&server, "/livez");
        assert_eq!(status_and_code(&probe), refused(503, "stuck"));
        let detail = probe.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&format!("a {pool} thread")), "{detail}");
        assert_eq!(
            status_and_code(&post(&server, &photo())),
            refused(503, "stuck")
        );
        let late = late.join().unwrap();
        assert_eq!(status_and_code(&late), refused(504, "deadline_exceeded"));
        assert!(start.elapsed() >= Duration::from_secs(1));
    });
    eventually("it gets on", || get(&server, "/livez").status == 200);
    assert_unharmed(&server);
}

#[test]
fn stuck_worker_turns_liveness_off() {
    stuck_at("engine-run=1*off->", "engine");
}

#[test]
fn stuck_decoder_turns_liveness_off() {
    stuck_at("decode=", "prep");
}

#[test]
fn stopped_process_goes_on_where_it_was() {
    let server = serve("", &[]);
    server.signal("STOP");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| post(&server, &photo()));
        // The kernel takes the connection; nobody answers.
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(1500) {
            assert!(!waiting.is_finished());
            thread::sleep(Duration::from_millis(10));
        }
        server.signal("CONT");
        waiting.join().unwrap().ok();
    });
    assert_unharmed(&server);
}

#[test]
fn full_disk_ends_a_pull_with_its_reason_and_nothing_half_done() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("resnet18-v1-7.onnx");
    // Only the size is the model's: the first write fails.
    let bytes = Catalog::builtin().find("resnet18").unwrap().bytes;
    std::fs::File::create(&file)
        .unwrap()
        .set_len(bytes)
        .unwrap();
    let models = dir.path().join("models");
    let output = pull(
        &["--from", file.to_str().unwrap()],
        &models,
        "pull-write=return",
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("no space left for") && said.contains("0 of "),
        "{said}"
    );
    let list = resnet()
        .args(["ls", "--json", "--models-dir"])
        .arg(&models)
        .output()
        .unwrap();
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert!(!list.to_string().contains("\"pulled\""), "{list}");
}

fn pull(args: &[&str], models: &std::path::Path, faults: &str) -> std::process::Output {
    let mut command: Command = resnet();
    command
        .env("RESNET_FAULTS", faults)
        .args(["pull", "resnet18", "--models-dir"]);
    command.arg(models).args(args).output().unwrap()
}
