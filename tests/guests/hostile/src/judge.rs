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
    /// The guest did not come to its attack, and why: nothing was shown of the host.
    NotReached(Vec<String>),
    /// It did not hold, and in what.
    Failed(Vec<String>),
}

/// What is found of one bout.
#[derive(Default)]
pub(crate) struct Findings {
    /// In what the host did not hold.
    pub(crate) faults: Vec<String>,
    /// Why an attack was not reached.
    pub(crate) unreached: Vec<String>,
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

    /// Judges whether a host that holds may bring this guest to this end.
    pub(crate) fn judge(&self, guest: &Guest, profile: &Profile, reason: &str, findings: &mut Findings) {
        let lacking: Vec<&str> = guest.needs.iter().copied().filter(|need| !profile.grants(need)).collect();
        let unreached = match self {
            Self::Refused { for_want_of_a_grant: true } if !lacking.is_empty() => {
                Some(format!("its attack needs what is not granted: {}", lacking.join(", ")))
            }
            end if guest.ends.contains(&end.label()) => return,
            Self::Stopped(cause) if is_too_tight(&profile.limits, *cause) => {
                Some(format!("a limit ended it before its attack: {reason}"))
            }
            // What it imports may be allowed, and every use refused.
            Self::Completed | Self::Failed | Self::Stopped(_) if !lacking.is_empty() => {
                Some(format!("its attack needs what is refused: {}", lacking.join(", ")))
            }
            // Whose bound is above what it asks for gets what it asks for, or comes to another bound first.
            Self::Completed | Self::Failed | Self::Stopped(_) => {
                let raised = raised(&profile.limits);
                (!raised.is_empty()).then(|| format!("it does not ask for as much as {}", raised.join(", ")))
            }
            Self::Refused { .. } | Self::GivenBack => None,
        };
        match unreached {
            Some(why) => findings.unreached(why),
            None => findings.fault(unexpected(self, guest, reason)),
        }
    }
}

impl Findings {
    pub(crate) fn fault(&mut self, fault: String) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    fn unreached(&mut self, why: String) {
        if !self.unreached.contains(&why) {
            self.unreached.push(why);
        }
    }

    /// A fault outweighs an attack that was not reached.
    pub(crate) fn verdict(self) -> Verdict {
        let Self { faults, unreached } = self;
        match (faults.is_empty(), unreached.is_empty()) {
            (false, _) => Verdict::Failed(faults),
            (true, false) => Verdict::NotReached(unreached),
            (true, true) => Verdict::Held,
        }
    }
}

/// Limits above those that the guests were made for, as a handler's are written.
fn raised(limits: &Limits) -> Vec<&'static str> {
    const MIB: u64 = 1 << 20;
    let made_for = Limits::default();
    let size = |bytes: usize| bytes as u64;
    let all: [(&'static str, u64, u64); 18] = [
        ("limits.memory", size(limits.memory), 256 * MIB),
        ("limits.table-elements", size(limits.table_elements), size(made_for.table_elements)),
        ("limits.result", size(limits.result), 32 * MIB),
        ("limits.payload", size(limits.payload), 16 * MIB),
        ("limits.progress", size(limits.progress), size(made_for.progress)),
        ("limits.log.bytes", size(limits.log.bytes), size(made_for.log.bytes)),
        ("limits.log.lines", size(limits.log.lines), size(made_for.log.lines)),
        ("limits.host-call", size(limits.host_call), 64 * MIB),
        ("limits.handles", size(limits.handles), size(made_for.handles)),
        ("limits.resources", size(limits.resources), size(made_for.resources)),
        ("limits.random", limits.random, made_for.random),
        ("limits.enqueued", limits.enqueued.into(), 2000),
        ("limits.depth", limits.depth.into(), made_for.depth.into()),
        ("limits.published", limits.published.into(), made_for.published.into()),
        ("limits.message", size(limits.message), size(made_for.message)),
        ("limits.cache-value", size(limits.cache_value), size(made_for.cache_value)),
        ("limits.cache-keys", limits.cache_keys.into(), made_for.cache_keys.into()),
        ("limits.http.requests", limits.http.requests.into(), made_for.http.requests.into()),
    ];
    all.into_iter().filter(|(_, has, made_for)| has > made_for).map(|(name, ..)| name).collect()
}

/// Whether a limit is below what the guests need to get to their attack.
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
fn unexpected(end: &End, guest: &Guest, reason: &str) -> String {
    let mut reason = reason.to_owned();
    reason.truncate(reason.floor_char_boundary(300));
    format!("it ended as {end:?} ({reason}), and may end as {}", guest.ends.join(" or "))
}

/// How late an end may be.
pub(crate) fn faults_of_time(late: Option<Duration>, grace: Duration) -> Vec<String> {
    let is_late = late.filter(|late| *late > grace);
    is_late.map(|late| format!("it ended {late:.0?} after its deadline")).into_iter().collect()
}
