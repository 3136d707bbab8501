//! Working on while connections are killed: every job is completed exactly once.

use std::time::{Duration, Instant};

use jobcell_core::store::{Claim, Finish};
use jobcell_core::{JobState, Store};

use crate::server::{Bench, NOW, claim, complete, finish, plain};

const JOBS: usize = 2000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_job_is_lost_or_done_twice_while_connections_are_killed() {
    let b = Bench::new().await;
    b.add((0..JOBS).map(|_| plain("n")).collect()).await;
    let workers = (0..4).map(|_| tokio::spawn(work(b.store.clone(), b.q.clone())));
    let workers: Vec<_> = workers.collect();
    let mut raw = b.raw.clone();
    for _ in 0..10 {
        let _: i64 = raw.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut accepted = 0;
    for worker in workers {
        accepted += tokio::time::timeout_at(deadline.into(), worker).await.unwrap().unwrap();
    }
    let counts = loop {
        // The last kill may only show now.
        match b.store.counts(&b.q).await {
            Ok(counts) => break counts,
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((counts.get(JobState::Completed), counts.pending()), (JOBS as u64, 0));
    // A finish whose reply was lost is refused when it is repeated, so fewer may be known to be accepted.
    assert!(accepted <= JOBS, "{accepted}");
    let events = raw.events("q").await;
    let completed: Vec<_> = events.iter().filter(|e| e.starts_with("event completed")).collect();
    let distinct: std::collections::HashSet<_> = completed.iter().collect();
    assert_eq!((completed.len(), distinct.len()), (JOBS, JOBS));
}

/// Claims and finishes until everything is done. A claim whose reply is lost leaves jobs that are found as stalled.
async fn work(store: jobcell_redis::BullStore, q: jobcell_core::QueueName) -> usize {
    let mut accepted = 0;
    let mut ends: Vec<Finish> = Vec::new();
    let stalled = jobcell_core::store::StallPolicy { interval: Duration::from_millis(50), max: 1000 };
    loop {
        let mut request = claim(8, NOW);
        request.lock = Duration::from_millis(400);
        match store.finish(&q, ends.clone(), Some(&request), NOW).await {
            Ok(reply) => {
                accepted += reply.finished.iter().filter(|f| f.is_ok()).count();
                ends = ended(reply.claim);
                // The work, so that there is something to be interrupted.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Err(e) => {
                assert!(e.is_transient(), "{e}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        if ends.is_empty() {
            let _ = store.recover_stalled(&q, stalled, NOW).await;
            if store.counts(&q).await.is_ok_and(|counts| counts.pending() == 0) {
                return accepted;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn ended(claim: Claim) -> Vec<Finish> {
    claim.jobs.into_iter().map(|job| finish(&job.id, &job.token, complete("1"))).collect()
}
