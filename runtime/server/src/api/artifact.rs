//! The body of a request that brings a component: read piece by piece, never beyond its bound, and compared with the
//! digests that its sender gives of it (RFC 9530).

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use jobcell_core::documents::BLOB_BYTES_MAX;
use sha2::{Digest, Sha256, Sha512};

use crate::problem::Problem;

/// The detached signature of the component: the one line of its file.
pub(super) const SIGNATURE: HeaderName = HeaderName::from_static("jobcell-signature");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
/// Text of a signature at most: a key's name and 64 bytes, many times over.
const SIGNATURE_BYTES_MAX: usize = 4096;
/// Media types that a component can come as.
const TYPES: [&str; 2] = ["application/wasm", "application/octet-stream"];

/// A digest of the body as its sender computed it.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Sha256([u8; 32]),
    Sha512([u8; 64]),
}

/// Reads the component.
///
/// # Errors
/// When it is no component by its type, is over the bound, breaks off, or is not what its digest says.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    check_type(headers)?;
    let expected = expected(headers)?;
    let mut read = BytesMut::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece =
            piece.map_err(|cause| Problem::bad_request(format!("the component broke off: {cause}")))?;
        if read.len() + piece.len() > BLOB_BYTES_MAX {
            let detail = format!(
                "the component has more than {BLOB_BYTES_MAX} bytes, which is the limit; build it with optimisation and \
                 strip debug information"
            );
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
        }
        read.extend_from_slice(&piece);
    }
    if read.is_empty() {
        return Err(Problem::bad_request("the body is empty; send the component's bytes"));
    }
    let read = read.freeze();
    expected.iter().try_for_each(|expected| expected.check(&read))?;
    Ok(read)
}

/// The signature that comes with it, if any.
pub(super) fn signature(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(SIGNATURE) else { return Ok(None) };
    match value.to_str() {
        Ok(text) if text.len() <= SIGNATURE_BYTES_MAX => Ok(Some(text.to_owned())),
        Ok(_) | Err(_) => Err(Problem::bad_request(format!(
            "the header {SIGNATURE} is no signature; send the line in the file that `jobcell handler sign` wrote"
        ))),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if TYPES.iter().any(|known| known.eq_ignore_ascii_case(essence)) {
        return Ok(());
    }
    // Also keeps out the plain forms that any site can make a browser send.
    let detail = format!("the body is to be a component: send `Content-Type: {}`", TYPES[0]);
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
}

/// The digests of `Content-Digest` that this program can compute. Others are left to those who can.
fn expected(headers: &HeaderMap) -> Result<Vec<Expected>, Problem> {
    let mut expected = Vec::new();
    for value in headers.get_all(CONTENT_DIGEST) {
        let malformed = || {
            Problem::bad_request(
                "the header Content-Digest is malformed; send `sha-256=:BASE64:` as RFC 9530 has it",
            )
        };
        for member in value.to_str().map_err(|_| malformed())?.split(',') {
            let (algorithm, value) = member.trim().split_once('=').ok_or_else(malformed)?;
            // What follows a `;` are parameters, of which none is known.
            let value = value.split(';').next().unwrap_or_default().trim();
            let value = value.strip_prefix(':').and_then(|v| v.strip_suffix(':')).ok_or_else(malformed)?;
            let bytes = STANDARD.decode(value).map_err(|_| malformed())?;
            match algorithm {
                "sha-256" => expected.push(Expected::Sha256(bytes.try_into().map_err(|_| malformed())?)),
                "sha-512" => expected.push(Expected::Sha512(bytes.try_into().map_err(|_| malformed())?)),
                _ => {}
            }
        }
    }
    Ok(expected)
}

// === impl Expected ===

impl Expected {
    fn check(&self, read: &[u8]) -> Result<(), Problem> {
        let (algorithm, is_same) = match self {
            Self::Sha256(digest) => ("sha-256", digest[..] == Sha256::digest(read)[..]),
            Self::Sha512(digest) => ("sha-512", digest[..] == Sha512::digest(read)[..]),
        };
        if is_same {
            return Ok(());
        }
        Err(Problem::bad_request(format!(
            "the {} bytes that arrived are not those of the {algorithm} in Content-Digest; something on the way has \
             changed or cut them: send them again",
            read.len()
        )))
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    fn headers(digest: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "application/wasm".parse().unwrap());
        if !digest.is_empty() {
            headers.insert(CONTENT_DIGEST, digest.parse().unwrap());
        }
        headers
    }

    async fn told(headers: &HeaderMap, body: impl Into<Body>) -> Result<Bytes, StatusCode> {
        read(headers, body.into()).await.map_err(|problem| problem.into_response().status())
    }

    #[tokio::test]
    async fn a_body_is_what_its_digest_says_or_refused() {
        let right = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest("abc")));
        let long = format!("sha-512=:{}:;p=1 , {right}", STANDARD.encode(Sha512::digest("abc")));
        for digest in ["", &right, &long, &format!("md5=:AAAA:, {right}"), "unixsum=:AAAA:"] {
            assert_eq!(told(&headers(digest), "abc").await.unwrap(), "abc", "{digest}");
        }
        let other = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest("abd")));
        let one_wrong = format!("{long}, {other}");
        for digest in [&*other, &one_wrong, "sha-256=:AAAA:", "sha-256=AAAA", "nonsense", "sha-256=:*:"] {
            assert_eq!(told(&headers(digest), "abc").await, Err(StatusCode::BAD_REQUEST), "{digest}");
        }
    }

    #[tokio::test]
    async fn no_more_than_the_bound_is_kept() {
        let endless =
            futures::stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from_static(&[0; 65536])));
        assert_eq!(told(&headers(""), Body::from_stream(endless)).await, Err(StatusCode::PAYLOAD_TOO_LARGE));
        assert_eq!(told(&headers(""), "").await, Err(StatusCode::BAD_REQUEST));
        let cut = futures::stream::iter([
            Ok(Bytes::from_static(b"ab")),
            Err(std::io::Error::other("the connection was closed")),
        ]);
        assert_eq!(told(&headers(""), Body::from_stream(cut)).await, Err(StatusCode::BAD_REQUEST));
    }

    #[tokio::test]
    async fn a_form_is_no_component() {
        for kind in ["", "text/plain", "application/x-www-form-urlencoded", "application/json"] {
            let mut headers = headers("");
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            assert_eq!(told(&headers, "abc").await, Err(StatusCode::UNSUPPORTED_MEDIA_TYPE), "{kind}");
        }
    }

    #[test]
    fn a_signature_is_short_and_readable() {
        let mut headers = HeaderMap::new();
        assert_eq!(signature(&headers).unwrap(), None);
        headers.insert(SIGNATURE, "ed25519:abc".parse().unwrap());
        assert_eq!(signature(&headers).unwrap().as_deref(), Some("ed25519:abc"));
        headers.insert(SIGNATURE, "x".repeat(SIGNATURE_BYTES_MAX + 1).parse().unwrap());
        assert!(signature(&headers).is_err());
    }
}
