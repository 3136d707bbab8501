//! What a guest and a person hear when a request fails.

use std::error::Error as StdError;
use std::io::{self, ErrorKind};

use wasmtime_wasi_http::Error;

use super::resolve::Unreached;

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

/// Whether it failed because its name leads to where it may not go.
pub(crate) fn is_prohibited(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| matches!(cause.downcast_ref(), Some(Unreached::Prohibited(_))))
}

/// The error and what caused it. What an `io::Error` wraps is not among its sources, so it is looked into.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn StdError + 'static)).or_else(|| error.source())
    })
}

fn code_of(cause: &(dyn StdError + 'static)) -> Option<Error> {
    match cause.downcast_ref() {
        Some(Unreached::Prohibited(_)) => return Some(Error::DestinationIpProhibited),
        Some(Unreached::Unresolved { cause }) => {
            return Some(Error::DnsError { rcode: Some(cause.to_string()), info_code: None });
        }
        None => {}
    }
    if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
        return Some(match tls {
            rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
                Error::TlsCertificateError
            }
            rustls::Error::AlertReceived(alert) => Error::TlsAlertReceived {
                alert_id: Some(u8::from(*alert)),
                alert_message: Some(format!("{alert:?}")),
            },
            _ => Error::TlsProtocolError,
        });
    }
    if let Some(http) = cause.downcast_ref::<hyper::Error>() {
        return match () {
            () if http.is_parse_too_large() => Some(Error::HttpResponseHeaderSectionSize(None)),
            () if http.is_incomplete_message() => Some(Error::HttpResponseIncomplete),
            () => None,
        };
    }
    match cause.downcast_ref::<io::Error>()?.kind() {
        ErrorKind::ConnectionRefused => Some(Error::ConnectionRefused),
        // `TimedOut` and the like can also end a connection that was there: the phase tells, in `error_of`. Codes of a
        // missing connection mean that the far end was never asked, and guests rely on it.
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

    #[test]
    fn wrapped_causes_are_found() {
        let inner = io::Error::other(rustls::Error::InvalidCertificate(rustls::CertificateError::Expired));
        assert!(matches!(causes(&inner).find_map(code_of), Some(Error::TlsCertificateError)));
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert!(matches!(causes(&refused).find_map(code_of), Some(Error::ConnectionRefused)));
    }

    #[test]
    fn what_can_happen_before_and_after_a_request_went_out_is_told_by_the_phase() {
        for kind in [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable] {
            assert!(causes(&io::Error::from(kind)).find_map(code_of).is_none(), "{kind:?}");
        }
    }
}
