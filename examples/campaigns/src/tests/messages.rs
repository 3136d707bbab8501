//! One message: at most once, whatever happens to the attempt, the provider and the store.

use std::time::Duration;

use super::*;
use crate::notes::rests_until;
use crate::order::{Order, Which, pause};

fn answer(status: u16, code: i64) -> Result<Response, HttpError> {
    Ok(Response::new(status).with_json(&json!({ "error": { "code": code, "message": "no" } })))
}

#[test]
fn a_message_is_sent_once_however_often_its_job_runs() {
    let (host, _) = host();
    let first = send(&host, &message(0, 0), 1).unwrap();
    assert_eq!((first.state, &*first.note), ("sent", "wamid.100100000"));
    assert_eq!(send(&host, &message(0, 0), 2).unwrap().state, "sent");
    assert_eq!(asked(&host), 1);
    let request = &host.requests()[0];
    assert_eq!(request.url, format!("{GRAPH}/1001/messages"));
    assert_eq!(request.header_value("authorization"), Some("Bearer a-token"), "put in by the host");
    let body: Value = request.body_json().unwrap();
    assert_eq!(body["biz_opaque_callback_data"], "sale/1001/0");
    assert_eq!(body["template"]["components"][0]["parameters"][0]["text"], "Ada");
}

#[test]
fn an_attempt_that_ended_in_the_middle_is_uncertain_and_not_repeated() {
    let (host, _) = host();
    host.within(|| {
        let message: Message = serde_json::from_value(message(0, 0)).unwrap();
        Ledger::open().unwrap().mark(&message.address, State::Asked(20)).unwrap();
    });
    let Err(Failure::Fatal(reason)) = send(&host, &message(0, 0), 2) else { panic!() };
    assert!(reason.starts_with("uncertain: "), "{reason}");
    assert_eq!((asked(&host), state(&host, 0)), (0, State::Uncertain));
    assert_eq!(send(&host, &message(0, 0), 3).unwrap().state, "uncertain", "also when a person retries it");
    assert_eq!(asked(&host), 0);
}

#[test]
fn another_job_of_a_message_that_is_being_asked_waits_for_its_answer() {
    let (host, _) = host();
    host.within(|| {
        let message: Message = serde_json::from_value(message(0, 0)).unwrap();
        Ledger::open().unwrap().mark(&message.address, State::Asked(20)).unwrap();
    });
    assert_eq!(send(&host, &message(0, 0), 1), Err(Failure::DelayUntil(NOW + 40_000)));
    assert_eq!(state(&host, 0), State::Asked(20));
}

#[test]
fn a_429_rests_the_number_and_the_message_goes_out_afterwards() {
    let (host, answers) = host();
    let too_many = Response::new(429).with_header("Retry-After", "7");
    answers.borrow_mut().insert("100100000".into(), Ok(too_many));
    assert_eq!(send(&host, &message(0, 0), 1), Err(Failure::RateLimited(Duration::from_secs(7))));
    assert_eq!(state(&host, 0), State::Open);
    host.within(|| assert_eq!(rests_until(Ledger::open().unwrap().bucket(), "1001"), Ok(NOW + 7_000)));
    answers.borrow_mut().clear();
    assert_eq!(send(&host, &message(0, 0), 2).unwrap().state, "sent");
}

#[test]
fn what_the_provider_refuses_has_failed_and_what_it_does_not_say_is_uncertain() {
    let (host, answers) = host();
    answers.borrow_mut().insert("100100000".into(), answer(400, 131_026));
    answers.borrow_mut().insert("100100001".into(), answer(502, 0));
    answers.borrow_mut().insert("100100002".into(), Err(HttpError::Timeout));
    answers.borrow_mut().insert("100100004".into(), Err(HttpError::Broken("reset".into())));
    for (place, found) in
        [(0, State::Failed), (1, State::Uncertain), (2, State::Uncertain), (4, State::Uncertain)]
    {
        assert!(matches!(send(&host, &message(place, 0), 1), Err(Failure::Fatal(_))), "{place}");
        assert_eq!(state(&host, place), found);
    }
}

#[test]
fn a_provider_that_is_not_there_costs_no_message_and_no_attempt() {
    let (host, answers) = host();
    answers.borrow_mut().insert("100100000".into(), Err(HttpError::Connect("refused".into())));
    assert_eq!(send(&host, &message(0, 0), 1), Err(Failure::RateLimited(Duration::from_secs(5))));
    assert_eq!(state(&host, 0), State::Open);
}

#[test]
fn a_recipient_written_to_too_often_waits_alone() {
    let (host, answers) = host();
    answers.borrow_mut().insert("100100000".into(), answer(400, 131_056));
    assert_eq!(send(&host, &message(0, 0), 1), Err(Failure::DelayUntil(NOW + 10_000)));
    assert_eq!(state(&host, 0), State::Open);
}

#[test]
fn nothing_of_a_paused_campaign_or_an_older_round_goes_out() {
    let (host, _) = host();
    let which = || testing::job(Which { campaign: "sale".into() });
    assert_eq!(host.run(pause, which()), Ok(Order { paused: true, round: 1 }));
    assert_eq!(host.run(pause, which()), Ok(Order { paused: true, round: 1 }), "twice is once");
    for round in [0, 1] {
        assert_eq!(send(&host, &message(0, round), 1).unwrap().state, "held");
    }
    assert_eq!(host.run(crate::order::resume, which()), Ok(Order { paused: false, round: 1 }));
    assert_eq!(send(&host, &message(0, 0), 1).unwrap().state, "held");
    assert_eq!(send(&host, &message(0, 1), 1).unwrap().state, "sent");
    assert_eq!(asked(&host), 1);
}

#[test]
fn what_was_heard_and_could_not_be_written_is_written_by_the_next_attempt() {
    let (host, _) = host();
    let mut payload = message(0, 0);
    payload["heard"] = json!({ "letter": "s", "note": "wamid.7" });
    assert_eq!(send(&host, &payload, 2), Ok(Ended { state: "sent", note: "wamid.7".into() }));
    assert_eq!((asked(&host), state(&host, 0)), (0, State::Sent));
}

#[test]
fn an_attempt_that_did_not_ask_takes_its_mark_back_and_no_other() {
    let (host, _) = host();
    for (place, left, word) in [(0, State::Asked(20), "sent"), (1, State::Open, "sent")] {
        let mut payload = message(place, 0);
        let address = serde_json::from_value::<Message>(payload.clone()).unwrap().address;
        host.within(|| Ledger::open().unwrap().mark(&address, left).unwrap());
        payload["heard"] = json!({ "letter": "U", "note": "" });
        assert_eq!(send(&host, &payload, 2).unwrap().state, word);
        let kept: Value = serde_json::from_slice(&host.updated_data().unwrap()).unwrap();
        assert!(kept.get("heard").is_none(), "said once");
    }
    let mut payload = message(2, 0);
    let address = serde_json::from_value::<Message>(payload.clone()).unwrap().address;
    host.within(|| Ledger::open().unwrap().mark(&address, State::Asked(19)).unwrap());
    payload["heard"] = json!({ "letter": "U", "note": "" });
    assert!(matches!(send(&host, &payload, 2), Err(Failure::Fatal(_))), "that one was somebody else's");
    assert_eq!((asked(&host), state(&host, 2)), (2, State::Uncertain));
}

#[test]
fn a_missing_setting_is_said_before_anything_is_marked() {
    let host = Host::new().bucket(BUCKET).config("graph", GRAPH);
    let Err(Failure::Fatal(reason)) = send(&host, &message(0, 0), 1) else { panic!() };
    assert!(reason.contains("secrets = [\"whatsapp-token\"]"), "{reason}");
    assert_eq!(state(&host, 0), State::Open);
}
