use std::sync::atomic::{AtomicU64, Ordering};

use jobcell_core::clock::ManualClock;
use jobcell_core::documents::MemoryDocuments;

use super::*;
use crate::desired::VERSIONS_MAX;
use crate::trust::SecretKey;
use crate::version::State;

/// Takes what begins as a component does; what it needs stands behind the header, a letter each.
struct Letters;

impl Inspect for Letters {
    fn inspect(&self, component: &[u8]) -> Result<Inspected, String> {
        let body = component.strip_prefix(HEADER).ok_or("it is no component; build one")?;
        let letter = |byte: &u8| match byte {
            b'k' => Some(Capability::Kv),
            b'h' => Some(Capability::Http),
            _ => None,
        };
        // Behind the length of the section and of its empty name.
        let needs = body.get(3..).unwrap_or_default().iter().map_while(letter).collect();
        Ok(Inspected { wit: Some("0.1.0".to_owned()), needs })
    }
}

const HEADER: &[u8] = b"\0asm\x0d\0\x01\0";

/// A component that needs these and differs from others by its mark.
fn component(needs: &str, mark: u32) -> Artifact {
    let body = format!("{needs}-{mark:08}");
    let size = u8::try_from(body.len() + 1).unwrap();
    Artifact::new([HEADER, &[0, size, 0], body.as_bytes()].concat())
}

struct Rig {
    documents: Arc<MemoryDocuments>,
    catalog: Catalog,
}

impl Rig {
    fn new() -> Self {
        Self::trusting(Trust::default())
    }

    fn trusting(trust: Trust) -> Self {
        let documents = Arc::new(MemoryDocuments::default());
        let shared: Arc<dyn Documents> = documents.clone();
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        Self { documents, catalog: Catalog::new(shared, trust, Arc::new(Letters), clock) }
    }

    async fn deploys(
        &self,
        artifact: &Artifact,
        options: DeployOptions,
    ) -> Result<HandlerView, CatalogError> {
        self.catalog.deploy("media", artifact.clone(), None, options).await
    }
}

fn staged() -> DeployOptions {
    DeployOptions { who: "ann".to_owned(), ..DeployOptions::default() }
}

fn activated() -> DeployOptions {
    DeployOptions { activate: true, approve: true, ..staged() }
}

fn start(artifact: &Artifact) -> DigestStart {
    artifact.digest.short().parse().unwrap()
}

#[tokio::test]
async fn a_deployed_version_is_active_at_once_and_its_history_is_kept() {
    let rig = Rig::new();
    let (one, two) = (component("k", 1), component("k", 2));
    rig.deploys(&one, activated()).await.unwrap();
    let view = rig.deploys(&two, activated()).await.unwrap();
    assert_eq!((view.active, view.previous), (Some(two.digest), Some(one.digest)));
    assert_eq!(view.versions[0].manifest.name, "media");
    assert_eq!(view.versions[0].wants, ["kv *"]);
    assert_eq!(rig.catalog.artifact(&two.digest).await.unwrap().bytes, two.bytes);
    assert_eq!(rig.catalog.get("media").await.unwrap(), view);
    assert_eq!(rig.catalog.list().await.unwrap(), std::slice::from_ref(&view));

    let view = rig.catalog.rollback("media", None, "bob", None).await.unwrap();
    assert_eq!(view.active, Some(one.digest));
    let history = rig.catalog.history("media", None, 100).await.unwrap();
    let told: Vec<_> = history
        .iter()
        .map(|entry| (entry.change.digest, entry.change.to, entry.change.by.as_str()))
        .collect();
    let expected = [
        (one.digest, State::Active, "bob"),
        (two.digest, State::Draining, "bob"),
        (two.digest, State::Active, "ann"),
        (one.digest, State::Draining, "ann"),
        (two.digest, State::Staged, "ann"),
        (one.digest, State::Active, "ann"),
        // That it was agreed to, and that it was taken in.
        (one.digest, State::Staged, "ann"),
        (one.digest, State::Staged, "ann"),
    ];
    assert_eq!(told, expected);
    let whys: Vec<&str> = history.iter().rev().take(2).map(|entry| entry.change.why.as_str()).collect();
    assert_eq!(whys, ["deployed", "approved what it wants beyond the active version: kv *"]);
    assert_eq!(history[0].generation, view.generation);
    let older = rig.catalog.history("media", Some(history[4].number), 1).await.unwrap();
    assert_eq!(older, [history[5].clone()]);
}

#[tokio::test]
async fn deploying_the_same_bytes_again_is_no_change() {
    let rig = Rig::new();
    let one = component("", 1);
    let first = rig.deploys(&one, activated()).await.unwrap();
    assert_eq!(rig.deploys(&one, activated()).await.unwrap(), first);
    assert_eq!(rig.deploys(&one, staged()).await.unwrap(), first);
    assert_eq!(rig.catalog.history("media", None, 100).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_wants_more_stays_staged_until_somebody_approves_it() {
    let rig = Rig::new();
    let (one, two) = (component("k", 1), component("kh", 2));
    rig.deploys(&one, activated()).await.unwrap();
    let error = rig.deploys(&two, DeployOptions { approve: false, ..activated() }).await.unwrap_err();
    assert!(matches!(&error, CatalogError::NeedsApproval { wider, .. } if *wider == ["http *"]), "{error}");
    let text = error.to_string();
    assert!(text.contains("\"media\"") && text.contains("http *") && text.contains("--approve"), "{text}");
    let view = rig.catalog.get("media").await.unwrap();
    assert_eq!((view.active, view.versions[0].state), (Some(one.digest), State::Staged));
    assert_eq!(rig.catalog.diff("media", &start(&two)).await.unwrap().wider, ["http *"]);
    let view = rig.catalog.activate("media", &start(&two), true, "bob", None).await.unwrap();
    assert_eq!(view.versions[0].approved_by.as_deref(), Some("bob"));
    assert_eq!(view.versions[0].approved, ["http *"]);
}

#[tokio::test]
async fn who_comes_second_is_told_by_whom_and_when() {
    let rig = Rig::new();
    let (one, two) = (component("", 1), component("", 2));
    let seen = rig.deploys(&one, activated()).await.unwrap().generation;
    rig.deploys(&two, activated()).await.unwrap();
    let error = rig.catalog.rollback("media", None, "bob", Some(seen)).await.unwrap_err();
    let CatalogError::Conflict { expected, found, .. } = &error else { panic!("{error}") };
    assert!(*expected == seen && *found > seen);
    let text = error.to_string();
    assert!(text.contains("by ann") && text.contains("at 2023-11-14T22:13:20Z"), "{text}");
    let stale = DeployOptions { generation: Some(seen), ..activated() };
    assert!(matches!(rig.deploys(&one, stale).await, Err(CatalogError::Conflict { .. })));
    assert_eq!(rig.catalog.get("media").await.unwrap().active, Some(two.digest));
    let first = DeployOptions { generation: Some(7), ..activated() };
    let error = rig.catalog.deploy("other", one, None, first).await.unwrap_err();
    assert!(error.to_string().contains("by nobody"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_who_saw_the_same_exactly_one_succeeds() {
    for round in 0..50 {
        let rig = Rig::new();
        let seen = rig.deploys(&component("", 0), activated()).await.unwrap().generation;
        let deploy = |mark: u32| {
            let catalog = rig.catalog.clone();
            let options =
                DeployOptions { generation: Some(seen), who: format!("deployer {mark}"), ..activated() };
            let artifact = component("", mark);
            tokio::spawn(
                async move { (artifact.digest, catalog.deploy("media", artifact, None, options).await) },
            )
        };
        let both = tokio::join!(deploy(1), deploy(2));
        let (one, two) = (both.0.unwrap(), both.1.unwrap());
        let (won, lost) = if one.1.is_ok() { (one, two) } else { (two, one) };
        assert!(won.1.is_ok(), "round {round}");
        assert!(matches!(lost.1, Err(CatalogError::Conflict { .. })), "round {round}: {:?}", lost.1);
        let view = rig.catalog.get("media").await.unwrap();
        assert_eq!(view.active, Some(won.0), "round {round}");
        assert!(
            view.versions.iter().all(|version| version.digest != lost.0),
            "nothing of the other is there"
        );
        assert!(rig.documents.blob(&lost.0.to_string()).await.unwrap().is_none(), "nor its bytes");
        rig.catalog.artifact(&won.0).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deployers_who_insist_all_succeed_one_after_the_other() {
    let rig = Rig::new();
    let mut deployers = tokio::task::JoinSet::new();
    for deployer in 0..4 {
        let catalog = rig.catalog.clone();
        deployers.spawn(async move {
            for mark in 0..10 {
                let options = DeployOptions { who: format!("{deployer}"), ..activated() };
                catalog.deploy("media", component("", deployer * 100 + mark), None, options).await.unwrap();
                catalog.rollback("media", None, "anybody", None).await.ok();
            }
        });
    }
    while let Some(ended) = deployers.join_next().await {
        ended.unwrap();
    }
    let history = rig.catalog.history("media", None, 1_000).await.unwrap();
    let deployed = history.iter().filter(|entry| entry.change.from.is_none()).count();
    assert_eq!(deployed, 40, "no deploy was lost");
    // Put in their order, each version's steps follow from one another: no change was made over an older state.
    let mut steps = history;
    steps.reverse();
    steps.sort_by_key(|entry| entry.generation);
    let mut states = std::collections::HashMap::new();
    for HistoryEntry { change, .. } in steps {
        assert_eq!(states.insert(change.digest, change.to), change.from);
    }
}

#[tokio::test]
async fn signatures_are_checked_when_deployed_and_when_activated() {
    let (key, stranger) = (SecretKey::from_seed([1; 32]), SecretKey::from_seed([2; 32]));
    let rig = Rig::trusting(Trust::new(true, vec![key.public()]));
    let one = component("", 1);
    let deploy = |signature| rig.catalog.deploy("media", one.clone(), signature, activated());
    assert!(matches!(deploy(None).await, Err(CatalogError::Trust(_))));
    for bad in [stranger.sign(&one.digest, b""), key.sign(&one.digest, b"x")] {
        assert!(matches!(deploy(Some(bad)).await, Err(CatalogError::Trust(_))));
    }
    assert!(rig.documents.blob(&one.digest.to_string()).await.unwrap().is_none(), "nothing of it is kept");
    let view = deploy(Some(key.sign(&one.digest, b""))).await.unwrap();
    assert_eq!(view.versions[0].signed_by, Some(key.public().id()));

    // Where the keys have changed since, what was signed by the old one is not activated again.
    let two = component("", 2);
    let signature = key.sign(&two.digest, b"");
    rig.catalog.deploy("media", two, Some(signature), activated()).await.unwrap();
    let shared: Arc<dyn Documents> = rig.documents.clone();
    let trust = Trust::new(true, vec![stranger.public()]);
    let clock = Arc::new(ManualClock::default());
    let later = Catalog::new(shared, trust, Arc::new(Letters), clock);
    let error = later.activate("media", &start(&one), true, "ann", None).await.unwrap_err();
    assert!(matches!(error, CatalogError::Trust(_)), "{error}");
    // Nor by going back to it, or by the end of its time as canary.
    let error = later.rollback("media", None, "ann", None).await.unwrap_err();
    assert!(matches!(error, CatalogError::Trust(_)), "{error}");
    let rules = CanaryRules::default();
    rig.catalog.canary("media", &start(&one), 10, rules, true, "ann", None).await.unwrap();
    let error = later.promote("media", None, "ann", None).await.unwrap_err();
    assert!(matches!(error, CatalogError::Trust(_)), "{error}");
    later.rollback("media", None, "ann", None).await.expect("a canary can be ended");
    rig.catalog.rollback("media", None, "ann", None).await.expect("with its key it is believed");
}

#[tokio::test]
async fn the_manifest_in_the_bytes_says_what_is_wanted() {
    let rig = Rig::new();
    let manifest = Manifest {
        name: "thumbnails".to_owned(),
        version: Some("1.2.3".to_owned()),
        wants: Some(Wants { kv: vec!["thumbs".to_owned()], ..Wants::default() }),
        ..Manifest::default()
    };
    let bytes = manifest::embed(&component("kh", 1).bytes, &manifest).unwrap();
    let view = rig.deploys(&Artifact::new(bytes), activated()).await.unwrap();
    assert_eq!(view.versions[0].wants, ["kv thumbs"]);
    assert_eq!(view.versions[0].manifest.version.as_deref(), Some("1.2.3"));
}

#[tokio::test]
async fn what_no_host_can_run_is_not_kept() {
    let rig = Rig::new();
    let garbage = Artifact::new(&b"garbage"[..]);
    let error = rig.deploys(&garbage, activated()).await.unwrap_err();
    assert!(error.to_string().contains("is refused: it is no component; build one"), "{error}");
    let broken = manifest_of(b"{\"name\":7}");
    let error = rig.deploys(&broken, activated()).await.unwrap_err();
    assert!(matches!(error, CatalogError::Refused { .. }), "{error}");
    assert_eq!(rig.catalog.list().await.unwrap(), []);
    assert!(rig.documents.blob(&garbage.digest.to_string()).await.unwrap().is_none());
}

/// A component whose manifest holds this text.
fn manifest_of(text: &[u8]) -> Artifact {
    Artifact::new(manifest::embed_text(&component("", 9).bytes, text).unwrap())
}

#[tokio::test]
async fn versions_and_handlers_that_are_not_there_are_told() {
    let rig = Rig::new();
    let error = rig.catalog.get("media").await.unwrap_err().to_string();
    assert!(error.contains("no handler \"media\"; deploy a first version"), "{error}");
    rig.deploys(&component("", 1), activated()).await.unwrap();
    let error = rig.catalog.rollback("medai", None, "ann", None).await.unwrap_err().to_string();
    assert!(error.contains("\"medai\"") && error.contains("there are media"), "{error}");
    let unknown = "0123456789ab".parse().unwrap();
    let error = rig.catalog.activate("media", &unknown, true, "ann", None).await.unwrap_err().to_string();
    assert!(error.contains("no version sha256:0123456789ab"), "{error}");
    for name in ["", "..", "a/b", "-x", &"a".repeat(65)] {
        let deployed = rig.catalog.deploy(name, component("", 1), None, staged()).await;
        assert!(matches!(deployed, Err(CatalogError::NoName { .. })), "{name:?}");
    }
    let error = rig.catalog.rollback("media", None, "ann", None).await.unwrap_err().to_string();
    assert!(error.contains("no version to go back to"), "{error}");
}

#[tokio::test]
async fn a_beginning_that_several_versions_share_is_refused() {
    let rig = Rig::new();
    let mut by_start = std::collections::HashMap::new();
    let (one, two) = (0..)
        .map(|mark| component("", mark))
        .find_map(|artifact| {
            let start = artifact.digest.short()[..4].to_owned();
            by_start.insert(start, artifact.clone()).map(|earlier| (earlier, artifact))
        })
        .unwrap();
    rig.deploys(&one, staged()).await.unwrap();
    let short: DigestStart = one.digest.short()[..4].parse().unwrap();
    assert_eq!(rig.catalog.resolve("media", &short).await.unwrap(), one.digest);
    rig.deploys(&two, staged()).await.unwrap();
    assert!(matches!(rig.catalog.resolve("media", &short).await, Err(CatalogError::Ambiguous { .. })));
    assert_eq!(rig.catalog.resolve("media", &start(&two)).await.unwrap(), two.digest);
}

#[tokio::test]
async fn bytes_are_forgotten_with_their_last_version_and_not_before() {
    let rig = Rig::new();
    let old = component("", 0);
    rig.deploys(&old, staged()).await.unwrap();
    rig.catalog.deploy("other", old.clone(), None, activated()).await.unwrap();
    let lone = component("", 1);
    rig.deploys(&lone, staged()).await.unwrap();
    for mark in 100..100 + u32::try_from(VERSIONS_MAX).unwrap() {
        rig.deploys(&component("", mark), staged()).await.unwrap();
    }
    let view = rig.catalog.get("media").await.unwrap();
    assert_eq!(view.versions.len(), VERSIONS_MAX);
    assert!(matches!(rig.catalog.artifact(&lone.digest).await, Err(CatalogError::Lost { .. })));
    assert_eq!(rig.catalog.artifact(&old.digest).await.unwrap().bytes, old.bytes, "another handler has it");
    for version in view.versions {
        rig.catalog.artifact(&version.digest).await.unwrap();
    }
}

#[tokio::test]
async fn altered_bytes_are_never_handed_out() {
    let rig = Rig::new();
    let one = component("", 1);
    rig.deploys(&one, activated()).await.unwrap();
    rig.documents.keep_blob(&one.digest.to_string(), "other".into()).await.unwrap();
    assert!(matches!(rig.catalog.artifact(&one.digest).await, Err(CatalogError::Altered { .. })));
    // As the message says: deployed again, it is whole again, and the hosts hear of it.
    let seen = rig.catalog.get("media").await.unwrap().generation;
    assert!(rig.deploys(&one, activated()).await.unwrap().generation > seen);
    assert_eq!(rig.catalog.artifact(&one.digest).await.unwrap().bytes, one.bytes);
    rig.documents.forget_blob(&one.digest.to_string()).await.unwrap();
    rig.deploys(&one, activated()).await.unwrap();
    assert_eq!(rig.catalog.artifact(&one.digest).await.unwrap().bytes, one.bytes);
}

#[tokio::test]
async fn what_a_host_notes_down_makes_nobodys_view_old() {
    let rig = Rig::new();
    let (one, two) = (component("", 1), component("", 2));
    rig.deploys(&one, activated()).await.unwrap();
    let seen = rig.deploys(&two, activated()).await.unwrap().generation;
    for command in [Command::Admitted { digest: two.digest }, Command::Drained { digest: one.digest }] {
        let applied = rig.catalog.apply("media", command, "host:a", None).await.unwrap();
        assert_eq!((applied.changes.len(), applied.desired.generation), (1, seen));
    }
    rig.catalog.rollback("media", None, "bob", Some(seen)).await.unwrap();
    let error = rig.catalog.rollback("media", None, "eve", Some(seen)).await.unwrap_err().to_string();
    assert!(error.contains("by bob") && error.contains("handler ls media"), "{error}");
}

#[tokio::test]
async fn a_document_that_is_no_handlers_is_an_error_and_stays() {
    let rig = Rig::new();
    rig.documents.put(Folder::Handlers, "media", "{".into(), Expect::Absent, None).await.unwrap();
    let error = rig.deploys(&component("", 1), activated()).await.unwrap_err().to_string();
    assert!(error.contains("something unexpected") && error.contains("\"media\""), "{error}");
    let there = rig.documents.get(Folder::Handlers, "media").await.unwrap().unwrap();
    assert_eq!(there.content, "{");
}

/// Documents behind which somebody writes between every read and write, so many times.
struct Meddled {
    inner: MemoryDocuments,
    left: AtomicU64,
}

#[async_trait::async_trait]
impl Documents for Meddled {
    async fn get(
        &self,
        folder: Folder,
        name: &str,
    ) -> Result<Option<jobcell_core::documents::Document>, StoreError> {
        self.inner.get(folder, name).await
    }

    async fn list(
        &self,
        folder: Folder,
    ) -> Result<Vec<(String, jobcell_core::documents::Document)>, StoreError> {
        self.inner.list(folder).await
    }

    async fn put(
        &self,
        folder: Folder,
        name: &str,
        content: Bytes,
        expect: Expect,
        expires: Option<std::time::Duration>,
    ) -> Result<Put, StoreError> {
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
        let is_meddled =
            self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
        if is_meddled {
            let there = self.inner.get(folder, name).await?;
            let there = there.map_or_else(|| "{}".into(), |there| there.content);
            self.inner.put(folder, name, there, Expect::Anything, None).await?;
        }
        self.inner.put_logged(folder, name, content, expect, entries).await
    }

    async fn remove(&self, folder: Folder, name: &str, expect: Expect) -> Result<Put, StoreError> {
        self.inner.remove(folder, name, expect).await
    }

    async fn changed(
        &self,
        folder: Folder,
        seen: Option<u64>,
        patience: std::time::Duration,
    ) -> Result<u64, StoreError> {
        self.inner.changed(folder, seen, patience).await
    }

    async fn keep_blob(&self, digest: &str, content: Bytes) -> Result<(), StoreError> {
        self.inner.keep_blob(digest, content).await
    }

    async fn blob(&self, digest: &str) -> Result<Option<Bytes>, StoreError> {
        self.inner.blob(digest).await
    }

    async fn forget_blob(&self, digest: &str) -> Result<(), StoreError> {
        self.inner.forget_blob(digest).await
    }

    async fn append(&self, log: &Log, content: Bytes, keep: u32) -> Result<u64, StoreError> {
        self.inner.append(log, content, keep).await
    }

    async fn entries(
        &self,
        log: &Log,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<jobcell_core::documents::Entry>, StoreError> {
        self.inner.entries(log, before, limit).await
    }
}

fn meddled(times: u64) -> Catalog {
    let documents = Meddled { inner: MemoryDocuments::default(), left: AtomicU64::new(times) };
    Catalog::new(Arc::new(documents), Trust::default(), Arc::new(Letters), Arc::new(ManualClock::default()))
}

#[tokio::test]
async fn a_change_is_tried_again_over_what_came_in_between_and_not_for_ever() {
    let view = meddled(20).deploy("media", component("", 1), None, activated()).await.unwrap();
    assert_eq!(view.active, Some(component("", 1).digest));
    let error = meddled(u64::MAX).deploy("media", component("", 1), None, activated()).await.unwrap_err();
    assert!(matches!(error, CatalogError::Busy { .. }) && error.is_transient(), "{error}");
}
