//! The handlers of a running host, over its HTTP API.

use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jobcell_handlers::Digest;
use jobcell_server::{
    Author, CanaryLimits, Change, Deployment, Handlers, HandlersError, HandlersFault, Then,
};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Method, RequestBuilder, StatusCode, redirect};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Map, Value, json};
use url::Url;

use crate::cli::exit::Failure;
use crate::cli::host::unanswered;

/// How long a host may take to be connected to.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long it may take in all: what its API bounds the longest request by, and the way there and back.
const ANSWER_MAX: Duration = Duration::from_secs(130);
/// Bytes of an answer that are read at most: fifty versions with their manifests are a few hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A host's API.
pub(in crate::cli) struct Remote {
    client: Client,
    base: Url,
    token: Option<String>,
}

// === impl Remote ===

impl Remote {
    /// The API at this address, such as `http://127.0.0.1:8787`. Nothing is asked yet.
    pub(in crate::cli) fn new(address: &str, token: Option<&str>) -> Result<Self, Failure> {
        let unusable = |cause: String| {
            Failure::usage(format!(
                "the host's address {:?} cannot be used: {cause}; write it like http://127.0.0.1:8787",
                without_login(address)
            ))
        };
        let base = Url::parse(address).map_err(|cause| unusable(cause.to_string()))?;
        if !["http", "https"].contains(&base.scheme()) || base.cannot_be_a_base() {
            return Err(unusable(format!("its scheme is {:?}", base.scheme())));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(unusable("it holds a login, which is sent as the token in JOBCELL_TOKEN".to_owned()));
        }
        let builder = Client::builder()
            .connect_timeout(CONNECT_MAX)
            .timeout(ANSWER_MAX)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .tls_backend_preconfigured(tls(base.scheme() == "https"));
        let client =
            builder.build().map_err(|cause| Failure::failed(format!("no client for HTTP: {cause}")))?;
        Ok(Self { client, base, token: token.map(str::to_owned) })
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn handlers(&self, method: Method, path: &[&str], query: &[(&str, String)]) -> RequestBuilder {
        let path = [&["api", "v1", "handlers"], path].concat();
        self.client.request(method, self.url(&path, query))
    }

    /// What a page of the host says.
    pub(in crate::cli) async fn look(&self, path: &[&str]) -> Result<Value, Failure> {
        let request = self.client.get(self.url(path, &[]));
        self.ask(request).await.map_err(|error| unanswered(&error))
    }

    /// Has the host do something.
    pub(in crate::cli) async fn act(&self, path: &[&str]) -> Result<Value, Failure> {
        let request = self.client.post(self.url(path, &[]));
        self.ask(request).await.map_err(|error| unanswered(&error))
    }

    /// A page of text that is open to everybody.
    pub(in crate::cli) async fn page(&self, path: &str) -> Result<String, Failure> {
        let lost = |error: reqwest::Error| unanswered(&self.unreachable(&error));
        let mut response = self.client.get(self.url(&[path], &[])).send().await.map_err(lost)?;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                break;
            }
            body.extend_from_slice(&piece);
        }
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    async fn ask(&self, mut request: RequestBuilder) -> Result<Value, HandlersError> {
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                let told = format!("the answer of {} has more than {ANSWER_BYTES_MAX} bytes", self.address());
                return Err(HandlersError::new(HandlersFault::Failed, told));
            }
            body.extend_from_slice(&piece);
        }
        match serde_json::from_slice::<Value>(&body) {
            Ok(value) if status.is_success() => Ok(value),
            Ok(problem) => Err(self.refusal(status, &problem)),
            Err(_) => {
                let told = format!(
                    "{} answered {status} with something that is no answer of a jobcell host; is the address right?",
                    self.address()
                );
                Err(HandlersError::new(HandlersFault::Failed, told))
            }
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> HandlersError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        let told = format!(
            "the host at {} cannot be reached: {cause}; start it with `jobcell run`, or name another with --url or \
             JOBCELL_URL",
            self.address()
        );
        HandlersError::new(HandlersFault::Unavailable, told)
    }

    fn refusal(&self, status: StatusCode, problem: &Value) -> HandlersError {
        let detail = problem["detail"].as_str().unwrap_or("the host gives no reason");
        let fault = problem["code"].as_str().and_then(HandlersFault::named).unwrap_or(match status {
            StatusCode::NOT_FOUND => HandlersFault::NotFound,
            StatusCode::CONFLICT => HandlersFault::Conflict,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => HandlersFault::Unavailable,
            _ => HandlersFault::Failed,
        });
        let needs_token = status == StatusCode::UNAUTHORIZED;
        let hint = if needs_token { "; set JOBCELL_TOKEN to a token of this host" } else { "" };
        let details = problem["details"].as_object().cloned().unwrap_or_else(Map::new);
        HandlersError { fault, message: format!("{detail}{hint}"), details }
    }
}

#[async_trait]
impl Handlers for Remote {
    async fn list(&self) -> Result<Vec<Value>, HandlersError> {
        let mut answer = self.ask(self.handlers(Method::GET, &[], &[])).await?;
        Ok(items(&mut answer))
    }

    async fn get(&self, handler: &str) -> Result<Value, HandlersError> {
        self.ask(self.handlers(Method::GET, &[handler], &[])).await
    }

    async fn history(
        &self,
        handler: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Value>, HandlersError> {
        let mut query = vec![("limit", limit.to_string())];
        query.extend(before.map(|before| ("cursor", before.to_string())));
        let mut answer = self.ask(self.handlers(Method::GET, &[handler, "history"], &query)).await?;
        Ok(items(&mut answer))
    }

    async fn deploy(
        &self,
        handler: &str,
        deployment: Deployment,
        author: Author,
    ) -> Result<Value, HandlersError> {
        let Deployment { wasm, signature, then, approve } = deployment;
        // Who it is, the host tells by the token.
        let Author { who: _, why, generation } = author;
        let mut query = vec![("approve", approve.to_string())];
        match then {
            Then::Stage => {}
            Then::Activate => query.push(("activate", true.to_string())),
            Then::Canary { percent } => query.push(("canary", percent.to_string())),
        }
        if !why.is_empty() {
            query.push(("why", why));
        }
        query.extend(generation.map(|generation| ("generation", generation.to_string())));
        let digest = format!("sha-256=:{}:", STANDARD.encode(Digest::of(&wasm).as_bytes()));
        let mut request = self
            .handlers(Method::POST, &[handler, "versions"], &query)
            .header(CONTENT_TYPE, "application/wasm")
            .header("content-digest", digest)
            .body(wasm);
        if let Some(signature) = signature {
            request = request.header("jobcell-signature", signature);
        }
        self.ask(request).await
    }

    async fn change(&self, handler: &str, change: Change, author: Author) -> Result<Value, HandlersError> {
        let path = [handler, change.name()];
        self.ask(self.handlers(Method::POST, &path, &[]).json(&body(change, author))).await
    }
}

/// What the API takes for this change.
fn body(change: Change, author: Author) -> Value {
    let mut body = match change {
        Change::Activate { version, approve } => json!({ "version": version, "approve": approve }),
        Change::Canary { version, percent, approve, rules } => {
            let CanaryLimits { window_ms, min_jobs, max_failures_over, max_latency, promote_after_ms } =
                rules;
            json!({
                "version": version, "percent": percent, "approve": approve, "windowMs": window_ms,
                "minJobs": min_jobs, "maxFailuresOver": max_failures_over, "maxLatency": max_latency,
                "promoteAfterMs": promote_after_ms,
            })
        }
        Change::Promote | Change::Rollback | Change::Shadow { of: None } => json!({}),
        Change::Quarantine { version } | Change::Release { version } => json!({ "version": version }),
        Change::Shadow { of: Some((version, percent)) } => json!({ "version": version, "percent": percent }),
    };
    let Author { who: _, why, generation } = author;
    if !why.is_empty() {
        body["why"] = why.into();
    }
    if let Some(generation) = generation {
        body["generation"] = generation.into();
    }
    body
}

fn items(answer: &mut Value) -> Vec<Value> {
    match answer["items"].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// Whom TLS trusts: the machine's authorities, which take a moment to read, where there is TLS at all.
fn tls(is_used: bool) -> ClientConfig {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Fails only when somebody else was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let mut roots = RootCertStore::empty();
    if is_used {
        // A machine without authorities is told by the first connection that fails.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
}

/// An address as it may be shown.
fn without_login(address: &str) -> String {
    match (address.split_once("://"), address.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, place))) => format!("{scheme}://***@{place}"),
        _ => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_http_and_shows_no_login() {
        for (address, part) in [
            ("ftp://h", "ftp"),
            ("h:1", "scheme"),
            ("nonsense", "cannot be used"),
            ("http://u:pw@h", "JOBCELL_TOKEN"),
        ] {
            let Err(Failure::Told { message, .. }) = Remote::new(address, None) else { panic!("{address}") };
            assert!(message.contains(part) && !message.contains("pw"), "{message}");
        }
    }

    #[test]
    fn names_are_put_into_the_path_as_they_are() {
        let remote = Remote::new("http://127.0.0.1:8787/under/", None).unwrap();
        let url = remote.url(&["api", "v1", "handlers", "a/b c"], &[("why", "a&b".to_owned())]);
        assert_eq!(url.as_str(), "http://127.0.0.1:8787/under/api/v1/handlers/a%2Fb%20c?why=a%26b");
        assert_eq!(remote.address(), "http://127.0.0.1:8787/under");
    }

    #[test]
    fn problems_keep_their_kind() {
        let remote = Remote::new("http://127.0.0.1:1", None).unwrap();
        let problem = json!({ "detail": "no", "code": "needs-approval", "details": { "wider": ["cache"] } });
        let error = remote.refusal(StatusCode::CONFLICT, &problem);
        assert_eq!(
            (error.fault, &error.details["wider"][0]),
            (HandlersFault::NeedsApproval, &json!("cache"))
        );
        let error = remote.refusal(StatusCode::UNAUTHORIZED, &json!({ "detail": "who?" }));
        assert!(error.message.contains("JOBCELL_TOKEN"), "{error}");
    }
}
