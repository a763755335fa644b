//! Who may come in: API keys and TLS.
//!
//! Flattened into `serve`; `cli/serve/access.rs` reads the files.

use std::path::PathBuf;

use clap::Args;

use crate::network::Network;

/// The variable with API keys. It has no flag: arguments can be read by every user of the machine.
pub const API_KEYS_VARIABLE: &str = "RESNET_API_KEYS";

/// Who may come in, and who it is.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub struct AccessConfig {
    /// File of API keys, one a line as NAME:KEY or NAME:sha256=DIGEST; read again on SIGHUP. The variable
    /// `RESNET_API_KEYS` holds keys itself, separated by commas [default: no key is needed]
    #[arg(long, env = "RESNET_API_KEYS_FILE", value_name = "FILE")]
    pub api_keys_file: Option<PathBuf>,

    /// Proxies, by address or network, whose word on a client's address is taken, from Forwarded or X-Forwarded-For;
    /// separated by commas [default: none, the other end of the connection is the client]
    #[arg(
        long,
        env = "RESNET_TRUSTED_PROXIES",
        value_delimiter = ',',
        value_name = "CIDR"
    )]
    pub trusted_proxies: Vec<Network>,

    /// PEM file of the server's certificate, followed by those of its issuers: speak TLS, 1.2 or 1.3; read again on
    /// SIGHUP [default: no TLS]
    #[arg(
        long,
        env = "RESNET_TLS_CERT",
        requires = "tls_key",
        value_name = "FILE"
    )]
    pub tls_cert: Option<PathBuf>,

    /// PEM file of its private key, without a passphrase
    #[arg(
        long,
        env = "RESNET_TLS_KEY",
        requires = "tls_cert",
        value_name = "FILE"
    )]
    pub tls_key: Option<PathBuf>,
}

/// The text of [`API_KEYS_VARIABLE`], one key a line; `None` if it is not set or empty.
///
/// # Errors
/// A sentence that does not hold the value.
pub fn api_keys_variable() -> Result<Option<String>, String> {
    match std::env::var_os(API_KEYS_VARIABLE) {
        None => Ok(None),
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => match value.into_string() {
            Ok(text) => Ok(Some(text.replace(',', "\n"))),
            Err(_) => Err(format!("{API_KEYS_VARIABLE} is not UTF-8")),
        },
    }
}
