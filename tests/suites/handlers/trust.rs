//! Only what a trusted key has signed runs, where that is asked for.

use jobcell_handlers::Digest;
use jobcell_handlers::trust::SecretKey;
use jobcell_tests::{Host, Ledger, RedisServer, Site, wait};

use super::fleet::ended_on;
use super::guest::Guest;

#[test]
fn unsigned_and_wrongly_signed_files_are_not_taken() {
    let redis = RedisServer::start();
    let (key, stranger) = (SecretKey::from_seed([7; 32]), SecretKey::from_seed([8; 32]));
    let config = format!(
        "[queues.work]\nhandler = \"mine\"\n[handlers.mine]\nsource = \"mine.wasm\"\n\
         [trust]\nrequire-signature = true\nkeys = [\"{}\"]\n",
        key.public()
    );
    let site = Site::redis(&redis, &config);
    let sign = |key: &SecretKey, guest: &Guest| key.sign(&Digest::of(&guest.bytes), b"").to_string();
    let [one, two, three] = ["one", "two", "three"].map(Guest::marked);
    site.write("mine.wasm", &one.bytes);
    let output = site.command().args(["run", "--burst"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("sign"), "{said}");

    site.write("mine.wasm.sig", sign(&key, &one));
    let host = Host::start(&site);
    let ledger = Ledger::of(&redis, "work");
    let runs = |guest: &Guest| {
        let ids = ledger.push_noops(1);
        ledger.wait_completed(&ids, wait::SOON);
        ended_on(&ledger, &ids[0]).1 == Some(guest.name())
    };
    assert!(runs(&one));

    // The signature is that of the version before.
    site.write("mine.wasm", &two.bytes);
    host.wait_log("nothing new can be taken");
    assert!(runs(&one), "what is not signed is not taken");
    site.write("mine.wasm.sig", sign(&stranger, &three));
    site.write("mine.wasm", &three.bytes);
    wait::until("the host names the unknown key", || {
        host.log()
            .iter()
            .any(|line| line.contains("nothing new can be taken") && line.contains("key"))
            .then_some(())
    });
    assert!(runs(&one));
    site.write("mine.wasm.sig", sign(&key, &two));
    site.write("mine.wasm", &two.bytes);
    wait::until("what is signed is taken", || runs(&two).then_some(()));
}
