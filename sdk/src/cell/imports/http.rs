//! Requests over `wasi:http/outgoing-handler`, waiting in one place so that one timer bounds the whole exchange.

mod explain;

use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingResponse, Method as WasiMethod, OutgoingBody,
    OutgoingRequest, RequestOptions, Scheme, http_error_code,
};
use wasip2::io::error::Error as IoError;
use wasip2::io::poll::{Pollable, poll};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use self::explain::explain;
use crate::http::target::{Target, check, without_query};
use crate::http::{HttpError, Method, Request, Response};

/// How much is asked for at once; the host hands out what it has, up to this.
const READ_BYTES: u64 = 64 * 1024;

pub(crate) fn send(request: Request) -> Result<Response, HttpError> {
    let target = check(&request)?;
    let exchange = Exchange { request: &request, target, timer: request.timeout.map(timer) };
    exchange.run()
}

/// One request and all that is needed to wait for it and to speak of it.
struct Exchange<'a> {
    request: &'a Request,
    target: Target<'a>,
    timer: Option<Pollable>,
}

impl Exchange<'_> {
    fn run(&self) -> Result<Response, HttpError> {
        let outgoing = self.outgoing()?;
        let body = match self.request.body.is_empty() {
            true => None,
            false => Some(outgoing.body().map_err(|()| self.invalid("it takes no body"))?),
        };
        let future = outgoing_handler::handle(outgoing, self.options()).map_err(|code| self.explain(code))?;
        // A body that was not taken whole is held until the answer is there: letting go of it ends the exchange.
        let _unfinished = match body {
            Some(body) => self.write(body)?,
            None => None,
        };
        let response = self.response(&future)?;
        self.read(&response)
    }

    fn outgoing(&self) -> Result<OutgoingRequest, HttpError> {
        let fields = Fields::new();
        for (name, value) in &self.request.headers {
            fields
                .append(name, value.as_bytes())
                .map_err(|error| self.invalid(&format!("the header `{name}` is refused: {error}")))?;
        }
        // Without a length the body would go in chunks, which some services refuse.
        if self.has_length() {
            let length = self.request.body.len().to_string();
            fields
                .append("content-length", length.as_bytes())
                .map_err(|error| self.invalid(&format!("its length is refused: {error}")))?;
        }
        let outgoing = OutgoingRequest::new(fields);
        let scheme = if self.target.https { Scheme::Https } else { Scheme::Http };
        let path = match self.target.path_and_query {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            path => path.to_owned(),
        };
        outgoing
            .set_method(&method(self.request.method))
            .and_then(|()| outgoing.set_scheme(Some(&scheme)))
            .and_then(|()| outgoing.set_authority(Some(self.target.authority)))
            .and_then(|()| outgoing.set_path_with_query(Some(&path)))
            .map_err(|()| self.invalid("the URL is refused"))?;
        Ok(outgoing)
    }

    /// Does the length go out? Methods that usually have a body say so even when it is empty.
    fn has_length(&self) -> bool {
        if self.request.header_value("content-length").is_some() {
            return false;
        }
        match self.request.method {
            Method::Post | Method::Put | Method::Patch => true,
            Method::Get | Method::Head | Method::Delete => !self.request.body.is_empty(),
        }
    }

    /// Tells the host what each of its own waits may take. A host that cannot is bounded by the timer alone.
    fn options(&self) -> Option<RequestOptions> {
        let limit = nanoseconds(self.request.timeout?);
        let options = RequestOptions::new();
        let _ = options.set_connect_timeout(Some(limit));
        let _ = options.set_first_byte_timeout(Some(limit));
        let _ = options.set_between_bytes_timeout(Some(limit));
        Some(options)
    }

    /// Sends the body; hands it back when the far end stopped listening before its end. Why it did comes with the
    /// response: either its answer, or the reason why there is none.
    fn write(&self, body: OutgoingBody) -> Result<Option<OutgoingBody>, HttpError> {
        let stream = body.write().map_err(|()| self.invalid("its body cannot be written"))?;
        let written = self.write_all(&stream);
        // A stream is a child of its body and must be gone first.
        drop(stream);
        match written {
            Ok(()) => {
                let _told_by_the_response = OutgoingBody::finish(body, None);
                Ok(None)
            }
            Err(Broken::TimedOut) => Err(HttpError::Timeout),
            Err(Broken::Closed) => Ok(Some(body)),
        }
    }

    fn write_all(&self, stream: &OutputStream) -> Result<(), Broken> {
        let mut rest = self.request.body.as_slice();
        while !rest.is_empty() {
            let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX).min(rest.len());
            if room == 0 {
                self.wait(&stream.subscribe())?;
                continue;
            }
            let (now, later) = rest.split_at(room);
            stream.write(now)?;
            rest = later;
        }
        stream.flush()?;
        self.wait(&stream.subscribe())?;
        stream.check_write()?;
        Ok(())
    }

    fn response(&self, future: &FutureIncomingResponse) -> Result<IncomingResponse, HttpError> {
        loop {
            match future.get() {
                Some(Ok(answer)) => return answer.map_err(|code| self.explain(code)),
                Some(Err(())) => return Err(self.other("its answer was taken before")),
                None => self.wait(&future.subscribe())?,
            }
        }
    }

    fn read(&self, incoming: &IncomingResponse) -> Result<Response, HttpError> {
        let mut response = Response::new(incoming.status());
        response.headers =
            incoming.headers().entries().into_iter().map(|(name, value)| (name, into_text(value))).collect();
        let body = incoming.consume().map_err(|()| self.other("its answer was read before"))?;
        let stream = body.stream().map_err(|()| self.other("its answer was read before"))?;
        self.read_all(&stream, &mut response.body)?;
        Ok(response)
    }

    fn read_all(&self, stream: &InputStream, body: &mut Vec<u8>) -> Result<(), HttpError> {
        loop {
            match stream.read(READ_BYTES) {
                Ok(bytes) if bytes.is_empty() => self.wait(&stream.subscribe())?,
                Ok(bytes) if body.len() + bytes.len() > self.request.max_body => {
                    let limit = self.request.max_body;
                    return Err(HttpError::TooLarge(
                        self.about(&format!("the answer is over {limit} bytes")),
                    ));
                }
                // Most answers come in one piece, which then needs no copy.
                Ok(bytes) if body.is_empty() => *body = bytes,
                Ok(bytes) => body.extend_from_slice(&bytes),
                Err(StreamError::Closed) => return Ok(()),
                Err(StreamError::LastOperationFailed(error)) => return Err(self.broken_off(&error)),
            }
        }
    }

    /// Waits until something can be done, or for the timer.
    fn wait(&self, ready: &Pollable) -> Result<(), TimedOut> {
        match &self.timer {
            None => {
                ready.block();
                Ok(())
            }
            // What is ready counts, even when the time is up at the same moment.
            Some(timer) => match poll(&[ready, timer]).contains(&0) {
                true => Ok(()),
                false => Err(TimedOut),
            },
        }
    }
}

// === impl Exchange: words ===

impl Exchange<'_> {
    /// The text with the request before it. Header values and the query stay out, they may be secret.
    fn about(&self, text: &str) -> String {
        format!("{} {}: {text}", self.request.method, without_query(&self.request.url))
    }

    fn invalid(&self, text: &str) -> HttpError {
        HttpError::Invalid(self.about(text))
    }

    fn other(&self, text: &str) -> HttpError {
        HttpError::Other(self.about(text))
    }

    fn explain(&self, code: ErrorCode) -> HttpError {
        explain(self.request.method, &self.request.url, &self.target, code)
    }

    /// What ended the answer before its time.
    #[cold]
    fn broken_off(&self, error: &IoError) -> HttpError {
        match http_error_code(error) {
            Some(code) => self.explain(code),
            // Hosts are free to add a whole backtrace after the first line.
            None => {
                let text = error.to_debug_string();
                let first = text.lines().next().unwrap_or_default();
                HttpError::Protocol(self.about(&format!("the answer broke off: {first}")))
            }
        }
    }
}

/// The timer was first.
struct TimedOut;

impl From<TimedOut> for HttpError {
    fn from(TimedOut: TimedOut) -> Self {
        Self::Timeout
    }
}

/// Why a body could not be written to its end.
enum Broken {
    TimedOut,
    Closed,
}

impl From<TimedOut> for Broken {
    fn from(TimedOut: TimedOut) -> Self {
        Self::TimedOut
    }
}

impl From<StreamError> for Broken {
    fn from(_: StreamError) -> Self {
        Self::Closed
    }
}

fn timer(limit: Duration) -> Pollable {
    monotonic_clock::subscribe_duration(nanoseconds(limit))
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn into_text(value: Vec<u8>) -> String {
    String::from_utf8(value).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn method(method: Method) -> WasiMethod {
    match method {
        Method::Get => WasiMethod::Get,
        Method::Head => WasiMethod::Head,
        Method::Post => WasiMethod::Post,
        Method::Put => WasiMethod::Put,
        Method::Patch => WasiMethod::Patch,
        Method::Delete => WasiMethod::Delete,
    }
}
