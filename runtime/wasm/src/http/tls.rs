//! Whom outgoing TLS trusts.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::error::WasmError;

/// Sessions that one client can take up again.
const SESSIONS_MAX: usize = 32;

/// Makes `ring` the process's provider, unless the embedding program has chosen one already.
pub(crate) fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when somebody else was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// Certificates of authorities, from a file in PEM.
///
/// # Errors
/// [`WasmError::Http`] when the text holds none, or one that is damaged.
pub(crate) fn authorities(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, WasmError> {
    let fault = |why: String| WasmError::Http(format!("certificates of authorities: {why}"));
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| fault(error.to_string()))?;
    if found.is_empty() {
        return Err(fault(
            "there is no certificate; the file must be PEM, with BEGIN CERTIFICATE".to_owned(),
        ));
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        roots.add(certificate.clone()).map_err(|error| fault(format!("number {}: {error}", index + 1)))?;
    }
    Ok(found)
}

/// What all clients of the host share: the machine's authorities and the operator's. Reading those of the machine
/// takes milliseconds, so it is done once, when the first request leaves.
pub(crate) fn config(authorities: &[CertificateDer<'static>]) -> ClientConfig {
    install_provider();
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    roots.add_parsable_certificates(authorities.iter().cloned());
    if roots.is_empty() {
        let faults: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        tracing::warn!(
            faults = faults.join("; "),
            "this machine trusts no certificate authority, so no https request of a handler can succeed; install \
             ca-certificates, or name a file as [http] ca"
        );
    }
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// The same for one client, with sessions of its own: a session is trust that was established once.
pub(crate) fn of_client(shared: &ClientConfig) -> ClientConfig {
    let mut own = shared.clone();
    own.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    // 0-RTT data can be replayed by whoever sees it; it is off in the shared one, and stays so.
    own.enable_early_data = false;
    own.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    own.key_log = Arc::new(rustls::NoKeyLog);
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_refused() {
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (pem, hint) in [("", "no certificate"), ("hello", "no certificate"), (damaged, "number 1")] {
            let error = authorities(pem.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(hint), "{pem:?}: {error}");
        }
    }
}
