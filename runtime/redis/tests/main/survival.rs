//! Working on while connections are killed: every job is completed exactly once.

use std::time::{Duration, Instant};

use jobcell_core::store::{Claim, Finish};
use jobcell_core::{JobOptions, JobState, Store};
use jobcell_redis::{BullStore, ConnectOptions};

use crate::server::{Bench, NOW, claim, complete, finish, ids, job, plain, queue};

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

#[tokio::test]
async fn jobs_whose_claim_was_never_answered_are_given_back_at_once_and_count_as_no_stall() {
    let mut b = Bench::new().await;
    let high = JobOptions { priority: 1, ..JobOptions::default() };
    b.add(vec![plain("a"), plain("b"), plain("c"), job("d", high)]).await;
    let (kept, token, _) = b.take().await;
    let lossy = b.server.lossy().await;
    let store = BullStore::connect(ConnectOptions::from_url(&lossy.url()).unwrap()).await.unwrap();
    store.claim(&queue("other"), &claim(1, NOW)).await.unwrap();

    lossy.lose_replies(true);
    let e = store.claim(&b.q, &claim(9, NOW)).await.unwrap_err();
    assert!(e.is_transient(), "{e}");
    lossy.lose_replies(false);
    assert_eq!(b.raw.list("bull:q:active").await, ["4", "3", "2", "1"], "the script ran");

    let deadline = Instant::now() + Duration::from_secs(10);
    let claimed = loop {
        match store.claim(&b.q, &claim(9, NOW)).await {
            Ok(claimed) => break claimed,
            Err(e) => assert!(e.is_transient() && Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(ids(&claimed), ["2", "3", "4"], "in their order");
    assert!(!b.raw.hash("bull:q:2").await.contains_key("stc"));
    for job in &claimed.jobs {
        assert_eq!(b.finish(&job.id, &job.token, complete("1")).await.finished, [Ok(())]);
    }
    // Another's job is left alone.
    assert_eq!(b.finish(&kept, &token, complete("1")).await.finished, [Ok(())]);
    assert_eq!(b.store.counts(&b.q).await.unwrap().get(JobState::Completed), 4);
}

/// Claims and finishes until everything is done. A claim whose reply is lost leaves jobs that are found as stalled.
async fn work(store: BullStore, q: jobcell_core::QueueName) -> usize {
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
