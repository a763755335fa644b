//! The log: text on a terminal, JSON lines otherwise, always on standard error.
//!
//! Set up once by the commands that run a classifier.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use super::log_text;
use crate::cli::output::UsageError;
use crate::engine::is_expected_panic;

/// How the log looks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Least severe level to log: error, warn, info, debug, trace, or a filter as resnet=debug [default: info for
    /// serve, warn for the others]
    #[arg(long, env = "RESNET_LOG", value_name = "LEVEL")]
    log_level: Option<String>,

    /// Log format; auto is text on a terminal and JSON otherwise
    #[arg(
        long,
        env = "RESNET_LOG_FORMAT",
        default_value = "auto",
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
}

/// Text or JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Text on a terminal, JSON otherwise
    Auto,
    /// For people
    Text,
    /// One object a line
    Json,
}

impl LogArgs {
    /// Installs the log and sends panics to it.
    ///
    /// # Errors
    /// If the level is no filter.
    pub(crate) fn install(&self, default_level: &str) -> anyhow::Result<()> {
        let level = self.log_level.as_deref().unwrap_or(default_level);
        let filter = match level.contains(['=', ',']) {
            true => level.to_owned(),
            false => format!("warn,resnet={level}"),
        };
        let filter = EnvFilter::try_new(&filter).map_err(|_| {
            UsageError(format!(
                "--log-level is \"{level}\", allowed are off, error, warn, info, debug, trace, or a filter as resnet=debug"
            ))
        })?;
        let terminal = io::stderr().is_terminal();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_target(false)
            // A log that cannot be written (full disk, dead collector) must not end the server.
            .log_internal_errors(false);
        if self.log_format == LogFormat::Json || (self.log_format == LogFormat::Auto && !terminal) {
            log.json().flatten_event(true).with_span_list(false).init();
        } else {
            // set, and not empty, is how no-color.org wants it
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            log.fmt_fields(log_text::fields())
                .with_ansi(terminal && !no_color)
                .init();
        }
        std::panic::set_hook(Box::new(|panic| {
            if is_expected_panic() {
                return tracing::debug!("while loading: {panic}");
            }
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("?");
            // A decoder that panics is caught, and an image brought it about: worth a look, no failure of the service.
            if name.starts_with("prep-") {
                tracing::warn!(thread = name, "{panic}");
            } else {
                tracing::error!(thread = name, "{panic}");
            }
        }));
        Ok(())
    }
}
