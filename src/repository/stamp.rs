//! Whether the files of a model have changed since they were read, without reading them again.
//!
//! Asked by `Repository` on a reload: SIGHUP is sent for keys and certificates too.

use std::ffi::OsString;
use std::path::Path;
use std::time::SystemTime;

use crate::registry::ModelOrigin;

/// Names, sizes and times of the files beside a model, its own among them; links are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamp(Vec<(OsString, u64, SystemTime)>);

impl Stamp {
    /// That of now; none of what has no files of its own, or whose directory cannot be read.
    pub(super) fn of(origin: &ModelOrigin) -> Option<Stamp> {
        let directory = match origin {
            ModelOrigin::Directory(path) => path,
            ModelOrigin::File(path) => match path.parent() {
                Some(parent) if parent != Path::new("") => parent,
                _ => Path::new("."),
            },
            ModelOrigin::Builtin(_) | ModelOrigin::Catalog(..) => return None,
        };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(directory).ok()?.flatten() {
            let Ok(meta) = std::fs::metadata(entry.path()) else {
                continue;
            };
            if let (true, Ok(time)) = (meta.is_file(), meta.modified()) {
                files.push((entry.file_name(), meta.len(), time));
            }
        }
        files.sort();
        Some(Stamp(files))
    }
}
