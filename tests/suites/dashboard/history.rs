//! An hour of a host's life in a moment: jobs that ended minutes ago, as the store would have kept them.

use std::path::Path;
use std::time::Duration;

use jobcell_core::options::JobOptions;
use jobcell_core::store::{ClaimRequest, Finish, NewJob, SeriesPoints, Verdict};
use jobcell_core::{Clock, JobId, Keep, Millis, QueueName, Store, SystemClock};
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};

/// Minutes of it.
const MINUTES: u64 = 64;

/// What a queue went through.
pub(crate) struct Past {
    pub(crate) queue: &'static str,
    pub(crate) job: &'static str,
    /// Jobs in a usual minute.
    pub(crate) usual: u64,
    /// The reason of those that failed.
    pub(crate) reason: &'static str,
}

/// Writes it into an embedded store that nobody holds.
pub(crate) fn write(directory: &Path, pasts: &[Past]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = EmbeddedOptions { series: SeriesPoints::all(1440), ..EmbeddedOptions::default() };
        let store = EmbeddedStore::open(directory, options).unwrap();
        let now = SystemClock.now();
        for past in pasts {
            for minute in 0..MINUTES {
                let at = now - (MINUTES - minute) * 60_000;
                minute_of(&store, past, minute, at).await;
            }
        }
        store.close().await;
    });
}

async fn minute_of(store: &EmbeddedStore, past: &Past, minute: u64, at: Millis) {
    let queue = QueueName::new(past.queue).unwrap();
    // A day's rise and fall, and the unevenness of people.
    let wave = [7, 9, 8, 10, 12, 11, 13, 12, 10, 11, 9, 8][usize::try_from(minute / 2 % 12).unwrap()];
    let count = past.usual * wave / 10 + (minute * 7 + past.usual) % 5;
    let failed = u64::from(minute % 9 == 4) + if (38..43).contains(&minute) { past.usual / 4 } else { 0 };
    let ids: Vec<JobId> =
        (0..count).map(|n| JobId::new(format!("{}-{minute}-{n}", past.job)).unwrap()).collect();
    let jobs = ids.iter().map(|id| {
        let options = JobOptions { job_id: Some(id.to_string()), ..JobOptions::default() };
        NewJob { options, ..NewJob::new(past.job, r#"{"i":1}"#) }
    });
    store.add(&queue, jobs.collect(), at).await.unwrap();
    let request = ClaimRequest {
        max: usize::try_from(count).unwrap(),
        token_prefix: format!("past-{minute}").into(),
        token_first: 0,
        lock: Duration::from_secs(3600),
        worker_name: None,
        rate: None,
        now: at,
    };
    let claimed = store.claim(&queue, &request).await.unwrap().jobs;
    let finishes = (0..).zip(claimed).map(|(n, claimed): (u64, _)| {
        let verdict = if n < failed {
            let reason = past.reason.to_owned();
            Verdict::Fail { reason, stacktrace: Vec::new(), keep: Keep::All, attempts_max: 1 }
        } else {
            Verdict::Complete { result: "null".into(), keep: Keep::All }
        };
        Finish::new(claimed.id, claimed.token, verdict)
    });
    store.finish(&queue, finishes.collect(), None, at + 900).await.unwrap();
}
