//! What of a manifest does not fit the handler that it is deployed as.

use std::time::Duration;

use jobcell_handlers::Manifest;

use crate::cli::receipt::size;
use crate::config::{Config, HandlerConfig};

/// Them in sentences, as far as this configuration knows the handler; `active` is what its active version calls itself.
/// None of them keeps the version out: names are people's, and the operator's limits hold.
pub(super) fn doubts(
    handler: &str,
    manifest: &Manifest,
    active: Option<&str>,
    config: &Config,
) -> Vec<String> {
    let Manifest { name, limits, .. } = manifest;
    let mut doubts = Vec::new();
    if let Some(active) = active.filter(|active| active != name) {
        doubts.push(format!(
            "it calls itself {name:?}, and the active version of {handler:?} {active:?}; see that this is the file that was meant"
        ));
    }
    let Some(HandlerConfig { limits: given, .. }) = config.handlers.get(handler) else { return doubts };
    let millis = |time: u64| format!("{:?}", Duration::from_millis(time));
    let deadline = u64::try_from(given.deadline.as_millis()).unwrap_or(u64::MAX);
    let mut hold = |key: &str, wanted: Option<u64>, given: u64, shown: fn(u64) -> String| {
        if let Some(wanted) = wanted.filter(|wanted| *wanted > given) {
            doubts.push(format!(
                "its manifest asks for limits.{key} = {}, and [handlers.{handler}.limits] gives it {}; raise it there if its \
                 jobs run out",
                shown(wanted),
                shown(given)
            ));
        }
    };
    hold("memory", limits.memory_bytes, given.memory as u64, size);
    hold("deadline", limits.deadline_ms, deadline, millis);
    hold("stack", limits.stack_bytes, given.stack as u64, size);
    doubts
}

#[cfg(test)]
mod tests {
    use jobcell_handlers::manifest::WantedLimits;

    use super::*;
    use crate::config::{FileChoice, Request, load};

    #[test]
    fn what_does_not_fit_the_handler_is_told() {
        let text = "[handlers.media]\nsource = \"store\"\n[handlers.media.limits]\nmemory = \"64MiB\"\ndeadline = \"10s\"\n";
        let file = FileChoice::Text("jobcell.toml".into(), text.to_owned());
        let config = load(&Request { file, ..Request::default() }).unwrap();
        let limits =
            WantedLimits { memory_bytes: Some(2 << 30), deadline_ms: Some(10_000), stack_bytes: None };
        let manifest = Manifest { limits, ..Manifest::unsaid("media", None) };
        let told = doubts("media", &manifest, Some("media"), &config);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("limits.memory = 2") && told[0].contains("64"), "{told:?}");
        let told = doubts("overlay", &manifest, Some("overlay-plugin"), &config);
        assert_eq!(told.len(), 1, "whose limits are not known: {told:?}");
        assert!(
            told[0].contains("calls itself \"media\"") && told[0].contains("\"overlay-plugin\""),
            "{told:?}"
        );
        assert!(
            doubts("overlay", &manifest, None, &config).is_empty(),
            "a first version is called what it is called"
        );
    }
}
