//! Which handler takes which job: by queue, then by the job's name.

use std::collections::BTreeMap;

use jobcell_core::QueueName;

/// The handlers of one queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes {
    by_name: BTreeMap<String, String>,
    any: Option<String>,
}

/// A route leads to a handler that does not exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("queue {queue:?}: jobs named {job_name:?} go to handler {handler:?}, which does not exist; there {}", list("is", "are", .known))]
pub struct UnknownHandler {
    /// The queue.
    pub queue: QueueName,
    /// The job's name, `*` for any.
    pub job_name: String,
    /// What was asked for.
    pub handler: String,
    /// What there is.
    pub known: Vec<String>,
}

impl Routes {
    /// No job has a handler.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Every job goes to this handler.
    #[must_use]
    pub fn all(handler: impl Into<String>) -> Self {
        Self { by_name: BTreeMap::new(), any: Some(handler.into()) }
    }

    /// Jobs of this name go to this handler; `*` stands for every name not given.
    #[must_use]
    pub fn with(mut self, job_name: impl Into<String>, handler: impl Into<String>) -> Self {
        let (job_name, handler) = (job_name.into(), handler.into());
        if job_name == "*" {
            self.any = Some(handler);
        } else {
            self.by_name.insert(job_name, handler);
        }
        self
    }

    /// The handler for jobs of this name.
    #[must_use]
    pub fn handler(&self, job_name: &str) -> Option<&str> {
        self.by_name.get(job_name).or(self.any.as_ref()).map(String::as_str)
    }

    /// Every route: job name and handler, `*` last.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = self.by_name.iter().map(|(name, handler)| (name.as_str(), handler.as_str()));
        named.chain(self.any.iter().map(|handler| ("*", handler.as_str())))
    }

    /// What a job that no route takes is told.
    #[must_use]
    pub fn nobody(&self, queue: &QueueName, job_name: &str) -> String {
        if self.by_name.is_empty() {
            return format!("queue {queue:?} has no handlers; add `handler = \"…\"` to [queues.{queue}]");
        }
        let names: Vec<String> = self.by_name.keys().cloned().collect();
        format!(
            "no handler takes jobs named {job_name:?} in queue {queue:?}; there are handlers for {}",
            quoted(&names)
        )
    }
}

fn list(one: &str, many: &str, names: &[String]) -> String {
    match names {
        [] => format!("{one} none"),
        [name] => format!("{one} {name:?}"),
        names => format!("{many} {}", quoted(names)),
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_before_the_star() {
        let routes = Routes::none().with("verify-payment", "payment").with("*", "notification");
        assert_eq!(routes.handler("verify-payment"), Some("payment"));
        assert_eq!(routes.handler("anything"), Some("notification"));
        assert_eq!(Routes::none().with("a", "x").handler("b"), None);
    }

    #[test]
    fn a_job_that_nobody_takes_is_told_who_is_there() {
        let queue = QueueName::new("media").unwrap();
        let text = Routes::none().with("resize", "media").with("crop", "media").nobody(&queue, "rezise");
        assert!(text.contains("\"rezise\"") && text.contains("\"crop\", \"resize\""), "{text}");
        assert!(Routes::none().nobody(&queue, "x").contains("[queues.media]"));
    }

    #[test]
    fn an_unknown_handler_is_answered_with_the_known_ones() {
        let fault = |known: &[&str]| UnknownHandler {
            queue: QueueName::new("q").unwrap(),
            job_name: "*".into(),
            handler: "x".into(),
            known: known.iter().map(|&name| name.to_owned()).collect(),
        };
        assert!(fault(&["a", "b"]).to_string().ends_with("there are \"a\", \"b\""));
        assert!(fault(&[]).to_string().ends_with("there is none"));
    }
}
