//! Blobs over the real S3 protocol: a storage that checks signatures, in a process of its own.

use jobcell_tests::{Site, Storage};
use serde_json::{Value, json};

use crate::stage::{Stage, capable};

/// A site whose store `files` is a folder of a bucket.
fn site(storage: &Storage, url: &str) -> Site {
    let config = capable("http://127.0.0.1:9");
    let (before, _) = config.split_once("[blobs.files]").unwrap();
    let site = storage.env(Stage::embedded().site(&format!("{before}[blobs.files]\nurl = \"{url}\"\n")));
    site.write("open.txt", "sesame");
    site.env("TEST_KEY", "k")
}

/// Runs one job to its end.
fn run(site: &Site, name: &str, data: &Value) -> Value {
    let id = site.enqueue("work", name, data, &[]);
    let _ = site.burst();
    site.job("work", &id)
}

fn result(site: &Site, name: &str, data: &Value) -> Value {
    let job = run(site, name, data);
    assert_eq!(job["state"], "completed", "{job}");
    job["returnvalue"].clone()
}

fn blob(key: &str, text: &str) -> Value {
    json!({"store": "files", "key": key, "text": text})
}

fn keys(page: &Value) -> Vec<&str> {
    page.as_array().unwrap().iter().map(|info| info["key"].as_str().unwrap()).collect()
}

#[test]
fn blobs_are_put_read_listed_and_deleted() {
    let storage = Storage::start("media");
    let site = site(&storage, "s3://media/in/here");
    let answer = result(&site, "blob", &blob("a/b.txt", "hello"));
    assert_eq!((&answer["text"], &answer["part"]), (&json!("hello"), &json!("ell")), "{answer}");
    let head = &answer["head"];
    assert_eq!(
        (&head["key"], &head["size"], &head["content_type"]),
        (&json!("a/b.txt"), &json!(5), &json!("text/plain"))
    );
    assert_eq!(head["etag"], answer["put"]["etag"], "{answer}");
    assert_eq!(std::fs::read(storage.path("media/in/here/a/b.txt")).unwrap(), b"hello");

    // Written again whole, and read as it is now.
    let answer = result(&site, "blob", &blob("a/b.txt", "hello again"));
    assert_eq!((&answer["text"], &answer["head"]["size"]), (&json!("hello again"), &json!(11)), "{answer}");

    // What a signature must encode.
    let odd = "a/ä b+c=d&e'(1)~%41?#.txt";
    assert_eq!(result(&site, "blob", &blob(odd, "odd"))["text"], "odd");
    result(&site, "blob", &blob("a.txt", "beside the folder"));
    let list = |prefix: &str, after: Option<&str>, limit: u32| {
        result(
            &site,
            "blob-list",
            &json!({"store": "files", "prefix": prefix, "start_after": after, "limit": limit}),
        )
    };
    assert_eq!(keys(&list("", None, 10)), ["a.txt", "a/b.txt", odd]);
    assert_eq!(keys(&list("a/", None, 10)), ["a/b.txt", odd]);
    assert_eq!(keys(&list("a/b", None, 10)), ["a/b.txt"]);
    assert_eq!(keys(&list("", None, 1)), ["a.txt"]);
    assert_eq!(keys(&list("", Some("a.txt"), 1)), ["a/b.txt"]);
    assert_eq!(keys(&list("", Some("a/b.txt"), 9)), [odd]);

    let mut gone = blob(odd, "odd");
    gone["delete"] = json!(true);
    result(&site, "blob", &gone);
    assert_eq!(keys(&list("a/", None, 10)), ["a/b.txt"]);
}

#[test]
fn listings_of_more_than_a_page_go_on() {
    let storage = Storage::start("media");
    std::fs::create_dir(storage.path("media/in")).unwrap();
    let names: Vec<String> = (0..1100).map(|i| format!("a{i:04}")).chain(["z".to_owned()]).collect();
    for name in &names {
        std::fs::write(storage.path(&format!("media/in/{name}")), name).unwrap();
    }
    let site = site(&storage, "s3://media/in");
    let list = |prefix: &str, after: Option<&str>| {
        let asked = json!({"store": "files", "prefix": prefix, "start_after": after, "limit": 5000});
        let page = result(&site, "blob-list", &asked);
        keys(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(list("", None), names[..1000], "at most a thousand, in their order");
    assert_eq!(list("", Some(&names[999])), names[1000..]);
    // S3 answers a thousand at a time; this one is on its second page.
    assert_eq!(list("z", None), ["z"]);
    assert_eq!(list("a10", Some("a1097")), ["a1098", "a1099"]);
}

#[test]
fn what_lies_beside_the_folder_is_not_reached() {
    let storage = Storage::start("media");
    std::fs::write(storage.path("media/secret.txt"), "not for guests").unwrap();
    std::fs::create_dir(storage.path("media/in-too")).unwrap();
    std::fs::write(storage.path("media/in-too/x.txt"), "alike").unwrap();
    let site = site(&storage, "s3://media/in");
    result(&site, "blob", &blob("mine.txt", "x"));
    for key in ["../secret.txt", "a/../../secret.txt", "/secret.txt", "..", "", "a//b", "./x"] {
        let job = run(&site, "blob", &blob(key, "overwritten"));
        assert_eq!(job["state"], "failed", "{key}: {job}");
        assert_eq!(job["attemptsMade"], 1, "{key}: {job}");
    }
    // Characters like any others: an object of that name, in the folder.
    result(&site, "blob", &blob("%2e%2e%2fsecret.txt", "inside"));
    assert_eq!(std::fs::read(storage.path("media/secret.txt")).unwrap(), b"not for guests");
    let page = result(
        &site,
        "blob-list",
        &json!({"store": "files", "prefix": "", "start_after": null, "limit": 100}),
    );
    assert_eq!(keys(&page), ["%2e%2e%2fsecret.txt", "mine.txt"]);
    let job = run(
        &site,
        "blob-list",
        &json!({"store": "files", "prefix": "../", "start_after": null, "limit": 100}),
    );
    assert_eq!(job["state"], "failed", "{job}");
}

#[test]
fn check_says_what_is_wrong_with_a_storage() {
    let mut storage = Storage::start("media");
    let good = site(&storage, "s3://media/in");
    assert!(good.cli(&["check"]).ok().stdout.contains("blobs files: can be listed"));

    let told = |site: &Site, hints: &[&str]| {
        let ran = site.cli(&["check"]);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        let line = text.lines().find(|line| line.contains("blobs files")).unwrap_or(&text);
        assert!(ran.code != Some(0) && hints.iter().all(|hint| line.contains(hint)), "{hints:?}: {text}");
        assert!(!text.contains("test-secret-key") && !text.contains("no such secret"), "{text}");
    };
    let wrong = site(&storage, "s3://media/in").env("AWS_SECRET_ACCESS_KEY", "no such secret");
    told(&wrong, &["s3://media/in", "SignatureDoesNotMatch", "AWS_SECRET_ACCESS_KEY"]);
    let unknown = site(&storage, "s3://media/in").env("AWS_ACCESS_KEY_ID", "nobody");
    told(&unknown, &["s3://media/in", "refuses these credentials", "AWS_ACCESS_KEY_ID"]);
    told(&site(&storage, "s3://other/in"), &["s3://other/in", "no such bucket", "correct the url"]);
    told(&site(&storage, "s3://media/in").env("AWS_ALLOW_HTTP", "false"), &["AWS_ALLOW_HTTP=true"]);
    storage.down();
    told(&good, &["s3://media/in", "127.0.0.1"]);
}

#[test]
fn a_storage_that_refuses_or_is_away_is_a_fault_to_try_again() {
    let mut storage = Storage::start("media");
    let wrong = site(&storage, "s3://media/in").env("AWS_SECRET_ACCESS_KEY", "no such secret");
    let id = wrong.enqueue("work", "blob", &blob("k", "v"), &["--attempts", "2"]);
    let log = wrong.burst();
    let job = wrong.job("work", &id);
    assert!(job["failedReason"].as_str().unwrap().contains("refuses the host's credentials"), "{job}");
    assert_eq!(job["attemptsMade"], 2, "a mended credential helps a job that is tried again: {job}");
    assert!(
        log.stderr.contains("SignatureDoesNotMatch") && log.stderr.contains("AWS_SECRET_ACCESS_KEY"),
        "{log}"
    );
    assert!(!log.stderr.contains("no such secret"), "{log}");

    // A bucket that is missing is no file that is missing.
    let other = site(&storage, "s3://other/in");
    let job =
        run(&other, "blob-list", &json!({"store": "files", "prefix": "", "start_after": null, "limit": 1}));
    assert!(job["failedReason"].as_str().unwrap().contains("the blob store failed"), "{job}");

    storage.down();
    let good = site(&storage, "s3://media/in");
    let job = run(&good, "blob", &blob("k", "v"));
    let reason = job["failedReason"].as_str().unwrap();
    assert!(reason.contains("the blob store failed"), "the handler hears of it before its deadline: {job}");
    storage.up();
    assert_eq!(result(&good, "blob", &blob("k", "v"))["text"], "v");
}

/// A site with the store `files` of variables, and the store `own` of options.
fn two_stores(files: &Storage, own: &Storage) -> Site {
    let config = capable("http://127.0.0.1:9").replace("blobs = [\"files\"]", "blobs = [\"files\", \"own\"]");
    let (before, _) = config.split_once("[blobs.files]").unwrap();
    let options = format!(
        "endpoint = \"{}\", region = \"eu-west-1\", allow_http = true, access_key_id = {{ env = \"OWN_KEY\" }}, \
         secret_access_key = {{ file = \"own.key\" }}",
        own.url()
    );
    let text = format!(
        "{before}[blobs.files]\nurl = \"s3://media/in\"\n[blobs.own]\nurl = \"s3://archive/out\"\noptions = {{ {options} }}\n"
    );
    let site = files.env(Stage::embedded().site(&text)).env("TEST_KEY", "k").env("OWN_KEY", "own-access-key");
    // What belongs to the credentials and the place of the variables is none of the other store's.
    let site = site.env("AWS_SESSION_TOKEN", "another-session").env("AWS_ENDPOINT_URL_S3", &files.url());
    site.write("open.txt", "sesame");
    site.write("own.key", "own-secret-key\n");
    site
}

#[test]
fn two_stores_have_credentials_of_their_own() {
    let files = Storage::start("media");
    let own = Storage::start_as("archive", "own-access-key", "own-secret-key");
    let site = two_stores(&files, &own);
    let in_own = |key: &str, text: &str| json!({"store": "own", "key": key, "text": text});
    assert_eq!(result(&site, "blob", &blob("a.txt", "of files"))["text"], "of files");
    assert_eq!(result(&site, "blob", &in_own("a.txt", "of own"))["text"], "of own");
    assert_eq!(std::fs::read(files.path("media/in/a.txt")).unwrap(), b"of files");
    assert_eq!(std::fs::read(own.path("archive/out/a.txt")).unwrap(), b"of own");

    let values = ["own-access-key", "own-secret-key", "no such secret"];
    let check = |site: &Site| {
        let ran = site.cli(&["check"]);
        let text = format!("{}{}", ran.stdout, ran.stderr);
        assert!(values.iter().all(|value| !text.contains(value)), "{text}");
        text
    };
    let told = check(&site);
    assert!(
        told.contains("blobs files: can be listed") && told.contains("blobs own: can be listed"),
        "{told}"
    );
    site.write("own.key", "no such secret");
    let told = check(&site);
    let line = told.lines().find(|line| line.contains("blobs own")).unwrap_or(&told);
    assert!(told.contains("blobs files: can be listed"), "{told}");
    assert!(line.contains("SignatureDoesNotMatch") && line.contains("options of this store"), "{told}");
    let id = site.enqueue("work", "blob", &in_own("b.txt", "x"), &["--attempts", "1"]);
    let log = site.burst();
    let job = site.job("work", &id);
    assert!(job["failedReason"].as_str().unwrap().contains("refuses the host's credentials"), "{job}");
    assert!(
        values.iter().all(|value| !log.stderr.contains(value) && !job.to_string().contains(value)),
        "{log}"
    );
}
