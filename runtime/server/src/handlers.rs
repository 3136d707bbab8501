//! Handlers and their versions, as the API, the dashboard and the command line reach them.
//!
//! This crate knows no manifests and no signatures: what a handler looks like is a JSON value made elsewhere, what can
//! be done to it is a [`Change`], and why that was not done is a [`HandlersError`] whose [`HandlersFault`] says what kind
//! of answer it is. A program that asks over HTTP gets the fault back by its name.

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The handlers of a host or of a fleet.
///
/// Dropping a call's future may leave the change made or not; every change is one step in the store, never half of one.
#[async_trait]
pub trait Handlers: Send + Sync + 'static {
    /// Every handler, by name: what is wanted, and what each host runs.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn list(&self) -> Result<Vec<Value>, HandlersError>;

    /// One handler with its versions.
    ///
    /// # Errors
    /// [`HandlersFault::NotFound`], or when the store cannot be read.
    async fn get(&self, handler: &str) -> Result<Value, HandlersError>;

    /// What happened to its versions, newest first: at most `limit` entries that are older than the entry `before`. Each
    /// has its `number`.
    ///
    /// # Errors
    /// As [`Self::get`].
    async fn history(
        &self,
        handler: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Value>, HandlersError>;

    /// Takes in a new version, and makes it active or a canary where that is asked for. A version that is there already
    /// is taken as it is, so this may be repeated. Answers with the handler as it is then.
    ///
    /// # Errors
    /// When the version is refused, needs approval, or somebody else has changed the handler since; what was active
    /// stays so.
    async fn deploy(
        &self,
        handler: &str,
        deployment: Deployment,
        author: Author,
    ) -> Result<Value, HandlersError>;

    /// Does one thing to the handler's versions and answers with the handler as it is then.
    ///
    /// # Errors
    /// When it cannot be done as things stand; nothing has changed.
    async fn change(&self, handler: &str, change: Change, author: Author) -> Result<Value, HandlersError>;
}

/// A version that comes in.
#[derive(Clone)]
pub struct Deployment {
    /// The component.
    pub wasm: Bytes,
    /// Its detached signature, as the file of it says.
    pub signature: Option<String>,
    /// What becomes of it once it is in.
    pub then: Then,
    /// Somebody has seen what it wants beyond the active version, and agrees.
    pub approve: bool,
}

/// What becomes of a version that has come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It waits to be activated.
    Stage,
    /// It takes all jobs.
    Activate,
    /// It takes so many percent of the jobs.
    Canary {
        /// 1 to 100.
        percent: u8,
    },
}

/// Something to be done to a handler's versions. A version is named by its digest, or by the beginning of one that only
/// one version has.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It takes all jobs.
    Activate {
        /// The version.
        version: String,
        /// Somebody has seen what it wants beyond the active version, and agrees.
        approve: bool,
    },
    /// It takes a share of the jobs beside the active version, until it is promoted or rolled back.
    Canary {
        /// The version.
        version: String,
        /// 1 to 100.
        percent: u8,
        /// Somebody has seen what it wants beyond the active version, and agrees.
        approve: bool,
        /// When it is promoted or rolled back by itself, in place of what is configured.
        rules: CanaryLimits,
    },
    /// The canary takes all jobs.
    Promote,
    /// The canary ends; without one, the version before the active one takes all jobs.
    Rollback,
    /// The version takes no jobs until it is released; if it is active, the one before it does.
    Quarantine {
        /// The version.
        version: String,
    },
    /// The version may take jobs again, once somebody activates it.
    Release {
        /// The version.
        version: String,
    },
    /// The version runs on copies of so many percent of the jobs, with every effect played back from the active
    /// version's recording, and nothing that it does leaves its cell. None ends that.
    Shadow {
        /// The version and its share, 1 to 100.
        of: Option<(String, u8)>,
    },
}

/// When a canary is promoted or rolled back by itself. What is left out is as configured for the handler.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CanaryLimits {
    /// Milliseconds of the newest jobs that are compared.
    pub window_ms: Option<u64>,
    /// Jobs that the canary must have run before anything is decided.
    pub min_jobs: Option<u64>,
    /// How much larger its share of failures may be, from 0 to 1.
    pub max_failures_over: Option<f64>,
    /// How many times as long its jobs may take.
    pub max_latency: Option<f64>,
    /// Milliseconds after which a canary that did well is promoted; 0 never.
    pub promote_after_ms: Option<u64>,
}

/// Who changes something, and on what they saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Author {
    /// Shown in the history.
    pub who: String,
    /// Why, in their words.
    pub why: String,
    /// The generation that they saw: when the handler has another one by now, nothing is done. None takes whatever there
    /// is.
    pub generation: Option<u64>,
}

/// Why something was not done.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct HandlersError {
    /// What kind of answer this is.
    pub fault: HandlersFault,
    /// What went wrong with which handler and version, and what to do.
    pub message: String,
    /// What a program may want to know of it, such as `wider`: the grants that need approval.
    pub details: Map<String, Value>,
}

/// What kind of answer an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandlersFault {
    /// There is no such handler or version.
    NotFound,
    /// Somebody else has changed the handler since it was looked at.
    Conflict,
    /// The version wants more than the active one, and nobody has agreed.
    NeedsApproval,
    /// The version is not believed or cannot run: its signature, its shape, what it imports.
    Refused,
    /// The handler or the version is not in the state that this needs.
    WrongState,
    /// The request makes no sense.
    Invalid,
    /// This host cannot do it, whatever the request: for example its handlers come with the program.
    Unsupported,
    /// The store cannot be reached.
    Unavailable,
    /// Anything else.
    Failed,
}

// === impl Deployment ===

impl std::fmt::Debug for Deployment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { wasm, signature, then, approve } = self;
        f.debug_struct("Deployment")
            .field("bytes", &wasm.len())
            .field("signed", &signature.is_some())
            .field("then", then)
            .field("approve", approve)
            .finish()
    }
}

// === impl Change ===

impl Change {
    /// What is asked for, in as much as the audit keeps.
    #[must_use]
    pub fn asked(&self) -> Value {
        match self {
            Self::Activate { version, approve } => json!({ "version": version, "approve": approve }),
            Self::Canary { version, percent, approve, .. } => {
                json!({ "version": version, "percent": percent, "approve": approve })
            }
            Self::Promote | Self::Rollback | Self::Shadow { of: None } => json!({}),
            Self::Quarantine { version } | Self::Release { version } => json!({ "version": version }),
            Self::Shadow { of: Some((version, percent)) } => {
                json!({ "version": version, "percent": percent })
            }
        }
    }

    /// What it is called in routes, commands and records.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Activate { .. } => "activate",
            Self::Canary { .. } => "canary",
            Self::Promote => "promote",
            Self::Rollback => "rollback",
            Self::Quarantine { .. } => "quarantine",
            Self::Release { .. } => "release",
            Self::Shadow { .. } => "shadow",
        }
    }
}

/// How a handler stands, in as much as the audit keeps.
#[must_use]
pub fn standing(handler: &Value) -> Value {
    let members = ["generation", "active", "previous", "canary"];
    members.iter().map(|name| ((*name).to_owned(), handler[*name].clone())).collect::<Map<_, _>>().into()
}

/// How a handler stands since it was changed, with what was asked for, why, and what was agreed to by that.
#[must_use]
pub fn standing_since(before: Option<&Value>, mut asked: Value, why: &str, after: &Value) -> Value {
    let start = asked["version"].as_str().unwrap_or_default().trim_start_matches("sha256:").to_lowercase();
    let find = |handler: &Value| {
        let is_meant = |version: &&Value| {
            let digest = version["digest"].as_str().unwrap_or_default();
            !start.is_empty() && digest.trim_start_matches("sha256:").starts_with(&start)
        };
        handler["versions"].as_array().into_iter().flatten().find(is_meant).cloned().unwrap_or_default()
    };
    let was_approved = before.is_some_and(|before| find(before)["approvedBy"].is_string());
    let approved = find(after)["approved"].take();
    if !was_approved && approved.as_array().is_some_and(|lines| !lines.is_empty()) {
        asked["approved"] = approved;
    }
    if !why.is_empty() {
        asked["why"] = why.into();
    }
    let mut stands = standing(after);
    stands["asked"] = asked;
    stands
}

// === impl HandlersError ===

impl HandlersError {
    /// Without details.
    #[must_use]
    pub fn new(fault: HandlersFault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), details: Map::new() }
    }

    /// The same with a detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

// === impl HandlersFault ===

impl HandlersFault {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::NotFound,
        Self::Conflict,
        Self::NeedsApproval,
        Self::Refused,
        Self::WrongState,
        Self::Invalid,
        Self::Unsupported,
        Self::Unavailable,
        Self::Failed,
    ];

    /// How problem documents name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::NeedsApproval => "needs-approval",
            Self::Refused => "refused",
            Self::WrongState => "wrong-state",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| fault.as_str() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_by_their_names() {
        for fault in HandlersFault::ALL {
            assert_eq!(HandlersFault::named(fault.as_str()), Some(fault));
        }
        assert_eq!(HandlersFault::named("else"), None);
    }

    #[test]
    fn what_is_agreed_to_is_kept_with_the_request_that_did() {
        let version = |by: Value| json!({ "digest": "sha256:abcd", "approvedBy": by, "approved": ["kv *"] });
        let with = |by: Value| json!({ "generation": 3, "versions": [version(by)] });
        let asked = || Change::Activate { version: "AB".to_owned(), approve: true }.asked();
        let since = standing_since(Some(&with(Value::Null)), asked(), "seen it", &with("ann".into()));
        let kept = json!({ "version": "AB", "approve": true, "approved": ["kv *"], "why": "seen it" });
        assert_eq!((&since["asked"], &since["generation"]), (&kept, &json!(3)));
        let since = standing_since(Some(&with("ann".into())), asked(), "", &with("ann".into()));
        assert_eq!(since["asked"], json!({ "version": "AB", "approve": true }), "that was another request");
    }

    #[test]
    fn a_deployment_shows_no_bytes() {
        let deployment = Deployment {
            wasm: Bytes::from_static(b"secret code"),
            signature: Some("ed25519".to_owned()),
            then: Then::Canary { percent: 5 },
            approve: false,
        };
        let shown = format!("{deployment:?}");
        assert!(
            shown.contains("bytes: 11") && !shown.contains("secret") && !shown.contains("ed25519"),
            "{shown}"
        );
    }
}
