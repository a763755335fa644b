//! A file whose first bytes tell whether it is an image, before the rest of it is read.
//!
//! Used by the commands that take image files.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use bytes::Bytes;

use crate::preprocess::sniff;

/// Bytes that tell what a file is, and what it looks like if it is no image.
const HEAD: u64 = 4 << 10;

/// Largest image file, in bytes; a guard against devices and mistakes, far above any photo.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// An open file and its first bytes.
pub(crate) struct ImageFile {
    source: Box<dyn Read>,
    head: Vec<u8>,
}

impl ImageFile {
    /// Opens a file; `-` is standard input.
    ///
    /// # Errors
    /// Why it cannot be read, without its name.
    pub(crate) fn open(file: &Path) -> anyhow::Result<ImageFile> {
        let source: Box<dyn Read> = match file == Path::new("-") {
            true => Box::new(std::io::stdin().lock()),
            false => Box::new(File::open(file).context("cannot be read")?),
        };
        let mut file = ImageFile {
            source,
            head: Vec::new(),
        };
        file.read_to(HEAD)?;
        Ok(file)
    }

    /// Whether it begins as an image of an accepted format.
    pub(crate) fn is_image(&self) -> bool {
        sniff(&self.head).is_some()
    }

    /// The whole file; of what does not begin as an image the first bytes, which are enough for the refusal.
    ///
    /// # Errors
    /// As [`ImageFile::open`].
    pub(crate) fn read(mut self) -> anyhow::Result<Bytes> {
        if self.is_image() {
            self.read_to(MAX_FILE_BYTES + 1)?;
            if self.head.len() as u64 > MAX_FILE_BYTES {
                bail!("has more than {MAX_FILE_BYTES} bytes");
            }
        }
        Ok(self.head.into())
    }

    fn read_to(&mut self, most: u64) -> anyhow::Result<()> {
        let most = most.saturating_sub(self.head.len() as u64);
        let read = (&mut self.source).take(most).read_to_end(&mut self.head);
        read.context("cannot be read")?;
        Ok(())
    }
}

/// Opens a file and reads it.
///
/// # Errors
/// As [`ImageFile::open`].
pub(crate) fn read_image(file: &Path) -> anyhow::Result<Bytes> {
    ImageFile::open(file)?.read()
}
