//! Campaigns: fed within their window, accounted for to the last recipient, going on where they were.

use std::collections::BTreeSet;
use std::time::Duration;

use jobcell_sdk::testing::Enqueued;

use super::*;
use crate::campaign::{Campaign, campaign};
use crate::order::{Which, pause, resume};
use crate::tally::Tally;

/// What the store would hold of the campaign's job.
struct Team<'a> {
    host: &'a Host,
    payload: Vec<u8>,
    done: usize,
}

impl<'a> Team<'a> {
    fn launches(host: &'a Host, recipients: u32) -> Self {
        let numbers: BTreeMap<_, _> = NUMBERS.iter().map(|number| (*number, recipients)).collect();
        let template = json!({ "name": "spring", "language": "en_US" });
        let payload = json!({ "campaign": "sale", "numbers": numbers, "template": template });
        Self { host, payload: payload.to_string().into_bytes(), done: 0 }
    }

    fn turn(&mut self) -> Result<Tally, Failure> {
        let payload: Campaign = serde_json::from_slice(&self.payload).unwrap();
        let answer = self.host.run(campaign, testing::job(payload));
        self.payload = self.host.updated_data().unwrap_or_else(|| self.payload.clone());
        answer
    }

    /// The jobs that were put on queues since the last look, each id once, as a store would.
    fn queued(&mut self) -> Vec<Enqueued> {
        let all = self.host.enqueued();
        let known: BTreeSet<_> = all[..self.done].iter().map(|job| job.id.clone()).collect();
        let new: BTreeMap<_, _> = all[self.done..].iter().map(|job| (job.id.clone(), job.clone())).collect();
        self.done = all.len();
        new.into_values().filter(|job| !known.contains(&job.id)).collect()
    }

    fn run(&self, jobs: &[Enqueued]) {
        for job in jobs {
            assert_eq!(
                job.queue,
                format!(
                    "messages-{}",
                    serde_json::from_slice::<Value>(&job.data).unwrap()["number"].as_str().unwrap()
                )
            );
            let _ = send(self.host, &serde_json::from_slice(&job.data).unwrap(), 1);
        }
    }

    fn sent(&self) -> Vec<String> {
        let to = |request: &Request| request.body_json::<Value>().unwrap()["to"].as_str().unwrap().to_owned();
        self.host.requests().iter().filter(|request| request.url.starts_with(GRAPH)).map(to).collect()
    }
}

#[test]
fn every_recipient_is_accounted_for_and_none_is_written_to_twice() {
    let (host, answers) = host();
    answers.borrow_mut().insert("100200007".into(), Ok(Response::new(400)));
    answers.borrow_mut().insert("100200008".into(), Err(HttpError::Timeout));
    let mut team = Team::launches(&host, 25);
    let tally = loop {
        match team.turn() {
            Ok(tally) => break tally,
            Err(failure) => assert_eq!(failure, Failure::DelayUntil(NOW + 1_000)),
        }
        let jobs = team.queued();
        assert!(jobs.len() <= 20, "a window of ten for each of two numbers: {}", jobs.len());
        team.run(&jobs);
    };
    let expected = Tally {
        recipients: 50,
        sent: 46,
        failed: 1,
        uncertain: 1,
        skipped: 2,
        waiting: 0,
        delivered: 0,
        read: 0,
    };
    assert_eq!(tally, expected);
    let sent = team.sent();
    assert_eq!(sent.len(), 48);
    assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), 48, "nobody twice");
    let progress = host.progress();
    assert_eq!(progress[0]["percent"], 0);
    assert_eq!(progress.last().unwrap()["percent"], 100);
}

#[test]
fn a_window_that_is_not_used_up_is_not_filled_again() {
    let (host, _) = host();
    let mut team = Team::launches(&host, 25);
    team.turn().unwrap_err();
    let first = team.queued();
    // The recipient at place 3 wants no messages and takes no room.
    assert_eq!(first.len(), 20);
    team.turn().unwrap_err();
    assert_eq!(team.queued().len(), 0, "nothing was sent in between");
    team.run(&first[..5]);
    team.turn().unwrap_err();
    assert_eq!(team.queued().len(), 5);
}

#[test]
fn a_turn_that_broke_off_is_repeated_without_repeating_a_message() {
    let (host, _) = host();
    let mut team = Team::launches(&host, 25);
    let before = team.payload.clone();
    team.turn().unwrap_err();
    let ids: BTreeSet<_> = team.queued().into_iter().map(|job| job.id).collect();
    // The host died before the job's end was written: its data are those of before.
    team.payload = before;
    team.turn().unwrap_err();
    assert_eq!(ids.len(), 20);
    assert_eq!(team.queued().len(), 0, "the same messages have the same ids");
}

#[test]
fn a_paused_campaign_feeds_nothing_and_goes_on_with_what_was_not_sent() {
    let (host, _) = host();
    let mut team = Team::launches(&host, 25);
    team.turn().unwrap_err();
    let jobs = team.queued();
    team.run(&jobs[..8]);
    let which = || testing::job(Which { campaign: "sale".into() });
    host.run(pause, which()).unwrap();
    team.run(&jobs[8..]);
    assert_eq!(team.sent().len(), 8, "what was on the queues left them unsent");
    assert_eq!(team.turn(), Err(Failure::DelayUntil(NOW + 2_000)));
    assert_eq!(host.progress().last().unwrap()["paused"], true);
    assert_eq!(team.queued().len(), 0);

    host.run(resume, which()).unwrap();
    let tally = loop {
        if let Ok(tally) = team.turn() {
            break tally;
        }
        let jobs = team.queued();
        team.run(&jobs);
    };
    let sent = team.sent();
    assert_eq!((tally.sent, tally.skipped, sent.len()), (48, 2, 48));
    assert_eq!(sent.iter().collect::<BTreeSet<_>>().len(), 48);
}

#[test]
fn messages_that_vanished_from_their_queues_are_fed_again() {
    let (host, _) = host();
    let host = host.config("window", "100");
    let mut team = Team::launches(&host, 5);
    team.turn().unwrap_err();
    let jobs = team.queued();
    team.run(&jobs[..3]);
    // Somebody drained the queues.
    for _ in 0..120 {
        team.turn().unwrap_err();
        assert_eq!(team.queued().len(), 0);
    }
    team.turn().unwrap_err();
    let jobs = team.queued();
    assert_eq!(jobs.len(), 5, "two numbers, four recipients each, three sent");
    team.run(&jobs);
    let tally = team.turn().unwrap();
    assert_eq!((tally.sent, tally.skipped, team.sent().len()), (8, 2, 8));
}

#[test]
fn a_number_that_rests_is_not_taken_for_stuck() {
    let (host, answers) = host();
    for place in 0..5 {
        let rest = Response::new(429).with_header("Retry-After", "3600");
        answers.borrow_mut().insert(format!("1001{place:05}"), Ok(rest));
    }
    let mut team = Team::launches(&host, 5);
    team.turn().unwrap_err();
    let jobs = team.queued();
    team.run(&jobs);
    for _ in 0..300 {
        team.turn().unwrap_err();
        host.advance(Duration::from_secs(1));
    }
    assert_eq!(team.queued().len(), 0);
    assert_eq!(host.progress().last().unwrap()["resting"]["1001"], NOW + 3_600_000);
}

#[test]
fn a_back_end_that_is_away_costs_no_attempt() {
    let (host, _) = host();
    let host = host.on_request(|_| Ok(Response::new(503)));
    let mut team = Team::launches(&host, 5);
    assert_eq!(team.turn(), Err(Failure::DelayUntil(NOW + 2_000)));
    assert!(host.logs()[0].contains("the back end answered 503"), "{:?}", host.logs());
}

#[test]
fn a_campaign_that_cannot_be_is_refused() {
    for (changed, told) in
        [(json!({"campaign": "a b"}), "campaign"), (json!({"numbers": {"x": 1}}), "numbers")]
    {
        let mut payload =
            json!({ "campaign": "a", "numbers": {"1": 1}, "template": { "name": "t", "language": "en" } });
        payload.as_object_mut().unwrap().extend(changed.as_object().unwrap().clone());
        let payload: Campaign = serde_json::from_value(payload).unwrap();
        let (host, _) = host();
        let Err(Failure::Invalid(reason)) = host.run(campaign, testing::job(payload)) else { panic!() };
        assert!(reason.starts_with(told), "{reason}");
    }
}
