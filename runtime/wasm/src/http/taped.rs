//! Requests of an attempt with a tape: sent and recorded, or answered from a recording and never sent.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use jobcell_core::HostCall;
use jobcell_core::effects::Response as Told;
use jobcell_core::effects::{Answer, Blob, End, Player, Recorder, Request, Tape, Why};
use wasmtime_wasi_http::{Error, WasiBody};

use super::budget::{Budget, Slot};
use super::outgoing::{Leave, Sent};
use crate::effect::Parts;
use crate::effect::fault::{code_of, of_code};
use crate::effect::scrub::Scrub;
use crate::job::W3C;

/// Bytes of a recorded body that are handed on in one piece.
const PIECE_BYTES: usize = 64 * 1024;

/// Sends the request and records it, or answers it from the recording.
pub(super) async fn send(
    leave: Leave,
    tape: &Tape,
    method: Method,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Sent, Error> {
    let scrub = Scrub::of(&leave.template);
    let request = request(&leave, scrub.as_ref(), &method, &headers, &body);
    match tape {
        Tape::Record(recorder) => {
            let place = recorder.asked(request);
            let sent = leave.exchange(method, headers, body).await;
            let Some(place) = place else { return sent };
            match sent {
                Ok((response, io)) => Ok((record(response, recorder, place, scrub), io)),
                Err(error) => {
                    recorder.told(place, out(Answer::Failed(code_of(&error)), scrub.as_ref()), 0);
                    Err(error)
                }
            }
        }
        Tape::Play(player) => play(leave, player, request, scrub.as_ref()),
    }
}

/// What is asked: all that the handler wrote, before secrets are put in their places. The trace's context is the host's.
fn request(
    leave: &Leave,
    scrub: Option<&Scrub>,
    method: &Method,
    headers: &HeaderMap,
    body: &Bytes,
) -> Request {
    let mut ask = Parts::new(HostCall::Http, "http", scrub);
    ask.name(method.as_str());
    ask.text(leave.url.as_str());
    let mut shown = leave.url.clone();
    // Queries carry what is not for people who look on.
    shown.set_query(None);
    ask.say(shown.as_str());
    // Of one name their order counts, of different names it does not.
    let is_own =
        |name: &HeaderName| *name != HOST && *name != CONTENT_LENGTH && !W3C.contains(&name.as_str());
    let mut names: Vec<&HeaderName> = headers.keys().filter(|name| is_own(name)).collect();
    names.sort_by_key(|name| name.as_str());
    for name in names {
        for value in headers.get_all(name) {
            ask.text(name.as_str());
            match scrub {
                Some(scrub) => ask.bytes(&scrub.header(name, value.as_bytes())),
                None => ask.bytes(value.as_bytes()),
            }
        }
    }
    ask.bytes(body);
    ask.request(![Method::GET, Method::HEAD, Method::OPTIONS].contains(method))
}

fn out(answer: Answer, scrub: Option<&Scrub>) -> Answer {
    match scrub {
        Some(scrub) => scrub.out(answer),
        None => answer,
    }
}

/// The same response, whose body is written down as the guest reads it.
fn record(
    response: Response<WasiBody>,
    recorder: &Arc<Recorder>,
    place: usize,
    scrub: Option<Scrub>,
) -> Response<WasiBody> {
    let (head, inner) = response.into_parts();
    let told = Told {
        status: head.status.as_u16(),
        headers: fields(&head.headers),
        body: Blob::default(),
        trailers: Vec::new(),
        end: End::Left,
    };
    let recorder = Arc::clone(recorder);
    let body =
        Recorded { inner, recorder, place, scrub, told: Some(told), read: BytesMut::new(), reserved: 0 };
    Response::from_parts(head, body.boxed_unsync())
}

fn fields(headers: &HeaderMap) -> Vec<(String, Blob)> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), Blob(Bytes::copy_from_slice(value.as_bytes())))
    };
    headers.iter().map(field).collect()
}

/// A body that is written down as it is read: as the guest gets it, not as it came.
struct Recorded {
    inner: WasiBody,
    recorder: Arc<Recorder>,
    place: usize,
    scrub: Option<Scrub>,
    /// None once its end is written down.
    told: Option<Told>,
    read: BytesMut,
    /// Bytes of the recording that it has taken so far.
    reserved: usize,
}

impl Recorded {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(told) = &mut self.told else { return };
        if let Some(data) = frame.data_ref() {
            if told.end == End::Cut {
                return;
            }
            if self.recorder.reserve(data.len()) {
                self.reserved += data.len();
                self.read.extend_from_slice(data);
            } else {
                told.end = End::Cut;
            }
        } else if let Some(trailers) = frame.trailers_ref() {
            told.trailers = fields(trailers);
        }
    }

    fn end(&mut self, end: End) {
        let Some(mut told) = self.told.take() else { return };
        if told.end == End::Left {
            told.end = end;
        }
        told.body = Blob(std::mem::take(&mut self.read).freeze());
        self.recorder.told(self.place, out(Answer::Response(told), self.scrub.as_ref()), self.reserved);
    }
}

impl Body for Recorded {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => this.keep(frame),
            Poll::Ready(Some(Err(error))) => this.end(End::Failed(code_of(error))),
            Poll::Ready(None) => this.end(End::Whole),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // Who has read all of a body that says how long it is need not look for its end.
        let end = if self.inner.is_end_stream() { End::Whole } else { End::Left };
        self.end(end);
    }
}

/// The recorded response, under this attempt's own limits.
fn play(leave: Leave, player: &Arc<Player>, request: Request, scrub: Option<&Scrub>) -> Result<Sent, Error> {
    let no_answer = |divergence: String| Error::InternalError(Some(divergence));
    let answer = player.answer(&request).map_err(|divergence| no_answer(divergence.to_string()))?;
    let answer = match scrub {
        Some(scrub) => scrub.back(answer),
        None => answer,
    };
    let told = match answer {
        Answer::Response(told) => told,
        Answer::Failed(fault) => return Err(of_code(&fault)),
        _ => return Err(no_answer(player.diverge(&request.what, Why::Unreadable).to_string())),
    };
    let headers = map(&told.headers);
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let Leave { budget, slot, .. } = leave;
    if !budget.download(bytes) {
        return Err(Error::HttpResponseHeaderSectionSize(u32::try_from(bytes).ok()));
    }
    let mut response = Response::new(WasiBody::default());
    *response.status_mut() = StatusCode::from_u16(told.status).unwrap_or(StatusCode::OK);
    *response.headers_mut() = headers;
    let trailers = map(&told.trailers);
    let body = Played {
        rest: told.body.0,
        read: 0,
        trailers: (!trailers.is_empty()).then_some(trailers),
        end: Some(told.end),
        player: Arc::clone(player),
        what: request.what,
        budget,
        _slot: slot,
    };
    *response.body_mut() = body.boxed_unsync();
    Ok((response, Box::new(async { Ok(()) })))
}

fn map(fields: &[(String, Blob)]) -> HeaderMap {
    let field = |(name, Blob(value)): &(String, Blob)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    let mut map = HeaderMap::new();
    for (name, value) in fields.iter().filter_map(field) {
        map.append(name, value);
    }
    map
}

/// A recorded body.
struct Played {
    rest: Bytes,
    read: u64,
    trailers: Option<HeaderMap>,
    /// None once it has been told.
    end: Option<End>,
    player: Arc<Player>,
    what: String,
    budget: Arc<Budget>,
    _slot: Slot,
}

impl Body for Played {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if !this.rest.is_empty() {
            let piece = this.rest.split_to(PIECE_BYTES.min(this.rest.len()));
            this.read += piece.len() as u64;
            let is_within = this.budget.download(piece.len());
            let size = Some(this.read);
            return Poll::Ready(Some(
                is_within.then(|| Frame::data(piece)).ok_or(Error::HttpResponseBodySize(size)),
            ));
        }
        if let Some(trailers) = this.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        let why = match this.end.take() {
            None | Some(End::Whole) => return Poll::Ready(None),
            Some(End::Failed(fault)) => return Poll::Ready(Some(Err(of_code(&fault)))),
            Some(End::Left) => Why::Unanswered,
            Some(End::Cut) => Why::Truncated,
        };
        let divergence = this.player.diverge(&this.what, why);
        Poll::Ready(Some(Err(Error::InternalError(Some(divergence.to_string())))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.trailers.is_none() && matches!(self.end, None | Some(End::Whole))
    }
}
