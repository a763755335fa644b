//! The log: text on a terminal, JSON lines otherwise, always on standard error.
//!
//! Set up once by the commands that run a classifier.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use anyhow::Context;
use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::{LogSample, log_json, log_text};
use crate::engine::is_expected_panic;

/// How the log looks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub(crate) struct LogArgs {
    /// Least severe level to log: off, error, warn, info, debug, trace; behind it, or alone, filters as
    /// `resnet::access=off`, which leaves out the lines of requests [default: info for serve, warn for the others]
    #[arg(long, env = "RESNET_LOG", value_parser = parse_filter, value_name = "LEVEL")]
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

impl LogFormat {
    fn is_json(self) -> bool {
        match self {
            LogFormat::Auto => !io::stderr().is_terminal(),
            LogFormat::Text => false,
            LogFormat::Json => true,
        }
    }
}

/// Whether the log would be JSON, for flags that could not be read to their end.
pub(crate) fn would_be_json(args: &[OsString]) -> bool {
    let mut words = args.iter().filter_map(|arg| arg.to_str());
    let flag = words.find_map(|word| word.strip_prefix("--log-format"));
    let flag = flag.map(|value| value.strip_prefix('=').or_else(|| words.next()));
    let variable = std::env::var("RESNET_LOG_FORMAT").ok();
    let asked = flag.flatten().or(variable.as_deref());
    let format = asked.and_then(|name| LogFormat::from_str(name, false).ok());
    format.unwrap_or(LogFormat::Auto).is_json()
}

/// A filter by the default for what the user's says nothing of. A level alone is that of this program; what others log
/// is of interest from warnings on.
fn filter(default_level: &str, wish: &str) -> String {
    let mut parts = vec!["warn".to_owned(), format!("resnet={default_level}")];
    for part in wish.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        parts.push(match part.parse::<LevelFilter>() {
            Ok(_) => format!("resnet={part}"),
            Err(_) => part.to_owned(),
        });
    }
    parts.join(",")
}

/// The parts of the program that log, behind `resnet::`: the lines of requests, and modules.
const TARGETS: [&str; 10] = [
    "access",
    "batcher",
    "cli",
    "desk",
    "engine",
    "http",
    "preprocess",
    "repository",
    "server",
    "traces",
];

/// The part of a filter that names a part of this program which logs nothing, and so would have no effect.
fn without_effect(text: &str) -> Option<&str> {
    text.split(',').map(str::trim).find(|filter| {
        let end = filter.find(['=', '[']).unwrap_or(filter.len());
        let part = filter[..end].strip_prefix("resnet::");
        let part = part.and_then(|path| path.split("::").next());
        part.is_some_and(|part| !TARGETS.contains(&part))
    })
}

/// Reads a level or a filter.
fn parse_filter(text: &str) -> Result<String, String> {
    let wrong = || {
        format!(
            "`{text}` is no level, allowed are off, error, warn, info, debug, trace, and filters as resnet=debug or \
             resnet::access=off, separated by commas"
        )
    };
    // Nothing at all is a level to the library.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    let is_known = |part: &str| part.contains('=') || is_level(part.trim());
    if let Some(filter) = without_effect(text) {
        let targets = TARGETS.join(", ");
        return Err(format!(
            "`{filter}` has no effect: what logs behind resnet:: are {targets}"
        ));
    }
    match text.split(',').all(is_known) && EnvFilter::try_new(filter("info", text)).is_ok() {
        true => Ok(text.to_owned()),
        false => Err(wrong()),
    }
}

impl LogArgs {
    /// Whether the log is for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.log_format.is_json()
    }

    /// Installs the log, with a sample of the lines of requests, and sends panics to it.
    ///
    /// # Errors
    /// If the level is no filter.
    pub(crate) fn install(&self, default_level: &str, sample: LogSample) -> anyhow::Result<()> {
        let filter = filter(default_level, self.log_level.as_deref().unwrap_or_default());
        let filter = EnvFilter::try_new(&filter).context("--log-level")?;
        let terminal = io::stderr().is_terminal();
        let log = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(io::stderr)
            .with_target(self.is_json())
            // A log that cannot be written (full disk, dead collector) must not end the server.
            .log_internal_errors(false);
        if self.is_json() {
            let log = log.with_writer(log_json::Shown::stderr).json();
            let log = log.flatten_event(true).with_span_list(false);
            log.finish().with(sample).init();
        } else {
            // set, and not empty, is how no-color.org wants it
            let no_color = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
            let log = log.fmt_fields(log_text::fields());
            let log = log.with_ansi(terminal && !no_color);
            log.finish().with(sample).init();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::ACCESS_TARGET;

    #[test]
    fn filter_adds_to_the_default() {
        for (wish, want) in [
            ("", "warn,resnet=info"),
            ("debug", "warn,resnet=info,resnet=debug"),
            ("resnet::access=off", "warn,resnet=info,resnet::access=off"),
            (
                "debug, resnet::access=off,h2=trace",
                "warn,resnet=info,resnet=debug,resnet::access=off,h2=trace",
            ),
        ] {
            assert_eq!(filter("info", wish), want);
        }
        for right in ["off", "TRACE", "resnet=debug", "warn,resnet::access=info"] {
            assert_eq!(parse_filter(right).as_deref(), Ok(right));
        }
        for wrong in ["loud", "", "info,loud", "resnet=loud", "info,"] {
            let error = parse_filter(wrong).expect_err(wrong);
            assert!(error.contains(&format!("`{wrong}` is no level")), "{error}");
        }
        for right in ["resnet::http=debug", "resnet::server::drain=off,h2=trace"] {
            assert_eq!(parse_filter(right).as_deref(), Ok(right));
        }
        for wrong in ["resnet::acces=off", "warn,resnet::htp::observe=debug"] {
            let error = parse_filter(wrong).expect_err(wrong);
            assert!(error.contains("has no effect"), "{error}");
        }
    }

    #[test]
    fn targets_are_the_rooms_that_log() {
        let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut rooms = std::collections::BTreeSet::from([room_of(ACCESS_TARGET)]);
        for entry in walkdir::WalkDir::new(&source) {
            let path = entry.expect("readable").into_path();
            let is_rust = path.extension().is_some_and(|ending| ending == "rs");
            let text = is_rust.then(|| std::fs::read_to_string(&path).expect("text"));
            let logs = |text: String| {
                ["trace!(", "debug!(", "info!(", "warn!(", "error!("]
                    .iter()
                    .any(|log| text.contains(&format!("tracing::{log}")))
            };
            if text.is_some_and(logs) {
                let path = path.strip_prefix(&source).expect("within").to_owned();
                let room = path.iter().next().expect("a name").to_str();
                rooms.insert(room.expect("ASCII").trim_end_matches(".rs").to_owned());
            }
        }
        assert_eq!(Vec::from_iter(rooms), TARGETS);
    }

    fn room_of(target: &str) -> String {
        target.trim_start_matches("resnet::").to_owned()
    }

    #[test]
    fn format_is_found_among_flags_that_are_wrong() {
        let of = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            would_be_json(&args)
        };
        assert!(of(&["serve", "--log-format", "json", "--prot", "1"]));
        assert!(of(&["serve", "--log-format=json"]));
        assert!(!of(&["serve", "--prot", "1", "--log-format", "text"]));
    }
}
