//! One version of a handler and the states it goes through.
//!
//! ```text
//!  deploy      admit         activate                superseded, undone     drained
//! ───────▶ staged ──▶ admitted ──▶ active ◀──promote── canary      ──▶ draining ──▶ retired
//!             │                       ▲                                   │            │
//!             ▼ refuse                └───────────── activate, restore ───┴────────────┘
//!          refused                     any but refused ──quarantine──▶ quarantined ──release──▶ staged
//! ```
//!
//! [`TRANSITIONS`] is the whole of it; what is not in there does not happen.

use jobcell_core::Millis;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::trust::{KeyId, Signature};
use crate::wants::Wants;

/// Bytes of a reason that are kept at most: a few sentences, with the lines that mend it. Fifty of them are in a
/// handler's document.
const WHY_BYTES_MAX: usize = 600;
/// Bytes of a word that is left out rather than cut.
const WORD_BYTES_MAX: usize = 40;
/// Bytes of a name of who did something that are kept at most.
const WHO_BYTES_MAX: usize = 128;

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Kept; no host has said yet that it can run it.
    Staged,
    /// A host has admitted, compiled and linked it.
    Admitted,
    /// It takes jobs.
    Active,
    /// It takes a share of the jobs, until it is promoted or rolled back.
    Canary,
    /// It takes no new jobs; those it runs end on it.
    Draining,
    /// It runs nothing. It can be made active again.
    Retired,
    /// No host can run it.
    Refused,
    /// It broke jobs; nothing makes it active until it is released.
    Quarantined,
}

/// What happens to a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// Its bytes were handed in again after it was refused.
    Deploy,
    /// A host can run it.
    Admit,
    /// No host can run it.
    Refuse,
    /// It is to take all jobs.
    Activate,
    /// It is to take a share of the jobs.
    Begin,
    /// Another version takes its place.
    Supersede,
    /// It is taken back: the version before it takes its jobs again.
    Undo,
    /// Its last job has ended.
    Drain,
    /// It broke jobs.
    Quarantine,
    /// What it was quarantined for is mended, or was not its fault.
    Release,
}

/// Every transition there is: in this state, upon this event, into that state.
pub const TRANSITIONS: [(State, Event, State); 29] = {
    use Event::{Activate, Admit, Begin, Deploy, Drain, Quarantine, Refuse, Release, Supersede, Undo};
    use State::{Active, Admitted, Canary, Draining, Quarantined, Refused, Retired, Staged};
    [
        (Staged, Admit, Admitted),
        (Staged, Refuse, Refused),
        (Staged, Activate, Active),
        (Staged, Begin, Canary),
        (Staged, Quarantine, Quarantined),
        (Admitted, Activate, Active),
        (Admitted, Begin, Canary),
        (Admitted, Quarantine, Quarantined),
        // A refusal of what takes or took jobs happens only before any host has admitted it.
        (Active, Refuse, Refused),
        (Active, Supersede, Draining),
        (Active, Undo, Draining),
        (Active, Quarantine, Quarantined),
        (Canary, Refuse, Refused),
        (Canary, Activate, Active),
        // With another share or other rules.
        (Canary, Begin, Canary),
        (Canary, Supersede, Draining),
        (Canary, Undo, Draining),
        (Canary, Quarantine, Quarantined),
        (Draining, Activate, Active),
        (Draining, Begin, Canary),
        (Draining, Drain, Retired),
        (Draining, Refuse, Refused),
        (Draining, Quarantine, Quarantined),
        (Retired, Activate, Active),
        (Retired, Begin, Canary),
        (Retired, Refuse, Refused),
        (Retired, Quarantine, Quarantined),
        (Refused, Deploy, Staged),
        (Quarantined, Release, Staged),
    ]
};

/// One version of a handler, as the fleet knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// Its name.
    pub digest: Digest,
    /// Bytes of the artifact.
    pub size: u64,
    /// What it says of itself. Its wants are in `wants`.
    pub manifest: Manifest,
    /// What it wants to touch: what its manifest says, or everything that it imports.
    pub wants: Wants,
    /// The signature it came with; every host checks it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// Whose signature that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_by: Option<KeyId>,
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub at: Millis,
    /// Who brought it there.
    pub by: String,
    /// Why.
    pub why: String,
    /// When it was deployed.
    pub deployed_at: Millis,
    /// Who deployed it.
    pub deployed_by: String,
    /// When the first host admitted it; none before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<Millis>,
    /// Who accepted that it wants more than the version that was active then; none where nobody had to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// That version; none where none was active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_over: Option<Digest>,
    /// The version that was active when this one became active: where a rollback leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<Digest>,
}

/// One step of one version: an entry of its handler's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// When.
    pub at: Millis,
    /// Who.
    pub by: String,
    /// Which version.
    pub digest: Digest,
    /// The state before; none of a version that was not known.
    pub from: Option<State>,
    /// The state since.
    pub to: State,
    /// Why.
    pub why: String,
}

// === impl State ===

impl State {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Staged,
        Self::Admitted,
        Self::Active,
        Self::Canary,
        Self::Draining,
        Self::Retired,
        Self::Refused,
        Self::Quarantined,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Admitted => "admitted",
            Self::Active => "active",
            Self::Canary => "canary",
            Self::Draining => "draining",
            Self::Retired => "retired",
            Self::Refused => "refused",
            Self::Quarantined => "quarantined",
        }
    }

    /// The state after this event; none where the event cannot happen.
    #[must_use]
    pub fn after(self, event: Event) -> Option<Self> {
        TRANSITIONS.iter().find(|(from, upon, _)| (*from, *upon) == (self, event)).map(|(_, _, to)| *to)
    }

    /// Whether a version in this state can take the jobs again.
    #[must_use]
    pub fn is_restorable(self) -> bool {
        self.after(Event::Activate).is_some()
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl Version ===

impl Version {
    /// `media 1.2.0 (0123456789ab)`: how people are told of it.
    #[must_use]
    pub fn label(&self) -> String {
        let Manifest { name, version, .. } = &self.manifest;
        match version {
            Some(version) => format!("{name} {version} ({})", self.digest.short()),
            None => format!("{name} ({})", self.digest.short()),
        }
    }

    /// Takes the step, and says so. None where the event cannot happen in this state.
    pub(crate) fn step(&mut self, event: Event, who: &str, now: Millis, why: &str) -> Option<Change> {
        let (from, to) = (self.state, self.state.after(event)?);
        self.state = to;
        self.at = now;
        self.by = kept_who(who);
        self.why = kept_why(why);
        Some(Change {
            at: now,
            by: self.by.clone(),
            digest: self.digest,
            from: Some(from),
            to,
            why: self.why.clone(),
        })
    }
}

/// A reason as it is kept: one line, and no longer than a document has room for.
pub(crate) fn kept_why(why: &str) -> String {
    kept(why, WHY_BYTES_MAX)
}

/// A name as it is kept.
pub(crate) fn kept_who(who: &str) -> String {
    kept(who, WHO_BYTES_MAX)
}

/// One line; where it is too long it is cut, behind a whole word where one ends nearby.
fn kept(text: &str, bytes_max: usize) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text = text.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    let mut kept = String::with_capacity(text.len().min(bytes_max));
    for c in text.chars().map(plain) {
        if kept.len() + c.len_utf8() > bytes_max - '…'.len_utf8() {
            let word = kept.rfind(' ').filter(|word| kept.len() - word <= WORD_BYTES_MAX);
            kept.truncate(word.unwrap_or(kept.len()));
            kept.push('…');
            break;
        }
        kept.push(c);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_transition_is_listed_once_and_every_state_can_be_reached() {
        let steps: HashSet<_> = TRANSITIONS.iter().map(|(from, event, _)| (from, event)).collect();
        assert_eq!(steps.len(), TRANSITIONS.len(), "one event leads to one state");
        let mut reached = HashSet::from([State::Staged]);
        for _ in State::ALL {
            let further: Vec<State> =
                TRANSITIONS.iter().filter(|(from, ..)| reached.contains(from)).map(|(.., to)| *to).collect();
            reached.extend(further);
        }
        assert_eq!(reached.len(), State::ALL.len());
    }

    #[test]
    fn what_is_refused_or_quarantined_never_takes_jobs_by_itself() {
        for state in [State::Refused, State::Quarantined] {
            assert!(!state.is_restorable());
            assert_eq!(state.after(Event::Begin), None);
        }
        assert_eq!(State::Quarantined.after(Event::Deploy), None, "deploying it anew is no way around");
    }

    #[test]
    fn the_words_are_those_of_the_documents() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn what_is_kept_of_a_text_is_one_line_and_bounded() {
        assert_eq!(kept_why(" a\nb\u{7} "), "a b");
        let long = kept_why(&"é".repeat(10_000));
        assert!(long.len() <= WHY_BYTES_MAX && long.ends_with('…'), "{}", long.len());
        let words = kept_why(&"some words ".repeat(1_000));
        let one = kept_why(&format!("refused: {}", "x".repeat(10_000)));
        assert!(one.ends_with("xxx…"), "what says why is not left out: {one}");
        assert!(words.ends_with("words…") || words.ends_with("some…"), "{words}");
    }
}
