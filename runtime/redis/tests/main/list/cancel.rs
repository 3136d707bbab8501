//! Ending items from outside, in the keys.

use jobcell_core::Store;
use jobcell_core::store::{AttemptReceipt, Cancelled, Finish, ReceiptNote};
use jobcell_core::{JobId, JobState, Receipt};

use super::{Bench, complete, ending, fail, retry};
use crate::server::{NOW, queue};

async fn cancel(b: &Bench, id: &str) -> Cancelled {
    b.store.cancel(&queue("overlay"), &JobId::new(id).unwrap(), NOW + 7).await.unwrap()
}

#[tokio::test]
async fn an_item_that_waits_is_dead_and_its_tenant_hears_of_it() {
    let mut b = Bench::new().await;
    let mut updates = b.listen().await;
    let item = r#"{"id":"a","tenantId":"t","data":1}"#;
    let _: i64 = b.raw.run(&["HSET", "job:a", "tenantId", "t", "owner", "api"]).await;
    for item in ["z", item, "y"] {
        b.push(item).await;
    }
    assert_eq!(cancel(&b, "a").await, Cancelled::Ended(JobState::Waiting));
    assert_eq!(
        (b.raw.list("jobs").await, b.raw.list("jobs:dead").await),
        (vec!["y".into(), "z".into()], vec![item.into()])
    );
    let record = b.raw.hash("job:a").await;
    assert_eq!(
        (&*record["status"], &*record["error"], &*record["owner"]),
        ("FAILED", "the job was cancelled", "api")
    );
    assert_eq!(updates.short().await, ["a FAILED"]);
    assert!(updates.all().await.iter().all(|told| told.contains(r#""tenantId":"t""#)));
    assert_eq!(cancel(&b, "a").await, Cancelled::Finished(JobState::Failed));
    assert_eq!(cancel(&b, "nobody").await, Cancelled::NotFound);
}

#[tokio::test]
async fn a_request_goes_with_its_attempt() {
    let mut b = Bench::new().await;
    for end in [complete("1"), fail("bad"), retry("busy", 0)] {
        b.push("a").await;
        let claimed = b.take().await;
        assert_eq!(cancel(&b, "a").await, Cancelled::Asked);
        b.done(&claimed, end).await;
        let claims: Vec<String> = b.raw.run(&["KEYS", "jobs:claims:*"]).await;
        assert!(claims.is_empty(), "{claims:?}");
    }
    let again = b.take().await;
    assert_eq!(super::job(&again).deferred_failure.as_deref(), Some("the job was cancelled"));
    b.done(&again, fail("the job was cancelled")).await;
    assert_eq!(b.leftovers().await, ["jobs:dead", "jobs:hosts"]);
}

#[tokio::test]
async fn the_record_holds_the_receipt_of_the_last_attempt() {
    let mut b = Bench::new().await;
    b.push("a").await;
    for attempt in 1..=2 {
        let claimed = b.take().await;
        let receipt = AttemptReceipt {
            attempt,
            at: NOW,
            handler: "h".into(),
            version: "v".into(),
            digest: Some("sha256:v".into()),
            outcome: "retry".into(),
            receipt: Receipt { wall_us: attempt, ..Receipt::default() },
        };
        let end = if attempt == 1 { retry("busy", 0) } else { complete("1") };
        let note = ReceiptNote { json: receipt.to_json(), keep: 5 };
        let end = Finish { receipt: Some(note), ..ending(&claimed, end) };
        let reply = b.store.finish(&queue("overlay"), vec![end], None, NOW).await.unwrap();
        assert_eq!(reply.finished, [Ok(())]);
        assert_eq!(b.store.receipts(&queue("overlay"), &claimed.id).await.unwrap(), [receipt]);
    }
    // What its owner keeps in a field of that name is none of ours.
    let _: i64 = b.raw.run(&["HSET", "job:a", "receipt", "no. 7"]).await;
    let id = JobId::new("a").unwrap();
    assert!(b.store.receipts(&queue("overlay"), &id).await.unwrap().is_empty());
}
