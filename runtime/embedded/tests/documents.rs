//! What hosts share, in the embedded store: the suite of all back ends, and what a restart leaves.
#![expect(clippy::unwrap_used, reason = "a test: what fails is the report")]

use std::sync::Arc;
use std::time::Duration;

use jobcell_core::conformance::documents::DocumentsFixture;
use jobcell_core::documents::{Documents, Expect, Folder, Log, Put};
use jobcell_core::store::Store;
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};

async fn fresh() -> DocumentsFixture {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
    DocumentsFixture { documents: Arc::new(store.documents()), guard: Box::new((store, directory)) }
}

jobcell_core::documents_conformance!(fresh);

async fn put(documents: &impl Documents, folder: Folder, name: &str, expires: Option<Duration>) -> u64 {
    match documents.put(folder, name, name.to_owned().into(), Expect::Anything, expires).await.unwrap() {
        Put::Written(revision) => revision,
        Put::Conflict(there) => panic!("{there:?} is in the way"),
    }
}

#[tokio::test]
async fn what_is_kept_outlives_a_restart_and_what_a_host_is_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let open = || EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
    let store = open();
    let documents = store.documents();
    for folder in Folder::ALL {
        put(&documents, folder, "a", None).await;
    }
    put(&documents, Folder::Sessions, "soon", Some(Duration::from_millis(1))).await;
    put(&documents, Folder::Sessions, "later", Some(Duration::from_secs(3600))).await;
    let gone = put(&documents, Folder::Handlers, "b", None).await;
    let Put::Written(last) = documents.remove(Folder::Handlers, "b", Expect::Revision(gone)).await.unwrap()
    else {
        panic!("it was there")
    };
    documents.keep_blob("d", "blob".into()).await.unwrap();
    let number = documents.append(&Log::Audit, "entry".into(), 1).await.unwrap();
    store.close().await;
    assert!(documents.get(Folder::Handlers, "a").await.unwrap_err().is_transient());
    // Another process may have the directory by now.
    assert!(documents.blob("d").await.unwrap_err().is_transient());
    assert!(documents.keep_blob("d", "late".into()).await.unwrap_err().is_transient());
    assert!(documents.forget_blob("d").await.unwrap_err().is_transient());
    drop((store, documents));

    let documents = open().documents();
    let names = async |folder| {
        let listed = documents.list(folder).await.unwrap();
        listed.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(names(Folder::Handlers).await, ["a"]);
    assert_eq!(names(Folder::Sessions).await, ["a", "later"]);
    for folder in [Folder::Hosts, Folder::Orders] {
        assert_eq!(names(folder).await, Vec::<String>::new(), "{folder:?}: the host has ended");
    }
    assert_eq!(documents.changed(Folder::Handlers, None, Duration::ZERO).await.unwrap(), last);
    assert!(put(&documents, Folder::Handlers, "b", None).await > last, "revisions go on");
    assert_eq!(documents.blob("d").await.unwrap().unwrap(), "blob");
    assert!(documents.append(&Log::Audit, "entry".into(), 1).await.unwrap() > number);
}

#[tokio::test]
async fn a_change_whose_caller_went_away_is_told_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let store = EmbeddedStore::open(directory.path(), EmbeddedOptions::default()).unwrap();
    let documents = store.documents();
    let seen = put(&documents, Folder::Handlers, "a", None).await;
    let waiting = {
        let documents = documents.clone();
        tokio::spawn(
            async move { documents.changed(Folder::Handlers, Some(seen), Duration::from_secs(40)).await },
        )
    };
    let mut write = Box::pin(documents.put(Folder::Handlers, "a", "2".into(), Expect::Anything, None));
    // As far as handing it to the writer.
    assert!(futures::poll!(&mut write).is_pending());
    drop(write);
    let told = tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap().unwrap();
    assert!(told.unwrap() > seen);
}
