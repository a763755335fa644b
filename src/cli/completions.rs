//! `resnet completions SHELL`: a script with which a shell completes commands, flags and their values.
//!
//! Made from the flags themselves.

use clap::Args;
use clap_complete::Shell;

use super::output::print;

/// Print the script that lets a shell complete `resnet`
#[derive(Debug, Args)]
#[command(after_help = "\
Where each shell looks for it:
  bash        resnet completions bash > ~/.local/share/bash-completion/completions/resnet
  zsh         resnet completions zsh > ~/.zfunc/_resnet      (~/.zfunc must be in $fpath)
  fish        resnet completions fish > ~/.config/fish/completions/resnet.fish
  elvish      resnet completions elvish >> ~/.config/elvish/rc.elv
  powershell  resnet completions powershell >> $PROFILE")]
pub(crate) struct CompletionsArgs {
    /// The shell that is to read it
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script for these commands.
///
/// # Errors
/// If standard output fails.
pub(crate) fn run(args: &CompletionsArgs, mut commands: clap::Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut commands, "resnet", &mut script);
    print(&String::from_utf8(script)?)
}
