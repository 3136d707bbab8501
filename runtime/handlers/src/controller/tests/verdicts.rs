//! What becomes of versions that were made in haste, once it is known whether they stay.

use super::*;

#[tokio::test]
async fn what_is_refused_after_all_gives_its_jobs_to_the_version_before() {
    let host = Host::stored().await;
    let one = host.deploy("one").await;
    host.wait_runs(one).await;
    let two = host.deploy("doubtful two").await;
    host.wait_runs(two).await;
    assert!(host.desired().await.version(&two).unwrap().admitted_at.is_none(), "not yet");
    host.refuse("doubtful two", Blame::Host);
    host.wait_runs(one).await;
    assert_eq!((host.loads("one"), host.loads("doubtful two")), (1, 1), "what is there is taken");
    let end = Instant::now() + Duration::from_secs(20);
    while host.desired().await.version(&two).unwrap().state != State::Refused {
        assert!(Instant::now() < end, "the fleet hears of it");
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(host.desired().await.active, Some(one));
    assert!(host.desired().await.version(&two).unwrap().why.contains("doubtful two is over"));
    until("nothing lags", || host.lag().is_none()).await;
    until("nothing of it stays", || host.loader.alive.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn a_host_of_many_that_refuses_a_version_after_all_stays_on_the_one_before() {
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let hosts = [Host::on(&documents), Host::named(&documents, "test-2-0000")];
    for host in &hosts {
        host.controller.start(host.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
    }
    let mut digests = Vec::new();
    for text in ["one", "doubtful two"] {
        let digest = hosts[0].deploy(text).await;
        for host in &hosts {
            host.wait_runs(digest).await;
        }
        digests.push(digest);
    }
    let [ours, other] = &hosts;
    ours.refuse("doubtful two", Blame::Bytes);
    ours.wait_runs(digests[0]).await;
    until("it lags", || ours.lag().is_some_and(|lag| lag.contains("doubtful two is over"))).await;
    assert!(!ours.controller.statuses()["a"].baseline && other.controller.statuses()["a"].baseline);
    assert_eq!((other.runs(), other.lag()), (Some(digests[1].to_string()), None));
    // Many turns later it is the same.
    for text in ["three", "four"] {
        ours.hand_in(text).await;
        until("it is tried", || ours.loads(text) == 1).await;
    }
    assert_eq!((ours.runs(), ours.loads("doubtful two")), (Some(digests[0].to_string()), 1));
    // Another configuration has all loaded anew, and puts nothing back that is refused.
    let before = ours.loads("one");
    ours.controller.change(ours.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
    assert_eq!((ours.runs(), ours.loads("one")), (Some(digests[0].to_string()), before + 1));
    ours.hand_in("five").await;
    until("it is tried", || ours.loads("five") == 1).await;
    assert_eq!(ours.runs(), Some(digests[0].to_string()));
    let loads = ours.loader.loads.lock().unwrap().clone();
    let in_haste = |(text, haste): &&(String, Haste)| (text.as_str(), *haste) == ("doubtful two", Haste::Now);
    assert_eq!(loads.iter().filter(in_haste).count(), 1, "{loads:?}");
    let said = format!("runs {} because {} cannot be run here", digests[0].short(), digests[1].short());
    assert!(ours.lag().is_some_and(|lag| lag.starts_with(&said)), "{:?}", ours.lag());
}

#[tokio::test]
async fn what_is_refused_after_all_goes_on_where_there_is_no_other() {
    let host = Host::stored().await;
    let one = host.deploy("doubtful one").await;
    host.wait_runs(one).await;
    host.refuse("doubtful one", Blame::Host);
    until("it lags", || host.lag().is_some_and(|lag| lag.contains("doubtful one is over"))).await;
    assert_eq!((host.runs(), host.loads("doubtful one")), (Some(one.to_string()), 1), "no job waits");
    let two = host.deploy("two").await;
    host.wait_runs(two).await;
    until("nothing lags", || host.lag().is_none()).await;
    until("it is not kept for a rollback", || host.loader.alive.load(Ordering::SeqCst) == 1).await;
}

#[tokio::test]
async fn what_is_refused_after_all_is_not_kept_for_a_rollback() {
    let host = Host::stored().await;
    let one = host.deploy("doubtful one").await;
    host.wait_runs(one).await;
    let two = host.deploy("two").await;
    host.wait_runs(two).await;
    until("it is kept", || host.registry.slots("a").unwrap().previous.is_some()).await;
    host.refuse("doubtful one", Blame::Host);
    until("it is not kept", || host.registry.slots("a").unwrap().previous.is_none()).await;
    until("nothing of it stays", || host.loader.alive.load(Ordering::SeqCst) == 1).await;
    assert_eq!((host.runs(), host.lag()), (Some(two.to_string()), None));
}

#[tokio::test]
async fn a_rollback_leads_past_what_was_refused_after_all() {
    let host = Host::stored().await;
    let mut digests = Vec::new();
    for text in ["one", "doubtful two", "trap three"] {
        let digest = host.deploy(text).await;
        host.wait_runs(digest).await;
        digests.push(digest);
    }
    let kept = || host.registry.slots("a").unwrap().previous.as_ref().and_then(|slot| slot.loaded.version());
    until("the one before is kept", || kept() == Some(digests[1])).await;
    host.refuse("doubtful two", Blame::Host);
    until("the one before that is kept", || kept() == Some(digests[0])).await;
    // So a job that breaks has somewhere to go.
    assert!(matches!(host.run("7").await, Outcome::DelayUntil(_)));
    host.apply(Command::Quarantine { digest: digests[2], why: "it breaks".to_owned() }).await;
    host.wait_runs(digests[0]).await;
}

#[tokio::test]
async fn what_is_quarantined_takes_no_jobs_though_the_version_before_cannot_be_run() {
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let (host, other) = (Host::on(&documents), Host::named(&documents, "test-2-0000"));
    for of in [&host, &other] {
        of.controller.start(of.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
    }
    let mut digests = Vec::new();
    for text in ["one", "doubtful two", "three"] {
        let digest = host.deploy(text).await;
        for of in [&host, &other] {
            of.wait_runs(digest).await;
        }
        digests.push(digest);
    }
    // The other host can run it, so it stays what a rollback leads to.
    host.refuse("doubtful two", Blame::Host);
    let kept = || host.registry.slots("a").unwrap().previous.as_ref().and_then(|slot| slot.loaded.version());
    until("the first is kept", || kept() == Some(digests[0])).await;
    host.apply(Command::Quarantine { digest: digests[2], why: "it breaks".to_owned() }).await;
    other.wait_runs(digests[1]).await;
    host.wait_runs(digests[0]).await;
    assert!(host.lag().is_some_and(|lag| lag.contains("doubtful two is over")), "{:?}", host.lag());
}

#[tokio::test]
async fn where_no_other_can_run_a_version_that_is_refused_after_all_goes_on() {
    let host = Host::stored().await;
    let one = host.deploy("doubtful one").await;
    host.wait_runs(one).await;
    let two = host.deploy("doubtful two").await;
    host.wait_runs(two).await;
    for text in ["doubtful one", "doubtful two"] {
        host.refuse(text, Blame::Host);
    }
    until("it lags", || host.lag().is_some_and(|lag| lag.contains("doubtful two is over"))).await;
    until("it is known", || host.controller.statuses()["a"].refuses == [two.to_string()]).await;
    assert_eq!(
        (host.desired().await.active, host.runs()),
        (Some(two), Some(two.to_string())),
        "no job waits"
    );
}

#[tokio::test]
async fn what_was_made_in_haste_is_admitted_once_it_is_as_it_stays() {
    let host = Host::stored().await;
    let one = host.deploy("doubtful one").await;
    host.wait_runs(one).await;
    until("it is told", || host.controller.statuses()["a"].baseline).await;
    let judge = host.loader.verdicts.lock().unwrap().remove("doubtful one").expect("it was made in haste");
    judge.send(Ok(())).expect("somebody listens");
    let end = Instant::now() + Duration::from_secs(20);
    while host.desired().await.version(&one).unwrap().admitted_at.is_none() {
        assert!(Instant::now() < end, "the fleet hears of it");
        sleep(Duration::from_millis(2)).await;
    }
    assert_eq!((host.runs(), host.lag()), (Some(one.to_string()), None));
    assert!(!host.controller.statuses()["a"].baseline);
}

#[tokio::test]
async fn a_reload_takes_what_is_in_doubt_as_it_is() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.wasm");
    std::fs::write(&path, component("one")).unwrap();
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Host::on(&documents);
    let plans = |watch| vec![Plan { watch, ..Plan::new("a", Source::File(path.clone())) }];
    host.controller.start(host.setup(plans(true))).await.unwrap();
    std::fs::write(&path, component("doubtful two")).unwrap();
    host.wait_runs(digest("doubtful two")).await;
    host.controller.change(host.setup(plans(false))).await.unwrap();
    // Another file has to be as it is to stay.
    std::fs::write(&path, component("doubtful three")).unwrap();
    let fault = host.controller.change(host.setup(plans(false))).await.unwrap_err().to_string();
    assert!(fault.contains("doubtful three"), "{fault}");
    assert_eq!(host.runs(), Some(digest("doubtful two").to_string()));
}

#[tokio::test]
async fn what_a_host_could_not_run_when_it_started_does_not_begin_after_all() {
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let first = Host::on(&documents);
    first.controller.start(first.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
    let one = first.deploy("doubtful one").await;
    first.wait_runs(one).await;
    let late = Host::named(&documents, "test-2-0000");
    late.controller.start(late.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
    until("it is looked at again", || late.loads("doubtful one") == 2).await;
    until("it is told", || late.controller.statuses()["a"].refuses == [one.to_string()]).await;
    assert_eq!(late.runs(), None);
    let loads = late.loader.loads.lock().unwrap().clone();
    assert!(loads.iter().all(|(_, haste)| *haste == Haste::Later), "{loads:?}");
    // The next one is news.
    let two = late.deploy("doubtful two").await;
    late.wait_runs(two).await;
    // Nor does what would stand in.
    first.wait_runs(two).await;
    let last = Host::named(&documents, "test-3-0000");
    last.controller.start(last.setup(vec![Plan::new("a", Source::Store)])).await.unwrap();
    until("both are looked at again", || (last.loads("doubtful one"), last.loads("doubtful two")) == (2, 2))
        .await;
    until("it is told", || last.controller.statuses()["a"].refuses == [two.to_string()]).await;
    assert_eq!(last.runs(), None);
    let loads = last.loader.loads.lock().unwrap().clone();
    assert!(loads.iter().all(|(_, haste)| *haste == Haste::Later), "{loads:?}");
}

#[tokio::test]
async fn a_host_that_starts_knows_before_it_runs_anything_what_it_cannot_run() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.wasm");
    std::fs::write(&path, component("doubtful one")).unwrap();
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Host::on(&documents);
    let plans = vec![Plan::new("a", Source::File(path))];
    let fault = host.controller.start(host.setup(plans)).await.unwrap_err().to_string();
    assert!(fault.contains("doubtful one"), "{fault}");
}
