//! Load and faults from outside: starts the real `resnet serve`, drives it over sockets, and says whether it kept its
//! bounds.
//!
//! One thread, so that the other CPUs are the server's. Exit code 0 if every bound was kept, 1 if one was broken, 2 if
//! the scenario could not run.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is its purpose"
)]

mod args;
mod http;
mod load;
mod photos;
mod process;
mod report;
mod scenario;
mod server;
mod stats;

use std::process::ExitCode;

use crate::args::{Args, USAGE};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|w| w == "--help" || w == "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let args = Args::parse(words.into_iter()).and_then(|mut args| {
        if args.apart {
            args.server_cpus = Some(process::move_to_last_cpu()?);
        }
        Ok(args)
    });
    let args = match args {
        Ok(args) => args,
        Err(e) => {
            eprintln!("{e}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(scenario::run(&args)),
        Err(e) => Err(e.to_string()),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("{}: {e}", args.scenario);
            ExitCode::from(2)
        }
    }
}
