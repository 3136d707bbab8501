//! What other people's programs put into Redis, and what people type: read, or refused with a reason, never a panic.

use bytes::Bytes;
use jobcell_core::schedule::{Cron, Repeat, parse_time};
use jobcell_core::{JobId, JobOptions};
use jobcell_redis::fuzzing;

/// A time of day within the life of this host.
const NOW: u64 = 1_700_000_000_000;

/// The options of a job, as JSON.
pub fn options(data: &[u8]) {
    if let Ok(options) = serde_json::from_slice::<JobOptions>(data) {
        let written = serde_json::to_vec(&options).expect("options encode");
        let again: JobOptions = serde_json::from_slice(&written).expect("what was written is read");
        assert_eq!(again, options, "{}", String::from_utf8_lossy(&written));
        assert!(options.attempts_max() >= 1);
    }
    if let Ok(repeat) = Repeat::read(data)
        && let Some(timetable) = repeat.timetable()
    {
        if let Ok(first) = timetable.first(None, NOW) {
            let _ = timetable.next(first, repeat.count.saturating_add(1), NOW);
        }
        if let Some(slot) = repeat.slot
            && let Ok(Some(next)) = timetable.next(slot, repeat.count, NOW)
        {
            let _ = timetable.next(next, repeat.count, NOW);
        }
    }
}

/// A tree of jobs, as JSON.
pub fn flow(data: &[u8]) {
    match jobcell::fuzzing::flow(data) {
        Ok(flow) => {
            let mut random = 0;
            let jobs = flow.laid_out("bull", || {
                random += 1;
                random
            });
            if let Ok(jobs) = jobs {
                let is_above =
                    |(place, above): (usize, Option<usize>)| above.is_none_or(|above| above < place);
                assert!(jobs.iter().map(|job| job.above).enumerate().all(is_above));
            }
        }
        Err(fault) => assert!(fault.contains(';') || fault.contains(':'), "no fix: {fault}"),
    }
}

/// A line each: a cron pattern, a time zone, a time; and a time as people write it.
pub fn cron(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (pattern, zone, after) = (line(), line(), line());
    if let Some(time) = parse_time(after) {
        let _ = parse_time(&time.to_string()).expect("milliseconds are a time");
    }
    let Ok(cron) = Cron::new(pattern, Some(zone).filter(|zone| !zone.is_empty())) else { return };
    let mut after = after.parse().unwrap_or(NOW);
    for _ in 0..3 {
        let Some(next) = cron.next(after) else { return };
        assert!(next > after, "{next} is not after {after}");
        assert_eq!(cron.next(next - 1), Some(next), "asked just before, it is another");
        after = next;
    }
}

/// An item of a plain list.
pub fn list_item(data: &[u8]) {
    let raw = Bytes::copy_from_slice(data);
    let item = fuzzing::list_item(&raw).expect("every item has a name");
    assert!(!item.id.as_str().is_empty());
    if item.envelope {
        assert_eq!(item.fault, None, "an envelope, and a fault");
    } else if !item.id.as_str().starts_with("sha256:") {
        assert_eq!(item.id_bytes, data, "the id names other bytes");
    }
    if let Some(payload) = &item.data {
        assert!(serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok(), "no JSON");
    }
}

/// The hash of a job: fields and values in turn, a line each.
pub fn record(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let (job, fault) = fuzzing::record(JobId::new("1").expect("an id"), &lines);
    if let Some(job) = job {
        assert!(job.options.attempts_max() >= 1);
        let named = lines.chunks_exact(2).rfind(|pair| pair[0] == b"name");
        assert_eq!(Some(job.name), named.map(|pair| String::from_utf8_lossy(pair[1]).into_owned()));
    }
    if let Some((field, cause)) = fault {
        assert!(!field.is_empty() && cause.len() < 1024, "{field}: {cause}");
    }
}
