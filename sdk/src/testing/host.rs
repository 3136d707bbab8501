//! The in-memory host: what it grants, how it runs a handler, and what it saw.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use super::memory::{blobs::Blob, cache::Cache, secrets::Secret};
use super::state::{self, State};
use super::{Enqueued, JobBuilder};
use crate::failure::Failure;
use crate::http::{HttpError, Request, Response};
use crate::job::Job;
use crate::payload::Raw;
use crate::plugin::Plugin;
use crate::time::whole_ms;

/// A host in memory. It keeps its state from one job to the next, so a second attempt finds what the first one left.
///
/// It belongs to one thread: tests that run side by side each make their own.
#[derive(Default)]
pub struct Host {
    state: Rc<RefCell<State>>,
}

// === impl Host: what it grants ===

impl Host {
    /// A host that grants nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the clock, in milliseconds since the Unix epoch; it then stands still but for [`Host::advance`].
    #[must_use]
    pub fn at(self, unix_ms: u64) -> Self {
        self.with(|state| state.clock_ms = Some(unix_ms))
    }

    /// Gives the handler a setting.
    #[must_use]
    pub fn config(self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|state| {
            state.settings.insert(key.into(), value.into());
        })
    }

    /// Grants a secret for keyed hashes and as a placeholder.
    #[must_use]
    pub fn secret(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.with(|state| {
            state.secrets.insert(name.into(), Secret { value: value.into(), reveal: false });
        })
    }

    /// Grants seeing a secret that was given before.
    ///
    /// # Panics
    /// When the host has no such secret.
    #[must_use]
    pub fn reveals(self, name: &str) -> Self {
        self.with(|state| match state.secrets.get_mut(name) {
            Some(secret) => secret.reveal = true,
            None => panic!("the host has no secret `{name}`; call `.secret(\"{name}\", …)` first"),
        })
    }

    /// Grants a blob store, empty at first.
    #[must_use]
    pub fn store(self, store: impl Into<String>) -> Self {
        self.with(|state| {
            state.blobs.entry(store.into()).or_default();
        })
    }

    /// Grants a blob store and puts a blob of unknown type into it.
    #[must_use]
    pub fn blob(self, store: impl Into<String>, key: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        self.with(|state| {
            let blob = Blob { data: data.into(), content_type: None };
            state.blobs.entry(store.into()).or_default().insert(key.into(), blob);
        })
    }

    /// Grants the cache.
    #[must_use]
    pub fn cache(self) -> Self {
        self.with(|state| {
            state.cache.get_or_insert_default();
        })
    }

    /// Grants the cache and sets a value that does not expire.
    #[must_use]
    pub fn cached_value(self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(|state| state.cache.get_or_insert_with(Cache::default).set(key, value.as_ref(), None, 0))
    }

    /// Grants the cache, in which another cell sets a value that does not expire, so long from now: what a handler that
    /// waits for somebody else is waiting for. Needs a clock, set with [`Host::at`].
    #[must_use]
    pub fn cached_after(self, wait: Duration, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(|state| {
            let at_ms = state.now_ms().saturating_add(whole_ms(wait));
            state.cache.get_or_insert_default().set_at(at_ms, key, value.as_ref());
        })
    }

    /// Lets the handler only read a bucket that was given before, as `access = "read"` does.
    #[must_use]
    pub fn read_only(self, bucket: impl Into<String>) -> Self {
        self.with(|state| {
            state.read_only.insert(bucket.into());
        })
    }

    /// Grants a bucket of the key-value store, empty at first.
    #[must_use]
    pub fn bucket(self, bucket: impl Into<String>) -> Self {
        self.with(|state| {
            state.buckets.entry(bucket.into()).or_default();
        })
    }

    /// Grants a bucket and sets a value in it.
    #[must_use]
    pub fn kept_value(self, bucket: impl Into<String>, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.with(|state| state.buckets.entry(bucket.into()).or_default().set(key, value.as_ref()))
    }

    /// Grants publishing to a channel.
    #[must_use]
    pub fn publishes(self, channel: impl Into<String>) -> Self {
        self.with(|state| {
            state.channels.insert(channel.into());
        })
    }

    /// Grants enqueueing to a queue.
    #[must_use]
    pub fn enqueues(self, queue: impl Into<String>) -> Self {
        self.with(|state| {
            state.queues.insert(queue.into());
        })
    }

    /// Answers every request to exactly this URL. Called again for the same URL, the answers come one after the other,
    /// and the last one from then on.
    #[must_use]
    pub fn respond(self, url: impl Into<String>, response: Response) -> Self {
        self.with(|state| state.web.answers.entry(url.into()).or_default().push_back(Ok(response)))
    }

    /// Fails every request to exactly this URL; takes its turn among the answers of [`Host::respond`].
    #[must_use]
    pub fn fail(self, url: impl Into<String>, error: HttpError) -> Self {
        self.with(|state| state.web.answers.entry(url.into()).or_default().push_back(Err(error)))
    }

    /// Answers requests for which no [`Host::respond`] or [`Host::fail`] was given.
    #[must_use]
    pub fn on_request(self, responder: impl Fn(&Request) -> Result<Response, HttpError> + 'static) -> Self {
        self.with(|state| state.web.responder = Some(Rc::new(responder)))
    }

    /// Lets [`crate::context::is_cancelled`] be true.
    #[must_use]
    pub fn cancelled(self) -> Self {
        self.with(|state| state.cancelled = true)
    }

    /// Adds a finished child with the JSON text of its result.
    #[must_use]
    pub fn child(self, key: impl Into<String>, json: impl Into<String>) -> Self {
        self.with(|state| state.children_values.push((key.into(), json.into())))
    }

    /// Adds a child that failed, with the reason.
    #[must_use]
    pub fn child_failure(self, key: impl Into<String>, reason: impl Into<String>) -> Self {
        self.with(|state| state.children_failures.push((key.into(), reason.into())))
    }

    fn with(self, change: impl FnOnce(&mut State)) -> Self {
        change(&mut self.state.borrow_mut());
        self
    }
}

// === impl Host: running ===

impl Host {
    /// Runs a handler function on a job, as one attempt.
    ///
    /// # Errors
    /// Whatever the handler answers.
    pub fn run<T, O>(
        &self,
        handler: impl FnOnce(Job<T>) -> Result<O, Failure>,
        job: impl Into<JobBuilder<T>>,
    ) -> Result<O, Failure> {
        let job = job.into().claim(self.state.borrow().now_ms());
        self.state.borrow_mut().deadline_ms = Some(job.deadline);
        self.within(|| handler(job))
    }

    /// Runs a job through a whole plugin as the component would: picks the handler by name, decodes the payload,
    /// encodes the result.
    ///
    /// # Errors
    /// Whatever the plugin answers.
    pub fn dispatch(&self, plugin: &Plugin, job: impl Into<JobBuilder<Raw>>) -> Result<Vec<u8>, Failure> {
        self.run(|job| plugin.dispatch(job), job)
    }

    /// Runs code that calls host functions, outside of any job.
    pub fn within<R>(&self, body: impl FnOnce() -> R) -> R {
        state::enter(&self.state, body)
    }

    /// Moves the set clock on.
    ///
    /// # Panics
    /// When the clock was not set with [`Host::at`].
    pub fn advance(&self, by: Duration) {
        let mut state = self.state.borrow_mut();
        assert!(
            state.clock_ms.is_some(),
            "the host runs on the system's clock; set one with `.at(unix_ms)` first"
        );
        state.pass(by);
    }
}

// === impl Host: what it saw ===

impl Host {
    /// The content of a blob.
    pub fn blob_bytes(&self, store: &str, key: &str) -> Option<Vec<u8>> {
        self.blob_of(store, key).map(|blob| blob.data)
    }

    /// The media type with which a blob was put.
    pub fn blob_type(&self, store: &str, key: &str) -> Option<String> {
        self.blob_of(store, key).and_then(|blob| blob.content_type)
    }

    /// The keys of a blob store, in order.
    pub fn blob_keys(&self, store: &str) -> Vec<String> {
        self.state.borrow().blobs.get(store).map(|blobs| blobs.keys().cloned().collect()).unwrap_or_default()
    }

    /// A cached value that has not expired.
    pub fn cached(&self, key: &str) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        state.cache.as_ref()?.get(key, state.now_ms()).map(<[u8]>::to_vec)
    }

    /// A value in a bucket.
    pub fn kept(&self, bucket: &str, key: &str) -> Option<Vec<u8>> {
        self.state.borrow().buckets.get(bucket)?.get(key).map(<[u8]>::to_vec)
    }

    /// Every request, in order, with secrets in place of their placeholders, as the far end would see it.
    pub fn requests(&self) -> Vec<Request> {
        self.state.borrow().web.requests.clone()
    }

    /// Every message, in order, with its channel.
    pub fn published(&self) -> Vec<(String, Vec<u8>)> {
        self.state.borrow().published.clone()
    }

    /// Every enqueued job, in order.
    pub fn enqueued(&self) -> Vec<Enqueued> {
        self.state.borrow().enqueued.clone()
    }

    /// Every line of [`crate::context::log`].
    pub fn logs(&self) -> Vec<String> {
        self.state.borrow().logs.clone()
    }

    /// Every value of [`crate::context::progress`]; the real host may leave out all but the last.
    pub fn progress(&self) -> Vec<serde_json::Value> {
        self.state.borrow().progress.clone()
    }

    /// The payload that [`crate::context::update_data`] left for the next attempt.
    pub fn updated_data(&self) -> Option<Vec<u8>> {
        self.state.borrow().updated_data.clone()
    }

    fn blob_of(&self, store: &str, key: &str) -> Option<Blob> {
        self.state.borrow().blobs.get(store)?.get(key).cloned()
    }
}
