//! The id of a request: in its answer, in the host's log and in the audit.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tower_http::request_id::{MakeRequestId, MakeRequestUuid, RequestId};

const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Characters of an id that a client gives itself.
const CHARS_MAX: usize = 64;

/// Gives every request an id and every answer the same one. What a client sends is taken when it is short and plain: it
/// goes into logs and headers.
pub(crate) async fn identified(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&HEADER).filter(|given| is_plain(given)).cloned();
    let id = match given {
        Some(given) => Some(RequestId::new(given)),
        None => MakeRequestUuid.make_request_id(&request),
    };
    let Some(id) = id else { return next.run(request).await };
    request.headers_mut().insert(HEADER, id.header_value().clone());
    request.extensions_mut().insert(id.clone());
    let mut response = next.run(request).await;
    response.headers_mut().insert(HEADER, id.into_header_value());
    response
}

/// The id as text.
pub(crate) fn id_of(request: &Request) -> Option<String> {
    let id = request.extensions().get::<RequestId>()?;
    id.header_value().to_str().ok().map(str::to_owned)
}

fn is_plain(given: &HeaderValue) -> bool {
    let bytes = given.as_bytes();
    (1..=CHARS_MAX).contains(&bytes.len())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_and_plain_ids_are_taken() {
        let is = |text: &[u8]| is_plain(&HeaderValue::from_bytes(text).unwrap());
        assert!(is(b"a-B_3.x") && is(&[b'a'; 64]));
        assert!(
            !is(b"") && !is(&[b'a'; 65]) && !is(b"a b") && !is("ä".as_bytes()) && !is(b"a\tb") && !is(b"<x>")
        );
    }
}
