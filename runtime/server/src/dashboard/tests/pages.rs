//! What pages show: all of it escaped, below the prefix, with nothing from elsewhere.

use jobcell_core::JobState;
use jobcell_core::Keep;
use jobcell_core::store::{ClaimRequest, Finish, Verdict};

use super::*;

const HOSTILE: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'";

async fn everything(prefix: &str) -> (Place, Vec<String>) {
    let place = Place::with(Vec::new(), prefix, None);
    place.add("one", "welcome", "{\"a\":1}").await;
    place.store.pause(&queue()).await.unwrap();
    let paths = [
        "",
        "/queues",
        "/queues/work?state=waiting",
        "/queues/work/jobs/one",
        "/queues/work/add",
        "/schedules",
        "/handlers",
        "/hosts",
        "/audit",
    ];
    let paths = paths
        .iter()
        .map(|path| format!("{prefix}{path}"))
        .map(|path| if path.is_empty() { "/".to_owned() } else { path });
    (place, paths.collect())
}

#[tokio::test]
async fn every_page_is_whole_and_closed_to_other_sites() {
    let (place, paths) = everything("").await;
    let browser = place.browser();
    for path in paths {
        let page = browser.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && page.header("x-frame-options") == "DENY",
            "{path}"
        );
        assert_eq!(
            (page.header("cache-control"), page.header("x-content-type-options")),
            ("no-store", "nosniff")
        );
        // The policy would block it: nothing inline is ever written.
        assert!(
            !page.text.contains(" style=")
                && !page.text.contains("<style")
                && !page.text.contains(" onclick="),
            "{path}"
        );
        assert_eq!(page.text.matches("<script").count(), 1, "{path}");
        assert_eq!(page.text.matches("<h1").count(), 1, "{path}");
    }
}

#[tokio::test]
async fn every_address_on_every_page_is_below_the_prefix() {
    let (place, paths) = everything("/tools/jobs").await;
    let browser = place.browser();
    for path in paths {
        let page = browser.get(&path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        for name in ["href", "src", "action", "data-stream", "data-log"] {
            for address in page.attributes(name) {
                let is_below = address == "/tools/jobs"
                    || address.starts_with("/tools/jobs/")
                    || address.starts_with("/tools/jobs?");
                assert!(is_below || address == "#main", "{path}: {name}={address}");
            }
        }
        // A proxy that takes the prefix away is answered the same.
        let stripped = path.strip_prefix("/tools/jobs").unwrap();
        let stripped = browser.get(if stripped.is_empty() { "/" } else { stripped }).await;
        assert_eq!(stripped.status, StatusCode::OK, "{path}");
    }
    assert_eq!(browser.get("/tools/jobs/").await.status, StatusCode::OK);
    assert_eq!(browser.get("/tools/jobsworth").await.status, StatusCode::NOT_FOUND);
    for path in ["/tools/jobs/livez", "/livez", "/tools/jobs/api/v1/queues", "/tools/jobs/nothing"] {
        let expected = if path.ends_with("nothing") { 404 } else { 200 };
        assert_eq!(browser.get(path).await.status.as_u16(), expected, "{path}");
    }
}

#[tokio::test]
async fn assets_are_named_by_what_is_in_them() {
    let place = Place::open(tokens());
    let page = place.browser().get("/login").await;
    let style = page.attributes("href").into_iter().find(|href| href.contains("style-")).unwrap();
    let asset = place.browser().get(&style).await;
    assert_eq!(
        (asset.status, asset.header("cache-control")),
        (StatusCode::OK, "public, max-age=31536000, immutable")
    );
    let hash = hex::encode(Sha256::digest(&asset.text));
    assert!(style.contains(&hash[..12]), "{style}");
    for elsewhere in ["http://", "https://", "url(", "@import"] {
        assert!(!asset.text.contains(elsewhere), "the style brings nothing from elsewhere: {elsewhere}");
    }
}

#[tokio::test]
async fn nothing_hostile_becomes_markup() {
    let place = Place::open(Vec::new());
    let data = serde_json::json!({HOSTILE: [HOSTILE]}).to_string();
    let id = place.add("x<i>", HOSTILE, &data).await;
    let request = ClaimRequest {
        max: 1,
        token_prefix: "t".into(),
        token_first: 0,
        lock: std::time::Duration::from_secs(30),
        worker_name: Some(HOSTILE.into()),
        rate: None,
        now: 1_700_000_000_000,
    };
    let claimed = place.store.claim(&queue(), &request).await.unwrap().jobs.remove(0);
    place.store.append_logs(&queue(), &id, &[HOSTILE.to_owned()], None).await.unwrap();
    let (reason, stacktrace) = (HOSTILE.to_owned(), vec![format!("at {HOSTILE}")]);
    let verdict = Verdict::Fail { reason, stacktrace, keep: Keep::All, attempts_max: 1 };
    let finish = Finish::new(id.clone(), claimed.token, verdict);
    place.store.finish(&queue(), vec![finish], None, 1_700_000_001_000).await.unwrap();
    assert_eq!(place.store.state(&queue(), &id).await.unwrap(), Some(JobState::Failed));
    let browser = place.browser();
    for path in [
        "/",
        "/queues/work?state=failed",
        "/queues/work/jobs/x%3Ci%3E",
        "/queues?q=%3Cscript%3Ealert(1)%3C/script%3E",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        assert_eq!(page.text.matches("<script").count(), 1, "{path}: ours alone");
        assert!(
            !page.text.contains("<img")
                && !page.text.contains("<i>")
                && !page.text.contains("onerror=alert(2)>\"'"),
            "{path}"
        );
    }
    let job = browser.get("/queues/work/jobs/x%3Ci%3E").await.text;
    assert!(job.contains("&lt;script&gt;"), "it is shown, as text");
}

#[tokio::test]
async fn what_is_to_be_hidden_is_hidden() {
    let place = Place::open(Vec::new());
    place.add("paid", "pay", r#"{"card":{"number":"4242-4242"},"amount":5}"#).await;
    let job = place.browser().get("/queues/work/jobs/paid").await.text;
    assert!(!job.contains("4242") && job.contains("[redacted]") && job.contains("amount"), "{job}");
}

#[tokio::test]
async fn what_is_missing_is_told_with_a_page() {
    let place = Place::open(Vec::new());
    let browser = place.browser();
    for (path, status, told) in [
        ("/queues/work/jobs/none", 404, "may have been removed"),
        ("/queues/nowhere?state=failed", 404, "there is no queue"),
        ("/queues/work?state=odd", 400, "use one of"),
        ("/handlers/none", 404, "no versions"),
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status.as_u16(), status, "{path}");
        assert!(
            page.text.to_lowercase().contains(told) && page.text.contains("<nav"),
            "{path}: {}",
            page.text
        );
    }
}

#[tokio::test]
async fn lists_go_on_page_by_page() {
    let place = Place::open(Vec::new());
    for number in 0..70 {
        place.add(&format!("job-{number:02}"), "n", "{}").await;
    }
    let browser = place.browser();
    let first = browser.get("/queues/work?state=waiting").await;
    assert!(first.text.contains("job-00") && first.text.contains("job-49") && !first.text.contains("job-50"));
    let next = first.attributes("href").into_iter().find(|href| href.contains("cursor=")).unwrap();
    let second = browser.get(&next).await;
    assert!(
        second.text.contains("job-50") && second.text.contains("job-69") && !second.text.contains("job-49")
    );
    assert!(browser.get("/queues/work").await.header("location").ends_with("?state=waiting"));
}

#[tokio::test]
async fn counters_and_charts_tell_what_was_not_counted() {
    // The queue keeps no series: there is one completed job, and nobody knows how many there ever were.
    let place = Place::open(Vec::new());
    place.add("one", "n", "{}").await;
    let request = ClaimRequest {
        max: 1,
        token_prefix: "t".into(),
        token_first: 0,
        lock: std::time::Duration::from_secs(30),
        worker_name: None,
        rate: None,
        now: 1_700_000_000_000,
    };
    let claimed = place.store.claim(&queue(), &request).await.unwrap().jobs.remove(0);
    let verdict = Verdict::Complete { result: "null".into(), keep: Keep::All };
    let finish = Finish::new(id("one"), claimed.token, verdict);
    place.store.finish(&queue(), vec![finish], None, 1_700_000_001_000).await.unwrap();
    let page = place.browser().get("/").await.text;
    assert!(page.contains("<b>1</b><span>Completed kept</span>"), "{page}");
    assert!(page.contains("Failed kept") && !page.contains(" ever<"), "{page}");
    assert!(
        page.contains("Not in these charts: <b>work</b>") && page.contains("metrics-points = 0"),
        "{page}"
    );
}
