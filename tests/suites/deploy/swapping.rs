//! Forward, back, a part of the way, and who did it.

use std::thread;

use jobcell_tests::{Host, Site, wait};
use serde_json::{Value, json};

use super::{DEPLOYED, answered, build, deploy, digest, ran_on, short, standing, written};
use crate::stage::{Stage, on_both_stores};

on_both_stores! {
    fn a_deploy_reaches_a_running_host_and_a_rollback_takes_it_back(stage: &Stage) {
        let site = stage.site(DEPLOYED);
        // Before any host runs: the version is there when one comes.
        let one = deploy(&site, 1, &[]);
        let host = Host::start(&site);
        assert_eq!(ran_on(&host), one);

        let two = deploy(&site, 2, &["--why", "it is faster"]);
        // The command waits for the host: what comes after it runs on the new version.
        assert_eq!(ran_on(&host), two);
        let view = standing(&site);
        assert_eq!((&view["active"], &view["previous"], &view["hosts"][0]["state"]), (&json!(two), &json!(one), &json!("current")));
        let shown = site.cli(&["handler", "ls", "basic"]).ok();
        let _ = shown.answers(&["source      store", short(&two), short(&one), "current", "1 host"]);

        let back = site.cli(&["handler", "rollback", "basic", "--why", "it is wrong"]).ok();
        let _ = back.answers(&[&format!("basic: {} is active", short(&one))]).says(&[" runs "]);
        assert_eq!(ran_on(&host), one);
        let history = site.cli(&["handler", "history", "basic"]).ok().answers(&["it is wrong"]);
        // Newest first: the way back comes before the way there.
        let (back, there) = (history.stdout.find("it is wrong"), history.stdout.find("new → staged"));
        assert!(back.is_some() && back < there, "{history}");
        host.stop();
    }

    fn a_canary_takes_its_share_and_is_promoted(stage: &Stage) {
        let site = stage.site(DEPLOYED);
        let one = deploy(&site, 1, &[]);
        let host = Host::start(&site);
        let two = deploy(&site, 2, &["--canary", "50"]);
        let mut seen: Vec<String> = (0..40).map(|_| ran_on(&host)).collect();
        seen.sort();
        seen.dedup();
        let mut both = [one, two.clone()];
        both.sort();
        // Of forty jobs none on one of two halves: once in a million million runs.
        assert_eq!(seen, both);
        let _ = site.cli(&["handler", "promote", "basic"]).ok().answers(&[short(&two)]);
        assert_eq!(ran_on(&host), two);
        host.stop();
    }

    fn of_two_operators_at_once_one_is_told(stage: &Stage) {
        let site = stage.site(DEPLOYED);
        deploy(&site, 1, &[]);
        let host = Host::start(&site);
        let seen = standing(&site)["generation"].to_string();
        let files: Vec<(String, String)> = (2..6).map(|number| written(&site, number)).collect();
        let deploy = |file: &str| {
            site.cli(&["--json", "handler", "deploy", "basic", file, "--generation", &seen])
        };
        let ran: Vec<_> = thread::scope(|scope| {
            let tasks: Vec<_> = files.iter().map(|(file, _)| scope.spawn(|| deploy(file))).collect();
            tasks.into_iter().map(|task| task.join().unwrap()).collect()
        });
        let done: Vec<usize> = (0..ran.len()).filter(|index| ran[*index].code == Some(0)).collect();
        assert_eq!(done.len(), 1, "{ran:#?}");
        for (index, ran) in ran.iter().enumerate().filter(|(index, _)| *index != done[0]) {
            assert_eq!(ran.code, Some(1), "{index}: {ran}");
            assert!(ran.stderr.contains("was changed meanwhile"), "{ran}");
        }
        let digest = &files[done[0]].1;
        assert_eq!(standing(&site)["active"], json!(digest));
        assert_eq!(&ran_on(&host), digest);
        host.stop();
    }

    fn of_two_who_activate_at_once_one_is_told(stage: &Stage) {
        let site = stage.site(DEPLOYED);
        deploy(&site, 1, &[]);
        let staged: Vec<String> = (2..4).map(|number| deploy(&site, number, &["--stage"])).collect();
        let host = Host::start(&site);
        for round in 0..3 {
            // What both saw when they decided.
            let seen = standing(&site)["generation"].to_string();
            let activate = |digest: &String| {
                let version = short(digest);
                site.cli(&["--json", "handler", "activate", "basic", version, "--generation", &seen])
            };
            let ran: Vec<_> = thread::scope(|scope| {
                let tasks: Vec<_> = staged.iter().map(|digest| scope.spawn(|| activate(digest))).collect();
                tasks.into_iter().map(|task| task.join().unwrap()).collect()
            });
            let won: Vec<&String> =
                staged.iter().zip(&ran).filter(|(_, ran)| ran.code == Some(0)).map(|(it, _)| it).collect();
            let [won] = won[..] else { panic!("round {round}: {ran:#?}") };
            let lost = ran.iter().find(|ran| ran.code != Some(0)).unwrap();
            assert_eq!(lost.code, Some(1), "{lost}");
            assert!(lost.stderr.contains("was changed meanwhile") && lost.stderr.contains(&seen), "{lost}");
            let view = standing(&site);
            assert_eq!((&view["active"], &view["hosts"][0]["active"]), (&json!(won), &json!(won)), "{view}");
            assert_eq!(&ran_on(&host), won);
            // Both begin the next round from the same version again.
            let _ = site.cli(&["handler", "rollback", "basic"]).ok();
        }
        host.stop();
    }

    fn an_api_deploys_what_arrives_whole_for_those_who_may(stage: &Stage) {
        let token = |name: &str, role: &str| {
            let hash = digest(name.as_bytes());
            format!("{{ name = {name:?}, role = {role:?}, sha256 = {:?} }}", &hash[7..])
        };
        let tokens = ["viewer", "operator", "admin"].map(|role| token(role, role)).join(", ");
        let config = format!("{DEPLOYED}[log]\nformat = \"text\"\n");
        let site = stage.site(&config);
        let listen = format!("[server]\nlisten = \"127.0.0.1:{}\"\n", site.port());
        site.write_config(&site.config().replace(&listen, &format!("{listen}tokens = [{tokens}]\n")));
        let host = Host::launch(&site, &[]);
        wait::until("the host answers", || host.get("/livez"));
        let url = format!("http://127.0.0.1:{}", site.port());
        let as_role = |role: &str, args: &[&str]| {
            let args = [args, &["--url", &url]].concat();
            site.cli_as(&[("JOBCELL_TOKEN", role)], &args)
        };
        let (file, one) = written(&site, 1);
        let deploy = ["handler", "deploy", "basic", &*file];
        let _ = as_role("nobody", &deploy).exits(1).says(&["token"]);
        for role in ["viewer", "operator"] {
            let _ = as_role(role, &deploy).exits(1).says(&["needs admin"]);
        }
        let _ = as_role("admin", &deploy).ok().answers(&[short(&one)]);
        let (file, two) = written(&site, 2);
        let _ = as_role("admin", &["handler", "deploy", "basic", &file, "--stage"]).ok().answers(&["is staged"]);
        let _ = as_role("viewer", &["handler", "activate", "basic", short(&two)]).exits(1).says(&["needs operator"]);
        let _ = as_role("operator", &["handler", "activate", "basic", short(&two), "--why", "go"]).ok();
        let ls: Value = as_role("viewer", &["--json", "handler", "ls", "basic"]).ok().json();
        assert_eq!(ls["active"], json!(two));
        // Who it was, the host knows by the token.
        let _ = as_role("viewer", &["handler", "history", "basic"]).ok().answers(&["operator", "admin"]);
        let bearer = [("authorization", "Bearer admin")];
        let (_, audit) = answered(host.request("GET", "/api/v1/audit", &bearer, None));
        let audit = audit.to_string();
        for part in ["/api/v1/handlers/basic/versions", "/api/v1/handlers/basic/activate", "403"] {
            assert!(audit.contains(part), "no {part} in {audit}");
        }
        host.stop();
    }
}

/// A handler whose versions are a host's own file: going back is asked of that host.
#[test]
fn a_handler_from_a_file_is_gone_back_with_too() {
    let site = Site::embedded(
        "[queues.work]\nhandler = \"basic\"\n[handlers.basic]\nsource = \"${site}/basic.wasm\"\n",
    );
    let (one, two) = (build(1), build(2));
    site.write("basic.wasm", &one);
    let _ = site.cli(&["handler", "ls", "basic"]).exits(1).says(&["comes from a file", "jobcell run"]);
    let host = Host::start(&site);
    assert_eq!(ran_on(&host), digest(&one));
    site.write("next.wasm", &two);
    std::fs::rename(site.path().join("next.wasm"), site.path().join("basic.wasm")).unwrap();
    // What is wanted changes first, and the host follows.
    wait::until("the host runs the file's new version", || {
        let host = &standing(&site)["hosts"][0];
        (host["active"] == json!(digest(&two)) && host["state"] == "current").then_some(())
    });
    assert_eq!(ran_on(&host), digest(&two));
    let _ = site.cli(&["handler", "rollback", "basic"]).ok().answers(&[short(&digest(&one))]);
    assert_eq!(ran_on(&host), digest(&one));
    host.stop();
}
