//! Clients behind proxies: whose word is taken, with forged headers, and with nginx and `HAProxy` in front.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use resnet::desk::TrustedProxies;
use socket2::{Domain, Socket, Type};

use crate::admission::flood_waits_behind_itself;
use crate::harness::{Answer, Process, Settings, agent, eventually};

/// GETs `/models` from an address, with these header lines; gives the status.
fn get_from(server: SocketAddr, from: &str, lines: &str) -> u16 {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: IpAddr = from.parse().unwrap();
    socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let head = format!("GET /models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer[9..12].parse().unwrap()
}

/// The client in the log line of a request with these header lines that comes to `door`.
fn client_in_log(server: &Process, door: SocketAddr, from: &str, lines: &str) -> Option<String> {
    let answered = || -> Vec<Option<String>> {
        let log = server.log.so_far();
        let answered = log.iter().filter(|l| l["message"] == "answered");
        answered
            .map(|l| l["client"].as_str().map(str::to_owned))
            .collect()
    };
    let before = answered().len();
    assert_eq!(get_from(door, from, lines), 200);
    eventually("it is in the log", || answered().len() > before);
    answered().remove(before)
}

#[test]
fn forged_headers_count_for_nothing() {
    let forged = [
        "X-Forwarded-For: 203.0.113.5\r\n",
        "Forwarded: for=203.0.113.5\r\n",
        "X-Forwarded-For: 203.0.113.5\r\nForwarded: for=203.0.113.5\r\n",
    ];
    let open = Process::start(&[]);
    for lines in forged {
        let client = client_in_log(&open, open.address, "127.0.0.3", lines);
        assert_eq!(client.as_deref(), Some("127.0.0.3"), "no proxy is trusted");
    }
    let server = Process::start(&["--trusted-proxies", "127.0.0.2,127.0.1.0/24"]);
    let client = |from: &str, lines: &str| {
        let client = client_in_log(&server, server.address, from, lines);
        client.expect("proxies are named")
    };
    for lines in forged {
        assert_eq!(client("127.0.0.1", lines), "127.0.0.1");
        assert_eq!(client("127.0.0.2", lines), "203.0.113.5");
        assert_eq!(client("127.0.1.77", lines), "203.0.113.5");
    }
    for (lines, expected) in [
        ("", "127.0.0.2"),
        // what a client sends, and what the proxies add on the right
        ("X-Forwarded-For: 203.0.113.5, 192.0.2.1\r\n", "192.0.2.1"),
        (
            "X-Forwarded-For: 203.0.113.5\r\nX-Forwarded-For: 192.0.2.1\r\n",
            "192.0.2.1",
        ),
        (
            "X-Forwarded-For: 203.0.113.5, 192.0.2.1, 127.0.1.9\r\n",
            "192.0.2.1",
        ),
        ("X-Forwarded-For: 203.0.113.5, hello\r\n", "127.0.0.2"),
        (
            "Forwarded: for=\"203.0.113.5, for=192.0.2.1\r\n",
            "127.0.0.2",
        ),
        (
            "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=203.0.113.5\r\n",
            "127.0.0.2",
        ),
        (
            "Forwarded: for=_x, for=\"[2001:db8::1]:80\"\r\n",
            "2001:db8::1",
        ),
    ] {
        assert_eq!(client("127.0.0.2", lines), expected, "{lines}");
    }
}

/// A proxy program in front of a server, ended when dropped.
pub(crate) struct Proxy {
    child: Child,
    pub(crate) address: SocketAddr,
    dir: tempfile::TempDir,
}

impl Proxy {
    /// Starts nginx or `HAProxy`, the latter for gRPC too; none, and a line that says so, where it is not installed.
    pub(crate) fn start(what: &str, upstream: SocketAddr) -> Option<Proxy> {
        let program = what.trim_end_matches("-h2");
        if Command::new(program).arg("-v").output().is_err() {
            let test = std::thread::current().name().unwrap_or("?").to_owned();
            // straight to the terminal: the test runner hides what a passing test prints
            let _ = writeln!(
                std::io::stderr().lock(),
                "SKIPPED {test}: {program} is not installed"
            );
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let config = dir.path().join("config");
        let mut command = Command::new(program);
        match what {
            "haproxy-h2" => {
                fs::write(&config, haproxy_for_grpc(address, upstream)).unwrap();
                command.arg("-db").arg("-f").arg(&config);
            }
            "nginx" => {
                fs::write(
                    &config,
                    nginx(&dir.path().display().to_string(), address, upstream),
                )
                .unwrap();
                command.arg("-p").arg(dir.path()).arg("-c").arg(&config);
            }
            _ => {
                let socket = dir.path().join("stats");
                fs::write(&config, haproxy(&socket, address, upstream)).unwrap();
                command.arg("-db").arg("-f").arg(&config);
            }
        }
        let child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn();
        let proxy = Proxy {
            child: child.unwrap(),
            address,
            dir,
        };
        eventually("the proxy listens", || TcpStream::connect(address).is_ok());
        Some(proxy)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn nginx(dir: &str, address: SocketAddr, upstream: SocketAddr) -> String {
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths = paths.map(|name| format!("{name}_temp_path {dir}/{name};"));
    format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/errors;
         events {{ worker_connections 512; }}
         http {{
           access_log off; {}
           upstream resnet {{ server {upstream}; keepalive 4; }}
           server {{
             listen {address};
             location / {{
               proxy_pass http://resnet;
               proxy_http_version 1.1;
               proxy_read_timeout 300s;
               proxy_set_header Connection \"\";
               proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
               proxy_set_header Forwarded \"\";
             }}
           }}
         }}",
        paths.join(" ")
    )
}

fn haproxy(socket: &Path, address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "global
           stats socket {}
         defaults
           mode http
           timeout connect 5s
           timeout client 300s
           timeout server 300s
         listen proxy
           bind {address}
           option forwardfor
           http-request del-header Forwarded
           server resnet {upstream}
         backend http
           option httpchk
           server resnet {upstream} check inter 50ms
         backend tcp
           server resnet {upstream} check inter 50ms
",
        socket.display()
    )
}

/// As the guides for gRPC behind `HAProxy` have it: HTTP/2 on both sides.
fn haproxy_for_grpc(address: SocketAddr, upstream: SocketAddr) -> String {
    format!(
        "defaults
           mode http
           timeout connect 5s
           timeout client 300s
           timeout server 300s
         listen grpc
           bind {address} proto h2
           server resnet {upstream} proto h2
"
    )
}

/// How `HAProxy`'s last check of the server in a backend went, as `L7OK 204`; none before it listens.
fn last_check(proxy: &Proxy, backend: &str) -> Option<String> {
    let mut stream = UnixStream::connect(proxy.dir.path().join("stats")).ok()?;
    stream.write_all(b"show stat\n").unwrap();
    let mut table = String::new();
    stream.read_to_string(&mut table).unwrap();
    let mut rows = table
        .lines()
        .map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().unwrap();
    let row = rows.find(|row| row[..2] == [backend, "resnet"]).unwrap();
    let cell = |name: &str| row[head.iter().position(|h| *h == name).unwrap()];
    Some(format!("{} {}", cell("check_status"), cell("check_code")))
}

#[test]
fn haproxys_default_check_and_its_tcp_check_pass_where_keys_are_set() {
    let keys = [("RESNET_API_KEYS", "alice:a-key-of-sixteen-letters-or-more")];
    let server = Process::start_with_env(&[], &keys);
    let Some(proxy) = Proxy::start("haproxy", server.address) else {
        return;
    };
    for (backend, result) in [("http", "L7OK 204"), ("tcp", "L4OK ")] {
        eventually(result, || {
            last_check(&proxy, backend).as_deref() == Some(result)
        });
    }
    for line in server.log.so_far() {
        assert!(line["path"].is_null(), "checks are not logged: {line}");
    }
}

#[test]
fn nginx_keeps_its_connection_beyond_the_header_timeout() {
    let server = Process::start(&["--header-timeout", "300ms"]);
    let Some(proxy) = Proxy::start("nginx", server.address) else {
        return;
    };
    let connections = || {
        let metrics = format!("http://{}/metrics", server.address);
        let text = Answer::of(agent().get(metrics).call()).body;
        let text = String::from_utf8(text).unwrap();
        let value = text
            .lines()
            .find_map(|l| l.strip_prefix("resnet_connections "));
        value.unwrap().parse::<u64>().unwrap()
    };
    for _ in 0..3 {
        for _ in 0..5 {
            assert_eq!(get_from(proxy.address, "127.0.0.1", ""), 200);
        }
        // As long as a connection that has begun to speak may take.
        let mut begun = TcpStream::connect(server.address).unwrap();
        begun.write_all(b"G").unwrap();
        let _ = begun.read(&mut [0]); // a reset is an end too
        // nginx's and the one that asks.
        eventually("the others are closed", || connections() == 2);
    }
}

/// Two clients of one proxy, and what a forger gets.
fn clients_of(program: &str) {
    let server = Process::start(&["--trusted-proxies", "127.0.0.1"]);
    let Some(proxy) = Proxy::start(program, server.address) else {
        return;
    };
    for from in ["127.0.0.2", "127.0.0.3"] {
        for lines in [
            "",
            "X-Forwarded-For: 203.0.113.5\r\n",
            "X-Forwarded-For: 203.0.113.5, 127.0.0.1\r\n",
            "Forwarded: for=203.0.113.5\r\n",
        ] {
            let client = client_in_log(&server, proxy.address, from, lines);
            assert_eq!(client.as_deref(), Some(from), "{program}: {lines}");
        }
    }
}

/// A flood through a proxy leaves the proxy's other clients their share.
fn flood_through(program: &str) {
    let trusted = TrustedProxies::new(vec!["127.0.0.1".parse().unwrap()]);
    let settings = Settings {
        trusted_proxies: trusted,
        ..Settings::default()
    };
    let mut proxy = None;
    flood_waits_behind_itself(settings, |server| {
        proxy = Proxy::start(program, server);
        proxy.as_ref().map(|proxy| proxy.address)
    });
}

#[test]
fn clients_behind_nginx_are_told_apart() {
    clients_of("nginx");
}

#[test]
fn clients_behind_haproxy_are_told_apart() {
    clients_of("haproxy");
}

#[test]
fn flood_through_nginx_waits_behind_itself() {
    flood_through("nginx");
}

#[test]
fn flood_through_haproxy_waits_behind_itself() {
    flood_through("haproxy");
}

#[test]
fn client_behind_two_proxies_is_found_through_both() {
    let server = Process::start(&["--trusted-proxies", "127.0.0.1"]);
    let inner = Proxy::start("haproxy", server.address);
    let Some(outer) = inner
        .as_ref()
        .and_then(|inner| Proxy::start("nginx", inner.address))
    else {
        return;
    };
    let lines = "X-Forwarded-For: 203.0.113.5\r\n";
    let client = client_in_log(&server, outer.address, "127.0.0.2", lines);
    assert_eq!(client.as_deref(), Some("127.0.0.2"));
}
