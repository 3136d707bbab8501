//! Job `count`: adds a batch of events to hourly counters.
//!
//! A batch counts once, however often its job is tried: what an hour has and which batches it has it from are one value,
//! replaced in one step.

use std::collections::{BTreeMap, VecDeque};

use jobcell_sdk::kv;
use jobcell_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::date::hour;

/// The bucket of counters.
const BUCKET: &str = "analytics";
/// Batches that an hour remembers: attempts of one job are minutes apart, not this many batches.
const BATCHES_MAX: usize = 2_000;

/// What a producer puts on the queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Batch {
    /// What happened.
    pub events: Vec<Event>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    /// What: `view`, `like`, `share`.
    pub name: String,
    /// When, in milliseconds since 1970.
    pub at: u64,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Events of the batch.
    pub events: u64,
    /// The hours that they fell into, with all that these have now.
    pub hours: BTreeMap<String, BTreeMap<String, u64>>,
}

/// What is kept of an hour.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Hour {
    counts: BTreeMap<String, u64>,
    batches: VecDeque<String>,
}

/// Takes the jobs named `count`.
///
/// # Errors
/// A retry when the counters cannot be reached, or are changed faster than they can be read.
#[handler]
pub fn count(job: Job<Batch>) -> Result<Counted, Failure> {
    let mut fresh: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for event in &job.data.events {
        *fresh.entry(hour(event.at)).or_default().entry(event.name.clone()).or_default() += 1;
    }
    let bucket = kv::open(BUCKET)?;
    let mut counted = Counted { events: job.data.events.len() as u64, hours: BTreeMap::new() };
    for (hour, counts) in fresh {
        let kept = bucket.update(&format!("hour/{hour}"), |kept| added(kept, &job.id, &counts))?;
        let kept: Hour = serde_json::from_slice(&kept).or_fatal(format!("the counters of {hour}"))?;
        counted.hours.insert(hour, kept.counts);
    }
    Ok(counted)
}

/// The hour with what a batch adds to it, unless it has it already.
fn added(kept: Option<Vec<u8>>, batch: &str, counts: &BTreeMap<String, u64>) -> Vec<u8> {
    let mut hour: Hour = kept.and_then(|kept| serde_json::from_slice(&kept).ok()).unwrap_or_default();
    if !hour.batches.iter().any(|known| known == batch) {
        for (name, count) in counts {
            *hour.counts.entry(name.clone()).or_default() += count;
        }
        hour.batches.push_back(batch.to_owned());
        if hour.batches.len() > BATCHES_MAX {
            hour.batches.pop_front();
        }
    }
    // Texts and numbers can always be written.
    serde_json::to_vec(&hour).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::{self, Host};

    use super::*;

    fn batch(names: &[(&str, u64)]) -> Batch {
        Batch { events: names.iter().map(|(name, at)| Event { name: (*name).to_owned(), at: *at }).collect() }
    }

    #[test]
    fn events_are_summed_by_hour_and_a_batch_counts_once() {
        let host = Host::new().bucket(BUCKET);
        let events = [("view", 1), ("view", 2), ("like", 3), ("view", 3_600_000)];
        let run = |id: &str| host.run(count, testing::job(batch(&events)).id(id)).unwrap();
        let counted = run("b-1");
        assert_eq!(counted.events, 4);
        assert_eq!(counted.hours["1970-01-01T00"], BTreeMap::from([("like".into(), 1), ("view".into(), 2)]));
        assert_eq!(counted.hours["1970-01-01T01"], BTreeMap::from([("view".into(), 1)]));
        assert_eq!(run("b-1"), counted, "tried again");
        assert_eq!(run("b-2").hours["1970-01-01T00"]["view"], 4);
    }

    #[test]
    fn an_hour_forgets_its_oldest_batches_only() {
        let mut kept = None;
        for n in 0..=BATCHES_MAX {
            kept = Some(added(kept, &n.to_string(), &BTreeMap::from([("view".to_owned(), 1)])));
        }
        let hour: Hour = serde_json::from_slice(&kept.unwrap()).unwrap();
        assert_eq!((hour.batches.len(), hour.batches[0].as_str()), (BATCHES_MAX, "1"));
        assert_eq!(hour.counts["view"], BATCHES_MAX as u64 + 1);
    }
}
