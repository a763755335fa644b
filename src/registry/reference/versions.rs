//! A directory that holds a model's versions, each in a directory that its number names, as repositories of Triton have
//! it: `birds/1/model.onnx`, `birds/2/model.onnx`.
//!
//! Asked by `reference` of every directory. What has no version's name is not looked at, `0` and numbers with zeros in
//! front among it, and neither is a version without a model: it may be on its way.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::registry::ModelError;
use crate::registry::beside::has_model;
use crate::registry::version::version_of;

/// The versions, the oldest first; none of a directory that has a model of its own, and of what is no directory.
///
/// # Errors
/// [`ModelError::Unreadable`] of a directory that cannot be listed: whether it holds versions is not known then.
pub(super) fn in_directory(directory: &Path) -> Result<Vec<(u32, PathBuf)>, ModelError> {
    if has_model(directory) {
        return Ok(Vec::new());
    }
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries.flatten(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => {
            return Err(ModelError::Unreadable {
                path: directory.into(),
                reason: format!("cannot be read: {error}"),
            });
        }
    };
    let version = |entry: std::fs::DirEntry| {
        let version = version_of(entry.file_name().to_str()?)?;
        let path = entry.path();
        (path.is_dir() && has_model(&path)).then_some((version, path))
    };
    let mut versions: Vec<(u32, PathBuf)> = entries.filter_map(version).collect();
    versions.sort();
    Ok(versions)
}

/// The path of version `number`, one of the `versions` of a directory.
///
/// # Errors
/// [`ModelError::Unreadable`] with the versions that there are.
pub(super) fn one_of(
    versions: &[(u32, PathBuf)],
    number: u32,
    directory: &Path,
) -> Result<PathBuf, ModelError> {
    let found = versions.iter().find(|(version, _)| *version == number);
    let path = found.map(|(_, path)| path.clone());
    path.ok_or_else(|| ModelError::Unreadable {
        path: directory.into(),
        reason: format!("has no version {number}, but {}", numbers(versions)),
    })
}

/// The numbers of versions, for people.
pub(super) fn numbers(versions: &[(u32, PathBuf)]) -> String {
    let numbers: Vec<String> = versions.iter().map(|(n, _)| n.to_string()).collect();
    numbers.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(files: &[&str]) -> Vec<u32> {
        let root = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below")).expect("writable");
            std::fs::write(path, "x").expect("writable");
        }
        let found = in_directory(root.path()).expect("readable");
        for (version, path) in &found {
            assert_eq!(path, &root.path().join(version.to_string()));
        }
        found.into_iter().map(|(version, _)| version).collect()
    }

    #[test]
    fn versions_are_directories_with_a_number_and_a_model() {
        let files = [
            "10/model.onnx",
            "9/resnet.onnx",
            "2/onnx/model.onnx",
            "11/model.onnx.part",
            "12/labels.txt",
            "3/a.onnx",
            "3/b.onnx",
            "0/model.onnx",
            "04/model.onnx",
            "+5/model.onnx",
            "v6/model.onnx",
            "7 /model.onnx",
            "4294967296/model.onnx",
            "old/model.onnx",
            ".8/model.onnx",
            "config.pbtxt",
            "13",
        ];
        assert_eq!(versions(&files), [2, 3, 9, 10]);
        assert_eq!(versions(&["4294967295/model.onnx"]), [u32::MAX]);
        assert_eq!(versions(&["config.pbtxt"]), [0; 0]);
    }

    #[test]
    fn directory_with_a_model_of_its_own_is_that_model() {
        for own in ["model.onnx", "birds.onnx", "onnx/model.onnx"] {
            assert_eq!(versions(&["1/model.onnx", own]), [0; 0], "{own}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_one_that_leads_nowhere_is_told_by_whoever_loads_it() {
        use std::os::unix::fs::symlink;
        let root = tempfile::tempdir().expect("a directory");
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("releases/a")).expect("writable");
        std::fs::create_dir_all(at("birds/2")).expect("writable");
        std::fs::write(at("releases/a/model.onnx"), "x").expect("writable");
        symlink("../releases/a", at("birds/1")).expect("writable");
        symlink("gone.onnx", at("birds/2/model.onnx")).expect("writable");
        let found = in_directory(&at("birds")).expect("readable");
        let numbers: Vec<u32> = found.into_iter().map(|(version, _)| version).collect();
        assert_eq!(numbers, [1, 2]);
    }
}
