//! Who did what: every change that somebody made through the API, the dashboard or the command line, kept with the
//! fleet's documents and listed at `GET /api/v1/audit`.
//!
//! Reads are not kept, nor are jobs that are added: those are the traffic itself, and would push everything else out of
//! a log that keeps [`KEEP`] entries. An entry never holds payloads, tokens or secrets; what is put into it is bounded
//! here, and goes through the configured redaction.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jobcell_core::documents::Log;
use jobcell_core::schedule::{Rule, Timetable};
use jobcell_core::store::SchedulerSpec;
use jobcell_core::{Clock, Documents, Millis, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use utoipa::ToSchema;

use crate::api::Role;
use crate::metrics::Metrics;
use crate::redact::Redaction;

/// Entries that are kept: weeks of a team's work.
pub(crate) const KEEP: u32 = 10_000;
/// How long keeping an entry may hold up the answer to what was done.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries within that.
const AGAIN: Duration = Duration::from_millis(100);
/// Characters of a text in an entry at most.
const TEXT_CHARS_MAX: usize = 300;
/// Bytes of `before` and `after` at most, each: a state, not a document.
const STATE_BYTES_MAX: usize = 4096;

/// How somebody did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The HTTP API.
    Api,
    /// The dashboard.
    Dashboard,
    /// The command line, on the store itself.
    Cli,
    /// A signal to the host.
    Signal,
    /// Something that only a newer version knows.
    #[serde(other)]
    Unknown,
}

/// What somebody did, or was refused.
#[derive(Debug, Clone)]
pub struct Act {
    /// The token's name, `local`, the user of a command line as `cli:USER@MACHINE`, or `signal`.
    pub who: String,
    /// What they may do.
    pub role: Role,
    /// How.
    pub via: Via,
    /// What, in a few fixed words: `queue pause`, `handler deploy`, `POST /api/v1/queues/{queue}/pause`.
    pub action: String,
    /// To what: a path, a handler, a host.
    pub target: String,
    /// How it was before, where that says something. Never payloads.
    pub before: Option<Value>,
    /// How it is now.
    pub after: Option<Value>,
    /// `done`, or why not.
    pub outcome: String,
    /// The request, as it is in the logs and was answered.
    pub request_id: Option<String>,
}

/// An entry as it is kept and listed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditEntry {
    /// When, in milliseconds since 1970.
    pub at: Millis,
    /// The token's name, `local`, the user of a command line as `cli:USER@MACHINE`, or `signal`.
    pub who: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// How it was done.
    #[schema(value_type = Option<Via>)]
    pub via: Option<Via>,
    /// What.
    pub action: String,
    /// To what.
    pub target: String,
    /// How it was before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub before: Option<Value>,
    /// How it was afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    pub after: Option<Value>,
    /// `done`, or why not.
    pub outcome: String,
    /// The request, as it is in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Keeps what was done, and lists it.
pub struct Audit {
    documents: Arc<dyn Documents>,
    clock: Arc<dyn Clock>,
    redaction: Arc<Redaction>,
    metrics: Arc<Metrics>,
}

// === impl Act ===

impl Act {
    /// Something that was done. `before` and `after` are set by struct update.
    #[must_use]
    pub fn done(who: &str, role: Role, via: Via, action: &str, target: &str) -> Self {
        Self {
            who: who.to_owned(),
            role,
            via,
            action: action.to_owned(),
            target: target.to_owned(),
            before: None,
            after: None,
            outcome: "done".to_owned(),
            request_id: None,
        }
    }
}

// === impl Audit ===

impl Audit {
    /// Keeps entries with these documents. What cannot be kept is logged, and counted as
    /// `jobcell_audit_lost_total`.
    #[must_use]
    pub fn new(
        documents: Arc<dyn Documents>,
        clock: Arc<dyn Clock>,
        redaction: Arc<Redaction>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { documents, clock, redaction, metrics }
    }

    /// Keeps an entry. Never fails and takes 2 s at most: what was done was done, whether it can be written down or
    /// not. The host's log has it in any case, under the target `jobcell::audit`.
    ///
    /// Cancel safety: a dropped future may have kept the entry.
    pub async fn record(&self, act: Act) {
        let entry = self.entry(act);
        // As texts: the log quotes and escapes them in its own way, so whoever chooses a path or a name cannot write
        // lines or fields into it, and JSON has them as they are. `target` is what the log calls its own part.
        tracing::info!(
            target: "jobcell::audit",
            who = entry.who.as_str(),
            role = entry.role,
            action = entry.action.as_str(),
            on = entry.target.as_str(),
            outcome = entry.outcome.as_str(),
            request_id = entry.request_id,
            "audit"
        );
        // Texts and numbers: it can be written.
        let content = serde_json::to_vec(&entry).unwrap_or_default();
        let content = Bytes::from(content);
        let mut fault = None;
        let keep = async {
            loop {
                match self.documents.append(&Log::Audit, content.clone(), KEEP).await {
                    Ok(_) => return true,
                    // Rather twice than not at all, should it have been kept.
                    Err(error) if error.is_transient() => {
                        fault = Some(error.to_string());
                        sleep(AGAIN).await;
                    }
                    Err(error) => {
                        fault = Some(error.to_string());
                        return false;
                    }
                }
            }
        };
        if let Ok(true) = timeout(PATIENCE, keep).await {
            return;
        }
        let silent = || format!("the store did not answer within {} s", PATIENCE.as_secs());
        let fault = fault.unwrap_or_else(silent);
        self.metrics.audit_lost();
        tracing::error!(
            fault,
            action = entry.action.as_str(),
            "this is only in the log: the audit could not keep it"
        );
    }

    /// At most `limit` entries, newest first, older than entry `before` where that is given; each with its number. One
    /// that cannot be read is listed as far as it goes.
    ///
    /// # Errors
    /// When the store does not answer. Cancel safe.
    pub async fn entries(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<(u64, AuditEntry)>, StoreError> {
        let entries = self.documents.entries(&Log::Audit, before, limit).await?;
        let read = |content: &[u8]| {
            serde_json::from_slice(content).unwrap_or_else(|_| AuditEntry {
                outcome: "this entry cannot be read".to_owned(),
                ..AuditEntry::default()
            })
        };
        Ok(entries.into_iter().map(|entry| (entry.number, read(&entry.content))).collect())
    }

    fn entry(&self, act: Act) -> AuditEntry {
        let Act { who, role, via, action, target, before, after, outcome, request_id } = act;
        let state = |state: Option<Value>| {
            state.map(|mut state| {
                self.redaction.apply(&mut state);
                let bytes = state.to_string().len();
                if bytes <= STATE_BYTES_MAX { state } else { Value::from(format!("({bytes} bytes)")) }
            })
        };
        AuditEntry {
            at: self.clock.now(),
            who: short(who),
            role: role.as_str().to_owned(),
            via: Some(via),
            action: short(action),
            target: short(target),
            before: state(before),
            after: state(after),
            outcome: short(outcome),
            request_id: request_id.map(short),
        }
    }
}

/// What a scheduler does, for `before` and `after`: its rule, never its payload.
#[must_use]
pub fn rule_of(spec: &SchedulerSpec) -> Value {
    let SchedulerSpec { name, timetable: Timetable { rule, start, end, limit }, .. } = spec;
    let mut told = match rule {
        Rule::Every { every, offset } => json!({"name": name, "every": every, "offset": offset}),
        Rule::Cron { pattern, tz, .. } => json!({"name": name, "pattern": pattern, "tz": tz}),
    };
    for (bound, value) in [("startDate", start), ("endDate", end), ("limit", limit)] {
        if let Some(value) = value {
            told[bound] = json!(value);
        }
    }
    told
}

fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use jobcell_core::clock::ManualClock;
    use jobcell_core::documents::MemoryDocuments;

    fn audit(documents: Arc<dyn Documents>, metrics: &Arc<Metrics>) -> Audit {
        let redaction = Redaction::new(["data.card"]).unwrap();
        Audit::new(documents, Arc::new(ManualClock::new(7)), Arc::new(redaction), Arc::clone(metrics))
    }

    #[tokio::test]
    async fn what_was_done_is_kept_bounded_redacted_and_listed_newest_first() {
        let metrics = Arc::new(Metrics::new());
        let audit = audit(Arc::new(MemoryDocuments::default()), &metrics);
        let act = |target: &str| Act::done("ops", Role::Operator, Via::Api, "queue pause", target);
        audit.record(act("mail")).await;
        let state = json!({"paused": true, "data": {"card": "4242"}});
        let long = "x".repeat(10_000);
        audit.record(Act { before: Some(json!(long)), after: Some(state), ..act(&long) }).await;
        let listed = audit.entries(None, 10).await.unwrap();
        assert_eq!(listed.len(), 2);
        let (number, newest) = &listed[0];
        assert_eq!((newest.at, newest.who.as_str(), newest.role.as_str()), (7, "ops", "operator"));
        assert!(newest.target.chars().count() == TEXT_CHARS_MAX + 1, "{}", newest.target.len());
        assert_eq!(newest.before, Some(json!("(10002 bytes)")));
        assert_eq!(newest.after.as_ref().unwrap()["data"]["card"], "[redacted]");
        let older = audit.entries(Some(*number), 10).await.unwrap();
        assert!(older.len() == 1 && older[0].1.target == "mail" && older[0].1.outcome == "done");
    }

    #[tokio::test]
    async fn an_entry_that_cannot_be_read_is_listed_as_such() {
        let documents = Arc::new(MemoryDocuments::default());
        documents.append(&Log::Audit, "?".into(), KEEP).await.unwrap();
        documents.append(&Log::Audit, r#"{"via":"mail","who":"x","new":1}"#.into(), KEEP).await.unwrap();
        let audit = audit(documents, &Arc::new(Metrics::new()));
        let listed = audit.entries(None, 10).await.unwrap();
        assert_eq!((listed[0].1.via, listed[0].1.who.as_str()), (Some(Via::Unknown), "x"));
        assert!(listed[1].1.outcome.contains("cannot be read"));
    }
}
