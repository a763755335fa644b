//! Whether the files of a model have changed since they were read, without reading them again.
//!
//! Asked by `Repository` on a reload: SIGHUP is sent for keys and certificates too.

use std::path::PathBuf;
use std::time::SystemTime;

use crate::registry::{ModelOrigin, directories_of};

/// Paths, sizes and times of the files among which a model's are; links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(PathBuf, u64, SystemTime)>);

impl Stamp {
    /// The stamp of the files as they are now; none if the model has no files, or their directory cannot be read.
    pub(super) fn of(origin: &ModelOrigin) -> Option<Stamp> {
        let directories = directories_of(origin);
        if directories.is_empty() {
            return None;
        }
        let mut files = Vec::new();
        for directory in directories {
            for entry in std::fs::read_dir(directory).ok()?.flatten() {
                let Ok(meta) = std::fs::metadata(entry.path()) else {
                    continue;
                };
                if let (true, Ok(time)) = (meta.is_file(), meta.modified()) {
                    files.push((entry.path(), meta.len(), time));
                }
            }
        }
        files.sort();
        Some(Stamp(files))
    }
}
