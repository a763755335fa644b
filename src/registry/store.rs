//! The store: the directory that holds pulled models.
//!
//! `cli` opens it, `fetch` writes into it, `registry` reads models out of it. Paths come from catalogue entries alone,
//! never from a name that somebody typed. Reads no environment itself and never touches the network.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::catalog::CatalogEntry;
use crate::hex;

/// The directory that holds pulled models, one file each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    dir: PathBuf,
}

/// What the store holds of one model, judged by size alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelState {
    /// Neither the file nor the beginning of one.
    Missing,
    /// The beginning of the file, from a download that was cut.
    Partial {
        /// Bytes that the beginning has.
        bytes: u64,
    },
    /// The file, in its right size.
    Present {
        /// The size of the file in bytes.
        bytes: u64,
    },
    /// A file of this name in another size: not what the catalogue means.
    WrongSize {
        /// The size of the file in bytes.
        got: u64,
        /// The size in the catalogue.
        expected: u64,
    },
}

/// The answer of [`Store::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The digest is the catalogue's.
    Match,
    /// The digest is another than the catalogue's.
    Mismatch {
        /// SHA-256 of the file in the store.
        got: String,
    },
}

/// How one platform names its cache directory.
#[derive(Debug, Clone, Copy)]
enum Platform {
    Xdg,
    MacOs,
    Windows,
}

impl Store {
    /// Opens the store in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Store {
        Store { dir: dir.into() }
    }

    /// Returns the platform's cache directory for models, or `None` if the environment names none.
    ///
    /// Linux and others `$XDG_CACHE_HOME/resnet/models`, else `$HOME/.cache/resnet/models`; macOS
    /// `$HOME/Library/Caches/resnet/models`; Windows `%LOCALAPPDATA%\resnet\models`. `lookup` reads one environment
    /// variable. An empty or relative value counts as not set (XDG Base Directory Specification).
    pub fn default_dir(lookup: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        let platform = if cfg!(windows) {
            Platform::Windows
        } else if cfg!(target_os = "macos") {
            Platform::MacOs
        } else {
            Platform::Xdg
        };
        default_dir_on(platform, |name| {
            lookup(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        })
    }

    /// Returns the directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns where the model's file lies or would lie.
    pub fn path_of(&self, entry: &CatalogEntry) -> PathBuf {
        self.dir.join(&entry.file)
    }

    /// Returns where the beginning of the model's file lies while it is being pulled.
    pub fn part_path_of(&self, entry: &CatalogEntry) -> PathBuf {
        self.dir.join(format!("{}.part", entry.file))
    }

    /// Says what is there of a model, without reading it.
    ///
    /// # Errors
    /// The error of the file system, unless it says that there is no such file.
    pub fn state_of(&self, entry: &CatalogEntry) -> io::Result<ModelState> {
        if let Some(got) = size_of(&self.path_of(entry))? {
            let expected = entry.bytes;
            return Ok(if got == expected {
                ModelState::Present { bytes: got }
            } else {
                ModelState::WrongSize { got, expected }
            });
        }
        Ok(match size_of(&self.part_path_of(entry))? {
            Some(bytes) => ModelState::Partial { bytes },
            None => ModelState::Missing,
        })
    }

    /// Reads the model's file and compares its SHA-256 with the catalogue's.
    ///
    /// # Errors
    /// The error of the file system, also if there is no such file.
    pub fn verify(&self, entry: &CatalogEntry) -> io::Result<Verdict> {
        let got = sha256_of(&mut File::open(self.path_of(entry))?)?;
        Ok(if got == entry.sha256 {
            Verdict::Match
        } else {
            Verdict::Mismatch { got }
        })
    }

    /// Removes the model's file and the beginning of one; returns the bytes that were freed, `None` if nothing was
    /// there.
    ///
    /// # Errors
    /// [`ErrorKind::ResourceBusy`] while the model is being pulled, else the error of the file system.
    pub fn remove(&self, entry: &CatalogEntry) -> io::Result<Option<u64>> {
        // Held to the end. Removing a `.part` file under a running download would let a second one start beside it.
        let part = match File::open(self.part_path_of(entry)) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        match part.as_ref().map_or(Ok(()), File::try_lock) {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    ErrorKind::ResourceBusy,
                    "it is being pulled right now",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let mut freed = None;
        for path in [self.path_of(entry), self.part_path_of(entry)] {
            if let Some(bytes) = size_of(&path)? {
                fs::remove_file(&path)?;
                freed = Some(freed.unwrap_or(0) + bytes);
            }
        }
        Ok(freed)
    }
}

/// Returns the SHA-256 of everything that `reader` still holds, as lower-case hex.
///
/// # Errors
/// The error of `reader`.
pub fn sha256_of(reader: &mut impl Read) -> io::Result<String> {
    let mut hasher = Sha256::new();
    copy_into(&mut hasher, reader)?;
    Ok(hex::encode(&hasher.finalize()))
}

/// Feeds everything that `reader` still holds to `hasher`; returns how much that was.
pub(super) fn copy_into(hasher: &mut Sha256, reader: &mut impl Read) -> io::Result<u64> {
    // 128 KiB: hashing, not the number of reads, sets the time.
    let mut buffer = vec![0; 128 * 1024];
    let mut total = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                total += n as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Returns the size of a regular file, `None` if there is nothing of that name.
fn size_of(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(meta) if meta.is_file() => Ok(Some(meta.len())),
        Ok(_) => Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("{} is not a file", path.display()),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// [`Store::default_dir`] for any platform, so that all three are tested on one.
fn default_dir_on(platform: Platform, lookup: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let cache = match platform {
        Platform::Xdg => lookup("XDG_CACHE_HOME").or_else(|| Some(lookup("HOME")?.join(".cache"))),
        Platform::MacOs => Some(lookup("HOME")?.join("Library").join("Caches")),
        Platform::Windows => lookup("LOCALAPPDATA"),
    }?;
    Some(cache.join("resnet").join("models"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::catalog::Catalog;

    fn entry_of(content: &[u8]) -> CatalogEntry {
        let mut entry = Catalog::builtin().find("resnet18").unwrap().clone();
        entry.bytes = content.len() as u64;
        entry.sha256 = sha256_of(&mut &content[..]).unwrap();
        entry
    }

    #[test]
    fn sha256_matches_the_published_test_vector() {
        // FIPS 180-2, appendix B.1.
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(&mut &b"abc"[..]).unwrap(), expected);
    }

    #[test]
    fn state_follows_what_is_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path().join("not").join("yet"));
        let entry = entry_of(b"abcd");
        assert_eq!(store.state_of(&entry).unwrap(), ModelState::Missing);
        assert_eq!(store.remove(&entry).unwrap(), None);

        let store = Store::new(dir.path());
        fs::write(store.part_path_of(&entry), b"ab").unwrap();
        assert_eq!(
            store.state_of(&entry).unwrap(),
            ModelState::Partial { bytes: 2 }
        );
        fs::write(store.path_of(&entry), b"abc").unwrap();
        assert_eq!(
            store.state_of(&entry).unwrap(),
            ModelState::WrongSize {
                got: 3,
                expected: 4
            }
        );
        fs::write(store.path_of(&entry), b"abcd").unwrap();
        assert_eq!(
            store.state_of(&entry).unwrap(),
            ModelState::Present { bytes: 4 }
        );
        assert_eq!(store.remove(&entry).unwrap(), Some(6));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn right_size_with_wrong_content_fails_verification() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let entry = entry_of(b"abcd");
        assert_eq!(
            store.verify(&entry).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        fs::write(store.path_of(&entry), b"abcd").unwrap();
        assert_eq!(store.verify(&entry).unwrap(), Verdict::Match);
        fs::write(store.path_of(&entry), b"abce").unwrap();
        assert!(matches!(
            store.verify(&entry).unwrap(),
            Verdict::Mismatch { .. }
        ));
    }

    #[test]
    fn model_that_is_being_pulled_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let entry = entry_of(b"abcd");
        let part = File::create(store.part_path_of(&entry)).unwrap();
        part.try_lock().unwrap();
        let error = store.remove(&entry).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
        drop(part);
        assert_eq!(store.remove(&entry).unwrap(), Some(0));
    }

    #[test]
    fn directory_in_place_of_a_model_is_neither_read_nor_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let entry = entry_of(b"abcd");
        fs::create_dir(store.path_of(&entry)).unwrap();
        assert!(store.state_of(&entry).is_err());
        assert!(store.remove(&entry).is_err());
    }

    #[test]
    fn default_directory_follows_the_platform() {
        let full = |name: &str| Some(Path::new("/").join(name.to_lowercase()));
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/ada"));
        let dir = |path: &str| Some(PathBuf::from(path));
        assert_eq!(
            default_dir_on(Platform::Xdg, full),
            dir("/xdg_cache_home/resnet/models")
        );
        assert_eq!(
            default_dir_on(Platform::Xdg, home),
            dir("/home/ada/.cache/resnet/models")
        );
        assert_eq!(
            default_dir_on(Platform::MacOs, full),
            dir("/home/Library/Caches/resnet/models")
        );
        assert_eq!(
            default_dir_on(Platform::Windows, full),
            dir("/localappdata/resnet/models")
        );
        assert_eq!(default_dir_on(Platform::Windows, home), None);
        assert_eq!(default_dir_on(Platform::Xdg, |_| None), None);
    }

    #[cfg(not(any(windows, target_os = "macos")))]
    #[test]
    fn relative_or_empty_cache_variable_counts_as_not_set() {
        let lookup = |cache: &'static str| {
            move |name: &str| match name {
                "XDG_CACHE_HOME" => Some(OsString::from(cache)),
                "HOME" => Some(OsString::from("/home/ada")),
                _ => None,
            }
        };
        let fallback = Some(PathBuf::from("/home/ada/.cache/resnet/models"));
        assert_eq!(Store::default_dir(lookup("relative")), fallback);
        assert_eq!(Store::default_dir(lookup("")), fallback);
        assert_eq!(
            Store::default_dir(lookup("/c")),
            Some(PathBuf::from("/c/resnet/models"))
        );
    }
}
