//! The handlers as the component runs them: JSON in, JSON or a failure out, against the SDK's in-memory host.

use jobcell_sdk::Raw;
use jobcell_sdk::http::{HttpError, Response};
use jobcell_sdk::jobs::OnChildFailure;
use jobcell_sdk::prelude::Failure;
use jobcell_sdk::testing::{self, Host, JobBuilder};
use serde_json::{Value, json};

const API: &str = "http://127.0.0.1:4000/internal/donations";
const VERIFIED: &str = "bull:donationQueue:41";
const MEDIA: &str = "bull:mediaQueue:42-media";
const SAVE: &str = "bull:donationQueue:42-save";
const OVERLAY: &str = "bull:overlayQueue:42-overlay";

fn host() -> Host {
    ["donationQueue", "mediaQueue", "overlayQueue"].into_iter().fold(Host::new(), Host::enqueues)
}

fn paid() -> Host {
    host().child(VERIFIED, payment().to_string())
}

fn payment() -> Value {
    json!({
        "verified": true, "provider": "stripe", "event_id": "evt_1", "event_type": "checkout.session.completed",
        "reference": "pi_1", "amount": 5000, "currency": "USD", "status": "paid", "confirmed": false,
    })
}

fn processed() -> Value {
    let output = json!({
        "name": "w320", "store": "uploads", "key": "thumbs/don_1/w320.jpg", "width": 320, "height": 480,
        "bytes": 9000, "contentType": "image/jpeg", "sha256": "00", "animated": false,
    });
    json!({ "source": {}, "outputs": [output] })
}

fn donation() -> JobBuilder<Raw> {
    donation_of(&json!({
        "donation": "don_1", "streamer": "ada", "donor": "Grace", "message": "go on!", "picture": "in/cat.jpg",
    }))
}

fn donation_of(payload: &Value) -> JobBuilder<Raw> {
    testing::json(payload).name("donation").queue("donationQueue").id("42")
}

fn run(host: &Host, job: JobBuilder<Raw>) -> Result<Value, Failure> {
    host.dispatch(&crate::PLUGIN, job).map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// The only child that was asked for: queue, name, id, payload.
#[track_caller]
fn asked(host: &Host) -> (String, String, String, Value, OnChildFailure) {
    let mut jobs = host.enqueued();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
    let job = jobs.remove(0);
    assert!(job.child && job.options.attempts.is_some_and(|attempts| attempts > 1), "{job:?}");
    (job.queue, job.name, job.id, serde_json::from_slice(&job.data).unwrap(), job.options.on_failure)
}

#[test]
fn a_refused_payment_ends_the_donation_and_begins_nothing() {
    let host = host().child_failure(VERIFIED, "bad signature");
    let failure = run(&host, donation()).unwrap_err();
    assert_eq!(failure, Failure::fatal("the payment was refused: bad signature"));
    assert_eq!(host.enqueued(), []);
}

#[test]
fn no_proof_of_payment_is_no_payment() {
    let failure = run(&host(), donation()).unwrap_err();
    assert!(matches!(&failure, Failure::Invalid(why) if why.contains("FlowProducer")), "{failure}");
    let unproved = host().child(VERIFIED, r#"{"verified":false,"event_id":"evt_1"}"#);
    assert!(matches!(run(&unproved, donation()), Err(Failure::Fatal(_))));
    let strange = host().child(VERIFIED, r#"{"ok":true}"#);
    let failure = run(&strange, donation()).unwrap_err();
    assert!(matches!(&failure, Failure::Fatal(why) if why.contains(VERIFIED)), "{failure}");
    for host in [unproved, strange] {
        assert_eq!(host.enqueued(), []);
    }
}

#[test]
fn steps_are_asked_for_one_after_the_other() {
    let waiting = |host: &Host| assert_eq!(run(host, donation()), Err(Failure::WaitForChildren));
    let host = paid();
    waiting(&host);
    let (queue, name, id, payload, on_failure) = asked(&host);
    assert_eq!((queue.as_str(), name.as_str(), id.as_str()), ("mediaQueue", "thumbnails", "42-media"));
    assert_eq!(on_failure, OnChildFailure::Ignore);
    assert_eq!(payload["source"], json!({"blob": {"store": "uploads", "key": "in/cat.jpg"}}));
    assert_eq!(payload["destination"], json!({"store": "uploads", "prefix": "thumbs/don_1/"}));

    let host = paid().child(MEDIA, processed().to_string());
    waiting(&host);
    let (queue, name, id, record, on_failure) = asked(&host);
    assert_eq!((queue.as_str(), name.as_str(), id.as_str()), ("donationQueue", "save-donation", "42-save"));
    assert_eq!(on_failure, OnChildFailure::Block, "money has arrived");
    assert_eq!(
        (&record["amount"], &record["currency"], &record["event"]),
        (&json!(5000), &json!("USD"), &json!("evt_1"))
    );
    assert_eq!(record["pictures"], json!([{"key": "thumbs/don_1/w320.jpg", "width": 320, "height": 480}]));

    let host = host_with_row().child(MEDIA, processed().to_string());
    waiting(&host);
    let (queue, name, id, notice, on_failure) = asked(&host);
    assert_eq!((queue.as_str(), name.as_str(), id.as_str()), ("overlayQueue", "notify", "42-overlay"));
    assert_eq!(on_failure, OnChildFailure::Ignore);
    assert_eq!(notice["channel"], json!({"overlay": {"channel": "overlay", "tenant": "ada"}}));
    assert_eq!(notice["data"], record);

    let host = host_with_row().child(MEDIA, processed().to_string()).child(OVERLAY, r#"{"delivered":true}"#);
    let outcome = run(&host, donation()).unwrap();
    assert_eq!(host.enqueued(), []);
    assert_eq!(
        (&outcome["saved"], &outcome["shown"], &outcome["degraded"]),
        (&json!("7"), &json!(true), &Value::Null)
    );
}

fn host_with_row() -> Host {
    paid().child(SAVE, r#"{"id":"7"}"#)
}

#[test]
fn a_step_that_was_asked_for_before_its_host_died_is_asked_for_under_the_same_id() {
    let (first, again) = (paid(), paid());
    let attempts = [run(&first, donation()), run(&again, donation().starts(2).stalls(1))];
    assert_eq!(attempts, [Err(Failure::WaitForChildren), Err(Failure::WaitForChildren)]);
    assert_eq!(asked(&first), asked(&again));
}

#[test]
fn a_failed_picture_degrades_the_donation() {
    let host = paid().child_failure(MEDIA, "not a picture");
    assert_eq!(run(&host, donation()), Err(Failure::WaitForChildren));
    let (_, name, _, record, _) = asked(&host);
    assert_eq!(
        (name.as_str(), &record["pictures"], &record["degraded"]),
        ("save-donation", &json!([]), &json!("not a picture"))
    );
}

#[test]
fn a_donation_without_a_picture_goes_straight_to_the_database() {
    let host = paid();
    let payload = json!({"donation": "don_1", "streamer": "ada", "donor": "Grace"});
    assert_eq!(run(&host, donation_of(&payload)), Err(Failure::WaitForChildren));
    let (_, name, _, record, _) = asked(&host);
    assert_eq!((name.as_str(), &record["degraded"]), ("save-donation", &Value::Null));
}

#[test]
fn a_missed_broadcast_fails_nothing() {
    let host = host_with_row().child(MEDIA, processed().to_string()).child_failure(OVERLAY, "denied");
    let outcome = run(&host, donation()).unwrap();
    assert_eq!((&outcome["saved"], &outcome["shown"]), (&json!("7"), &json!(false)));
}

#[test]
fn an_id_that_is_no_folder_is_refused() {
    for id in ["", "../don", "a/b", "a b", &"x".repeat(65)] {
        let host = paid();
        let payload = json!({"donation": id, "streamer": "ada", "donor": "Grace"});
        let failure = run(&host, donation_of(&payload)).unwrap_err();
        assert!(matches!(&failure, Failure::Invalid(why) if why.contains("donation:")), "{id:?}: {failure}");
        assert_eq!(host.enqueued(), []);
    }
}

// --- save-donation ---

fn backend() -> Host {
    Host::new().config("api", "http://127.0.0.1:4000/").secret("backend-token", "s3cr3t")
}

fn save() -> JobBuilder<Raw> {
    let record = json!({
        "donation": "don_1", "streamer": "ada", "donor": "Grace", "message": "", "amount": 5000, "currency": "USD",
        "event": "evt_1", "payment": null, "pictures": [], "degraded": null,
    });
    testing::json(&record).name("save-donation").queue("donationQueue").id("42-save")
}

#[test]
fn every_attempt_to_save_sends_the_same_key() {
    let host = backend()
        .fail(API, HttpError::Broken("reset by peer".to_owned()))
        .respond(API, Response::new(200).with_json(&json!({"id": "7"})));
    assert!(matches!(run(&host, save()), Err(Failure::Retry(_))));
    assert_eq!(run(&host, save().attempt(2)).unwrap(), json!({"id": "7"}));
    let [first, second] = &host.requests()[..] else { panic!("{:?}", host.requests()) };
    let key = first.header_value("idempotency-key").unwrap();
    assert_eq!(second.header_value("idempotency-key"), Some(key));
    assert!(key.contains("42-save"), "{key}");
    assert_eq!(first.header_value("authorization"), Some("Bearer s3cr3t"));
    assert_eq!(first.body_json::<Value>().unwrap()["event"], "evt_1");
}

#[test]
fn what_the_api_answers_decides_what_becomes_of_the_job() {
    let answer = |response: Response| run(&backend().respond(API, response), save()).unwrap_err();
    for status in [408, 425, 429, 500, 503] {
        let failure = answer(Response::new(status).with_body("busy"));
        assert!(matches!(&failure, Failure::Retry(why) if why.contains("busy")), "{status}: {failure}");
    }
    for status in [301, 400, 401, 409, 422] {
        assert!(matches!(answer(Response::new(status)), Failure::Fatal(_)), "{status}");
    }
    for (asked, secs) in [("7", 7), ("99999", 3600)] {
        let failure = answer(Response::new(503).with_header("Retry-After", asked));
        assert!(
            matches!(&failure, Failure::RetryAfter { delay, .. } if delay.as_secs() == secs),
            "{failure}"
        );
    }
}

#[test]
fn a_host_without_the_address_says_which_setting_is_missing() {
    let failure = run(&Host::new().secret("backend-token", "x"), save()).unwrap_err();
    assert!(matches!(&failure, Failure::Fatal(why) if why.contains("grants.config")), "{failure}");
}
