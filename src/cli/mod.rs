//! The commands: argv and environment in, exit code out.
//!
//! Called by `main`. Each command has its file; nobody imports this room.

mod args;
mod bench;
mod classify;
mod completions;
mod destination;
mod doctor;
mod eval;
mod healthcheck;
mod image_file;
mod limits;
mod load;
mod local_tls;
mod ls;
mod man;
mod memory_bound;
mod offline;
mod one_answer;
mod output;
mod preprocess;
mod progress;
mod pull;
mod quantize;
mod rm;
mod serve;
mod show;
mod signals;
mod variables;

use std::error::Error as _;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Styles;
use clap::error::ContextValue;
use clap::{Parser, Subcommand};

use self::args::would_be_json;
use self::output::{ReaderGone, UsageError};
use self::variables::{Variables, ignore_meaningless};
use crate::engine::is_expected_panic;
use crate::visible::{visible, visible_lines};

/// Serves pretrained ResNets on CPUs: POST a photo, get ImageNet classes
#[derive(Debug, Parser)]
#[command(name = "resnet", version = version(), max_term_width = 100, propagate_version = true)]
#[command(after_help = "\
Start with:
  resnet serve                                        serve the built-in model
  curl -T photo.jpg http://127.0.0.1:8080/classify    classify a photo
  resnet pull resnet50                                download the real thing")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve models over HTTP
    Serve(Box<serve::ServeArgs>),
    /// Classify image files and folders of them without a server
    Classify(Box<classify::ClassifyArgs>),
    /// Measure a model's accuracy on labelled photos
    Eval(Box<eval::EvalArgs>),
    /// Measure how fast this machine computes a model
    Bench(bench::BenchArgs),
    /// Make a model of 8 bits that answers alike, from photos
    Quantize(quantize::QuantizeArgs),
    /// Write what the network sees of an image as .npy, or compare it with a reference
    Preprocess(Box<preprocess::PreprocessArgs>),
    Pull(pull::PullArgs),
    Ls(ls::LsArgs),
    /// Show one model: file, digest, license, input, preprocessing
    Show(show::ShowArgs),
    Rm(rm::RmArgs),
    /// Show what this machine and configuration offer, and check the models
    Doctor(Box<doctor::DoctorArgs>),
    /// Ask a running server whether it is ready; exit code 0 if so
    Healthcheck(healthcheck::HealthcheckArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Version and commit, for `--version`.
fn version() -> &'static str {
    concat!(env!("CARGO_PKG_VERSION"), " (", env!("RESNET_COMMIT"), ")")
}

/// All commands with their flags.
fn commands() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

impl Cli {
    /// Reads argv; prints help or a usage error and exits with 0 or 2 where that is the answer.
    #[must_use]
    pub fn from_args() -> Cli {
        let matches = parser().try_get_matches();
        let cli = matches.and_then(|m| <Cli as clap::FromArgMatches>::from_arg_matches(&m));
        cli.unwrap_or_else(|error| refuse(error))
    }

    /// Runs the command; a failure is printed as one line.
    pub fn run(self) -> ExitCode {
        #[cfg(feature = "fail-points")]
        crate::faults::arm(&std::env::var("RESNET_FAULTS").unwrap_or_default());
        // The commands with a log send panics to it instead.
        std::panic::set_hook(Box::new(|panic| {
            if !is_expected_panic() {
                output::complain(&format!("error: {panic}"));
            }
        }));
        let unknown = variables().unknown();
        // Whoever has a log has the warnings there.
        let is_json = match &self.command {
            Command::Serve(args) => args.is_json(),
            _ => {
                let warn = |sentence: &String| output::complain(&format!("warning: {sentence}"));
                unknown.iter().for_each(warn);
                false
            }
        };
        let result = match self.command {
            Command::Serve(args) => serve::run(&args, &unknown),
            Command::Classify(args) => classify::run(&args),
            Command::Eval(args) => eval::run(&args),
            Command::Bench(args) => bench::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Quantize(args) => quantize::run(&args),
            Command::Preprocess(args) => preprocess::run(&args),
            Command::Pull(args) => pull::run(&args),
            Command::Ls(args) => ls::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Show(args) => show::run(&args).map(|()| ExitCode::SUCCESS),
            Command::Rm(args) => rm::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Healthcheck(args) => healthcheck::run(&args),
            Command::Completions(args) => {
                completions::run(&args, commands()).map(|()| ExitCode::SUCCESS)
            }
            Command::Man(args) => man::run(&args, commands()).map(|()| ExitCode::SUCCESS),
        };
        result.unwrap_or_else(|error| {
            if error.is::<ReaderGone>() {
                return ExitCode::SUCCESS;
            }
            let text = variables().named(&format!("{error:#}"), &arguments());
            match is_json {
                true => output::complain_json(&text),
                false => output::complain(&format!("error: {text}")),
            }
            if error.is::<UsageError>() {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        })
    }
}

/// [`commands`] as they are read from the command line and the environment.
fn parser() -> clap::Command {
    let ignore = |c: clap::Command| c.mut_args(ignore_meaningless);
    let commands = commands().mut_subcommands(|c| ignore(c).mut_subcommands(ignore));
    // Without styles of clap's, whatever a terminal would obey in its texts is from outside.
    commands.styles(Styles::plain())
}

fn arguments() -> Vec<OsString> {
    std::env::args_os().skip(1).collect()
}

fn variables() -> Variables {
    Variables::of(&commands())
}

/// Ends the process with clap's help or error, which for `serve` is as its log would have it.
fn refuse(mut error: clap::Error) -> ! {
    let args = arguments();
    variables().name_argument(&mut error, &args);
    let text = shown(&error);
    let is_serve = args.first().is_some_and(|command| command == "serve");
    if !error.use_stderr() {
        // Nobody is left to tell if that fails.
        let _ = output::print(&text);
    } else if is_serve && would_be_json(&args) {
        output::complain_json(text.trim().trim_start_matches("error: "));
    } else {
        output::complain_lines(&text);
    }
    std::process::exit(error.exit_code());
}

/// The text of clap's as people may see it. Values and what a parser says of them have no line ends of their own.
fn shown(error: &clap::Error) -> String {
    // With the escapes in values, which the plain text would lack.
    let mut text = error.render().ansi().to_string();
    let values = error.context().filter_map(|(_, value)| match value {
        ContextValue::String(value) => Some(value.clone()),
        _ => None,
    });
    for value in values.chain(error.source().map(ToString::to_string)) {
        text = text.replace(&value, &visible(&value));
    }
    visible_lines(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_well_formed() {
        commands().debug_assert();
    }
}
