//! What leaves the cell: messages, jobs, keyed hashes, requests.

use std::time::Duration;

use jobcell_sdk::prelude::*;
use jobcell_sdk::secrets::Algorithm;
use jobcell_sdk::{context, http, jobs, publish, secrets};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub(crate) struct Message {
    channel: String,
    message: String,
}

/// Publishes a text.
#[handler]
pub(crate) fn publish(job: Job<Message>) -> Result<(), Failure> {
    Ok(publish::publish(&job.data.channel, &job.data.message)?)
}

#[derive(Deserialize)]
pub(crate) struct NewJob {
    queue: String,
    name: String,
    data: Payload,
    id: Option<String>,
    delay_ms: Option<u64>,
    priority: Option<u32>,
    tenant: Option<String>,
}

/// A payload of the new job's own shape.
#[derive(Deserialize, Serialize)]
pub(crate) struct Payload {
    i: u64,
}

/// Enqueues a job and answers its id.
#[handler]
pub(crate) fn enqueue(job: Job<NewJob>) -> Result<String, Failure> {
    let NewJob { queue, name, data, id, delay_ms, priority, tenant } = job.data;
    let delay = delay_ms.map(Duration::from_millis);
    let options = jobs::Options { id, delay, priority, tenant, ..jobs::Options::default() };
    Ok(jobs::enqueue(&queue, &name, &data, &options)?)
}

#[derive(Deserialize)]
pub(crate) struct Family {
    queue: String,
    name: String,
    children: u64,
}

/// Enqueues children on the first start and waits for them; then answers how many of them have a result.
#[handler]
pub(crate) fn family(job: Job<Family>) -> Result<usize, Failure> {
    let Family { queue, name, children } = &job.data;
    if job.starts > 1 {
        return Ok(context::children_values()?.len());
    }
    for i in 0..*children {
        jobs::enqueue_child(queue, name, &Payload { i }, &jobs::Options::default())?;
    }
    Err(Failure::WaitForChildren)
}

#[derive(Deserialize)]
pub(crate) struct Keyed {
    secret: String,
    message: String,
    algorithm: Hash,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

#[derive(Serialize)]
pub(crate) struct Verified {
    /// In lower-case hexadecimal.
    mac: String,
    /// The host's answer for that very hash.
    accepted: bool,
    /// The host's answer for the hash with its last byte changed; must be false.
    forged: bool,
}

/// Computes a keyed hash, then verifies it and a forgery.
#[handler]
pub(crate) fn secret(job: Job<Keyed>) -> Result<Verified, Failure> {
    let Keyed { secret, message, algorithm } = job.data;
    let algorithm = match algorithm {
        Hash::Sha1 => Algorithm::Sha1,
        Hash::Sha256 => Algorithm::Sha256,
        Hash::Sha512 => Algorithm::Sha512,
    };
    let mut mac = secrets::hmac(&secret, algorithm, &message)?;
    let text = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    let accepted = secrets::verify_hmac(&secret, algorithm, &message, &mac)?;
    *mac.last_mut().or_fatal("the host's keyed hash is empty")? ^= 1;
    let forged = secrets::verify_hmac(&secret, algorithm, &message, &mac)?;
    Ok(Verified { mac: text, accepted, forged })
}

/// Answers a secret itself, where that is granted.
#[handler]
pub(crate) fn reveal(job: Job<String>) -> Result<String, Failure> {
    Ok(secrets::reveal(&job.data)?)
}

#[derive(Deserialize)]
pub(crate) struct Fetch {
    url: String,
    #[serde(default)]
    method: Verb,
    #[serde(default)]
    body: String,
    timeout_ms: Option<u64>,
    max_body: Option<usize>,
    /// The secret whose placeholder goes into the authorization header.
    bearer: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verb {
    #[default]
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
}

#[derive(Serialize)]
pub(crate) struct Fetched {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

/// Sends one request and answers what came back.
#[handler]
pub(crate) fn fetch(job: Job<Fetch>) -> Result<Fetched, Failure> {
    let Fetch { url, method, body, timeout_ms, max_body, bearer } = job.data;
    let method = match method {
        Verb::Get => http::Method::Get,
        Verb::Head => http::Method::Head,
        Verb::Post => http::Method::Post,
        Verb::Put => http::Method::Put,
        Verb::Patch => http::Method::Patch,
        Verb::Delete => http::Method::Delete,
    };
    let mut request = http::Request::new(method, url).body(body);
    request.timeout = timeout_ms.map(Duration::from_millis);
    if let Some(bytes) = max_body {
        request = request.max_body(bytes);
    }
    if let Some(name) = bearer {
        request = request.bearer(secrets::placeholder(&name)?);
    }
    let response = request.send()?;
    let body = response.text();
    Ok(Fetched { status: response.status, headers: response.headers, body })
}
