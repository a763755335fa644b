//! The flag that says where models lie, and the look-up of names, as all commands on the store share them.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, bail};

use crate::cli::output::UsageError;
use crate::registry::{Builtin, Catalog, CatalogEntry, Store};

/// Where models lie.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StoreArgs {
    /// Directory of pulled models, and of others that are named [default: the platform's cache directory,
    /// ~/.cache/resnet/models on Linux]
    #[arg(long, env = "RESNET_MODELS_DIR", value_name = "DIR")]
    pub(crate) models_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// Opens the store: the flag, else its variable, else the platform's cache directory. None if none of them says where.
    ///
    /// # Errors
    /// A usage error if what the flag or the variable names is something else than a directory. It may be missing:
    /// `resnet pull` makes it.
    pub(crate) fn store(&self) -> Result<Option<Store>, UsageError> {
        if let Some(dir) = self
            .models_dir
            .as_ref()
            .filter(|dir| dir.exists() && !dir.is_dir())
        {
            let dir = dir.display();
            return Err(UsageError(format!("--models-dir {dir} is not a directory")));
        }
        let default = || Store::default_dir(|name| env::var_os(name));
        Ok(self.models_dir.clone().or_else(default).map(Store::new))
    }

    /// Opens the store for a command that is about it.
    ///
    /// # Errors
    /// As [`StoreArgs::store`], and if nothing says where it is.
    pub(crate) fn needed_store(&self) -> anyhow::Result<Store> {
        self.store()?.context(
            "no models directory: the environment names no cache directory; give --models-dir DIR or set RESNET_MODELS_DIR",
        )
    }

    /// Returns the flag as the next command needs it: empty where the environment or the default says the same.
    pub(crate) fn as_flag(&self) -> String {
        match &self.models_dir {
            Some(dir) if env::var_os("RESNET_MODELS_DIR").is_none() => {
                format!(" --models-dir {}", dir.display())
            }
            _ => String::new(),
        }
    }
}

/// Finds a model of the catalogue by name or alias.
///
/// # Errors
/// Names what there is, and the nearest of them first.
pub(crate) fn find<'a>(catalog: &'a Catalog, name: &str) -> anyhow::Result<&'a CatalogEntry> {
    if let Some(entry) = catalog.find(name) {
        return Ok(entry);
    }
    let guess = catalog
        .suggest(name)
        .map(|near| format!(", did you mean {near}?"))
        .unwrap_or_default();
    let names: Vec<&str> = catalog
        .entries()
        .iter()
        .flat_map(CatalogEntry::names)
        .collect();
    bail!(
        "no model {name:?} in the catalogue{guess} (there are {})",
        names.join(", ")
    )
}

/// Whether `name` is a model compiled into this binary.
pub(crate) fn is_builtin(name: &str) -> bool {
    Builtin::find(name).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_name_lists_the_catalogue_and_the_nearest_name() {
        let error = find(&Catalog::builtin(), "resnet-50")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("\"resnet-50\"") && error.contains("did you mean resnet50?"),
            "{error}"
        );
        assert!(error.contains("resnet152-v2-7"), "{error}");
    }
}
