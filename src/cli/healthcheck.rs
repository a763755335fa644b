//! `resnet healthcheck`: asks a running server's `/readyz`, for containers that have no curl.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;

use super::local_tls;
use super::output::{UsageError, print};
use crate::config::{parse_duration, parse_host, whole_number};

/// The flags of `resnet healthcheck`.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// Address of the server; 0.0.0.0 and :: mean this machine
    #[arg(long, env = "RESNET_HOST", default_value = "127.0.0.1", value_parser = parse_host, value_name = "ADDRESS")]
    host: IpAddr,

    /// Port of the server
    #[arg(long, env = "RESNET_PORT", default_value_t = 8080, value_parser = whole_number::<u16>(1, 65_535))]
    port: u16,

    /// How long the server may take to answer
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "TIME")]
    timeout: Duration,

    /// Ask by TLS, whatever the certificate says, so the address must be this machine's own; on by itself where
    /// `RESNET_TLS_CERT` is set
    #[arg(long)]
    tls: bool,

    /// The server's setting, in a container both have the same variables.
    #[arg(long, env = "RESNET_TLS_CERT", hide = true)]
    tls_cert: Option<PathBuf>,
}

/// Asks once.
///
/// # Errors
/// If there is no answer or it is not "ready".
pub(crate) fn run(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    if args.timeout.is_zero() {
        return Err(UsageError("--timeout is 0, allowed are durations above it".into()).into());
    }
    let deadline = Instant::now() + args.timeout;
    let host = match args.host {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => loopback(args.port, deadline),
        ip => ip,
    };
    let address = SocketAddr::new(host, args.port);
    let tls = args.tls || args.tls_cert.is_some();
    if tls && !is_own(host) {
        let text = format!(
            "--host is {host}, allowed with TLS are addresses of this machine: the certificate is not looked at"
        );
        return Err(UsageError(text).into());
    }
    let scheme = if tls { "https" } else { "http" };
    let url = format!("{scheme}://{address}/readyz");
    let ask_by = |tls: bool| {
        let stream = Timed::connect(address, deadline)?;
        match tls {
            false => ask(stream, address),
            true => ask(local_tls::over(stream, host)?, address),
        }
    };
    let status = match ask_by(tls) {
        Ok(status) => status,
        Err(_) if ask_by(!tls).is_ok() => bail!("no answer from {url}: {}", other_way(tls)),
        Err(error) => return Err(error.context(format!("no answer from {url}"))),
    };
    if status != "200" {
        bail!("{url} answers {status}: not ready");
    }
    print("ready\n")?;
    Ok(ExitCode::SUCCESS)
}

/// This machine, by the family in which a server listens that was told `::`: IPv6, or IPv4 where there is no IPv6.
fn loopback(port: u16, deadline: Instant) -> IpAddr {
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    match Timed::connect(SocketAddr::new(v6, port), deadline) {
        Ok(_) => v6,
        Err(_) => Ipv4Addr::LOCALHOST.into(),
    }
}

/// What to do where the server speaks TLS and the check does not, or the other way round.
fn other_way(tls: bool) -> &'static str {
    match tls {
        false => "the server answers by TLS, add --tls",
        true => "the server answers without TLS, leave out --tls and RESNET_TLS_CERT",
    }
}

/// Only addresses of this machine can be listened on.
fn is_own(host: IpAddr) -> bool {
    TcpListener::bind((host, 0)).is_ok()
}

/// A stream whose reads and writes have one deadline together, however little each of them brings.
struct Timed {
    stream: TcpStream,
    deadline: Instant,
}

impl Timed {
    fn connect(address: SocketAddr, deadline: Instant) -> anyhow::Result<Timed> {
        let left = deadline.saturating_duration_since(Instant::now());
        let stream = TcpStream::connect_timeout(&address, left)?;
        Ok(Timed { stream, deadline })
    }

    /// The time that is left.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buf)
    }
}

impl Write for Timed {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

/// The status code of `GET /readyz`.
fn ask(mut stream: impl Read + Write, address: SocketAddr) -> anyhow::Result<String> {
    write!(
        stream,
        "GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .context("that is no HTTP server")?;
    Ok(status.to_owned())
}
