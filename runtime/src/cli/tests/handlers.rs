//! Handlers from the command line: keys and signatures, and versions in the embedded store.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use super::*;

/// A component that exports what a handler does, and says which build it is.
fn component(build: u32) -> Vec<u8> {
    wat::parse_str(format!(
        r#"(component
            (core module $m (func (export "h") (result i32) i32.const {build}))
            (core instance $i (instantiate $m))
            (func (export "handle") (result u32) (canon lift (core func $i "h"))))"#
    ))
    .unwrap()
}

impl Place {
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The handler `media`, as `handler ls` tells of it.
    fn media(&self) -> Value {
        let (exit, value) = self.json(&["handler", "ls", "media"]);
        assert_eq!(exit, Exit::Done, "{value}");
        value
    }

    /// Deploys a build and gives its digest.
    fn deploy(&self, build: u32, more: &[&str]) -> (Exit, Value, String) {
        let bytes = component(build);
        let file = self.write(&format!("{build}.wasm"), &bytes);
        let words = [&["handler", "deploy", "media", &file, "--no-wait"], more].concat();
        let (exit, value) = self.json(&words);
        (exit, value, jobcell_handlers::Digest::of(&bytes).to_string())
    }
}

#[test]
fn a_secret_key_is_its_owners_and_never_shown() {
    let place = Place::new();
    let key = place.path("my.key").display().to_string();
    let (exit, made) = place.json(&["handler", "keygen", "--out", &key]);
    assert_eq!(exit, Exit::Done);
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let secret = std::fs::read_to_string(&key).unwrap();
    let (_, secret) = secret.trim().split_once(':').unwrap();
    assert!(
        !made.to_string().contains(secret) && made["publicKey"].as_str().unwrap().starts_with("ed25519:")
    );
    let again = place.run(&["handler", "keygen", "--out", &key]);
    again.is(Exit::Failed, &["my.key", "exists", "--out"]);
    assert!(!again.err.contains(secret));
    let other = place.path("other.key").display().to_string();
    let told = place.run(&["handler", "keygen", "--out", &other]);
    told.is(Exit::Done, &["[trust]", "require-signature = true", "ed25519:"]);
    let other = std::fs::read_to_string(other).unwrap();
    assert!(!told.out.contains(other.trim().split_once(':').unwrap().1), "{}", told.out);
}

#[test]
fn a_signature_holds_for_one_component_and_one_key() {
    let place = Place::new();
    let (mine, theirs) = ("mine.key", "theirs.key");
    let keygen = |name: &str| {
        let path = place.path(name).display().to_string();
        let public = place.json(&["handler", "keygen", "--out", &path]).1["publicKey"].clone();
        (path, public.as_str().unwrap().to_owned())
    };
    let ((mine, mine_public), (_, theirs_public)) = (keygen(mine), keygen(theirs));
    let file = place.write("a.wasm", component(1));
    place.run(&["handler", "verify", &file, "--key", &mine_public]).is(Exit::Refused, &["is not signed"]);
    let (exit, signed) = place.json(&["handler", "sign", &file, "--key", &mine]);
    assert_eq!((exit, signed["file"].as_str()), (Exit::Done, Some(&*format!("{file}.sig"))));
    let verified = place.run(&["handler", "verify", &file, "--key", &theirs_public, "--key", &mine_public]);
    verified.is(Exit::Done, &[signed["keyId"].as_str().unwrap(), "is believed"]);
    place
        .run(&["handler", "verify", &file, "--key", &theirs_public])
        .is(Exit::Refused, &["which is not among [trust] keys"]);
    // Another build beside the same signature.
    place.write("a.wasm", component(2));
    place
        .run(&["handler", "verify", &file, "--key", &mine_public])
        .is(Exit::Refused, &["the signature of version"]);
    // The keys of the configuration, where none is named.
    place.write("a.wasm", component(1));
    place.run(&["handler", "verify", &file]).is(Exit::Usage, &["no key", "--key", "[trust]"]);
    let place = place.configured(&format!("[trust]\nkeys = [{mine_public:?}]\n"));
    place.run(&["handler", "verify", &file]).is(Exit::Done, &["is believed"]);
    // A secret key where a public one belongs is not shown again.
    let secret = std::fs::read_to_string(&mine).unwrap();
    let leaked = place.run(&["handler", "verify", &file, "--key", secret.trim()]);
    leaked.is(Exit::Usage, &["secret key"]);
    assert!(!leaked.err.contains(secret.trim()));
    std::fs::set_permissions(&mine, std::fs::Permissions::from_mode(0o644)).unwrap();
    place.run(&["handler", "sign", &file, "--key", &mine]).is(Exit::Done, &["chmod 600"]);
    place.run(&["handler", "sign", "/no/such.wasm", "--key", &mine]).is(Exit::Usage, &["cannot be read"]);
    let junk = place.write("junk.wasm", "not wasm");
    place.run(&["handler", "sign", &junk, "--key", &mine]).is(Exit::Refused, &["not WebAssembly"]);
}

#[test]
fn versions_come_go_and_come_back() {
    let place = Place::new().configured("[handlers.media]\nsource = \"store\"\n");
    place.run(&["handler", "ls", "media"]).is(Exit::Failed, &["no handler \"media\""]);
    place.run(&["handler", "ls"]).is(Exit::Done, &["no handler is deployed"]);

    let (exit, value, one) = place.deploy(1, &[]);
    assert_eq!((exit, &value["active"]), (Exit::Done, &json!(one)), "{value}");
    let (exit, value, two) = place.deploy(2, &["--why", "faster"]);
    assert_eq!((exit, &value["active"], &value["previous"]), (Exit::Done, &json!(two), &json!(one)));
    let shown = place.run(&["handler", "ls", "media"]);
    shown.is(Exit::Done, &["active      ", &two[7..19], &one[7..19], "draining", "no host runs it"]);
    place.run(&["handler", "ls"]).is(Exit::Done, &["HANDLER", "media", &two[7..19], "none"]);

    let back = place.run(&["handler", "rollback", "media", "--why", "too slow", "--no-wait"]);
    back.is(Exit::Done, &[&format!("media: {} is active", &one[7..19])]);
    let history = place.run(&["handler", "history", "media"]);
    history.is(Exit::Done, &["WHEN", "too slow", "active → draining"]);
    let (_, entries) = place.json(&["handler", "history", "media", "--limit", "2"]);
    let entries = entries.as_array().unwrap().clone();
    assert_eq!(entries.len(), 2);
    let before = entries[1]["number"].to_string();
    let (_, older) = place.json(&["handler", "history", "media", "--before", &before]);
    assert!(
        older
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| entry["number"].as_u64() < entries[1]["number"].as_u64())
    );
}

#[test]
fn a_canary_takes_a_share_until_it_is_promoted_or_rolled_back() {
    let place = Place::new();
    let (_, _, one) = place.deploy(1, &[]);
    let (exit, value, two) = place.deploy(2, &["--stage"]);
    assert_eq!((exit, &value["active"]), (Exit::Done, &json!(one)));
    let canary =
        ["handler", "canary", "media", &two[7..15], "--percent", "20", "--min-jobs", "50", "--no-wait"];
    place.run(&canary).is(Exit::Done, &[&format!("{} takes 20 % of the jobs", &two[7..19])]);
    let media = place.media();
    assert_eq!((&media["canary"]["digest"], &media["canary"]["rules"]["minJobs"]), (&json!(two), &json!(50)));
    place.run(&["handler", "promote", "media", "--no-wait"]).is(Exit::Done, &[&two[7..19]]);
    assert_eq!(place.media()["active"], json!(two));
    place.run(&["handler", "promote", "media"]).is(Exit::Failed, &["no canary"]);

    let (_, value, three) = place.deploy(3, &["--canary", "5"]);
    assert_eq!(value["canary"]["digest"], json!(three));
    place.run(&["handler", "rollback", "media", "--no-wait"]).is(Exit::Done, &[]);
    assert_eq!((&place.media()["active"], &place.media()["canary"]), (&json!(two), &Value::Null));

    let quarantined = ["handler", "quarantine", "media", &two[7..19], "--why", "eats payloads", "--no-wait"];
    place.run(&quarantined).is(Exit::Done, &[&one[7..19]]);
    place.run(&["handler", "activate", "media", &two[7..19]]).is(Exit::Refused, &["quarantined"]);
    assert_eq!(place.deploy(2, &[]).0, Exit::Refused);
    place.run(&["handler", "release", "media", &two[7..19]]).is(Exit::Done, &[]);
    place.run(&["handler", "activate", "media", &two[7..19], "--no-wait"]).is(Exit::Done, &[&two[7..19]]);
}

#[test]
fn two_operators_do_not_undo_each_other() {
    let place = Place::new();
    let (_, value, one) = place.deploy(1, &[]);
    let seen = value["generation"].to_string();
    place.deploy(2, &[]);
    let late = place.run(&["handler", "activate", "media", &one[7..19], "--generation", &seen]);
    late.is(Exit::Failed, &["was changed meanwhile", &format!("not {seen}"), "look at it again"]);
    let (exit, value) = place.json(&["handler", "rollback", "media", "--generation", &seen]);
    assert_eq!((exit, &value["error"]["exit"]), (Exit::Failed, &json!(1)));
}

#[test]
fn another_operators_canary_is_not_ended_without_a_word() {
    let place = Place::new().configured("[handlers.media]\nsource = \"store\"\n");
    place.deploy(1, &[]);
    let seen = place.media()["generation"].to_string();
    let (exit, _, two) = place.deploy(2, &["--canary", "20"]);
    assert_eq!(exit, Exit::Done);
    // On what there was before that canary began.
    let (exit, told, three) = place.deploy(3, &["--generation", &seen]);
    assert_eq!((exit, &place.media()["canary"]["digest"]), (Exit::Failed, &json!(two)), "{told}");
    let file = place.path("3.wasm").display().to_string();
    let ran = place.run(&["handler", "deploy", "media", &file, "--no-wait"]);
    ran.is(Exit::Done, &[&format!("ended the canary {} of 20 %, begun by cli:", &two[7..19]), &three[7..19]]);
    assert!(!ran.err.contains("no host of the fleet"), "{}", ran.err);
    let both = place.run(&["handler", "promote", "media", "--force", "--generation", "1"]);
    both.is(Exit::Usage, &["--force"]);
    let typo = place.run(&["handler", "deploy", "medai", &file, "--no-wait", "--force"]);
    typo.is(Exit::Done, &["no host of the fleet has a handler of this name", "medai"]);
}

#[test]
fn what_no_host_would_run_is_not_taken_in() {
    let place = Place::new();
    let (_, _, one) = place.deploy(1, &[]);
    let whole = component(2);
    for (name, bytes, part) in [
        ("cut.wasm", &whole[..whole.len() - 9], "malformed"),
        ("text.wasm", &b"hello"[..], "not WebAssembly"),
        ("module.wasm", &b"\0asm\x01\0\0\0"[..], "module"),
        ("empty.wasm", &wat::parse_str("(component)").unwrap(), "handle"),
    ] {
        let file = place.write(name, bytes);
        let ran = place.run(&["handler", "deploy", "media", &file]);
        ran.is(Exit::Refused, &[name, part]);
    }
    assert_eq!(place.media()["active"], json!(one));
    assert_eq!(place.media()["versions"].as_array().unwrap().len(), 1);
    place
        .run(&["handler", "deploy", "../x", &place.write("a.wasm", &whole)])
        .is(Exit::Usage, &["no name of a handler"]);
    place.run(&["handler", "activate", "media", "zz"]).is(Exit::Usage, &["is no digest"]);
    place.run(&["handler", "activate", "media", "ffffffff"]).is(Exit::Failed, &["has no version"]);
}

#[test]
fn unsigned_versions_are_refused_where_signatures_are_required() {
    let place = Place::new();
    let key = place.path("k").display().to_string();
    let public = place.json(&["handler", "keygen", "--out", &key]).1["publicKey"].clone();
    let other = place.path("o").display().to_string();
    place.json(&["handler", "keygen", "--out", &other]);
    let place = place.configured(&format!("[trust]\nrequire-signature = true\nkeys = [{public}]\n"));
    let file = place.write("a.wasm", component(1));
    let deploy = ["handler", "deploy", "media", &*file, "--no-wait"];
    place.run(&deploy).is(Exit::Refused, &["is not signed", "handler sign"]);
    place.run(&["handler", "sign", &file, "--key", &other]).is(Exit::Done, &[]);
    place.run(&deploy).is(Exit::Refused, &["not among [trust] keys"]);
    place.run(&["handler", "sign", &file, "--key", &key]).is(Exit::Done, &[]);
    place.write("a.wasm", component(2));
    place.run(&deploy).is(Exit::Refused, &["the signature of version"]);
    place.write("a.wasm.sig", "nonsense");
    place.run(&deploy).is(Exit::Refused, &["a.wasm.sig", "no signature"]);
    place.run(&["handler", "sign", &file, "--key", &key]).is(Exit::Done, &[]);
    place.run(&deploy).is(Exit::Done, &["is active"]);
    assert!(place.media()["versions"][0]["signedBy"].is_string());
}

#[test]
fn wider_wants_need_somebody_who_agrees() {
    use jobcell_handlers::{Manifest, Wants, manifest};
    let place = Place::new();
    place.deploy(1, &[]);
    let wants = Wants { cache: true, kv: vec!["totals".to_owned()], ..Wants::default() };
    let manifest = Manifest { wants: Some(wants), ..Manifest::unsaid("media", None) };
    let wider = manifest::embed(&component(2), &manifest).unwrap();
    let (file, digest) = (place.write("wider.wasm", &wider), jobcell_handlers::Digest::of(&wider));
    let deploy = ["handler", "deploy", "media", &*file, "--no-wait"];
    let unapproved = place.run(&deploy);
    unapproved.is(Exit::Refused, &["+ cache", "totals", "is staged", "--approve", &digest.short()]);
    let (exit, value) = place.json(&deploy);
    assert_eq!((exit, &value["error"]["exit"]), (Exit::Refused, &json!(78)));
    let canary = [&deploy[..], &["--canary", "20"]].concat();
    let again = format!("jobcell handler canary media {} --percent 20 --approve", digest.short());
    place.run(&canary).is(Exit::Refused, &[&again]);
    let canary = ["handler", "canary", "media", &digest.to_string()[7..14], "--percent", "20"];
    place.run(&canary).is(Exit::Refused, &[&again]);
    let activate = ["handler", "activate", "media", &digest.short(), "--approve", "--no-wait"];
    place.run(&activate).is(Exit::Done, &[&digest.short()]);
    let shown = place.run(&["handler", "ls", "media"]);
    shown.is(Exit::Done, &["wants       cache, kv totals"]);
    let inspected = place.run(&["handler", "inspect", &file]);
    inspected.is(Exit::Done, &["manifest  media", "wants     cache, kv totals"]);
    assert_eq!(place.json(&["handler", "inspect", &file]).1["digest"], json!(digest.to_string()));
}

#[test]
fn a_host_that_is_named_and_not_there_is_told() {
    let place = Place::new().configured("[handlers.media]\nsource = \"media.wasm\"\n");
    place.run(&["handler", "ls", "media"]).is(Exit::Failed, &["comes from a file", "jobcell run", "--url"]);
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}");
    let ran = place.run(&["handler", "ls", "--url", &url]);
    ran.is(Exit::StoreUnreachable, &[&url, "cannot be reached", "JOBCELL_URL"]);
    place.run(&["handler", "ls", "--url", "ftp://x"]).is(Exit::Usage, &["ftp"]);
}
