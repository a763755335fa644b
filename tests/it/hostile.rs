//! Damaged, empty, huge, wrong-type and hostile bodies: the documented 4xx, and the next good photo is classified.

use std::io::Write;
use std::sync::LazyLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Answer, Process, Settings, TestServer, agent, fixture_bytes, fixture_json, multipart, raw, tiny,
};

static SERVER: LazyLock<TestServer> = LazyLock::new(|| {
    let settings = Settings {
        max_body_bytes: 1 << 20,
        body_timeout: Duration::from_secs(1),
        ..Settings::default()
    };
    TestServer::start(vec![tiny()], &settings)
});
static ESPRESSO: LazyLock<Vec<u8>> = LazyLock::new(|| fixture_bytes("photos/espresso.png"));
static GOLDEN: LazyLock<Value> = LazyLock::new(|| SERVER.post("/classify", &ESPRESSO).ok());

/// The server lives and its answers are what they were.
fn assert_unharmed(after: &str) {
    assert_eq!(SERVER.get("/livez").status, 200, "after {after}");
    assert_eq!(
        SERVER.post("/classify", &ESPRESSO).ok(),
        *GOLDEN,
        "after {after}"
    );
}

/// What an answer never contains: words of libraries and of this machine.
pub(crate) const SECRETS: [&str; 13] = [
    "panicked",
    "src/",
    ".rs:",
    "0x",
    "::",
    "zune",
    "image::",
    "Decoding(",
    "/root",
    "tract",
    "JsonBody",
    "struct",
    "serde",
];

/// Nothing in an answer may come from a library or this machine.
fn assert_tells_nothing(answer: &str) {
    for secret in SECRETS {
        assert!(!answer.contains(secret), "{secret:?} in {answer}");
    }
}

#[test]
fn hostile_files_get_their_status_and_code() {
    let _ = &*GOLDEN;
    for (name, want) in hostile_files() {
        let answer = SERVER.post("/classify", &fixture_bytes(&name));
        let contains = |list: &Value, value: Value| list.as_array().unwrap().contains(&value);
        assert!(
            contains(&want["status"], json!(answer.status)),
            "{name}: {} not in {}",
            answer.status,
            want["status"]
        );
        if answer.status != 200 {
            assert!(
                contains(&want["codes"], json!(answer.code())),
                "{name}: {} {}",
                answer.code(),
                want["codes"]
            );
        }
        assert_tells_nothing(&String::from_utf8_lossy(&answer.body));
        assert_unharmed(&name);
    }
}

/// Path, and what is expected of each hostile file.
fn hostile_files() -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let optional = [
        cfg!(feature = "heic").then_some("heic/hostile"),
        cfg!(feature = "avif").then_some("avif/hostile"),
        cfg!(feature = "jxl").then_some("jxl/hostile"),
    ];
    for folder in ["hostile"]
        .into_iter()
        .chain(optional.into_iter().flatten())
    {
        let expected = fixture_json(&format!("{folder}/expected.json"));
        let files = expected["files"].as_object().unwrap();
        assert!(files.len() >= 25, "{folder}");
        all.extend(
            files
                .iter()
                .map(|(name, want)| (format!("{folder}/{name}"), want.clone())),
        );
    }
    all
}

#[test]
fn hostile_files_take_little_memory() {
    let server = Process::start(&[]);
    let url = format!("http://{}/classify", server.address);
    for (name, _) in hostile_files() {
        let bytes = fixture_bytes(&name);
        let answer = Answer::of(agent().post(&url).send(&bytes[..]));
        assert_ne!(answer.status, 500, "{name}");
    }
    // The largest of them that is valid has 50 million grey pixels: 50 MB, and 150 MB as RGB.
    let peak_kb = server.peak_memory_kb();
    assert!(peak_kb < 400 << 10, "peak of {peak_kb} kB");
}

#[test]
fn refusal_before_the_body_is_read_reaches_a_client_that_is_still_writing() {
    let megabytes = vec![0xFF; 3 << 20];
    for (path, status) in [
        ("/classify?top_k=0", 400),
        ("/classify?model=nope", 404),
        ("/nope", 404),
        ("/metrics", 405),
    ] {
        assert_eq!(SERVER.post(path, &megabytes).status, status, "{path}");
    }
}

#[test]
fn json_flood_is_counted_not_kept() {
    let flood = format!("{{\"images\":[{}\"\"]}}", "\"\",".repeat(300_000));
    let answer = SERVER.post_as("/classify", "application/json", flood.as_bytes());
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "too_many_images")
    );
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("300001 images, allowed are 32")
    );
}

#[test]
fn slow_uploads_keep_no_place_for_long() {
    let settings = Settings {
        queue_capacity: 9,
        ..Settings::default()
    };
    let server = TestServer::start(vec![tiny()], &settings);
    let slow: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(server.address).unwrap();
            stream
                .write_all(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
                .unwrap();
            stream
        })
        .collect();
    crate::harness::eventually("all are being read", || {
        server.metrics.requests_in_flight.get() == 8
    });
    crate::harness::eventually("their places are free again", || {
        server.post("/classify", &ESPRESSO).status == 200
    });
    assert_eq!(
        server.metrics.requests_in_flight.get(),
        8,
        "while they are still being read"
    );
    drop(slow);
}

#[test]
fn malformed_bodies_get_400() {
    let (good_type, good_body) = multipart(&[("file", &ESPRESSO)]);
    let (_, other_field) = multipart(&[("photo", b"x")]);
    let (_, ten_thousand) = multipart(&vec![("x", &b""[..]); 10_000]);
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let long_boundary = format!("multipart/form-data; boundary={}", "-".repeat(5_000));
    let cases: Vec<(&str, &str, &[u8], u16, &str)> = vec![
        ("empty raw", "image/jpeg", b"", 400, "empty_body"),
        (
            "no boundary",
            "multipart/form-data",
            &good_body,
            400,
            "bad_multipart",
        ),
        (
            "long boundary",
            &long_boundary,
            &good_body,
            400,
            "bad_multipart",
        ),
        (
            "cut multipart",
            &good_type,
            &good_body[..good_body.len() / 2],
            400,
            "bad_multipart",
        ),
        (
            "other field",
            &good_type,
            &other_field,
            400,
            "bad_multipart",
        ),
        ("empty multipart", &good_type, b"", 400, "bad_multipart"),
        (
            "many parts",
            &good_type,
            &ten_thousand,
            400,
            "bad_multipart",
        ),
        ("empty JSON", "application/json", b"", 400, "bad_json"),
        ("not JSON", "application/json", &ESPRESSO, 400, "bad_json"),
        ("JSON list", "application/json", b"[]", 400, "bad_json"),
        ("no image", "application/json", b"{}", 400, "bad_json"),
        (
            "both",
            "application/json",
            br#"{"image":"","images":[]}"#,
            400,
            "bad_json",
        ),
        (
            "no images",
            "application/json",
            br#"{"images":[]}"#,
            400,
            "bad_json",
        ),
        (
            "number",
            "application/json",
            br#"{"image":1e309}"#,
            400,
            "bad_json",
        ),
        (
            "surrogate",
            "application/json",
            br#"{"image":"\ud800"}"#,
            400,
            "bad_json",
        ),
        (
            "URL",
            "application/json",
            br#"{"url":"http://169.254.169.254/"}"#,
            400,
            "bad_json",
        ),
        (
            "deep JSON",
            "application/json; charset=utf-8",
            deep.as_bytes(),
            400,
            "bad_json",
        ),
        (
            "not base64",
            "application/json",
            br#"{"image":"no_base64"}"#,
            400,
            "bad_base64",
        ),
        (
            "empty base64",
            "application/json",
            br#"{"image":""}"#,
            400,
            "empty_body",
        ),
        (
            "base64 of text",
            "application/json",
            br#"{"image":"aGVsbG8="}"#,
            415,
            "unsupported_media_type",
        ),
    ];
    let _ = &*GOLDEN;
    for (name, content_type, body, status, code) in cases {
        let answer = SERVER.post_as("/classify", content_type, body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{name}: {answer:?}"
        );
        assert_tells_nothing(&String::from_utf8_lossy(&answer.body));
        assert_unharmed(name);
    }
}

#[test]
fn thirty_three_images_are_too_many() {
    let images: Vec<&str> = vec!["aGVsbG8="; 33];
    let answer = SERVER.post_json("/classify", &json!({"images": images}));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "too_many_images")
    );
    let answer = SERVER
        .post_json("/classify", &json!({"images": images[..32]}))
        .ok();
    assert_eq!(answer["results"].as_array().unwrap().len(), 32);
}

#[test]
fn body_over_the_limit_is_413_and_the_client_reads_it() {
    let announced = SERVER.post("/classify", &vec![0; (1 << 20) + 1]);
    assert_eq!(
        (announced.status, announced.code().as_str()),
        (413, "body_too_large")
    );
    assert!(
        announced.json()["detail"]
            .as_str()
            .unwrap()
            .contains("1048577 bytes, allowed are 1048576")
    );

    let mut chunked =
        b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..40 {
        chunked.extend(b"10000\r\n");
        chunked.resize(chunked.len() + 0x10000, 0xFF);
        chunked.extend(b"\r\n");
    }
    let answer = raw(SERVER.address, &chunked);
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("body_too_large"),
        "{answer}"
    );
    assert!(answer.contains("connection: close"), "{answer}");
    assert_unharmed("large bodies");
}

#[test]
fn too_large_body_is_refused_without_100_continue() {
    let head = "POST /classify HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    let answer = raw(SERVER.address, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[test]
fn body_that_does_not_arrive_is_408() {
    let answer = raw(
        SERVER.address,
        b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n\xFF\xD8\xFF",
    );
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("body_timeout"),
        "{answer}"
    );
    assert_unharmed("a slow body");
}

#[test]
fn compressed_bodies_are_415() {
    let request = "POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x0f";
    let answer = raw(SERVER.address, request.as_bytes());
    assert!(
        answer.starts_with("HTTP/1.1 415 ") && answer.contains("unsupported_content_encoding"),
        "{answer}"
    );
}

#[test]
fn garbage_on_the_socket_harms_nobody() {
    let many_headers = format!("GET /livez HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(5_000));
    let cases: [&[u8]; 8] = [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /%ff%00/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        many_headers.as_bytes(),
    ];
    let _ = &*GOLDEN;
    for (i, case) in cases.iter().enumerate() {
        let answer = raw(SERVER.address, case);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
            "case {i}: {answer}"
        );
        assert_tells_nothing(&answer);
        assert_unharmed(&format!("garbage {i}"));
    }
}

#[test]
fn client_that_leaves_halfway_is_forgotten() {
    let mut stream = std::net::TcpStream::connect(SERVER.address).unwrap();
    stream
        .write_all(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        .unwrap();
    drop(stream);
    assert_unharmed("a client that left");
    let in_flight = || SERVER.metrics.requests_in_flight.get();
    crate::harness::eventually("its request is no longer counted", || in_flight() <= 1);
}
