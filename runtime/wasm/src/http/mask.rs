//! Overwrites secrets that a response's body brings back.
//!
//! A service that was sent a secret may quote it, in an error or as an echo. What a handler may not see is overwritten with
//! asterisks, one for each byte, so that lengths stay true. A piece of the body whose end could be the beginning of a
//! secret is held back until the next one tells.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use wasmtime_wasi_http::Error;

use crate::redact::Redactor;

/// A body without the secrets that its handler may not see.
pub(crate) struct Masked<B> {
    inner: B,
    redactor: Arc<Redactor>,
    /// What could be the beginning of a secret.
    held: Bytes,
    /// Trailers that came while something was held back.
    trailers: Option<Frame<Bytes>>,
    is_over: bool,
}

// === impl Masked ===

impl<B> Masked<B> {
    pub(crate) fn new(inner: B, redactor: Arc<Redactor>) -> Self {
        Self { inner, redactor, held: Bytes::new(), trailers: None, is_over: false }
    }
}

impl<B: Body<Data = Bytes, Error = Error> + Unpin> Body for Masked<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        loop {
            if let Some(trailers) = this.trailers.take() {
                return Poll::Ready(Some(Ok(trailers)));
            }
            if this.is_over {
                return Poll::Ready(None);
            }
            let out = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.redactor.mask(&mut this.held, data),
                    Err(trailers) => {
                        this.trailers = Some(trailers);
                        std::mem::take(&mut this.held)
                    }
                },
                Some(Err(error)) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.is_over = true;
                    std::mem::take(&mut this.held)
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(out))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && self.trailers.is_none() && (self.is_over || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let held = self.held.len() as u64;
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(held));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(held));
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use http::HeaderMap;
    use http_body_util::BodyExt;

    use super::*;
    use crate::redact::Granted;
    use crate::secret::Secrets;

    struct Pieces(VecDeque<Frame<Bytes>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    async fn masked(pieces: &[&str]) -> String {
        let secrets = [("hidden", "s3cr3t-s3cr3t!"), ("seen", "shown-value")];
        let granted = secrets.map(|(name, _)| Granted {
            name: name.to_owned(),
            reveal: name == "seen",
            stand_in: String::new(),
        });
        let secrets = secrets.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let redactor = Redactor::new(Arc::new(Secrets::new(secrets)), granted.into()).unwrap();
        let mut frames: VecDeque<_> =
            pieces.iter().map(|piece| Frame::data(Bytes::copy_from_slice(piece.as_bytes()))).collect();
        frames.push_back(Frame::trailers(HeaderMap::new()));
        let mut body = Masked::new(Pieces(frames), redactor);
        let (mut text, mut trailers) = (String::new(), 0);
        while let Some(frame) = body.frame().await {
            match frame.unwrap().into_data() {
                Ok(data) => text.push_str(std::str::from_utf8(&data).unwrap()),
                Err(_) => trailers += 1,
            }
        }
        assert!(body.is_end_stream());
        assert_eq!(trailers, 1);
        text
    }

    #[tokio::test]
    async fn wherever_a_secret_is_cut_it_is_found() {
        let text = "a s3cr3t-s3cr3t-s3cr3t! s3cr3t-s shown-value s3cr3t-s3cr3t!s3cr3t-s3cr3t!";
        let expected = "a s3cr3t-************** s3cr3t-s shown-value ****************************";
        for first in 0..text.len() {
            for second in first..text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(masked(&pieces).await, expected, "{first} {second}");
            }
        }
        let bytes: Vec<_> = (0..text.len()).map(|at| &text[at..=at]).collect();
        assert_eq!(masked(&bytes).await, expected);
    }

    #[tokio::test]
    async fn what_has_none_comes_as_it_is() {
        for pieces in [&[][..], &["", "abc", ""], &["s", "s3", "s3cr3t-s3cr3t"]] {
            assert_eq!(masked(pieces).await, pieces.concat());
        }
    }
}
