//! Jobs that come in while Redis is away: kept through crashes, forwarded in order, once.

use jobcell_tests::{Host, Site, wait};
use serde_json::{Value, json};

use crate::stage::{BASIC, Stage};

/// Jobs that are sent while Redis is away.
const JOBS: usize = 40;

fn add(host: &Host, body: &Value) -> Option<(u16, Value)> {
    let (status, body) = host.request("POST", "/api/v1/queues/work/jobs", &[], Some(body))?;
    Some((status, serde_json::from_str(&body).ok()?))
}

/// Completed jobs by id, with how often each was started.
fn completed(site: &Site) -> Vec<(String, u64)> {
    let listed =
        site.cli(&["job", "list", "work", "--state", "completed", "--limit", "1000", "--json"]).ok().json();
    let jobs = listed.as_array().unwrap().iter();
    jobs.map(|job| (job["id"].as_str().unwrap().to_owned(), job["attemptsStarted"].as_u64().unwrap()))
        .collect()
}

#[test]
fn accepted_jobs_survive_kill_and_restart_and_run_once_and_in_order() {
    let mut stage = Stage::redis();
    let config = BASIC.replace("concurrency = 4", "concurrency = 1");
    let site = stage.site(&format!("{config}\n[spool]\npath = \"spool.redb\"\nmax-jobs = {}\n", JOBS + 1));
    let host = Host::start(&site);
    let (status, first) = add(&host, &json!({"name": "noop", "data": {"i": 1}})).unwrap();
    assert_eq!(status, 201, "{first}");
    // A job that runs when its host is killed is recovered when its lock is over, which is another matter.
    wait::until("the first job has completed", || (completed(&site).len() == 1).then_some(()));
    stage.redis.as_mut().unwrap().down();
    let mut ids = Vec::new();
    for n in 0..JOBS {
        // Some with an id of their own, some without.
        let opts = if n % 2 == 0 { json!({"jobId": format!("own-{n}")}) } else { json!({}) };
        let (status, answer) = add(&host, &json!({"name": "noop", "data": {"i": 1}, "opts": opts})).unwrap();
        assert_eq!((status, &answer["state"]), (202, &json!("spooled")), "{answer}");
        ids.push(answer["id"].as_str().unwrap().to_owned());
    }
    let batch = json!([{"name": "noop", "data": {"i": 1}}, {"name": "noop", "data": {"i": 1}}]);
    let (status, answer) = add(&host, &batch).unwrap();
    assert_eq!(status, 503, "two are more than there is room for: {answer}");
    let page = host.get("/metrics").unwrap().1;
    assert!(page.contains(&format!("jobcell_spool_jobs {JOBS}")), "{page}");
    host.kill();

    // The same jobs again, as a producer does that saw no answer: while Redis is away still, and then once it is back.
    stage.redis.as_mut().unwrap().up();
    let host = Host::start(&site);
    wait::until("the spool is empty", || {
        host.get("/metrics").filter(|(_, page)| page.contains("jobcell_spool_jobs 0"))
    });
    for id in ids.iter().filter(|id| id.starts_with("own-")) {
        let (status, answer) =
            add(&host, &json!({"name": "noop", "data": {"i": 1}, "opts": {"jobId": id}})).unwrap();
        assert_eq!((status, &answer["added"]), (201, &json!(false)), "{answer}");
    }
    let done =
        wait::until("every job has completed", || Some(completed(&site)).filter(|done| done.len() > JOBS));
    // Several may have started in the same millisecond, but none before one that was accepted earlier.
    let starts: Vec<u64> = ids
        .iter()
        .map(|id| site.job("work", id)["processedOn"].as_u64().unwrap_or_else(|| panic!("{id} has not run")))
        .collect();
    assert!(starts.is_sorted(), "in the order they were accepted: {starts:?}");
    assert!(done.iter().all(|(_, started)| *started == 1), "{done:?}");
}

#[test]
fn a_spool_that_is_used_by_another_host_is_refused_with_the_way_out() {
    let stage = Stage::redis();
    let site = stage.site(&format!("{BASIC}\n[spool]\npath = \"spool.redb\"\n"));
    let _host = Host::start(&site);
    let other = site.cli_as(&[("JOBCELL_SERVER__LISTEN", "127.0.0.1:0")], &["run", "--burst"]);
    let _ = other.exits(1).says(&["spool.redb", "[spool] path"]);
}
