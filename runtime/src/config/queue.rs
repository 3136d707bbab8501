//! `[queues.NAME]`: which queues the host works on, and how.

use std::collections::BTreeMap;
use std::time::Duration;

use jobcell_core::options::{Backoff, BackoffKind, KeepLimits};
use jobcell_core::store::{RECEIPTS_MAX, RateLimit};
use jobcell_core::{Keep, QueueName};
use jobcell_redis::ListOptions;

use super::forms::{
    COUNT, COUNT_OR_NONE, DURATION, DURATION_OR_NONE, Form, KEEP as KEEP_FORM, NAMES, SHARE, TEXT, choice,
};
use super::node::Node;
use super::reader::Reader;
use super::redis::RedisConfig;
use super::table::{Absent, Entry, Key, Section};

/// One queue.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    /// Its name.
    pub name: QueueName,
    /// Handlers by job name; `*` stands for every name not given. Never empty.
    pub handlers: BTreeMap<String, String>,
    /// Attempts at once on this host, at least 1.
    pub concurrency: usize,
    /// Starts per time over all hosts.
    pub rate: Option<RateLimit>,
    /// How long a lock holds without renewal.
    pub lock: Duration,
    /// Time between rounds of stall recovery.
    pub stalled_interval: Duration,
    /// Recoveries a job survives.
    pub max_stalled: u64,
    /// So many attempts in a row that break in the same way are the last; 0 is no bound.
    pub poison: u64,
    /// How long a running attempt may go on after its job was cancelled.
    pub cancel_grace: Duration,
    /// Receipts that a job keeps; 0 is none.
    pub receipts: u64,
    /// Which completed jobs stay when the job does not say.
    pub keep_completed: Keep,
    /// Which failed jobs stay when the job does not say.
    pub keep_failed: Keep,
    /// The longest wait before asking the store again when idle.
    pub poll: Duration,
    /// The name that jobs and listings show for this worker.
    pub worker_name: Option<String>,
    /// Points of BullMQ's per-minute series; 0 is off.
    pub metrics_points: u64,
    /// How its jobs are laid out in Redis.
    pub protocol: Protocol,
}

/// How a queue's jobs are laid out in Redis.
#[derive(Debug, Clone, PartialEq)]
pub enum Protocol {
    /// As BullMQ does.
    BullMq,
    /// A plain list.
    List(ListConfig),
}

/// A queue that is a plain list.
#[derive(Debug, Clone, PartialEq)]
pub struct ListConfig {
    /// The list.
    pub key: String,
    /// The hash with a job's data; holds `{id}`.
    pub record: String,
    /// The channel for status messages.
    pub updates: String,
    /// How often a job is tried.
    pub attempts: u64,
    /// How long to wait between attempts.
    pub backoff: Backoff,
    /// How long the records of completed jobs stay that this host made itself; none leaves it to `keep.completed`.
    pub own_records: Option<Duration>,
}

impl ListConfig {
    /// The same for the store.
    pub(crate) fn options(&self) -> ListOptions {
        let Self { key, record, updates, attempts, backoff, own_records } = self.clone();
        ListOptions { key, record, updates, attempts, backoff, own_records }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProtocolName {
    BullMq,
    List,
}

const HANDLER: Key<String> = Key::new(
    "handler",
    TEXT,
    Absent::Means("none"),
    "The handler for every job of the queue. A queue needs this or `handlers`.",
);
const HANDLERS: Key<BTreeMap<String, String>> = Key::new(
    "handlers",
    NAMES,
    Absent::Means("none"),
    "Handlers by the job's name; `\"*\"` is for every name not given. A job that no handler takes fails for good, with \
     a reason that names those there are.",
);
const CONCURRENCY: Key<u64> = Key::value(
    "concurrency",
    COUNT,
    "16",
    "Attempts at once on this host. Attempts that wait for the network cost only memory; for those that compute, more \
     than `cells.threads` gains nothing.",
);
const RATE: Entry = Entry::section("rate", &RATE_SECTION);
const LOCK: Key<Duration> = Key::value(
    "lock",
    DURATION,
    "\"30s\"",
    "How long a job's lock holds without renewal; it is renewed every third of it. Shorter finds vanished hosts sooner, \
     and breaks sooner when Redis is slow. BullMQ's default.",
);
const STALLED_INTERVAL: Key<Duration> = Key::value(
    "stalled-interval",
    DURATION,
    "\"30s\"",
    "Time between searches for jobs of vanished hosts, over all hosts. BullMQ's default.",
);
const MAX_STALLED: Key<u64> = Key::value(
    "max-stalled",
    COUNT_OR_NONE,
    "1",
    "How often a job may be recovered from a vanished host before it fails: a job that kills its host must not kill \
     every host. BullMQ's default.",
);
const POISON: Key<u64> = Key::value(
    "poison",
    COUNT_OR_NONE,
    "3",
    "After so many attempts in a row that took their cell down in the same way (same cause, same place) the job fails \
     for good, whatever attempts it has left: trying again would only cost further cells. Memory, stack, panic, trap, a \
     broken calling convention, `host-call`, `resources`, and faults of the host count; failures that a handler reports, and time, do not. `0` is \
     no bound.",
);
const CANCEL_GRACE: Key<Duration> = Key::value(
    "cancel-grace",
    DURATION_OR_NONE,
    "\"5s\"",
    "How long a running attempt may go on after `jobcell job cancel` reached it, which takes about a second: a handler \
     that looks at `is-cancelled` tidies up meanwhile, any other is ended then. `\"0s\"` ends it at once.",
);
const RECEIPTS: Key<u64> = Key::value(
    "receipts",
    COUNT_OR_NONE,
    "5",
    "Receipts of its last attempts that a job keeps, which `jobcell job receipt` shows; each is some 200 bytes in the \
     store, at most 2 KiB. At most 20; `0` is none. A list queue keeps the last one.",
);
const KEEP: Entry = Entry::section("keep", &KEEP_SECTION);
const POLL: Key<Duration> = Key::value(
    "poll",
    DURATION,
    "\"5s\"",
    "The longest wait before asking the store again when idle. Wake-up hints make this rarely matter; they can be lost \
     with a connection.",
);
const NAME: Key<String> = Key::new(
    "name",
    TEXT,
    Absent::Means("none"),
    "The worker's name, as BullMQ's `getWorkers` and the job's `pb` field show it.",
);
const METRICS_POINTS: Key<u64> = Key::value(
    "metrics-points",
    COUNT_OR_NONE,
    "1440",
    "Minutes of the per-minute series of finished jobs to keep in the store, which the dashboard's charts, \
     `jobcell queue metrics` and BullMQ's `getMetrics` show. The default is a day, as far as the charts go back: two \
     small keys for each queue, and two short commands for each batch of ends. `20160` is two weeks, `0` is off. The \
     host's `/metrics` does not need it. Queues that are plain lists keep none.",
);
const PROTOCOL: Key<ProtocolName> = Key::value(
    "protocol",
    Form { name: "word", expects: "\"bullmq\" or \"list\"", read: protocol },
    "\"bullmq\"",
    "How jobs are laid out: as BullMQ does, or a plain list that producers `LPUSH` to.",
);
const LIST_KEY: Key<String> =
    Key::new("key", TEXT, Absent::Means("the queue's name"), "Only with `protocol = \"list\"`: the list.");
const RECORD: Key<String> = Key::new(
    "record",
    TEXT,
    Absent::Means("`\"<key>:{id}\"`"),
    "Only with `protocol = \"list\"`: the hash with a job's data; `{id}` stands for the job's id.",
);
const UPDATES: Key<String> = Key::value(
    "updates",
    TEXT,
    "\"job_updates\"",
    "Only with `protocol = \"list\"`: the channel that status messages are published to.",
);
const ATTEMPTS: Key<u64> = Key::value(
    "attempts",
    COUNT,
    "3",
    "Only with `protocol = \"list\"`: how often a job is tried. BullMQ jobs bring their own number.",
);
const BACKOFF: Entry = Entry::section("backoff", &BACKOFF_SECTION);
/// How long the records of completed jobs stay that producers never asked for.
const OWN_RECORDS: Duration = Duration::from_secs(24 * 60 * 60);
const LIST_ONLY: [&str; 5] = [LIST_KEY.name, RECORD.name, UPDATES.name, ATTEMPTS.name, BACKOFF.name];

pub(super) static QUEUE: Section = Section {
    about: "One table for each queue the host works on. The name must not have a `:`.",
    keys: &[
        HANDLER.entry(),
        HANDLERS.entry().with_names(),
        CONCURRENCY.entry(),
        RATE,
        LOCK.entry(),
        STALLED_INTERVAL.entry(),
        MAX_STALLED.entry(),
        POISON.entry(),
        CANCEL_GRACE.entry(),
        RECEIPTS.entry(),
        KEEP,
        POLL.entry(),
        NAME.entry(),
        METRICS_POINTS.entry(),
        PROTOCOL.entry(),
        LIST_KEY.entry(),
        RECORD.entry(),
        UPDATES.entry(),
        ATTEMPTS.entry(),
        BACKOFF,
    ],
};

const RATE_MAX: Key<u64> = Key::new("max", COUNT, Absent::Required, "Starts in one window.");
const RATE_PER: Key<Duration> = Key::new("per", DURATION, Absent::Required, "The window.");
static RATE_SECTION: Section = Section {
    about: "Starts per time, over all hosts of the queue: for what must not be called more often. Without it there is \
            no bound.",
    keys: &[RATE_MAX.entry(), RATE_PER.entry()],
};

const KEEP_COMPLETED: Key<Keep> = Key::value(
    "completed",
    KEEP_FORM,
    "\"all\"",
    "Completed jobs to keep. The default is BullMQ's, so that replacing its worker removes nothing; set a bound before \
     Redis fills up.",
);
const KEEP_FAILED: Key<Keep> =
    Key::value("failed", KEEP_FORM, "\"all\"", "Failed jobs to keep. The default is BullMQ's.");
static KEEP_SECTION: Section = Section {
    about: "Which finished jobs stay; a job's own `removeOnComplete` and `removeOnFail` win. With `protocol = \"list\"`, \
            `completed` is how long the record stays (an age, `\"all\"`, or `\"none\"` for 10 s); when it is not written, \
            records that producers made stay and others go after a day. `failed` is how many dead items stay (a count, \
            `\"all\"` or `\"none\"`).",
    keys: &[KEEP_COMPLETED.entry(), KEEP_FAILED.entry()],
};

const BACKOFF_TYPE: Key<BackoffKind> = Key::value(
    "type",
    Form { name: "word", expects: "\"fixed\" or \"exponential\"", read: backoff_kind },
    "\"exponential\"",
    "The same wait each time, or one that doubles.",
);
const BACKOFF_DELAY: Key<Duration> =
    Key::value("delay", DURATION_OR_NONE, "\"1s\"", "The first wait. `\"0s\"` tries again at once.");
const BACKOFF_JITTER: Key<f64> = Key::value(
    "jitter",
    SHARE,
    "0.5",
    "The share of each wait that is random, so that jobs that failed together do not return together.",
);
static BACKOFF_SECTION: Section = Section {
    about: "Only with `protocol = \"list\"`: how long to wait between attempts. BullMQ jobs bring their own rule.",
    keys: &[BACKOFF_TYPE.entry(), BACKOFF_DELAY.entry(), BACKOFF_JITTER.entry()],
};

/// Reads one queue, whose jobs may go to these handlers. None when its name cannot be used.
pub(super) fn read(name: &str, reader: &Reader<'_>, known: &[&str]) -> Option<QueueConfig> {
    let handlers = read_handlers(reader, known);
    let keep = reader.section(KEEP.name, &KEEP_SECTION);
    let protocol = read_protocol(name, reader, &keep);
    let concurrency = reader.value(&CONCURRENCY);
    let config = QueueConfig {
        name: match QueueName::new(name) {
            Ok(name) => name,
            Err(error) => {
                reader.fault("", &error.to_string(), "rename the queue");
                return None;
            }
        },
        handlers,
        concurrency: usize::try_from(concurrency).unwrap_or(usize::MAX),
        rate: read_rate(reader),
        lock: reader.value(&LOCK),
        stalled_interval: reader.value(&STALLED_INTERVAL),
        max_stalled: reader.value(&MAX_STALLED),
        poison: reader.value(&POISON),
        cancel_grace: reader.value(&CANCEL_GRACE),
        receipts: reader.value(&RECEIPTS),
        keep_completed: keep.value(&KEEP_COMPLETED),
        keep_failed: keep.value(&KEEP_FAILED),
        poll: reader.value(&POLL),
        worker_name: reader.get(&NAME),
        metrics_points: reader.value(&METRICS_POINTS),
        protocol,
    };
    if config.worker_name.as_ref().is_some_and(|name| name.contains(char::is_whitespace)) {
        let fix = "write it without spaces: Redis takes none in a connection's name";
        reader.fault_shown(NAME.name, "has a space", fix);
    }
    if config.receipts > RECEIPTS_MAX {
        let fix = format!("write at most {RECEIPTS_MAX}: they live in the store's memory");
        reader.fault_shown(RECEIPTS.name, "is too many", &fix);
    }
    Some(config)
}

fn read_handlers(reader: &Reader<'_>, known: &[&str]) -> BTreeMap<String, String> {
    let (handler, handlers) = (reader.get(&HANDLER), reader.get(&HANDLERS));
    let is_written = |name| reader.node(name).is_some();
    if is_written(HANDLER.name) && is_written(HANDLERS.name) {
        let fix = "keep one; in `handlers` the name \"*\" stands for every other job";
        reader.fault(HANDLER.name, "is written beside `handlers`", fix);
    }
    if !is_written(HANDLER.name) && handlers.as_ref().map_or(!is_written(HANDLERS.name), BTreeMap::is_empty) {
        let fix = "add `handler = \"NAME\"`, or `handlers = { \"job-name\" = \"NAME\" }`";
        reader.fault("", "the queue has no handler", fix);
    }
    reader.refuse_undeclared(HANDLER.name, "[handlers]", handler.iter().map(String::as_str), known);
    let named = handlers.iter().flat_map(BTreeMap::values).map(String::as_str);
    reader.refuse_undeclared(HANDLERS.name, "[handlers]", named, known);
    let mut all = handlers.unwrap_or_default();
    all.extend(handler.map(|handler| ("*".to_owned(), handler)));
    all
}

fn read_rate(reader: &Reader<'_>) -> Option<RateLimit> {
    reader.node(RATE.name)?;
    let rate = reader.section(RATE.name, &RATE_SECTION);
    let (max, per) = (rate.get(&RATE_MAX), rate.get(&RATE_PER));
    Some(RateLimit { max: max?, per: per? })
}

/// There is no Redis for a list queue.
pub(super) fn refuse_list(reader: &Reader<'_>) {
    let fix = "add [redis] with a url";
    reader.fault("protocol", "a list queue lives in Redis, and none is configured", fix);
}

/// What a list queue needs beyond itself: one slot of a cluster, and a list that no other queue has.
pub(super) fn check_list(
    list: &ListConfig,
    redis: Option<&RedisConfig>,
    others: &BTreeMap<QueueName, ListConfig>,
    reader: &Reader<'_>,
) {
    let options = list.options();
    let split = |fault: &str| {
        let (cause, fix) = fault.split_once("; ").unwrap_or((fault, ""));
        reader.fault(LIST_KEY.name, cause, fix);
    };
    let connect = redis.and_then(|redis| redis.connect_options().ok());
    let is_cluster = connect.is_some_and(|options| options.is_cluster());
    if let Some(fault) = options.cluster_fault().filter(|_| is_cluster) {
        split(&fault);
    }
    for (name, other) in others {
        if let Some(fault) = other.options().clash(&options) {
            split(&fault.replace("another queue", &format!("queue {name:?}")));
        }
    }
}

/// There is no list of completed jobs to count, and dead items have no age.
fn check_list_keep(reader: &Reader<'_>, keep: &Reader<'_>) {
    let bounds = |key| match keep.get(key) {
        Some(Keep::UpTo(limits)) => limits,
        _ => KeepLimits::default(),
    };
    if bounds(&KEEP_COMPLETED).count.is_some() {
        let fix = "write an age such as \"7d\", \"all\" or \"none\"";
        reader.fault(
            "keep.completed",
            "a list queue does not list its completed jobs, so it cannot count them",
            fix,
        );
    }
    if bounds(&KEEP_FAILED).age.is_some() {
        let fix = "write a count such as \"1000\", \"all\" or \"none\"";
        reader.fault("keep.failed", "the dead items of a list queue have no age", fix);
    }
}

fn read_protocol(name: &str, reader: &Reader<'_>, keep: &Reader<'_>) -> Protocol {
    let backoff = reader.section(BACKOFF.name, &BACKOFF_SECTION);
    let key = reader.get(&LIST_KEY).unwrap_or_else(|| name.to_owned());
    let delay = backoff.value(&BACKOFF_DELAY);
    let list = ListConfig {
        record: reader.get(&RECORD).unwrap_or_else(|| format!("{key}:{{id}}")),
        key,
        updates: reader.value(&UPDATES),
        attempts: reader.value(&ATTEMPTS),
        backoff: Backoff {
            kind: backoff.value(&BACKOFF_TYPE),
            delay: u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            jitter: Some(backoff.value(&BACKOFF_JITTER)),
        },
        own_records: if keep.node(KEEP_COMPLETED.name).is_some() { None } else { Some(OWN_RECORDS) },
    };
    if reader.value(&PROTOCOL) == ProtocolName::BullMq {
        for name in LIST_ONLY.into_iter().filter(|name| reader.node(name).is_some()) {
            let fix = "remove it, or add protocol = \"list\"";
            reader.fault(name, "has no meaning for a BullMQ queue", fix);
        }
        return Protocol::BullMq;
    }
    if !list.record.contains("{id}") {
        reader.fault_shown(RECORD.name, "does not hold {id}", "write for example \"job:{id}\"");
    }
    if list.record == list.key {
        reader.fault_shown(RECORD.name, "is the list itself", "write for example \"job:{id}\"");
    }
    if reader.node(METRICS_POINTS.name).is_some() {
        let fix = "remove it, or remove protocol = \"list\"";
        reader.fault(METRICS_POINTS.name, "has no meaning for a list queue", fix);
    }
    check_list_keep(reader, keep);
    Protocol::List(list)
}

fn protocol(node: &Node) -> Result<ProtocolName, String> {
    choice(node, &[("bullmq", ProtocolName::BullMq), ("list", ProtocolName::List)])
}

fn backoff_kind(node: &Node) -> Result<BackoffKind, String> {
    let exponential = choice(node, &[("fixed", false), ("exponential", true)])?;
    Ok(if exponential { BackoffKind::Exponential } else { BackoffKind::Fixed })
}
