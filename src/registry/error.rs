//! Why a model named on the command line is not served; each text is one line that says which and what to do.
//!
//! Returned by `reference` and `load`, printed by `cli`.

use std::path::{Path, PathBuf};

use crate::engine::LoadError;
use crate::visible::visible;

/// A model cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// No catalogue name, no path, and nothing in the models directory.
    #[error(
        "unknown model \"{name}\"{}: give a name from `resnet ls` or of what lies in {}, or a path to an .onnx file, a directory with a model.onnx or one with versions of it",
        hint.as_ref().map(|hint| format!(", {hint}")).unwrap_or_default(),
        in_words(store.as_deref())
    )]
    Unknown {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        hint: Option<String>,
        /// The models directory.
        store: Option<PathBuf>,
    },
    /// An unknown model as a client is told of it, who names no path.
    #[error(
        "unknown model \"{name}\"{}: what can be loaded is what the server was started with, what is built in or pulled, and what has that name in its models directory",
        hint.as_ref().map(|hint| format!(", {hint}")).unwrap_or_default()
    )]
    NotInStore {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// In the catalogue, but not on disk.
    #[error("{name} is not downloaded ({} does not exist): run `resnet pull {name}`", path.display())]
    NotPulled {
        /// What was asked for.
        name: String,
        /// Where the file would be.
        path: PathBuf,
    },
    /// A catalogue name, but no directory to look for its file in.
    #[error(
        "{0} is a model of the catalogue, but there is no models directory: give --models-dir DIR"
    )]
    NoStore(String),
    /// The built-in model was left out of this build.
    #[error("this build has no built-in model: name one with --model")]
    NoBuiltin,
    /// A name that cannot be part of a URL.
    #[error(
        "model name \"{0}\" is not allowed, names have 1 to 64 letters, digits, '.', '_' or '-', and perhaps '@' and a version, a whole number from 1: give one with --model NAME=PATH"
    )]
    BadName(String),
    /// Two models under one name.
    #[error("two models are named \"{0}\": give one of them another name with --model NAME=PATH")]
    DuplicateName(String),
    /// The file cannot be read.
    #[error("{}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is not the one the catalogue describes.
    #[error(
        "{} is not the file of the catalogue (SHA-256 {got}, expected {expected}): run `resnet rm {name}`, then `resnet pull {name}`",
        path.display()
    )]
    WrongDigest {
        /// The model's name in the catalogue.
        name: String,
        /// The file.
        path: PathBuf,
        /// Its digest.
        got: String,
        /// The catalogue's.
        expected: String,
    },
    /// The file is not the one that its `model.toml` describes.
    #[error(
        "{} is not the file that model.toml describes (SHA-256 {got}, expected {expected})",
        path.display()
    )]
    WrongSpecDigest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        got: String,
        /// What `model.toml` says.
        expected: String,
    },
    /// `model.toml` or `labels.txt` is wrong.
    #[error("{}: {reason}", path.display())]
    BadSpec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The network cannot be served. Names of its file may hold anything, and the message is one line that no terminal
    /// obeys.
    #[error("{origin}: {}", visible(&reason.to_string()))]
    Load {
        /// The file, or "built-in model".
        origin: String,
        /// What is wrong with it.
        reason: LoadError,
    },
}

/// The models directory, if there is one, and whether it exists.
fn in_words(store: Option<&Path>) -> String {
    match store {
        None => "the models directory".into(),
        Some(dir) if dir.is_dir() => format!("the models directory {}", dir.display()),
        Some(dir) => format!(
            "the models directory {}, which does not exist",
            dir.display()
        ),
    }
}

impl ModelError {
    /// The text for a client, who is told of no directories of the server.
    #[must_use]
    pub fn without_directories(&self) -> String {
        let path = match self {
            ModelError::NotPulled { path, .. }
            | ModelError::Unreadable { path, .. }
            | ModelError::WrongDigest { path, .. }
            | ModelError::WrongSpecDigest { path, .. }
            | ModelError::BadSpec { path, .. } => path.as_path(),
            ModelError::Unknown {
                store: Some(store), ..
            } => store.as_path(),
            ModelError::Load { origin, .. } => Path::new(origin),
            _ => return self.to_string(),
        };
        match path.file_name() {
            Some(name) => self.to_string().replace(
                &path.display().to_string(),
                &Path::new(name).display().to_string(),
            ),
            None => self.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visible::is_obeyed;

    #[test]
    fn clients_are_told_the_file_and_not_where_it_lies() {
        let path = PathBuf::from("/srv/models/birds/model.onnx");
        let unreadable = ModelError::Unreadable {
            path: path.clone(),
            reason: "cannot be read: No such file or directory".into(),
        };
        assert_eq!(
            unreadable.without_directories(),
            "model.onnx: cannot be read: No such file or directory"
        );
        let load = |origin: String| ModelError::Load {
            origin,
            reason: LoadError::Empty,
        };
        let told = load(path.display().to_string()).without_directories();
        assert!(told.starts_with("model.onnx: "), "{told}");
        let built_in = load("built-in model".into());
        assert_eq!(built_in.without_directories(), built_in.to_string());
    }

    #[test]
    fn names_of_a_file_neither_break_a_line_nor_turn_its_direction() {
        let error = ModelError::Load {
            origin: "m.onnx".into(),
            reason: LoadError::BadNode {
                node: "a\nb".into(),
                reason: "its input \"\u{202e}x\u{2029}\u{1b}\" is produced by no node".into(),
            },
        };
        let text = error.to_string();
        assert!(!text.contains(is_obeyed), "{text}");
        for name in ["a\\u000ab", "\"\\u202ex\\u2029\\u001b\""] {
            assert!(text.contains(name), "{name} in {text}");
        }
    }
}
