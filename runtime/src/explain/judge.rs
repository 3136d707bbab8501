//! From what is known of a queue to why its jobs do not run. Pure.

use std::time::Duration;

use jobcell_core::JobState;
use jobcell_core::store::{Elsewhere, RateLimit, Stray, StrayPlace};

use super::facts::{Facts, waiting};
use jobcell_server::{Explanation, Reason};

/// How much alike names are that somebody may have mixed up.
const LIKE_MIN: f64 = 0.85;
/// The reasons that [`beside`] finds.
const BESIDE: [&str; 8] = [
    "wrong-type",
    "other-prefix",
    "other-database",
    "plain-list",
    "bullmq-queue",
    "mixed-versions",
    "parked",
    "not-all-seen",
];
/// Names that a sentence lists.
const SHOWN_MAX: usize = 5;

/// Why jobs of this queue do not run, what matters most first.
pub(super) fn judge(facts: &Facts) -> Explanation {
    let reasons = [nobody, limits, hosts, delays, names, families, beside];
    Explanation {
        queue: facts.queue.clone(),
        waiting: waiting(&facts.counts),
        active: facts.counts.get(JobState::Active),
        hosts: facts.hosts.iter().map(|host| host.id.clone()).collect(),
        workers: facts.workers,
        reasons: reasons.into_iter().flat_map(|rule| rule(facts)).collect(),
    }
}

fn wrong(code: &'static str, message: impl Into<String>) -> Reason {
    Reason { code: code.to_owned(), wrong: true, message: message.into() }
}

fn asked(code: &'static str, message: impl Into<String>) -> Reason {
    Reason { code: code.to_owned(), wrong: false, message: message.into() }
}

/// Nobody works the queue.
fn nobody(facts: &Facts) -> Vec<Reason> {
    let Facts { queue, hosts, workers, idle_hosts, known, handlers, is_list, .. } = facts;
    if !hosts.is_empty() || workers.is_some_and(|n| n > 0) {
        return Vec::new();
    }
    if let Some(like) = like(queue, known.iter().map(String::as_str)).filter(|_| handlers.is_none()) {
        return vec![wrong(
            "similar-name",
            format!(
                "nobody works a queue {queue:?}; did you mean {like:?}? Correct the name in the producer (new Queue({like:?})) or \
                 in [queues.{like}]"
            ),
        )];
    }
    // Without jobs nobody is missed, and who cannot be seen may well be there.
    if waiting(&facts.counts) == 0 || idle_hosts.is_none() {
        return Vec::new();
    }
    let fix = match (handlers, idle_hosts.unwrap_or(0)) {
        (None, _) => format!("add [queues.{queue}] with its handler to the configuration of a host"),
        (Some(_), 0) => "start a host (jobcell run)".to_owned(),
        (Some(_), 1) => {
            "the one host that lives has other queues: start it with this configuration, or without --queue"
                .to_owned()
        }
        (Some(_), n) => {
            format!(
                "the {n} hosts that live have other queues: start one with this configuration, or without --queue"
            )
        }
    };
    let others = if *is_list { "" } else { " and no BullMQ worker waits on it" };
    vec![wrong("no-worker", format!("no host works it{others}; {fix}"))]
}

/// What somebody asked for.
fn limits(facts: &Facts) -> Vec<Reason> {
    let Facts { queue, limits, counts, .. } = facts;
    let (jobs, active) = (waiting(counts), counts.get(JobState::Active));
    if jobs == 0 {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    if limits.paused {
        reasons.push(wrong("paused", format!("it is paused, on every host; jobcell queue resume {queue}")));
    }
    if let Some(rest) = limits.rests_for {
        let left = span(rest);
        reasons.push(match limits.rate {
            Some(RateLimit { max, per }) => asked(
                "rate-limited",
                format!(
                    "its rate of {max} starts in {} is used up for another {left}; it goes on by itself, or raise it: jobcell \
                     queue rate {queue} MAX/PER",
                    span(per)
                ),
            ),
            None => asked(
                "resting",
                format!(
                    "it rests for another {left}, as a handler or somebody asked; it goes on by itself, or at once by jobcell \
                     queue rate {queue} --rest 0"
                ),
            ),
        });
    }
    if let Some(max) = limits.concurrency.filter(|max| active >= *max) {
        reasons.push(asked(
            "concurrency",
            format!(
                "its global concurrency of {max} is reached: {active} run; it goes on as they end, or raise it: jobcell queue \
                 concurrency {queue} N"
            ),
        ));
    }
    reasons
}

/// Hosts that have it and do not take jobs.
fn hosts(facts: &Facts) -> Vec<Reason> {
    let Facts { queue, hosts, .. } = facts;
    if hosts.is_empty() || waiting(&facts.counts) == 0 {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    let ids = |quiet: bool| {
        let ids = hosts.iter().filter(|host| host.quiet == quiet).map(|host| host.id.as_str());
        ids.collect::<Vec<_>>()
    };
    if ids(false).is_empty() {
        reasons.push(wrong(
            "host-quiet",
            format!(
                "every host that works it is quiet or stopping ({}); jobcell host unquiet HOST, or start another",
                shown(&ids(true))
            ),
        ));
    }
    for host in hosts {
        for (handler, lag) in &host.lags {
            reasons.push(wrong(
                "handler-lags",
                format!("handler {handler:?} does not run as wanted on host {}: {lag}", host.id),
            ));
        }
    }
    let taking: Vec<_> = hosts.iter().filter(|host| !host.quiet).collect();
    let slots: u64 = taking.iter().map(|host| host.concurrency).sum();
    let busy: u64 = taking.iter().map(|host| host.active).sum();
    let full_cells = taking.iter().filter(|host| host.cells_max > 0 && host.cells_active >= host.cells_max);
    if !taking.is_empty() && busy >= slots {
        reasons.push(asked(
            "busy",
            format!("{}; add hosts, or raise concurrency in [queues.{queue}]", taken(slots)),
        ));
    } else if !taking.is_empty() && full_cells.count() == taking.len() {
        reasons.push(asked(
            "busy",
            "all cells of its hosts are taken by other queues; add hosts, or raise cells.max".to_owned(),
        ));
    }
    reasons
}

fn taken(slots: u64) -> String {
    if slots == 1 {
        "the one slot of its hosts is taken".to_owned()
    } else {
        format!("all {slots} slots of its hosts are taken")
    }
}

/// Jobs whose time has not come.
fn delays(facts: &Facts) -> Vec<Reason> {
    let Facts { queue, counts, next_due, .. } = facts;
    let delayed = counts.get(JobState::Delayed);
    let Some((id, due)) = next_due.as_ref().filter(|_| delayed > 0 && delayed == waiting(counts)) else {
        return Vec::new();
    };
    let what = if delayed == 1 {
        "the only job is delayed".to_owned()
    } else {
        format!("all {delayed} jobs are delayed")
    };
    vec![asked(
        "delayed",
        format!(
            "{what}; the first, {id}, is due in about {}; or at once by jobcell queue promote {queue}",
            span(*due)
        ),
    )]
}

/// Jobs that no handler takes.
fn names(facts: &Facts) -> Vec<Reason> {
    let Facts { queue, handlers, names, unhandled, .. } = facts;
    let Some(handlers) = handlers.as_ref().filter(|handlers| !handlers.contains_key("*")) else {
        return Vec::new();
    };
    let known = shown(&handlers.keys().map(|name| format!("{name:?}")).collect::<Vec<_>>());
    let fix = format!(
        "there are handlers for {known}: correct the producer, or add the name or \"*\" to [queues.{queue}] handlers"
    );
    let mut reasons = Vec::new();
    let strange: Vec<String> =
        names.keys().filter(|name| !handlers.contains_key(*name)).map(|name| format!("{name:?}")).collect();
    let jobs: u64 = names.iter().filter(|(name, _)| !handlers.contains_key(*name)).map(|(_, n)| n).sum();
    if jobs > 0 {
        let them = if jobs == 1 {
            "it fails for good once it is taken"
        } else {
            "they fail for good once they are taken"
        };
        reasons.push(wrong(
            "unhandled-name",
            format!(
                "{jobs} of the jobs that run next are named {}, which no handler takes: {them}; {fix}",
                shown(&strange)
            ),
        ));
    }
    if *unhandled > 0 {
        reasons.push(wrong(
            "unhandled-failed",
            format!(
                "{unhandled} of the jobs that failed last had names that no handler takes; {fix}, then jobcell queue retry {queue}"
            ),
        ));
    }
    reasons
}

/// Parents that wait in vain.
fn families(facts: &Facts) -> Vec<Reason> {
    let Facts { queue, orphans, .. } = facts;
    let gone = orphans.iter().find(|orphan| orphan.unworked.is_none()).map(|orphan| {
        let (parent, child) = (&orphan.parent, &orphan.child);
        wrong(
            "missing-child",
            format!(
                "job {parent} waits for its child {child}, which is not there any more: it was removed or evicted; add the flow \
                 again and jobcell job remove {queue} {parent}"
            ),
        )
    });
    let idle = orphans.iter().find_map(|orphan| Some((orphan, orphan.unworked.as_ref()?))).map(|(orphan, of)| {
        let (parent, child) = (&orphan.parent, &orphan.child);
        wrong(
            "unworked-child",
            format!("job {parent} waits for its child {child}, whose queue {of:?} no host works; jobcell queue explain {of}"),
        )
    });
    gone.into_iter().chain(idle).collect()
}

/// Whether only a look at [`super::Depth::Deep`] finds this reason.
pub(crate) fn takes_deep_look(code: &str) -> bool {
    BESIDE.contains(&code)
}

/// Jobs that are where nobody looks.
fn beside(facts: &Facts) -> Vec<Reason> {
    let Facts { queue, prefix, limits, elsewhere, .. } = facts;
    let Some(Elsewhere { strays, written_by, parked, unparked, misused, whole }) = elsewhere else {
        return Vec::new();
    };
    let mut reasons: Vec<Reason> =
        misused.iter().map(|key| wrong("wrong-type", format!("{key}; rename or delete it"))).collect();
    reasons.extend(strays.iter().map(|stray| told(stray, queue, prefix)));
    if *parked > 0 && *unparked > 0 && limits.paused {
        let by = written_by.as_deref().map(|by| format!(", last opened by {by}")).unwrap_or_default();
        reasons.push(wrong(
            "mixed-versions",
            format!(
                "{parked} of its jobs lie where BullMQ 5 keeps those of a paused queue and {unparked} where BullMQ 6 does{by}: \
                 a resume by BullMQ 5 loses the latter; jobcell queue resume {queue} keeps all; then use one major release"
            ),
        ));
    } else if *parked > 0 && !limits.paused {
        reasons.push(wrong(
            "parked",
            format!(
                "{parked} of its jobs lie where BullMQ 5 keeps those of a paused queue, and it is not paused: nobody takes them \
                 from there; jobcell queue resume {queue}"
            ),
        ));
    }
    if !whole && strays.is_empty() && waiting(&facts.counts) == 0 {
        reasons.push(asked(
            "not-all-seen",
            "this Redis holds so much, or lets this user see so little, that other prefixes were looked for in part only"
                .to_owned(),
        ));
    }
    reasons
}

fn told(Stray { place, waiting }: &Stray, queue: &str, prefix: &str) -> Reason {
    let jobs = if *waiting == 1 { "1 job waits".to_owned() } else { format!("{waiting} jobs wait") };
    match place {
        StrayPlace::Prefix(other) => wrong(
            "other-prefix",
            format!(
                "{jobs} under the prefix {other:?}, and this configuration looks under {prefix:?}; set prefix = {other:?} in \
                 [redis], or {{ prefix: {prefix:?} }} in the producer"
            ),
        ),
        StrayPlace::Database(number) => wrong(
            "other-database",
            format!(
                "{jobs} in database {number} of this Redis, where this configuration does not look; correct the database (the \
                 end of the URL, REDIS_DB) here or in the producer"
            ),
        ),
        StrayPlace::List(key) => wrong(
            "plain-list",
            format!(
                "{jobs} in a plain list {key:?}: the producer pushes with LPUSH, and this queue is read as BullMQ writes it; set \
                 protocol = \"list\" and key = {key:?} in [queues.{queue}]"
            ),
        ),
        StrayPlace::BullMq(name) => wrong(
            "bullmq-queue",
            format!(
                "{jobs} in a queue {name:?} as BullMQ writes it, and this one is read as a plain list; take protocol and key out \
                 of [queues.{queue}], or let the producer push with LPUSH"
            ),
        ),
    }
}

/// The known name that somebody may have meant.
fn like<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |other: &str| strsim::jaro_winkler(&name.to_lowercase(), &other.to_lowercase());
    let best = known.map(|other| (likeness(other), other)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= LIKE_MIN).map(|(_, other)| other)
}

fn shown<T: AsRef<str>>(names: &[T]) -> String {
    let mut text = names.iter().take(SHOWN_MAX).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN_MAX {
        text += ", …";
    }
    text
}

/// A time that a person reads.
fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests;
