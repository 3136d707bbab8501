//! Who works at this command line, and what they leave in the audit.

use std::fmt::Display;
use std::sync::Arc;

use jobcell_core::SystemClock;
use jobcell_server::{Act, Audit, Metrics, Role, Via};
use serde_json::Value;

use crate::config::{Config, Environment};
use crate::stores::OpenStore;

/// Writes down what a command changes in the store it has open.
pub(super) struct Author {
    who: String,
    audit: Audit,
}

/// What is done, to what.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    action: &'static str,
    target: String,
    before: Option<Value>,
    after: Option<Value>,
}

/// Whoever works at this command line, as the audit names them: `cli:USER@HOST NAME`. Without a user's name in the
/// environment, as in a container, it is the number of the user.
pub(super) fn who(environment: &Environment) -> String {
    let user = ["USER", "LOGNAME"].iter().find_map(|name| environment.get(name));
    let user = user.map_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()), ToOwned::to_owned);
    format!("cli:{user}@{}", rustix::system::uname().nodename().to_string_lossy())
}

// === impl Author ===

impl Author {
    /// Writes with the documents of this store.
    pub(super) fn new(open: &OpenStore, config: &Config, environment: &Environment) -> Self {
        let redaction = Arc::new(config.server.redaction.clone());
        let (documents, clock) = (Arc::clone(&open.documents), Arc::new(SystemClock));
        let audit = Audit::new(documents, clock, redaction, Arc::new(Metrics::new()));
        Self { who: who(environment), audit }
    }

    /// Writes down what became of a deed, and hands that on: what is done is done, written down or not.
    pub(super) async fn record<T, E: Display>(&self, deed: Deed, became: Result<T, E>) -> Result<T, E> {
        let Deed { action, target, before, after } = deed;
        let act = Act::done(&self.who, Role::Admin, Via::Cli, action, &target);
        let act = match &became {
            Ok(_) => Act { before, after, ..act },
            Err(error) => Act { before, outcome: error.to_string(), ..act },
        };
        self.audit.record(act).await;
        became
    }
}

// === impl Deed ===

impl Deed {
    /// What is done, in a few fixed words such as `queue pause`, to what.
    pub(super) fn new(action: &'static str, target: impl Display) -> Self {
        Self { action, target: target.to_string(), before: None, after: None }
    }

    /// How it was before.
    pub(super) fn from(self, before: Value) -> Self {
        Self { before: Some(before), ..self }
    }

    /// How it is afterwards.
    pub(super) fn to(self, after: Value) -> Self {
        Self { after: Some(after), ..self }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use jobcell_core::documents::MemoryDocuments;
    use jobcell_server::Redaction;

    use super::*;

    #[test]
    fn whoever_works_here_is_named_with_their_machine() {
        let of = |names: &[(&str, &str)]| {
            who(&names.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert_eq!(of(&[("LOGNAME", "b"), ("USER", "a")]), format!("cli:a@{host}"));
        assert_eq!(of(&[("LOGNAME", "b"), ("USER", "")]), format!("cli:b@{host}"));
        assert_eq!(of(&[]), format!("cli:uid {}@{host}", rustix::process::getuid().as_raw()));
    }

    /// What is logged while an entry is made, in JSON or for people.
    fn logged(is_json: bool, target: &str) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let builder = tracing_subscriber::fmt().with_ansi(false);
        let builder = builder.with_writer(move || Lines(Arc::clone(&writer)));
        let subscriber: Box<dyn tracing::Subscriber + Send + Sync> = if is_json {
            Box::new(builder.json().flatten_event(true).finish())
        } else {
            Box::new(builder.finish())
        };
        let (documents, redaction) = (Arc::new(MemoryDocuments::default()), Arc::new(Redaction::default()));
        let audit = Audit::new(documents, Arc::new(SystemClock), redaction, Arc::new(Metrics::new()));
        let author = Author { who: "cli:a@b".to_owned(), audit };
        tracing::subscriber::with_default(subscriber, || {
            let recording = author.record(Deed::new("queue pause", target), Ok::<_, String>(()));
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(recording)
        })
        .unwrap();
        let bytes = lines.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_log_has_names_as_they_are_and_no_name_makes_a_line_or_a_field() {
        let evil = "q\" outcome=\"done\n2026-01-01T00:00:00Z  INFO audit who=\"root\u{1b}[2J\u{202e}";
        let json = logged(true, evil);
        let line: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(
            (&line["who"], &line["action"], &line["outcome"]),
            (&"cli:a@b".into(), &"queue pause".into(), &"done".into())
        );
        assert_eq!((line["on"].as_str(), json.lines().count()), (Some(evil), 1));
        let text = logged(false, evil);
        assert!(text.lines().count() == 1 && text.contains("who=\"cli:a@b\""), "{text}");
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{202e}') && text.contains("q\\\" outcome"),
            "{text}"
        );
    }
}
