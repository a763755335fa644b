//! What `--model` names: a catalogue entry, an `.onnx` file, a directory, or the built-in model.
//!
//! Called by `cli` for every `--model`; hands a `ModelRef` to `load`. Reads no file's content.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::builtin::{BUILTINS, Builtin};
use super::catalog::{Catalog, CatalogEntry};
use super::version::split_version;
use super::{ModelError, Store};

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
    fn versions_lie_in_the_store_or_are_given_with_a_path() {
        let root = tempfile::tempdir().expect("a directory");
        for file in ["birds/2/model.onnx", "birds.onnx", "trees.onnx"] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below")).expect("writable");
            std::fs::write(path, "x").expect("writable");
        }
        let store = Store::new(root.path());
        let directory = |reference: ModelRef| match reference.source {
            ModelOrigin::Directory(path) => (reference.name, path),
            other => panic!("{other:?}"),
        };
        let in_store = |name: &str| ModelRef::in_store(name, &Catalog::builtin(), Some(&store));
        let expected = ("birds@2".to_owned(), root.path().join("birds/2"));
        assert_eq!(directory(in_store("birds@2").expect("a version")), expected);
        assert_eq!(
            directory(parse("birds@2", root.path()).expect("a version")),
            expected
        );
        let named = parse("owls@7=birds@2", root.path()).expect("a version");
        assert_eq!(directory(named).0, "owls@7");
        let path = root.path().join("trees.onnx").display().to_string();
        let named = parse(&format!("trees@3={path}"), root.path()).expect("a file");
        assert_eq!(named.name, "trees@3");
        for name in ["birds@3", "trees@2", "resnet18-tiny@2"] {
            assert!(
                matches!(in_store(name), Err(ModelError::Unknown { .. })),
                "{name}"
            );
            assert!(
                matches!(parse(name, root.path()), Err(ModelError::Unknown { .. })),
                "{name}"
            );
        }
        for name in ["birds@0", "birds@x", "birds@", "@2", "../birds@2"] {
            assert!(
                matches!(in_store(name), Err(ModelError::BadName(_))),
                "{name}"
            );
        }
    }

    #[test]
    fn clients_name_what_lies_in_the_store_and_nothing_else() {
        let root = tempfile::tempdir().expect("a directory");
        let store = root.path().join("models");
        for file in [
            "models/birds.onnx",
            "models/trees/model.onnx",
            "secret.onnx",
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below")).expect("writable");
            std::fs::write(path, "x").expect("writable");
        }
        let store = Store::new(store);
        let of = |name: &str| ModelRef::in_store(name, &Catalog::builtin(), Some(&store));
        assert!(matches!(
            of("birds").expect("a file").source,
            ModelOrigin::File(_)
        ));
        assert!(matches!(
            of("trees").expect("a directory").source,
            ModelOrigin::Directory(_)
        ));
        for builtin in BUILTINS {
            assert_eq!(of(builtin.name).expect("built in").name, builtin.name);
        }
        assert!(matches!(of("resnet50"), Err(ModelError::NotPulled { .. })));
        for name in ["secret", "owls"] {
            assert!(
                matches!(of(name), Err(ModelError::Unknown { .. })),
                "{name}"
            );
        }
        let secret = root.path().join("secret.onnx");
        for name in [
            "../secret",
            "..",
            ".",
            "",
            "a=birds",
            &secret.to_string_lossy(),
            "birds\0",
        ] {
            assert!(matches!(of(name), Err(ModelError::BadName(_))), "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn model_is_called_what_was_written_wherever_links_lead() {
        use std::fs;
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().expect("a directory");
        let at = |path: &str| root.path().join(path);
        for file in [
            "volume/..2026_11_29/model.onnx",
            "volume/..2026_11_29/birds.onnx",
            "git/.worktrees/0a1b/trees.onnx",
            "git/.worktrees/0a1b/model.onnx",
            "shop/releases/3/model.onnx",
            "hub/models--some--birds/blobs/4f5e",
            "runs/epoch_9.onnx",
            "cats/onnx/model.onnx",
            "model/model.onnx",
        ] {
            fs::create_dir_all(at(file).parent().expect("below")).expect("writable");
            fs::write(at(file), "x").expect("writable");
        }
        fs::create_dir_all(at("hub/models--some--birds/snapshots/34c2")).expect("writable");
        for (target, link) in [
            ("..2026_11_29", "volume/..data"),
            ("..data/model.onnx", "volume/model.onnx"),
            ("..data/birds.onnx", "volume/birds.onnx"),
            (".worktrees/0a1b", "git/link"),
            ("releases/3", "shop/current"),
            (
                "../../blobs/4f5e",
                "hub/models--some--birds/snapshots/34c2/fowl.onnx",
            ),
            (
                "../../blobs/4f5e",
                "hub/models--some--birds/snapshots/34c2/model.onnx",
            ),
            ("runs/epoch_9.onnx", "best.onnx"),
        ] {
            symlink(target, at(link)).expect("writable");
        }
        for (path, name) in [
            ("volume/birds.onnx", "birds"),
            ("volume/model.onnx", "volume"),
            ("volume", "volume"),
            ("volume/..data", "volume"),
            ("volume/..data/model.onnx", "volume"),
            ("volume/..data/birds.onnx", "birds"),
            ("git/link", "link"),
            ("git/link/", "link"),
            ("git/link/.", "link"),
            ("git/link/trees.onnx", "trees"),
            ("git/link/model.onnx", "link"),
            ("shop/current", "current"),
            ("shop/current/model.onnx", "current"),
            ("shop/releases/3/model.onnx", "3"),
            ("hub/models--some--birds/snapshots/34c2/fowl.onnx", "fowl"),
            ("hub/models--some--birds/snapshots/34c2/model.onnx", "34c2"),
            ("best.onnx", "best"),
            ("cats/onnx/model.onnx", "cats"),
            ("cats/onnx", "cats"),
            ("cats", "cats"),
            ("volume/../cats/onnx/model.onnx", "cats"),
            ("cats/onnx/..", "cats"),
        ] {
            let reference = parse(&at(path).to_string_lossy(), root.path());
            assert_eq!(reference.expect(path).name, name, "{path}");
        }
    }

    #[test]
    fn typo_gets_a_suggestion() {
        let error = parse("resnet5O", Path::new("/nonexistent"))
            .expect_err("a typo")
            .to_string();
        assert!(error.contains("did you mean \"resnet50"), "{error}");
    }
}
