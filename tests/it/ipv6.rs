//! Both families on one port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::harness::{Answer, Process, agent, raw, resnet, skipped};

fn has_ipv6() -> bool {
    let has = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    if !has {
        skipped("this machine has no IPv6");
    }
    has
}

fn asks(address: SocketAddr) -> bool {
    raw(
        address,
        b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .starts_with("HTTP/1.1 200 ")
}

#[test]
fn every_address_is_those_of_both_families() {
    if !has_ipv6() {
        return;
    }
    for host in ["::", "[::]"] {
        let server = Process::start(&["--host", host]);
        let port = server.address.port();
        for ip in [
            IpAddr::from(Ipv6Addr::LOCALHOST),
            Ipv4Addr::LOCALHOST.into(),
        ] {
            assert!(asks(SocketAddr::new(ip, port)), "{ip} by {host}");
            let url = format!("http://{}/models", SocketAddr::new(ip, port));
            Answer::of(agent().get(url).call()).ok();
            // A client of IPv4 is one, however it came in.
            let line = server.log.line("its line", |l| {
                l["path"] == "/models" && l["client"] == ip.to_string()
            });
            assert_eq!(line["status"], 200);
        }
        let port = port.to_string();
        for host in [host, "0.0.0.0", "::1", "127.0.0.1"] {
            let check = resnet()
                .args(["healthcheck", "--host", host, "--port", &port])
                .output();
            let check = check.unwrap();
            assert!(
                check.status.success(),
                "{host}: {}",
                String::from_utf8_lossy(&check.stderr)
            );
        }
    }
}

#[test]
fn health_check_of_every_address_finds_a_server_of_ipv4_alone() {
    let server = Process::start(&["--host", "0.0.0.0"]);
    let port = server.address.port().to_string();
    let check = resnet()
        .args(["healthcheck", "--host", "::", "--port", &port])
        .output()
        .unwrap();
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stderr)
    );
}

#[test]
fn one_address_of_ipv6_is_that_alone() {
    if !has_ipv6() {
        return;
    }
    // The same port of the other family is somebody else's, so it could not come up if it took both.
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = other.local_addr().unwrap().port();
    let mut command = resnet();
    command.args(["serve", "--log-format", "json", "--host", "[::1]", "--port"]);
    command.arg(port.to_string());
    let server = Process::wait_for(command);
    assert_eq!(
        server.address,
        SocketAddr::from((Ipv6Addr::LOCALHOST, port))
    );
    assert!(asks(server.address));
}

#[test]
fn brackets_around_something_else_are_no_address() {
    for host in ["[127.0.0.1]", "[::", "::]", "[]", "[x]"] {
        let output = resnet().args(["serve", "--host", host]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(&format!("`{host}` is no IP address")),
            "{said}"
        );
    }
}
