//! Whether traces are exported, by the `OTEL_*` variables.
//!
//! Asked by `serve` at the start.

use std::time::Duration;

use crate::cli::output::UsageError;
use crate::traces::{ExportOptions, Tracer};

/// How long the last traces may take to leave when the server stops, on top of its drain.
pub(super) const FINISH: Duration = Duration::from_secs(3);

/// What the variables ask for, in a build that exports traces. Any other build warns.
///
/// # Errors
/// [`UsageError`]: a value that cannot be served.
pub(super) fn options() -> Result<Option<ExportOptions>, UsageError> {
    let options = ExportOptions::from_env(|name| std::env::var_os(name));
    if cfg!(feature = "otel") {
        return options.map_err(|error| UsageError(error.to_string()));
    }
    if !matches!(options, Ok(None)) {
        tracing::warn!(
            "no traces are exported, although OTEL_ variables ask for them: this build was made without the cargo \
             feature `otel`"
        );
    }
    Ok(None)
}

/// Starts what exports traces, if they are asked for.
///
/// # Errors
/// A collector that cannot be asked.
pub(super) fn start(options: Option<&ExportOptions>) -> anyhow::Result<Option<Tracer>> {
    let Some(options) = options else {
        return Ok(None);
    };
    let tracer = Tracer::start(options)?;
    tracing::info!(
        service = options.service_name,
        sampled_share = options.sampler.ratio,
        "traces are exported"
    );
    Ok(Some(tracer))
}
