//! What a download fills: the `.part` file, held to the size and digest of its catalogue entry.
//!
//! `fetch` feeds it from the network or has it copy a file. Tells whoever watches; never touches the network.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::catalog::CatalogEntry;
use super::fetch_error::{FetchError, shown};
use super::fetch_options::Progress;
use super::part::PartFile;

/// Bytes read at a time: large enough that hashing and the network set the pace, small enough for a smooth progress
/// bar.
pub(super) const BUFFER: usize = 64 * 1024;

/// The `.part` file that is being filled, the model it is to hold, and who is told of progress.
pub(super) struct Target<'a> {
    pub(super) entry: &'a CatalogEntry,
    pub(super) part: &'a mut PartFile,
    pub(super) progress: &'a mut dyn FnMut(Progress),
}

impl Target<'_> {
    /// Appends bytes, unless that makes more of them than the model has.
    pub(super) fn append(&mut self, bytes: &[u8], origin: &str) -> Result<(), FetchError> {
        let (kept, limit) = (self.part.len(), self.entry.bytes);
        let got = kept + bytes.len() as u64;
        if got > limit {
            return Err(FetchError::TooLarge {
                origin: shown(origin),
                got,
                limit,
            });
        }
        let written = self.part.append(bytes);
        written
            .map_err(|error| FetchError::store("write", self.part.path(), kept, limit, error))?;
        (self.progress)(Progress::Received { bytes: got });
        Ok(())
    }

    /// Drops the bytes that have come.
    pub(super) fn restart(&mut self) -> Result<(), FetchError> {
        let dropped = self.part.restart();
        dropped.map_err(|error| {
            FetchError::store("write", self.part.path(), 0, self.entry.bytes, error)
        })?;
        (self.progress)(Progress::Received { bytes: 0 });
        Ok(())
    }

    /// Refuses a size, known in advance, that is not the model's. Nothing is touched.
    pub(super) fn check_size(&self, got: u64, origin: &str) -> Result<(), FetchError> {
        let expected = self.entry.bytes;
        if got == expected {
            return Ok(());
        }
        Err(FetchError::WrongSize {
            origin: shown(origin),
            got,
            expected,
        })
    }

    /// Refuses to have less than the whole model at an end that was meant as one.
    pub(super) fn check_whole(&self, origin: &str) -> Result<(), FetchError> {
        let (got, expected) = (self.part.len(), self.entry.bytes);
        if got == expected {
            return Ok(());
        }
        Err(FetchError::TooSmall {
            origin: shown(origin),
            got,
            expected,
        })
    }

    /// Copies a file of this machine, dropping what was there.
    pub(super) fn copy(&mut self, path: &Path) -> Result<(), FetchError> {
        let refuse = |reason: String| FetchError::SourceFile {
            path: path.to_owned(),
            reason,
        };
        let mut file = File::open(path).map_err(|error| refuse(error.to_string()))?;
        let meta = file.metadata().map_err(|error| refuse(error.to_string()))?;
        if !meta.is_file() {
            return Err(refuse("not a file".into()));
        }
        if self
            .part
            .is_same(&file)
            .map_err(|error| refuse(error.to_string()))?
        {
            return Err(refuse("it is the unfinished download itself".into()));
        }
        let origin = path.display().to_string();
        self.check_size(meta.len(), &origin)?;
        self.restart()?;
        let mut buffer = vec![0; BUFFER];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return self.check_whole(&origin),
                Ok(n) => self.append(&buffer[..n], &origin)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(refuse(error.to_string())),
            }
        }
    }

    /// Compares the whole content with the catalogue.
    pub(super) fn verify(&mut self, origin: String) -> Result<(), FetchError> {
        (self.progress)(Progress::Verifying);
        let (got, expected) = (self.part.sha256(), self.entry.sha256.clone());
        if got == expected {
            Ok(())
        } else {
            Err(FetchError::WrongDigest {
                origin,
                got,
                expected,
            })
        }
    }
}
