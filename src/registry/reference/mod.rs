//! What `--model` names: a catalogue entry, an `.onnx` file, a directory, or the built-in model.
//!
//! Called by `cli` for every `--model`; hands a `ModelRef` to `load`. Reads no file's content.

mod listing;
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
    /// The directory of versions that was named without a version, of which it was the newest.
    pub versions: Option<PathBuf>,
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
            versions: None,
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
        ModelRef::found(name, source).of_versions()
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
        let source = stored(name, store).ok_or_else(|| not_in_store(name, catalog, store))?;
        ModelRef::found(name.into(), source).of_versions()
    }

    /// The names of the versions in the directory that it was given by; its own name where it was given otherwise.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let versions = self.versions.as_deref().map(versions::in_directory);
        // A directory that is no longer there holds none.
        let versions = versions.and_then(Result::ok).unwrap_or_default();
        if versions.is_empty() {
            return vec![self.name.clone()];
        }
        let base = split_version(&self.name).0;
        let numbers = versions.iter().map(|(number, _)| number);
        numbers.map(|number| format!("{base}@{number}")).collect()
    }

    /// The names of the models that lie in the store, each version under its own, by name.
    #[must_use]
    pub fn names_in_store(catalog: &Catalog, store: &Store) -> Vec<String> {
        listing::names(catalog, store)
    }

    /// The version of this number, else the newest, in the directory of versions as it is now; none of a model that was
    /// not given by such a directory.
    ///
    /// # Errors
    /// [`ModelError`] if there is no such version, or the directory cannot be read.
    pub fn version(&self, number: Option<u32>) -> Option<Result<ModelRef, ModelError>> {
        let directory = self.versions.clone()?;
        let name = split_version(&self.name).0;
        let name = match number {
            Some(number) => format!("{name}@{number}"),
            None => name.to_owned(),
        };
        Some(ModelRef::found(name, ModelOrigin::Directory(directory)).of_versions())
    }

    fn found(name: String, source: ModelOrigin) -> ModelRef {
        ModelRef {
            name,
            source,
            versions: None,
        }
    }

    /// The model of the version that the name asks for, else the newest, if the source is a directory of versions.
    fn of_versions(self) -> Result<ModelRef, ModelError> {
        let ModelOrigin::Directory(directory) = &self.source else {
            return Ok(self);
        };
        let versions = versions::in_directory(directory)?;
        let Some((newest, _)) = versions.last() else {
            return Ok(self);
        };
        let (name, asked) = split_version(&self.name);
        let version = asked.unwrap_or(*newest);
        let path = versions::one_of(&versions, version, directory)?;
        Ok(ModelRef {
            name: format!("{name}@{version}"),
            source: ModelOrigin::Directory(path),
            versions: asked.is_none().then(|| directory.clone()),
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

/// What lies at a place, under its own name: a path, a version of the directory at a path, or what has the name in the
/// store. With a version or without one, a name means the same directory.
fn lying(
    target: &str,
    catalog: &Catalog,
    store: Option<&Store>,
) -> Result<(String, ModelOrigin), ModelError> {
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
        let versions = versions::in_directory(directory)?;
        if !versions.is_empty() {
            let path = versions::one_of(&versions, version, directory)?;
            let name = format!("{}@{version}", name_of(directory));
            return Ok((name, ModelOrigin::Directory(path)));
        }
    }
    if target.contains(['/', '\\']) || target.ends_with(".onnx") {
        return Err(unreadable(format!("cannot be read: {error}")));
    }
    let source = store.and_then(|store| stored(target, store));
    let source = source.ok_or_else(|| unknown(target, catalog, store))?;
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

fn unknown(name: &str, catalog: &Catalog, store: Option<&Store>) -> ModelError {
    ModelError::Unknown {
        name: name.into(),
        hint: hint(name, catalog, store),
        store: store.map(|store| store.dir().to_owned()),
    }
}

fn not_in_store(name: &str, catalog: &Catalog, store: &Store) -> ModelError {
    ModelError::NotInStore {
        name: name.into(),
        hint: hint(name, catalog, Some(store)),
    }
}

/// What may have been meant: a version that there is of this name, or a name of the catalogue.
fn hint(name: &str, catalog: &Catalog, store: Option<&Store>) -> Option<String> {
    if let (name, Some(_)) = split_version(name) {
        let directory = checked(name).ok().and(store).map(|s| s.dir().join(name));
        let versions = directory.and_then(|d| versions::in_directory(&d).ok());
        if let Some(versions) = versions.filter(|versions| !versions.is_empty()) {
            let numbers = versions::numbers(&versions);
            return Some(format!("versions of {name} are {numbers}"));
        }
    }
    let close = catalog.suggest(name);
    close.map(|close| format!("did you mean \"{close}\"?"))
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
