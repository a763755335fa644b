//! How to fetch: where from, how patiently, through which proxy, and what is told on the way.
//!
//! `cli` fills these in, `fetch` follows them. Touches neither environment nor network itself.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Where a model comes from. The catalogue's digest decides in every case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchSource {
    /// The URL in the catalogue: https, also across redirects.
    Catalogue,
    /// A directory on another server that holds the file under its catalogue name; may be http.
    Mirror(String),
    /// Any URL of the file; may be http.
    Url(String),
    /// A file on this machine, which is copied.
    File(PathBuf),
}

impl FetchSource {
    /// Tells a URL from a file name, as given to `--from`.
    pub fn from_argument(argument: &str) -> FetchSource {
        if argument.contains("://") {
            FetchSource::Url(argument.to_owned())
        } else {
            FetchSource::File(argument.into())
        }
    }
}

/// How to fetch.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Longest wait for a name to resolve, and then for a connection.
    pub connect_timeout: Duration,
    /// Longest wait for the next byte. There is no limit on the whole download.
    pub stall_timeout: Duration,
    /// How often a download that was cut is resumed before giving up.
    pub retries: u32,
    /// Wait before the first retry; doubles each time.
    pub backoff: Duration,
    /// PEM file with root certificates to trust besides Mozilla's, as of a company's TLS proxy.
    pub ca_file: Option<PathBuf>,
    /// Proxies to go through.
    pub proxies: ProxySettings,
}

impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions {
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_secs(30),
            retries: 3,
            backoff: Duration::from_millis(500),
            ca_file: None,
            proxies: ProxySettings::default(),
        }
    }
}

/// What is going on, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// An earlier download left `bytes`; it goes on from there.
    Resuming {
        /// Bytes in the `.part` file.
        bytes: u64,
    },
    /// Bytes have come. After a restart there can be fewer than before.
    Received {
        /// Bytes in the `.part` file.
        bytes: u64,
    },
    /// The connection was cut; it is tried again after a short wait.
    Retrying {
        /// The number of the retry, counted from 1.
        attempt: u32,
        /// Why the connection was cut.
        reason: String,
    },
    /// Everything is there; its digest is compared and it goes to the disk.
    Verifying,
}

/// The proxies to use, by the scheme of the URL asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// The proxy for `https://` URLs.
    pub https: Option<String>,
    /// The proxy for `http://` URLs, as of a mirror.
    pub http: Option<String>,
    /// Hosts to reach directly: names, `.domain`, `*.domain` or `*`.
    pub no_proxy: Vec<String>,
}

impl ProxySettings {
    /// Reads the usual variables; `lookup` reads one environment variable.
    ///
    /// `HTTPS_PROXY` serves https, `HTTP_PROXY` http, `ALL_PROXY` what has none of its own; the lower-case twin counts
    /// where the upper-case one is not set. As for curl, a name in `NO_PROXY` stands for its subdomains too.
    pub fn from_env(lookup: impl Fn(&str) -> Option<OsString>) -> ProxySettings {
        let read = |name: &str| {
            let set = |name: &str| {
                lookup(name)?
                    .into_string()
                    .ok()
                    .filter(|value| !value.trim().is_empty())
            };
            set(name).or_else(|| set(&name.to_lowercase()))
        };
        let all = read("ALL_PROXY");
        ProxySettings {
            https: read("HTTPS_PROXY").or_else(|| all.clone()),
            http: read("HTTP_PROXY").or(all),
            no_proxy: read("NO_PROXY")
                .map(|list| expand_no_proxy(&list))
                .unwrap_or_default(),
        }
    }

    /// Returns the proxy for a URL by its scheme alone; hosts are exempted by `no_proxy`.
    pub(super) fn for_url(&self, url: &str) -> Option<&str> {
        if url.starts_with("https://") {
            self.https.as_deref()
        } else {
            self.http.as_deref()
        }
    }
}

/// Splits a `NO_PROXY` list; a plain name and a `.domain` each become both, which is how curl and Go read them.
fn expand_no_proxy(list: &str) -> Vec<String> {
    let mut hosts = Vec::new();
    for entry in list
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
    {
        if entry.starts_with('*') {
            hosts.push(entry.to_owned());
        } else {
            let name = entry.trim_start_matches('.');
            hosts.push(name.to_owned());
            hosts.push(format!(".{name}"));
        }
    }
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(vars: &[(&str, &str)]) -> ProxySettings {
        ProxySettings::from_env(|name| {
            vars.iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| value.into())
        })
    }

    #[test]
    fn each_scheme_has_its_own_variable() {
        let both = settings(&[("HTTPS_PROXY", "http://s:1"), ("http_proxy", "http://p:2")]);
        assert_eq!(both.for_url("https://a/b"), Some("http://s:1"));
        assert_eq!(both.for_url("http://a/b"), Some("http://p:2"));
        assert_eq!(
            settings(&[("HTTP_PROXY", "http://p:2")]).for_url("https://a/b"),
            None
        );
    }

    #[test]
    fn all_proxy_fills_what_is_not_set_and_empty_counts_as_not_set() {
        let all = settings(&[
            ("ALL_PROXY", "http://a:1"),
            ("HTTPS_PROXY", " "),
            ("http_proxy", "http://p:2"),
        ]);
        assert_eq!(all.for_url("https://a/b"), Some("http://a:1"));
        assert_eq!(all.for_url("http://a/b"), Some("http://p:2"));
        assert_eq!(settings(&[]), ProxySettings::default());
    }

    #[test]
    fn no_proxy_names_stand_for_their_subdomains() {
        let list = settings(&[("NO_PROXY", "localhost, .corp.example,*.x.org,,*")]).no_proxy;
        assert_eq!(
            list,
            [
                "localhost",
                ".localhost",
                "corp.example",
                ".corp.example",
                "*.x.org",
                "*"
            ]
        );
    }
}
