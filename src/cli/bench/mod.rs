//! `resnet bench …`: measures parts of this program on this machine.
//!
//! Each subcommand has its file.

mod engine;
mod profile;

use clap::{Args, Subcommand};

/// The subcommands of `resnet bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    part: Part,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Measure inference alone: made-up images, no decoding, no server
    Engine(engine::EngineBenchArgs),
}

/// Runs the measurement.
///
/// # Errors
/// If the model cannot be loaded or run, or standard output fails.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    match &args.part {
        Part::Engine(args) => engine::run(args),
    }
}
