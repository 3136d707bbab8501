//! Handlers from files, and other configurations.

use std::io::Write;

use super::*;

#[tokio::test]
async fn another_configuration_is_taken_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, component(text)).unwrap();
        path
    };
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Host::on(&documents);
    let plan = |name: &str, path| Plan { watch: false, ..Plan::new(name, Source::File(path)) };
    let a = || plan("a", folder.path().join("a.wasm"));
    write("a.wasm", "bad from the start");
    let fault = host.controller.start(host.setup(vec![a()])).await.unwrap_err().to_string();
    assert!(fault.contains("\"a\" is refused") && fault.contains("a.wasm: bad"), "{fault}");

    write("a.wasm", "one");
    host.controller.start(host.setup(vec![a()])).await.unwrap();
    let one = digest("one").to_string();
    assert_eq!(host.runs(), Some(one.clone()));
    assert_eq!(host.controller.change(host.setup(vec![a()])).await.unwrap(), [], "nothing changed");

    write("a.wasm", "two");
    let b = plan("b", write("b.wasm", "bad"));
    let fault = host.controller.change(host.setup(vec![a(), b])).await.unwrap_err().to_string();
    assert!(fault.contains("\"b\" is refused"), "{fault}");
    assert_eq!(host.runs(), Some(one.clone()), "one bad handler keeps all");

    let changes = host.controller.change(host.setup(vec![a()])).await.unwrap();
    assert_eq!(changes[0].to, Some(digest("two").short()));
    assert_eq!(host.runs(), Some(digest("two").to_string()));
    let local = host.controller.catalogs().unwrap().local;
    assert_eq!(local.desired("a").await.unwrap().unwrap().1.active, Some(digest("two")));

    // A version that somebody went back to stays, as long as the file is what it was.
    local.apply("a", Command::Rollback { why: None }, "t", None).await.unwrap();
    until("it went back", || host.runs() == Some(one.clone())).await;
    assert_eq!(host.controller.change(host.setup(vec![a()])).await.unwrap(), []);
    assert_eq!(host.runs(), Some(one));
}

#[tokio::test]
async fn a_watched_file_is_taken_and_a_bad_one_is_not() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.wasm");
    std::fs::write(&path, component("one")).unwrap();
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Host::on(&documents);
    host.controller.start(host.setup(vec![Plan::new("a", Source::File(path.clone()))])).await.unwrap();
    std::fs::write(&path, component("two")).unwrap();
    host.wait_runs(digest("two")).await;
    std::fs::write(&path, component("here it is refused")).unwrap();
    until("it lags", || host.controller.statuses()["a"].lag.is_some()).await;
    assert_eq!(host.runs(), Some(digest("two").to_string()));
    std::fs::write(&path, component("three")).unwrap();
    host.wait_runs(digest("three")).await;
    until("nothing lags", || host.controller.statuses()["a"].lag.is_none()).await;
}

#[tokio::test]
async fn of_a_watched_file_only_a_few_versions_are_kept() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.wasm");
    let write = |text: &str| {
        let draft = folder.path().join("draft");
        std::fs::write(&draft, component(text)).unwrap();
        std::fs::rename(draft, &path).unwrap();
    };
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Host::on(&documents);
    write("version 0");
    host.controller.start(host.setup(vec![Plan::new("a", Source::File(path.clone()))])).await.unwrap();
    for n in 1..9 {
        write(&format!("version {n}"));
        host.wait_runs(digest(&format!("version {n}"))).await;
    }
    let local = host.controller.catalogs().unwrap().local;
    let end = Instant::now() + Duration::from_secs(20);
    while local.artifact(&digest("version 3")).await.is_ok() {
        assert!(Instant::now() < end, "old bytes are forgotten");
        sleep(Duration::from_millis(2)).await;
    }
    for n in 4..9 {
        local.artifact(&digest(&format!("version {n}"))).await.unwrap();
    }
    assert_eq!(local.desired("a").await.unwrap().unwrap().1.versions.len(), 9, "they stay listed");
}

#[tokio::test]
async fn what_lies_in_the_source_and_cannot_be_used_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.wasm");
    let write = |text: &str| std::fs::write(&path, component(text)).unwrap();
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Host::on(&documents);
    let plans = || vec![Plan { watch: false, ..Plan::new("a", Source::File(path.clone())) }];
    let lag = || host.controller.statuses()["a"].lag.clone().unwrap_or_default();
    for text in ["one", "two"] {
        write(text);
        host.controller.start(host.setup(plans())).await.unwrap();
    }
    let local = host.controller.catalogs().unwrap().local;
    let quarantine = Command::Quarantine { digest: digest("two"), why: "it broke jobs".to_owned() };
    local.apply("a", quarantine, "t", None).await.unwrap();
    host.wait_runs(digest("one")).await;
    until("it lags", || lag().contains("is quarantined: it broke jobs")).await;

    // What cannot be read leaves all as it is, and is told as well.
    write("bad three");
    host.controller.change(host.setup(plans())).await.unwrap_err();
    assert!(lag().contains("a.wasm: bad three"), "{}", lag());
    assert_eq!(host.runs(), Some(digest("one").to_string()));
    write("four");
    host.controller.change(host.setup(plans())).await.unwrap();
    host.wait_runs(digest("four")).await;
    until("nothing lags", || lag().is_empty()).await;
}

#[tokio::test]
async fn a_file_that_wants_more_is_taken_and_the_history_says_what() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a.wasm");
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Host::on(&documents);
    for text in ["one", "two wants kv"] {
        std::fs::write(&path, component(text)).unwrap();
        let plan = Plan { watch: false, ..Plan::new("a", Source::File(path.clone())) };
        host.controller.start(host.setup(vec![plan])).await.unwrap();
    }
    let local = host.controller.catalogs().unwrap().local;
    let history = local.history("a", None, 10).await.unwrap();
    let why = |text: &str| {
        let active =
            |entry: &&HistoryEntry| (entry.change.digest, entry.change.to) == (digest(text), State::Active);
        history.iter().rfind(active).unwrap().change.why.clone()
    };
    assert_eq!(why("one"), "activated");
    assert_eq!(why("two wants kv"), "wants more than the version before: kv *");
}

#[tokio::test]
async fn a_reload_waits_for_a_file_that_is_written_and_keeps_nothing_else_waiting() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("b.wasm");
    std::fs::write(&path, component("one")).unwrap();
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Arc::new(Host::on(&documents));
    let plans = || {
        let file = Plan { watch: false, ..Plan::new("b", Source::File(path.clone())) };
        vec![Plan::new("a", Source::Store), file]
    };
    host.controller.start(host.setup(plans())).await.unwrap();
    let file_runs = || host.registry.slots("b").unwrap().active.as_ref().unwrap().loaded.version();
    let whole = component("two");
    std::fs::write(&path, &whole[..8]).unwrap();
    let write = async {
        // Nobody knows of the reload but that it has not ended when this is there.
        let deployed = host.deploy("deployed meanwhile").await;
        host.wait_runs(deployed).await;
        assert_eq!(file_runs(), Some(digest("one")));
        std::fs::write(&path, &whole).unwrap();
        deployed
    };
    let (changed, deployed) = tokio::join!(host.controller.change(host.setup(plans())), write);
    changed.unwrap();
    assert_eq!((file_runs(), host.runs()), (Some(digest("two")), Some(deployed.to_string())));
    // At its start and in a reload a host takes its time.
    let loads = host.loader.loads.lock().unwrap().clone();
    let of = |text: &str| loads.iter().rfind(|(of, _)| of == text).map(|(_, haste)| *haste);
    assert_eq!((of("one"), of("two")), (Some(Haste::Later), Some(Haste::Later)));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_reload_knows_who_has_a_file_open_whether_it_is_watched_or_not() {
    let folder = TempDir::new().unwrap();
    let paths = ["a", "b"].map(|name| folder.path().join(format!("{name}.wasm")));
    let whole = |text: &str| [component(text), component(text)[8..].to_vec()].concat();
    for path in &paths {
        std::fs::write(path, component("one")).unwrap();
    }
    let documents: Arc<dyn Documents> = Arc::new(MemoryDocuments::default());
    let host = Host::on(&documents);
    let [a, b] = &paths;
    let plans = || {
        let (a, b) = (Source::File(a.clone()), Source::File(b.clone()));
        vec![Plan::new("a", a), Plan { watch: false, ..Plan::new("b", b) }]
    };
    host.controller.start(host.setup(plans())).await.unwrap();
    // Each of them writes a part that could be the whole, and pauses for longer than a file has to rest.
    let mut files = paths.each_ref().map(|path| std::fs::File::create(path).unwrap());
    for file in &mut files {
        file.write_all(&component("two")).unwrap();
    }
    let write = async {
        sleep(file::REST + file::REST / 2).await;
        for mut file in files {
            file.write_all(&component("two")[8..]).unwrap();
        }
    };
    let (changed, ()) = tokio::join!(host.controller.change(host.setup(plans())), write);
    changed.unwrap();
    for name in ["a", "b"] {
        let runs = host.registry.slots(name).unwrap().active.as_ref().unwrap().loaded.version();
        assert_eq!(runs, Some(Digest::of(&whole("two"))), "{name}");
        let known = host.controller.catalogs().unwrap().local.desired(name).await.unwrap().unwrap().1;
        assert!(known.version(&digest("two")).is_none(), "no part of it was taken");
    }
}
