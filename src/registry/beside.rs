//! Which files beside a model belong to it.
//!
//! Called by `parts`. A directory that is named belongs to one model. A file that is named shares its directory with
//! others: what lies there belongs to it under its own name, and else where it is the only model there. A directory of
//! versions belongs to each of them: what a version has not for itself is read there.

use std::path::{Path, PathBuf};

use super::version::version_of;
use super::{ModelError, ModelOrigin};

/// Names of a list of labels, in the order in which they are looked for.
const LABELS: [&str; 7] = [
    "labels.txt",
    "labels.csv",
    "labels.json",
    "classes.txt",
    "classes.json",
    "id2label.json",
    "imagenet_class_index.json",
];

/// Files that belong to one model; each is there.
#[derive(Debug, Default)]
pub(super) struct Beside {
    /// `model.toml`.
    pub(super) spec: Option<PathBuf>,
    /// The list of its labels.
    pub(super) labels: Option<PathBuf>,
    /// Hugging Face's `preprocessor_config.json`.
    pub(super) preprocessor: Option<PathBuf>,
    /// Hugging Face's or timm's `config.json`.
    pub(super) config: Option<PathBuf>,
    /// Files beside the model that are not read, with the reason; for people.
    pub(super) note: Option<String>,
    /// The directory of versions above the model's.
    versions: Option<PathBuf>,
}

impl Beside {
    /// What belongs to the model of a directory, `model`: what has its name, what lies in the directory, and what lies
    /// where the model does.
    pub(super) fn of_directory(dir: &Path, model: &Path) -> Beside {
        let (own, named) = (Beside::by_name(model), Beside::in_directory(dir));
        let note = unread_spec(&own, &named);
        let all = own.or(named).or(Beside::in_directory(&parent(model)));
        let all = all.or(Beside::above(dir));
        Beside { note, ..all }
    }

    /// What belongs to a file by its own name, or because there is no other model.
    pub(super) fn of_file(model: &Path) -> Beside {
        let dir = parent(model);
        let own = Beside::by_name(model);
        let shared = Beside::in_directory(&dir);
        let above = Beside::above(&dir);
        let models = models_in(&dir);
        if models.len() <= 1 {
            let note = unread_spec(&own, &shared);
            let all = own.or(shared).or(above);
            return Beside { note, ..all };
        }
        // Hub's repositories have the same network in several precisions: model.onnx, model_quantized.onnx, …
        if models.iter().all(|path| is_variant(&stem(path))) {
            let note = unread_spec(&own, &shared);
            let all = own.or(shared).or(above);
            return Beside { note, ..all };
        }
        let left = [
            &shared.spec,
            &shared.labels,
            &shared.preprocessor,
            &shared.config,
        ];
        let left: Vec<String> = left
            .into_iter()
            .flatten()
            .filter(|path| {
                ![&own.spec, &own.labels]
                    .into_iter()
                    .flatten()
                    .any(|known| known == *path)
            })
            .map(|path| file_name(path))
            .collect();
        let note = (!left.is_empty()).then(|| {
            let (stem, count) = (stem(model), models.len());
            format!(
                "{} beside it is not read, because there are {count} .onnx files; its own would be {stem}.toml and {stem}.labels.txt",
                left.join(", ")
            )
        });
        Beside { note, ..own }
    }

    /// The files that have the model's own name before theirs.
    fn by_name(model: &Path) -> Beside {
        let stem = stem(model);
        let dir = parent(model);
        let labels =
            ["labels.txt", "labels.csv", "labels.json"].map(|name| format!("{stem}.{name}"));
        Beside {
            spec: existing(&dir, &[format!("{stem}.toml")]),
            labels: existing(&dir, &labels),
            ..Beside::default()
        }
    }

    fn in_directory(dir: &Path) -> Beside {
        Beside {
            spec: existing(dir, &["model.toml"]),
            labels: existing(dir, &LABELS),
            preprocessor: existing(dir, &["preprocessor_config.json"]),
            config: existing(dir, &["config.json"]),
            ..Beside::default()
        }
    }

    /// What lies above a directory with a model: in the hub's repository that it is of, and where it is a version of a
    /// model, with the other versions.
    fn above(dir: &Path) -> Beside {
        let repository = repository_of(dir);
        let versions = versions_of(repository.as_deref().unwrap_or(dir));
        let read = |dir: &PathBuf| Beside::in_directory(dir);
        let all = repository.as_ref().map(read).unwrap_or_default();
        let all = all.or(versions.as_ref().map(read).unwrap_or_default());
        Beside { versions, ..all }
    }

    /// What a file that belongs to the model is called, for people: one that lies with the versions is above them.
    pub(super) fn name_of(&self, path: &Path) -> String {
        let name = file_name(path);
        match self.versions.is_some() && path.parent() == self.versions.as_deref() {
            true => format!("../{name}"),
            false => name,
        }
    }

    fn or(self, other: Beside) -> Beside {
        Beside {
            spec: self.spec.or(other.spec),
            labels: self.labels.or(other.labels),
            preprocessor: self.preprocessor.or(other.preprocessor),
            config: self.config.or(other.config),
            note: self.note.or(other.note),
            versions: self.versions.or(other.versions),
        }
    }
}

/// A sentence about a `model.toml` that another file takes the place of.
fn unread_spec(own: &Beside, shared: &Beside) -> Option<String> {
    match (&own.spec, &shared.spec) {
        (Some(own), Some(other)) if own != other => Some(format!(
            "{} beside it is not read, because {} is there",
            file_name(other),
            file_name(own)
        )),
        _ => None,
    }
}

/// Whether a file's name is that of one network in one of the precisions that hubs publish: `model`, `model_fp16`, ….
///
/// Source: the names that Hugging Face's Optimum and Transformers.js write.
fn is_variant(stem: &str) -> bool {
    let precisions = [
        "",
        "_bnb4",
        "_fp16",
        "_int8",
        "_optimized",
        "_q4",
        "_q4f16",
        "_quantized",
        "_uint8",
    ];
    stem.strip_prefix("model")
        .is_some_and(|rest| precisions.contains(&rest))
}

/// The model file of a directory: `model.onnx`, the same in `onnx`, or the only one that there is.
///
/// # Errors
/// [`ModelError::Unreadable`] if there is none, or a choice.
pub(super) fn model_in(dir: &Path) -> Result<PathBuf, ModelError> {
    let usual = dir.join("model.onnx");
    let nested = dir.join("onnx").join("model.onnx");
    if usual.exists() {
        return Ok(usual);
    }
    match &models_in(dir)[..] {
        [only] => Ok(only.clone()),
        [] if nested.exists() => Ok(nested),
        [] => Ok(usual), // whoever reads it says why it cannot be read
        several => {
            let names: Vec<String> = several.iter().map(|path| file_name(path)).collect();
            Err(ModelError::Unreadable {
                path: dir.to_owned(),
                reason: format!(
                    "has no model.onnx, but {}: name one of these files",
                    names.join(", ")
                ),
            })
        }
    }
}

/// The directory that a path names a file in.
pub(super) fn parent(path: &Path) -> PathBuf {
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty());
    parent.unwrap_or(Path::new(".")).to_owned()
}

/// A file's name, for people.
pub(super) fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

fn stem(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// The first of some names that a directory has.
fn existing<T: AsRef<str>>(dir: &Path, names: &[T]) -> Option<PathBuf> {
    let paths = names.iter().map(|name| dir.join(name.as_ref()));
    // A link that leads nowhere is there too: whoever reads it says why it cannot.
    paths
        .into_iter()
        .find(|path| path.symlink_metadata().is_ok())
}

/// The `.onnx` files of a directory, by name; none if it cannot be listed.
fn models_in(dir: &Path) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| {
        let extension = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("onnx"));
        extension && !file_name(path).starts_with('.') && path.is_file()
    };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut models: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_model).collect();
    models.sort();
    models
}

/// Whether a directory has a model, or a choice; a link that leads nowhere is there too: whoever reads it says why it
/// cannot.
pub(super) fn has_model(dir: &Path) -> bool {
    model_in(dir).map_or(true, |model| model.symlink_metadata().is_ok())
}

/// The directories in which what belongs to a model may lie; none of what has no files of its own.
#[must_use]
pub fn directories_of(origin: &ModelOrigin) -> Vec<PathBuf> {
    let (dir, nested) = match origin {
        ModelOrigin::Directory(dir) => (dir.clone(), Some(dir.join("onnx"))),
        ModelOrigin::File(path) => (parent(path), None),
        ModelOrigin::Builtin(_) | ModelOrigin::Catalog(..) => return Vec::new(),
    };
    let repository = repository_of(&dir);
    let versions = versions_of(repository.as_deref().unwrap_or(&dir));
    let nested = nested.filter(|nested| nested.is_dir());
    let others = [nested, repository, versions].into_iter().flatten();
    std::iter::once(dir).chain(others).collect()
}

/// The directory above one that is a version's: its name is a number, and the other has no model of its own.
fn versions_of(dir: &Path) -> Option<PathBuf> {
    let full = std::path::absolute(dir).ok()?;
    version_of(full.file_name()?.to_str()?)?;
    let above = full.parent()?;
    (!has_model(above)).then(|| above.to_owned())
}

/// The directory above one named `onnx`, in which hubs' repositories keep their models.
fn repository_of(dir: &Path) -> Option<PathBuf> {
    let full = std::path::absolute(dir).ok()?;
    let is_nested = full.file_name().is_some_and(|name| name == "onnx");
    is_nested
        .then(|| full.parent().map(Path::to_owned))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for name in names {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().expect("inside")).expect("writable");
            std::fs::write(path, "").expect("writable");
        }
        dir
    }

    /// The names of what belongs to a file, in the order spec, labels, preprocessor, config.
    fn names(beside: &Beside) -> String {
        let paths = [
            &beside.spec,
            &beside.labels,
            &beside.preprocessor,
            &beside.config,
        ];
        let names: Vec<String> = paths
            .into_iter()
            .flatten()
            .map(|path| file_name(path))
            .collect();
        names.join(" ")
    }

    #[test]
    fn only_model_of_a_directory_has_all_that_lies_there() {
        let files = [
            "birds.onnx",
            "model.toml",
            "labels.txt",
            "preprocessor_config.json",
            "config.json",
            "w.bin",
        ];
        let dir = directory(&files);
        let beside = Beside::of_file(&dir.path().join("birds.onnx"));
        assert_eq!(
            names(&beside),
            "model.toml labels.txt preprocessor_config.json config.json"
        );
        assert_eq!(beside.note, None);
    }

    #[test]
    fn own_name_comes_before_the_common_one() {
        let dir = directory(&[
            "birds.onnx",
            "birds.toml",
            "birds.labels.json",
            "model.toml",
            "labels.txt",
        ]);
        let beside = Beside::of_file(&dir.path().join("birds.onnx"));
        assert_eq!(names(&beside), "birds.toml birds.labels.json");
        let note = "model.toml beside it is not read, because birds.toml is there";
        assert_eq!(beside.note.as_deref(), Some(note));
    }

    #[test]
    fn among_other_models_only_its_own_name_counts_and_the_rest_is_said() {
        let dir = directory(&["a.onnx", "b.onnx", "a.toml", "model.toml", "labels.txt"]);
        let a = Beside::of_file(&dir.path().join("a.onnx"));
        assert_eq!(names(&a), "a.toml");
        let note = a.note.expect("something is left");
        assert!(
            note.starts_with(
                "model.toml, labels.txt beside it is not read, because there are 2 .onnx files"
            ),
            "{note}"
        );
        let dir = directory(&["model.onnx", "b.onnx", "model.toml"]);
        let model = Beside::of_file(&dir.path().join("model.onnx"));
        assert_eq!((names(&model).as_str(), model.note), ("model.toml", None));
        let named = Beside::of_directory(dir.path(), &dir.path().join("model.onnx"));
        assert_eq!(names(&named), "model.toml");
    }

    #[test]
    fn named_directory_has_what_bears_its_models_name_and_what_lies_where_that_does() {
        let dir = directory(&["birds.onnx", "birds.toml", "birds.labels.txt", "model.toml"]);
        let model = model_in(dir.path()).expect("the only one");
        let beside = Beside::of_directory(dir.path(), &model);
        assert_eq!(names(&beside), "birds.toml birds.labels.txt");
        assert!(
            beside
                .note
                .is_some_and(|note| note.starts_with("model.toml beside it is not read"))
        );
        let dir = directory(&["onnx/model.onnx", "onnx/labels.txt", "config.json"]);
        let model = model_in(dir.path()).expect("the only one");
        let beside = Beside::of_directory(dir.path(), &model);
        assert_eq!(names(&beside), "labels.txt config.json");
    }

    #[test]
    fn networks_that_only_begin_alike_are_no_variants() {
        let dir = directory(&["model_cats.onnx", "model_dogs.onnx", "labels.txt"]);
        let cats = Beside::of_file(&dir.path().join("model_cats.onnx"));
        assert_eq!(names(&cats), "");
        assert!(cats.note.is_some_and(|note| note.starts_with("labels.txt")));
        let dir = directory(&["model.onnx", "model_quantized.onnx", "model.toml"]);
        let quantized = Beside::of_file(&dir.path().join("model_quantized.onnx"));
        assert_eq!(names(&quantized), "model.toml");
    }

    #[cfg(unix)]
    #[test]
    fn link_that_leads_nowhere_is_there() {
        let dir = directory(&["model.onnx"]);
        std::os::unix::fs::symlink("gone", dir.path().join("labels.txt")).expect("writable");
        let beside = Beside::of_file(&dir.path().join("model.onnx"));
        assert_eq!(names(&beside), "labels.txt");
    }

    #[test]
    fn variants_in_a_hubs_repository_share_its_description() {
        let files = [
            "onnx/model.onnx",
            "onnx/model_quantized.onnx",
            "config.json",
            "preprocessor_config.json",
        ];
        let dir = directory(&files);
        for model in ["onnx/model.onnx", "onnx/model_quantized.onnx"] {
            let beside = Beside::of_file(&dir.path().join(model));
            assert_eq!(
                names(&beside),
                "preprocessor_config.json config.json",
                "{model}"
            );
        }
        assert_eq!(
            model_in(dir.path()).expect("one"),
            dir.path().join("onnx/model.onnx")
        );
    }

    #[test]
    fn version_has_what_lies_with_the_other_versions_unless_it_has_its_own() {
        let dir = directory(&[
            "birds/1/model.onnx",
            "birds/1/labels.txt",
            "birds/2/model.onnx",
            "birds/3/onnx/model.onnx",
            "birds/labels.txt",
            "birds/model.toml",
            "labels.csv",
        ]);
        let at = |path: &str| dir.path().join(path);
        let told = |beside: &Beside| {
            let files = [&beside.spec, &beside.labels].into_iter().flatten();
            let names: Vec<String> = files.map(|path| beside.name_of(path)).collect();
            names.join(" ")
        };
        for (version, expected) in [
            ("birds/1", "../model.toml labels.txt"),
            ("birds/2", "../model.toml ../labels.txt"),
            ("birds/3", "../model.toml ../labels.txt"),
        ] {
            let model = model_in(&at(version)).expect("one");
            let of_directory = Beside::of_directory(&at(version), &model);
            assert_eq!(told(&of_directory), expected, "{version}");
            assert_eq!(told(&Beside::of_file(&model)), expected, "{version}");
        }
    }

    #[test]
    fn directory_above_that_is_none_of_versions_is_not_looked_at() {
        for files in [
            ["v2/model.onnx", "labels.txt", "model.toml"],
            ["02/model.onnx", "labels.txt", "model.toml"],
            ["2/model.onnx", "labels.txt", "model.onnx"],
        ] {
            let dir = directory(&files);
            let model = dir.path().join(files[0]);
            let of_directory = Beside::of_directory(&parent(&model), &model);
            assert_eq!(names(&of_directory), "", "{files:?}");
            assert_eq!(names(&Beside::of_file(&model)), "", "{files:?}");
        }
    }

    #[test]
    fn directory_has_one_model_or_is_asked_for_it() {
        let dir = directory(&["birds.onnx"]);
        assert_eq!(
            model_in(dir.path()).expect("one"),
            dir.path().join("birds.onnx")
        );
        let dir = directory(&["a.onnx", "b.onnx"]);
        let error = model_in(dir.path()).expect_err("two").to_string();
        assert!(
            error.ends_with("has no model.onnx, but a.onnx, b.onnx: name one of these files"),
            "{error}"
        );
        let dir = directory(&["a.onnx", "model.onnx"]);
        assert_eq!(
            model_in(dir.path()).expect("one"),
            dir.path().join("model.onnx")
        );
    }
}
