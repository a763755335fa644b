//! The files that `resnet classify` is asked for: those that are named, and the images in folders that are named.
//!
//! Read one by one as they are needed, so that a folder may hold any number of them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use bytes::Bytes;
use walkdir::{DirEntry, WalkDir};

use crate::cli::image_file::{ImageFile, read_image};
use crate::cli::offline::Read;
use crate::cli::progress::Progress;
use crate::preprocess::named_as_image;

/// How many files were passed over, by reason. Counted where they are met, told at the end.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// Hidden files, and hidden folders with all that they hold.
    pub(super) hidden: AtomicUsize,
    /// Files that are neither images nor named as such.
    pub(super) no_images: AtomicUsize,
    /// Links to a folder in which they lie.
    pub(super) loops: AtomicUsize,
    /// Files that the output has already.
    pub(super) done: AtomicUsize,
}

/// The files with their content, in the order of the arguments, a folder's by name.
pub(super) struct Files {
    named: std::vec::IntoIter<PathBuf>,
    folder: Option<walkdir::IntoIter>,
    /// Where the answers go, links followed.
    output: Option<PathBuf>,
    /// Names that the output has already, and how often.
    done: HashMap<String, usize>,
    skipped: Arc<Skipped>,
    progress: Progress,
}

impl Files {
    /// The files that `named` means, without the `output` in a folder and those that are `done`.
    pub(super) fn new(
        named: Vec<PathBuf>,
        output: Option<PathBuf>,
        done: HashMap<String, usize>,
        skipped: Arc<Skipped>,
        progress: Progress,
    ) -> Files {
        Files {
            named: named.into_iter(),
            folder: None,
            output,
            done,
            skipped,
            progress,
        }
    }

    /// How many files there are to look at, images or not.
    pub(super) fn count(named: &[PathBuf]) -> u64 {
        let files_in = |folder: &PathBuf| {
            let shown =
                |entry: &DirEntry| !is_hidden(entry.depth(), entry.path()) && !leads_back(entry);
            let entries = WalkDir::new(folder).follow_links(true).into_iter();
            let is_file = |entry: &walkdir::Result<DirEntry>| {
                let entry = entry.as_ref();
                entry.map_or(true, |entry| !entry.file_type().is_dir())
            };
            entries.filter_entry(shown).filter(is_file).count() as u64
        };
        let count = |path: &PathBuf| match path.is_dir() {
            true => files_in(path),
            false => 1,
        };
        named.iter().map(count).sum()
    }

    /// A file that was named: an image or a failure.
    fn named_file(&mut self, file: &Path) -> Option<Read<String>> {
        let name = file.display().to_string();
        match self.is_done(&name) {
            true => None,
            false => Some((name, read_image(file))),
        }
    }

    /// What is found in a folder: an image, a failure, or nothing of interest.
    fn found(&mut self, entry: walkdir::Result<DirEntry>) -> Option<Read<String>> {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) => return self.lost(error),
        };
        let kind = entry.file_type();
        if is_hidden(entry.depth(), entry.path()) {
            if kind.is_dir() {
                self.skip_folder();
            }
            return self.pass_over(|skipped| &skipped.hidden);
        }
        if kind.is_dir() {
            if leads_back(&entry) {
                self.skip_folder();
                return self.pass_over(|skipped| &skipped.loops);
            }
            return None;
        }
        // A pipe would block, a device might not end.
        if !kind.is_file() || self.is_output(entry.path()) {
            return self.leave_out(|skipped| &skipped.no_images);
        }
        let name = entry.path().display().to_string();
        if self.is_done(&name) {
            return None;
        }
        match content(entry.path()) {
            Ok(None) => self.leave_out(|skipped| &skipped.no_images),
            Ok(Some(bytes)) => Some((name, Ok(bytes))),
            Err(error) => Some((name, Err(error))),
        }
    }

    /// What cannot be looked at: a folder without permission, a link that leads nowhere.
    fn lost(&mut self, error: walkdir::Error) -> Option<Read<String>> {
        if error.loop_ancestor().is_some() {
            return self.pass_over(|skipped| &skipped.loops);
        }
        let path = error.path().unwrap_or(Path::new("?"));
        if is_hidden(error.depth(), path) {
            return self.pass_over(|skipped| &skipped.hidden);
        }
        let name = path.display().to_string();
        if self.is_done(&name) {
            return None;
        }
        let cause = error.into_io_error().context("cannot be read");
        let cause = cause.and_then(|cause| Err(cause).context("cannot be read"));
        Some((name, cause))
    }

    fn is_output(&self, path: &Path) -> bool {
        let output = self.output.as_ref();
        output.is_some_and(|output| path.canonicalize().is_ok_and(|path| path == *output))
    }

    fn is_done(&mut self, name: &str) -> bool {
        let left = self.done.get_mut(name).filter(|left| **left > 0);
        let is_done = left.is_some();
        if let Some(left) = left {
            *left -= 1;
            let _: Option<()> = self.leave_out(|skipped| &skipped.done);
        }
        is_done
    }

    /// Does not go into the folder that was found last.
    fn skip_folder(&mut self) {
        if let Some(folder) = &mut self.folder {
            folder.skip_current_dir();
        }
    }

    /// Counts something that is not counted as a file of the folder.
    fn pass_over<T>(&self, reason: impl Fn(&Skipped) -> &AtomicUsize) -> Option<T> {
        reason(&self.skipped).fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Counts a file without an answer.
    fn leave_out<T>(&self, reason: impl Fn(&Skipped) -> &AtomicUsize) -> Option<T> {
        self.progress.step();
        self.pass_over(reason)
    }
}

impl Iterator for Files {
    type Item = Read<String>;

    fn next(&mut self) -> Option<Read<String>> {
        loop {
            let read = match self.folder.as_mut().map(Iterator::next) {
                Some(Some(entry)) => self.found(entry),
                Some(None) => {
                    self.folder = None;
                    None
                }
                None => {
                    let path = self.named.next()?;
                    if path.is_dir() {
                        let walk = WalkDir::new(path).follow_links(true).sort_by_file_name();
                        self.folder = Some(walk.into_iter());
                        None
                    } else {
                        self.named_file(&path)
                    }
                }
            };
            if read.is_some() {
                return read;
            }
        }
    }
}

/// Whether something in a folder is none of the user's business; what the user named is not.
fn is_hidden(depth: usize, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    depth > 0 && name.as_encoded_bytes().starts_with(b".")
}

/// Whether this is a link to a folder in which it lies, in whatever way that was reached: what is there has been seen or
/// will be. (Links to folders on the way from the one that was named are found by the walk itself.)
fn leads_back(entry: &DirEntry) -> bool {
    let path = entry.path();
    let real = |path: &Path| path.canonicalize().ok();
    let is_link = entry.depth() > 0 && entry.path_is_symlink();
    is_link
        && match (path.parent().and_then(real), real(path)) {
            (Some(place), Some(target)) => place.starts_with(target),
            _ => false,
        }
}

/// The content of a file in a folder; none of one that is no image and does not claim to be one.
fn content(path: &Path) -> anyhow::Result<Option<Bytes>> {
    let file = ImageFile::open(path)?;
    match file.is_image() || named_as_image(path) {
        true => file.read().map(Some),
        false => Ok(None),
    }
}
