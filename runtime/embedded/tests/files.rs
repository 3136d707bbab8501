//! Opening, closing and opening again; files that are none of ours.
#![expect(clippy::unwrap_used, reason = "a test: what fails is the report")]

use std::time::Duration;

use jobcell_core::attempt::Recorded;
use jobcell_core::options::Keep;
use jobcell_core::store::{ClaimRequest, Claimed, Finish, NewJob, Page, Parent, Store, StoreError, Verdict};
use jobcell_core::{Clock, JobState, QueueName, SystemClock};
use jobcell_embedded::{EmbeddedError, EmbeddedOptions, EmbeddedStore, PREFIX};
use redb::{ReadableDatabase, ReadableTableMetadata, TableHandle};

fn queue() -> QueueName {
    QueueName::new("mail").unwrap()
}

fn open(directory: &std::path::Path) -> Result<EmbeddedStore, EmbeddedError> {
    EmbeddedStore::open(directory, EmbeddedOptions::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_can_be_opened_many_times() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep").join("er");
    for round in 0..20 {
        let store = open(&path).unwrap();
        let jobs = store.list(&queue(), JobState::Waiting, Page::first(100)).await.unwrap();
        let names: Vec<String> = jobs.into_iter().map(|job| job.name).collect();
        assert_eq!(names, (0..round).map(|n| format!("n{n}")).collect::<Vec<_>>());
        store.add(&queue(), vec![NewJob::new(format!("n{round}"), "{}")], SystemClock.now()).await.unwrap();
        // Closed by itself and by losing its last handle: the directory is free at once either way.
        if round % 2 == 0 {
            store.close().await;
        }
        drop(store);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_store_says_so_and_is_free() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let mut waiter = store.waiter(&queue(), None).await.unwrap();
    store.close().await;
    store.close().await;
    let refused = store.add(&queue(), vec![NewJob::new("n", "{}")], 1).await;
    assert!(matches!(&refused, Err(StoreError::Unavailable(why)) if why.contains("closed")), "{refused:?}");
    assert!(store.counts(&queue()).await.is_err());
    assert!(waiter.wait(Duration::from_millis(1)).await.is_ok());
    let again = open(directory.path()).unwrap();
    assert_eq!(again.counts(&queue()).await.unwrap().pending(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_process_cannot_open_it_twice() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let refused = open(directory.path()).err().unwrap();
    assert!(
        matches!(refused, EmbeddedError::InUse { pid: Some(pid), .. } if pid == std::process::id()),
        "{refused}"
    );
    let told = refused.to_string();
    assert!(told.ends_with("stop it, or configure Redis, which many processes can share"), "{told}");
    drop(store);
    assert!(open(directory.path()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    let start = store.last_event(&queue()).await.unwrap();
    store.add(&queue(), vec![NewJob::new("a", "{}")], SystemClock.now()).await.unwrap();
    store.close().await;
    let store = open(directory.path()).unwrap();
    store.add(&queue(), vec![NewJob::new("b", "{}")], SystemClock.now()).await.unwrap();
    let events = store.events(&queue(), &start, Duration::from_secs(5)).await.unwrap();
    let told: Vec<&str> = events.iter().map(|event| event.event.as_str()).collect();
    assert_eq!(told, ["added", "waiting", "added", "waiting"]);
    let refused = store.events(&queue(), "$", Duration::ZERO).await;
    assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_events_are_trimmed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    for _ in 0..16 {
        store.add(&queue(), vec![NewJob::new("a", "{}"); 400], SystemClock.now()).await.unwrap();
    }
    // 12 800 were told; at least 10 000 stay, and little more than that.
    let (mut after, mut left, mut first) = ("0".to_owned(), 0, None);
    loop {
        let events = store.events(&queue(), &after, Duration::from_millis(1)).await.unwrap();
        let Some(last) = events.last() else { break };
        first.get_or_insert_with(|| events[0].id.parse::<u64>().unwrap());
        after.clone_from(&last.id);
        left += events.len();
    }
    assert_eq!(after, "12800");
    assert!((10_000..=10_800).contains(&left), "{left} events are left");
    assert_eq!(first, Some(12_800 - left as u64 + 1), "only old ones are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_removed_jobs() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).unwrap();
    store.add(&queue(), vec![NewJob::new("parent", "{}")], 1).await.unwrap();
    let parent = claim(&store).await;
    let child = NewJob {
        parent: Some(Parent { queue_key: format!("{PREFIX}:mail"), id: parent.id.clone() }),
        ..NewJob::new("child", "{}")
    };
    store.add(&queue(), vec![child], 1).await.unwrap();
    let child = claim(&store).await;
    let recorded =
        Recorded { logs: vec!["line".into(); 3], progress: Some("1".into()), data: Some("{}".into()) };
    let fail = |keep| Verdict::Fail {
        reason: "bad".into(),
        stacktrace: vec!["trace".into()],
        keep,
        attempts_max: 1,
    };
    finish(&store, &child, fail(Keep::All), recorded.clone()).await;
    store.remove(&queue(), &child.id).await.unwrap();
    let complete = Verdict::Complete { result: "1".into(), keep: Keep::None };
    finish(&store, &parent, complete, recorded.clone()).await;
    store.add(&queue(), vec![NewJob::new("a", "{}"); 2], 1).await.unwrap();
    let failed = claim(&store).await;
    finish(&store, &failed, fail(Keep::None), recorded).await;
    assert_eq!(store.drain(&queue(), true).await.unwrap(), 1);
    store.close().await;

    let database = redb::Database::open(directory.path().join("jobs.redb")).unwrap();
    let read = database.begin_read().unwrap();
    for name in ["jobs", "bodies", "outputs", "places", "logs", "children"] {
        let handle = read.list_tables().unwrap().find(|table| table.name() == name).unwrap();
        assert_eq!(read.open_untyped_table(handle).unwrap().len().unwrap(), 0, "rows are left in {name}");
    }
}

async fn claim(store: &EmbeddedStore) -> Claimed {
    let request = ClaimRequest {
        max: 1,
        token_prefix: "t".into(),
        token_first: 0,
        lock: Duration::from_secs(30),
        worker_name: None,
        rate: None,
        now: 1,
    };
    store.claim(&queue(), &request).await.unwrap().jobs.remove(0)
}

async fn finish(store: &EmbeddedStore, claimed: &Claimed, verdict: Verdict, recorded: Recorded) {
    let Claimed { id, token, job: _ } = claimed.clone();
    let finish = Finish { recorded, ..Finish::new(id, token, verdict) };
    let reply = store.finish(&queue(), vec![finish], None, 1).await.unwrap();
    assert_eq!(reply.finished, [Ok(())]);
}

#[test]
fn a_file_of_something_else_is_named_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("jobs.redb");
    let content = b"this is not a database, it is a letter to a friend".repeat(500);
    std::fs::write(&file, &content).unwrap();
    let refused = open(directory.path()).err().unwrap();
    assert!(matches!(refused, EmbeddedError::Unreadable { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&file.display().to_string()), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), content);
}

#[test]
fn a_newer_format_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(open(directory.path()).unwrap());
    let file = directory.path().join("jobs.redb");
    let database = redb::Database::open(&file).unwrap();
    let write = database.begin_write().unwrap();
    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    write.open_table(meta).unwrap().insert("format", 99).unwrap();
    write.commit().unwrap();
    drop(database);
    let draft = directory.path().join("blobs/draft-of-another-version");
    std::fs::write(&draft, "").unwrap();
    let refused = open(directory.path()).err().unwrap();
    assert!(draft.exists(), "nothing of it is touched");
    assert!(matches!(refused, EmbeddedError::Newer { found: 99, .. }), "{refused:?}");
    assert!(refused.to_string().contains("format 99"), "{refused}");
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = open(&file.join("store")).err().unwrap();
    assert!(matches!(&refused, EmbeddedError::Io { .. }), "{refused:?}");
    assert!(refused.to_string().contains(&file.display().to_string()), "{refused}");
}

#[cfg(unix)]
#[test]
fn nobody_else_can_read_the_store() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    drop(open(&path).unwrap());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn a_folder_of_blobs_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = directory.path().join("blobs");
    std::fs::write(&blobs, "").unwrap();
    let refused = open(directory.path()).err().unwrap();
    assert!(matches!(&refused, EmbeddedError::Io { path, .. } if *path == blobs), "{refused:?}");
}
