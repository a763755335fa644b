//! What `--model` names: a catalogue entry, an `.onnx` file, a directory, or the built-in model.
//!
//! Called by `cli` for every `--model`; hands a `ModelRef` to `load`. Reads no file's content.

use std::path::{Path, PathBuf};

use super::builtin::{BUILTINS, Builtin};
use super::catalog::{Catalog, CatalogEntry};
use super::{ModelError, Store};

/// A model to be loaded, under the name it is served by.
#[derive(Debug, Clone)]
pub struct ModelRef {
    /// 1 to 64 letters, digits, `.`, `_` or `-`.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub enum Source {
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
            source: Source::Builtin(model),
        }
    }

    /// Reads a `--model` value: `NAME`, `PATH` or `NAME=PATH`.
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
            Source::Builtin(builtin)
        } else if let Some(entry) = catalog.find(target) {
            let store = store.ok_or_else(|| ModelError::NoStore(target.into()))?;
            let path = store.path_of(entry);
            if !path.is_file() {
                return Err(ModelError::NotPulled {
                    name: target.into(),
                    path,
                });
            }
            Source::Catalog(Box::new(entry.clone()), path)
        } else {
            path_source(target, catalog)?
        };
        let name = match (name, &source) {
            (Some(name), _) => name.to_owned(),
            (None, Source::File(path) | Source::Directory(path)) => name_of(path),
            (None, Source::Builtin(_) | Source::Catalog(..)) => target.to_owned(),
        };
        check_name(&name)?;
        Ok(ModelRef { name, source })
    }
}

fn path_source(target: &str, catalog: &Catalog) -> Result<Source, ModelError> {
    let path = PathBuf::from(target);
    let unreadable = |reason: String| {
        Err(ModelError::Unreadable {
            path: path.clone(),
            reason,
        })
    };
    match std::fs::metadata(&path) {
        Ok(meta) if meta.is_dir() => Ok(Source::Directory(path)),
        Ok(meta) if meta.is_file() => Ok(Source::File(path)),
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

/// The file's stem, or the directory's name; also for `dir/model.onnx`, whose stem says nothing.
fn name_of(path: &Path) -> String {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let stem = if path.is_dir() {
        path.file_name()
    } else {
        path.file_stem()
    };
    let stem = match stem {
        Some(s) if s == "model" => path.parent().and_then(Path::file_name).or(stem),
        other => other,
    };
    stem.unwrap_or_default().to_string_lossy().into_owned()
}

fn check_name(name: &str) -> Result<(), ModelError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&name.len()) && name.chars().all(allowed) && !name.starts_with('.') {
        Ok(())
    } else {
        Err(ModelError::BadName(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str, store: &Path) -> Result<ModelRef, ModelError> {
        ModelRef::parse(value, &Catalog::builtin(), Some(&Store::new(store)))
    }

    #[test]
    fn values_name_catalogue_entries_files_and_directories() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("birds.onnx");
        std::fs::write(&file, "x").expect("writable");
        let file = file.to_string_lossy();
        let of = |value: &str| parse(value, dir.path()).map(|m| m.name);
        for builtin in BUILTINS {
            assert_eq!(of(builtin.name).expect("built in"), builtin.name);
        }
        assert_eq!(of(&file).expect("a file"), "birds");
        assert_eq!(of(&format!("mine={file}")).expect("a named file"), "mine");
        assert!(matches!(of("resnet50"), Err(ModelError::NotPulled { .. })));
        assert!(matches!(
            of(&format!("no spaces={file}")),
            Err(ModelError::BadName(_))
        ));
        assert!(matches!(
            of("missing.onnx"),
            Err(ModelError::Unreadable { .. })
        ));
    }

    #[test]
    fn typo_gets_a_suggestion() {
        let error = parse("resnet5O", Path::new("/nonexistent"))
            .expect_err("a typo")
            .to_string();
        assert!(error.contains("did you mean \"resnet50"), "{error}");
    }
}
