//! The configuration: any text becomes a configuration or faults with their fixes, and no secret is ever shown.

use std::path::PathBuf;

use jobcell::config::{Environment, FileChoice, Loaded, Request, load_all};
use toml::Value;

/// Stands where a password is: in a message it was leaked.
const SECRET: &str = "hunter2-hunter2";
/// Begins a line that is a variable of the environment. TOML takes it for a comment.
const VARIABLE: &str = "#env ";
/// What one message may have: it is read by people.
const MESSAGE_BYTES_MAX: usize = 16 << 10;

/// TOML, with lines such as `#env REDIS_HOST=h` for the environment.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let variables = || text.lines().filter_map(|line| line.strip_prefix(VARIABLE)?.split_once('='));
    let environment: Environment =
        variables().map(|(name, value)| (name.trim().to_owned(), value.to_owned())).collect();
    let request = Request {
        file: FileChoice::Text(PathBuf::from("jobcell.toml"), text.to_owned()),
        environment,
        redis: None,
        // Files of this machine are nobody's input.
        secrets: false,
        native_handlers: Vec::new(),
    };
    let Loaded { config, faults } = load_all(&request);
    let mut told: Vec<String> = faults
        .iter()
        .map(|fault| {
            assert!(!fault.cause.is_empty() && !fault.fix.is_empty(), "{fault:?}");
            fault.to_string()
        })
        .collect();
    told.extend(config.warnings.iter().cloned());
    for message in &told {
        assert!(message.len() <= MESSAGE_BYTES_MAX.max(3 * data.len()), "{} bytes", message.len());
    }
    told.push(format!("{:?}", config.redis));
    told.push(format!("{:?}", config.server));
    if is_secret(text, variables()) {
        for message in &told {
            assert!(!message.contains(SECRET), "{message}");
        }
    }
    let again = load_all(&request);
    assert_eq!(again.faults, faults, "the same text, and other faults");
}

/// Whether the password stands only where the reference says that passwords stand.
fn is_secret<'a>(text: &str, mut variables: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let is_place = |name: &str| {
        matches!(name, "REDIS_PASSWORD" | "JOBCELL_REDIS__URL" | "JOBCELL_REDIS__SENTINEL_PASSWORD")
    };
    let is_sound = |(name, value): (&str, &str)| {
        let is_url = name.trim() == "JOBCELL_REDIS__URL";
        !name.contains(SECRET)
            && (!value.contains(SECRET) || (is_place(name.trim()) && (!is_url || is_in_login(value))))
    };
    if !variables.all(is_sound) {
        return false;
    }
    let Ok(document) = text.parse::<toml::Table>() else {
        // What is no TOML has no places; messages about it must do without quoting it.
        return !text.lines().any(|line| line.starts_with(VARIABLE));
    };
    let mut path = Vec::new();
    document.iter().all(|(key, value)| holds_only_secretly(key, value, &mut path))
}

fn holds_only_secretly(key: &str, value: &Value, path: &mut Vec<String>) -> bool {
    if key.contains(SECRET) {
        return false;
    }
    path.push(key.to_owned());
    let is_sound = match value {
        Value::String(text) if text.contains(SECRET) => {
            let path: Vec<&str> = path.iter().map(String::as_str).collect();
            match path[..] {
                ["redis", "url"] => is_in_login(text),
                ["redis", "sentinel-password"] => true,
                _ => false,
            }
        }
        Value::Table(table) => table.iter().all(|(key, value)| holds_only_secretly(key, value, path)),
        Value::Array(values) => values.iter().all(|value| holds_only_secretly("", value, path)),
        _ => true,
    };
    path.pop();
    is_sound
}

/// Whether the password of a URL is where a password is: behind a user, before the hosts.
fn is_in_login(url: &str) -> bool {
    let login = url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')?.0.split_once(':'));
    let Some((_, password)) = login else { return false };
    url.matches(SECRET).count() == password.matches(SECRET).count()
}
