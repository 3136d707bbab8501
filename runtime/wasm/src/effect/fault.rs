//! Refusals and failures as they are recorded, and back.

use jobcell_core::effects::Fault;
use wasmtime_wasi_http::Error as HttpError;

use crate::world::jobcell::job::types::Error;

fn fault(code: &str, detail: Option<String>) -> Fault {
    Fault { code: code.to_owned(), detail }
}

/// An error of our own interfaces.
pub(crate) fn word_of(error: &Error) -> Fault {
    match error {
        Error::Denied(why) => fault("denied", Some(why.clone())),
        Error::NotFound => fault("not-found", None),
        Error::TooLarge(limit) => fault("too-large", Some(limit.to_string())),
        Error::Quota(why) => fault("quota", Some(why.clone())),
        Error::Unavailable(why) => fault("unavailable", Some(why.clone())),
        Error::Invalid(why) => fault("invalid", Some(why.clone())),
        Error::Other(why) => fault("other", Some(why.clone())),
    }
}

/// The error that a word stands for. A word that only another version knows is an `other` error.
pub(crate) fn of_word(fault: &Fault) -> Error {
    let why = fault.detail.clone().unwrap_or_default();
    match fault.code.as_str() {
        "denied" => Error::Denied(why),
        "not-found" => Error::NotFound,
        "too-large" => Error::TooLarge(why.parse().unwrap_or(0)),
        "quota" => Error::Quota(why),
        "unavailable" => Error::Unavailable(why),
        "invalid" => Error::Invalid(why),
        _ => Error::Other(why),
    }
}

/// A code, and how its error is made.
type Plain = (&'static str, fn() -> HttpError);

/// Errors of `wasi:http` that carry nothing.
const PLAIN: &[Plain] = &[
    ("dns-timeout", || HttpError::DnsTimeout),
    ("destination-not-found", || HttpError::DestinationNotFound),
    ("destination-unavailable", || HttpError::DestinationUnavailable),
    ("destination-ip-prohibited", || HttpError::DestinationIpProhibited),
    ("connection-refused", || HttpError::ConnectionRefused),
    ("connection-terminated", || HttpError::ConnectionTerminated),
    ("connection-timeout", || HttpError::ConnectionTimeout),
    ("connection-read-timeout", || HttpError::ConnectionReadTimeout),
    ("connection-write-timeout", || HttpError::ConnectionWriteTimeout),
    ("connection-limit-reached", || HttpError::ConnectionLimitReached),
    ("tls-protocol-error", || HttpError::TlsProtocolError),
    ("tls-certificate-error", || HttpError::TlsCertificateError),
    ("http-request-denied", || HttpError::HttpRequestDenied),
    ("http-request-uri-invalid", || HttpError::HttpRequestUriInvalid),
    ("http-request-uri-too-long", || HttpError::HttpRequestUriTooLong),
    ("http-response-incomplete", || HttpError::HttpResponseIncomplete),
    ("http-response-timeout", || HttpError::HttpResponseTimeout),
    ("http-upgrade-failed", || HttpError::HttpUpgradeFailed),
    ("http-protocol-error", || HttpError::HttpProtocolError),
    ("configuration-error", || HttpError::ConfigurationError),
];

/// An error of `wasi:http`.
pub(crate) fn code_of(error: &HttpError) -> Fault {
    let of = std::mem::discriminant(error);
    if let Some((word, _)) = PLAIN.iter().find(|(_, make)| std::mem::discriminant(&make()) == of) {
        return fault(word, None);
    }
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    match error {
        HttpError::DnsError { rcode, .. } => fault("dns-error", rcode.clone()),
        HttpError::TlsAlertReceived { alert_id, .. } => {
            fault("tls-alert-received", number(alert_id.map(u64::from)))
        }
        HttpError::HttpRequestBodySize(size) => fault("http-request-body-size", number(*size)),
        HttpError::HttpRequestHeaderSectionSize(size) => {
            fault("http-request-header-section-size", number(size.map(u64::from)))
        }
        HttpError::HttpRequestHeaderSize { field_name, .. } => {
            fault("http-request-header-size", field_name.clone())
        }
        HttpError::HttpResponseHeaderSectionSize(size) => {
            fault("http-response-header-section-size", number(size.map(u64::from)))
        }
        HttpError::HttpResponseBodySize(size) => fault("http-response-body-size", number(*size)),
        HttpError::HttpResponseTrailerSectionSize(size) => {
            fault("http-response-trailer-section-size", number(size.map(u64::from)))
        }
        other => fault("internal-error", Some(other.to_string())),
    }
}

/// The error that a code stands for. A code that only another version knows is an internal error.
pub(crate) fn of_code(fault: &Fault) -> HttpError {
    let Fault { code, detail } = fault;
    if let Some((_, make)) = PLAIN.iter().find(|(word, _)| word == code) {
        return make();
    }
    let number = || detail.as_ref().and_then(|n| n.parse::<u64>().ok());
    let small = || number().and_then(|n| u32::try_from(n).ok());
    match code.as_str() {
        "dns-error" => HttpError::DnsError { rcode: detail.clone(), info_code: None },
        "tls-alert-received" => HttpError::TlsAlertReceived {
            alert_id: number().and_then(|n| u8::try_from(n).ok()),
            alert_message: None,
        },
        "http-request-body-size" => HttpError::HttpRequestBodySize(number()),
        "http-request-header-section-size" => HttpError::HttpRequestHeaderSectionSize(small()),
        "http-request-header-size" => {
            HttpError::HttpRequestHeaderSize { field_name: detail.clone(), field_size: None }
        }
        "http-response-header-section-size" => HttpError::HttpResponseHeaderSectionSize(small()),
        "http-response-body-size" => HttpError::HttpResponseBodySize(number()),
        "http-response-trailer-section-size" => HttpError::HttpResponseTrailerSectionSize(small()),
        _ => HttpError::InternalError(detail.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_ours_reads_back() {
        let why = || "why".to_owned();
        for error in [
            Error::Denied(why()),
            Error::NotFound,
            Error::TooLarge(7),
            Error::Quota(why()),
            Error::Unavailable(why()),
            Error::Invalid(why()),
            Error::Other(why()),
        ] {
            assert_eq!(format!("{:?}", of_word(&word_of(&error))), format!("{error:?}"));
        }
        assert!(matches!(of_word(&fault("newer", Some(why()))), Error::Other(text) if text == "why"));
    }

    #[test]
    fn every_error_of_http_that_the_host_makes_reads_back() {
        let carrying = [
            HttpError::DnsError { rcode: Some("no such name".into()), info_code: None },
            HttpError::TlsAlertReceived { alert_id: Some(40), alert_message: None },
            HttpError::HttpRequestBodySize(Some(5)),
            HttpError::HttpRequestHeaderSectionSize(None),
            HttpError::HttpRequestHeaderSize { field_name: Some("x".into()), field_size: None },
            HttpError::HttpResponseHeaderSectionSize(Some(9)),
            HttpError::HttpResponseBodySize(Some(100)),
            HttpError::HttpResponseTrailerSectionSize(Some(1)),
            HttpError::InternalError(Some("x".into())),
        ];
        let plain = PLAIN.iter().map(|(_, make)| make());
        for error in plain.chain(carrying) {
            let back = of_code(&code_of(&error));
            assert_eq!(std::mem::discriminant(&back), std::mem::discriminant(&error), "{error:?} {back:?}");
        }
    }
}
