//! Where answers go: to standard output, or into a file that holds whole answers only.
//!
//! Opened before the model is loaded, so that a wrong path is told at once; what a file holds is replaced after that.
//! Used by the commands that classify files.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, IsTerminal, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::output::{UsageError, print_bytes};
use crate::visible::{visible, visible_lines};

/// Where answers go.
pub(crate) enum Destination {
    /// To standard output.
    Stdout,
    /// Into this file.
    File {
        /// The file, where the next answer begins.
        file: File,
        /// The file's path, for messages.
        path: PathBuf,
    },
}

impl Destination {
    /// Opens the file, if one is named, and leaves its content; `-` is standard output.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn open(output: Option<&Path>) -> anyhow::Result<Destination> {
        match output.filter(|path| *path != Path::new("-")) {
            None => Ok(Destination::Stdout),
            Some(path) => Destination::open_file(path, OpenOptions::new().write(true)),
        }
    }

    /// Opens a file whose content is to be gone on with.
    ///
    /// # Errors
    /// As [`Destination::open`]; a usage error if it is no file.
    pub(crate) fn reopen(output: &Path) -> anyhow::Result<Destination> {
        if output == Path::new("-") {
            return Err(UsageError("--resume needs a file in --output, not -".into()).into());
        }
        let opened = Destination::open_file(output, OpenOptions::new().write(true).read(true))?;
        if !opened.has_content() {
            let text = format!("--resume needs a file, {} is none", output.display());
            return Err(UsageError(text).into());
        }
        Ok(opened)
    }

    fn open_file(path: &Path, options: &mut OpenOptions) -> anyhow::Result<Destination> {
        let file = options.create(true).truncate(false).open(path);
        Ok(Destination::File {
            file: file.with_context(|| cannot_write(path))?,
            path: path.to_owned(),
        })
    }

    /// Whether it is a file: pipes and devices have no content to replace or to go on with.
    fn has_content(&self) -> bool {
        match self {
            Destination::Stdout => false,
            Destination::File { file, .. } => file.metadata().is_ok_and(|found| found.is_file()),
        }
    }

    /// Refuses to replace what is to be read.
    ///
    /// # Errors
    /// A usage error with the first of the `inputs` that is the output.
    pub(crate) fn refuse_inputs<'a>(
        &self,
        inputs: impl Iterator<Item = &'a Path>,
    ) -> Result<(), UsageError> {
        match self.real_path() {
            Some(output) => refuse_inputs(&output, inputs),
            None => Ok(()),
        }
    }

    /// Where it is, links followed; none of what has no content.
    pub(crate) fn real_path(&self) -> Option<PathBuf> {
        match self {
            Destination::File { path, .. } if self.has_content() => path.canonicalize().ok(),
            _ => None,
        }
    }

    /// Whether both are one file or pipe, in which the bytes of the two would stand among one another.
    pub(crate) fn is_same(&self, other: &Destination) -> bool {
        let place = |destination: &Destination| {
            let found = destination.metadata().ok()?;
            let holds = found.is_file() || found.file_type().is_fifo();
            holds.then(|| (found.dev(), found.ino()))
        };
        place(self).is_some_and(|own| place(other) == Some(own))
    }

    fn metadata(&self) -> io::Result<Metadata> {
        match self {
            Destination::Stdout => {
                File::from(io::stdout().as_fd().try_clone_to_owned()?).metadata()
            }
            Destination::File { file, .. } => file.metadata(),
        }
    }

    /// Whether somebody sees the answers as they come.
    pub(crate) fn is_terminal(&self) -> bool {
        match self {
            Destination::Stdout => io::stdout().is_terminal(),
            Destination::File { file, .. } => file.is_terminal(),
        }
    }

    /// Drops what a file holds behind the first so many bytes; the next answer goes there.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn cut(&mut self, length: u64) -> anyhow::Result<()> {
        if !self.has_content() {
            return Ok(());
        }
        if let Destination::File { file, path } = self {
            file.set_len(length)
                .and_then(|()| file.seek(SeekFrom::Start(length)))
                .with_context(|| cannot_write(path))?;
        }
        Ok(())
    }

    /// Writes JSON, or text for people, at once.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write(&mut self, text: &str) -> anyhow::Result<()> {
        self.write_bytes(visible_lines(text).as_bytes())
    }

    /// Writes CSV at once, as it is, since it has no way to say a character otherwise; on a terminal as text for people.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write_csv(&mut self, text: &str) -> anyhow::Result<()> {
        match self.is_terminal() {
            true => self.write_bytes(visible_csv(text).as_bytes()),
            false => self.write_bytes(text.as_bytes()),
        }
    }

    /// Writes what is no text, as it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write_bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Destination::Stdout => print_bytes(bytes),
            Destination::File { file, path } => {
                file.write_all(bytes).with_context(|| cannot_write(path))
            }
        }
    }

    /// Writes what is of no use in parts; a file has only that then, or is gone.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(crate) fn write_whole(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.cut(0)?;
        self.write_bytes(bytes).inspect_err(|_| {
            if let Destination::File { path, .. } = self
                && path.is_file()
            {
                // Nobody is left to tell if that fails too.
                let _ = fs::remove_file(path);
            }
        })
    }
}

/// Refuses an output whose name is that of another format; pipes, devices, and what a process has open under a name of
/// the system's, such as `/dev/stdout`, are called whatever they are.
///
/// # Errors
/// A usage error with the `endings` that are allowed, in any case of letters.
pub(crate) fn check_name(flag: &str, path: &Path, endings: &[&str]) -> Result<(), UsageError> {
    let ending = path.extension().unwrap_or_default();
    let is_right = |allowed: &&str| ending.eq_ignore_ascii_case(allowed);
    let found = path.metadata();
    let is_device = found.is_ok_and(|found| !found.is_file() && !found.is_dir());
    let is_of_system = ["/dev", "/proc/self/fd"]
        .iter()
        .any(|place| path.starts_with(place));
    if path == Path::new("-") || is_device || is_of_system || endings.iter().any(is_right) {
        return Ok(());
    }
    let allowed: Vec<String> = endings.iter().map(|ending| format!(".{ending}")).collect();
    Err(UsageError(format!(
        "{flag} is {}, allowed are names that end in {}",
        path.display(),
        allowed.join(", ")
    )))
}

/// Refuses an `output` that is one of the `inputs`, by whatever links, hard ones too; `-` is none.
///
/// # Errors
/// A usage error with the first that it is.
pub(crate) fn refuse_inputs<'a>(
    output: &Path,
    inputs: impl Iterator<Item = &'a Path>,
) -> Result<(), UsageError> {
    let file = |path: &Path| path.metadata().ok().map(|found| (found.dev(), found.ino()));
    let Some(output) = file(output) else {
        return Ok(()); // not there yet
    };
    let mut files = inputs.filter(|input| *input != Path::new("-"));
    match files.find(|input| file(input) == Some(output)) {
        Some(input) => Err(UsageError(format!(
            "{} is both read and to be written: name another output",
            input.display()
        ))),
        None => Ok(()),
    }
}

/// CSV as people are shown it: line ends within a field, too, are said, not obeyed.
fn visible_csv(text: &str) -> String {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut writer = csv::WriterBuilder::new()
        .flexible(true)
        .from_writer(Vec::new());
    for record in reader.records().flatten() {
        let fields = record.iter().map(|field| visible(field).to_string());
        let fields: Vec<String> = fields.collect();
        writer
            .write_record(fields)
            .expect("a vector takes every record");
    }
    let written = writer.into_inner().expect("a vector takes every record");
    String::from_utf8(written).expect("text stays text")
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::one_answer::csv_line;

    #[test]
    fn csv_on_a_terminal_has_a_line_for_each_record() {
        let records = csv_line(["a\nb\u{1b}\"c\"", "", "x,y"]) + &csv_line(["d", "", ""]);
        let shown = visible_csv(&records);
        assert_eq!(shown, "\"a\\u000ab\\u001b\"\"c\"\"\",,\"x,y\"\nd,,\n");
    }

    #[test]
    fn names_of_the_system_are_called_whatever_they_are() {
        let allowed = ["csv"];
        for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "-", "a.CSV"] {
            assert!(
                check_name("--output", Path::new(name), &allowed).is_ok(),
                "{name}"
            );
        }
        for name in ["device", "/deva/stdout", "dev/stdout", "a.txt"] {
            assert!(
                check_name("--output", Path::new(name), &allowed).is_err(),
                "{name}"
            );
        }
    }
}
