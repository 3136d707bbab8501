//! Requests that no well-behaved client makes, straight over `wasi:http`.

use std::fmt::Debug;

use jobcell_sdk::prelude::*;
use jobcell_sdk::secrets;
use serde::{Deserialize, Serialize};
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
    http_error_code,
};
use wasip2::io::streams::StreamError;

#[derive(Deserialize)]
#[serde(default)]
pub(crate) struct Raw {
    /// `http`, `https` or anything else; none leaves it to the host.
    scheme: Option<String>,
    authority: Option<String>,
    path: Option<String>,
    method: String,
    /// `{NAME}` in a value is the placeholder of that secret.
    headers: Vec<(String, String)>,
    /// More headers of this number, `h0: v` and so on.
    headers_more: u32,
    body: Option<String>,
    /// Nanoseconds for connecting, the first byte, and between bytes.
    timeouts: [Option<u64>; 3],
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            scheme: Some("http".to_owned()),
            authority: None,
            path: Some("/".to_owned()),
            method: "GET".to_owned(),
            headers: Vec::new(),
            headers_more: 0,
            body: None,
            timeouts: [None; 3],
        }
    }
}

/// What became of it.
#[derive(Default, Serialize)]
pub(crate) struct Told {
    /// What the host did not even take into the request.
    refused: Option<String>,
    /// The error's code, of the request or of its body.
    error: Option<String>,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    body: String,
    trailers: Vec<(String, String)>,
}

/// Sends one request just as it is written.
#[handler]
pub(crate) fn raw(job: Job<Raw>) -> Result<Told, Failure> {
    let mut told = Told::default();
    match send(&job.data) {
        Ok(response) => read(&response, &mut told),
        Err(Fault::Refused(what)) => told.refused = Some(what),
        Err(Fault::Failed(code)) => told.error = Some(code),
    }
    Ok(told)
}

enum Fault {
    Refused(String),
    Failed(String),
}

fn refused<E: Debug>(what: &str) -> impl FnOnce(E) -> Fault {
    let what = what.to_owned();
    move |error| Fault::Refused(format!("{what}: {error:?}"))
}

fn failed<E: Debug>(error: E) -> Fault {
    Fault::Failed(format!("{error:?}"))
}

fn send(raw: &Raw) -> Result<IncomingResponse, Fault> {
    let fields = Fields::new();
    for (name, value) in &raw.headers {
        let value = with_placeholders(value).map_err(refused("placeholder"))?;
        fields.append(name, value.as_bytes()).map_err(refused(&format!("header {name}")))?;
    }
    for n in 0..raw.headers_more {
        fields.append(&format!("h{n}"), b"v").map_err(refused(&format!("header number {n}")))?;
    }
    let request = OutgoingRequest::new(fields);
    request.set_method(&method(&raw.method)).map_err(refused("method"))?;
    let scheme = raw.scheme.as_deref().map(|scheme| match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    });
    request.set_scheme(scheme.as_ref()).map_err(refused("scheme"))?;
    request.set_authority(raw.authority.as_deref()).map_err(refused("authority"))?;
    let path = raw.path.as_deref().map(with_placeholders).transpose().map_err(refused("placeholder"))?;
    request.set_path_with_query(path.as_deref()).map_err(refused("path"))?;
    let body = match &raw.body {
        None => None,
        Some(text) => {
            let text = with_placeholders(text).map_err(refused("placeholder"))?;
            Some((request.body().map_err(refused("body"))?, text))
        }
    };
    let options = RequestOptions::new();
    let [connect, first, between] = raw.timeouts;
    options.set_connect_timeout(connect).map_err(refused("connect timeout"))?;
    options.set_first_byte_timeout(first).map_err(refused("first byte timeout"))?;
    options.set_between_bytes_timeout(between).map_err(refused("between bytes timeout"))?;
    let future = outgoing_handler::handle(request, Some(options)).map_err(failed)?;
    if let Some((body, text)) = body {
        write(body, &text)?;
    }
    loop {
        match future.get() {
            Some(answer) => return answer.map_err(failed)?.map_err(failed),
            None => future.subscribe().block(),
        }
    }
}

fn write(body: OutgoingBody, text: &str) -> Result<(), Fault> {
    let stream = body.write().map_err(failed)?;
    for piece in text.as_bytes().chunks(4096) {
        // What is wrong with it comes with the response.
        if stream.blocking_write_and_flush(piece).is_err() {
            break;
        }
    }
    drop(stream);
    OutgoingBody::finish(body, None).map_err(failed)
}

fn read(response: &IncomingResponse, told: &mut Told) {
    told.status = Some(response.status());
    told.headers = texts(response.headers().entries());
    let Ok(body) = response.consume() else { return };
    {
        let Ok(stream) = body.stream() else { return };
        loop {
            match stream.blocking_read(64 * 1024) {
                Ok(bytes) => told.body.push_str(&String::from_utf8_lossy(&bytes)),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => {
                    told.error = Some(format!("{:?}", http_error_code(&error)));
                    return;
                }
            }
        }
    }
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    match trailers.get() {
        Some(Ok(Ok(Some(fields)))) => told.trailers = texts(fields.entries()),
        Some(Ok(Ok(None)) | Err(())) | None => {}
        Some(Ok(Err(code))) => told.error = Some(format!("{code:?}")),
    }
}

fn texts(entries: Vec<(String, Vec<u8>)>) -> Vec<(String, String)> {
    entries.into_iter().map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned())).collect()
}

fn method(text: &str) -> Method {
    match text {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        "TRACE" => Method::Trace,
        other => Method::Other(other.to_owned()),
    }
}

/// The text with `{NAME}` as the placeholder of that secret.
fn with_placeholders(text: &str) -> Result<String, Failure> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(&secrets::placeholder(name)?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}
