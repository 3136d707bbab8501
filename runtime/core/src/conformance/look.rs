//! Reading: single jobs, lists, counts, logs, queues.

use std::sync::Arc;

use super::rig::{Rig, complete, fail, id, ok};
use crate::job::JobState;
use crate::store::{Page, Verdict};

pub async fn a_missing_job_is_none(rig: Rig) {
    assert!(ok!(rig.store.get(&rig.queue, &id("1"))).is_none());
    assert_eq!(rig.state(&id("1")).await, None);
    for state in JobState::ALL {
        assert!(rig.names(state).await.is_empty());
    }
}

/// One job in each state, named after it.
async fn one_of_each(rig: &Rig) {
    rig.add_finished("completed", complete()).await;
    rig.add_finished("failed", fail("bad")).await;
    let parent = rig.add("waiting-children").await;
    let claimed = rig.claim_one().await;
    rig.add_child(&parent, "waiting", |_| {}).await;
    rig.done(&claimed, Verdict::WaitForChildren).await;
    let child = rig.claim_one().await;
    rig.add("active").await;
    let active = rig.claim_one().await;
    assert_ne!(child.id, active.id);
    rig.done(&child, Verdict::Release).await;
    rig.add_with("delayed", |o| o.delay = 60_000).await;
    rig.add_with("prioritized", |o| o.priority = 2).await;
}

pub async fn every_state_is_told(rig: Rig) {
    one_of_each(&rig).await;
    for state in JobState::ALL {
        let jobs = ok!(rig.store.list(&rig.queue, state, Page::first(10)));
        assert_eq!(jobs.len(), 1, "{state}");
        assert_eq!(jobs[0].name, state.as_str());
        assert_eq!(rig.state(&jobs[0].id).await, Some(state));
        assert_eq!(rig.job(&jobs[0].id).await.data, jobs[0].data);
    }
}

pub async fn what_is_seen_to_have_ended_is_whole(rig: Rig) {
    for n in 0..40 {
        rig.add(&format!("j{n}")).await;
        let claimed = rig.claim_one().await;
        let (store, queue, id) = (Arc::clone(&rig.store), rig.queue.clone(), claimed.id.clone());
        let looking = tokio::spawn(async move {
            loop {
                let (job, state) = store.look_at(&queue, &id).await.unwrap().expect("nobody removes it");
                if state == Some(JobState::Completed) {
                    return job;
                }
                tokio::task::yield_now().await;
            }
        });
        rig.done(&claimed, complete()).await;
        let job = looking.await.unwrap();
        assert!(job.result.is_some() && job.finished_on.is_some(), "{job:?}");
    }
}

pub async fn lists_come_in_the_order_of_running(rig: Rig) {
    for n in 0..3 {
        rig.add(&format!("n{n}")).await;
        rig.add_with(&format!("p{n}"), |o| o.priority = 10 - n).await;
        rig.add_with(&format!("d{n}"), |o| o.delay = 60_000 - n * 1000).await;
    }
    assert_eq!(rig.names(JobState::Waiting).await, ["n0", "n1", "n2"]);
    assert_eq!(rig.names(JobState::Prioritized).await, ["p2", "p1", "p0"]);
    assert_eq!(rig.names(JobState::Delayed).await, ["d2", "d1", "d0"]);
}

pub async fn finished_jobs_come_newest_first(rig: Rig) {
    for n in 0..3 {
        rig.add_finished(&format!("c{n}"), complete()).await;
        rig.add_finished(&format!("f{n}"), fail("bad")).await;
        rig.advance(10);
    }
    assert_eq!(rig.names(JobState::Completed).await, ["c2", "c1", "c0"]);
    assert_eq!(rig.names(JobState::Failed).await, ["f2", "f1", "f0"]);
}

pub async fn lists_are_paged(rig: Rig) {
    for n in 0..7 {
        rig.add(&format!("n{n}")).await;
        rig.add_with(&format!("p{n}"), |o| o.priority = 1).await;
        rig.add_with(&format!("d{n}"), |o| o.delay = 60_000 + n * 1000).await;
    }
    for (state, letter) in [(JobState::Waiting, 'n'), (JobState::Prioritized, 'p'), (JobState::Delayed, 'd')]
    {
        let page = async |offset, limit| {
            let jobs = ok!(rig.store.list(&rig.queue, state, Page { offset, limit }));
            jobs.into_iter().map(|job| job.name).collect::<Vec<_>>()
        };
        assert_eq!(page(0, 3).await, [0, 1, 2].map(|n| format!("{letter}{n}")));
        assert_eq!(page(3, 3).await, [3, 4, 5].map(|n| format!("{letter}{n}")));
        assert_eq!(page(6, 3).await, [format!("{letter}6")]);
        assert!(page(7, 3).await.is_empty());
        assert!(page(0, 0).await.is_empty());
    }
    for n in 0..5 {
        rig.other_queue("done").add_finished(&format!("c{n}"), complete()).await;
        rig.advance(10);
    }
    let done = rig.other_queue("done");
    let jobs = ok!(done.store.list(&done.queue, JobState::Completed, Page { offset: 1, limit: 2 }));
    assert_eq!(jobs.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["c3", "c2"]);
}

pub async fn lists_go_on_behind_a_job(rig: Rig) {
    for n in 0..4_u64 {
        rig.add_finished(&format!("c{n}"), complete()).await;
        rig.add_with(&format!("d{n}"), |o| o.delay = 60_000 + n * 1000).await;
        rig.advance(10);
    }
    for (state, names) in
        [(JobState::Completed, ["c3", "c2", "c1", "c0"]), (JobState::Delayed, ["d0", "d1", "d2", "d3"])]
    {
        let jobs = ok!(rig.store.list(&rig.queue, state, Page::first(10)));
        let behind = async |at: usize, limit| {
            let found = ok!(rig.store.list_behind(&rig.queue, state, &jobs[at].id, limit));
            let found = found.unwrap_or_else(|| panic!("{state}: the place of a job is known"));
            found.into_iter().map(|job| job.name).collect::<Vec<_>>()
        };
        assert_eq!(behind(1, 10).await, names[2..], "{state}");
        assert_eq!(behind(0, 2).await, names[1..3], "{state}");
        assert!(behind(3, 10).await.is_empty() && behind(0, 0).await.is_empty(), "{state}");
    }
    let delayed = ok!(rig.store.list(&rig.queue, JobState::Delayed, Page::first(1)));
    let elsewhere = ok!(rig.store.list_behind(&rig.queue, JobState::Completed, &delayed[0].id, 10));
    assert!(elsewhere.is_none(), "it is in no such list");
}

pub async fn due_jobs_are_counted(rig: Rig) {
    for delay in [10_000, 20_000, 600_000] {
        rig.add_with("later", |o| o.delay = delay).await;
    }
    let due = async |now, most| ok!(rig.store.count_due(&rig.queue, now, most));
    assert_eq!(due(rig.now(), 10).await, 0);
    rig.advance(20_000);
    assert_eq!((due(rig.now(), 10).await, due(rig.now(), 1).await), (2, 1));
    assert_eq!(due(rig.now() + 600_000, 10).await, 3);
}

pub async fn counts_have_every_state(rig: Rig) {
    let counts = ok!(rig.store.counts(&rig.queue));
    assert_eq!(counts.0.len(), JobState::ALL.len());
    assert_eq!(counts.0.values().sum::<u64>(), 0);
    one_of_each(&rig).await;
    let counts = ok!(rig.store.counts(&rig.queue));
    for state in JobState::ALL {
        assert_eq!(counts.get(state), 1, "{state}");
    }
    assert_eq!(counts.pending(), 4);
}

pub async fn logs_are_paged(rig: Rig) {
    let added = rig.add("a").await;
    let lines: Vec<String> = (0..6).map(|n| format!("l{n}")).collect();
    ok!(rig.store.append_logs(&rig.queue, &added, &lines, None));
    let page = async |offset, limit| ok!(rig.store.logs(&rig.queue, &added, Page { offset, limit }));
    assert_eq!(page(0, 2).await, ["l0", "l1"]);
    assert_eq!(page(4, 9).await, ["l4", "l5"]);
    assert!(page(6, 9).await.is_empty());
    assert!(page(0, 0).await.is_empty());
}

pub async fn queues_are_listed_by_name(rig: Rig) {
    assert!(ok!(rig.store.queues()).is_empty());
    for name in ["zebra", "apple", "mail.eu-1"] {
        rig.other_queue(name).add("n").await;
    }
    let queues = ok!(rig.store.queues());
    assert_eq!(
        queues.iter().map(|queue| queue.as_str()).collect::<Vec<_>>(),
        ["apple", "mail.eu-1", "zebra"]
    );
}

pub async fn health_says_what_it_is(rig: Rig) {
    let health = ok!(rig.store.health());
    assert!(!health.kind.is_empty());
    assert!(health.latency < std::time::Duration::from_secs(10));
}

pub async fn priorities_are_counted(rig: Rig) {
    let count = async |priorities: &[u64]| {
        let counts = ok!(rig.store.counts_by_priority(&rig.queue, priorities));
        counts.into_iter().collect::<Vec<_>>()
    };
    assert_eq!(count(&[0, 1]).await, [(0, 0), (1, 0)]);
    for priority in [0, 0, 1, 2, 2, 2, 2_097_151] {
        rig.add_with("n", |o| o.priority = priority).await;
    }
    rig.add_with("n", |o| {
        o.priority = 2;
        o.delay = 60_000;
    })
    .await;
    assert_eq!(count(&[2_097_151, 2, 0, 1, 3]).await, [(0, 2), (1, 1), (2, 3), (3, 0), (2_097_151, 1)]);
    ok!(rig.store.pause(&rig.queue));
    assert_eq!(count(&[0, 1]).await, [(0, 2), (1, 1)]);
    assert!(count(&[]).await.is_empty());
}

pub async fn workers_are_seen_while_they_wait(rig: Rig) {
    let seen = async || {
        let mut names: Vec<_> =
            ok!(rig.store.workers(&rig.queue)).into_iter().map(|worker| worker.name).collect();
        names.sort();
        names
    };
    assert!(seen().await.is_empty());
    let named = ok!(rig.store.waiter(&rig.queue, Some("media-1")));
    let unnamed = ok!(rig.store.waiter(&rig.queue, None));
    let elsewhere = ok!(rig.store.waiter(&rig.other_queue("other").queue, Some("media-2")));
    assert_eq!(seen().await, [None, Some("media-1".to_owned())]);
    let workers = ok!(rig.store.workers(&rig.queue));
    assert!(workers.iter().all(|worker| !worker.address.is_empty()), "{workers:?}");
    assert!(workers.iter().all(|worker| worker.age < std::time::Duration::from_secs(60)), "{workers:?}");
    drop((named, elsewhere));
    // A store may notice the end of a connection a little later.
    for _ in 0..1000 {
        if seen().await == [None] {
            drop(unnamed);
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("a worker that is gone is still seen");
}
