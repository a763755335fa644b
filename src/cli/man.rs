//! `resnet man`: the help of a command as a manual page, or all of them as files.
//!
//! Made from the flags themselves.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use clap_mangen::Man;

use super::output::{UsageError, print};

/// Print a manual page, or write all of them into a directory
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  resnet man | man -l -                              read resnet(1)
  resnet man serve | man -l -                        read resnet-serve(1)
  resnet man --dir ~/.local/share/man/man1           then: man resnet, man resnet-serve")]
pub(crate) struct ManArgs {
    /// The command that the page is about [default: resnet itself]
    #[arg(value_name = "COMMAND", num_args = 0.., conflicts_with = "dir")]
    command: Vec<String>,

    /// Write a page for each command into this directory, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Prints or writes the pages of these commands.
///
/// # Errors
/// If there is no such command, or the pages cannot be written.
pub(crate) fn run(args: &ManArgs, commands: clap::Command) -> anyhow::Result<()> {
    if let Some(dir) = &args.dir {
        let cannot = || format!("cannot write into {}", dir.display());
        std::fs::create_dir_all(dir).with_context(cannot)?;
        return write_pages(&built(commands), dir).with_context(cannot);
    }
    let mut text = Vec::new();
    page(&find(commands, &args.command)?).render(&mut text)?;
    print(&String::from_utf8(text)?)
}

fn page(command: &clap::Command) -> Man {
    Man::new(command.clone()).source(concat!("resnet ", env!("CARGO_PKG_VERSION")))
}

/// Writes the page of a command and those of all below it.
fn write_pages(command: &clap::Command, dir: &Path) -> io::Result<()> {
    for command in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        write_pages(command, dir)?;
    }
    page(command).generate_to(dir).map(|_| ())
}

/// The commands, each with the whole of its name.
fn built(commands: clap::Command) -> clap::Command {
    let mut commands = commands.disable_help_subcommand(true);
    commands.build();
    commands
}

/// The command of these words.
fn find(commands: clap::Command, words: &[String]) -> Result<clap::Command, UsageError> {
    let commands = built(commands);
    let mut found = &commands;
    for word in words {
        found = found.find_subcommand(word).ok_or_else(|| {
            let names = found.get_subcommands().map(clap::Command::get_name);
            let names: Vec<&str> = names.collect();
            UsageError(match &names[..] {
                [] => format!("{} has no command \"{word}\"", found.get_name()),
                _ => format!(
                    "there is no command \"{word}\", there are: {}",
                    names.join(", ")
                ),
            })
        })?;
    }
    Ok(found.clone())
}
