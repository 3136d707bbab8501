//! The host's error codes in the words of [`HttpError`]. One match, so that a code cannot be forgotten.

use wasip2::http::types::{DnsErrorPayload, ErrorCode, FieldSizePayload, TlsAlertReceivedPayload};

use crate::http::target::{Target, missing_grant, without_query};
use crate::http::{HttpError, Method};

/// What the code means for this request. The text names the request, without what may be secret in it.
#[cold]
pub(super) fn explain(method: Method, url: &str, target: &Target<'_>, code: ErrorCode) -> HttpError {
    let about = |text: &str| format!("{method} {}: {text}", without_query(url));
    let dns = |text: &str| HttpError::Dns(about(text));
    let connect = |text: &str| HttpError::Connect(about(text));
    let tls = |text: &str| HttpError::Tls(about(text));
    let protocol = |text: &str| HttpError::Protocol(about(text));
    let too_large = |text: &str, limit: Option<u64>| {
        let limit = limit.map(|limit| format!(" of {limit} bytes")).unwrap_or_default();
        HttpError::TooLarge(about(&format!("{text}{limit}")))
    };
    let invalid = |text: &str| HttpError::Invalid(about(text));
    match code {
        ErrorCode::HttpRequestDenied => missing_grant(method, target),
        ErrorCode::DestinationIpProhibited => {
            HttpError::Denied(about("its address is not one that a handler may reach"))
        }
        ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout => HttpError::Timeout,

        ErrorCode::DnsTimeout => dns("the name server did not answer in time"),
        ErrorCode::DnsError(DnsErrorPayload { rcode, info_code: _ }) => {
            dns(rcode.as_deref().unwrap_or("the name server refused"))
        }
        ErrorCode::DestinationNotFound => dns("there is no such host"),

        ErrorCode::ConnectionTimeout => connect("the host did not take the connection in time"),
        ErrorCode::DestinationUnavailable => connect("the host is not available"),
        ErrorCode::DestinationIpUnroutable => connect("there is no route to the host"),
        ErrorCode::ConnectionRefused => connect("connection refused"),
        ErrorCode::ConnectionTerminated => {
            HttpError::Broken(about("it was closed before the answer was there"))
        }
        ErrorCode::ConnectionLimitReached => connect("too many connections are open"),

        ErrorCode::TlsProtocolError => tls("no agreement on an encrypted connection"),
        ErrorCode::TlsCertificateError => tls("the certificate is not trusted"),
        ErrorCode::TlsAlertReceived(TlsAlertReceivedPayload { alert_id: _, alert_message }) => {
            tls(alert_message.as_deref().unwrap_or("the far end refused"))
        }

        ErrorCode::HttpRequestBodySize(limit) => too_large("the request's body is over the limit", limit),
        ErrorCode::HttpRequestUriTooLong => too_large("the URL is too long", None),
        ErrorCode::HttpRequestHeaderSectionSize(limit) | ErrorCode::HttpRequestTrailerSectionSize(limit) => {
            too_large("the request's headers are over the limit", limit.map(u64::from))
        }
        ErrorCode::HttpRequestHeaderSize(header) => {
            too_large(&field("request", header.as_ref()), header.and_then(limit_of))
        }
        ErrorCode::HttpRequestTrailerSize(header) => {
            too_large(&field("request", Some(&header)), limit_of(header))
        }
        ErrorCode::HttpResponseBodySize(limit) => too_large("the answer's body is over the limit", limit),
        ErrorCode::HttpResponseHeaderSectionSize(limit)
        | ErrorCode::HttpResponseTrailerSectionSize(limit) => {
            too_large("the answer's headers are over the limit", limit.map(u64::from))
        }
        ErrorCode::HttpResponseHeaderSize(header) | ErrorCode::HttpResponseTrailerSize(header) => {
            too_large(&field("answer", Some(&header)), limit_of(header))
        }

        ErrorCode::HttpRequestLengthRequired => invalid("it needs a content length"),
        ErrorCode::HttpRequestMethodInvalid => invalid("the method is refused"),
        ErrorCode::HttpRequestUriInvalid => invalid("the URL is refused"),

        ErrorCode::HttpResponseIncomplete => protocol("the answer broke off"),
        ErrorCode::HttpResponseTransferCoding(_) => protocol("the answer's transfer coding is unknown"),
        ErrorCode::HttpResponseContentCoding(_) => protocol("the answer's content coding is unknown"),
        ErrorCode::HttpUpgradeFailed => protocol("the protocol could not be changed"),
        ErrorCode::HttpProtocolError => {
            protocol("the far end does not speak HTTP, or stopped in the middle of it")
        }
        ErrorCode::LoopDetected => protocol("the request runs in a circle"),

        ErrorCode::ConfigurationError => HttpError::Other(about("the host is not set up for it")),
        ErrorCode::InternalError(text) => {
            HttpError::Other(about(text.as_deref().unwrap_or("the host failed")))
        }
    }
}

fn field(whose: &str, header: Option<&FieldSizePayload>) -> String {
    match header.and_then(|header| header.field_name.as_deref()) {
        Some(name) => format!("the {whose}'s header `{name}` is over the limit"),
        None => format!("a header of the {whose} is over the limit"),
    }
}

fn limit_of(header: FieldSizePayload) -> Option<u64> {
    header.field_size.map(u64::from)
}
