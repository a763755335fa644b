//! The flag that leaves pixels as they are stored.
//!
//! Shared by the commands that read image files.

use clap::Args;

use crate::preprocess::ExifMode;

/// Whether pixels are turned upright.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ExifArgs {
    /// Leave the pixels as stored, whatever orientation the camera noted
    #[arg(long)]
    ignore_exif: bool,
}

impl ExifArgs {
    /// The flag as `preprocess` calls it.
    pub(crate) fn mode(self) -> ExifMode {
        match self.ignore_exif {
            true => ExifMode::Ignore,
            false => ExifMode::Apply,
        }
    }
}
