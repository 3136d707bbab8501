//! Users with rights of their own: what is missing is named, and what the fix says is enough.

use jobcell_core::store::StoreHealth;
use jobcell_core::{Store, StoreError};
use jobcell_redis::{BullStore, ConnectOptions, ListOptions, ListStore, Redis, RedisCache, RedisPublisher};
use jobcell_tests::fleet::RedisCluster;

use crate::list::{self, store_at};
use crate::server::{Bench, NOW, Raw, Server, claim, plain, queue};

/// Makes a user who may do exactly what the faults about missing rights tell to allow, and returns its URL.
pub(crate) async fn advised(server: &Server) -> String {
    let mut raw = server.raw().await;
    // Looking at workers is the only verb that needs more.
    user(&mut raw, "advised", "+ping +client|setname +client|list").await;
    for _ in 0..ROUNDS_MAX {
        match &faults(server, "advised").await[..] {
            [] => return url(server, "advised"),
            faults => type_fixes(&mut raw, faults).await,
        }
    }
    panic!("what is advised is never enough")
}

/// The same for a list queue.
pub(crate) async fn advised_of_list(server: &Server, options: ListOptions) -> String {
    let mut raw = server.raw().await;
    user(&mut raw, "advised", "+ping").await;
    for _ in 0..ROUNDS_MAX {
        let store = store_at(&url(server, "advised"), options.clone()).await;
        let faults = store.health().await.unwrap().faults;
        store.close().await;
        match &faults[..] {
            [] => return url(server, "advised"),
            faults => type_fixes(&mut raw, faults).await,
        }
    }
    panic!("what is advised is never enough")
}

/// Without scripts nothing can be asked, without keys nothing is to be seen of commands on them.
const ROUNDS_MAX: usize = 6;

fn url(server: &Server, user: &str) -> String {
    format!("redis://{user}:pw@127.0.0.1:{}", server.port)
}

async fn user(raw: &mut Raw, name: &str, rules: &str) {
    let mut words = vec!["ACL", "SETUSER", name, "reset", "on", ">pw"];
    words.extend(rules.split(' '));
    let _: () = raw.run(&words).await;
}

/// Does what each fault says.
async fn type_fixes(raw: &mut Raw, faults: &[String]) {
    for fault in faults {
        let (_, fix) = fault.split_once("; ACL SETUSER ").unwrap_or_else(|| panic!("no fix: {fault}"));
        let (fix, _) = fix.split_once(", and the same").unwrap();
        let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(fix.split(' ')).collect();
        let _: () = raw.run(&words).await;
    }
}

async fn health(server: &Server, name: &str) -> StoreHealth {
    let store = BullStore::connect(ConnectOptions::from_url(&url(server, name)).unwrap()).await.unwrap();
    store.health().await.unwrap()
}

async fn faults(server: &Server, name: &str) -> Vec<String> {
    health(server, name).await.faults
}

#[tokio::test]
async fn a_user_that_may_do_all_that_is_advised_has_no_faults() {
    let server = Server::start();
    advised(&server).await;
    assert_eq!(faults(&server, "advised").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_a_user_may_not_do_is_a_fault_whose_fix_can_be_typed() {
    let mut b = Bench::new().await;
    let everything = "+@all -@admin -@dangerous +info +client|setname";
    user(&mut b.raw, "weak", &format!("{everything} -xadd -hincrby -script|load ~mail:*")).await;
    // The script that asks must be there for a user who may not load it.
    b.store.health().await.unwrap();
    // First the keys, without which nothing is to be seen of the commands on them; then those.
    for parts in [&["bull:jobcell:meta", "+script|load"][..], &["+hincrby", "+xadd"]] {
        let found = faults(&b.server, "weak").await;
        let [fault] = &found[..] else { panic!("{found:?}") };
        for part in parts.iter().chain(&["\"weak\"", "~bull:*"]) {
            assert!(fault.contains(part), "{part}: {fault}");
        }
        assert_eq!(fault.matches(" +").count(), if parts[0] == "+hincrby" { 2 } else { 1 }, "{fault}");
        type_fixes(&mut b.raw, &found).await;
    }
    assert_eq!(faults(&b.server, "weak").await, Vec::<String>::new());
}

#[tokio::test]
async fn without_scripts_nothing_works_and_the_fault_says_so() {
    let mut b = Bench::new().await;
    user(&mut b.raw, "mute", "~* +@all -@scripting").await;
    let found = faults(&b.server, "mute").await;
    assert!(found.iter().any(|fault| fault.contains("+evalsha")), "{found:?}");
    let store = BullStore::connect(ConnectOptions::from_url(&url(&b.server, "mute")).unwrap()).await.unwrap();
    let error = store.add(&b.q, vec![plain("n")], NOW).await.unwrap_err();
    assert!(matches!(&error, StoreError::Denied(text) if text.contains("ACL SETUSER")), "{error}");
}

#[tokio::test]
async fn an_error_of_a_script_names_the_missing_right_and_not_the_script() {
    let mut b = Bench::new().await;
    b.store.health().await.unwrap();
    b.add(vec![plain("n")]).await;
    user(&mut b.raw, "weak", "~bull:* +@all -@admin -@dangerous +client|setname -xadd").await;
    let store = BullStore::connect(ConnectOptions::from_url(&url(&b.server, "weak")).unwrap()).await.unwrap();
    let error = store.add(&b.q, vec![plain("n")], NOW).await.unwrap_err();
    let StoreError::Denied(text) = &error else { panic!("{error:?}") };
    assert!(
        text.contains("may not run xadd on keys such as") && text.contains("SETUSER weak +xadd"),
        "{text}"
    );
    assert!(!text.contains("script"), "{text}");
}

#[tokio::test]
async fn without_info_the_rest_is_told_all_the_same() {
    let mut b = Bench::new().await;
    user(&mut b.raw, "blind", "~bull:* +@all -@admin -@dangerous -info").await;
    let StoreHealth { faults, warnings, .. } = health(&b.server, "blind").await;
    assert_eq!(faults, Vec::<String>::new());
    assert!(warnings.iter().any(|warning| warning.contains("ACL SETUSER blind +info,")), "{warnings:?}");
    user(&mut b.raw, "blind", "~mail:* +@all -@admin -@dangerous -info").await;
    let found = faults_of(&b, "blind").await;
    assert!(found.len() == 1 && found[0].contains("~bull:*"), "{found:?}");
}

async fn faults_of(b: &Bench, name: &str) -> Vec<String> {
    faults(&b.server, name).await
}

#[tokio::test]
async fn what_a_list_queue_needs_is_asked_for_and_no_key_of_other_queues() {
    let b = list::Bench::new().await;
    let mut raw = b.raw.clone();
    b.store.health().await.unwrap();
    user(&mut raw, "weak", "~bull:* ~job:* &other +@all -@admin -@dangerous -blmove").await;
    let weak = || async { store_at(&url(&b.server, "weak"), list::options()).await };
    let found = weak().await.health().await.unwrap().faults;
    let [fault] = &found[..] else { panic!("{found:?}") };
    for part in [
        "list queue \"overlay\": the user \"weak\" may not",
        "touch keys such as \"jobs\", \"jobs:dead\"",
        "publish to channels such as \"job_updates\"",
        " ~jobs ",
        " ~jobs:*,",
        " &job_updates ",
    ] {
        assert!(fault.contains(part), "{part}: {fault}");
    }
    assert!(!fault.contains("bull") && !fault.contains("job:jobcell"), "{fault}");
    // In use it says the same.
    let error = weak().await.claim(&queue("overlay"), &claim(1, NOW)).await.unwrap_err();
    let StoreError::Denied(text) = &error else { panic!("{error:?}") };
    assert!(text.contains("~jobs:*") && !text.contains("script:"), "{text}");
    type_fixes(&mut raw, &found).await;
    let found = weak().await.health().await.unwrap().faults;
    assert!(
        found.len() == 1 && found[0].contains("may not run blmove on keys such as \"jobs\""),
        "{found:?}"
    );
    assert!(found[0].contains("SETUSER weak +blmove ~jobs,"), "{found:?}");
    type_fixes(&mut raw, &found).await;
    assert_eq!(weak().await.health().await.unwrap().faults, Vec::<String>::new());
}

#[tokio::test]
async fn on_a_cluster_a_list_needs_no_other_keys_than_those_advised() {
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let rules = ["reset", "on", ">pw", "~{acl-list}", "~{acl-list}:*", "&job_updates", "+@all"];
    let set: Vec<&str> = ["ACL", "SETUSER", "listed"].into_iter().chain(rules).collect();
    for node in cluster.nodes() {
        node.run(&set);
    }
    let url = cluster.url().replace("redis+cluster://", "redis+cluster://listed:pw@");
    let redis = Redis::connect(ConnectOptions::from_url(&url).unwrap()).await.unwrap();
    let store = ListStore::new(redis, queue("acl"), ListOptions::new("{acl-list}")).unwrap();
    assert_eq!(store.denied().await, None);
    store.add(&queue("acl"), vec![plain("n")], NOW).await.unwrap();
    let claimed = store.claim(&queue("acl"), &claim(1, NOW)).await.unwrap();
    assert_eq!(claimed.jobs.len(), 1);
}

#[tokio::test]
async fn what_handlers_are_granted_is_asked_for_where_it_lives() {
    let server = Server::start();
    let mut raw = server.raw().await;
    user(&mut raw, "weak", "~bull:* &news.* +@all -@admin -@dangerous").await;
    let open = || async {
        let redis = Redis::connect(ConnectOptions::from_url(&url(&server, "weak")).unwrap()).await.unwrap();
        (RedisCache::new(redis.clone()), RedisPublisher::new(redis))
    };
    let (cache, publisher) = open().await;
    let cached = cache.denied().await.unwrap();
    assert!(
        cached.contains("the cache") && cached.contains("SETUSER weak ~jobcell-cache/bull/*,"),
        "{cached}"
    );
    assert_eq!(publisher.denied("news.eu").await, None);
    assert_eq!(publisher.denied("news.*").await, None);
    let published = publisher.denied("mail*").await.unwrap();
    assert!(published.contains("\"mail*\"") && published.contains(" &mail*,"), "{published}");
    type_fixes(&mut raw, &[cached, published]).await;
    let (cache, publisher) = open().await;
    assert_eq!((cache.denied().await, publisher.denied("mail*").await), (None, None));
}
