//! What producers push, and what becomes of it.

use jobcell_core::Store;
use jobcell_core::store::StoreError;
use jobcell_redis::{ConnectOptions, ListOptions, ListStore, Redis};

use super::{Bench, claim_of, complete, fail, is_rejected, job, options, retry};
use crate::server::{Server, queue};

#[tokio::test]
async fn an_id_gets_its_records_data_and_the_record_keeps_what_its_owner_wrote() {
    let mut b = Bench::new().await;
    let record = ["HSET", "job:u-1", "data", "{\"w\": 1.50}", "owner", "api", "attempts", "99"];
    let _: i64 = b.raw.run(&record).await;
    let mut updates = b.listen().await;
    b.push("u-1").await;
    let claimed = b.take().await;
    assert_eq!((claimed.id.as_str(), &job(&claimed).data[..]), ("u-1", &b"{\"w\": 1.50}"[..]));
    assert_eq!((job(&claimed).name.as_str(), job(&claimed).attempt()), ("overlay", 1));
    assert_eq!(job(&claimed).options.attempts, 3, "as configured, whatever the owner's field means to him");
    let hosts: Vec<String> = b.raw.run(&["SMEMBERS", "jobs:hosts"]).await;
    assert_eq!(b.raw.list(&format!("jobs:processing:{}", hosts[0])).await, ["u-1"], "held, not popped");
    let beats: i64 = b.raw.run(&["PTTL", &format!("jobs:heartbeat:{}", hosts[0])]).await;
    assert!(beats > 29_000 && beats <= 30_000, "{beats}");
    b.done(&claimed, complete("{\"ok\":true}")).await;
    let record = b.raw.hash("job:u-1").await;
    let field = |name: &str| record.get(name).map(String::as_str);
    assert_eq!(field("status"), Some("COMPLETED"));
    assert_eq!(field("result"), Some("{\"ok\":true}"));
    assert_eq!((field("owner"), field("data")), (Some("api"), Some("{\"w\": 1.50}")));
    assert_eq!((field("attempts"), field("starts"), field("madeBy")), (Some("1"), Some("1"), None));
    assert!(field("startedAt").is_some() && field("finishedAt").is_some());
    assert_eq!(b.leftovers().await, ["jobs:hosts"]);
    assert_eq!(
        updates.all().await,
        [
            r#"{"tenantId":null,"jobId":"u-1","status":"RUNNING","error":null}"#,
            r#"{"tenantId":null,"jobId":"u-1","status":"COMPLETED","error":null}"#
        ]
    );
    let expires: i64 = b.raw.run(&["TTL", "job:u-1"]).await;
    assert_eq!(expires, -1, "it is its owner's");
}

#[tokio::test]
async fn an_envelope_brings_name_data_tenant_and_attempts() {
    let mut b = Bench::new().await;
    let mut updates = b.listen().await;
    b.push(r#"{"id":7,"name":"resize","data":{"n": 1.0},"tenantId":"t/\"1","attempts":2}"#).await;
    let claimed = b.take().await;
    let made = job(&claimed);
    assert_eq!((made.id.as_str(), made.name.as_str(), &made.data[..]), ("7", "resize", &b"{\"n\": 1.0}"[..]));
    assert_eq!((made.options.tenant.as_deref(), made.options.attempts), (Some("t/\"1"), 2));
    b.done(&claimed, fail("no \"way\"\n\u{fc}")).await;
    let all = updates.all().await;
    assert_eq!(all[0], r#"{"tenantId":"t/\"1","jobId":"7","status":"RUNNING","error":null}"#);
    let last: serde_json::Value = serde_json::from_str(&all[1]).unwrap();
    assert_eq!((&last["status"], &last["error"]), (&"FAILED".into(), &"no \"way\"\n\u{fc}".into()));
    assert_eq!(b.raw.hash("job:7").await["tenantId"], "t/\"1");
}

#[tokio::test]
async fn an_envelope_without_data_has_its_records_data_and_tenant() {
    let mut b = Bench::new().await;
    let _: i64 = b.raw.run(&["HSET", "job:a", "data", "[1]", "tenantId", "t2", "name", "from-record"]).await;
    let mut updates = b.listen().await;
    b.push(r#"{"id":"a"}"#).await;
    b.push(r#"{"id":"b"}"#).await;
    let claimed = b.take().await;
    let made = job(&claimed);
    assert_eq!((&made.data[..], made.name.as_str()), (&b"[1]"[..], "from-record"));
    assert_eq!(made.options.tenant.as_deref(), Some("t2"));
    assert!(updates.all().await[0].contains(r#""tenantId":"t2""#));
    assert_eq!(&job(&b.take().await).data[..], b"null", "neither has any");
}

#[tokio::test]
async fn items_are_claimed_first_in_first_out() {
    let mut b = Bench::new().await;
    for item in ["a", r#"{"id":"b"}"#, "c"] {
        b.push(item).await;
    }
    let claim = b.claim(2).await;
    let ids: Vec<_> = claim.jobs.iter().map(|job| job.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(b.take().await.id.as_str(), "c");
}

/// Pushes these bytes and returns how the job is called and what it is given.
async fn given(b: &mut Bench, item: &[u8]) -> (String, Vec<u8>) {
    let _: i64 = redis::cmd("LPUSH").arg("jobs").arg(item).query_async(&mut b.raw.0).await.unwrap();
    let claimed = b.take().await;
    let data = job(&claimed).data.to_vec();
    b.done(&claimed, complete("1")).await;
    (claimed.id.to_string(), data)
}

#[tokio::test]
async fn every_other_item_is_given_byte_for_byte() {
    let mut b = Bench::new().await;
    for text in ["hello", "42", "null", "\"x\"", "[1,2]", "{\"a\":1}", "{\"id\":", " {} ", "a b:c\n{d}"] {
        assert_eq!(given(&mut b, text.as_bytes()).await, (text.to_owned(), text.as_bytes().to_vec()));
    }
    assert_eq!(given(&mut b, b"").await, ("hex:".to_owned(), Vec::new()));
    assert_eq!(given(&mut b, b"\xff\x00\r\n").await, ("hex:ff000d0a".to_owned(), b"\xff\x00\r\n".to_vec()));
    let (name, data) = given(&mut b, &vec![b'x'; 5000]).await;
    assert!(name.starts_with("sha256:") && data.len() == 5000, "{name}");
    assert_eq!(b.leftovers().await, ["jobs:hosts"]);
}

#[tokio::test]
async fn a_binary_id_finds_its_record() {
    let mut b = Bench::new().await;
    let mut set = redis::cmd("HSET");
    set.arg(&b"job:\x01\xfe"[..]).arg("data").arg("found");
    let _: i64 = set.query_async(&mut b.raw.0).await.unwrap();
    assert_eq!(given(&mut b, b"\x01\xfe").await, ("hex:01fe".to_owned(), b"found".to_vec()));
}

#[tokio::test]
async fn fifty_megabytes_come_whole_bare_or_in_an_envelope() {
    let mut b = Bench::new().await;
    let mut payload = vec![b'x'; 50 * 1024 * 1024];
    payload[25_000_000] = 0xff;
    let (name, data) = given(&mut b, &payload).await;
    assert!(name.starts_with("sha256:") && data == payload);
    let text = "y".repeat(50 * 1024 * 1024);
    let (name, data) = given(&mut b, format!("{{\"id\":\"big\",\"data\":\"{text}\"}}").as_bytes()).await;
    assert_eq!((name.as_str(), data.len()), ("big", text.len() + 2));
    assert_eq!(b.leftovers().await, ["jobs:hosts"]);
}

#[tokio::test]
async fn an_item_that_cannot_be_run_is_dead_with_the_reason_and_the_queue_goes_on() {
    let mut b = Bench::new().await;
    let _: String = b.raw.run(&["SET", "job:text", "not a hash"]).await;
    let bad = [
        ("text", "text", "\"job:text\" is no hash"),
        (r#"{"id":"text","data":1}"#, "text", "\"job:text\" is no hash"),
        (r#"{"id":null}"#, r#"{"id":null}"#, "null or empty"),
        (r#"{"id":"n","name":[]}"#, r#"{"id":"n","name":[]}"#, "not a text"),
        (r#"{"id":"n","attempts":"x"}"#, r#"{"id":"n","attempts":"x"}"#, "whole number"),
    ];
    let mut updates = b.listen().await;
    for (item, id, words) in bad {
        b.push(item).await;
        let claimed = b.take().await;
        let malformed = claimed.job.as_ref().unwrap_err().to_string();
        assert!(malformed.contains(words), "{malformed}");
        assert_eq!(claimed.id.as_str(), id);
        b.done(&claimed, fail(&malformed)).await;
        let told = updates.all().await.pop().unwrap();
        assert!(told.contains("FAILED") && told.contains(&words.replace('"', "\\\"")), "{told}");
    }
    let dead: Vec<_> = bad.iter().rev().map(|(item, _, _)| (*item).to_owned()).collect();
    assert_eq!(b.raw.list("jobs:dead").await, dead);
    let untouched: String = b.raw.run(&["GET", "job:text"]).await;
    assert_eq!(untouched, "not a hash");
    b.push("good").await;
    let claimed = b.take().await;
    b.done(&claimed, complete("1")).await;
    assert_eq!(updates.short().await.iter().filter(|told| told.ends_with("RUNNING")).count(), 1);
}

#[tokio::test]
async fn an_id_whose_record_would_be_a_key_of_the_queue_harms_nothing() {
    let mut b = Bench::with(ListOptions { record: "jobs:{id}".to_owned(), ..options() }).await;
    for id in ["dead", "delayed", "processing:w"] {
        b.push(id).await;
        let claimed = b.take().await;
        let malformed = claimed.job.as_ref().unwrap_err().to_string();
        assert!(malformed.contains("keeps for itself"), "{malformed}");
        b.done(&claimed, fail(&malformed)).await;
    }
    assert_eq!(b.raw.list("jobs:dead").await, ["processing:w", "delayed", "dead"]);
}

#[tokio::test]
async fn a_list_that_is_something_else_is_named() {
    let mut b = Bench::new().await;
    let _: String = b.raw.run(&["SET", "jobs", "text"]).await;
    let e = b.store.claim(&queue("overlay"), &crate::server::claim(1, 1)).await.unwrap_err();
    assert!(
        matches!(e, StoreError::Corrupt(_)) && e.to_string().contains("key \"jobs\" holds a string"),
        "{e}"
    );
    let _: i64 = b.raw.run(&["DEL", "jobs"]).await;
    b.push("a").await;
    assert_eq!(b.take().await.id.as_str(), "a");
}

#[tokio::test]
async fn a_user_who_may_not_publish_still_works() {
    let mut b = Bench::new().await;
    let user = ["ACL", "SETUSER", "mute", "on", ">pw", "~*", "+@all", "resetchannels"];
    let _: String = b.raw.run(&user).await;
    let url = format!("redis://mute:pw@127.0.0.1:{}", b.server.port);
    let store = super::store_at(&url, options()).await;
    b.push("a").await;
    let claimed = claim_of(&store, 1).await.jobs.pop().unwrap();
    super::end_of(&store, &claimed, retry("x", 0)).await.unwrap();
    let claimed = claim_of(&store, 1).await.jobs.pop().unwrap();
    super::end_of(&store, &claimed, complete("1")).await.unwrap();
    assert_eq!(b.status("a").await.as_deref(), Some("COMPLETED"));
}

#[tokio::test]
async fn options_that_cannot_be_are_refused() {
    let server = Server::start();
    let redis = Redis::connect(ConnectOptions::from_url(&server.url()).unwrap()).await.unwrap();
    let bad = ListOptions { record: "job".to_owned(), ..ListOptions::new("jobs") };
    is_rejected(ListStore::new(redis, queue("overlay"), bad), &["\"overlay\"", "{id}"]);
}
