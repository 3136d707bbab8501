//! Users with rights of their own: what is missing is named, and what the fix says is enough.

use jobcell_core::{Store, StoreError};
use jobcell_redis::{BullStore, ConnectOptions};

use crate::server::{Bench, NOW, Raw, Server, plain};

/// Makes a user who may do exactly what the error about missing rights tells to allow, and returns its URL.
pub(crate) async fn advised(server: &Server) -> String {
    let mut raw = server.raw().await;
    user(&mut raw, "advised", "~bull:* +ping").await;
    let url = format!("redis://advised:pw@127.0.0.1:{}", server.port);
    let store = BullStore::connect(ConnectOptions::from_url(&url).unwrap()).await.unwrap();
    let q = jobcell_core::QueueName::new("q").unwrap();
    let error = store.add(&q, vec![plain("n")], NOW).await.unwrap_err().to_string();
    let (_, rules) = error.split_once("ACL SETUSER <user> ").expect("the fix");
    user(&mut raw, "advised", &rules.replace("<prefix>", "bull")).await;
    store.close().await;
    url
}

async fn user(raw: &mut Raw, name: &str, rules: &str) {
    let mut words = vec!["ACL", "SETUSER", name, "reset", "on", ">pw"];
    words.extend(rules.split(' '));
    let _: () = raw.run(&words).await;
}

async fn faults(server: &Server, name: &str) -> Vec<String> {
    let url = format!("redis://{name}:pw@127.0.0.1:{}", server.port);
    let store = BullStore::connect(ConnectOptions::from_url(&url).unwrap()).await.unwrap();
    store.health().await.unwrap().faults
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
        let (_, fix) = fault.split_once("; ACL SETUSER ").unwrap();
        let (fix, _) = fix.split_once(", and the same").unwrap();
        let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(fix.split(' ')).collect();
        let _: () = b.raw.run(&words).await;
    }
    assert_eq!(faults(&b.server, "weak").await, Vec::<String>::new());
}

#[tokio::test]
async fn without_scripts_nothing_works_and_the_fault_says_so() {
    let mut b = Bench::new().await;
    user(&mut b.raw, "mute", "~* +@all -@scripting").await;
    let found = faults(&b.server, "mute").await;
    assert!(found.iter().any(|fault| fault.contains("+evalsha")), "{found:?}");
    let url = format!("redis://mute:pw@127.0.0.1:{}", b.server.port);
    let store = BullStore::connect(ConnectOptions::from_url(&url).unwrap()).await.unwrap();
    let error = store.add(&b.q, vec![plain("n")], NOW).await.unwrap_err();
    assert!(matches!(&error, StoreError::Denied(text) if text.contains("ACL SETUSER")), "{error}");
}
