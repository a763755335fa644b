//! The `resnet` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    resnet::cli::Cli::from_args().run()
}
