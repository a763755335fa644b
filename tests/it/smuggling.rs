//! Heads and chunks that are garbage, too large, or readable in two ways: refused, closed, and never answered twice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::LazyLock;
use std::time::Duration;

use crate::harness::{Process, Settings, raw};
use crate::unharmed::Golden;

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    Golden::start(&Settings {
        max_body_bytes: 1 << 20,
        body_timeout: Duration::from_secs(2),
        ..Settings::default()
    })
});

/// Every answer of a connection until the server closes it; fails if it does not.
fn answers(request: &[u8]) -> Vec<String> {
    let text = raw(GOLDEN.server.address, request);
    text.split("HTTP/1.1 ").skip(1).map(str::to_owned).collect()
}

/// A second request, as an attacker hides it in what the server takes for a body.
const HIDDEN: &str = "GET /livez HTTP/1.1\r\nHost: hidden\r\n\r\n";

#[test]
fn garbage_heads_are_400_or_closed() {
    let long_word = "A".repeat(10_000);
    let many_newlines = "\r\n".repeat(40_000);
    let high: Vec<u8> = (0x80..=0xFF).collect();
    let all: Vec<u8> = (0..=0xFF).collect();
    let heads: Vec<&[u8]> = vec![
        b"\x00\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // a TLS handshake
        b"\r\r\r\r\r\r",
        b"GET\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/0.9\r\n\r\n",
        b"GET /livez HTTP/1.2\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/11\r\nHost: x\r\n\r\n",
        b"GET /livez http/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTPS/1.1\r\nHost: x\r\n\r\n",
        b"GET /li vez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET\t/livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\r/livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1 \r\nHost: x\r\n\r\n",
        b" GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"G\x7fT /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"G(T /livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"get:/livez HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHo\0st: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\0\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\ry\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: x\r\nA\x80: y\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        long_word.as_bytes(),
        many_newlines.as_bytes(),
        &high,
        &all,
    ];
    assert!(heads.len() >= 30);
    for head in heads {
        let shown = String::from_utf8_lossy(&head[..head.len().min(60)]).into_owned();
        // what is not even a line is closed when no more comes
        let mut stream = TcpStream::connect(GOLDEN.server.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let _ = stream.write_all(head); // it may be refused before it is sent
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 400 ")
                || answer.starts_with("HTTP/1.1 431 "),
            "{shown:?}: {answer}"
        );
        assert!(
            answer.is_empty() || answer.contains("connection: close"),
            "{shown:?}: {answer}"
        );
        GOLDEN.assert_unharmed(&shown);
    }
}

#[test]
fn requests_with_two_readings_are_400_and_nothing_behind_them_is_answered() {
    let post = |headers: &str, body: &str| {
        format!("POST /classify HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n{body}{HIDDEN}")
    };
    let chunked = "0\r\n\r\n";
    let cases = vec![
        // two lengths
        post("Content-Length: 5\r\nContent-Length: 6", "abcde"),
        post("Content-Length: 6\r\nContent-Length: 5", "abcde"),
        post("Content-Length: 5, 6", "abcde"),
        post("Content-Length: 5, 5", "abcde"),
        // lengths that are none
        post("Content-Length: -5", "abcde"),
        post("Content-Length: +5", "abcde"),
        post("Content-Length: 0x5", "abcde"),
        post("Content-Length: 5 5", "abcde"),
        post("Content-Length:", "abcde"),
        post("Content-Length: five", "abcde"),
        post("Content-Length: 99999999999999999999999999", "abcde"),
        // codings that are not chunked, or not only
        post("Transfer-Encoding: identity", chunked),
        post("Transfer-Encoding: chunked, identity", chunked),
        post("Transfer-Encoding: identity, chunked", chunked),
        post("Transfer-Encoding: gzip, chunked", chunked),
        post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            chunked,
        ),
        post(
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            chunked,
        ),
        post("Transfer-Encoding: xchunked", chunked),
        post("Transfer-Encoding: \"chunked\"", chunked),
        post("Transfer-Encoding:\x0bchunked", chunked),
        // headers whose name or end is unclear
        post("Content-Length : 5", "abcde"),
        post("Transfer-Encoding : chunked", chunked),
        post("X: y\r\n Content-Length: 5", "abcde"),
        post("X: y\r\n\tfolded", ""),
        post(" Content-Length: 5", "abcde"),
        post("X: y\rContent-Length: 5", "abcde"),
        // hosts
        post("Host: y\r\nContent-Length: 5", "abcde"),
        format!("POST /classify HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde{HIDDEN}"),
        // a coding that the version does not have
        format!(
            "POST /classify HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}{HIDDEN}"
        ),
    ];
    assert!(cases.len() >= 25);
    for case in cases {
        let answers = answers(case.as_bytes());
        assert_eq!(answers.len(), 1, "{case:?}: {answers:?}");
        assert!(answers[0].starts_with("400 "), "{case:?}: {answers:?}");
        assert!(
            answers[0].contains("connection: close"),
            "{case:?}: {answers:?}"
        );
        GOLDEN.assert_unharmed(&case);
    }
}

/// RFC 9112 section 6.1 allows it if the connection ends; the HTTP library drops the length before we see it.
#[test]
fn chunks_win_over_a_length_and_end_the_connection() {
    for headers in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: CHUNKED",
    ] {
        let case = format!(
            "POST /classify HTTP/1.1\r\nHost: x\r\n{headers}\r\n\r\n3\r\nabc\r\n0\r\n\r\n{HIDDEN}"
        );
        let answers = answers(case.as_bytes());
        assert_eq!(answers.len(), 1, "{case:?}: {answers:?}");
        assert!(
            answers[0].starts_with("415 ") && answers[0].contains("connection: close"),
            "{case:?}: {answers:?}"
        );
        GOLDEN.assert_unharmed(&case);
    }
}

#[test]
fn malformed_chunks_are_400_and_nothing_behind_them_is_answered() {
    let trailers = format!("0\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let long_extension = format!("5;{}\r\nabcde\r\n0\r\n\r\n", "e".repeat(1 << 20));
    let extensions = format!(
        "{}0\r\n\r\n",
        format!("1;{}\r\na\r\n", "e".repeat(100)).repeat(1000)
    );
    for chunks in [
        "ZZZ\r\n",
        "-5\r\nabcde\r\n0\r\n\r\n",
        "0x5\r\nabcde\r\n0\r\n\r\n",
        "5\r\nabcdefgh\r\n0\r\n\r\n",
        "5\nabcde\n0\n\n",
        "5\r\nabcde0\r\n\r\n",
        "5;a\nb\r\nabcde\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nabcde\r\n0\r\n\r\n",
        "\r\nabcde\r\n0\r\n\r\n",
        &long_extension,
        &extensions,
        &trailers,
    ] {
        let case = format!(
            "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}{HIDDEN}"
        );
        let shown = &case[..case.len().min(100)];
        let answers = answers(case.as_bytes());
        assert_eq!(answers.len(), 1, "{shown:?}: {answers:?}");
        assert!(answers[0].starts_with("400 "), "{shown:?}: {answers:?}");
        assert!(
            answers[0].contains("connection: close"),
            "{shown:?}: {answers:?}"
        );
        GOLDEN.assert_unharmed(shown);
    }
}

/// Leading zeros are legal in any number. They carry no body, so the client has the body's time for some, and many more
/// than any framing takes end the connection.
#[test]
fn chunk_size_that_never_ends_is_408_and_a_flood_of_it_is_cut() {
    let case = |zeros: usize| {
        let zeros = "0".repeat(zeros);
        let head = "POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        answers(format!("{head}{zeros}").as_bytes())
    };
    let slow = case(512 << 10);
    assert!(slow.len() == 1 && slow[0].starts_with("408 "), "{slow:?}");
    let flood = case(4 << 20);
    assert!(
        flood.iter().all(|answer| answer.starts_with("400 ")),
        "{flood:?}"
    );
    GOLDEN.assert_unharmed("chunk sizes without end");
}

#[test]
fn heads_over_the_limits_are_431() {
    let get =
        |path: &str, headers: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let fits = get("/livez", &"A: b\r\n".repeat(62));
    let answer = raw(
        GOLDEN.server.address,
        fits.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")
            .as_bytes(),
    );
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for (what, head) in [
        ("65 headers", get("/livez", &"A: b\r\n".repeat(64))),
        (
            "33 KiB",
            get("/livez", &format!("A: {}\r\n", "b".repeat(33 << 10))),
        ),
        (
            "33 KiB of headers",
            get("/livez", &format!("A: {}\r\n", "b".repeat(1100)).repeat(30)),
        ),
        (
            "1 MiB of URL",
            get(&format!("/{}", "x".repeat(1 << 20)), ""),
        ),
    ] {
        let answer = raw(GOLDEN.server.address, head.as_bytes());
        assert!(
            answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "),
            "{what}: {answer}"
        );
        assert!(answer.contains("connection: close"), "{what}: {answer}");
        GOLDEN.assert_unharmed(what);
    }
}

#[test]
fn request_ids_are_taken_over_plain_or_not_at_all() {
    for id in [
        "a\u{7f}b",
        "<script>",
        "\"quoted\"",
        "two words",
        &"x".repeat(10_000),
        "a\r\nX-Request-Id: b",
    ] {
        let head = format!(
            "GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: {id}\r\ntraceparent: \x01garbage\r\n\r\n"
        )
        .replace("\x01", "00-zz-");
        let answer = raw(GOLDEN.server.address, head.as_bytes());
        if answer.starts_with("HTTP/1.1 400 ") {
            continue; // DEL is no part of a header
        }
        let ids: Vec<_> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("x-request-id: "))
            .collect();
        assert_eq!(ids.len(), 1, "{answer}");
        assert!(
            ids[0].len() == 16 && ids[0].bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}: {answer}"
        );
    }
}

#[test]
fn endless_chunks_are_413_in_bounded_memory() {
    let server = Process::start(&["--max-body-bytes", "20MiB"]);
    let before = server.peak_memory_kb();
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream
        .write_all(b"POST /classify HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    let mut chunk = b"100000\r\n".to_vec();
    chunk.resize(chunk.len() + (1 << 20), 0xFF);
    chunk.extend(b"\r\n");
    let mut sent = 0;
    // the server drops 320 MiB more before it gives up
    while sent < 60 && stream.write_all(&chunk).is_ok() {
        sent += 1;
    }
    assert_eq!(sent, 60);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    let grown = server.peak_memory_kb().saturating_sub(before);
    assert!(grown < 60 << 10, "{grown} kB");
}

#[test]
fn million_chunks_of_one_byte_cost_little() {
    let server = Process::start(&[]);
    let memory = server.peak_memory_kb();
    let cost = |chunks: usize| {
        let before = server.cpu_time();
        let mut request =
            b"POST /classify HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
                .to_vec();
        request.extend(b"1\r\nx\r\n".repeat(chunks));
        request.extend(b"0\r\n\r\n");
        let answer = raw(server.address, &request);
        assert!(answer.starts_with("HTTP/1.1 415 "), "{answer}");
        server.cpu_time() - before
    };
    let (some, many) = (cost(250_000), cost(1_000_000));
    let grown = server.peak_memory_kb().saturating_sub(memory);
    println!("250,000 chunks: {some:?} of CPU; 1,000,000: {many:?}, {grown} kB");
    assert!(grown < 32 << 10, "{grown} kB");
    // Four times the chunks, four times the time: what grew with their square would take sixteen times as long. The
    // clock of CPU time ticks every 10 ms.
    assert!(
        many < 8 * (some + Duration::from_millis(10)),
        "{some:?}, {many:?}"
    );
}
