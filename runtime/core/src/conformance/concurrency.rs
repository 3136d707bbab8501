//! Many at once.

use std::collections::HashSet;

use super::rig::{Rig, complete, complete_with, ok, retry};
use crate::job::JobState;
use crate::store::{Added, Refusal};

/// Runs so many copies at once and gathers what they give.
async fn at_once<T, F>(copies: usize, task: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let running: Vec<_> = (0..copies).map(|n| tokio::spawn(task(n))).collect();
    let mut results = Vec::new();
    for task in running {
        results.push(task.await.expect("no task panics"));
    }
    results
}

pub async fn a_job_is_given_to_one_worker_only(rig: Rig) {
    const JOBS: usize = 300;
    let jobs = (0..JOBS).map(|n| Rig::new_job(&format!("n{n}"))).collect();
    ok!(rig.store.add(&rig.queue, jobs, rig.now()));
    let claimed = at_once(8, |worker| {
        let rig = rig.clone();
        async move {
            let mut mine = Vec::new();
            loop {
                let jobs = rig.claim(1 + worker % 4).await;
                if jobs.is_empty() {
                    return mine;
                }
                mine.extend(jobs);
            }
        }
    })
    .await;
    let ids: Vec<_> = claimed.iter().flatten().map(|c| c.id.clone()).collect();
    let tokens: HashSet<_> = claimed.iter().flatten().map(|c| c.token.clone()).collect();
    assert_eq!(ids.len(), JOBS, "every job was claimed once");
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), JOBS, "no job was claimed twice");
    assert_eq!(tokens.len(), JOBS);
    assert_eq!(rig.count(JobState::Active).await, JOBS as u64);
}

pub async fn of_many_finishes_one_is_accepted(rig: Rig) {
    for _ in 0..10 {
        let id = rig.add("a").await;
        let claimed = rig.claim_one().await;
        let answers = at_once(6, |n| {
            let (rig, claimed) = (rig.clone(), claimed.clone());
            async move { rig.finish(&claimed, complete_with(&n.to_string())).await }
        })
        .await;
        let accepted: Vec<usize> =
            answers.iter().enumerate().filter(|(_, answer)| answer.is_ok()).map(|(n, _)| n).collect();
        assert_eq!(accepted.len(), 1, "{answers:?}");
        assert!(answers.iter().filter_map(|answer| answer.err()).all(Refusal::is_lost));
        let job = rig.job(&id).await;
        assert_eq!(
            job.result.as_deref(),
            Some(accepted[0].to_string().as_bytes()),
            "the accepted result stays"
        );
        assert_eq!(job.attempts_made, 1);
    }
}

pub async fn of_many_equal_ids_one_is_added(rig: Rig) {
    for round in 0..5 {
        let added = at_once(6, |n| {
            let rig = rig.clone();
            async move {
                let mut job = Rig::new_job(&format!("n{n}"));
                job.options.job_id = Some(format!("order-{round}"));
                ok!(rig.store.add(&rig.queue, vec![job], rig.now())).remove(0)
            }
        })
        .await;
        assert_eq!(added.iter().filter(|a| matches!(a, Added::New(_))).count(), 1, "{added:?}");
    }
    assert_eq!(rig.count(JobState::Waiting).await, 5);
}

pub async fn adding_and_working_at_once_loses_nothing(rig: Rig) {
    const PRODUCERS: usize = 4;
    const EACH: usize = 50;
    let workers = {
        let rig = rig.clone();
        tokio::spawn(async move {
            at_once(4, |_| {
                let rig = rig.clone();
                async move {
                    while rig.count(JobState::Completed).await < (PRODUCERS * EACH) as u64 {
                        for claimed in rig.claim(3).await {
                            // Every job fails once before it completes.
                            let first = claimed.job.as_ref().is_ok_and(|job| job.attempts_made == 0);
                            rig.done(&claimed, if first { retry(0) } else { complete() }).await;
                        }
                    }
                }
            })
            .await
        })
    };
    at_once(PRODUCERS, |producer| {
        let rig = rig.clone();
        async move {
            for n in 0..EACH {
                rig.add_with(&format!("p{producer}n{n}"), |o| o.priority = (n % 3) as u64).await;
            }
        }
    })
    .await;
    workers.await.expect("no worker panics");
    let counts = ok!(rig.store.counts(&rig.queue));
    assert_eq!(counts.get(JobState::Completed), (PRODUCERS * EACH) as u64);
    assert_eq!(counts.pending(), 0);
    assert_eq!(
        rig.names(JobState::Completed).await.into_iter().collect::<HashSet<_>>().len(),
        PRODUCERS * EACH
    );
}

pub async fn finishing_in_batches_loses_nothing(rig: Rig) {
    const JOBS: usize = 400;
    let jobs = (0..JOBS).map(|n| Rig::new_job(&format!("n{n}"))).collect();
    ok!(rig.store.add(&rig.queue, jobs, rig.now()));
    let finished = at_once(4, |_| {
        let rig = rig.clone();
        async move {
            let mut finished = 0;
            let mut running = rig.claim(16).await;
            while !running.is_empty() {
                let finishes: Vec<_> = running.iter().map(|c| Rig::ending(c, complete())).collect();
                finished += finishes.len();
                let (answers, claim) = rig.finish_and_claim(finishes, 16).await;
                assert!(answers.iter().all(Result::is_ok), "{answers:?}");
                running = claim.jobs;
            }
            finished
        }
    })
    .await;
    assert_eq!(finished.iter().sum::<usize>(), JOBS);
    assert_eq!(rig.count(JobState::Completed).await, JOBS as u64);
}
