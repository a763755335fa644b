//! Many, slow, silent and impatient connections: each ends in its time, refusals reach clients that still write.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use resnet::server::ServerOptions;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::fake::{FakeModel, plain_png};
use crate::harness::{Answer, Process, Settings, TestServer, agent, eventually, raw, resnet};
use crate::unharmed::Golden;

fn with(server: ServerOptions) -> Settings {
    Settings {
        server,
        ..Settings::default()
    }
}

/// A connection whose reads fail rather than hang.
fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    stream
}

/// Asks `/livez` on an open connection, and leaves it open.
fn ask(stream: &mut TcpStream) {
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok\n") {
        let mut byte = [0; 256];
        let n = stream.read(&mut byte).unwrap();
        assert!(n > 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&byte[..n]);
    }
}

/// The server's end is closed.
fn assert_closed(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset),
    }
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
}

const MEGABYTES_21: usize = 21 << 20;

/// A server for bodies of less than these.
fn of_20_mebibytes() -> Settings {
    Settings {
        max_body_bytes: 20 << 20,
        ..Settings::default()
    }
}

#[test]
fn refusal_reaches_a_blocking_client_that_writes_all_of_21_mebibytes() {
    let ready = Golden::start(&of_20_mebibytes());
    let loading = TestServer::start_unready(&of_20_mebibytes());
    // as curl --http2 asks
    let upgrade = "Connection: Upgrade\r\nUpgrade: h2c\r\n";
    for (server, path, headers, status) in [
        (&ready.server, "/classify", "", 413),
        (&ready.server, "/nowhere", "", 404),
        (&ready.server, "/nowhere", upgrade, 404),
        (&ready.server, "/livez", "", 405),
        (&ready.server, "/classify?top_k=0", "", 400),
        (&loading, "/classify", "", 503),
    ] {
        let mut stream = connect(server.address);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {MEGABYTES_21}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&vec![0; MEGABYTES_21]).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(
            answer.contains("connection: close") && answer.ends_with('}'),
            "{path}: {answer}"
        );
    }
    ready.assert_unharmed("uploads of 21 MiB");
}

/// What a program prints, or nothing where it is not installed.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let command = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output();
    let output = command.ok()?;
    assert!(output.status.success(), "{program}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn curl_and_python_see_the_413_of_an_upload_of_21_mebibytes() {
    let golden = Golden::start(&of_20_mebibytes());
    let url = golden.server.url("/classify");
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(MEGABYTES_21 as u64).unwrap();
    let path = file.path().to_str().unwrap();
    for expect in ["Expect:", "Expect: 100-continue"] {
        let args = ["-sS", "-H", expect, "-w", "%{http_code}", "-T", path, &url];
        if let Some(printed) = output("curl", &args) {
            assert!(printed.ends_with("}413"), "{expect} {printed}");
        }
    }
    let python = "\
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], timeout=20)
for _ in range(2):
    connection.request('POST', '/classify', body=bytes(21 << 20))
    answer = connection.getresponse()
    answer.read()
    print(answer.status)
";
    let address = golden.server.address.to_string();
    if let Some(printed) = output("python3", &["-c", python, &address]) {
        assert_eq!(printed, "413\n413\n");
    }
    golden.assert_unharmed("curl and python");
}

#[test]
fn refused_expectation_gets_the_final_status_and_no_100() {
    let golden = Golden::start(&Settings::default());
    let loading = TestServer::start_unready(&Settings::default());
    for (server, path, length, status) in [
        (&golden.server, "/classify", 199_999_999, 413),
        (&golden.server, "/nowhere", 100, 404),
        (&golden.server, "/livez", 100, 405),
        (&loading, "/classify", 100, 503),
    ] {
        let mut stream = connect(server.address);
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
    }
}

#[test]
fn connection_over_the_cap_is_served_when_another_one_ends() {
    let golden = Golden::start(&with(ServerOptions {
        max_connections: 4,
        ..ServerOptions::default()
    }));
    let (address, open) = (golden.server.address, &golden.server.metrics.connections);
    eventually("connections of before are closed", || open.get() == 0);
    let mut four: Vec<_> = (0..4).map(|_| connect(address)).collect();
    four.iter_mut().for_each(ask);
    assert_eq!(open.get(), 4);

    let mut fifth = connect(address);
    fifth
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    fifth
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let waiting = fifth.read(&mut [0; 1]).unwrap_err();
    assert_eq!(waiting.kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(open.get(), 4);

    drop(four.pop());
    fifth
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut answer = String::new();
    fifth.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(four);
    golden.assert_unharmed("more connections than allowed");
}

#[test]
fn hundreds_of_silent_connections_cost_little_and_end_after_the_idle_timeout() {
    let server = Process::start(&["--idle-timeout", "2s"]);
    ask(&mut connect(server.address));
    let before = server.memory_kb();
    let start = Instant::now();
    let mut silent: Vec<_> = (0..500).map(|_| connect(server.address)).collect();
    ask(&mut connect(server.address));
    let grown = server.memory_kb().saturating_sub(before);
    // 16 KiB each, and what the allocator takes from the system ahead of need.
    assert!(grown < 500 * 16 + 8192, "{grown} kB for 500 connections");
    silent.iter_mut().for_each(assert_closed);
    assert!(start.elapsed() >= Duration::from_millis(1900));
    ask(&mut connect(server.address));
}

#[test]
fn connection_opened_ahead_outlives_the_header_timeout() {
    let golden = Golden::start(&with(ServerOptions {
        header_timeout: Duration::from_millis(300),
        ..ServerOptions::default()
    }));
    let mut ahead = connect(golden.server.address);
    // It comes later, and begins to speak.
    let mut begun = connect(golden.server.address);
    begun.write_all(b"G").unwrap();
    assert_closed(&mut begun);
    ask(&mut ahead);
    ask(&mut ahead);
    golden.assert_unharmed("connections opened ahead");
}

#[test]
fn slow_head_is_cut_and_no_byte_delays_that() {
    let golden = Golden::start(&with(ServerOptions {
        header_timeout: Duration::from_secs(1),
        ..ServerOptions::default()
    }));
    let mut stream = connect(golden.server.address);
    let start = Instant::now();
    while stream.write_all(b"G").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(15), "still open");
        // the pace of a slow client, not a wait for something
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() >= Duration::from_millis(900));
    golden.assert_unharmed("a slow head");
}

#[test]
fn slow_body_is_408_and_no_byte_delays_that() {
    let golden = Golden::start(&Settings {
        body_timeout: Duration::from_secs(1),
        ..Settings::default()
    });
    let mut stream = connect(golden.server.address);
    stream
        .write_all(b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
        .unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let start = Instant::now();
    let mut answer = [0; 13];
    while stream.read(&mut answer).is_err() {
        assert!(start.elapsed() < Duration::from_secs(15), "no answer");
        stream.write_all(b"x").unwrap();
    }
    assert_eq!(&answer, b"HTTP/1.1 408 ");
    golden.assert_unharmed("a slow body");
}

#[test]
fn reader_who_takes_nothing_is_cut_after_the_write_timeout() {
    let golden = Golden::start(&with(ServerOptions {
        write_timeout: Duration::from_secs(1),
        ..ServerOptions::default()
    }));
    let open = &golden.server.metrics.connections;
    eventually("connections of before are closed", || open.get() == 0);
    let mut stream = connect(golden.server.address);
    stream
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let requests = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    // Answers fill the buffers of both systems, then requests do, then the server cuts.
    while stream.write_all(&requests).is_ok() {}
    eventually("it is closed", || open.get() == 0);
    golden.assert_unharmed("a slow reader");
}

#[test]
fn client_that_closes_its_side_before_the_answer_counts_as_gone() {
    let (model, gate) = FakeModel::loaded("fake");
    let server = TestServer::start(vec![model], &Settings::default());
    gate.close();
    let png = plain_png(1);
    let mut stream = connect(server.address);
    let head = format!(
        "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
        png.len()
    );
    stream.write_all(&[head.as_bytes(), &png].concat()).unwrap();
    gate.wait_for(1);
    stream.shutdown(Shutdown::Write).unwrap();
    let gone = server
        .metrics
        .requests
        .with_label_values(&["/classify", "", "499"]);
    eventually("it counts as gone", || gone.get() == 1);
    assert_closed(&mut stream);
    gate.open();
    server.post("/classify", &png).ok();
}

#[test]
fn hundred_pipelined_requests_are_answered_in_order() {
    let golden = Golden::start(&Settings::default());
    let mut requests = String::new();
    for i in 0..100 {
        let close = if i == 99 { "Connection: close\r\n" } else { "" };
        requests += &format!("GET /nope{i} HTTP/1.1\r\nHost: x\r\n{close}\r\n");
    }
    let answers = raw(golden.server.address, requests.as_bytes());
    let places: Vec<_> = (0..100)
        .map(|i| answers.find(&format!("nothing at /nope{i};")))
        .collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{answers}"
    );
    golden.assert_unharmed("pipelining");
}

#[test]
fn neither_long_nor_many_connections_leave_files_open() {
    let server = Process::start(&[]);
    let mut stream = connect(server.address);
    ask(&mut stream);
    let before = server.open_files();
    for _ in 0..2000 {
        ask(&mut stream);
    }
    for _ in 0..1000 {
        ask(&mut connect(server.address));
    }
    eventually("files are closed", || server.open_files() <= before + 2);
}

#[test]
fn with_few_files_fewer_connections_are_let_in_and_none_fails() {
    let shell = format!(
        "ulimit -n 128; exec {} serve --port 0 --log-format json",
        env!("CARGO_BIN_EXE_resnet")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &shell]);
    let server = Process::wait_for(command);
    let said = server.log.message(
        "the limit of open files (ulimit -n) allows fewer connections than --max-connections",
    );
    assert_eq!(said["allowed"], 64, "{said}");
    let mut clients: Vec<_> = (0..64).map(|_| connect(server.address)).collect();
    clients.iter_mut().for_each(ask);
    let mut further = connect(server.address);
    server
        .log
        .message("every connection is in use; further clients wait until one ends");
    clients.truncate(63);
    ask(&mut further);
}

#[test]
fn out_of_files_it_waits_idly_and_recovers() {
    let server = Process::start(&[]);
    let files = Some(64);
    let limit = Rlimit {
        current: files,
        maximum: files,
    };
    let pid = Pid::from_child(&server.child);
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    let clients: Vec<_> = (0..200).map(|_| connect(server.address)).collect();
    server.log.line("no file left", |line| {
        let message = line["message"].as_str();
        message.is_some_and(|m| m.contains("cannot accept connections"))
    });
    let (busy, start) = (server.cpu_time(), Instant::now());
    // what is measured is the time in between
    std::thread::sleep(Duration::from_secs(1));
    let share = (server.cpu_time() - busy).as_secs_f64() / start.elapsed().as_secs_f64();
    assert!(share < 0.1, "{share} of a CPU while it cannot accept");
    drop(clients);
    ask(&mut connect(server.address));
}

#[test]
fn limits_of_connections_are_named_with_what_is_allowed() {
    for (flag, value, words) in [
        (
            "--max-connections",
            "0",
            "`0` is none of the whole numbers from 1 to 1048576",
        ),
        ("--idle-timeout", "0s", "`0s` is no time"),
        ("--header-timeout", "0", "`0` is no time"),
        ("--write-timeout", "soon", "`soon` is no duration"),
    ] {
        let output = resnet().args(["serve", flag, value]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(flag) && said.contains(words), "{said}");
    }
}

#[test]
fn admin_address_has_the_metrics_and_the_other_port_has_not() {
    let mut server = Process::start(&["--admin-address", "localhost:0", "--shutdown-delay", "5s"]);
    let said = server
        .log
        .line("its address", |l| l["admin_address"].is_string());
    let address = said["admin_address"].as_str().unwrap();
    let address = address.trim_start_matches("http://").to_owned();
    let get = |address: &str, path: &str| {
        Answer::of(agent().get(format!("http://{address}{path}")).call())
    };
    let public = server.address.to_string();
    for (address, path, status) in [
        (&address, "/metrics", 200),
        (&address, "/livez", 200),
        (&address, "/readyz", 200),
        (&address, "/classify", 404),
        (&address, "/models", 404),
        (&address, "/", 200),
        (&public, "/metrics", 404),
        (&public, "/livez", 200),
        (&public, "/readyz", 200),
        (&public, "/models", 200),
    ] {
        let answer = get(address, path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
    }
    let index = get(&public, "/").json();
    assert!(!index.to_string().contains("metrics"), "{index}");
    let index = get(&address, "/").json();
    let routes = ["/livez", "/healthz", "/readyz", "/metrics", "/openapi.json"];
    assert_eq!(index["routes"], serde_json::json!(routes));
    // Each listener tells of its own.
    let told = |address: &str| get(address, "/openapi.json").ok()["paths"].clone();
    let told_here = told(&address);
    for route in routes.into_iter().chain(["/"]) {
        assert!(told_here[route].is_object(), "{route}");
    }
    assert_eq!(told_here.as_object().unwrap().len(), routes.len() + 1);
    assert!(told(&public)["/metrics"].is_null());

    server.signal("TERM");
    eventually("it is not ready on either", || {
        get(&address, "/readyz").status == 503 && get(&public, "/readyz").status == 503
    });
    assert_eq!(get(&address, "/metrics").status, 200);
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[test]
fn admin_address_that_is_taken_or_none_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (value, code, words) in [
        (
            taken.as_str(),
            1,
            format!("cannot listen on {taken}: Address already in use"),
        ),
        ("9090", 2, "`9090` is no IP address with a port".into()),
    ] {
        let output = resnet()
            .args(["serve", "--port", "0", "--admin-address", value])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(
            said.contains(&words) && said.contains("--admin-address"),
            "{said}"
        );
    }
}
