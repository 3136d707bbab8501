//! A name that leads to another machine after a while, as DNS records do.

use std::fs;

use jobcell_tests::{Host, Ledger, Proxy, RedisServer, Site, wait};

const WORK: &str = r#"
[queues.work]
handler = "basic"
[handlers.basic]
source = "${basic}"
"#;

/// Runs what follows with this file in place of the machine's list of hosts, in a mount namespace of its own: nobody else
/// sees it. Needs the right to make one, as root or by user namespaces.
const WITH_HOSTS: &str = r#"mount --bind "$1" /etc/hosts && shift && exec "$@""#;

/// The machine behind the name is replaced by one at another address, and goes away as `leave` says.
fn moves(leave: impl Fn(&mut RedisServer)) {
    let (mut old, new) = (RedisServer::start(), RedisServer::start());
    // The new one is reached at another address on the same port.
    let _way = Proxy::at("127.0.0.2", old.port(), new.port());
    let site = Site::at(&format!("redis://redis.example.test:{}", old.port()), WORK);
    let hosts = site.write("hosts", "127.0.0.1 redis.example.test\n");
    let hosts = hosts.display().to_string();
    let site = site.under(&["unshare", "--map-root-user", "--mount", "sh", "-c", WITH_HOSTS, "sh", &hosts]);
    let host = Host::start(&site);
    let before = Ledger::of(&old, "work");
    let _ = before.wait_completed(&before.push_noops(5), wait::SOON);

    // In place: a bind mount shows the file, not its name.
    fs::write(&hosts, "127.0.0.2 redis.example.test\n").unwrap();
    let after = Ledger::of(&new, "work");
    let ids = after.push_noops(5);
    leave(&mut old);
    let took = after.wait_completed(&ids, wait::SOON);
    eprintln!("works for the new machine after {took:?}");
    wait::until("the host is ready", || (host.get("/readyz")?.0 == 200).then_some(()));
    after.check_completed_once(&ids);
    host.stop();
}

#[test]
fn a_machine_that_ends_is_left_for_the_one_its_name_leads_to() {
    moves(RedisServer::down);
}

#[test]
fn a_machine_that_only_falls_silent_is_left_too() {
    moves(|old| old.freeze());
}
