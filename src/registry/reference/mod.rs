//! What `--model` names: a catalogue entry, an `.onnx` file, a directory, or the built-in model.
//!
//! Called by `cli` for every `--model`; hands a `ModelRef` to `load`. Reads no file's content.

#[cfg(test)]
mod tests;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::registry::builtin::{BUILTINS, Builtin};
use crate::registry::catalog::{Catalog, CatalogEntry};
use crate::registry::version::split_version;
use crate::registry::{ModelError, Store};

/// A model to be loaded, under the name it is served by.
#[derive(Debug, Clone)]
pub struct ModelRef {
    /// 1 to 64 letters, digits, `.`, `_` or `-`, and `@` with a version if it is not 1.
    pub name: String,
    /// Where it comes from.
    pub source: ModelOrigin,
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub enum ModelOrigin {
    /// Compiled into the binary.
    Builtin(&'static Builtin),
    /// A catalogue entry in the store.
    Catalog(Box<CatalogEntry>, PathBuf),
    /// A single `.onnx` file.
    File(PathBuf),
    /// A directory with `model.onnx` and perhaps `model.toml` and `labels.txt`.
    Directory(PathBuf),
}

impl ModelRef {
    /// What is served where no model is named: the first of those built in.
    ///
    /// # Errors
    /// [`ModelError::NoBuiltin`] if none is.
    pub fn preset() -> Result<ModelRef, ModelError> {
        let first = BUILTINS.first().ok_or(ModelError::NoBuiltin)?;
        Ok(ModelRef::builtin(first))
    }

    /// A model compiled into the binary, under its own name.
    #[must_use]
    pub fn builtin(model: &'static Builtin) -> ModelRef {
        ModelRef {
            name: model.name.into(),
            source: ModelOrigin::Builtin(model),
        }
    }

    /// Reads a `--model` value: `NAME`, `PATH` or `NAME=PATH`, each name with `@VERSION` behind it or not.
    ///
    /// Only catalogue names need a store. A word without a slash or `.onnx` is a catalogue name first; `./word` is
    /// always a path.
    ///
    /// # Errors
    /// [`ModelError`] if it names nothing, is not downloaded, or gives no usable name.
    pub fn parse(
        value: &str,
        catalog: &Catalog,
        store: Option<&Store>,
    ) -> Result<ModelRef, ModelError> {
        let (name, target) = match value.split_once('=') {
            Some((name, target)) if !name.contains(['/', '\\']) => (Some(name), target),
            _ => (None, value),
        };
        let source = if let Some(builtin) = Builtin::find(target) {
            ModelOrigin::Builtin(builtin)
        } else if let Some(entry) = catalog.find(target) {
            let store = store.ok_or_else(|| ModelError::NoStore(target.into()))?;
            let path = store.path_of(entry);
            if !path.is_file() {
                return Err(ModelError::NotPulled {
                    name: target.into(),
                    path,
                });
            }
            ModelOrigin::Catalog(Box::new(entry.clone()), path)
        } else if let Some(directory) = version_in_store(target, store) {
            return Ok(ModelRef {
                name: checked(name.unwrap_or(target))?.to_owned(),
                source: ModelOrigin::Directory(directory),
            });
        } else {
            path_source(target, catalog)?
        };
        let name = match (name, &source) {
            (Some(name), _) => name.to_owned(),
            (None, ModelOrigin::File(path) | ModelOrigin::Directory(path)) => name_of(path),
            (None, ModelOrigin::Builtin(_) | ModelOrigin::Catalog(..)) => target.to_owned(),
        };
        checked(&name)?;
        Ok(ModelRef { name, source })
    }
}

impl ModelRef {
    /// The model of a name that a client gives: built in, pulled, or a file or directory of that name in the store.
    ///
    /// # Errors
    /// [`ModelError`] if there is none, or the name is none.
    pub fn in_store(
        name: &str,
        catalog: &Catalog,
        store: Option<&Store>,
    ) -> Result<ModelRef, ModelError> {
        // No name holds a separator, so that what is joined stays in the directory.
        checked(name)?;
        let named = |source| ModelRef {
            name: name.into(),
            source,
        };
        if Builtin::find(name).is_some() || catalog.find(name).is_some() {
            return ModelRef::parse(name, catalog, store);
        }
        let dir = store.ok_or_else(|| ModelError::NoStore(name.into()))?.dir();
        let (directory, file) = (dir.join(name), dir.join(format!("{name}.onnx")));
        if let Some(directory) = version_in_store(name, store) {
            Ok(named(ModelOrigin::Directory(directory)))
        } else if directory.is_dir() {
            Ok(named(ModelOrigin::Directory(directory)))
        } else if file.is_file() {
            Ok(named(ModelOrigin::File(file)))
        } else {
            Err(ModelError::Unknown {
                name: name.into(),
                suggestion: catalog.suggest(name).map(str::to_owned),
            })
        }
    }
}

fn path_source(target: &str, catalog: &Catalog) -> Result<ModelOrigin, ModelError> {
    let path = PathBuf::from(target);
    let unreadable = |reason: String| {
        Err(ModelError::Unreadable {
            path: path.clone(),
            reason,
        })
    };
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(ModelOrigin::Directory(path)),
        Ok(meta) if meta.is_file() => Ok(ModelOrigin::File(path)),
        Ok(_) => unreadable("is neither a file nor a directory".into()),
        Err(_) if !target.contains(['/', '\\']) && !target.ends_with(".onnx") => {
            Err(ModelError::Unknown {
                name: target.into(),
                suggestion: catalog.suggest(target).map(str::to_owned),
            })
        }
        Err(e) => unreadable(format!("cannot be read: {e}")),
    }
}

/// The file's stem, or the directory's name, as they were written: links are not followed.
///
/// A name that says nothing gives way to that of the directory above: `model` and `onnx`, which every model has, and
/// hidden ones, such as the `..data` of a Kubernetes volume.
fn name_of(path: &Path) -> String {
    // `.` and `..` have no name of their own.
    let written = match path.file_name() {
        Some(_) => std::path::absolute(path),
        None => path.canonicalize(),
    };
    let written = written.unwrap_or_else(|_| path.to_owned());
    let text = |name: Option<&OsStr>| name.unwrap_or_default().to_string_lossy().into_owned();
    let (own, directories) = match path.is_dir() {
        true => (None, Some(&*written)),
        false => (Some(text(written.file_stem())), written.parent()),
    };
    if let Some(own) = own.as_ref().filter(|name| !is_common(name)) {
        return own.clone();
    }
    let directories = directories.into_iter().flat_map(Path::ancestors);
    let names: Vec<String> = directories.map(|dir| text(dir.file_name())).collect();
    let telling = |name: &&String| !is_common(name) && !name.starts_with('.') && !name.is_empty();
    let name = names
        .iter()
        .find(telling)
        .or(own.as_ref())
        .or(names.first());
    name.cloned().unwrap_or_default()
}

/// Whether a name is one that files and directories of any model have.
fn is_common(name: &str) -> bool {
    matches!(name, "model" | "onnx")
}

/// The directory of a version that is named, `NAME/VERSION` in the store as repositories of Triton have it.
fn version_in_store(served: &str, store: Option<&Store>) -> Option<PathBuf> {
    let (name, version) = split_version(served);
    let directory = store?
        .dir()
        .join(checked(name).ok()?)
        .join(version?.to_string());
    directory.is_dir().then_some(directory)
}

/// A name that can be part of a URL.
fn checked(served: &str) -> Result<&str, ModelError> {
    let (name, _) = split_version(served);
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.') {
        Ok(served)
    } else {
        Err(ModelError::BadName(served.into()))
    }
}
