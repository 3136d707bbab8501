//! Signing in, staying signed in, forms that are one's own.

use super::*;
use crate::dashboard::login::{COOKIE, THEME_COOKIE};

#[tokio::test]
async fn nobody_sees_anything_without_a_token() {
    let place = Place::open(tokens());
    place.add("one", "secret-name", "{}").await;
    let browser = place.browser();
    for path in [
        "/",
        "/queues",
        "/queues/work?state=waiting",
        "/queues/work/jobs/one",
        "/handlers",
        "/hosts",
        "/schedules",
        "/audit",
        "/live",
        "/queues/work/jobs/one/follow",
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}");
        assert!(page.header("location").starts_with("/login"), "{path}");
        assert!(!page.text.contains("secret-name"));
    }
    let back = browser.get("/queues/work?state=waiting").await;
    assert_eq!(back.header("location"), "/login?next=%2Fqueues%2Fwork%3Fstate%3Dwaiting");
    // The script hears that it is over, and forms are not lost silently.
    let refresh = browser.request(Method::GET, "/queues", &[("x-refresh", "1")], String::new()).await;
    assert_eq!(refresh.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.post("/queues/work/do/pause", &[]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_begins_a_session_and_leaving_ends_it() {
    let place = Place::open(tokens());
    let browser = place.browser();
    browser.get("/login").await;
    let before = browser.cookie(COOKIE).unwrap();
    let wrong = browser.post("/login", &[("token", "guess")]).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.text.contains("guess"), "a token is never written back");
    let entered = browser.post("/login", &[("token", " operator "), ("next", "/hosts")]).await;
    assert_eq!((entered.status, entered.header("location")), (StatusCode::SEE_OTHER, "/hosts"));
    let cookie = entered.header("set-cookie");
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains("Secure"),
        "{cookie}"
    );
    let session = browser.cookie(COOKIE).unwrap();
    assert_ne!(session, before, "what the browser had before is no session now");
    let hosts = browser.get("/hosts").await;
    assert!(hosts.status == StatusCode::OK && hosts.text.contains("Sign out"));
    // What stood there before, as somebody else might have planted it, opens nothing.
    let planted = place.browser();
    planted.cookies.lock().unwrap().insert(COOKIE.to_owned(), before);
    assert_eq!(planted.get("/hosts").await.status, StatusCode::SEE_OTHER);
    browser.post("/logout", &[]).await;
    let thief = place.browser();
    thief.cookies.lock().unwrap().insert(COOKIE.to_owned(), session);
    assert_eq!(
        thief.get("/hosts").await.status,
        StatusCode::SEE_OTHER,
        "the session is over, not only the cookie"
    );
    let audit = place.audit.entries(None, 10).await.unwrap();
    let acts: Vec<_> = audit
        .iter()
        .rev()
        .map(|(_, entry)| (entry.action.as_str(), entry.who.as_str(), entry.outcome.as_str()))
        .collect();
    assert_eq!(
        acts,
        [
            ("sign in", "(nobody)", "401: the token is not known"),
            ("sign in", "operator", "done"),
            ("sign out", "operator", "done")
        ]
    );
}

#[tokio::test]
async fn over_https_cookies_stay_there() {
    let place = Place::open(tokens());
    let page = place
        .browser()
        .request(Method::GET, "/login", &[("x-forwarded-proto", "https")], String::new())
        .await;
    assert!(page.header("set-cookie").contains("; Secure"), "{}", page.header("set-cookie"));
}

#[tokio::test]
async fn whoever_guesses_tokens_waits() {
    let place = Place::open(tokens());
    let browser = place.browser();
    browser.get("/login").await;
    let mut statuses = Vec::new();
    for _ in 0..9 {
        statuses.push(browser.post("/login", &[("token", "guess")]).await.status.as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 401, 401, 401, 429]);
    let right = browser.post("/login", &[("token", "admin")]).await;
    assert_eq!(right.status, StatusCode::TOO_MANY_REQUESTS, "also with the right one: it is not looked at");
    assert!(right.header("retry-after").parse::<u64>().is_ok_and(|wait| wait > 0 && wait <= 300));
}

#[tokio::test]
async fn a_form_that_was_not_made_for_this_browser_does_nothing() {
    let place = Place::open(tokens());
    let browser = place.signed_in("admin").await;
    let other = place.signed_in("admin").await;
    let theirs = other.proof.lock().unwrap().clone();
    let ours = browser.proof.lock().unwrap().clone();
    let same = ("sec-fetch-site", "same-origin");
    let form = |proof: &str| format!("proof={proof}");
    for (what, headers, body) in [
        ("no proof", vec![same], String::new()),
        ("an empty one", vec![same], form("")),
        ("somebody else's", vec![same], form(&theirs)),
        ("sent by another site", vec![("sec-fetch-site", "cross-site")], form(&ours)),
        ("from another origin", vec![("origin", "http://evil.example")], form(&ours)),
    ] {
        let answer = browser.request(Method::POST, "/queues/work/do/pause", &headers, body).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{what}");
    }
    assert!(!place.store.is_paused(&queue()).await.unwrap());
    assert_eq!(browser.post("/queues/work/do/pause", &[]).await.status, StatusCode::SEE_OTHER);
    assert!(place.store.is_paused(&queue()).await.unwrap());
    // A form of a kind that any site can make a browser send needs its proof all the same, and JSON is for the API.
    let json = browser
        .place
        .send(
            Request::builder()
                .method(Method::POST)
                .uri("/queues/work/do/resume")
                .header("host", "localhost")
                .header("content-type", "application/json")
                .header("cookie", format!("{COOKIE}={}", browser.cookie(COOKIE).unwrap()))
                .body(Body::from("{}"))
                .unwrap(),
        )
        .await;
    assert_eq!(json.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn a_cookie_does_not_open_the_api() {
    let place = Place::open(tokens());
    let browser = place.signed_in("admin").await;
    assert_eq!(browser.get("/api/v1/queues").await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn roles_hide_and_refuse() {
    let place = Place::open(tokens());
    place.add("one", "n", "{}").await;
    let viewer = place.signed_in("viewer").await;
    for path in
        ["/", "/queues", "/queues/work?state=waiting", "/queues/work/jobs/one", "/hosts", "/schedules"]
    {
        let page = viewer.get(path).await;
        let actions: Vec<_> = page
            .attributes("action")
            .into_iter()
            .filter(|action| !["/theme", "/logout", "/queues"].contains(&action.as_str()))
            .collect();
        // A list is a form, without any button in it.
        assert!(actions.iter().all(|action| action.ends_with("/bulk")), "{path}: {actions:?}");
        assert!(!page.text.contains("type=\"checkbox\""), "{path}");
    }
    let forms = [
        ("/queues/work/do/pause", "operator"),
        ("/queues/work/bulk", "operator"),
        ("/queues/work/add", "operator"),
        ("/queues/work/jobs/one/do/cancel", "operator"),
        ("/schedules", "operator"),
        ("/schedules/remove", "operator"),
        ("/queues/work/do/drain", "admin"),
        ("/queues/work/do/clean", "admin"),
        ("/hosts/h-1-0000/do/stop", "admin"),
    ];
    let fields = [("action", "remove"), ("id", "one"), ("name", "n"), ("queue", "work"), ("every", "1000")];
    for (path, _) in forms {
        assert_eq!(viewer.post(path, &fields).await.status, StatusCode::FORBIDDEN, "viewer: {path}");
    }
    let operator = place.signed_in("operator").await;
    for (path, _) in forms.iter().filter(|(_, role)| *role == "admin") {
        assert_eq!(operator.post(path, &fields).await.status, StatusCode::FORBIDDEN, "operator: {path}");
    }
    let page = operator.get("/queues/work?state=waiting").await;
    assert!(page.text.contains("Pause") && !page.text.contains("Drain"));
    assert!(place.store.get(&queue(), &id("one")).await.unwrap().is_some());
    let refused = place.audit.entries(None, 50).await.unwrap();
    assert!(
        refused.iter().any(|(_, entry)| entry.who == "viewer" && entry.outcome.starts_with("403")),
        "refusals are kept"
    );
}

#[tokio::test]
async fn a_tenants_token_shows_its_own_jobs() {
    let place = Place::open(tokens());
    let mut job = NewJob::new("theirs", "{}");
    job.options.tenant = Some("acme".to_owned());
    place.store.add(&queue(), vec![job], 1).await.unwrap();
    place.add("other", "others-job", "{}").await;
    let browser = place.signed_in("acme").await;
    let list = browser.get("/queues/work?state=waiting").await;
    assert!(list.text.contains("theirs") && !list.text.contains("others-job"), "{}", list.text);
    assert_eq!(browser.get("/queues/work/jobs/other").await.status, StatusCode::NOT_FOUND);
    assert_eq!(browser.post("/queues/work/jobs/other/do/cancel", &[]).await.status, StatusCode::NOT_FOUND);
    for path in ["/hosts", "/handlers", "/schedules", "/audit"] {
        assert_eq!(browser.get(path).await.status, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(browser.post("/queues/work/do/pause", &[]).await.status, StatusCode::FORBIDDEN);
    assert!(browser.get("/").await.text.contains("Jobs of acme"));
    assert_eq!(browser.get("/queues?queue=work").await.header("location"), "/queues/work");
}

#[tokio::test]
async fn without_tokens_only_this_machine_is_answered() {
    let place = Place::open(Vec::new());
    assert_eq!(place.browser().get("/").await.status, StatusCode::OK);
    let request =
        Request::builder().uri("/").header(header::HOST, "rebound.example").body(Body::empty()).unwrap();
    let answer = place.send(request).await;
    assert!(answer.status == StatusCode::FORBIDDEN && answer.text.contains("localhost"), "{}", answer.text);
    assert_eq!(place.browser().get("/login").await.header("location"), "/");
}

#[tokio::test]
async fn colours_are_kept_and_nobody_is_led_away() {
    let place = Place::open(Vec::new());
    let browser = place.browser();
    browser.get("/").await;
    let chosen = browser.post("/theme", &[("theme", "dark"), ("back", "//evil.example")]).await;
    assert_eq!(chosen.header("location"), "/");
    assert_eq!(browser.cookie(THEME_COOKIE).as_deref(), Some("dark"));
    assert!(browser.get("/").await.text.contains("data-theme=\"dark\""));
    let signing_in = Place::open(tokens());
    let browser = signing_in.browser();
    browser.get("/login?next=https://evil.example").await;
    let entered = browser.post("/login", &[("token", "admin"), ("next", "https://evil.example")]).await;
    assert_eq!(entered.header("location"), "/");
}

#[tokio::test]
async fn a_link_from_elsewhere_asks_once_more_from_here() {
    let place = Place::open(tokens());
    let page = place
        .browser()
        .request(Method::GET, "/hosts", &[("sec-fetch-site", "cross-site")], String::new())
        .await;
    assert!(page.status == StatusCode::OK && page.text.contains("0;url=/hosts"), "{}", page.text);
}
