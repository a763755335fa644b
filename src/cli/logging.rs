//! The log: text on a terminal, JSON lines otherwise, always on standard error.
//!
//! Set up once by the commands that run a classifier.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// How the log looks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Least severe level to log: error, warn, info, debug, trace, or a filter as resnet=debug
    #[arg(long, env = "RESNET_LOG", default_value = "info", value_name = "LEVEL")]
    pub(crate) log_level: String,

    /// Log format; auto is text on a terminal and JSON otherwise
    #[arg(
        long,
        env = "RESNET_LOG_FORMAT",
        default_value = "auto",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
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
    pub(crate) fn install(&self) -> anyhow::Result<()> {
        // tract warns about every operator set it was not tested with; ours are tested.
        let text = format!("warn,tract_onnx=error,resnet={0},{0}", self.log_level);
        let text = if self.log_level.contains(['=', ',']) {
            self.log_level.clone()
        } else {
            text
        };
        let filter = EnvFilter::try_new(&text).map_err(|e| {
            anyhow::anyhow!(
                "--log-level \"{}\" is no level or filter: {e}",
                self.log_level
            )
        })?;
        let terminal = io::stderr().is_terminal();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_target(false);
        if self.log_format == LogFormat::Json || (self.log_format == LogFormat::Auto && !terminal) {
            log.json().flatten_event(true).with_span_list(false).init();
        } else {
            // set, and not empty, is how no-color.org wants it
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            log.with_ansi(terminal && !no_color).init();
        }
        std::panic::set_hook(Box::new(|panic| {
            let thread = std::thread::current();
            tracing::error!(thread = thread.name().unwrap_or("?"), "{panic}");
        }));
        Ok(())
    }
}
