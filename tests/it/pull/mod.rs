//! `resnet pull`, `ls` and `rm` against servers on this machine: the digest decides, nothing wrong is kept, a cut
//! resumes.
//!
//! What must succeed runs through the library with a made-up catalogue entry, as the real files are not here; what must
//! fail runs the binary too. Needs no network beyond 127.0.0.1.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod command;
mod download;
mod environment;
mod models_dir;
mod refusal;
pub(crate) mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use resnet::registry::{
    Catalog, CatalogEntry, FetchError, FetchOptions, FetchSource, Progress, Store, Verdict, fetch,
    sha256_of,
};
use tempfile::TempDir;

/// A store in a directory of its own, and a made-up model.
struct Bench {
    _dir: TempDir,
    store: Store,
    entry: CatalogEntry,
    content: Vec<u8>,
}

impl Bench {
    /// 300 kB that do not repeat: several reads on both sides.
    fn new() -> Bench {
        let mut state = 1u32;
        let content: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(300_000)
        .collect();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("models"));
        let mut entry = Catalog::builtin().find("resnet18").unwrap().clone();
        entry.bytes = content.len() as u64;
        entry.sha256 = sha256_of(&mut &content[..]).unwrap();
        Bench {
            _dir: dir,
            store,
            entry,
            content,
        }
    }

    fn fetch(
        &self,
        source: &FetchSource,
        options: &FetchOptions,
    ) -> (Result<PathBuf, FetchError>, Vec<Progress>) {
        let mut steps = Vec::new();
        let result = fetch(&self.entry, source, &self.store, options, &mut |step| {
            steps.push(step)
        });
        (result, steps)
    }

    fn fetch_from(&self, url: String) -> Result<PathBuf, FetchError> {
        self.fetch(&FetchSource::Url(url), &options()).0
    }

    fn assert_whole(&self) {
        assert_eq!(self.store.verify(&self.entry).unwrap(), Verdict::Match);
        assert_eq!(names_in(self.store.dir()), [self.entry.file.as_str()]);
    }

    fn assert_nothing_left(&self) {
        assert_eq!(names_in(self.store.dir()), [""; 0]);
    }
}

/// Options that fail fast.
fn options() -> FetchOptions {
    FetchOptions {
        backoff: Duration::from_millis(1),
        stall_timeout: Duration::from_secs(20),
        ..FetchOptions::default()
    }
}

/// The file names in a directory, sorted.
fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
