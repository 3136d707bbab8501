//! How Redis is, and what about it an operator should mend before trusting it with jobs.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::future::try_join_all;
use jobcell_core::clock::SystemClock;
use jobcell_core::store::StoreHealth;
use jobcell_core::{Clock, StoreError};

use crate::error;
use crate::link::slots;
use crate::link::{Node, Redis};
use crate::permissions::{Needs, Permissions};
use crate::reply;

/// The oldest Redis whose commands are all there: `LPOS`, `RPOP` with a count, `SET … KEEPTTL`.
const VERSION_MIN: (u32, u32) = (6, 2);
/// How far clocks may be apart. Producers and workers reckon with their own, so that delays are off by as much.
const SKEW_MAX: Duration = Duration::from_secs(1);

/// The only way of a full Redis under which jobs are safe.
const NO_EVICTION: &str = "noeviction";

/// What one server says about itself.
#[derive(Default)]
struct Answers {
    /// None when the user may not ask.
    info: Option<String>,
    /// The configured snapshot points, when they could be read.
    save: Option<String>,
    latency: Duration,
    /// Its clock against ours, in ms; positive when it is ahead.
    skew: i64,
    /// What the user may not do.
    missing: Option<String>,
}

/// How the server is expected to be run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    Sentinels,
    Cluster,
}

/// Faults and warnings.
#[derive(Default)]
struct Found {
    kind: String,
    faults: Vec<String>,
    warnings: Vec<String>,
}

/// Asks every server how it is, and whether the user may do what is needed there.
pub(crate) async fn read(
    redis: &Redis,
    permissions: &Permissions,
    needs: Option<&Needs>,
) -> Result<StoreHealth, StoreError> {
    let nodes = redis.nodes();
    let asked = nodes.iter().map(|node| async move {
        let mut answers = ask(redis, node).await?;
        if let Some(needs) = needs {
            answers.missing = permissions.fault(node, needs, redis.options().user()).await;
        }
        Ok::<_, StoreError>(answers)
    });
    let answers = try_join_all(asked).await?;
    let options = redis.options();
    let way = match (options.is_cluster(), options.uses_sentinels()) {
        (true, _) => Way::Cluster,
        (false, true) => Way::Sentinels,
        (false, false) => Way::Alone,
    };
    let mut health = StoreHealth {
        kind: String::new(),
        latency: answers.iter().map(|answers| answers.latency).max().unwrap_or_default(),
        faults: Vec::new(),
        warnings: Vec::new(),
    };
    for (node, answers) in nodes.iter().zip(&answers) {
        let Found { kind, faults, warnings } = judge(answers, way, options.user());
        health.kind = kind;
        let told = |line: String| if node.name.is_empty() { line } else { format!("{}: {line}", node.name) };
        health.faults.extend(faults.into_iter().map(told));
        health.warnings.extend(warnings.into_iter().map(told));
    }
    if way == Way::Cluster {
        health.kind += &format!(" cluster of {}", nodes.len());
        let prefix = options.key_prefix();
        if slots::tag_of(prefix.as_bytes()).is_none() {
            health.warnings.push(format!(
                "the key prefix {prefix:?} has no braces: only queues whose own name has some can be used on a \
                 cluster; set prefix = {:?} in [redis] and in every BullMQ client",
                slots::in_braces(prefix)
            ));
        }
    }
    Ok(health)
}

async fn ask(redis: &Redis, node: &Node) -> Result<Answers, StoreError> {
    let (asked, before) = (Instant::now(), SystemClock.now());
    let time = node.call(&redis::cmd("TIME")).await;
    let latency = asked.elapsed();
    let skew =
        time.ok().and_then(|time| reply::array(time).ok()).and_then(|time| skew(&time, before, latency));
    let (info, mut get_save) = (redis::cmd("INFO"), redis::cmd("CONFIG"));
    get_save.arg("GET").arg("save");
    let (info, save) = tokio::join!(node.call(&info), node.call(&get_save));
    // A user who may not read the configuration is told less.
    let save = save.ok().and_then(|save| reply::pairs(save).ok()).and_then(|mut pairs| pairs.pop());
    let info = match info {
        Ok(info) => Some(reply::text(info)?.unwrap_or_default()),
        Err(e) if error::is_denied(&e) => None,
        Err(e) => return Err(redis.error(&e)),
    };
    Ok(Answers {
        info,
        save: save.map(|(_, points)| points),
        latency,
        skew: skew.unwrap_or(0),
        missing: None,
    })
}

/// What the server's clock showed in the middle of the round trip, against ours.
fn skew(time: &[redis::Value], before: u64, latency: Duration) -> Option<i64> {
    let [seconds, micros] = time else { return None };
    let theirs = reply::int(seconds).ok()?.checked_mul(1000)?.checked_add(reply::int(micros).ok()? / 1000)?;
    let ours = i64::try_from(before).ok()?.checked_add(i64::try_from(latency.as_millis() / 2).ok()?)?;
    Some(theirs - ours)
}

fn judge(answers: &Answers, way: Way, user: Option<&str>) -> Found {
    let Answers { info, save, latency, skew, missing } = answers;
    let mut found = Found::default();
    match info {
        Some(info) => judge_info(info, save.as_deref(), way, &mut found),
        None => {
            let user = user.unwrap_or("default");
            found.kind = "redis".to_owned();
            found.warnings.push(format!(
                "the user {user:?} may not run info: version, maxmemory-policy, role and persistence of this server are \
                 not looked at; ACL SETUSER {user} +info, and the same in the ACL file or redis.conf"
            ));
        }
    }
    found.faults.extend(missing.clone());
    if skew.unsigned_abs() > u64::try_from((SKEW_MAX + *latency).as_millis()).unwrap_or(u64::MAX) {
        let (direction, seconds) =
            (if *skew < 0 { "ahead of" } else { "behind" }, skew.unsigned_abs() as f64 / 1e3);
        found.warnings.push(format!(
            "this machine's clock is {seconds:.1} s {direction} that of redis: BullMQ's clients reckon with their own \
             clocks, so delayed jobs start early or late by as much; set both by NTP"
        ));
    }
    found
}

fn judge_info(info: &str, save: Option<&str>, way: Way, found: &mut Found) {
    let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name: &str| info.get(name).copied();
    // Valkey and Dragonfly tell an old Redis version for compatibility and count their own.
    let (kind, version, judged) = match (field("valkey_version"), field("dragonfly_version")) {
        (Some(version), _) => ("valkey", version, false),
        (None, Some(version)) => ("dragonfly", version, false),
        (None, None) => ("redis", field("redis_version").unwrap_or("unknown"), true),
    };
    found.kind = format!("{kind} {version}");
    if judged && numbers(version).is_some_and(|version| version < VERSION_MIN) {
        let (major, minor) = VERSION_MIN;
        found.faults.push(format!(
            "redis {version} is too old: some commands are missing; run {major}.{minor} or newer"
        ));
    }
    memory(&info, found);
    if field("role") == Some("slave") {
        found.faults.push("this is a replica, which refuses writes; connect to the master".to_owned());
    }
    if way != Way::Cluster && field("redis_mode") == Some("cluster") {
        found.faults.push(
            "this is a node of a Redis Cluster, which refuses the keys of other nodes; write redis+cluster:// instead"
                .to_owned(),
        );
    }
    if way != Way::Alone && field("connected_slaves") == Some("0") && field("role") == Some("master") {
        found.warnings.push(
            "the master has no replica: nobody takes over when it fails; start one and point it there (REPLICAOF, CLUSTER REPLICATE)"
                .to_owned(),
        );
    }
    persistence(&info, save, &mut found.warnings);
}

/// What happens, or has happened, when memory is short.
fn memory(info: &HashMap<&str, &str>, found: &mut Found) {
    let number = |name: &str| info.get(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let policy = info.get("maxmemory_policy").copied().unwrap_or(NO_EVICTION);
    if policy != NO_EVICTION {
        let what = if policy.starts_with("volatile-") {
            "locks of running jobs, which then run twice, and cached values"
        } else {
            "jobs, whole or in parts, without telling anybody"
        };
        found.faults.push(format!(
            "maxmemory-policy is {policy}: when memory is short Redis deletes {what}; with noeviction it refuses new ones \
             instead and keeps what it has: CONFIG SET maxmemory-policy noeviction, and the same in redis.conf; what may be \
             evicted belongs into a Redis of its own"
        ));
    }
    let evicted = number("evicted_keys");
    if evicted > 0 {
        let now = if policy == NO_EVICTION { "the policy has been mended since" } else { "set noeviction" };
        found.warnings.push(format!(
            "redis has evicted {evicted} keys since it was started, jobs, sessions or cached values among them: they read as \
             absent; {now}, raise maxmemory, and add again what is missing"
        ));
    }
    let (used, max) = (number("used_memory"), number("maxmemory"));
    if max > 0 && used.saturating_mul(10) >= max.saturating_mul(9) {
        let (mib, share) = (max >> 20, used.saturating_mul(100) / max);
        found.warnings.push(format!(
            "redis uses {share} % of its maxmemory ({mib} MiB): once it is full it refuses new jobs and ends of jobs (OOM); \
             raise maxmemory, or remove finished jobs (jobcell queue clean QUEUE, keep in [queues.QUEUE])"
        ));
    }
}

fn persistence(info: &HashMap<&str, &str>, save: Option<&str>, warnings: &mut Vec<String>) {
    let field = |name: &str| info.get(name).copied();
    let appends = field("aof_enabled") == Some("1");
    if !appends && save == Some("") {
        warnings.push(
            "nothing is saved to disk: a restart of redis loses every job, and sessions and counters with them; CONFIG SET appendonly yes, and the same in redis.conf"
                .to_owned(),
        );
    } else if !appends {
        warnings.push(
            "appendonly is off: a crash of redis loses the jobs since the last snapshot; CONFIG SET appendonly yes, and the same in redis.conf"
                .to_owned(),
        );
    }
    for (field_name, what) in
        [("rdb_last_bgsave_status", "snapshot"), ("aof_last_write_status", "append-only file")]
    {
        if field(field_name).is_some_and(|status| status != "ok") {
            warnings.push(format!("the last {what} could not be written; look at redis's log and its disk"));
        }
    }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "redis_version:7.0.15\r\nredis_mode:standalone\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nrdb_last_bgsave_status:ok\r\nrole:master\r\nconnected_slaves:0\r\n";

    fn answers(info: &str, save: Option<&str>) -> Answers {
        Answers { info: Some(info.to_owned()), save: save.map(str::to_owned), ..Answers::default() }
    }

    fn lines(answers: &Answers, way: Way) -> Vec<String> {
        let Found { faults, warnings, .. } = judge(answers, way, None);
        faults.into_iter().chain(warnings).collect()
    }

    #[test]
    fn a_well_kept_server_has_no_warnings() {
        let good = answers(GOOD, Some(""));
        assert_eq!(lines(&good, Way::Alone), Vec::<String>::new());
        assert_eq!(judge(&good, Way::Alone, None).kind, "redis 7.0.15");
    }

    #[test]
    fn each_fault_is_told_with_its_fix() {
        let all = lines(
            &answers(
                "redis_version:6.0.16\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\nrdb_last_bgsave_status:err\r\nrole:slave\r\n",
                Some(""),
            ),
            Way::Alone,
        );
        assert_eq!(all.len(), 5, "{all:?}");
        for (warning, fix) in all.iter().zip(["6.2", "noeviction", "master", "appendonly yes", "log"]) {
            assert!(warning.contains(fix), "{warning}");
        }
        let snapshots =
            lines(&answers("redis_version:7.2.0\r\naof_enabled:0\r\n", Some("3600 1")), Way::Alone);
        assert!(snapshots[0].contains("since the last snapshot"), "{snapshots:?}");
    }

    #[test]
    fn short_memory_is_told_before_and_after_it_has_cost_something() {
        let told = |more: &str| lines(&answers(&(GOOD.to_owned() + more), None), Way::Alone);
        assert_eq!(told("used_memory:89\r\nmaxmemory:100\r\nevicted_keys:0\r\n"), Vec::<String>::new());
        assert_eq!(told("used_memory:900\r\nmaxmemory:0\r\n"), Vec::<String>::new());
        let full = told("used_memory:104857600\r\nmaxmemory:104857600\r\n");
        assert!(full.len() == 1 && full[0].contains("100 % of its maxmemory (100 MiB)"), "{full:?}");
        let evicted = told("evicted_keys:7\r\n");
        assert!(evicted.len() == 1 && evicted[0].contains("evicted 7 keys"), "{evicted:?}");
        for (policy, what) in [("volatile-ttl", "locks"), ("allkeys-lru", "jobs, whole or in parts")] {
            let told = lines(&answers(&GOOD.replace("noeviction", policy), None), Way::Alone);
            assert!(told.len() == 1 && told[0].contains(what) && told[0].contains("noeviction"), "{told:?}");
        }
    }

    #[test]
    fn a_user_who_may_not_ask_is_told_what_is_not_known_and_how_to_allow_it() {
        let found = judge(&Answers::default(), Way::Alone, Some("ops"));
        assert_eq!((found.kind.as_str(), found.faults.len()), ("redis", 0));
        let [warning] = &found.warnings[..] else { panic!("{:?}", found.warnings) };
        assert!(warning.contains("may not run info") && warning.contains("SETUSER ops +info,"), "{warning}");
    }

    #[test]
    fn what_only_matters_to_a_way_of_running_redis_is_told_there() {
        let lonely = lines(&answers(GOOD, None), Way::Sentinels);
        assert!(lonely.len() == 1 && lonely[0].contains("no replica"), "{lonely:?}");
        let node = GOOD.replace("redis_mode:standalone", "redis_mode:cluster");
        let mistaken = lines(&answers(&node, None), Way::Alone);
        assert!(mistaken.len() == 1 && mistaken[0].contains("redis+cluster://"), "{mistaken:?}");
        assert!(
            !lines(&answers(&node, None), Way::Cluster).iter().any(|line| line.contains("redis+cluster"))
        );
    }

    #[test]
    fn clocks_that_differ_are_told_by_how_much() {
        for (skew, want) in [(3_250, Some("3.2 s behind")), (-61_000, Some("61.0 s ahead of")), (900, None)] {
            let told = lines(&Answers { skew, ..answers(GOOD, None) }, Way::Alone);
            match want {
                Some(want) => assert!(told.len() == 1 && told[0].contains(want), "{told:?}"),
                None => assert_eq!(told, Vec::<String>::new()),
            }
        }
        let time = [redis::Value::BulkString(b"100".to_vec()), redis::Value::BulkString(b"500000".to_vec())];
        assert_eq!(skew(&time, 90_000, Duration::from_millis(1000)), Some(10_000));
    }

    #[test]
    fn a_relative_is_not_judged_by_the_version_it_pretends() {
        let found = judge(
            &answers("redis_version:5.0.0\r\nvalkey_version:8.1.0\r\naof_enabled:1\r\n", None),
            Way::Alone,
            None,
        );
        assert_eq!((found.kind.as_str(), found.warnings.len()), ("valkey 8.1.0", 0));
    }
}
