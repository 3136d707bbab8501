//! The configuration that `jobcell dev` runs on: the one there is, on the embedded store, with what was built here in
//! place of the handlers' sources, and with handlers and queues for projects that it does not name.

use std::path::PathBuf;

use crate::config::{
    self, Config, ConfigError, DEFAULT_FILE, FileChoice, HandlerConfig, HandlerSource, Protocol, Request,
};
use crate::project::{Project, Recipe};

/// A configuration, and what is to be said of it.
pub(super) struct Overlaid {
    pub(super) config: Config,
    pub(super) told: Vec<String>,
}

/// The project of a handler that says how it is built.
pub(super) fn project(handler: &HandlerConfig) -> Option<Project> {
    let build = handler.build.as_ref()?;
    let HandlerSource::Path(output) = &handler.source else { return None };
    Some(Project {
        handler: handler.name.clone(),
        folder: build.folder.clone(),
        // What a command builds is meant from where it is written, not from where the command runs.
        recipe: Recipe::Command {
            line: build.command.clone(),
            output: std::path::absolute(output).unwrap_or_else(|_| output.clone()),
        },
        wants: None,
        watched: vec![build.folder.clone()],
    })
}

/// Reads the configuration anew. `places` are the handlers that were built here, and where.
pub(super) fn config(request: &Request, places: &[(String, PathBuf)]) -> Result<Overlaid, ConfigError> {
    let base = config::load(request)?;
    let mut told = Vec::new();
    let added = added(&base, places, &mut told);
    let file = base.file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    // It has just been read; what has happened to it since is found by the next reading.
    let text = base.file.as_ref().and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    let mut config = if added.is_empty() {
        base
    } else {
        let file = FileChoice::Text(file, format!("{text}\n{added}"));
        config::load(&Request { file, ..request.clone() })?
    };
    for (handler, place) in places {
        if let Some(handler) = config.handlers.get_mut(handler) {
            handler.source = HandlerSource::Path(place.clone());
        }
    }
    if config.trust.require_signature {
        told.push("[trust] require-signature is not asked of what is built here".to_owned());
        config.trust.require_signature = false;
    }
    if request.redis.is_none() && config.redis.take().is_some() {
        told.push(
            "the configured Redis is left alone: jobs live in the embedded store; --redis URL uses one"
                .to_owned(),
        );
        config.lists.clear();
        config.queues.retain(|name, queue| {
            let stays = matches!(queue.protocol, Protocol::BullMq);
            if !stays {
                told.push(format!("queue {name:?} is a list, which needs a Redis; it is left out"));
            }
            stays
        });
    }
    Ok(Overlaid { config, told })
}

/// Handlers and queues, as TOML, for projects that nobody has configured.
fn added(base: &Config, places: &[(String, PathBuf)], told: &mut Vec<String>) -> String {
    let mut text = String::new();
    for (handler, place) in places {
        if base.handlers.contains_key(handler) {
            continue;
        }
        text += &format!("[handlers.{handler}]\nsource = {:?}\n", place.display().to_string());
        let is_routed = |queue: &config::QueueConfig| queue.handlers.values().any(|to| to == handler);
        if base.queues.values().any(is_routed) || base.queues.contains_key(handler) {
            continue;
        }
        text += &format!("[queues.{handler}]\nhandler = {handler:?}\n");
        told.push(format!("{handler}: takes the jobs of queue {handler}; add them over the HTTP API"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;

    fn overlaid(toml: &str, redis: Option<&str>, handlers: &[&str]) -> Overlaid {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jobcell.toml");
        std::fs::write(&file, toml).unwrap();
        let request = Request {
            file: FileChoice::At(file),
            environment: Environment::default(),
            redis: redis.map(str::to_owned),
            ..Request::default()
        };
        let places: Vec<_> =
            handlers.iter().map(|name| ((*name).to_owned(), format!("/dev/{name}").into())).collect();
        config(&request, &places).unwrap()
    }

    #[test]
    fn a_project_that_nobody_configured_has_a_queue_of_its_name() {
        let Overlaid { config, told } = overlaid("", None, &["greeter"]);
        assert_eq!(config.handlers["greeter"].source, HandlerSource::Path("/dev/greeter".into()));
        assert_eq!(config.queues["greeter"].handlers["*"], "greeter");
        assert!(told[0].contains("queue greeter"), "{told:?}");
    }

    #[test]
    fn what_is_configured_stays_but_for_the_source() {
        let toml = "[queues.mail]\nhandler = \"greeter\"\n[handlers.greeter]\nsource = \"x.wasm\"\n\
                    limits = { deadline = \"7s\" }\n";
        let Overlaid { config, told } = overlaid(toml, None, &["greeter"]);
        let greeter = &config.handlers["greeter"];
        assert_eq!(greeter.source, HandlerSource::Path("/dev/greeter".into()));
        assert_eq!(greeter.limits.deadline, std::time::Duration::from_secs(7));
        assert_eq!(config.queues.keys().collect::<Vec<_>>(), ["mail"]);
        assert!(told.is_empty(), "{told:?}");
    }

    #[test]
    fn redis_is_left_alone_unless_it_is_asked_for() {
        let toml = "[redis]\nurl = \"redis://127.0.0.1:1\"\n[queues.l]\nprotocol = \"list\"\nhandler = \"greeter\"\n\
                    [queues.b]\nhandler = \"greeter\"\n[handlers.greeter]\nsource = \"x.wasm\"\n";
        let Overlaid { config, told } = overlaid(toml, None, &["greeter"]);
        assert!(config.redis.is_none() && config.lists.is_empty());
        assert_eq!(config.queues.keys().collect::<Vec<_>>(), ["b"]);
        assert!(told.iter().any(|line| line.contains("embedded store")), "{told:?}");
        assert!(told.iter().any(|line| line.contains("\"l\" is a list")), "{told:?}");
        let Overlaid { config, .. } = overlaid(toml, Some("redis://127.0.0.1:2"), &["greeter"]);
        assert!(config.redis.is_some() && config.queues.contains_key("l"));
    }
}
