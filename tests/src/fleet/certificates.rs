//! Certificates made for one test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

/// An authority and a folder of certificates that it signs.
pub struct Certificates {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as files in PEM.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// A new authority.
    #[must_use]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self::named(&format!("authority {} of a test", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// A new authority of this name, whoever else has it.
    ///
    /// # Panics
    /// When its certificate cannot be made or written.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let cert = params.self_signed(&key).expect("a certificate");
        write(&folder.path().join("ca.crt"), &cert.pem());
        Self { folder, issuer: Issuer::new(params, key) }
    }

    /// The authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.crt")
    }

    /// A certificate for these names and addresses.
    ///
    /// # Panics
    /// When it cannot be made or written.
    #[must_use]
    pub fn identity(&self, file: &str, names: &[&str]) -> Identity {
        self.signed(file, names, |_| {})
    }

    /// One that is not valid any more.
    ///
    /// # Panics
    /// When it cannot be made or written.
    #[must_use]
    pub fn expired(&self, file: &str, names: &[&str]) -> Identity {
        self.signed(file, names, |params| {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2021, 1, 1);
        })
    }

    fn signed(&self, file: &str, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("a certificate");
        let path = |end: &str| self.folder.path().join(format!("{file}.{end}"));
        let identity = Identity { cert: path("crt"), key: path("key") };
        write(&identity.cert, &cert.pem());
        write(&identity.key, &key.serialize_pem());
        identity
    }

    /// The arguments that make a `redis-server` speak TLS on this port as this identity. It asks for certificates of
    /// clients where `mutual`.
    #[must_use]
    pub fn server_args(&self, port: u16, identity: &Identity, mutual: bool) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let args = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", text(&identity.cert)),
            ("--tls-key-file", text(&identity.key)),
            ("--tls-ca-cert-file", text(&self.ca())),
            ("--tls-auth-clients", if mutual { "yes" } else { "no" }.to_owned()),
        ];
        args.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// A port for [`Self::server_args`].
    #[must_use]
    pub fn free_port() -> u16 {
        crate::ports::free()
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
