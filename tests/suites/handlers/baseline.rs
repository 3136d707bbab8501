//! Versions that are wanted at once begin on baseline code, and go on with optimised code as the same version.

use jobcell_handlers::version::State;
use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};

use super::fleet::{Operator, STORED, ended_on};
use super::guest::{Does, Guest};

/// A cache of its own: what is kept there runs optimised code from its first job.
pub(super) const OWN_CACHE: &str = "[cells]\ncache = \"cache\"\n";

const BEGINS: &str = "begins on baseline code";
const GOES_ON: &str = "goes on with optimised code";

/// How often each of both was said of this version.
fn said(host: &Host, guest: &Guest) -> (usize, usize) {
    let (log, version) = (host.log(), &guest.name()["sha256:".len()..][..12]);
    let of = |what: &str| log.iter().filter(|line| line.contains(what) && line.contains(version)).count();
    (of(BEGINS), of(GOES_ON))
}

/// Has jobs run and sees that this version ran them.
fn check_runs(ledger: &Ledger, guest: &Guest) {
    let ids = ledger.push_noops(20);
    ledger.wait_completed(&ids, wait::SOON);
    for id in &ids {
        assert_eq!(ended_on(ledger, id), (Some(guest.result.clone()), Some(guest.name())));
    }
}

#[test]
fn a_version_is_the_same_on_both_codes_and_what_is_kept_begins_on_the_better() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (first, second) = (Guest::marked("first"), Guest::marked("second"));
    operator.activate(&first);
    let site = Site::redis(&redis, &format!("{STORED}{OWN_CACHE}"));
    let host = Host::start(&site);
    let ledger = Ledger::of(&redis, "work");
    check_runs(&ledger, &first);
    assert_eq!(said(&host, &first), (0, 0), "a host that starts takes its time");

    operator.activate(&second);
    operator.wait_swapped(1, &first, &second);
    check_runs(&ledger, &second);
    wait::until("it is optimised", || (said(&host, &second) == (1, 1)).then_some(()));
    check_runs(&ledger, &second);
    host.stop();

    let host = Host::start(&site);
    check_runs(&ledger, &second);
    assert_eq!((said(&host, &first), said(&host, &second)), ((0, 0), (0, 0)), "it was compiled before");
    let found = site.cli(&["--json", "doctor"]).ok().json();
    assert_eq!(found["environment"]["engine"]["baseline"], true, "{found}");
    host.stop();
}

#[test]
fn what_breaks_before_its_first_job_is_refused_on_it_too() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (good, bad) = (Guest::marked("good"), Guest::new("bad", Does::TrapAtStart));
    operator.activate(&good);
    let site = Site::redis(&redis, &format!("{STORED}{OWN_CACHE}"));
    let host = Host::start(&site);
    let ledger = Ledger::of(&redis, "work");
    check_runs(&ledger, &good);
    operator.activate(&bad);
    operator.wait_state(&bad, State::Refused);
    host.wait_log("no host can run the version; what runs goes on");
    let why = operator.desired().version(&bad.digest()).unwrap().why.clone();
    assert!(why.contains("it breaks before its first job"), "{why}");
    check_runs(&ledger, &good);
    host.stop();
}

#[test]
fn what_has_no_optimised_code_gives_its_jobs_to_the_version_before() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (good, deep) = (Guest::marked("good"), Guest::new("deep", Does::DiveAtStart));
    operator.activate(&good);
    let site = Site::redis(&redis, &format!("{STORED}{OWN_CACHE}"));
    let host = Host::start(&site);
    let ledger = Ledger::of(&redis, "work");
    check_runs(&ledger, &good);
    // What another host would refuse at once runs here until the better code is there; whoever deploys is told all the same.
    let file = site.write("deep.wasm", &deep.bytes);
    let deploy = site.cli(&["handler", "deploy", "mine", file.to_str().unwrap()]).exits(78);
    let _ = deploy.says(&["is refused", "it began on baseline code, and has no", "its limit of 512 KiB"]);
    assert_eq!(operator.desired().version(&deep.digest()).unwrap().state, State::Refused);
    assert_eq!(said(&host, &deep), (1, 0));
    let why = operator.desired().version(&deep.digest()).unwrap().why.clone();
    assert!(why.contains("the only host refuses it: it began on baseline code, and has no"), "{why}");
    assert!(why.contains("its limit of 512 KiB"), "{why}");
    check_runs(&ledger, &good);
    host.stop();
}

#[test]
fn where_it_is_off_every_version_waits_for_its_optimised_code() {
    let redis = RedisServer::start();
    let operator = Operator::on(&redis);
    let (first, second) = (Guest::marked("first"), Guest::marked("second"));
    operator.activate(&first);
    let host = Host::start(&Site::redis(&redis, &format!("{STORED}{OWN_CACHE}baseline = false\n")));
    let ledger = Ledger::of(&redis, "work");
    check_runs(&ledger, &first);
    operator.activate(&second);
    operator.wait_swapped(1, &first, &second);
    check_runs(&ledger, &second);
    assert_eq!(said(&host, &second), (0, 0));
    host.stop();
}
