//! `resnet rm`: removes pulled models, and what unfinished downloads left of them.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use indicatif::DecimalBytes;

use super::args::{StoreArgs, find, is_builtin};
use super::output::{complain, print};
use crate::registry::{Catalog, CatalogEntry, Store};

/// Remove pulled models from this machine
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Names from `resnet ls`, as resnet50
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Runs the command: if one of the names is wrong, nothing is removed; exit code 1 if one of them cannot be removed.
///
/// # Errors
/// If a name is unknown or built in, or standard output fails.
pub(crate) fn run(args: &RmArgs) -> anyhow::Result<ExitCode> {
    if let Some(name) = args.names.iter().find(|name| is_builtin(name)) {
        bail!("{name} is built into this program and cannot be removed");
    }
    let catalog = Catalog::builtin();
    let entries = args.names.iter().map(|name| find(&catalog, name));
    let entries = entries.collect::<anyhow::Result<Vec<_>>>()?;
    let store = args.store.needed_store()?;
    let mut code = ExitCode::SUCCESS;
    for entry in entries {
        match remove(entry, &store) {
            Ok(done) => print(&done)?,
            Err(error) => {
                complain(&format!("error: {error:#}"));
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}

/// Removes a model, and says so.
fn remove(entry: &CatalogEntry, store: &Store) -> anyhow::Result<String> {
    let removed = store
        .remove(entry)
        .with_context(|| format!("cannot remove {}", store.path_of(entry).display()))?;
    let Some(bytes) = removed else {
        bail!(
            "{} is not in {}; `resnet ls` shows what is",
            entry.name,
            store.dir().display()
        );
    };
    Ok(format!(
        "removed {}, {} freed\n",
        entry.name,
        DecimalBytes(bytes)
    ))
}
