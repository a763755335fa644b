//! The log as operators read it: `docs/LOG.md` and the lines of the real binary are one list of fields, each of its
//! kind, and nothing that a client sends can control a terminal.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Answer, Process, agent, fixture_bytes, multipart, raw, resnet};

const KEY: &str = "a-key-of-sixteen-letters-or-more";
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Names and kinds of the fields of a request's line, as the table of the documentation has them.
fn documented() -> BTreeMap<String, String> {
    let document = include_str!("../../docs/LOG.md");
    let (_, table) = document.split_once("## The line of a request").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|l| l.starts_with("| `"));
    rows.flat_map(|row| {
        let cells: Vec<&str> = row.split(" | ").collect();
        let names = cells[0].trim_start_matches("| ").split(", ");
        let kind = cells[1].to_owned();
        names
            .map(move |name| (name.trim_matches('`').to_owned(), kind.clone()))
            .collect::<Vec<_>>()
    })
    .collect()
}

fn is_of_kind(value: &Value, kind: &str) -> bool {
    match kind {
        "text" => value.is_string(),
        "whole number" => value.is_u64(),
        "milliseconds" => value.as_f64().is_some_and(|ms| ms >= 0.0),
        _ => panic!("{kind} is no kind"),
    }
}

fn is_of_a_request(line: &Value) -> bool {
    line["target"] == "resnet::access"
}

/// The line of the request with this path and status, once it is there.
fn line(server: &Process, path: &str, status: u16) -> Value {
    server.log.line(path, |l| {
        is_of_a_request(l) && l["path"] == path && l["status"] == status
    })
}

/// No number is text, in whatever line.
fn assert_numbers(line: &Value) {
    for (name, value) in line.as_object().into_iter().flatten() {
        let is_number = ["_ms", "_bytes", "_s"]
            .iter()
            .any(|end| name.ends_with(end));
        assert!(!is_number || value.is_number(), "{name} in {line}");
    }
}

#[test]
fn lines_have_the_documented_fields_and_no_others() {
    let mut server = Process::start_with_env(
        &["--log-level", "debug", "--max-images", "4"],
        &[("RESNET_API_KEYS", &format!("alice:{KEY}"))],
    );
    let url = |path: &str| format!("http://{}{path}", server.address);
    let post = |path: &str, content_type: &str, body: &[u8]| {
        let request = agent().post(url(path)).content_type(content_type);
        let request = request.header("X-API-Key", KEY).header("User-Agent", "t/1");
        let request = request.header("traceparent", TRACEPARENT);
        Answer::of(request.send(body))
    };
    let photo = fixture_bytes("photos/espresso.png");

    let answer = post("/classify", "image/png", &photo);
    let one = line(&server, "/classify", 200);
    for (name, value) in [
        ("level", json!("INFO")),
        ("message", json!("answered")),
        ("client", json!("127.0.0.1")),
        ("key", json!("alice")),
        ("method", json!("POST")),
        ("protocol", json!("HTTP/1.1")),
        ("user_agent", json!("t/1")),
        ("model", json!("resnet18-tiny")),
        ("images", json!(1)),
        ("failed", json!(0)),
        ("batch_size", json!(1)),
        ("bytes_in", json!(photo.len())),
        ("bytes_out", json!(answer.body.len())),
        ("trace_id", json!(&TRACEPARENT[3..35])),
        ("request_id", json!(answer.header("x-request-id").unwrap())),
    ] {
        assert_eq!(one[name], value, "{name}: {one}");
    }
    let stages = ["read", "decode", "preprocess", "queue", "infer", "respond"];
    let stages = stages.map(|stage| one[&format!("{stage}_ms")].as_f64().unwrap());
    let whole = one["duration_ms"].as_f64().unwrap();
    assert!(stages.iter().sum::<f64>() <= whole + 0.1, "{one}");

    let (content_type, body) = multipart(&[("file", &photo), ("file", b"no image")]);
    post("/models/resnet18-tiny/classify", &content_type, &body);
    let list = line(&server, "/models/resnet18-tiny/classify", 200);
    assert_eq!((&list["images"], &list["failed"]), (&json!(2), &json!(1)));
    assert!(list["code"].is_null(), "{list}");

    post("/classify", "image/png", b"GIF89a cut");
    let refused = server.log.line("a damaged image", |l| {
        l["code"] == "image_truncated" || l["code"] == "image_corrupt"
    });
    assert_eq!(
        (&refused["status"], &refused["level"]),
        (&json!(422), &json!("INFO"))
    );
    assert!(
        refused["reason"].is_string() && refused["images"] == 1,
        "{refused}"
    );

    let (content_type, body) = multipart(&[("file", &photo[..]); 5]);
    post("/classify", &content_type, &body);
    let refused = line(&server, "/classify", 413);
    assert_eq!(refused["code"], "too_many_images");
    assert_eq!(refused["bytes_in"], body.len());

    Answer::of(agent().get(url("/models")).call());
    let refused = line(&server, "/models", 401);
    assert_eq!(
        (&refused["level"], &refused["code"]),
        (&json!("WARN"), &json!("unauthorized"))
    );
    Answer::of(agent().get(url("/livez")).call());
    assert_eq!(line(&server, "/livez", 200)["level"], "DEBUG");
    Answer::of(agent().options(url("/models")).call());
    assert_eq!(line(&server, "/models", 204)["level"], "DEBUG");
    post("/nope", "image/png", b"");
    assert_eq!(line(&server, "/nope", 404)["level"], "INFO");
    for (path, status) in [("/openapi.json", 200), ("/nowhere", 404)] {
        let answer = Answer::of(agent().head(url(path)).header("X-API-Key", KEY).call());
        assert_eq!((answer.status, answer.body.len()), (status, 0));
        assert_ne!(answer.header("content-length"), Some("0"));
        assert_eq!(line(&server, path, status)["bytes_out"], 0, "{path}");
    }

    server.signal("TERM");
    server.child.wait().unwrap();
    let documented = documented();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for line in server.log.whole() {
        assert_numbers(&line);
        if !is_of_a_request(&line) {
            continue;
        }
        for (name, value) in line.as_object().unwrap() {
            let kind = documented.get(name);
            let kind = kind.unwrap_or_else(|| panic!("{name} is not documented: {line}"));
            assert!(is_of_kind(value, kind), "{name} is no {kind}: {line}");
            *seen.entry(name.clone()).or_default() += 1;
        }
    }
    let missing = documented.keys().filter(|name| !seen.contains_key(*name));
    assert_eq!(missing.count(), 0, "{documented:?} {seen:?}");
}

#[test]
fn refusals_of_the_server_are_warnings_and_clients_that_leave_are_told() {
    let server = Process::start(&[]);
    let mut leaving = TcpStream::connect(server.address).unwrap();
    leaving
        .write_all(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        .unwrap();
    leaving.shutdown(Shutdown::Both).unwrap();
    let left = server.log.line("it has left", |l| {
        is_of_a_request(l) && (l["status"] == 499 || l["code"] == "body_incomplete")
    });
    assert_eq!(left["level"], "INFO", "{left}");

    let url = format!("http://{}/classify", server.address);
    let impatient = agent().post(url).header("X-Request-Timeout-Ms", "1");
    let answer = Answer::of(impatient.send(&fixture_bytes("photos/espresso.png")[..]));
    let late = line(&server, "/classify", answer.status);
    assert_eq!(
        (answer.code().as_str(), &late["level"]),
        ("deadline_exceeded", &json!("WARN"))
    );
}

#[test]
fn lines_of_requests_can_be_left_out_and_kept_alone() {
    let ask = |server: &Process| {
        let url = format!("http://{}/models", server.address);
        Answer::of(agent().get(url).call()).ok();
    };
    let mut without = Process::start_with_env(&[], &[("RESNET_LOG", "resnet::access=off")]);
    ask(&without);
    without.signal("TERM");
    without.child.wait().unwrap();
    let log = without.log.whole();
    assert!(log.iter().any(|l| {
        l["message"]
            .as_str()
            .is_some_and(|m| m.starts_with("stopped"))
    }));
    assert!(!log.iter().any(is_of_a_request), "{log:?}");

    let mut command = resnet();
    command.args(["serve", "--port", "0", "--log-format", "json"]);
    command.env("RESNET_LOG", "error,resnet::access=info,resnet::cli=info");
    let mut alone = Process::wait_for(command);
    ask(&alone);
    alone.signal("TERM");
    alone.child.wait().unwrap();
    let log = alone.log.whole();
    assert!(log.iter().any(is_of_a_request), "{log:?}");
    let others = log.iter().filter(|l| !is_of_a_request(l));
    for line in others {
        assert!(
            line["target"].as_str().unwrap().starts_with("resnet::cli"),
            "{line}"
        );
    }
}

#[test]
fn sample_leaves_out_requests_without_a_problem_alone() {
    let mut server = Process::start(&["--log-sample", "0"]);
    let url = |path: &str| format!("http://{}{path}", server.address);
    let photo = fixture_bytes("photos/espresso.png");
    Answer::of(agent().get(url("/models")).call()).ok();
    Answer::of(agent().post(url("/classify")).send(&photo[..])).ok();
    let (content_type, body) = multipart(&[("file", &photo), ("file", b"no image")]);
    let list = agent().post(url("/classify")).content_type(content_type);
    Answer::of(list.send(&body[..])).ok();
    Answer::of(agent().get(url("/nope")).call());
    server.signal("TERM");
    server.child.wait().unwrap();
    let log = server.log.whole();
    let told = log.iter().filter(|line| is_of_a_request(line));
    let told: Vec<_> = told.map(|l| (&l["path"], &l["status"])).collect();
    assert_eq!(
        told,
        [
            (&json!("/classify"), &json!(200)),
            (&json!("/nope"), &json!(404))
        ]
    );

    let output = resnet()
        .args(["serve", "--log-sample", "2"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(
        text.contains("`2` is no share, allowed are 0 to 1"),
        "{text}"
    );
}

/// What the server answers and logs, in a format, to clients that send control characters wherever they can.
fn said_to_control_characters(format: &str) -> Vec<String> {
    let mut child = resnet()
        .args([
            "serve",
            "--port",
            "0",
            "--log-level",
            "debug",
            "--log-format",
            format,
        ])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let mut log = Vec::new();
    let address = loop {
        let mut some = [0; 4096];
        let n = stderr.read(&mut some).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&log));
        log.extend(&some[..n]);
        let text = String::from_utf8_lossy(&log).into_owned();
        let ready = text.split("http://").nth(1);
        if let Some((address, _)) = ready.and_then(|r| r.split_once(['"', ' ', '/'])) {
            break address.parse().unwrap();
        }
    };
    let escape = "\x1b]0;x\x07\u{9b}31m\x7f";
    let json = json!({ format!("a{escape}"): 1 }).to_string();
    let form = format!(
        "--B{escape}\r\nContent-Disposition: form-data; name=\"{escape}\"\r\n\r\n\r\n--B--"
    );
    let mut answers = Vec::new();
    for (head, body) in [
        ("GET /%1b%5d0;x%07%c2%9b31m?model=%1b%5b31m", String::new()),
        ("POST /classify?model=%1b%5b31m%c2%9b31m", String::new()),
        ("POST /classify?%c2%9b31m=1", String::new()),
        ("POST /models/%c2%9b31m/classify", String::new()),
        ("POST /classify?top_k=%c2%9b1", String::new()),
        ("POST /classify", escape.to_owned()),
        ("POST /classify", format!("GIF89a{escape}")),
        (
            "POST /classify HTTP/1.1\r\nContent-Type: application/json\r\nX",
            json,
        ),
        (
            "POST /classify HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=B\r\nX",
            form.clone(),
        ),
        (
            "POST /classify HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=\"\u{9b}\"\r\nX",
            form,
        ),
        (
            "POST /classify HTTP/1.1\r\nContent-Encoding: \u{9b}31m\r\nX",
            String::new(),
        ),
        (
            "POST /classify HTTP/1.1\r\nX-Request-Timeout-Ms: \u{9b}31m\r\nX",
            String::new(),
        ),
        (
            "POST /classify HTTP/1.1\r\nX-Request-Id: \u{9b}31m\r\nX",
            String::new(),
        ),
        (
            "POST /classify HTTP/1.1\r\nX-Forwarded-For: \u{9b}31m\r\nX",
            String::new(),
        ),
    ] {
        let head = match head.contains("\r\n") {
            true => format!("{head}: y\r\n"),
            false => format!("{head} HTTP/1.1\r\n"),
        };
        let length = body.len();
        let request = format!(
            "{head}Host: x\r\nUser-Agent: a\u{9b}31m\u{202e}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let answer = raw(address, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 4"), "{head}: {answer}");
        answers.push(answer);
    }
    let kill = Command::new("kill").arg(child.id().to_string()).status();
    assert!(kill.unwrap().success());
    stderr.read_to_end(&mut log).unwrap();
    child.wait().unwrap();
    let log = String::from_utf8(log).unwrap();
    assert!(log.matches("user_agent").count() >= answers.len(), "{log}");
    answers.push(log);
    answers
}

#[test]
fn nothing_that_a_client_sends_controls_a_terminal() {
    for format in ["text", "json"] {
        for said in said_to_control_characters(format) {
            let control = |c: &char| match c {
                '\r' | '\n' => false,
                c => c.is_control() || *c == '\u{202e}',
            };
            let found = said.chars().find(control);
            assert_eq!(found, None, "{said:?}");
        }
    }
}

#[test]
fn errors_at_the_start_are_json_where_the_log_is() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    for (args, code, words) in [
        (&["--port", &taken[..]][..], 1, "Address already in use"),
        (
            &["--port", "0", "--model", "nothing.onnx"],
            1,
            "nothing.onnx",
        ),
        (
            &["--port", "http"],
            2,
            "invalid value 'http' for '--port <PORT>'",
        ),
        (&["--prot", "1"], 2, "unexpected argument '--prot'"),
        (&["--log-level", "loud"], 2, "`loud` is no level"),
        (&["--max-images", "400"], 2, "--max-images 400 is more"),
    ] {
        for format in ["json", "text"] {
            let mut command = resnet();
            command
                .arg("serve")
                .args(["--log-format", format])
                .args(args);
            let output = command.output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(code), "{said}");
            if format == "text" {
                assert!(said.contains("error: ") && said.contains(words), "{said}");
                continue;
            }
            let mut lines = said
                .lines()
                .map(|line| serde_json::from_str(line).expect(line));
            let last: Value = lines.next_back().unwrap();
            assert_eq!(last["level"], "ERROR", "{said}");
            assert!(last["message"].as_str().unwrap().contains(words), "{said}");
            let when = last["timestamp"].as_str().unwrap();
            assert!(when.starts_with("20") && when.ends_with('Z'), "{said}");
        }
    }
    // The variable says so as well, and so does a standard error that is no terminal.
    for format in ["json", "auto"] {
        let mut command = resnet();
        command
            .args(["serve", "--prot", "1"])
            .env("RESNET_LOG_FORMAT", format);
        let said = String::from_utf8(command.output().unwrap().stderr).unwrap();
        serde_json::from_str::<Value>(&said).expect(&said);
    }
}
