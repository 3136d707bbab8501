//! Buckets over keys that other programs use too: what is there, so that somebody who finds nothing sees where they look.

use jobcell_core::keyvalue::{Bucket, KeyValue, KeyValueError};

use super::{Findings, Verdict};
use crate::config::{BucketConfig, Config};
use crate::stores::OpenStore;

/// Keys that are counted at most.
const LOOKED_AT: u32 = 1000;

/// Says of each bucket which keys it is over and how many there are.
pub(super) async fn check(config: &Config, open: &OpenStore, findings: &mut Findings) {
    let connect = config.redis.as_ref().and_then(|redis| redis.connect_options().ok());
    let is_cluster = connect.is_some_and(|connect| connect.is_cluster());
    for (name, bucket) in &config.buckets {
        let subject = format!("bucket {name}");
        let Some(store) = open.keyvalue.range(&bucket.range) else {
            findings.push(subject, Verdict::Ok, "kept in the embedded store, which no other program reaches");
            continue;
        };
        let told = told(bucket);
        // Whose keys, or on which node, nobody says.
        if bucket.range.is_by_tenant() || is_cluster {
            findings.push(subject, Verdict::Ok, told);
            continue;
        }
        match look(&*store, &Bucket::new(None, name)).await {
            Ok(found) => findings.push(subject, Verdict::Ok, format!("{told}; {found}")),
            Err(fault) => findings.push(subject, Verdict::Warning, format!("{told}; {fault}")),
        }
    }
}

/// Which keys, and what may be done with them.
fn told(bucket: &BucketConfig) -> String {
    let BucketConfig { range, writes, shared } = bucket;
    let mut told = format!("keys {:?}", format!("{}…", range.prefix));
    told += if *writes { ", read and written" } else { ", read only" };
    if let Some(ttl) = range.ttl {
        told += &format!(", for {} each", humantime::format_duration(ttl));
    }
    if *shared {
        told += ", the same for all tenants";
    }
    told
}

/// How many there are, as far as a short look tells.
async fn look(store: &dyn KeyValue, bucket: &Bucket) -> Result<String, KeyValueError> {
    let found = store.keys(bucket, 0, LOOKED_AT).await?;
    let count = found.keys.len();
    let Some(first) = found.keys.first() else {
        return Ok(match found.next {
            None => "none is there now; if there should be, see which Redis, which database and which prefix the other \
                     program has"
                .to_owned(),
            Some(_) => "none among the first of very many keys".to_owned(),
        });
    };
    // What is no text is told as what it is.
    store.get(bucket, first).await?;
    Ok(match found.next {
        None => format!("{count} there now"),
        Some(_) => format!("{count} and more there now"),
    })
}
