//! TLS: whom we trust, who we are, and what went wrong in words.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Address, ConnectError, ConnectOptions, Said};

/// The files of a deployment, in PEM. They are read for every connection, so that renewed ones are used without a
/// restart.
#[derive(Debug, Clone, Default)]
pub(super) struct TlsFiles {
    /// Certificates of the authorities that are trusted, in place of the system's.
    pub(super) ca: Option<PathBuf>,
    /// Our certificate with its chain, and its key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// A fault and what to change.
type Fault = (String, String);

// === impl TlsFiles ===

impl TlsFiles {
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        address: &Address,
        host: &str,
        options: &ConnectOptions,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let failed = |(cause, fix): Fault| ConnectError::Tls { address: address.to_string(), cause, fix };
        let files = self.clone();
        // The system has hundreds of certificates in files.
        let config = tokio::task::spawn_blocking(move || files.config()).await;
        let config =
            config.map_err(|e| failed((e.to_string(), "this is a bug, please report it".to_owned())))?;
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| failed((format!("{host:?}: {e}"), "use a host name or an IP address".to_owned())))?;
        let connector = TlsConnector::from(Arc::new(config.map_err(failed)?));
        connector.connect(name, tcp).await.map_err(|e| {
            let explained = self.explain(&e, host, options.said_in());
            explained.map_or_else(|| options.of_io(address, &e), failed)
        })
    }

    fn config(&self) -> Result<ClientConfig, Fault> {
        let roots = match &self.ca {
            Some(path) => authorities(path)?,
            None => system_authorities()?,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| (e.to_string(), "this is a bug, please report it".to_owned()))?
            .with_root_certificates(roots);
        let Some((cert, key)) = &self.client else { return Ok(config.with_no_client_auth()) };
        let chain = certificates(cert, "cert")?;
        let found = PrivateKeyDer::from_pem_file(key);
        let found = found.map_err(|e| {
            (format!("{}: {e}", key.display()), fix_of("key", "a private key in PEM, without a passphrase"))
        })?;
        config.with_client_auth_cert(chain, found).map_err(|e| {
            (
                format!("{} and {}: {e}", cert.display(), key.display()),
                "give the key that belongs to the certificate ([redis] cert, key)".to_owned(),
            )
        })
    }

    /// What an error of the TLS layer means; none for errors of what is below it. An alert may come with the first
    /// reply only: the server judges our certificate when we believe to be done.
    pub(super) fn explain(&self, e: &io::Error, host: &str, said: &Said) -> Option<Fault> {
        let no_tls = || format!("if it speaks no TLS there, {}", said.tls(false));
        let tls = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(tls) = tls else {
            return (e.kind() == io::ErrorKind::UnexpectedEof)
                .then(|| ("it hung up during the greeting".to_owned(), no_tls()));
        };
        let wants_certificate = || match &self.client {
            None => (
                "it asks for a client certificate".to_owned(),
                "set [redis] cert and key to one it accepts, or `tls-auth-clients no` there".to_owned(),
            ),
            Some((cert, _)) => (
                format!("it does not accept the client certificate {} ({tls})", cert.display()),
                "give one that is signed by its tls-ca-cert-file ([redis] cert, key)".to_owned(),
            ),
        };
        let has_expired = matches!(tls, rustls::Error::AlertReceived(AlertDescription::CertificateExpired));
        if let Some((cert, _)) = self.client.as_ref().filter(|_| has_expired) {
            return Some((
                format!("the client certificate {} has expired", cert.display()),
                "renew it ([redis] cert, key), or set the clock of one of the machines".to_owned(),
            ));
        }
        Some(match tls {
            rustls::Error::InvalidCertificate(e) => self.distrust(e, host),
            rustls::Error::InvalidMessage(_) => ("what it answers is not TLS".to_owned(), no_tls()),
            rustls::Error::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::HandshakeFailure
                | AlertDescription::BadCertificate
                | AlertDescription::DecryptError
                | AlertDescription::UnknownCA
                | AlertDescription::CertificateUnknown
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateRevoked
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::AccessDenied,
            ) => wants_certificate(),
            other => (
                other.to_string(),
                "compare tls-protocols and tls-ciphers of redis.conf with TLS 1.2 and 1.3".to_owned(),
            ),
        })
    }

    fn distrust(&self, e: &CertificateError, host: &str) -> Fault {
        match e {
            // A bad signature is that of another authority with the same name: an old one, for instance.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                match &self.ca {
                    Some(ca) => format!("its certificate is not signed by the authority in {}", ca.display()),
                    None => {
                        "its certificate is signed by an authority that this system does not know".to_owned()
                    }
                },
                "set [redis] ca to the file of the authority that signed it".to_owned(),
            ),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                format!("its certificate has expired ({e})"),
                "renew the server's certificate, or set the clock of this machine".to_owned(),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                format!("its certificate is not valid yet ({e})"),
                "set the clock of this machine or wait".to_owned(),
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
                format!("its certificate is not for {host:?} ({e})"),
                "connect by a name that the certificate has, or add this one to its subjectAltName"
                    .to_owned(),
            ),
            other => (
                format!("its certificate cannot be used ({other})"),
                "give the server a certificate of its own, signed by the authority ([redis] ca)".to_owned(),
            ),
        }
    }
}

fn fix_of(key: &str, what: &str) -> String {
    format!("give {what} ([redis] {key}), readable for this user")
}

fn certificates(path: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let fault = |cause: String| (format!("{}: {cause}", path.display()), fix_of(key, "certificates in PEM"));
    let found = CertificateDer::pem_file_iter(path).map_err(|e| fault(e.to_string()))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|e| fault(e.to_string()))?;
    if found.is_empty() { Err(fault("it holds no certificate".to_owned())) } else { Ok(found) }
}

fn authorities(path: &Path) -> Result<RootCertStore, Fault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "ca")? {
        roots
            .add(certificate)
            .map_err(|e| (format!("{}: {e}", path.display()), fix_of("ca", "certificates in PEM")))?;
    }
    Ok(roots)
}

/// One certificate that nobody can read must not take the others along.
fn system_authorities() -> Result<RootCertStore, Fault> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(found.certs);
    if good > 0 {
        return Ok(roots);
    }
    let cause = found.errors.first().map(|e| format!(" ({e})")).unwrap_or_default();
    Err((
        format!("this system has no certificates of authorities{cause}"),
        "install its ca-certificates package, or set [redis] ca".to_owned(),
    ))
}
