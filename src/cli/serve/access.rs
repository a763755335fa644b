//! Who may come in: API keys and the TLS certificate, from their files, read at start and again on SIGHUP, as models are.
//!
//! Used by `serve`. What cannot be read at start stops it; on SIGHUP it changes nothing.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{API_KEYS_VARIABLE, AccessConfig, api_keys_variable};
use crate::desk::{Desk, KeySet};
use crate::repository::Change;
use crate::server::{PemFile, Tls};

/// Largest file of keys or certificates, in bytes: room for ten thousand keys.
const MAX_FILE: u64 = 1 << 20;

/// Where keys and certificate come from.
pub(super) struct Access {
    keys_file: Option<PathBuf>,
    /// The variable of a running process does not change.
    keys_of_variable: Option<KeySet>,
    certificate: Option<CertificateFiles>,
}

struct CertificateFiles {
    certificate: PathBuf,
    key: PathBuf,
}

impl Access {
    /// Takes in what does not change: the files' names and the variable.
    ///
    /// # Errors
    /// If the variable holds no keys.
    pub(super) fn new(config: &AccessConfig) -> anyhow::Result<Access> {
        let variable = api_keys_variable().map_err(anyhow::Error::msg)?;
        let keys = variable.map(|text| KeySet::parse(API_KEYS_VARIABLE, &text));
        let certificate = match (config.tls_cert.clone(), config.tls_key.clone()) {
            (Some(certificate), Some(key)) => Some(CertificateFiles { certificate, key }),
            _ => None, // one alone is a usage error
        };
        Ok(Access {
            keys_file: config.api_keys_file.clone(),
            keys_of_variable: keys.transpose()?,
            certificate,
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
        let text = String::from_utf8(read(path)?)
            .map_err(|_| anyhow::anyhow!("{} is not UTF-8", path.display()))?;
        let of_file = KeySet::parse(&path.display().to_string(), &text)?;
        let Some(keys) = of_variable else {
            return Ok(Some(of_file));
        };
        let both = || format!("{API_KEYS_VARIABLE} and {}", path.display());
        Ok(Some(keys.merge(of_file).with_context(both)?))
    }

    /// Reads the certificate and its key; `None` where TLS is not asked for. `protocols` are those that clients may
    /// choose from, as ALPN names them.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub(super) fn tls(&self, protocols: &[&str]) -> anyhow::Result<Option<Tls>> {
        let Some(files) = &self.certificate else {
            return Ok(None);
        };
        let make =
            |certificate: PemFile<'_>, key: PemFile<'_>| Tls::new(certificate, key, protocols);
        files.read(make).map(Some)
    }

    /// Reads everything again at each SIGHUP, on a thread of its own: a file may lie on a disk that does not answer.
    ///
    /// # Errors
    /// If the signal cannot be listened for, or there is no thread.
    pub(super) fn reload_on_hangup(
        self,
        desk: Arc<Desk>,
        tls: Vec<Arc<Tls>>,
    ) -> anyhow::Result<()> {
        let mut hangups = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let runtime = Handle::current();
        let reload = move || {
            while runtime.block_on(hangups.recv()).is_some() {
                self.reload(&desk, &tls);
            }
        };
        std::thread::Builder::new()
            .name("reload".into())
            .spawn(reload)
            .context("cannot start a thread")?;
        Ok(())
    }

    fn reload(&self, desk: &Desk, tls: &[Arc<Tls>]) {
        if self.keys_file.is_some() {
            match self.keys() {
                Ok(Some(keys)) => {
                    let names = keys.names().join(", ");
                    tracing::info!(names, "SIGHUP: the API keys are read again");
                    desk.set_keys(keys);
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::error!("SIGHUP: the API keys stay what they were: {error:#}");
                }
            }
        }
        if let (Some(files), false) = (&self.certificate, tls.is_empty()) {
            let replace = |certificate: PemFile<'_>, key: PemFile<'_>| {
                tls.iter().try_for_each(|tls| tls.replace(certificate, key))
            };
            match files.read(replace) {
                Ok(()) => tracing::info!("SIGHUP: new connections see the certificate read again"),
                Err(error) => {
                    tracing::error!("SIGHUP: the certificate stays what it was: {error:#}");
                }
            }
        }
        match desk.change_models(&Change::Reload) {
            Ok(true) => tracing::info!("SIGHUP: the models are read again"),
            Ok(false) if self.keys_file.is_none() && self.certificate.is_none() => {
                tracing::info!("SIGHUP: no file of a served model has changed");
            }
            Ok(false) => {}
            Err(error) => tracing::error!("SIGHUP: the models stay what they were: {error}"),
        }
    }
}

impl CertificateFiles {
    /// Reads both files and hands their content to `take`.
    fn read<T, E: Into<anyhow::Error>>(
        &self,
        take: impl FnOnce(PemFile<'_>, PemFile<'_>) -> Result<T, E>,
    ) -> anyhow::Result<T> {
        let (certificate, key) = (read(&self.certificate)?, read(&self.key)?);
        let names = [&self.certificate, &self.key].map(|path| path.display().to_string());
        let certificate = PemFile {
            name: &names[0],
            content: &certificate,
        };
        let key = PemFile {
            name: &names[1],
            content: &key,
        };
        take(certificate, key).map_err(Into::into)
    }
}

/// The content of a small regular file: a pipe or device could block or never end.
fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display();
    let unreadable = || format!("{name} cannot be read");
    let meta = std::fs::metadata(path).with_context(unreadable)?;
    if !meta.is_file() {
        bail!("{name} is not a file");
    }
    if meta.len() > MAX_FILE {
        bail!("{name} has {} bytes, allowed are {MAX_FILE}", meta.len());
    }
    let mut content = Vec::new();
    let file = std::fs::File::open(path).with_context(unreadable)?;
    file.take(MAX_FILE)
        .read_to_end(&mut content)
        .with_context(unreadable)?;
    Ok(content)
}
