//! The variables that back ends commonly have already: `REDIS_URL`, or the address in parts.

use super::URL;
use super::address::Address;
use crate::config::environment::Environment;
use crate::config::fault::{Fault, Faults, Origin};
use crate::config::node::{Node, Value};

const WHOLE: &str = "REDIS_URL";
pub(super) const HOST: &str = "REDIS_HOST";
const PORT: &str = "REDIS_PORT";
const DATABASE: &str = "REDIS_DB";
const TLS: &str = "REDIS_TLS";
const USERNAME: &str = "REDIS_USERNAME";
const PASSWORD: &str = "REDIS_PASSWORD";

/// What a variable's value begins with where Kubernetes set it, for a service named redis: `REDIS_PORT=tcp://10.0.0.1:6379`.
const KUBERNETES: &str = "tcp://";

/// The parts of an address that the environment gives.
#[derive(Default)]
struct Parts {
    port: Option<u16>,
    database: Option<u32>,
    tls: Option<bool>,
    username: Option<String>,
    password: Option<String>,
}

/// Lays `REDIS_URL`, or `REDIS_HOST` and what goes with it, over the file.
pub(in crate::config) fn overlay(root: &mut Node, environment: &Environment, faults: &Faults) {
    let found = if let Some(url) = environment.get(WHOLE) {
        Some((url.to_owned(), WHOLE))
    } else {
        environment.get(HOST).and_then(|host| at_host(host, environment, faults)).map(|url| (url, HOST))
    };
    if let Some((url, variable)) = found {
        set(root, url, Origin::Variable(variable.to_owned()));
    }
}

/// Lays the other variables over what every other source gave: over a URL of the file field by field, over one of the
/// environment or of a flag only credentials that it lacks. Says what is left without effect.
pub(in crate::config) fn complete(
    root: &mut Node,
    environment: &Environment,
    faults: &Faults,
    warnings: &mut Vec<String>,
) {
    let has = |name: &str| environment.get(name).is_some();
    let Some(node) = root.find(["redis", URL.name]) else {
        let is_said_elsewhere = root.find(["redis"]).is_some() || has(WHOLE) || has(HOST);
        if !is_said_elsewhere {
            refuse_alone(environment, faults);
        }
        return;
    };
    let Some(text) = node.as_text().map(str::to_owned) else { return };
    match node.origin.clone() {
        Origin::Default => {}
        // A URL given as a flag may well lead to another Redis than the environment's, but for its login there is no
        // better place: what stands in a command is seen by everybody on the machine.
        origin @ Origin::Flag(_) => {
            if let Some(url) = with_credentials(&text, environment) {
                set(root, url, origin);
            }
        }
        Origin::Variable(name) if name == HOST => {}
        Origin::Variable(name) => {
            let unused: Vec<&str> = [HOST, PORT, DATABASE, TLS]
                .into_iter()
                .filter(|part| environment.get(part).is_some_and(|value| !value.starts_with(KUBERNETES)))
                .collect();
            if !unused.is_empty() {
                warnings.push(format!(
                    "{name} is set, and {} beside it: {name} is used, the rest has no effect; unset one of them",
                    unused.join(", ")
                ));
            }
            if let Some(url) = with_credentials(&text, environment) {
                set(root, url, Origin::Variable(name));
            }
        }
        origin @ Origin::File { .. } => {
            if let Some(url) = overlaid(&text, environment, faults, warnings) {
                set(root, url, origin);
            }
        }
    }
}

fn set(root: &mut Node, url: String, origin: Origin) {
    root.set(&["redis".to_owned(), URL.name.to_owned()], Node::new(Value::Text(url), origin));
}

/// Parts of an address that belong to none: their jobs would go into the embedded store unseen.
fn refuse_alone(environment: &Environment, faults: &Faults) {
    let is_set = |name: &&str| environment.get(name).is_some_and(|value| !value.starts_with(KUBERNETES));
    let given: Vec<&str> = [PORT, USERNAME, PASSWORD, DATABASE, TLS].into_iter().filter(is_set).collect();
    let Some(first) = given.first() else { return };
    let cause = match given.len() {
        1 => "is set, but no Redis is configured that it could be meant for".to_owned(),
        _ => format!(
            "is set (as {} are), but no Redis is configured that it could be meant for",
            given.join(", ")
        ),
    };
    faults.push(Fault {
        key: "redis.url".to_owned(),
        value: None,
        origin: Origin::Variable((*first).to_owned()),
        cause,
        fix: format!("set {HOST} or {WHOLE} too, or unset it to use the embedded store"),
    });
}

/// A URL made from the host and the parts.
fn at_host(host: &str, environment: &Environment, faults: &Faults) -> Option<String> {
    let is_host = !host.contains(['/', '@', ' ', '?', '#']);
    if !is_host {
        let fix = format!("write only the host, or give a whole URL as {WHOLE}");
        fault(environment, faults, HOST, "is not a host name", &fix);
    }
    let port = environment.get(PORT);
    if port.is_some_and(|port| port.starts_with(KUBERNETES)) {
        let fix = "Kubernetes sets this variable for a service named redis: set enableServiceLinks to false, or set \
                   REDIS_PORT yourself";
        fault(environment, faults, PORT, "is not a port", fix);
    }
    let parts = read(environment, faults);
    if !is_host || port.is_some_and(|port| port.starts_with(KUBERNETES)) {
        return None;
    }
    let Parts { port, database, tls, username, password } = parts?;
    let scheme = if tls == Some(true) { "rediss" } else { "redis" };
    let host =
        if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    let login = match (username, password) {
        (None, None) => String::new(),
        (username, None) => username.map(|name| format!("{}@", encoded(&name))).unwrap_or_default(),
        (username, Some(password)) => {
            format!("{}:{}@", username.map(|name| encoded(&name)).unwrap_or_default(), encoded(&password))
        }
    };
    Some(format!("{scheme}://{login}{host}:{}/{}", port.unwrap_or(6379), database.unwrap_or(0)))
}

/// The file's URL with the parts of the environment in place of its own. None where nothing changes, or the URL is no
/// such URL, which reading it says.
fn overlaid(
    text: &str,
    environment: &Environment,
    faults: &Faults,
    warnings: &mut Vec<String>,
) -> Option<String> {
    let given: Vec<&str> = [PORT, USERNAME, PASSWORD, DATABASE, TLS]
        .into_iter()
        .filter(|name| environment.get(name).is_some_and(|value| !value.starts_with(KUBERNETES)))
        .collect();
    if given.is_empty() {
        return None;
    }
    let Some(mut address) = Address::split(text) else {
        if text.starts_with("unix:") {
            warnings.push(format!(
                "{} has no effect on the socket file of redis.url; write unix:///path?db=0&user=…&pass=…, or unset it",
                given.join(", ")
            ));
        }
        return None;
    };
    let Parts { port, database, tls, username, password } = read(environment, faults)?;
    if let Some(port) = port
        && !address.set_port(port)
    {
        warnings.push(format!(
            "{PORT} has no effect on the hosts of redis.url; write the port behind each of them, or unset it"
        ));
    }
    if let Some(username) = username {
        address.username = encoded(&username);
    }
    if let Some(password) = password {
        address.password = Some(encoded(&password));
    }
    if let Some(database) = database {
        address.set_database(database);
    }
    if let Some(tls) = tls {
        address.tls = tls;
    }
    Some(address.to_string())
}

/// A URL of the environment or of a flag that has no credentials, with those of the environment.
fn with_credentials(text: &str, environment: &Environment) -> Option<String> {
    let (username, password) = (environment.get(USERNAME), environment.get(PASSWORD));
    let mut address = Address::split(text)?;
    if address.has_login() || (username.is_none() && password.is_none()) {
        return None;
    }
    address.username = username.map(encoded).unwrap_or_default();
    address.password = password.map(encoded);
    Some(address.to_string())
}

/// The parts, but for what Kubernetes set. None with a fault for each that is wrong.
fn read(environment: &Environment, faults: &Faults) -> Option<Parts> {
    let get = |name: &str| environment.get(name).filter(|value| !value.starts_with(KUBERNETES));
    let mut is_sound = true;
    let mut wrong = |name: &str, cause: &str, fix: &str| {
        is_sound = false;
        fault(environment, faults, name, cause, fix);
    };
    let port = get(PORT).map(|port| {
        port.parse().map_err(|_| wrong(PORT, "is not a port", "write a number such as 6379")).ok()
    });
    let database = get(DATABASE).map(|number| {
        number
            .parse()
            .map_err(|_| wrong(DATABASE, "is not the number of a database", "write a number such as 0"))
            .ok()
    });
    let tls = get(TLS).map(|word| match word.to_lowercase().as_str() {
        "0" | "false" | "no" | "off" => Some(false),
        "1" | "true" | "yes" | "on" => Some(true),
        _ => {
            wrong(TLS, "is neither true nor false", "write true or false");
            None
        }
    });
    is_sound.then(|| Parts {
        port: port.flatten(),
        database: database.flatten(),
        tls: tls.flatten(),
        username: environment.get(USERNAME).map(str::to_owned),
        password: environment.get(PASSWORD).map(str::to_owned),
    })
}

/// Notes what is wrong with a variable. Its value is shown unless it looks like one with a password.
fn fault(environment: &Environment, faults: &Faults, name: &str, cause: &str, fix: &str) {
    let value = environment.get(name).filter(|value| !value.contains('@'));
    faults.push(Fault {
        key: "redis.url".to_owned(),
        value: value.map(|value| format!("{value:?}")),
        origin: Origin::Variable(name.to_owned()),
        cause: cause.to_owned(),
        fix: fix.to_owned(),
    });
}

/// Everything but unreserved characters, so that any password can stand in a URL.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
