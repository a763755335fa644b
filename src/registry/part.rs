//! The `.part` file: a model on its way into the store.
//!
//! `fetch` alone writes it. It is locked while open, hashed while written, and gets its final name only by `finish`;
//! so under the final name there is always an old file or a whole new one. Never touches the network.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::store::copy_into;
use crate::hex;

/// An open and locked `.part` file. The lock goes with the value.
#[derive(Debug)]
pub(super) struct PartFile {
    path: PathBuf,
    file: File,
    hasher: Sha256,
    /// Bytes of the file that are written and hashed.
    len: u64,
}

/// Why a `.part` file cannot be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Another process holds its lock.
    Locked,
    /// The file system refuses.
    Io(io::Error),
}

impl PartFile {
    /// Opens or creates the file, locks it, and hashes what an earlier download left in it.
    ///
    /// The directory is created as needed. More than `limit` bytes cannot be the beginning of the model; they are
    /// dropped.
    ///
    /// # Errors
    /// [`OpenError::Locked`] while somebody else has it open, [`OpenError::Io`] from the file system.
    pub(super) fn open(path: PathBuf, limit: u64) -> Result<PartFile, OpenError> {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).map_err(OpenError::Io)?;
        }
        let file = open_locked(&path, || {})?;
        let mut part = PartFile {
            path,
            file,
            hasher: Sha256::new(),
            len: 0,
        };
        if part.file.metadata().map_err(OpenError::Io)?.len() > limit {
            part.restart().map_err(OpenError::Io)?;
        }
        part.len = copy_into(&mut part.hasher, &mut part.file).map_err(OpenError::Io)?;
        Ok(part)
    }

    /// Returns how many bytes the file holds.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Returns the path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether `other` is this very file.
    pub(super) fn is_same(&self, other: &File) -> io::Result<bool> {
        Ok(is_same_file(&self.file.metadata()?, &other.metadata()?))
    }

    /// Drops what the file holds.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.hasher = Sha256::new();
        self.len = 0;
        Ok(())
    }

    /// Writes bytes at the end of the file.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        // 28 is ENOSPC
        fault!("pull-write", Err(io::Error::from_raw_os_error(28)));
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Returns the SHA-256 of what is in it, as lower-case hex.
    pub(super) fn sha256(&self) -> String {
        hex::encode(&self.hasher.clone().finalize())
    }

    /// Brings the bytes to the disk and gives the file its final name in the same directory.
    pub(super) fn finish(self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        // Whoever ignores the lock may have put another file there; that one must not get the name.
        if !is_same_file(&self.file.metadata()?, &fs::metadata(&self.path)?) {
            return Err(io::Error::other(
                "the unfinished download was replaced meanwhile",
            ));
        }
        fs::rename(&self.path, to)?;
        sync_dir(to)
    }

    /// Removes the file, while the lock is still held.
    pub(super) fn discard(self) -> io::Result<()> {
        fs::remove_file(&self.path)
    }
}

/// Opens and locks `path`.
///
/// Whoever held the lock before may have renamed or removed the file between our opening and our locking; then the
/// lock is on a file without that name, or worse on a finished model, and we open again. `between` runs in that gap,
/// for the test that provokes it.
fn open_locked(path: &Path, between: impl Fn()) -> Result<File, OpenError> {
    loop {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(OpenError::Io)?;
        between();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked),
            Err(TryLockError::Error(error)) => return Err(OpenError::Io(error)),
        }
        let ours = file.metadata().map_err(OpenError::Io)?;
        match fs::metadata(path) {
            Ok(named) if is_same_file(&ours, &named) => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(OpenError::Io(error)),
        }
    }
}

/// Whether both describe one file: by its device and number.
#[cfg(unix)]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether both describe one file, as far as the standard library can tell here.
#[cfg(not(unix))]
fn is_same_file(a: &Metadata, b: &Metadata) -> bool {
    a.created().ok() == b.created().ok() && a.len() == b.len()
}

/// Brings a renamed file's new name to the disk.
#[cfg(unix)]
fn sync_dir(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Nothing to do: directories cannot be opened here, and the file system journals the name itself.
#[cfg(not(unix))]
fn sync_dir(_file: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::registry::store::sha256_of;

    #[test]
    fn reopened_part_continues_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep").join("a.part");
        let mut part = PartFile::open(path.clone(), 99).unwrap();
        part.append(b"hello ").unwrap();
        drop(part);
        let mut part = PartFile::open(path, 99).unwrap();
        assert_eq!(part.len(), 6);
        part.append(b"world").unwrap();
        assert_eq!(part.sha256(), sha256_of(&mut &b"hello world"[..]).unwrap());
        let to = dir.path().join("deep").join("a");
        part.finish(&to).unwrap();
        assert_eq!(fs::read(to).unwrap(), b"hello world");
    }

    #[test]
    fn restart_forgets_bytes_and_digest() {
        let dir = tempfile::tempdir().unwrap();
        let mut part = PartFile::open(dir.path().join("a.part"), 99).unwrap();
        part.append(b"old and long").unwrap();
        part.restart().unwrap();
        part.append(b"new").unwrap();
        assert_eq!(
            (part.len(), part.sha256()),
            (3, sha256_of(&mut &b"new"[..]).unwrap())
        );
        assert_eq!(fs::read(part.path()).unwrap(), b"new");
    }

    #[test]
    fn leftover_longer_than_the_model_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.part");
        fs::write(&path, b"12345").unwrap();
        assert_eq!(PartFile::open(path.clone(), 5).unwrap().len(), 5);
        assert_eq!(PartFile::open(path, 4).unwrap().len(), 0);
    }

    #[test]
    fn lock_on_a_file_that_lost_its_name_meanwhile_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.part");
        let first = Cell::new(Some(PartFile::open(path.clone(), 99).unwrap()));
        let file = open_locked(&path, || {
            if let Some(first) = first.take() {
                first.finish(&dir.path().join("a")).unwrap();
            }
        })
        .unwrap();
        (&file).write_all(b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), b"");
    }

    #[test]
    fn second_opener_is_told_that_it_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.part");
        let first = PartFile::open(path.clone(), 99).unwrap();
        assert!(matches!(
            PartFile::open(path.clone(), 99),
            Err(OpenError::Locked)
        ));
        first.discard().unwrap();
        assert!(!path.exists());
        PartFile::open(path, 99).unwrap();
    }
}
