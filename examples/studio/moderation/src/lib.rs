//! Asks the AI service what is in a picture or a clip. A component of its own, because it is the only one that may use
//! the service's key, and needs nothing else.
//!
//! What it answers depends on the content alone: the host keeps it by the content's SHA-256 and gives it to every other
//! post with the same content. So nothing about the post or its author belongs in the result.

use std::time::Duration;

use jobcell_sdk::http::{HttpError, Request, Response};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{config, secrets};
use serde::{Deserialize, Serialize};

/// The secret that is the service's key.
const KEY: &str = "ai-key";
/// The longest wait for the service.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait when the service says that it is asked too much, and not for how long.
const REST: Duration = Duration::from_secs(5);
/// From this score on something is found in the content.
const FOUND: f64 = 0.5;
/// From this score on nobody has to look at it.
const CERTAIN: f64 = 0.9;

/// What a producer puts on the queue.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// The post it belongs to. Not looked at: the answer is the same for all posts with this content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub post_id: Option<String>,
    /// What is to be looked at.
    pub content: Content,
}

/// What is to be looked at.
#[derive(Debug, Serialize, Deserialize)]
pub struct Content {
    /// Of its bytes, in hex, as the back end computed it when they were uploaded.
    pub sha256: String,
    /// Where the service finds it.
    pub url: String,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Label {
    /// What it is.
    pub name: String,
    /// How sure the service is, from 0 to 1.
    pub score: f64,
}

/// What becomes of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// Nothing was found.
    Allow,
    /// Somebody has to look at it.
    Review,
    /// It is certain.
    Block,
}

/// The answer.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What becomes of the content.
    pub decision: Decision,
    /// What was found, the surest first.
    pub labels: Vec<Label>,
    /// Which model said so.
    pub model: String,
}

#[derive(Serialize)]
struct Question<'a> {
    url: &'a str,
    sha256: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    labels: Vec<Label>,
    model: String,
}

/// Takes the jobs named `moderate`.
///
/// # Errors
/// Invalid when the hash is none; a retry when the service does not answer, has no time, or is broken; fatal when it
/// refuses the question.
#[handler]
pub fn moderate(job: Job<Upload>) -> Result<Verdict, Failure> {
    let Content { sha256, url } = job.data.content;
    if sha256.len() != 64 || !sha256.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Failure::invalid("content.sha256: not the 64 hex digits of a SHA-256"));
    }
    let service = config::get("ai")?.ok_or_else(|| Failure::fatal("the setting `ai` is missing"))?;
    let answer = Request::post(format!("{service}/v1/moderate"))
        .bearer(secrets::placeholder(KEY)?)
        .json(&Question { url: &url, sha256: &sha256 })
        .timeout(PATIENCE)
        .send();
    match answer {
        Ok(answer) => verdict(&answer),
        Err(error @ (HttpError::Denied(_) | HttpError::Invalid(_))) => Err(Failure::fatal(error)),
        Err(error) => Err(Failure::retry(format!("the AI service: {error}"))),
    }
}

fn verdict(answer: &Response) -> Result<Verdict, Failure> {
    match answer.status {
        200 => {}
        429 => {
            let rest = answer.header("retry-after").and_then(|seconds| seconds.parse().ok());
            let rest = rest.map_or(REST, Duration::from_secs);
            return Err(Failure::retry_after("the AI service is asked too much", rest));
        }
        status @ 500.. => return Err(Failure::retry(format!("the AI service answered {status}"))),
        status => return Err(Failure::fatal(format!("the AI service refused the question with {status}"))),
    }
    let Answer { mut labels, model } = answer.json().or_retry("the AI service's answer")?;
    labels.retain(|label| label.score >= FOUND);
    labels.sort_by(|a, b| b.score.total_cmp(&a.score));
    let decision = match labels.first() {
        None => Decision::Allow,
        Some(label) if label.score >= CERTAIN => Decision::Block,
        Some(_) => Decision::Review,
    };
    Ok(Verdict { decision, labels, model })
}

plugin!(moderate);

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::{self, Host};

    use super::*;

    const SERVICE: &str = "http://127.0.0.1:4100";

    fn asked(answer: Response) -> (Host, Result<Verdict, Failure>) {
        let host = Host::new()
            .config("ai", SERVICE)
            .secret(KEY, "s3cret")
            .respond(format!("{SERVICE}/v1/moderate"), answer);
        let content = Content { sha256: "ab".repeat(32), url: "https://cdn.example.com/1".to_owned() };
        let ended = host.run(moderate, testing::job(Upload { post_id: Some("7".to_owned()), content }));
        (host, ended)
    }

    fn labels(scores: &[(&str, f64)]) -> Response {
        let labels: Vec<_> =
            scores.iter().map(|(name, score)| serde_json::json!({"name": name, "score": score})).collect();
        Response::new(200).with_json(&serde_json::json!({"labels": labels, "model": "m-1"}))
    }

    #[test]
    fn scores_become_a_decision() {
        for (scores, decision, found) in [
            (&[("violence", 0.1)][..], Decision::Allow, 0),
            (&[("violence", 0.5), ("spam", 0.7)], Decision::Review, 2),
            (&[("violence", 0.2), ("nudity", 0.97)], Decision::Block, 1),
        ] {
            let verdict = asked(labels(scores)).1.unwrap();
            assert_eq!((verdict.decision, verdict.labels.len()), (decision, found));
            assert!(verdict.labels.is_sorted_by(|a, b| a.score >= b.score));
        }
    }

    #[test]
    fn the_service_is_told_the_content_and_nothing_of_the_post() {
        let (host, _) = asked(labels(&[]));
        let [request] = &host.requests()[..] else { panic!() };
        let sent: serde_json::Value = request.body_json().unwrap();
        assert_eq!(sent, serde_json::json!({"url": "https://cdn.example.com/1", "sha256": "ab".repeat(32)}));
        // As the far end sees it: the handler had a placeholder, and the host put the key in.
        assert_eq!(request.header_value("authorization"), Some("Bearer s3cret"));
    }

    #[test]
    fn what_ails_the_service_decides_what_becomes_of_the_job() {
        let busy = Response::new(429).with_header("retry-after", "7");
        assert_eq!(
            asked(busy).1,
            Err(Failure::retry_after("the AI service is asked too much", Duration::from_secs(7)))
        );
        assert!(matches!(asked(Response::new(503)).1, Err(Failure::Retry(_))));
        assert!(matches!(asked(Response::new(401)).1, Err(Failure::Fatal(_))));
        assert!(matches!(asked(Response::new(200).with_body("{}")).1, Err(Failure::Retry(_))));
    }

    #[test]
    fn a_hash_that_is_none_is_refused() {
        let content = Content { sha256: "ab".to_owned(), url: String::new() };
        let ended = Host::new().run(moderate, testing::job(Upload { post_id: None, content }));
        assert!(matches!(ended, Err(Failure::Invalid(_))));
    }
}
