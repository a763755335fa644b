//! The downloader: brings one model of the catalogue into the store.
//!
//! Called by `resnet pull` alone; only `traces/collector` opens outgoing connections besides. It writes through `part`,
//! so a file has its final name only once its SHA-256 is the catalogue's. It prints nothing and reads no environment.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use ureq::http::{Response, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy, ProxyProtocol, Timeout};

use super::catalog::CatalogEntry;
pub use super::fetch_error::FetchError;
use super::fetch_error::{shown, stalled};
pub use super::fetch_options::{FetchOptions, FetchSource, Progress, ProxySettings};
use super::part::{OpenError, PartFile};
use super::store::Store;
use super::target::{BUFFER, Target};

/// Brings a model into the store and returns its path, replacing a file of its name.
///
/// Resumes what an earlier download left. A download that is cut keeps what it has; a wrong file leaves nothing.
///
/// # Errors
/// A [`FetchError`] that says what failed and what to do next. Under the model's final name then lies what lay there
/// before.
pub fn fetch(
    entry: &CatalogEntry,
    source: &FetchSource,
    store: &Store,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<PathBuf, FetchError> {
    let origin = Origin::new(entry, source, options)?;
    let part_path = store.part_path_of(entry);
    let mut part = PartFile::open(part_path.clone(), entry.bytes).map_err(|error| match error {
        OpenError::Locked => FetchError::Locked {
            path: part_path.clone(),
        },
        OpenError::Io(error) => FetchError::store("create", &part_path, 0, entry.bytes, error),
    })?;
    let mut target = Target {
        entry,
        part: &mut part,
        progress,
    };
    let outcome = origin
        .bring(&mut target)
        .and_then(|()| target.verify(origin.shown()));
    if let Err(error) = outcome {
        if part.len() == 0 || !error.keeps_part() {
            // The error that led here is the one to report.
            let _ = part.discard();
        }
        return Err(error);
    }
    let path = store.path_of(entry);
    part.finish(&path)
        .map_err(|error| FetchError::store("finish", &path, entry.bytes, entry.bytes, error))?;
    Ok(path)
}

/// A source that is ready to be asked.
enum Origin<'a> {
    File(&'a Path),
    Server(Client<'a>),
}

impl<'a> Origin<'a> {
    fn new(
        entry: &CatalogEntry,
        source: &'a FetchSource,
        options: &'a FetchOptions,
    ) -> Result<Self, FetchError> {
        let url = match source {
            FetchSource::File(path) => return Ok(Origin::File(path)),
            FetchSource::Mirror(base) => format!("{}/{}", base.trim_end_matches('/'), entry.file),
            FetchSource::Url(url) => url.clone(),
            FetchSource::Catalogue if entry.url.starts_with("https://") => entry.url.clone(),
            FetchSource::Catalogue => {
                return Err(FetchError::NotHttps {
                    url: shown(&entry.url),
                });
            }
        };
        let https_only = *source == FetchSource::Catalogue;
        Ok(Origin::Server(Client::new(url, https_only, options)?))
    }

    fn bring(&self, target: &mut Target<'_>) -> Result<(), FetchError> {
        match self {
            Origin::File(path) => target.copy(path),
            Origin::Server(client) => client.download(target),
        }
    }

    fn shown(&self) -> String {
        match self {
            Origin::File(path) => path.display().to_string(),
            Origin::Server(client) => shown(&client.url),
        }
    }
}

/// A client for one URL.
struct Client<'a> {
    agent: Agent,
    url: String,
    options: &'a FetchOptions,
}

/// An answer that carries the model's bytes from the end of the `.part` file on.
struct Answer {
    body: Body,
    /// The server marks the end of the body itself, so that a short one is whole.
    is_chunked: bool,
}

impl<'a> Client<'a> {
    fn new(
        url: String,
        https_only: bool,
        options: &'a FetchOptions,
    ) -> Result<Client<'a>, FetchError> {
        if !url.starts_with("https://") && !url.starts_with("http://") {
            return Err(FetchError::BadUrl {
                url: shown(&url),
                reason: "unknown scheme".into(),
            });
        }
        let config = Agent::config_builder()
            .https_only(https_only)
            .http_status_as_error(false)
            .user_agent(concat!("resnet/", env!("CARGO_PKG_VERSION")))
            // The digest is of the file itself, so no transfer compression.
            .accept_encoding("identity")
            .timeout_resolve(Some(options.connect_timeout))
            .timeout_connect(Some(options.connect_timeout))
            .timeout_per_read(Some(options.stall_timeout))
            .timeout_per_write(Some(options.stall_timeout))
            .proxy(proxy_for(&url, &options.proxies)?)
            .tls_config(tls_config(options.ca_file.as_deref())?)
            .build();
        Ok(Client {
            agent: config.new_agent(),
            url,
            options,
        })
    }

    /// Receives the whole file, resuming where it was cut.
    fn download(&self, target: &mut Target<'_>) -> Result<(), FetchError> {
        if target.part.len() > 0 {
            (target.progress)(Progress::Resuming {
                bytes: target.part.len(),
            });
        }
        let mut retries = 0;
        while target.part.len() < target.entry.bytes {
            let Err(error) = self.attempt(target) else {
                continue;
            };
            // A server that was there a moment ago may be restarting.
            let is_transient = error.is_transient()
                || (retries > 0 && matches!(error, FetchError::Unreachable { .. }));
            if !is_transient || retries == self.options.retries {
                return Err(error);
            }
            let wait = self
                .options
                .backoff
                .saturating_mul(2u32.saturating_pow(retries));
            retries += 1;
            let reason = error.brief();
            (target.progress)(Progress::Retrying {
                attempt: retries,
                reason,
            });
            #[allow(
                clippy::disallowed_methods,
                reason = "a command's only thread, which has nothing else to do"
            )]
            std::thread::sleep(wait);
        }
        Ok(())
    }

    /// Asks once and receives until the end or a cut. Success means that the file is whole.
    fn attempt(&self, target: &mut Target<'_>) -> Result<(), FetchError> {
        let Answer { body, is_chunked } = self.ask(target)?;
        let mut reader = body.into_reader();
        let mut buffer = vec![0; BUFFER];
        let cut = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break None,
                Ok(n) => target.append(&buffer[..n], &self.url)?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Some(self.reason(&error.into())),
            }
        };
        let (got, total) = (target.part.len(), target.entry.bytes);
        if got == total {
            return Ok(());
        }
        if is_chunked && cut.is_none() {
            return target.check_whole(&self.url);
        }
        let reason = cut.unwrap_or_else(|| "the server closed the connection too early".into());
        Err(FetchError::Cut {
            url: shown(&self.url),
            reason,
            got,
            total,
        })
    }

    /// Sends the request, with a range if there is a beginning already, and leaves the `.part` file where the answer
    /// goes on.
    fn ask(&self, target: &mut Target<'_>) -> Result<Answer, FetchError> {
        let mut response = self.send(target.part.len())?;
        let begins_at = |response: &Response<Body>| content_range(response).map(|(start, _)| start);
        if response.status() == 416
            || (response.status() == 206 && begins_at(&response) != Some(target.part.len()))
        {
            // Our beginning is of no use to this server.
            target.restart()?;
            response = self.send(0)?;
        }
        match response.status().as_u16() {
            200 => {
                if let Some(length) = content_length(&response) {
                    target.check_size(length, &self.url)?;
                }
                // The server does not know ranges: everything comes again.
                if target.part.len() > 0 {
                    target.restart()?;
                }
            }
            206 if target.part.len() > 0 => {
                if let Some((_, Some(length))) = content_range(&response) {
                    target.check_size(length, &self.url)?;
                }
            }
            status => return Err(FetchError::status(&self.url, status)),
        }
        let encoding = response.headers().get(header::TRANSFER_ENCODING);
        let is_chunked =
            encoding.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
        Ok(Answer {
            body: response.into_body(),
            is_chunked,
        })
    }

    fn send(&self, offset: u64) -> Result<Response<Body>, FetchError> {
        let mut request = self.agent.get(&self.url);
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        request.call().map_err(|error| self.refusal(error))
    }

    /// Puts a failed request into words.
    fn refusal(&self, error: ureq::Error) -> FetchError {
        let url = shown(&self.url);
        let proxy = self.options.proxies.for_url(&self.url).map(shown);
        let via = proxy
            .as_ref()
            .map(|proxy| format!(" through proxy {proxy}"))
            .unwrap_or_default();
        match error {
            ureq::Error::RequireHttpsOnly(to) => FetchError::InsecureRedirect {
                from: url,
                to: shown(&to),
            },
            ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => {
                FetchError::RedirectLoop { url }
            }
            ureq::Error::BadUri(reason) => FetchError::BadUrl {
                url,
                reason: reason.to_lowercase(),
            },
            ureq::Error::Http(reason) => FetchError::BadUrl {
                url,
                reason: reason.to_string().to_lowercase(),
            },
            ureq::Error::ConnectProxyFailed(reason) => FetchError::Proxy {
                proxy: proxy.unwrap_or_default(),
                url,
                reason,
            },
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => FetchError::Tls {
                url,
                via,
                reason: error.to_string(),
            },
            // How rustls reports a certificate that it does not trust.
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
                FetchError::Tls {
                    url,
                    via,
                    reason: error.to_string(),
                }
            }
            error => FetchError::Unreachable {
                url,
                via,
                reason: self.reason(&error),
            },
        }
    }

    /// Puts a failed connection into words.
    fn reason(&self, error: &ureq::Error) -> String {
        match error {
            ureq::Error::Timeout(Timeout::PerRead | Timeout::PerWrite) => {
                stalled(self.options.stall_timeout)
            }
            ureq::Error::Timeout(_) => {
                format!(
                    "no connection within {} s",
                    self.options.connect_timeout.as_secs_f32()
                )
            }
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the server closed the connection too early".into()
            }
            ureq::Error::Io(error) => error.to_string().to_lowercase(),
            error => error.to_string().to_lowercase(),
        }
    }
}

/// Reads `Content-Range: bytes START-END/TOTAL`; the total may be `*`.
fn content_range(response: &Response<Body>) -> Option<(u64, Option<u64>)> {
    let value = response
        .headers()
        .get(header::CONTENT_RANGE)?
        .to_str()
        .ok()?;
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((
        range.split_once('-')?.0.trim().parse().ok()?,
        total.trim().parse().ok(),
    ))
}

fn content_length(response: &Response<Body>) -> Option<u64> {
    response
        .headers()
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Builds the proxy for a URL, if the settings name one.
fn proxy_for(url: &str, settings: &ProxySettings) -> Result<Option<Proxy>, FetchError> {
    let Some(text) = settings.for_url(url) else {
        return Ok(None);
    };
    let refuse = |reason: String| FetchError::Proxy {
        proxy: shown(text),
        url: shown(url),
        reason,
    };
    let parsed = Proxy::new(text).map_err(|error| refuse(error.to_string()))?;
    if !matches!(
        parsed.protocol(),
        ProxyProtocol::Http | ProxyProtocol::Https
    ) {
        return Err(refuse(
            "only http:// and https:// proxies are supported".into(),
        ));
    }
    let mut proxy = Proxy::builder(parsed.protocol())
        .host(parsed.host())
        .port(parsed.port());
    if let Some(user) = parsed.username() {
        proxy = proxy.username(user);
    }
    if let Some(password) = parsed.password() {
        proxy = proxy.password(password);
    }
    for host in &settings.no_proxy {
        proxy = proxy.no_proxy(host);
    }
    proxy
        .build()
        .map(Some)
        .map_err(|error| refuse(error.to_string()))
}

/// Trusts Mozilla's roots, and those of `ca_file` besides.
fn tls_config(ca_file: Option<&Path>) -> Result<TlsConfig, FetchError> {
    let Some(path) = ca_file else {
        return Ok(TlsConfig::default());
    };
    let refuse = |reason: String| FetchError::CaFile {
        path: path.to_owned(),
        reason,
    };
    let pem = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let mut roots = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) =
            item.map_err(|error| refuse(error.to_string()))?
        {
            roots.push(certificate);
        }
    }
    if roots.is_empty() {
        return Err(refuse("it holds no certificate".into()));
    }
    roots.extend(
        webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|der| Certificate::from_der(der)),
    );
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::from(roots))
        .build())
}
