//! TLS: a certificate with its key, checked before it is used, and exchanged while connections run.
//!
//! Made by `cli` from PEM text; `accept` asks it for a handshake before a connection speaks HTTP.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A PEM file's name, for errors, and content.
#[derive(Clone, Copy)]
pub struct PemFile<'a> {
    /// The name that errors have for the file.
    pub name: &'a str,
    /// Its content.
    pub content: &'a [u8],
}

impl std::fmt::Debug for PemFile<'_> {
    /// Without the content, which may be a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PemFile").field(&self.name).finish()
    }
}

/// A certificate and a key that cannot be served. No text holds any of the files' content.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// No certificate among the file's PEM blocks, or no PEM at all.
    #[error(
        "{0} holds no certificate, expected are PEM blocks \"BEGIN CERTIFICATE\": the server's, then those of its issuers"
    )]
    NoCertificate(String),
    /// No key among the file's PEM blocks, or no PEM at all.
    #[error(
        "{0} holds no private key, expected is a PEM block \"BEGIN PRIVATE KEY\", \"BEGIN RSA PRIVATE KEY\" or \
         \"BEGIN EC PRIVATE KEY\""
    )]
    NoKey(String),
    /// The key needs a passphrase.
    #[error(
        "{0} holds an encrypted private key, which nobody is there to unlock: `openssl pkey` writes a plain one"
    )]
    EncryptedKey(String),
    /// A PEM block is damaged.
    #[error("{name} is no PEM file: {reason}")]
    BadPem {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The certificate is not one.
    #[error("the certificate in {name} cannot be used: {reason}")]
    BadCertificate {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: rustls::Error,
    },
    /// The key is of no kind that can sign.
    #[error(
        "the private key in {0} is not RSA of 2048 to 8192 bits, ECDSA of P-256 or P-384, or Ed25519"
    )]
    BadKey(String),
    /// Certificate and key are not a pair.
    #[error("the private key in {key} is not that of the first certificate in {certificate}")]
    Mismatch {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
}

/// The certificate that new connections are shown.
#[derive(Debug)]
pub struct Tls {
    protocols: Vec<Vec<u8>>,
    current: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Serves this certificate, to clients that speak one of these protocols as ALPN names them.
    ///
    /// # Errors
    /// [`TlsError`] if the two are not a certificate and its key.
    pub fn new(
        certificate: PemFile<'_>,
        key: PemFile<'_>,
        protocols: &[&str],
    ) -> Result<Tls, TlsError> {
        let protocols: Vec<Vec<u8>> = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let config = config(certificate, key, &protocols)?;
        Ok(Tls {
            protocols,
            current: RwLock::new(config),
        })
    }

    /// Shows this certificate to connections from now on. Those that are open go on as they are, but no session of
    /// theirs can be resumed: whoever comes again sees the new certificate.
    ///
    /// # Errors
    /// As [`Tls::new`]; then the old one stays.
    pub fn replace(&self, certificate: PemFile<'_>, key: PemFile<'_>) -> Result<(), TlsError> {
        let config = config(certificate, key, &self.protocols)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Agrees on a connection's secrets. Without end if the client is silent: the caller has the deadline.
    ///
    /// # Errors
    /// If the client leaves, or speaks no TLS 1.2 or 1.3; it has been told by an alert.
    pub(super) async fn handshake<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(&current)
        };
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Whether the client has sent more than its handshake.
    pub(super) fn has_plaintext<S>(stream: &mut TlsStream<S>) -> bool {
        let (_, session) = stream.get_mut();
        let state = session.process_new_packets();
        // An error comes again with the first read.
        state.is_ok_and(|state| state.plaintext_bytes_to_read() > 0)
    }
}

fn config(
    certificate: PemFile<'_>,
    key: PemFile<'_>,
    protocols: &[Vec<u8>],
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = pair(certificate, key, &provider)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("ring has suites of both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = protocols.to_vec();
    Ok(Arc::new(config))
}

fn pair(
    certificate: PemFile<'_>,
    key: PemFile<'_>,
    provider: &rustls::crypto::CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = CertificateDer::pem_slice_iter(certificate.content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| bad_pem(certificate, &e))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate.name.into()));
    }
    let private = match PrivateKeyDer::from_pem_slice(key.content) {
        Ok(private) => private,
        Err(pem::Error::NoItemsFound) if is_encrypted(key.content) => {
            return Err(TlsError::EncryptedKey(key.name.into()));
        }
        Err(pem::Error::NoItemsFound) => return Err(TlsError::NoKey(key.name.into())),
        Err(e) => return Err(bad_pem(key, &e)),
    };
    let signing = provider
        .key_provider
        .load_private_key(private)
        .map_err(|_| TlsError::BadKey(key.name.into()))?;
    let pair = CertifiedKey::new(chain, signing);
    match pair.keys_match() {
        Ok(()) => Ok(pair),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsError::Mismatch {
            certificate: certificate.name.into(),
            key: key.name.into(),
        }),
        Err(reason) => Err(TlsError::BadCertificate {
            name: certificate.name.into(),
            reason,
        }),
    }
}

fn is_encrypted(key: &[u8]) -> bool {
    let label = b"BEGIN ENCRYPTED PRIVATE KEY";
    key.windows(label.len()).any(|window| window == label)
}

fn bad_pem(file: PemFile<'_>, error: &pem::Error) -> TlsError {
    TlsError::BadPem {
        name: file.name.into(),
        // Their own texts show the line.
        reason: match error {
            pem::Error::MissingSectionEnd { .. } => "a block has a BEGIN line, but no END line",
            pem::Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
            pem::Error::Base64Decode(_) => "a block is not base64",
            _ => "it cannot be read",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file<'a>(name: &'a str, content: &'a str) -> PemFile<'a> {
        PemFile {
            name,
            content: content.as_bytes(),
        }
    }

    fn identity() -> (String, String) {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a pair");
        (pair.cert.pem(), pair.signing_key.serialize_pem())
    }

    fn refusal(certificate: &str, key: &str) -> String {
        Tls::new(file("C", certificate), file("K", key), &["http/1.1"])
            .expect_err("it must be refused")
            .to_string()
    }

    #[test]
    fn what_is_no_certificate_with_its_key_is_refused_by_name() {
        let ((certificate, key), (other, other_key)) = (identity(), identity());
        let cut = |pem: &str| pem[..pem.len() / 2].to_owned();
        let not_base64 = |pem: &str| pem.replacen("\nM", "\n!", 1);
        let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let locked =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (certificate, key, words) in [
            ("", &*key, "C holds no certificate"),
            ("hello\n", &key, "C holds no certificate"),
            (&key, &key, "C holds no certificate"),
            (
                &cut(&certificate),
                &key,
                "C is no PEM file: a block has a BEGIN line",
            ),
            (
                &not_base64(&certificate),
                &key,
                "C is no PEM file: a block is not base64",
            ),
            (not_der, &key, "the certificate in C cannot be used"),
            (&certificate, "", "K holds no private key"),
            (&certificate, "\u{0}\u{1}", "K holds no private key"),
            (&certificate, &certificate, "K holds no private key"),
            (&certificate, locked, "K holds an encrypted private key"),
            (&certificate, &cut(&key), "K is no PEM file"),
            (&certificate, no_key, "the private key in K is not RSA"),
            (
                &certificate,
                &other_key,
                "the private key in K is not that of the first certificate in C",
            ),
            (
                &format!("{other}{certificate}"),
                &key,
                "the private key in K is not that of the first certificate in C",
            ),
        ] {
            let said = refusal(certificate, key);
            assert!(said.starts_with(words), "{words}: {said}");
            for secret in key.lines().filter(|l| l.len() > 20 && !l.contains("---")) {
                assert!(!said.contains(secret), "{said}");
            }
        }
    }

    #[test]
    fn pair_may_lie_in_one_file_and_bring_its_issuers() {
        let ((certificate, key), (issuer, _)) = (identity(), identity());
        let all = format!("{key}{certificate}{issuer}");
        Tls::new(file("F", &all), file("F", &all), &["http/1.1"]).expect("it is a pair");
    }

    #[test]
    fn bad_replacement_is_refused_and_changes_nothing() {
        let (certificate, key) = identity();
        let tls = Tls::new(file("C", &certificate), file("K", &key), &[]).expect("a pair");
        let before = Arc::as_ptr(&tls.current.read().expect("not poisoned"));
        let (other, _) = identity();
        tls.replace(file("C", &other), file("K", &key))
            .expect_err("no pair");
        assert_eq!(
            before,
            Arc::as_ptr(&tls.current.read().expect("not poisoned"))
        );
    }
}
