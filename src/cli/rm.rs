//! `resnet rm`: removes a pulled model, and what an unfinished download left of it.

use anyhow::{Context, bail};
use clap::Args;
use indicatif::DecimalBytes;

use super::args::{StoreArgs, find, is_builtin};
use super::output::print;
use crate::registry::Catalog;

/// Remove a pulled model from this machine
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Name from `resnet ls`, as resnet50
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command.
///
/// # Errors
/// If the name is unknown or built in, nothing of it is there, or the file system refuses.
pub(crate) fn run(args: &RmArgs) -> anyhow::Result<()> {
    if is_builtin(&args.name) {
        bail!(
            "{} is built into this program and cannot be removed",
            args.name
        );
    }
    let catalog = Catalog::builtin();
    let entry = find(&catalog, &args.name)?;
    let store = args.store.store()?;
    let removed = store
        .remove(entry)
        .with_context(|| format!("cannot remove {}", store.path_of(entry).display()))?;
    match removed {
        Some(bytes) => print(&format!(
            "removed {}, {} freed\n",
            entry.name,
            DecimalBytes(bytes)
        )),
        None => bail!(
            "{} is not in {}; `resnet ls` shows what is",
            entry.name,
            store.dir().display()
        ),
    }
}
