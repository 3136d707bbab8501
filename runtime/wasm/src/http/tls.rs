//! The cryptography behind TLS.

/// Makes `ring` the process's provider, unless the embedding program has chosen one already.
pub(crate) fn install_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when somebody else was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}
