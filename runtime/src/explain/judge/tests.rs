use std::collections::{BTreeMap, BTreeSet};

use jobcell_core::store::Limits;

use super::super::facts::{HostFact, Orphan};
use super::*;

/// A queue with these jobs that a host with two free slots works.
fn facts(jobs: &[(JobState, u64)]) -> Facts {
    let mut facts = Facts {
        queue: "media".to_owned(),
        handlers: Some(BTreeMap::from([("*".to_owned(), "media".to_owned())])),
        prefix: "bull".to_owned(),
        hosts: vec![HostFact {
            id: "a-1-0000".to_owned(),
            concurrency: 2,
            cells_max: 10,
            ..HostFact::default()
        }],
        idle_hosts: Some(0),
        workers: Some(1),
        ..Facts::default()
    };
    for (state, n) in jobs {
        facts.counts.0.insert(*state, *n);
    }
    facts
}

fn unworked(jobs: &[(JobState, u64)]) -> Facts {
    Facts { hosts: Vec::new(), workers: Some(0), ..facts(jobs) }
}

#[track_caller]
fn only(facts: &Facts, code: &str, wrong: bool, words: &[&str]) {
    let found = judge(facts);
    let [reason] = &found.reasons[..] else { panic!("{:?}", found.reasons) };
    assert_eq!((reason.code.as_str(), reason.wrong), (code, wrong), "{reason:?}");
    let is_beside = facts.elsewhere.is_some();
    assert_eq!(takes_deep_look(code), is_beside, "{code}");
    for word in words {
        assert!(reason.message.contains(word), "no {word:?} in {:?}", reason.message);
    }
    assert!(!reason.message.contains("  "), "{:?}", reason.message);
}

#[test]
fn a_queue_that_is_worked_or_has_nothing_to_do_needs_no_reason() {
    for jobs in [&[][..], &[(JobState::Waiting, 3)], &[(JobState::Active, 1)], &[(JobState::Completed, 9)]] {
        assert_eq!(judge(&facts(jobs)).reasons, [], "{jobs:?}");
    }
    assert_eq!(judge(&unworked(&[(JobState::Completed, 9)])).reasons, [], "nobody is missed");
    let bull = Facts { workers: Some(1), ..unworked(&[(JobState::Waiting, 1)]) };
    assert_eq!(judge(&bull).reasons, [], "a BullMQ worker takes it");
    let unseen = Facts { idle_hosts: None, ..unworked(&[(JobState::Waiting, 1)]) };
    assert_eq!(judge(&unseen).reasons, [], "who cannot be seen may be there");
    assert_eq!(judge(&facts(&[(JobState::Waiting, 3)])).standing(), "3 jobs wait, none runs");
}

#[test]
fn a_queue_that_nobody_works_is_told_what_is_missing() {
    let jobs = [(JobState::Waiting, 3)];
    only(&unworked(&jobs), "no-worker", true, &["start a host (jobcell run)"]);
    only(&Facts { idle_hosts: Some(1), ..unworked(&jobs) }, "no-worker", true, &["without --queue"]);
    only(&Facts { handlers: None, ..unworked(&jobs) }, "no-worker", true, &["add [queues.media]"]);
    let known = BTreeSet::from(["mediaQueue".to_owned(), "overlay".to_owned()]);
    let empty = Facts { handlers: None, known: known.clone(), ..unworked(&[]) };
    only(&empty, "similar-name", true, &["did you mean \"mediaQueue\"?"]);
    only(&Facts { handlers: None, known, ..unworked(&jobs) }, "similar-name", true, &["[queues.mediaQueue]"]);
    let far = BTreeSet::from(["privacy-audit".to_owned()]);
    assert_eq!(judge(&Facts { handlers: None, known: far, ..unworked(&[]) }).reasons, []);
}

#[test]
fn what_was_asked_for_is_told_with_its_end() {
    let jobs = [(JobState::Waiting, 3), (JobState::Active, 1)];
    let with = |limits: Limits| Facts { limits, ..facts(&jobs) };
    only(
        &with(Limits { paused: true, ..Limits::default() }),
        "paused",
        true,
        &["jobcell queue resume media"],
    );
    let rests_for = Some(Duration::from_secs(42));
    let rate = Some(RateLimit { max: 5, per: Duration::from_secs(60) });
    only(
        &with(Limits { rate, rests_for, ..Limits::default() }),
        "rate-limited",
        false,
        &["5 starts in 60 s", "another 42 s"],
    );
    only(&with(Limits { rests_for, ..Limits::default() }), "resting", false, &["--rest 0"]);
    only(
        &with(Limits { concurrency: Some(1), ..Limits::default() }),
        "concurrency",
        false,
        &["of 1 is reached"],
    );
    assert_eq!(judge(&with(Limits { concurrency: Some(2), ..Limits::default() })).reasons, []);
    let paused = Limits { paused: true, ..Limits::default() };
    assert_eq!(judge(&Facts { limits: paused, ..facts(&[]) }).reasons, [], "nothing waits");
}

#[test]
fn hosts_that_take_nothing_are_named() {
    let host = facts(&[]).hosts.remove(0);
    let with = |host: HostFact| Facts { hosts: vec![host], ..facts(&[(JobState::Waiting, 3)]) };
    only(&with(HostFact { quiet: true, ..host.clone() }), "host-quiet", true, &["a-1-0000", "unquiet"]);
    only(&with(HostFact { active: 2, ..host.clone() }), "busy", false, &["all 2 slots"]);
    only(&with(HostFact { cells_active: 10, ..host.clone() }), "busy", false, &["cells.max"]);
    let lags = vec![("media".to_owned(), "it wants http".to_owned())];
    only(&with(HostFact { lags, ..host.clone() }), "handler-lags", true, &["\"media\"", "it wants http"]);
    let mut one_quiet = with(HostFact { quiet: true, ..host.clone() });
    one_quiet.hosts.push(host);
    assert_eq!(judge(&one_quiet).reasons, []);
}

#[test]
fn jobs_that_wait_for_their_time_are_told_when() {
    let due = Some(("7".to_owned(), Duration::from_secs(3 * 3600)));
    let all = Facts { next_due: due.clone(), ..facts(&[(JobState::Delayed, 4)]) };
    only(&all, "delayed", false, &["all 4 jobs", "the first, 7, is due in about 3 h", "promote media"]);
    let some = Facts { next_due: due, ..facts(&[(JobState::Delayed, 4), (JobState::Waiting, 1)]) };
    assert_eq!(judge(&some).reasons, []);
}

#[test]
fn names_that_no_handler_takes_are_listed() {
    let names = BTreeMap::from([("resize".to_owned(), 2), ("rezise".to_owned(), 3)]);
    let handlers = Some(BTreeMap::from([("resize".to_owned(), "media".to_owned())]));
    let jobs = [(JobState::Waiting, 5)];
    let next = Facts { names: names.clone(), handlers: handlers.clone(), ..facts(&jobs) };
    only(&next, "unhandled-name", true, &["3 of", "\"rezise\"", "handlers for \"resize\""]);
    assert_eq!(judge(&Facts { names, ..facts(&jobs) }).reasons, [], "the star takes all");
    only(
        &Facts { unhandled: 4, handlers, ..facts(&[(JobState::Failed, 9)]) },
        "unhandled-failed",
        true,
        &["4 of", "jobcell queue retry media"],
    );
}

#[test]
fn parents_that_wait_in_vain_are_told_for_whom() {
    let jobs = [(JobState::WaitingChildren, 1)];
    let orphan = |unworked: Option<&str>| Orphan {
        parent: "7".to_owned(),
        child: "bull:thumbs:9".to_owned(),
        unworked: unworked.map(str::to_owned),
    };
    let with = |orphan| Facts { orphans: vec![orphan], ..facts(&jobs) };
    only(&with(orphan(None)), "missing-child", true, &["job 7", "bull:thumbs:9", "not there any more"]);
    only(&with(orphan(Some("thumbs"))), "unworked-child", true, &["jobcell queue explain thumbs"]);
}

#[test]
fn jobs_in_another_place_are_told_with_both_ways_to_meet() {
    let stray =
        |place| Elsewhere { strays: vec![Stray { place, waiting: 2 }], whole: true, ..Elsewhere::default() };
    let with = |elsewhere| Facts { elsewhere: Some(elsewhere), ..facts(&[]) };
    only(
        &with(stray(StrayPlace::Prefix("foo:".to_owned()))),
        "other-prefix",
        true,
        &["\"foo:\"", "\"bull\""],
    );
    only(&with(stray(StrayPlace::Database(1))), "other-database", true, &["database 1", "REDIS_DB"]);
    only(
        &with(stray(StrayPlace::List("media".to_owned()))),
        "plain-list",
        true,
        &["LPUSH", "protocol = \"list\""],
    );
    only(
        &with(stray(StrayPlace::BullMq("media".to_owned()))),
        "bullmq-queue",
        true,
        &["read as a plain list"],
    );
    let parked = Elsewhere { parked: 2, whole: true, ..Elsewhere::default() };
    only(&with(parked.clone()), "parked", true, &["jobcell queue resume media"]);
    let mixed = Elsewhere { unparked: 1, written_by: Some("bullmq:5.81.5".to_owned()), ..parked };
    let paused = Facts { limits: Limits { paused: true, ..Limits::default() }, ..with(mixed) };
    only(&paused, "mixed-versions", true, &["2 of", "bullmq:5.81.5"]);
    let misused =
        Elsewhere { misused: vec!["key \"a\" holds a set".to_owned()], whole: true, ..Elsewhere::default() };
    only(&with(misused), "wrong-type", true, &["rename or delete"]);
    only(&with(Elsewhere::default()), "not-all-seen", false, &["in part"]);
}

#[test]
fn times_are_told_as_people_say_them() {
    let told =
        [(0.25, "250 ms"), (90.0, "90 s"), (600.0, "10 min"), (10_800.0, "3 h"), (864_000.0, "10 days")];
    for (seconds, words) in told {
        assert_eq!(span(Duration::from_secs_f64(seconds)), words);
    }
}
