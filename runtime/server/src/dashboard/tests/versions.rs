//! Handlers' pages over handlers that remember what was asked of them.

use serde_json::{Value, json};

use super::*;
use crate::handlers::{Author, Change, Deployment, HandlersError, HandlersFault};

const OLD: &str = "sha256:1111111111110000000000000000000000000000000000000000000000000000";
const NEW: &str = "sha256:2222222222220000000000000000000000000000000000000000000000000000";

#[derive(Default)]
struct Remembering {
    asked: Mutex<Vec<(Change, Author)>>,
    fault: Mutex<Option<HandlersError>>,
}

fn media() -> Value {
    let version = |digest: &str, state: &str, wants: &[&str]| {
        json!({"digest": digest, "size": 2048, "manifest": {"name": "media", "version": "1.0", "limits": {"memoryBytes": 1 << 20}},
            "wants": wants, "signedBy": "key-1", "state": state, "at": 5, "by": "ops<b>", "why": "", "deployedAt": 5, "deployedBy": "ci"})
    };
    json!({"name": "media", "source": "store", "generation": 7, "active": OLD, "previous": null,
        "canary": {"digest": NEW, "percent": 10, "since": 5, "by": "ops", "rules": {"maxFailuresOver": 0.02, "maxLatency": 1.5}, "seed": 1},
        "shadow": null, "versions": [version(NEW, "canary", &["kv media", "http https://a.example/*"]), version(OLD, "active", &["kv media"])],
        "hosts": [{"host": "a-1-0000", "name": "a", "active": OLD, "canary": null, "state": "lagging", "lag": "the disk is full"}]})
}

#[async_trait]
impl Handlers for Remembering {
    async fn list(&self) -> Result<Vec<Value>, HandlersError> {
        Ok(vec![media()])
    }

    async fn get(&self, handler: &str) -> Result<Value, HandlersError> {
        if handler == "media" {
            Ok(media())
        } else {
            Err(HandlersError::new(HandlersFault::NotFound, "there is no such handler"))
        }
    }

    async fn history(&self, _: &str, _: Option<u64>, _: u32) -> Result<Vec<Value>, HandlersError> {
        let now = jobcell_core::Clock::now(&SystemClock);
        Ok(vec![
            json!({"number": 1, "at": now - 60_000, "by": "ops", "digest": OLD, "from": "admitted", "to": "active", "why": "better"}),
        ])
    }

    async fn deploy(&self, _: &str, _: Deployment, _: Author) -> Result<Value, HandlersError> {
        Err(HandlersError::new(HandlersFault::Unsupported, "not here"))
    }

    async fn change(&self, _: &str, change: Change, author: Author) -> Result<Value, HandlersError> {
        if let Some(fault) = self.fault.lock().unwrap().take() {
            return Err(fault);
        }
        let mut after = media();
        if matches!(change, Change::Activate { approve: true, .. }) {
            after["versions"][0]["approvedBy"] = "local".into();
            after["versions"][0]["approved"] = json!(["http https://a.example/*"]);
        }
        self.asked.lock().unwrap().push((change, author));
        Ok(after)
    }
}

fn place() -> (Place, Arc<Remembering>) {
    let handlers = Arc::new(Remembering::default());
    (Place::with(Vec::new(), "", Some(Arc::clone(&handlers) as _)), handlers)
}

#[tokio::test]
async fn handlers_show_versions_what_they_touch_and_hosts_that_lag() {
    let (place, _) = place();
    let browser = place.browser();
    let list = browser.get("/handlers").await.text;
    assert!(
        list.contains("111111111111") && list.contains("canary 10 %") && list.contains("1 of 1 host behind"),
        "{list}"
    );
    let page = browser.get("/handlers/media").await;
    assert_eq!(page.status, StatusCode::OK);
    for shown in [
        "+ http https://a.example/*",
        "The disk is full.",
        "2.0 % more jobs fail",
        "key-1",
        "better",
        "Promote the canary",
    ] {
        assert!(page.text.contains(shown), "{shown}: {}", page.text);
    }
    assert!(!page.text.contains("ops<b>"));
    assert_eq!(browser.get("/handlers/none").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn changes_are_made_on_what_was_seen() {
    let (place, handlers) = place();
    let browser = place.browser();
    browser.get("/handlers/media").await;
    for (action, fields) in [
        ("activate", vec![("version", NEW), ("generation", "7"), ("why", "it is time")]),
        ("canary", vec![("version", NEW), ("generation", "7"), ("percent", "25"), ("after", "10")]),
        ("promote", vec![("generation", "7")]),
        ("rollback", vec![("generation", "7")]),
        ("quarantine", vec![("version", NEW), ("generation", "7")]),
        ("release", vec![("version", NEW), ("generation", "7")]),
    ] {
        let done = browser.post(&format!("/handlers/media/do/{action}"), &fields).await;
        assert_eq!(
            (done.status, done.header("location")),
            (StatusCode::SEE_OTHER, "/handlers/media"),
            "{action}"
        );
    }
    let asked = std::mem::take(&mut *handlers.asked.lock().unwrap());
    let names: Vec<_> = asked.iter().map(|(change, _)| change.name()).collect();
    assert_eq!(names, ["activate", "canary", "promote", "rollback", "quarantine", "release"]);
    let (change, author) = &asked[0];
    assert_eq!(*change, Change::Activate { version: NEW.to_owned(), approve: false });
    assert_eq!(
        *author,
        Author { who: "local".to_owned(), why: "it is time".to_owned(), generation: Some(7) }
    );
    assert!(
        matches!(&asked[1].0, Change::Canary { percent: 25, rules, .. } if rules.promote_after_ms == Some(600_000))
    );
    let audit = place.audit.entries(None, 10).await.unwrap();
    assert!(audit.iter().all(|(_, entry)| entry.target == "media" && entry.action.starts_with("handler ")));
    assert!(audit.iter().all(|(_, entry)| entry.before.as_ref().is_some_and(|was| was["generation"] == 7)));
    let first = audit.last().unwrap().1.after.clone().unwrap();
    assert_eq!(first["asked"], json!({"version": NEW, "approve": false, "why": "it is time"}));
    let odd = browser.post("/handlers/media/do/canary", &[("version", NEW), ("percent", "101")]).await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn what_wants_more_is_asked_about_first() {
    let (place, handlers) = place();
    let browser = place.browser();
    browser.get("/handlers/media").await;
    let fault = HandlersError::new(HandlersFault::NeedsApproval, "it wants more")
        .with("wider", json!(["http https://<evil>/*"]));
    *handlers.fault.lock().unwrap() = Some(fault);
    let fields = [("version", NEW), ("generation", "7"), ("why", "new thumbnails")];
    let question = browser.post("/handlers/media/do/activate", &fields).await;
    assert_eq!(question.status, StatusCode::OK);
    assert!(
        question.text.contains("http https://&lt;evil&gt;/*")
            && question.text.contains("Nothing has changed yet")
    );
    assert!(handlers.asked.lock().unwrap().is_empty());
    let approved = [&fields[..], &[("approve", "yes")]].concat();
    browser.post("/handlers/media/do/activate", &approved).await;
    let asked = std::mem::take(&mut *handlers.asked.lock().unwrap());
    assert_eq!(asked[0].0, Change::Activate { version: NEW.to_owned(), approve: true });
    let audit = place.audit.entries(None, 10).await.unwrap();
    let kept = audit[0].1.after.clone().unwrap();
    assert_eq!(kept["asked"]["approved"], json!(["http https://a.example/*"]), "{kept}");
}

#[tokio::test]
async fn somebody_elses_change_in_between_is_told() {
    let (place, handlers) = place();
    let browser = place.browser();
    browser.get("/handlers/media").await;
    *handlers.fault.lock().unwrap() =
        Some(HandlersError::new(HandlersFault::Conflict, "ada changed it to generation 8"));
    let answer = browser.post("/handlers/media/do/promote", &[("generation", "7")]).await;
    assert_eq!(answer.status, StatusCode::CONFLICT);
    assert!(answer.text.contains("Ada changed it to generation 8; look at how it is now"), "{}", answer.text);
    assert!(!place.audit.entries(None, 10).await.unwrap().is_empty());
}
