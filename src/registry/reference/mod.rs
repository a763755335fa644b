//! What `--model` names: a catalogue entry, an `.onnx` file, a directory, or the built-in model.
//!
//! Called by `cli` for every `--model`; hands a `ModelRef` to `load`. Reads no file's content.

#[cfg(test)]
mod tests;
mod versions;

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
    /// Only names of the catalogue and of what lies in the store need a store. A word without a slash or `.onnx` is a
    /// catalogue name first, then a path, then what has that name in the store; `./word` is always a path.
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
        let (own, source) = if let Some(builtin) = Builtin::find(target) {
            (target.to_owned(), ModelOrigin::Builtin(builtin))
        } else if let Some(entry) = catalog.find(target) {
            (target.to_owned(), pulled(target, entry, store)?)
        } else {
            lying(target, catalog, store)?
        };
        let name = checked(name.unwrap_or(&own))?.to_owned();
        ModelRef { name, source }.of_versions()
    }

    /// The model of a name that a client gives: built in, pulled, or a file or directory of that name in the store.
    ///
    /// # Errors
    /// [`ModelError`] if there is none, or the name is none.
    pub fn in_store(
        name: &str,
        catalog: &Catalog,
        store: Option<&Store>,
    ) -> Result<ModelRef, ModelError> {
        checked(name)?;
        if Builtin::find(name).is_some() || catalog.find(name).is_some() {
            return ModelRef::parse(name, catalog, store);
        }
        let store = store.ok_or_else(|| ModelError::NoStore(name.into()))?;
        let source = stored(name, store).ok_or_else(|| unknown(name, catalog))?;
        let name = name.into();
        ModelRef { name, source }.of_versions()
    }

    /// Of a directory that holds versions the one that the name asks for, else the newest; all else is what it is.
    fn of_versions(self) -> Result<ModelRef, ModelError> {
        let ModelOrigin::Directory(directory) = &self.source else {
            return Ok(self);
        };
        let versions = versions::in_directory(directory);
        let Some((newest, _)) = versions.last() else {
            return Ok(self);
        };
        let (name, asked) = split_version(&self.name);
        let version = asked.unwrap_or(*newest);
        let found = versions.iter().find(|(number, _)| *number == version);
        let Some((_, path)) = found else {
            let numbers: Vec<String> = versions.iter().map(|(n, _)| n.to_string()).collect();
            return Err(ModelError::Unreadable {
                path: directory.clone(),
                reason: format!("has no version {version}, but {}", numbers.join(", ")),
            });
        };
        Ok(ModelRef {
            name: format!("{name}@{version}"),
            source: ModelOrigin::Directory(path.clone()),
        })
    }
}

/// The file of a catalogue entry.
fn pulled(
    name: &str,
    entry: &CatalogEntry,
    store: Option<&Store>,
) -> Result<ModelOrigin, ModelError> {
    let store = store.ok_or_else(|| ModelError::NoStore(name.into()))?;
    let path = store.path_of(entry);
    match path.is_file() {
        true => Ok(ModelOrigin::Catalog(Box::new(entry.clone()), path)),
        false => Err(ModelError::NotPulled {
            name: name.into(),
            path,
        }),
    }
}

/// What lies at a place, under its own name: a version in the store, a path, a version of a directory, or what has the
/// name in the store.
fn lying(
    target: &str,
    catalog: &Catalog,
    store: Option<&Store>,
) -> Result<(String, ModelOrigin), ModelError> {
    if let Some(directory) = store.and_then(|store| version_in(store, target)) {
        return Ok((target.to_owned(), ModelOrigin::Directory(directory)));
    }
    let path = Path::new(target);
    let unreadable = |reason: String| ModelError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let error = match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            return Ok((name_of(path), ModelOrigin::Directory(path.into())));
        }
        Ok(meta) if meta.is_file() => return Ok((name_of(path), ModelOrigin::File(path.into()))),
        Ok(_) => return Err(unreadable("is neither a file nor a directory".into())),
        Err(error) => error,
    };
    if let (directory, Some(version)) = split_version(target) {
        let directory = Path::new(directory);
        let versions = versions::in_directory(directory).into_iter();
        if let Some((_, path)) = { versions }.find(|(number, _)| *number == version) {
            let name = format!("{}@{version}", name_of(directory));
            return Ok((name, ModelOrigin::Directory(path)));
        }
    }
    if target.contains(['/', '\\']) || target.ends_with(".onnx") {
        return Err(unreadable(format!("cannot be read: {error}")));
    }
    let source = store.and_then(|store| stored(target, store));
    let source = source.ok_or_else(|| unknown(target, catalog))?;
    Ok((target.to_owned(), source))
}

/// What has a name in the store: a version, a directory or a file. No name holds a separator, so that what is joined
/// stays in the store.
fn stored(name: &str, store: &Store) -> Option<ModelOrigin> {
    checked(name).ok()?;
    if let Some(directory) = version_in(store, name) {
        return Some(ModelOrigin::Directory(directory));
    }
    let dir = store.dir();
    let (directory, file) = (dir.join(name), dir.join(format!("{name}.onnx")));
    if directory.is_dir() {
        return Some(ModelOrigin::Directory(directory));
    }
    file.is_file().then_some(ModelOrigin::File(file))
}

/// The directory of a version that is named, `NAME/VERSION` in the store as repositories of Triton have it.
fn version_in(store: &Store, served: &str) -> Option<PathBuf> {
    let (name, version) = split_version(served);
    let directory = store
        .dir()
        .join(checked(name).ok()?)
        .join(version?.to_string());
    directory.is_dir().then_some(directory)
}

fn unknown(name: &str, catalog: &Catalog) -> ModelError {
    ModelError::Unknown {
        name: name.into(),
        suggestion: catalog.suggest(name).map(str::to_owned),
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
