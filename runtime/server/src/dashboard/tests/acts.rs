//! What can be done, and that it is done and recorded.

use jobcell_core::JobState;
use jobcell_core::store::{Admin, Schedulers};

use super::*;

async fn state(place: &Place, job: &str) -> Option<JobState> {
    place.store.state(&queue(), &id(job)).await.unwrap()
}

async fn browser(place: &Place) -> Browser<'_> {
    let browser = place.browser();
    browser.get("/hosts").await;
    browser
}

#[tokio::test]
async fn a_queue_is_paused_and_the_page_says_so_once() {
    let place = Place::open(Vec::new());
    let browser = browser(&place).await;
    let done = browser.post("/queues/work/do/pause", &[]).await;
    assert_eq!((done.status, done.header("location")), (StatusCode::SEE_OTHER, "/queues/work"));
    assert!(place.store.is_paused(&queue()).await.unwrap());
    let told = "work is paused: no host starts a job of it.";
    let refresh = browser.request(Method::GET, "/queues", &[("x-refresh", "1")], String::new()).await;
    assert_eq!(refresh.status, StatusCode::OK);
    assert!(browser.get("/queues/work?state=waiting").await.text.contains(told));
    assert!(!browser.get("/queues/work?state=waiting").await.text.contains(told));
    browser.post("/queues/work/do/resume", &[]).await;
    assert!(!place.store.is_paused(&queue()).await.unwrap());
    let audit = place.audit.entries(None, 10).await.unwrap();
    let (_, entry) = &audit[1];
    assert_eq!(
        (entry.action.as_str(), entry.target.as_str(), entry.via),
        ("queue pause", "work", Some(crate::Via::Dashboard))
    );
    assert_eq!(entry.before, Some(serde_json::json!({"paused": false})));
}

#[tokio::test]
async fn limits_are_set_and_lifted() {
    let place = Place::open(Vec::new());
    let browser = browser(&place).await;
    browser.post("/queues/work/do/limits", &[("concurrency", "3"), ("max", "10"), ("per_ms", "1000")]).await;
    let limits = place.store.limits(&queue()).await.unwrap();
    assert_eq!((limits.concurrency, limits.rate.map(|rate| rate.max)), (Some(3), Some(10)));
    assert!(browser.get("/queues/work?state=waiting").await.text.contains("at most 3 at once"));
    for bad in [[("concurrency", "x")], [("max", "5")]] {
        let refused = browser.post("/queues/work/do/limits", &bad).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{bad:?}");
    }
    browser.post("/queues/work/do/limits", &[]).await;
    assert_eq!(place.store.limits(&queue()).await.unwrap().concurrency, None);
}

#[tokio::test]
async fn jobs_are_added_by_the_rules_of_the_api() {
    let place = Place::open(Vec::new());
    let browser = browser(&place).await;
    let big = r#"{"n":123456789012345678901234567890,"s":"ü"}"#;
    let fields = [
        ("name", "welcome"),
        ("data", big),
        ("id", "mine"),
        ("delay", "60000"),
        ("attempts", "3"),
        ("backoff", "100"),
        ("kind", "exponential"),
    ];
    let added = browser.post("/queues/work/add", &fields).await;
    assert_eq!(added.header("location"), "/queues/work/jobs/mine", "{}", added.text);
    let job = place.store.get(&queue(), &id("mine")).await.unwrap().unwrap();
    assert_eq!((job.data.as_ref(), job.options.attempts, job.delay), (big.as_bytes(), 3, 60_000));
    assert_eq!(state(&place, "mine").await, Some(JobState::Delayed));
    let again = browser.post("/queues/work/add", &fields).await;
    assert_eq!(again.status, StatusCode::SEE_OTHER);
    assert!(browser.get("/queues/work/jobs/mine").await.text.contains("was there already"));
    for (bad, told) in [
        ([("name", ""), ("data", "{}")], "name"),
        ([("name", "n"), ("data", "{oops")], "not json"),
        ([("name", "n"), ("id", "a:b")], "a:b"),
        ([("name", "n"), ("delay", "-1")], "whole number"),
    ] {
        let refused = browser.post("/queues/work/add", &bad).await;
        assert!(
            refused.status == StatusCode::BAD_REQUEST && refused.text.to_lowercase().contains(told),
            "{bad:?}: {}",
            refused.text
        );
    }
}

#[tokio::test]
async fn one_job_is_promoted_cancelled_retried_removed() {
    let place = Place::open(Vec::new());
    let browser = browser(&place).await;
    browser.post("/queues/work/add", &[("name", "n"), ("id", "j"), ("delay", "60000")]).await;
    for (action, then) in [
        ("promote", Some(JobState::Waiting)),
        ("cancel", Some(JobState::Failed)),
        ("retry", Some(JobState::Waiting)),
        ("remove", None),
    ] {
        let done = browser.post(&format!("/queues/work/jobs/j/do/{action}"), &[]).await;
        assert_eq!(done.status, StatusCode::SEE_OTHER, "{action}: {}", done.text);
        assert_eq!(state(&place, "j").await, then, "{action}");
    }
    let gone = browser.post("/queues/work/jobs/j/do/retry", &[]).await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    place.add("k", "n", "{}").await;
    assert_eq!(browser.post("/queues/work/jobs/k/do/promote", &[]).await.status, StatusCode::CONFLICT);
    assert_eq!(browser.post("/queues/work/jobs/k/do/explode", &[]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn chosen_jobs_are_worked_on_and_the_rest_is_told() {
    let place = Place::open(Vec::new());
    let browser = browser(&place).await;
    for job in ["a", "b", "c"] {
        place.add(job, "n", "{}").await;
    }
    let chosen = [("action", "cancel"), ("state", "waiting"), ("id", "a"), ("id", "b"), ("id", "gone")];
    let done = browser.post("/queues/work/bulk", &chosen).await;
    assert_eq!(done.header("location"), "/queues/work?state=waiting");
    assert_eq!(
        [state(&place, "a").await, state(&place, "b").await, state(&place, "c").await],
        [Some(JobState::Failed), Some(JobState::Failed), Some(JobState::Waiting)]
    );
    let told = browser.get("/queues/work?state=waiting").await.text;
    assert!(told.contains("2 jobs cancelled. 1 job was left as it is: job"), "{told}");
    assert_eq!(browser.post("/queues/work/do/retry-all", &[]).await.status, StatusCode::SEE_OTHER);
    assert_eq!(state(&place, "a").await, Some(JobState::Waiting));
    assert_eq!(
        browser.post("/queues/work/bulk", &[("action", "retry")]).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(
        browser.post("/queues/work/bulk", &[("action", "explode"), ("id", "a")]).await.status,
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn queues_are_promoted_drained_and_cleaned() {
    let place = Place::open(Vec::new());
    let browser = browser(&place).await;
    browser.post("/queues/work/add", &[("name", "n"), ("id", "late"), ("delay", "60000")]).await;
    browser.post("/queues/work/do/promote-all", &[]).await;
    assert_eq!(state(&place, "late").await, Some(JobState::Waiting));
    browser.post("/queues/work/bulk", &[("action", "cancel"), ("id", "late")]).await;
    place.add("waits", "n", "{}").await;
    browser.post("/queues/work/do/drain", &[]).await;
    assert_eq!((state(&place, "waits").await, state(&place, "late").await), (None, Some(JobState::Failed)));
    browser.post("/queues/work/do/clean", &[("state", "failed"), ("older", "0"), ("most", "10")]).await;
    assert_eq!(state(&place, "late").await, None);
}

#[tokio::test]
async fn schedules_are_set_shown_and_removed() {
    let place = Place::open(Vec::new());
    let browser = browser(&place).await;
    let set = browser
        .post(
            "/schedules",
            &[
                ("queue", "work"),
                ("id", "nightly"),
                ("pattern", "0 3 * * *"),
                ("tz", "Europe/Berlin"),
                ("data", "{\"x\":1}"),
            ],
        )
        .await;
    assert_eq!(set.status, StatusCode::SEE_OTHER, "{}", set.text);
    let page = browser.get("/schedules").await.text;
    assert!(page.contains("nightly") && page.contains("0 3 * * *") && page.contains("Europe/Berlin"));
    assert!(place.store.scheduler(&queue(), "nightly").await.unwrap().is_some());
    for bad in [("pattern", "every now and then"), ("every", "0")] {
        let refused = browser.post("/schedules", &[("queue", "work"), ("id", "s"), bad]).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{bad:?}: {}", refused.text);
    }
    browser.post("/schedules/remove", &[("queue", "work"), ("id", "nightly")]).await;
    assert!(place.store.scheduler(&queue(), "nightly").await.unwrap().is_none());
    assert!(browser.get("/audit").await.text.contains("schedule remove"));
    let audit = place.audit.entries(None, 20).await.unwrap();
    let of = |action: &str| &audit.iter().find(|(_, entry)| entry.action == action).unwrap().1;
    let rule = serde_json::json!({"name": "nightly", "pattern": "0 3 * * *", "tz": "Europe/Berlin"});
    let (set, removed) = (of("schedule set"), of("schedule remove"));
    assert_eq!((&set.before, &set.after), (&None, &Some(rule.clone())));
    assert_eq!((&removed.before, &removed.after), (&Some(rule), &None));
}
