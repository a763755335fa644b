//! API keys and the headers of every answer: who is let in, what is said to the others, and that no key is ever told.

use std::fs;
use std::path::Path;

use resnet::desk::KeySet;
use serde_json::Value;

use crate::fake::{FakeModel, plain_png};
use crate::harness::{
    Answer, Process, Settings, TestServer, agent, eventually, multipart, raw, resnet,
};

const ALICE: &str = "alices-very-own-key-1";
const BOB: &str = "bobs-very-own-key-2";

fn keys(text: &str) -> KeySet {
    KeySet::parse("test", text).unwrap()
}

/// A server that alice and bob may use.
fn locked() -> TestServer {
    let (model, _) = FakeModel::loaded("fake");
    let server = TestServer::start(vec![model], &Settings::default());
    server
        .desk
        .set_keys(keys(&format!("alice:{ALICE}\nbob:{BOB}\n")));
    server
}

/// Status, code and challenge of a GET of `/models` with these header lines.
fn door(server: &TestServer, lines: &str) -> (u16, bool) {
    let head = format!("GET /models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n");
    let answer = raw(server.address, head.as_bytes());
    let status = answer[9..12].parse().unwrap();
    let challenged = answer.contains("\r\nwww-authenticate: Bearer realm=\"resnet\"\r\n");
    if status == 401 {
        assert!(answer.contains("\"code\":\"unauthorized\""), "{answer}");
    }
    assert!(!answer.contains("very-own-key"), "{answer}");
    (status, challenged)
}

#[test]
fn right_key_opens_in_either_header_and_any_case_of_the_scheme() {
    let server = locked();
    for lines in [
        format!("Authorization: Bearer {ALICE}\r\n"),
        format!("authorization: bearer {BOB}\r\n"),
        format!("AUTHORIZATION: BEARER   {BOB}  \r\n"),
        format!("X-API-Key: {ALICE}\r\n"),
        format!("Authorization: Basic YTpi\r\nX-API-Key: {ALICE}\r\n"),
        format!("Authorization: Bearer a.gateways.token\r\nX-API-Key: {ALICE}\r\n"),
        format!("Authorization: Bearer {ALICE}\r\nX-API-Key: {ALICE}\r\n"),
        format!("X-API-Key: {ALICE}\r\nX-API-Key: {ALICE}\r\n"),
        format!("Authorization: Bearer {ALICE}\r\nX-API-Key: \r\n"),
    ] {
        assert_eq!(door(&server, &lines), (200, false), "{lines}");
    }
}

#[test]
fn missing_wrong_and_ambiguous_keys_are_401_with_a_challenge() {
    let server = locked();
    let long = "k".repeat(20_000);
    for lines in [
        String::new(),
        "Authorization: \r\n".into(),
        "Authorization: Bearer\r\n".into(),
        "Authorization: Bearer \r\n".into(),
        "Authorization: Bearer wrong\r\n".into(),
        "X-API-Key: \r\n".into(),
        "X-API-Key: wrong\r\n".into(),
        "X-API-Key: \u{fc}\r\n".into(),
        format!("Authorization: {ALICE}\r\n"),
        format!("Authorization: Basic {ALICE}\r\n"),
        format!("Authorization: Bearer{ALICE}\r\n"),
        format!("Authorization: Bearer {}\r\n", &ALICE[..ALICE.len() - 1]),
        format!("Authorization: Bearer {ALICE}x\r\n"),
        format!("Authorization: Bearer {}\r\n", ALICE.to_uppercase()),
        format!("Authorization: Bearer {ALICE},{BOB}\r\n"),
        format!("Authorization: Bearer {long}\r\n"),
        format!("Authorization: Bearer {ALICE}\r\nAuthorization: Bearer {ALICE}\r\n"),
        format!("Authorization: Bearer wrong\r\nAuthorization: Bearer {ALICE}\r\n"),
        format!("X-API-Key: {ALICE}\r\nX-API-Key: {BOB}\r\n"),
        format!("Authorization: Bearer {ALICE}\r\nX-API-Key: wrong\r\n"),
    ] {
        let shown: String = lines.chars().take(80).collect();
        assert_eq!(door(&server, &lines), (401, true), "{shown}");
    }
    // A megabyte is more than a head may have: whoever refuses it, nobody is let in.
    let head = format!(
        "GET /models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        "k".repeat(1 << 20)
    );
    let answer = raw(server.address, head.as_bytes());
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
        "{answer}"
    );
    assert_eq!(
        door(&server, &format!("X-API-Key: {ALICE}\r\n")),
        (200, false)
    );
}

#[test]
fn everything_but_probes_metrics_and_index_needs_a_key() {
    let server = locked();
    for path in [
        "/",
        "/livez",
        "/healthz",
        "/readyz",
        "/ping",
        "/v2/health/live",
        "/v2/health/ready",
        "/metrics",
        "/page/app.js",
    ] {
        assert_eq!(server.get(path).status, 200, "{path}");
        // a key that is none does no harm there
        let answer = agent()
            .get(server.url(path))
            .header("x-api-key", "wrong")
            .call();
        assert_eq!(Answer::of(answer).status, 200, "{path}");
    }
    for path in [
        "/models",
        "/models/fake",
        "/nope",
        "/page",
        "/metrics/",
        "/livez/..",
        "//metrics",
        "/%6detrics",
    ] {
        let answer = server.get(path);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (401, "unauthorized"),
            "{path}"
        );
    }
    for path in ["/classify", "/models/fake/classify", "/classify?top_k=0"] {
        assert_eq!(server.post(path, &plain_png(1)).status, 401, "{path}");
    }
    let answer = agent()
        .post(server.url("/classify"))
        .header("authorization", format!("Bearer {ALICE}"))
        .send(&plain_png(1)[..]);
    Answer::of(answer).ok();
}

#[test]
fn wrong_key_is_refused_before_the_body_is_asked_for() {
    let server = locked();
    // A client that waits for "100 Continue" hears the final status alone, and has sent nothing.
    let head = "POST /classify HTTP/1.1\r\nHost: x\r\nX-API-Key: wrong\r\nContent-Length: 1000000\r\n\
                Expect: 100-continue\r\nConnection: close\r\n\r\n";
    let answer = raw(server.address, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    assert!(!answer.contains("100 Continue"), "{answer}");
    // One that sends all the same, reads the answer instead of a reset.
    let answer = server.post("/classify", &vec![0xFF; 3 << 20]);
    assert_eq!(answer.status, 401);
}

#[test]
fn keys_that_are_exchanged_count_from_the_next_request() {
    let server = locked();
    let with = |key: &str| door(&server, &format!("X-API-Key: {key}\r\n")).0;
    assert_eq!((with(ALICE), with(BOB)), (200, 200));
    server.desk.set_keys(keys(&format!("bob:{BOB}\n")));
    assert_eq!((with(ALICE), with(BOB)), (401, 200));
}

#[test]
fn urls_are_not_fetched() {
    let (model, _) = FakeModel::loaded("fake");
    let server = TestServer::start(vec![model], &Settings::default());
    for url in [
        "http://169.254.169.254",
        "http://127.0.0.1/",
        "file:///etc/passwd",
        "gopher://x",
    ] {
        for body in [
            format!("{{\"url\":\"{url}\"}}"),
            format!("{{\"image\":\"{url}\"}}"),
            format!("{{\"images\":[{{\"url\":\"{url}\"}}]}}"),
            format!("{{\"image_url\":{{\"url\":\"{url}\"}}}}"),
        ] {
            let answer = server.post_as("/classify", "application/json", body.as_bytes());
            assert_eq!(answer.status, 400, "{body}");
            answer.code();
        }
        let answer = server.post("/classify", url.as_bytes());
        assert_eq!(answer.status, 415, "{url}");
        let (content_type, body) = multipart(&[("url", url.as_bytes())]);
        assert_eq!(
            server.post_as("/classify", &content_type, &body).status,
            400,
            "{url}"
        );
        let path = format!("/classify?url={url}");
        assert_eq!(server.post(&path, &plain_png(1)).status, 400, "{url}");
    }
}

#[test]
fn every_answer_has_its_security_headers_and_none_of_cors() {
    let server = locked();
    let preflight = |path: &str, key: &str| {
        format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\nX-API-Key: {key}\r\n\
             Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n"
        )
    };
    let get = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example\r\nX-API-Key: {ALICE}\r\n\
             Connection: close\r\n\r\n"
        )
    };
    for (request, status) in [
        (preflight("/classify", ALICE), 204),
        (preflight("/livez", ""), 204),
        (preflight("/classify", ""), 204),
        (preflight("/nope", ""), 404),
        (get("/models"), 200),
        (get("/"), 200),
        (get("/livez"), 200),
        (get("/metrics"), 200),
        (get("/nope"), 404),
        (get("/classify"), 405),
    ] {
        let answer = raw(server.address, request.as_bytes());
        let (head, _) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        for line in ["x-content-type-options: nosniff", "cache-control: no-store"] {
            assert_eq!(
                head.lines().filter(|l| *l == line).count(),
                1,
                "{line}: {head}"
            );
        }
        assert!(!head.contains("access-control-"), "{head}");
    }
}

/// The answer to a GET of `/models` with this key.
fn asked_with(server: &Process, key: &str) -> u16 {
    let url = format!("http://{}/models", server.address);
    let answer = agent()
        .get(url)
        .header("authorization", format!("Bearer {key}"))
        .call();
    Answer::of(answer).status
}

/// Stops the server and gives all that it has logged.
fn log_text(mut server: Process) -> String {
    server.signal("TERM");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    let lines: Vec<_> = server.log.whole().iter().map(Value::to_string).collect();
    lines.join("\n")
}

/// A path as an argument.
fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn file_is_read_again_on_sighup_and_a_bad_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    fs::write(&file, format!("# clients\nalice:{ALICE}\n")).unwrap();
    let server = Process::start(&["--api-keys-file", arg(&file)]);
    assert_eq!(
        (asked_with(&server, ALICE), asked_with(&server, BOB)),
        (200, 401)
    );

    fs::write(&file, format!("alice:{ALICE}\nbob:{BOB}\n")).unwrap();
    server.signal("HUP");
    eventually("bob is known", || asked_with(&server, BOB) == 200);
    assert_eq!(asked_with(&server, ALICE), 200);

    for (content, rule) in [
        (
            Some(format!("bob:{BOB}\nsecret-without-name\n")),
            "line 2: a line is",
        ),
        (Some("# nobody\n".into()), "holds no key"),
        (None, "cannot be read"),
    ] {
        match content {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        server.signal("HUP");
        server.log.line(rule, |l| {
            let message = l["message"].as_str().unwrap_or_default();
            l["level"] == "ERROR"
                && message.contains("the API keys stay what they were")
                && message.contains(rule)
        });
        assert_eq!(
            (asked_with(&server, ALICE), asked_with(&server, BOB)),
            (200, 200)
        );
    }

    // Where everyone must come with a new key, the old one is worth nothing.
    fs::write(&file, format!("bob:{BOB}\n")).unwrap();
    server.signal("HUP");
    eventually("alice is out", || asked_with(&server, ALICE) == 401);
    assert_eq!(asked_with(&server, BOB), 200);
    assert!(!log_text(server).contains("secret-without-name"));
}

#[test]
fn sighup_without_files_is_survived() {
    let server = Process::start(&[]);
    server.signal("HUP");
    server
        .log
        .message("SIGHUP: no file of a served model has changed");
    assert_eq!(asked_with(&server, "any"), 200);
    log_text(server);
}

#[test]
fn log_names_the_key_and_nothing_holds_the_key_itself() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    fs::write(&file, format!("alice:{ALICE}\n")).unwrap();
    // of every crate, as far as they log at all
    let levels = "trace,hyper=trace,axum=trace,tower_http=trace";
    let server = Process::start_with_env(
        &["--api-keys-file", arg(&file), "--log-level", levels],
        &[("RESNET_API_KEYS", &format!("bob:{BOB}"))],
    );
    assert_eq!(
        (asked_with(&server, ALICE), asked_with(&server, BOB)),
        (200, 200)
    );
    let wrong = "wrong-very-own-key-3";
    assert_eq!(asked_with(&server, wrong), 401);
    let image = b"bytes-of-a-private-photo-very-own-key";
    let url = format!("http://{}/classify", server.address);
    let answer = agent()
        .post(url)
        .header("x-api-key", ALICE)
        .send(&image[..]);
    assert_eq!(Answer::of(answer).status, 415);
    let livez = format!("http://{}/livez", server.address);
    assert_eq!(Answer::of(agent().get(livez).call()).status, 200);
    for (key, status) in [("alice", 200), ("bob", 200), ("alice", 415)] {
        server.log.line("an answer by its key", |l| {
            l["message"] == "answered" && l["key"] == key && l["status"] == status
        });
    }
    server.log.line("a refusal without a key", |l| {
        l["code"] == "unauthorized" && l["status"] == 401 && l["key"].is_null()
    });
    // a probe's line shows that the filter was understood
    server.log.line("a probe", |l| {
        l["level"] == "DEBUG" && l["path"] == "/livez"
    });
    let log = log_text(server);
    for secret in ["very-own-key", "private-photo"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn help_and_errors_hold_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    fs::write(&file, format!("al ice:{ALICE}\n")).unwrap();
    let run = |args: &[&str], variable: &str| {
        let output = resnet()
            .args(args)
            .env("RESNET_API_KEYS", variable)
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!text.contains("very-own-key"), "{text}");
        (output.status.code().unwrap(), text)
    };
    let good = format!("bob:{BOB}");
    let (code, help) = run(&["serve", "--help"], &good);
    assert!(code == 0 && help.contains("RESNET_API_KEYS"), "{help}");
    let serve = ["serve", "--port", "0", "--log-format", "text"];
    let with_file = [&serve[..], &["--api-keys-file", arg(&file)]].concat();
    let (code, error) = run(&with_file, &good);
    assert_eq!(code, 1, "{error}");
    assert!(
        error.contains("keys, line 1: the name before ':'"),
        "{error}"
    );
    fs::write(&file, format!("alice:{ALICE}\ncarol:{BOB}\n")).unwrap();
    let (code, error) = run(&with_file, &good);
    assert_eq!(code, 1, "{error}");
    let both = format!("RESNET_API_KEYS and {}: one key is that of", file.display());
    assert!(
        error.contains(&both) && error.contains("\"bob\"") && error.contains("\"carol\""),
        "{error}"
    );
    for (variable, rule) in [
        (
            format!("bob:{BOB},{ALICE}"),
            "RESNET_API_KEYS, line 2: a line is NAME:KEY",
        ),
        (
            format!("bob:{BOB}\nbob:{BOB}"),
            "RESNET_API_KEYS, line 2: this key is there already",
        ),
        (",".into(), "RESNET_API_KEYS holds no key"),
    ] {
        let (code, error) = run(&serve, &variable);
        assert!(code == 1 && error.contains(rule), "{error}");
    }
    // No flag takes keys: the list of processes would show them to everyone.
    let (code, error) = run(&["serve", "--api-keys", "x:y"], "");
    assert!(code == 2 && error.contains("--api-keys"), "{error}");
    for (path, rule) in [
        (dir.path().join("absent"), "cannot be read"),
        (dir.path().to_owned(), "is not a file"),
    ] {
        let (code, error) = run(&[&serve[..], &["--api-keys-file", arg(&path)]].concat(), "");
        assert!(code == 1 && error.contains(rule), "{error}");
        assert!(error.contains(arg(&path)), "{error}");
    }
}
