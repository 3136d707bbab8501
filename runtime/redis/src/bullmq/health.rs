//! How Redis is, and what about it an operator should mend before trusting it with jobs.

use std::collections::HashMap;
use std::time::Instant;

use jobcell_core::StoreError;
use jobcell_core::store::StoreHealth;

use super::BullStore;
use crate::reply;

/// The oldest Redis whose commands are all there: `LPOS`, `RPOP` with a count, `SET … KEEPTTL`.
const VERSION_MIN: (u32, u32) = (6, 2);

impl BullStore {
    pub(super) async fn read_health(&self) -> Result<StoreHealth, StoreError> {
        let asked = Instant::now();
        self.redis.call(&redis::cmd("PING")).await.map_err(|e| self.redis.error(&e))?;
        let latency = asked.elapsed();
        let info = self.redis.call(&redis::cmd("INFO")).await.map_err(|e| self.redis.error(&e))?;
        let info = reply::text(info)?.unwrap_or_default();
        // A user who may not read the configuration is told less.
        let save = self.redis.call(redis::cmd("CONFIG").arg("GET").arg("save")).await;
        let save = save.ok().and_then(|save| reply::pairs(save).ok()).and_then(|mut pairs| pairs.pop());
        Ok(judge(&info, save.map(|(_, points)| points).as_deref(), latency))
    }
}

/// `save` is the configured snapshot points, when they could be read.
fn judge(info: &str, save: Option<&str>, latency: std::time::Duration) -> StoreHealth {
    let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name: &str| info.get(name).copied();
    // Valkey and Dragonfly tell an old Redis version for compatibility and count their own.
    let (kind, version, judged) = match (field("valkey_version"), field("dragonfly_version")) {
        (Some(version), _) => ("valkey", version, false),
        (None, Some(version)) => ("dragonfly", version, false),
        (None, None) => ("redis", field("redis_version").unwrap_or("unknown"), true),
    };
    let (mut faults, mut warnings) = (Vec::new(), Vec::new());
    if judged && numbers(version).is_some_and(|version| version < VERSION_MIN) {
        let (major, minor) = VERSION_MIN;
        faults.push(format!(
            "redis {version} is too old: some commands are missing; run {major}.{minor} or newer"
        ));
    }
    if let Some(policy) = field("maxmemory_policy")
        && policy != "noeviction"
    {
        faults.push(format!(
            "maxmemory-policy is {policy}: jobs may vanish when memory is short; CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
        ));
    }
    let appends = field("aof_enabled") == Some("1");
    if !appends && save == Some("") {
        warnings.push(
            "nothing is saved to disk: a restart of redis loses every job; CONFIG SET appendonly yes, and the same in redis.conf"
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
    if field("role") == Some("slave") {
        faults.push("this is a replica, which refuses writes; connect to the master".to_owned());
    }
    StoreHealth { kind: format!("{kind} {version}"), latency, faults, warnings }
}

fn numbers(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(info: &str, save: Option<&str>) -> Vec<String> {
        let StoreHealth { faults, warnings, .. } = judge(info, save, std::time::Duration::ZERO);
        faults.into_iter().chain(warnings).collect()
    }

    #[test]
    fn a_well_kept_server_has_no_warnings() {
        let info = "redis_version:7.0.15\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nrdb_last_bgsave_status:ok\r\nrole:master\r\n";
        assert_eq!(warnings(info, Some("")), Vec::<String>::new());
        assert_eq!(judge(info, None, std::time::Duration::ZERO).kind, "redis 7.0.15");
    }

    #[test]
    fn each_fault_is_told_with_its_fix() {
        let all = warnings(
            "redis_version:6.0.16\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:0\r\nrdb_last_bgsave_status:err\r\nrole:slave\r\n",
            Some(""),
        );
        assert_eq!(all.len(), 5, "{all:?}");
        for (warning, fix) in all.iter().zip(["6.2", "noeviction", "master", "appendonly yes", "log"]) {
            assert!(warning.contains(fix), "{warning}");
        }
        let snapshots = warnings("redis_version:7.2.0\r\naof_enabled:0\r\n", Some("3600 1"));
        assert!(snapshots[0].contains("since the last snapshot"), "{snapshots:?}");
    }

    #[test]
    fn a_relative_is_not_judged_by_the_version_it_pretends() {
        let health = judge(
            "redis_version:5.0.0\r\nvalkey_version:8.1.0\r\naof_enabled:1\r\n",
            None,
            std::time::Duration::ZERO,
        );
        assert_eq!((health.kind.as_str(), health.warnings.len()), ("valkey 8.1.0", 0));
    }
}
