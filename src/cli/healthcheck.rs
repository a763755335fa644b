//! `resnet healthcheck`: asks a running server's `/readyz`, for containers that have no curl.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::output::{UsageError, print};
use crate::config::{parse_duration, parse_host};

/// The flags of `resnet healthcheck`.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// Address of the server; 0.0.0.0 means this machine
    #[arg(long, env = "RESNET_HOST", default_value = "127.0.0.1", value_parser = parse_host, value_name = "ADDRESS")]
    host: IpAddr,

    /// Port of the server
    #[arg(long, env = "RESNET_PORT", default_value_t = 8080)]
    port: u16,

    /// How long the server may take to answer
    #[arg(long, default_value = "2s", value_parser = parse_duration, value_name = "TIME")]
    timeout: Duration,
}

/// Asks once.
///
/// # Errors
/// If there is no answer or it is not "ready".
pub(crate) fn run(args: &HealthcheckArgs) -> anyhow::Result<ExitCode> {
    let host = match args.host {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let address = SocketAddr::new(host, args.port);
    if args.timeout.is_zero() {
        return Err(UsageError("--timeout is 0, allowed are durations above it".into()).into());
    }
    let status = ask(address, args.timeout)
        .with_context(|| format!("no answer from http://{address}/readyz"))?;
    if status != "200" {
        bail!("http://{address}/readyz answers {status}: not ready");
    }
    print("ready\n")?;
    Ok(ExitCode::SUCCESS)
}

/// The status code of `GET /readyz`.
fn ask(address: SocketAddr, timeout: Duration) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
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
