//! What guards the door: API keys from their file and variable, read at start and again on SIGHUP.
//!
//! Used by `serve`. What cannot be read at start stops it; on SIGHUP it changes nothing.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{API_KEYS_VARIABLE, AccessConfig, api_keys_variable};
use crate::http::{App, KeySet};

/// Largest file of keys or certificates, in bytes: room for ten thousand keys.
const MAX_FILE: u64 = 1 << 20;

/// Where keys come from.
pub(super) struct Locks {
    keys_file: Option<PathBuf>,
    /// The variable of a running process does not change.
    keys_of_variable: Option<KeySet>,
}

impl Locks {
    /// Takes in what does not change: the files' names and the variable.
    ///
    /// # Errors
    /// If the variable holds no keys.
    pub(super) fn new(config: &AccessConfig) -> anyhow::Result<Locks> {
        let variable = api_keys_variable().map_err(anyhow::Error::msg)?;
        let keys = variable.map(|text| KeySet::parse(API_KEYS_VARIABLE, &text));
        Ok(Locks {
            keys_file: config.api_keys_file.clone(),
            keys_of_variable: keys.transpose()?,
        })
    }

    /// Reads the keys; `None` where none are asked for.
    ///
    /// # Errors
    /// What is wrong with the file, without a word of it.
    pub(super) fn keys(&self) -> anyhow::Result<Option<KeySet>> {
        let of_variable = self.keys_of_variable.clone();
        let Some(path) = &self.keys_file else {
            return Ok(of_variable);
        };
        let of_file = KeySet::parse(&path.display().to_string(), &read(path)?)?;
        Ok(Some(match of_variable {
            Some(keys) => keys.merge(of_file),
            None => of_file,
        }))
    }

    /// Reads everything again at each SIGHUP, on a thread of its own: a file may lie on a disk that does not answer.
    ///
    /// # Errors
    /// If the signal cannot be listened for, or there is no thread.
    pub(super) fn reload_on_hangup(self, app: Arc<App>) -> anyhow::Result<()> {
        let mut hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let runtime = Handle::current();
        let reload = move || {
            while runtime.block_on(hangups.recv()).is_some() {
                self.reload(&app);
            }
        };
        std::thread::Builder::new()
            .name("reload".into())
            .spawn(reload)
            .context("cannot start a thread")?;
        Ok(())
    }

    fn reload(&self, app: &App) {
        if self.keys_file.is_none() {
            tracing::info!("SIGHUP: there is no file to read again");
            return;
        }
        match self.keys() {
            Ok(Some(keys)) => {
                tracing::info!(
                    names = keys.names().join(", "),
                    "SIGHUP: read the API keys again"
                );
                app.set_keys(keys);
            }
            Ok(None) => {}
            Err(error) => {
                tracing::error!("SIGHUP: the API keys stay what they were: {error:#}");
            }
        }
    }
}

/// The text of a small regular file: a pipe or device could block or never end.
fn read(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let unreadable = || format!("{name} cannot be read");
    let meta = std::fs::metadata(path).with_context(unreadable)?;
    if !meta.is_file() {
        bail!("{name} is not a file");
    }
    if meta.len() > MAX_FILE {
        bail!("{name} has {} bytes, allowed are {MAX_FILE}", meta.len());
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(unreadable)?;
    file.take(MAX_FILE)
        .read_to_string(&mut text)
        .with_context(unreadable)?;
    Ok(text)
}
