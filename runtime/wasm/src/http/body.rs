//! Bodies on their way in and out, held to the attempt's limits.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::Sleep;
use wasmtime_wasi_http::{Error, WasiBody};

use super::budget::{Budget, Slot};
use super::failure::error_of;

/// Reads the whole body that the guest writes. Sent in one piece it has a length, which many services insist on, and a
/// stand-in cannot hide on the border of two pieces.
///
/// # Errors
/// When the attempt's upload limit is used up, or the guest gave the body up.
pub(crate) async fn read(mut body: WasiBody, budget: &Budget) -> Result<Bytes, Error> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if !budget.upload(data.len()) {
                return Err(Error::HttpRequestBodySize(Some(whole.len() as u64 + data.len() as u64)));
            }
            whole.extend_from_slice(&data);
        }
    }
    Ok(whole.freeze())
}

/// A response's body: counted against the attempt, and given up when the far end falls silent.
pub(crate) struct Incoming {
    inner: reqwest::Body,
    budget: Arc<Budget>,
    /// Index of the place it comes from, for the receipt.
    destination: usize,
    read: u64,
    silence_max: Duration,
    /// Runs while nothing comes.
    silence: Option<Pin<Box<Sleep>>>,
    _slot: Slot,
}

// === impl Incoming ===

impl Incoming {
    pub(crate) fn new(
        inner: reqwest::Body,
        budget: Arc<Budget>,
        slot: Slot,
        destination: usize,
        silence_max: Duration,
    ) -> Self {
        Self { inner, budget, destination, read: 0, silence_max, silence: None, _slot: slot }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.silence = None;
                let bytes = size(&frame);
                this.read += bytes as u64;
                this.budget.received(this.destination, bytes);
                if this.budget.download(bytes) {
                    Poll::Ready(Some(Ok(frame)))
                } else {
                    Poll::Ready(Some(Err(Error::HttpResponseBodySize(Some(this.read)))))
                }
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error_of(&error)))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let silence_max = this.silence_max;
                let silence = this.silence.get_or_insert_with(|| Box::pin(tokio::time::sleep(silence_max)));
                silence.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Bytes of a piece of a body: data, or trailers, which count as well.
fn size(frame: &Frame<Bytes>) -> usize {
    match (frame.data_ref(), frame.trailers_ref()) {
        (Some(data), _) => data.len(),
        (None, Some(fields)) => fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum(),
        (None, None) => 0,
    }
}
