//! Sends requests that may leave: to filtered addresses only, with no redirects, no decompression and no proxy.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, redirect, retry};
use wasmtime_wasi_http::Error;

use super::address::{Barred, Reachable};

/// The host's HTTP clients, made when the first request leaves. Cheap to clone; clones share connections.
#[derive(Clone, Default)]
pub struct HttpSender(Arc<Clients>);

/// One client for each reach, so that a connection to a private address is never reused for a rule that may not have
/// one.
#[derive(Default)]
struct Clients {
    public: OnceLock<Result<Client, String>>,
    private: OnceLock<Result<Client, String>>,
}

/// The longest wait for a connection to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an unused connection is kept: below the minute or so after which servers close theirs.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Unused connections kept for one host.
const IDLE_PER_HOST_MAX: usize = 8;

// === impl HttpSender ===

impl HttpSender {
    /// The client that reaches this far.
    ///
    /// # Errors
    /// When TLS cannot be set up, for example because the machine has no root certificates.
    pub(crate) fn client(&self, reachable: Reachable) -> Result<&Client, &str> {
        let Clients { public, private } = &*self.0;
        let client = match reachable {
            Reachable::Public => public,
            Reachable::PublicAndPrivate => private,
        };
        client.get_or_init(|| build(reachable)).as_ref().map_err(String::as_str)
    }
}

impl std::fmt::Debug for HttpSender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HttpSender")
    }
}

fn build(reachable: Reachable) -> Result<Client, String> {
    super::tls::install_provider();
    Client::builder()
        // A proxy from the environment would do the dialling, past the address filter.
        .no_proxy()
        .redirect(redirect::Policy::none())
        .referer(false)
        // Whether a request may be repeated only the handler knows.
        .retry(retry::never())
        .dns_resolver(Filter(reachable))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .user_agent(concat!("jobcell/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.to_string())
}

/// Resolves a name once and leaves only addresses that may be dialled; the connector dials nothing else, so a second
/// answer of the name server cannot change the way.
struct Filter(Reachable);

impl Resolve for Filter {
    fn resolve(&self, name: Name) -> Resolving {
        let Self(reachable) = *self;
        Box::pin(async move {
            let found =
                tokio::net::lookup_host((name.as_str(), 0)).await.map_err(|cause| Unresolved { cause })?;
            let mut refused = None;
            let mut allowed = Vec::new();
            for address in found {
                match reachable.check(address.ip()) {
                    Ok(()) => allowed.push(address),
                    Err(barred) => refused = Some(barred),
                }
            }
            match (allowed.is_empty(), refused) {
                (true, Some(barred)) => Err(Prohibited(barred).into()),
                (true, None) => {
                    Err(Unresolved { cause: io::Error::other("the name has no addresses") }.into())
                }
                (false, _) => {
                    Ok(Box::new(allowed.into_iter()) as Box<dyn Iterator<Item = SocketAddr> + Send> as Addrs)
                }
            }
        })
    }
}

/// All addresses of a name are of a kind that may not be dialled.
#[derive(Debug, thiserror::Error)]
#[error("the name leads to a {0}")]
struct Prohibited(Barred);

/// A name has no address.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved: {cause}")]
struct Unresolved {
    cause: io::Error,
}

/// The code for the guest.
pub(crate) fn error_of(error: &reqwest::Error) -> Error {
    if let Some(code) = causes(error).find_map(code_of) {
        return code;
    }
    match (error.is_timeout(), error.is_connect()) {
        (true, true) => Error::ConnectionTimeout,
        (true, false) => Error::HttpResponseTimeout,
        (false, true) => Error::DestinationUnavailable,
        (false, false) => Error::HttpProtocolError,
    }
}

/// What a person reads: the innermost causes, without the URL, which may carry secrets.
pub(crate) fn explain(error: &reqwest::Error) -> String {
    let texts: Vec<_> = causes(error).skip(1).map(ToString::to_string).collect();
    match texts.last() {
        Some(text) => text.clone(),
        None if error.is_timeout() => "timed out".to_owned(),
        None => "the request could not be sent".to_owned(),
    }
}

/// The error and what caused it. What an `io::Error` wraps is not among its sources, so it is looked into.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

fn code_of(cause: &(dyn StdError + 'static)) -> Option<Error> {
    if cause.is::<Prohibited>() {
        return Some(Error::DestinationIpProhibited);
    }
    if let Some(Unresolved { cause }) = cause.downcast_ref() {
        return Some(Error::DnsError { rcode: Some(cause.to_string()), info_code: None });
    }
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(match tls {
            rustls::Error::InvalidCertificate(_) => Error::TlsCertificateError,
            rustls::Error::AlertReceived(alert) => Error::TlsAlertReceived {
                alert_id: Some(u8::from(*alert)),
                alert_message: Some(format!("{alert:?}")),
            },
            _ => Error::TlsProtocolError,
        });
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        ErrorKind::ConnectionRefused => Some(Error::ConnectionRefused),
        ErrorKind::TimedOut => Some(Error::ConnectionTimeout),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => Some(Error::DestinationUnavailable),
        ErrorKind::ConnectionReset
        | ErrorKind::ConnectionAborted
        | ErrorKind::BrokenPipe
        | ErrorKind::UnexpectedEof => Some(Error::ConnectionTerminated),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_resolved_for_a_public_rule() {
        let resolve = |reachable| async move {
            Filter(reachable).resolve("localhost".parse().unwrap()).await.map(|addresses| addresses.count())
        };
        let refused = resolve(Reachable::Public).await.unwrap_err();
        let refused = refused.to_string();
        assert!(refused.contains("loopback") && refused.contains("private = true"), "{refused}");
        assert!(resolve(Reachable::PublicAndPrivate).await.unwrap() > 0);
    }

    #[test]
    fn wrapped_causes_are_found() {
        let inner = io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
        assert!(matches!(causes(&inner).find_map(code_of), Some(Error::TlsCertificateError)));
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert!(matches!(causes(&refused).find_map(code_of), Some(Error::ConnectionRefused)));
    }
}
