//! The dashboard over the embedded store, as a browser without a script sees it.

mod access;
mod acts;
mod pages;
mod versions;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use jobcell_core::documents::{Documents, MemoryDocuments};
use jobcell_core::fleet::Fleet;
use jobcell_core::store::NewJob;
use jobcell_core::{JobId, QueueName, Store, SystemClock};
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::DashboardOptions;
use crate::health::{Health, HealthReport, RedisHealth, RedisStatus, Status, StoreReport};
use crate::metrics::{Gauges, HostGauges, StoreGauges};
use crate::{Api, Audit, Handlers, Metrics, Pages, Redaction, Role, Token};

struct Well;

#[async_trait]
impl Health for Well {
    async fn ready(&self) -> Result<(), Vec<String>> {
        Ok(())
    }

    async fn health(&self) -> HealthReport {
        let message = "jobs live in the embedded store".to_owned();
        HealthReport {
            status: Status::Healthy,
            redis: RedisHealth { status: RedisStatus::NotConfigured, message, latency: None },
            store: StoreReport {
                kind: "embedded".to_owned(),
                up: true,
                latency: None,
                warnings: vec!["<b>mend</b> this".to_owned()],
            },
            handlers: BTreeMap::new(),
            queues: BTreeMap::new(),
            version: "0.1.0",
            wasmtime: "48.0.8",
        }
    }
}

#[async_trait]
impl Gauges for Well {
    fn host(&self) -> HostGauges {
        HostGauges::default()
    }

    async fn store(&self) -> StoreGauges {
        StoreGauges::default()
    }
}

/// A host's HTTP side with a store of its own.
struct Place {
    router: Router,
    store: Arc<EmbeddedStore>,
    audit: Arc<Audit>,
    _directory: TempDir,
}

/// What was answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// Keeps cookies as browsers do, and sends forms with the proof of the page it saw last.
struct Browser<'a> {
    place: &'a Place,
    cookies: Mutex<BTreeMap<String, String>>,
    proof: Mutex<String>,
}

fn queue() -> QueueName {
    QueueName::new("work").unwrap()
}

fn id(id: &str) -> JobId {
    JobId::new(id).unwrap()
}

/// The tokens `viewer`, `operator`, `admin` with their roles, and `acme` for a tenant's operator.
fn tokens() -> Vec<Token> {
    let token = |name: &str, role, tenant: Option<&str>| Token {
        name: name.to_owned(),
        role,
        sha256: Sha256::digest(name).into(),
        tenant: tenant.map(str::to_owned),
    };
    vec![
        token("viewer", Role::Viewer, None),
        token("operator", Role::Operator, None),
        token("admin", Role::Admin, None),
        token("acme", Role::Operator, Some("acme")),
    ]
}

impl Place {
    fn open(tokens: Vec<Token>) -> Self {
        Self::with(tokens, "", None)
    }

    fn with(tokens: Vec<Token>, path_prefix: &str, handlers: Option<Arc<dyn Handlers>>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap());
        let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
        let metrics = Arc::new(Metrics::new());
        let redaction = Arc::new(Redaction::new(["data.card.number"]).unwrap());
        let clock = Arc::new(SystemClock);
        let audit =
            Audit::new(Arc::clone(&documents), clock.clone(), Arc::clone(&redaction), Arc::clone(&metrics));
        let audit = Arc::new(audit);
        let api = Api {
            store: Arc::clone(&store) as _,
            clock,
            queues: vec![queue()],
            prefix: "bull".to_owned(),
            tokens: tokens.into(),
            handlers,
            fleet: Fleet::new(documents),
            audit: Arc::clone(&audit),
            redaction,
            control: None,
            explain: None,
            spool: None,
            dashboard: DashboardOptions {
                path_prefix: path_prefix.to_owned(),
                ..DashboardOptions::default()
            },
        };
        let pages = Pages { health: Arc::new(Well), gauges: Arc::new(Well), metrics, api: Some(api) };
        let router = crate::routes::router(pages, true, &CancellationToken::new());
        Self { router, store, audit, _directory: directory }
    }

    async fn add(&self, job_id: &str, name: &str, data: &str) -> JobId {
        let mut job = NewJob::new(name.to_owned(), data.to_owned());
        job.options.job_id = Some(job_id.to_owned());
        let added = self.store.add(&queue(), vec![job], 1_700_000_000_000).await.unwrap();
        added[0].id().clone()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, text: String::from_utf8_lossy(&bytes).into_owned() }
    }

    fn browser(&self) -> Browser<'_> {
        Browser { place: self, cookies: Mutex::default(), proof: Mutex::default() }
    }

    /// A browser of somebody who has signed in.
    async fn signed_in(&self, token: &str) -> Browser<'_> {
        let browser = self.browser();
        browser.get("/login").await;
        let entered = browser.post("/login", &[("token", token)]).await;
        assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", entered.text);
        // A page with the proof of the new session.
        browser.get(if token == "acme" { "/queues" } else { "/hosts" }).await;
        browser
    }
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The values of an attribute, as far as they are in quotes.
    fn attributes(&self, name: &str) -> Vec<String> {
        let mark = format!(" {name}=\"");
        self.text
            .split(&mark)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .map(|value| value.replace("&amp;", "&"))
            .collect()
    }
}

impl Browser<'_> {
    async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], String::new()).await
    }

    /// Sends a form with the proof of the page that was seen last.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let proof = self.proof.lock().unwrap().clone();
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("proof", &proof).extend_pairs(fields);
        self.request(Method::POST, path, &[("sec-fetch-site", "same-origin")], form.finish()).await
    }

    async fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: String) -> Answer {
        let cookies: Vec<String> =
            self.cookies.lock().unwrap().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = Request::builder().method(&method).uri(path).header(header::HOST, "localhost");
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        if method == Method::POST {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.place.send(request.body(Body::from(body)).unwrap()).await;
        for cookie in answer.headers.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            let (name, rest) = cookie.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if cookie.contains("Max-Age=0") {
                self.cookies.lock().unwrap().remove(name);
            } else {
                self.cookies.lock().unwrap().insert(name.to_owned(), value.to_owned());
            }
        }
        if let Some((_, rest)) = answer.text.split_once("name=\"proof\" value=\"") {
            *self.proof.lock().unwrap() = rest.split('"').next().unwrap().to_owned();
        }
        answer
    }

    fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().unwrap().get(name).cloned()
    }
}
