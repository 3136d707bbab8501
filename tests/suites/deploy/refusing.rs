//! What does not get in, and that the version before goes on.

use jobcell_tests::{Host, artifacts, wait};
use serde_json::{Value, json};

use super::{DEPLOYED, answered, build, deploy, digest, ran_on, short, standing, written};
use crate::stage::{Stage, on_both_stores};

on_both_stores! {
    fn what_no_host_can_run_is_refused_and_the_active_version_goes_on(stage: &Stage) {
        let site = stage.site(DEPLOYED);
        let one = deploy(&site, 1, &[]);
        let host = Host::start(&site);
        let whole = build(2);
        for (name, bytes, part) in [
            ("cut.wasm", whole[..whole.len() / 2].to_vec(), "malformed"),
            ("text.wasm", b"hello".to_vec(), "not WebAssembly"),
            ("world.wasm", wat::parse_str("(component)").unwrap(), "handle"),
            ("module.wasm", wat::parse_str("(module)").unwrap(), "module"),
        ] {
            let file = site.write(name, bytes).display().to_string();
            let ran = site.cli(&["--json", "handler", "deploy", "basic", &file]).exits(78);
            assert!(ran.stderr.contains(part) && ran.stderr.contains(name), "{part}: {ran}");
            assert_eq!(ran.json()["error"]["exit"], 78);
        }
        let view = standing(&site);
        assert_eq!((&view["active"], view["versions"].as_array().map(Vec::len)), (&json!(one), Some(1)), "{view}");
        assert_eq!(ran_on(&host), one);
        host.stop();
    }

    fn what_every_host_refuses_is_told_as_refused_and_wanted_no_more(stage: &Stage) {
        let site = stage.site(DEPLOYED);
        let one = deploy(&site, 1, &[]);
        let host = Host::start(&site);
        let capable = artifacts::guest("capable").display().to_string();
        let deploy = ["handler", "deploy", "basic", &*capable, "--approve"];
        let told = site.cli(&deploy).exits(78);
        let _ = told.says(&["is refused: the only host refuses it: ", "without the grant", "[handlers.basic.grants]"]);
        // Whoever asks at once may be told why it lagged before that.
        let view = wait::until("the host is current", || {
            Some(standing(&site)).filter(|view| view["hosts"][0]["state"] == "current")
        });
        assert_eq!(view["active"], json!(one), "{view}");
        let shown = site.cli(&["handler", "ls", "basic"]).ok();
        let _ = shown.answers(&["refused", "the only host refuses it", "current"]);
        assert_eq!(ran_on(&host), one);
        host.stop();
    }

    fn a_refusal_that_is_known_is_told_as_one_however_short_the_wait(stage: &Stage) {
        // A first version is not given up: a host that can run it may come.
        let site = stage.site(DEPLOYED);
        let host = Host::launch(&site, &[]);
        host.wait_log(" ready");
        let capable = artifacts::guest("capable").display().to_string();
        let told = site.cli(&["handler", "deploy", "basic", &capable, "--approve", "--wait", "3"]).exits(78);
        let _ = told.says(&["still runs no version", "[handlers.basic.grants]", "secrets ="]);
        host.stop();
    }

    fn a_manifest_that_does_not_fit_is_told(stage: &Stage) {
        let site = stage.site(DEPLOYED);
        let with = |manifest: &str| {
            let (mut bytes, name) = (build(2), b"jobcell:manifest");
            let size = 1 + name.len() + manifest.len();
            assert!(size < 128);
            bytes.extend([0, size as u8, name.len() as u8]);
            bytes.extend(name);
            bytes.extend(manifest.as_bytes());
            site.write("claims.wasm", bytes).display().to_string()
        };
        let other = with(r#"{"name":"basic","wit":"9.0.0"}"#);
        let _ = site.cli(&["handler", "deploy", "basic", &other]).exits(78).says(&["jobcell:job@9.0.0", "Build it anew"]);
        let _ = deploy(&site, 1, &[]);
        let named = with(r#"{"name":"billing","limits":{"memoryBytes":4294967296}}"#);
        let told = site.cli(&["handler", "deploy", "basic", &named, "--stage"]).ok();
        let _ = told.says(&["it calls itself \"billing\"", "limits.memory = 4"]);
    }

    fn only_what_a_trusted_key_signed_gets_in(stage: &Stage) {
        let site = stage.site("");
        let keygen = |name: &str| {
            let made = site.cli(&["--json", "handler", "keygen", "--out", name]).ok().json();
            made["publicKey"].as_str().unwrap().to_owned()
        };
        let (ours, _) = (keygen("ours.key"), keygen("theirs.key"));
        let trust = format!("{}\n{DEPLOYED}\n[trust]\nrequire-signature = true\nkeys = [{ours:?}]\n", site.config());
        site.write_config(&trust);
        let (file, one) = written(&site, 1);
        let try_deploy = |file: &str| site.cli(&["handler", "deploy", "basic", file]);
        let _ = try_deploy(&file).exits(78).says(&["is not signed", "jobcell handler sign"]);
        let _ = site.cli(&["handler", "sign", &file, "--key", "ours.key"]).ok();
        let _ = site.cli(&["handler", "verify", &file]).ok().answers(&["is believed"]);
        let _ = try_deploy(&file).ok();
        let host = Host::start(&site);
        assert_eq!(ran_on(&host), one);

        let (file, two) = written(&site, 2);
        // The host is asked here on the embedded store, and this process looks first on Redis: both refuse.
        let _ = try_deploy(&file).exits(78).says(&["is not signed"]);
        let _ = site.cli(&["handler", "sign", &file, "--key", "theirs.key"]).ok();
        let _ = try_deploy(&file).exits(78).says(&["not among [trust] keys"]);
        let _ = site.cli(&["handler", "sign", &file, "--key", "ours.key"]).ok();
        let signature = site.read("basic-2.wasm.sig");
        site.write("basic-2.wasm", build(3));
        let _ = try_deploy(&file).exits(78).says(&["the signature of version"]);
        let _ = site.cli(&["handler", "verify", &file]).exits(78).says(&["the signature of version"]);
        assert_eq!(standing(&site)["active"], json!(one));
        assert_eq!(ran_on(&host), one);

        site.write("basic-2.wasm", build(2));
        site.write("basic-2.wasm.sig", signature);
        let _ = try_deploy(&file).ok().answers(&[short(&two)]);
        assert_eq!(ran_on(&host), two);
        host.stop();
    }

    fn a_version_that_wants_more_waits_for_somebody_to_agree(stage: &Stage) {
        let config = format!("{DEPLOYED}[handlers.basic.grants]\ncache = true\nkv = [\"totals\"]\n");
        let site = stage.site(&config);
        let one = deploy(&site, 1, &[]);
        let host = Host::start(&site);
        // A manifest that says more than the version before did.
        let manifest = br#"{"name":"basic","version":"2.0.0","wants":{"cache":true,"kv":["totals"]}}"#;
        let mut bytes = build(2);
        let name = b"jobcell:manifest";
        let size = 1 + name.len() + manifest.len();
        bytes.extend([0, (size & 0x7f) as u8 | 0x80, (size >> 7) as u8, name.len() as u8]);
        bytes.extend(name);
        bytes.extend(manifest);
        let file = site.write("wider.wasm", &bytes).display().to_string();
        let wider = digest(&bytes);
        let deploy = ["handler", "deploy", "basic", &*file];
        let told = site.cli(&deploy).exits(78);
        let _ = told.says(&["+ cache", "totals", "is staged", "--approve", short(&wider)]);
        assert_eq!(standing(&site)["active"], json!(one));
        assert_eq!(ran_on(&host), one);
        let agreed = [&deploy[..], &["--approve", "--why", "totals are asked for"]].concat();
        let _ = site.cli(&agreed).ok().says(&["approved what", "  + cache\n  + kv totals"]);
        assert_eq!(ran_on(&host), wider);
        let approved = standing(&site)["versions"][0]["approvedBy"].clone();
        assert!(approved.is_string(), "{approved}");
        // Who agreed to what, and why, is kept for whoever asks later.
        let (_, audit) = answered(host.get("/api/v1/audit"));
        let entries = audit["items"].as_array().unwrap().iter();
        let agreed: Vec<&Value> = entries.filter(|it| it["after"]["asked"]["approved"].is_array()).collect();
        let [agreed] = agreed[..] else { panic!("{audit}") };
        let asked = &agreed["after"]["asked"];
        assert_eq!((&asked["approved"], &asked["why"]), (&json!(["cache", "kv totals"]), &json!("totals are asked for")));
        assert_eq!((&agreed["before"]["active"], &agreed["after"]["active"]), (&json!(one), &json!(wider)));
        assert!(agreed["via"] == "api" || agreed["who"].as_str().unwrap().starts_with("cli:"), "{agreed}");
        let history = site.cli(&["handler", "history", "basic"]).ok();
        let _ = history.answers(&["approved what it wants beyond the active version: cache; kv totals"]);
        // It stays agreed to: going back and forth asks and tells nothing more.
        let _ = site.cli(&["handler", "rollback", "basic"]).ok();
        let again = site.cli(&["handler", "activate", "basic", short(&wider), "--approve"]).ok();
        assert!(!again.stderr.contains("approved"), "{again}");
        // What was deployed without being agreed to is agreed to when it is activated.
        let _ = site.cli(&["handler", "rollback", "basic"]).ok();
        bytes.extend([0, 2, 1, b'x']);
        let file = site.write("later.wasm", &bytes).display().to_string();
        let _ = site.cli(&["handler", "deploy", "basic", &file, "--stage"]).ok().says(&["beyond the active version"]);
        let later = digest(&bytes);
        let activate = ["handler", "activate", "basic", short(&later)];
        let _ = site.cli(&activate).exits(78).says(&["  + cache", "  + kv totals"]);
        let agreed = site.cli(&[&activate[..], &["--approve"]].concat()).ok();
        let _ = agreed.says(&[&format!("approved what {} wants", short(&later)), "  + cache\n  + kv totals"]);
        host.stop();
    }
}
