//! Another configuration is taken while the store cannot say what is wanted.

use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use jobcell_core::StoreError;
use jobcell_core::documents::{Document, Entries, Entry, Expect, Log, Put};

use super::*;

/// Documents that cannot be read while the store is away.
#[derive(Default)]
struct Away {
    inner: MemoryDocuments,
    is_away: AtomicBool,
}

impl Away {
    fn check(&self) -> Result<(), StoreError> {
        let is_away = self.is_away.load(Ordering::SeqCst);
        if is_away { Err(StoreError::Unavailable("it is away".to_owned())) } else { Ok(()) }
    }
}

#[async_trait]
impl Documents for Away {
    async fn get(&self, folder: Folder, name: &str) -> Result<Option<Document>, StoreError> {
        self.check()?;
        self.inner.get(folder, name).await
    }
    async fn list(&self, folder: Folder) -> Result<Vec<(String, Document)>, StoreError> {
        self.check()?;
        self.inner.list(folder).await
    }
    async fn put(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        expires: Option<Duration>,
    ) -> Result<Put, StoreError> {
        self.check()?;
        self.inner.put(folder, name, content, expect, expires).await
    }
    async fn put_logged(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        entries: Entries<'_>,
    ) -> Result<Put, StoreError> {
        self.check()?;
        self.inner.put_logged(folder, name, content, expect, entries).await
    }
    async fn remove(&self, folder: Folder, name: &str, expect: Expect) -> Result<Put, StoreError> {
        self.check()?;
        self.inner.remove(folder, name, expect).await
    }
    async fn changed(
        &self,
        folder: Folder,
        seen: Option<u64>,
        patience: Duration,
    ) -> Result<u64, StoreError> {
        self.check()?;
        self.inner.changed(folder, seen, patience).await
    }
    async fn keep_blob(&self, digest: &str, content: Bytes) -> Result<(), StoreError> {
        self.check()?;
        self.inner.keep_blob(digest, content).await
    }
    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        self.check()?;
        self.inner.blob(digest).await
    }
    async fn forget_blob(&self, digest: &str) -> Result<(), StoreError> {
        self.check()?;
        self.inner.forget_blob(digest).await
    }
    async fn append(&self, log: &Log, content: Bytes, keep: u32) -> Result<u64, StoreError> {
        self.check()?;
        self.inner.append(log, content, keep).await
    }
    async fn entries(&self, log: &Log, before: Option<u64>, limit: u32) -> Result<Vec<Entry>, StoreError> {
        self.check()?;
        self.inner.entries(log, before, limit).await
    }
}

#[tokio::test]
async fn what_runs_stays_while_the_store_is_away_and_is_loaded_anew_after() {
    let store = Arc::new(Away::default());
    let documents: Arc<dyn Documents> = Arc::clone(&store) as _;
    let host = Host::on(&documents);
    let plan = || Plan::new("a", Source::Store);
    host.controller.start(host.setup(vec![plan()])).await.unwrap();
    let one = host.deploy("one").await;
    host.wait_runs(one).await;

    store.is_away.store(true, Ordering::SeqCst);
    assert_eq!(host.controller.change(host.setup(vec![plan()])).await.unwrap(), []);
    assert_eq!(host.runs(), Some(one.to_string()), "told the same, it stays");
    let other = Plan { quarantine: 2, ..plan() };
    let fault = host.controller.change(host.setup(vec![other])).await.unwrap_err().to_string();
    assert!(fault.contains("\"a\"") && fault.contains("it is away"), "{fault}");
    assert_eq!(host.runs(), Some(one.to_string()), "told something else, the change is none");

    // Loaders bear their settings; another one has others.
    let mut setup = host.setup(vec![plan()]);
    let alive = Arc::clone(&host.loader.alive);
    let settings = StdMutex::new("another grant".to_owned());
    let (loads, verdicts) = (StdMutex::default(), StdMutex::default());
    let other = Arc::new(Fake { settings, loads, verdicts, gate: Semaphore::new(0), alive });
    setup.loader = Arc::clone(&other) as _;
    host.controller.change(setup).await.unwrap_err();
    assert_eq!((host.loads("one"), other.loads.lock().unwrap().len()), (1, 0));

    store.is_away.store(false, Ordering::SeqCst);
    until("it is loaded anew", || host.loads("one") == 2).await;
    host.wait_runs(one).await;
    let two = host.deploy("two").await;
    host.wait_runs(two).await;
}
