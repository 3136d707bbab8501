//! Sends requests that may leave: to filtered addresses only, with no redirects, no decompression and no proxy.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use reqwest::{Client, redirect, retry};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use tokio::sync::Semaphore;
use url::Url;

use super::address::Reachable;
use super::resolve::{Filter, LOOKUPS_PER_HANDLER_MAX, Resolver, SystemResolver};
use super::tls;
use crate::error::WasmError;

/// How the host sends outgoing requests. Cheap to clone. Handlers never share connections: each keeps its own.
#[derive(Clone)]
pub struct HttpSender(Arc<Shared>);

/// What is the same for all handlers.
struct Shared {
    resolver: Arc<dyn Resolver>,
    authorities: Vec<CertificateDer<'static>>,
    tls: OnceLock<ClientConfig>,
    /// Nothing is ever sent.
    is_sealed: bool,
}

/// The connections of one handler.
pub(crate) struct Connections {
    sender: HttpSender,
    lookups: Arc<Semaphore>,
    /// The one used last is at the end.
    clients: Mutex<VecDeque<(Key, Client)>>,
}

/// What a connection may be used again for. A connection can carry trust: an address that only some rule may reach, or a
/// login of a tenant that the far end ties to it (as NTLM does). And whoever can make the far end send more than was
/// asked for could answer somebody else's request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    /// Index of the rule in the handler's grant; it stands for the addresses and the secrets allowed.
    pub(crate) rule: usize,
    /// Scheme, host and port.
    pub(crate) origin: url::Origin,
    pub(crate) tenant: Option<String>,
}

/// The longest wait for a connection: looking up, dialling all addresses, and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept: below the minute or so after which servers close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Unused connections kept for one key.
const IDLE_MAX: usize = 16;
/// Keys of one handler whose connections are kept; of more, those used longest ago are closed. A handler that may reach
/// any host below a name could otherwise hold as many descriptors as it likes.
const KEYS_MAX: usize = 32;
/// Headers of a response.
const HEADERS_MAX: usize = 100;
/// Bytes of a response's head over HTTP/2; over HTTP/1 it is 400 KiB by construction.
const H2_HEAD_BYTES_MAX: u32 = 64 * 1024;
/// Bytes that the far end may send ahead of a handler that does not read, for one response over HTTP/2.
const H2_STREAM_BYTES: u32 = 512 * 1024;
/// The same for all responses on one connection. Sixteen that nobody reads do not hold up a seventeenth.
const H2_CONNECTION_BYTES: u32 = 8 * 1024 * 1024;

// === impl HttpSender ===

impl HttpSender {
    /// Looks names up with this instead of the machine's resolver, and trusts these authorities besides the machine's.
    /// `authorities` are certificates in PEM; empty for none.
    ///
    /// # Errors
    /// [`WasmError::Http`] when the certificates are damaged.
    pub fn new(resolver: Option<Arc<dyn Resolver>>, authorities: &[u8]) -> Result<Self, WasmError> {
        let authorities = if authorities.is_empty() { Vec::new() } else { tls::authorities(authorities)? };
        let resolver = resolver.unwrap_or_else(|| Arc::new(SystemResolver::default()));
        Ok(Self(Arc::new(Shared { resolver, authorities, tls: OnceLock::new(), is_sealed: false })))
    }

    /// One that sends nothing, for attempts that are answered from a recording.
    pub(crate) fn sealed() -> Self {
        let resolver = Arc::new(SystemResolver::default());
        Self(Arc::new(Shared { resolver, authorities: Vec::new(), tls: OnceLock::new(), is_sealed: true }))
    }

    /// For one handler, with connections of its own.
    pub(crate) fn connections(&self) -> Connections {
        Connections {
            sender: self.clone(),
            lookups: Arc::new(Semaphore::new(LOOKUPS_PER_HANDLER_MAX)),
            clients: Mutex::default(),
        }
    }
}

impl Default for HttpSender {
    fn default() -> Self {
        let resolver = Arc::new(SystemResolver::default());
        Self(Arc::new(Shared { resolver, authorities: Vec::new(), tls: OnceLock::new(), is_sealed: false }))
    }
}

impl std::fmt::Debug for HttpSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpSender")
    }
}

// === impl Connections ===

impl Connections {
    /// The client for this key: the one it had, with its connections, or a new one.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn client(&self, key: &Key, reachable: Reachable) -> Result<Client, String> {
        if self.sender.0.is_sealed {
            return Err("this attempt is answered from a recording and sends nothing".to_owned());
        }
        // Every change leaves the list whole, so a panic elsewhere cannot have broken it.
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = clients.iter().position(|(known, _)| known == key)
            && let Some(found) = clients.remove(at)
        {
            let client = found.1.clone();
            clients.push_back(found);
            return Ok(client);
        }
        let client = self.build(reachable)?;
        clients.push_back((key.clone(), client.clone()));
        if clients.len() > KEYS_MAX {
            clients.pop_front();
        }
        Ok(client)
    }

    fn build(&self, reachable: Reachable) -> Result<Client, String> {
        let Shared { resolver, authorities, tls: shared, .. } = &*self.sender.0;
        let shared = shared.get_or_init(|| tls::config(authorities));
        Client::builder()
            .tls_backend_preconfigured(tls::of_client(shared))
            // A proxy from the environment would do the dialling, past the address filter.
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            // Whether a request may be repeated only the handler knows.
            .retry(retry::never())
            .dns_resolver(Filter {
                resolver: Arc::clone(resolver),
                reachable,
                places: Arc::clone(&self.lookups),
            })
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_headers(HEADERS_MAX)
            .http2_max_header_list_size(H2_HEAD_BYTES_MAX)
            .http2_initial_stream_window_size(H2_STREAM_BYTES)
            .http2_initial_connection_window_size(H2_CONNECTION_BYTES)
            .user_agent(concat!("jobcell/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| super::failure::explain(&error))
    }
}

impl Key {
    pub(crate) fn new(rule: usize, url: &Url, tenant: Option<&str>) -> Self {
        Self { rule, origin: url.origin(), tenant: tenant.map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_made_once_a_key_and_the_oldest_gives_way() {
        let connections = HttpSender::default().connections();
        let key = |rule: usize, url: &str, tenant| Key::new(rule, &Url::parse(url).unwrap(), tenant);
        let keys = || connections.clients.lock().unwrap().len();
        let ask = |key: &Key| connections.client(key, Reachable::Public).map(drop).unwrap();
        for _ in 0..3 {
            ask(&key(0, "https://a.io/x", None));
            ask(&key(0, "https://A.io:443/y", None));
        }
        assert_eq!(keys(), 1);
        for other in [
            key(1, "https://a.io", None),
            key(0, "http://a.io", None),
            key(0, "https://a.io:8443", None),
            key(0, "https://a.io", Some("t")),
        ] {
            ask(&other);
        }
        assert_eq!(keys(), 5);
        let first = key(0, "https://a.io", None);
        for n in 0..100 {
            ask(&key(0, &format!("https://h{n}.io"), None));
            ask(&first);
        }
        assert_eq!(keys(), KEYS_MAX);
        assert!(connections.clients.lock().unwrap().iter().any(|(key, _)| *key == first));
    }
}
