use std::sync::Arc;

use super::*;
use crate::documents::{DOCUMENT_BYTES_MAX, Documents, Expect, Folder, MemoryDocuments};

fn host(id: &str, name: &str) -> HostStatus {
    HostStatus { id: id.to_owned(), name: name.to_owned(), ..HostStatus::default() }
}

#[test]
fn a_status_reads_back_and_what_is_unknown_or_missing_does_no_harm() {
    let mut status = host("a-1-00ff", "a");
    status.phase = Phase::Quiet;
    status.queues.push(HostQueue { name: "q".to_owned(), concurrency: 4, active: 3 });
    let mut counts = VersionCounts { done: 2, ..VersionCounts::default() };
    counts.took(7);
    let of_handler = HostHandler {
        active: Some("sha256:aa".to_owned()),
        counts: [("sha256:aa".to_owned(), counts)].into(),
        breaks: [(
            "sha256:aa".to_owned(),
            VersionBreaks { attempts: 9, ways: [("f".to_owned(), [1, 2].into())].into() },
        )]
        .into(),
        ..HostHandler::default()
    };
    status.handlers.insert("h".to_owned(), of_handler);
    assert_eq!(HostStatus::decode("a-1-00ff", &status.encode()).unwrap(), status);
    assert_eq!(status.active(), 3);

    let newer =
        br#"{"id":"forged","name":"n","phase":"hovering","wings":2,"queues":[{"name":"q","colour":1}]}"#;
    let read = HostStatus::decode("real", newer).unwrap();
    assert_eq!((read.id.as_str(), read.phase, read.queues[0].concurrency), ("real", Phase::Unknown, 0));
    assert!(HostStatus::decode("x", b"[]").is_err());
}

#[test]
fn a_status_fits_into_a_document_whatever_it_holds() {
    let mut status = host("a-1-00ff", &"ä".repeat(100_000));
    for n in 0..5_000 {
        status.queues.push(HostQueue { name: format!("queue-{n}"), concurrency: 1, active: 0 });
        let mut counts = VersionCounts::default();
        counts.took(100_000);
        let versions = (0..9).map(|v| (format!("sha256:{v:064}"), counts.clone())).collect();
        let lag = Some("x".repeat(10_000));
        let ways =
            (0..4).map(|way| (format!("way {way}"), (0..256).map(|job| u64::MAX - job).collect())).collect();
        let breaks = [(format!("sha256:{n:064}"), VersionBreaks { attempts: 1, ways })].into();
        let handler = HostHandler { lag, counts: versions, breaks, ..HostHandler::default() };
        status.handlers.insert(format!("h{n}"), handler);
    }
    let json = status.encode();
    assert!(json.len() <= DOCUMENT_BYTES_MAX, "{}", json.len());
    let read = HostStatus::decode("a-1-00ff", &json).unwrap();
    assert!(read.shortened && !read.handlers.is_empty() && !read.queues.is_empty());
}

#[test]
fn latencies_add_up_over_hosts_and_give_quantiles() {
    let mut one = VersionCounts::default();
    for wall in [1, 4, 4, 200, 5_000_000] {
        one.took(wall);
    }
    one.done = 4;
    one.trapped = 1;
    assert_eq!(one.quantile_ms(0.5), Some(5));
    assert_eq!(one.quantile_ms(1.0), Some(u64::MAX));
    // The two of a bucket of 3 to 5 ms are spread over it; the third of five is its second half.
    assert_eq!(
        (one.estimated_ms(0.4), one.estimated_ms(0.6), one.estimated_ms(1.0)),
        (Some(4.0), Some(5.0), None)
    );
    assert_eq!(VersionCounts::default().estimated_ms(0.5), None);
    assert_eq!(one.failure_ratio(), Some(0.2));
    let mut both = VersionCounts { failed: 5, ..VersionCounts::default() };
    both.add(&one);
    assert_eq!((both.attempts(), both.wall_ms_total), (10, 5_000_209));
    assert_eq!(both.since(&one).failed, 5);
    assert_eq!(one.since(&both), one, "a smaller count is a host that began anew");
    assert_eq!(VersionCounts::default().quantile_ms(0.5), None);
}

#[test]
fn hosts_are_meant_by_id_by_name_or_by_the_beginning_of_one_id() {
    let hosts = [host("web-1-aaaa", "web"), host("web-2-bbbb", "web"), host("db-9-cccc", "db")];
    let ids =
        |asked| meant(&hosts, asked).map(|of| of.iter().map(|host| host.id.clone()).collect::<Vec<_>>());
    assert_eq!(ids("web-1-aaaa").unwrap(), ["web-1-aaaa"]);
    assert_eq!(ids("web").unwrap(), ["web-1-aaaa", "web-2-bbbb"]);
    assert_eq!(ids("d").unwrap(), ["db-9-cccc"]);
    assert!(matches!(ids("we"), Err(FleetError::Ambiguous { begin, .. }) if begin.len() == 2));
    assert!(matches!(ids(""), Err(FleetError::NoSuchHost { there, .. }) if there.len() == 3));
    assert_eq!(host_id("../evil host\n", 7, 0xa), "..-evil-host--7-000a");
}

#[tokio::test]
async fn nothing_replaces_an_order_to_stop_and_what_was_obeyed_goes() {
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let fleet = Fleet::new(Arc::clone(&documents));
    let order = |kind| Order { kind, by: "ops".to_owned(), at: 5 };
    fleet.order("h", &order(OrderKind::Quiet)).await.unwrap();
    let quiet = fleet.pending("h").await.unwrap().unwrap().unwrap();
    assert_eq!(quiet.order, order(OrderKind::Quiet));
    fleet.order("h", &order(OrderKind::Stop)).await.unwrap();
    // The host obeyed the one before: the newer one stays.
    fleet.obeyed("h", quiet.revision).await.unwrap();
    let stop = fleet.pending("h").await.unwrap().unwrap().unwrap();
    assert_eq!(stop.order.kind, OrderKind::Stop);
    let refused = fleet.order("h", &order(OrderKind::Unquiet)).await.unwrap_err();
    assert!(refused.to_string().contains("told to stop by ops"), "{refused}");
    fleet.obeyed("h", stop.revision).await.unwrap();
    assert!(fleet.pending("h").await.unwrap().is_none());

    // What cannot be read is told with its revision, and a new order replaces it.
    let odd = r#"{"order":"dance"}"#.into();
    documents.put(Folder::Orders, "h", odd, Expect::Anything, None).await.unwrap();
    assert!(fleet.pending("h").await.unwrap().unwrap().is_err());
    fleet.order("h", &order(OrderKind::Reload)).await.unwrap();
    assert!(fleet.pending("h").await.unwrap().unwrap().is_ok());
}

#[tokio::test]
async fn a_host_that_cannot_be_read_hides_no_other() {
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let fleet = Fleet::new(Arc::clone(&documents));
    documents.put(Folder::Hosts, "odd", "7".into(), Expect::Anything, None).await.unwrap();
    documents
        .put(Folder::Hosts, "b", host("b", "n").encode(), Expect::Anything, Some(EXPIRES))
        .await
        .unwrap();
    let ids: Vec<_> = fleet.hosts().await.unwrap().into_iter().map(|host| host.id).collect();
    assert_eq!(ids, ["b"]);
    assert!(fleet.host("b").await.unwrap().is_some() && fleet.host("c").await.unwrap().is_none());
}
