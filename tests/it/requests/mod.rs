//! Requests nobody thought of, over a socket: whatever comes, the answer is HTTP, documented and tells nothing, and the
//! server lives.

mod any;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::LazyLock;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use self::any::{Sent, any_request};
use crate::harness::{Settings, TestServer, eventually, fixture_bytes, tiny};
use crate::hostile::SECRETS;

static SERVER: LazyLock<TestServer> = LazyLock::new(|| {
    let settings = Settings {
        max_body_bytes: 1 << 18,
        // What is announced and never comes costs the test this long.
        body_timeout: Duration::from_secs(1),
        ..Settings::default()
    };
    TestServer::start(vec![tiny()], &settings)
});

/// Status and code of each problem in `docs/API.md`.
static DOCUMENTED: LazyLock<BTreeSet<(u16, String)>> = LazyLock::new(|| {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/API.md");
    let text = std::fs::read_to_string(path).unwrap();
    let problems: BTreeSet<_> = text
        .lines()
        .filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let status = cells.next()?.parse().ok()?;
            Some((status, cells.next()?.trim_matches('`').to_owned()))
        })
        .collect();
    assert!(problems.len() > 20, "the table of problems is found");
    problems
});

impl Sent {
    /// Everything the server answers. Whoever sends a damaged head may leave the server waiting for its rest, so it
    /// closes its half; then the server need not answer.
    fn send(&self) -> Vec<u8> {
        let mut stream = TcpStream::connect(SERVER.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let _ = stream.write_all(&self.bytes()); // the server may refuse before it has read everything
        if !self.damage.is_empty() {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // a reset after the answer is an end too
        answer
    }
}

/// One answer, and what follows it.
struct Parsed<'a> {
    status: u16,
    head: &'a str,
    rest: &'a [u8],
}

fn parse(bytes: &[u8]) -> Parsed<'_> {
    let at = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a whole head");
    let head = std::str::from_utf8(&bytes[..at]).expect("a head of plain text");
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap();
    assert!(
        line.starts_with("HTTP/1.1 ") || line.starts_with("HTTP/1.0 "),
        "{line}"
    );
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("{line}"));
        assert!(
            !name.is_empty()
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{line}"
        );
        assert!(!value.contains(['\r', '\n']), "{line}");
    }
    Parsed {
        status: line[9..12].parse().unwrap(),
        head,
        rest: &bytes[at + 4..],
    }
}

impl<'a> Parsed<'a> {
    fn field(&self, name: &str) -> Option<&'a str> {
        let mut lines = self
            .head
            .split("\r\n")
            .skip(1)
            .filter_map(|l| l.split_once(": "));
        lines.find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    fn body(&self) -> &'a [u8] {
        let length = self
            .field("content-length")
            .map_or(0, |v| v.parse().unwrap());
        assert!(
            self.rest.len() >= length,
            "the body is cut: {} of {length} bytes",
            self.rest.len()
        );
        &self.rest[..length]
    }
}

fn check(sent: &Sent, answer: &[u8]) {
    if answer.is_empty() {
        assert!(!sent.damage.is_empty(), "no answer");
        return;
    }
    let mut parsed = parse(answer);
    while parsed.status == 100 {
        if parsed.rest.is_empty() && !sent.damage.is_empty() {
            return;
        }
        parsed = parse(parsed.rest);
    }
    let text = String::from_utf8_lossy(answer);
    let status = parsed.status;
    if parsed.field("x-request-id").is_none() {
        // The HTTP library's own answers, to what is no HTTP.
        assert!(matches!(status, 400 | 414 | 431), "{text}");
        assert!(parsed.rest.is_empty(), "{text}");
        return;
    }
    // A damaged method may be HEAD, or none.
    let has_body = sent.method != "HEAD" && sent.damage.is_empty();
    if status == 200 {
        if has_body && parsed.field("content-type") == Some("application/json") {
            let body: Value = serde_json::from_slice(parsed.body()).expect("JSON");
            assert!(body.is_object(), "{text}");
        }
        return;
    }
    if status == 204 {
        let is_options = sent.method == "OPTIONS" || !sent.damage.is_empty();
        assert!(is_options && parsed.field("allow").is_some(), "{text}");
        return;
    }
    let request = String::from_utf8_lossy(&sent.bytes()).into_owned();
    for secret in SECRETS {
        assert!(
            !text.contains(secret) || request.contains(secret),
            "{secret:?} in {text}"
        );
    }
    assert_ne!(status, 500, "{text}");
    assert!(
        DOCUMENTED.iter().any(|(s, _)| *s == status),
        "{status} is in no documentation: {text}"
    );
    assert_eq!(
        parsed.field("content-type"),
        Some("application/problem+json"),
        "{text}"
    );
    // RFC 9110 section 10.2.1: any other answer may tell it too.
    assert!(status != 405 || parsed.field("allow").is_some(), "{text}");
    assert_eq!(
        status == 503,
        parsed.field("retry-after").is_some(),
        "{text}"
    );
    if has_body {
        let problem: Value = serde_json::from_slice(parsed.body()).expect("JSON");
        let code = problem["code"].as_str().expect("a code");
        assert!(
            DOCUMENTED.contains(&(status, code.to_owned())),
            "{status} {code} is in no documentation"
        );
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"].as_str(), parsed.field("x-request-id"));
        assert_eq!(problem["type"], format!("urn:resnet:problem:{code}"));
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{text}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_request_gets_a_documented_answer(sent in any_request()) {
        check(&sent, &sent.send());
        prop_assert_eq!(SERVER.get("/livez").status, 200);
    }
}

#[test]
fn after_any_requests_a_photo_gets_its_answer_and_nothing_is_in_flight() {
    let photo = fixture_bytes("photos/espresso.png");
    let before = SERVER.post("/classify", &photo).ok();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 50,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let requests = prop::collection::vec(any_request(), 1..4);
    let result = runner.run(&requests, |requests| {
        // At once, so that they meet in the queue.
        std::thread::scope(|scope| {
            let sending: Vec<_> = requests
                .iter()
                .map(|sent| scope.spawn(|| check(sent, &sent.send())))
                .collect();
            sending.into_iter().for_each(|s| s.join().unwrap());
        });
        Ok(())
    });
    result.unwrap();
    eventually("nothing is in flight", || {
        SERVER.metrics.requests_in_flight.get() == 0
    });
    assert_eq!(SERVER.post("/classify", &photo).ok(), before);
}
