//! Whether the host held: what came of a bout, against what may come of it.

use std::fmt;
use std::time::Duration;

use jobcell_core::attempt::Recorded;
use jobcell_core::{Outcome, StopCause, Stopped};
use jobcell_wasm::{AdmitError, Limits};
use serde::Serialize;

use crate::guest::{Guest, Holds};
use crate::profile::Profile;
use crate::services::SECRET;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// At admission.
    Refused {
        /// Only because of a grant that it lacks.
        for_want_of_a_grant: bool,
    },
    /// With a result.
    Completed,
    /// By its own word.
    Failed,
    /// Given back without having run to an end.
    GivenBack,
    /// By the host.
    Stopped(StopCause),
}

/// What came of a bout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "faults")]
pub enum Verdict {
    /// The host held.
    Held,
    /// It did not, and in what.
    Failed(Vec<String>),
}

/// What one attempt left.
pub(crate) struct Left {
    pub(crate) outcome: Outcome,
    pub(crate) recorded: Recorded,
    pub(crate) memory_peak: u64,
}

/// What the rest of the host saw of a bout.
#[derive(Default)]
pub(crate) struct Seen {
    /// Requests to the open receiver, and connections to the one that is shut.
    pub(crate) reached: (u32, u32),
    pub(crate) keys: Vec<String>,
    pub(crate) denied_labels: usize,
    /// Jobs by queue.
    pub(crate) queued: Vec<(String, u64)>,
    /// Neighbours that ended in another way than completed.
    pub(crate) neighbours: Vec<String>,
    /// Cells that were still alive afterwards.
    pub(crate) cells_left: usize,
}

impl End {
    pub(crate) fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Complete(_) => Self::Completed,
            Outcome::Stopped(stopped) => Self::Stopped(stopped.cause),
            Outcome::Requeue => Self::GivenBack,
            _ => Self::Failed,
        }
    }

    pub(crate) fn refused(error: &AdmitError) -> Self {
        Self::Refused { for_want_of_a_grant: matches!(error, AdmitError::NotGranted { .. }) }
    }

    /// The word that [`Guest::ends`] has for it.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Refused { .. } => "refused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::GivenBack => "requeued",
            Self::Stopped(cause) => cause.as_str(),
        }
    }

    /// Whether a host that holds may bring this guest to this end.
    pub(crate) fn is_expected(&self, guest: &Guest, profile: &Profile) -> bool {
        let lacks = guest.needs.iter().any(|need| !profile.grants(need));
        match self {
            Self::Refused { for_want_of_a_grant: true } => lacks,
            Self::Stopped(cause) if is_too_tight(&profile.limits, *cause) => true,
            end => guest.ends.contains(&end.label()),
        }
    }
}

/// Whether a limit is below what the guests need to get to their attack: then it may end any of them, and has held.
fn is_too_tight(limits: &Limits, cause: StopCause) -> bool {
    let short = Duration::from_millis(100);
    match cause {
        StopCause::Memory => limits.memory < 2 << 20 || limits.table_elements < 4000,
        StopCause::Deadline => limits.deadline < short,
        StopCause::Cpu => limits.cpu < short,
        StopCause::HostCall => limits.host_call < 1 << 20,
        StopCause::Resources => {
            let Limits { handles, resources, instances, memories, tables, .. } = *limits;
            handles < 2048 || resources < 2048 || instances < 8 || memories < 4 || tables < 4
        }
        StopCause::Result => limits.result < 64 << 10,
        StopCause::Payload => limits.payload < 64 << 10,
        StopCause::Stack
        | StopCause::Panic
        | StopCause::Trap
        | StopCause::Abi
        | StopCause::Cancelled
        | StopCause::Shutdown
        | StopCause::LockLost
        | StopCause::Host => false,
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl Verdict {
    /// Whether the host held.
    #[must_use]
    pub fn held(&self) -> bool {
        *self == Self::Held
    }

    pub(crate) fn of(faults: Vec<String>) -> Self {
        if faults.is_empty() { Self::Held } else { Self::Failed(faults) }
    }
}

/// Why an attempt ended, for a person.
pub(crate) fn reason(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Stopped(Stopped { reason, .. }) | Outcome::Retry { reason, .. } => reason.clone(),
        Outcome::Fatal(reason) | Outcome::Invalid(reason) => reason.clone(),
        other => other.label().to_owned(),
    }
}

/// Bytes that a reason may have, whoever gave it: it lives in the store and is shown to people.
const REASON_BYTES: usize = 64 * 1024;
/// Bytes of all frames of a backtrace.
const BACKTRACE_BYTES: usize = 64 * 1024;
/// What the line that tells of the log's cut adds to it.
const LOG_NOTE_BYTES: usize = 256;

/// What must not have come of one attempt, whatever the guest is.
pub(crate) fn faults_of_attempt(left: &Left, profile: &Profile) -> Vec<String> {
    let mut faults = Vec::new();
    let mut over = |what: &str, size: usize, limit: usize| {
        if size > limit {
            faults.push(format!("{what} of {size} bytes got out, over the limit of {limit}"));
        }
    };
    let Left { outcome, recorded: Recorded { logs, progress, data }, memory_peak } = left;
    let limits = &profile.limits;
    let (reason, frames) = (reason(outcome), frames(outcome));
    let frame_bytes = frames.iter().map(String::len).sum();
    // A failure that the guest words itself is cut where it is stored.
    if matches!(outcome, Outcome::Stopped(_)) {
        over("a reason", reason.len(), REASON_BYTES);
    }
    over("a backtrace", frame_bytes, BACKTRACE_BYTES);
    over("a log", logs.iter().map(String::len).sum(), limits.log.bytes + LOG_NOTE_BYTES);
    over("progress", progress.as_ref().map_or(0, |json| json.len()), limits.progress);
    over("a payload", data.as_ref().map_or(0, |data| data.len()), limits.payload);
    over("memory", usize::try_from(*memory_peak).unwrap_or(usize::MAX), limits.memory);
    let result = if let Outcome::Complete(result) = outcome { &result[..] } else { &[] };
    over("a result", result.len(), limits.result);
    if logs.len() > limits.log.lines + 1 {
        faults.push(format!("{} lines of log got out, over the limit of {}", logs.len(), limits.log.lines));
    }
    let is_plain = |text: &str| text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t');
    if logs.iter().any(|line| line.contains('\n') || !is_plain(line)) {
        faults.push("control characters got into the log".to_owned());
    }
    // A failure that the guest words itself is its own text, which whoever shows it has to escape.
    if matches!(outcome, Outcome::Stopped(_)) && !is_plain(&reason) {
        faults.push("control characters got into the host's own reason".to_owned());
    }
    if frames.iter().any(|frame| frame.contains('\n') || !is_plain(frame)) {
        faults.push("control characters got into the backtrace".to_owned());
    }
    let texts = logs.iter().chain(frames).chain([&reason]);
    if texts.into_iter().any(|text| text.contains(SECRET)) || has(result, SECRET.as_bytes()) {
        faults.push("a secret got out".to_owned());
    }
    if matches!(outcome, Outcome::Stopped(Stopped { cause: StopCause::Host, .. })) {
        faults.push(format!("the host itself failed: {reason}"));
    }
    faults
}

fn frames(outcome: &Outcome) -> &[String] {
    if let Outcome::Stopped(stopped) = outcome { &stopped.backtrace } else { &[] }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// What must not have happened around the guest.
pub(crate) fn faults_around(seen: &Seen, guest: &Guest, profile: &Profile) -> Vec<String> {
    let mut faults = Vec::new();
    let (open, shut) = seen.reached;
    if shut > 0 {
        faults.push(format!("it reached an address that was not granted, {shut} times"));
    }
    if let Holds::OpenAtMost(most) = guest.holds
        && open > most
    {
        faults.push(format!("the granted peer got {open} requests, and may get {most} at most"));
    }
    if guest.holds == Holds::Keys {
        // The tenant is empty, then the handler's name.
        let start = format!(":{}:", profile.name);
        let strays = seen.keys.iter().filter(|key| !key.starts_with(&start));
        faults.extend(strays.map(|key| format!("key {key:?} is outside of the handler's own")));
    }
    let granted =
        |queue: &str| profile.grants.enqueue.iter().any(|name| name == queue || name.ends_with('*'));
    for (queue, jobs) in &seen.queued {
        if !granted(queue) {
            faults.push(format!("{jobs} jobs got on queue {queue:?}, which was not granted"));
        }
        let most = u64::from(profile.limits.enqueued) * u64::from(guest.at_once);
        if *jobs > most {
            faults.push(format!("{jobs} jobs were enqueued, over the limit of {most}"));
        }
    }
    // One for each capability there is.
    if seen.denied_labels > 16 {
        faults.push(format!("refusals were told under {} names", seen.denied_labels));
    }
    for neighbour in &seen.neighbours {
        faults.push(format!("a well-behaved neighbour did not complete: {neighbour}"));
    }
    if seen.cells_left > 0 {
        faults.push(format!("{} cells were still alive afterwards", seen.cells_left));
    }
    faults
}

/// What is said of an end that was not to be.
pub(crate) fn unexpected(end: &End, guest: &Guest, reason: &str) -> String {
    let mut reason = reason.to_owned();
    reason.truncate((0..=300).rev().find(|at| reason.is_char_boundary(*at)).unwrap_or(0));
    format!("it ended as {end:?} ({reason}), and may end as {}", guest.ends.join(" or "))
}

/// How late an end may be.
pub(crate) fn faults_of_time(late: Option<Duration>, grace: Duration) -> Vec<String> {
    let is_late = late.filter(|late| *late > grace);
    is_late.map(|late| format!("it ended {late:.0?} after its deadline")).into_iter().collect()
}
