//! `[handlers.NAME.grants]`: what a handler may touch. Nothing by default.

use std::collections::BTreeMap;

use jobcell_wasm::{Grants, HttpRule, Need, RuleSecret, SecretGrant};

use super::forms::{Form, NAMES, SWITCH, TEXT, TEXTS, text};
use super::node::{Node, Value};
use super::reader::Reader;
use super::table::{Absent, Entry, Key, Section};

const NOTHING: Absent = Absent::Means("none");

const HTTP: Entry = Entry::listed("http", &HTTP_SECTION);
const BLOBS: Key<Vec<String>> = Key::new("blobs", TEXTS, NOTHING, "Blob stores out of `[blobs]`, by name.");
const CACHE: Key<bool> = Key::value(
    "cache",
    SWITCH,
    "false",
    "The cache of this handler: small values that may vanish. Its keys are apart from those of every other handler and tenant.",
);
const KV: Key<Vec<String>> = Key::new(
    "kv",
    Form {
        name: "list of names",
        expects: "a list of names of 1 to 64 letters, digits, '-', '_' or '.', such as [\"media\"]",
        read: buckets,
    },
    NOTHING,
    "Buckets of the key-value store, by name: values that stay until they are deleted, for `wasi:keyvalue`. One that \
     `[buckets]` has is over keys that your other programs use too; others need no declaration. Such a bucket belongs to the tenant of the job and is shared by all handlers that are granted its name; \
     give a handler a name of its own for what no other may see.",
);
const ENQUEUE: Key<Vec<String>> = Key::new(
    "enqueue",
    TEXTS,
    NOTHING,
    "Queues that jobs may be put on: a name, or a beginning followed by `*`.",
);
const PUBLISH: Key<Vec<String>> = Key::new(
    "publish",
    TEXTS,
    NOTHING,
    "Channels that may be published to: a name, or a beginning followed by `*`.",
);
const CONFIG: Key<BTreeMap<String, String>> = Key::new(
    "config",
    NAMES,
    NOTHING,
    "Settings that the handler can read. Not for secrets: those belong into `secrets`.",
);
const SECRETS: Key<Vec<SecretGrant>> = Key::new(
    "secrets",
    Form {
        name: "list of names or tables",
        expects: "a list such as [\"stripe-webhook\", { name = \"other\", reveal = true }]",
        read: secrets,
    },
    NOTHING,
    "Secrets out of `[secrets]`. The handler can hash with them and place stand-ins for them into requests; only \
     `{ name = \"…\", reveal = true }` lets it see one.",
);

pub(super) static GRANTS: Section = Section {
    about: "What the handler may touch. What is not granted is refused, and counted in `jobcell_denied_total`. A component is \
            only loaded where each of its imports is granted; an empty list, such as `http = []`, lets it import them and \
            refuses every use: for components of several handlers, where this one needs less.",
    keys: &[
        HTTP,
        BLOBS.entry(),
        CACHE.entry(),
        KV.entry(),
        ENQUEUE.entry(),
        PUBLISH.entry(),
        CONFIG.entry().with_names(),
        SECRETS.entry(),
    ],
};

const URL: Key<String> = Key::new(
    "url",
    TEXT,
    Absent::Required,
    "`https://host/path`. The host is a name, `*.` and a name for any below it, or `*` for any public one; a path is \
     exact or ends in `*`, and none is any.",
);
const METHODS: Key<Vec<String>> =
    Key::new("methods", TEXTS, Absent::Means("any"), "Methods that may be used.");
const HTTP_SECRETS: Key<Vec<RuleSecret>> = Key::new(
    "secrets",
    Form {
        name: "list of names or tables",
        expects: "a list such as [\"api-key\", { name = \"slack\", in = [\"url\"] }]",
        read: rule_secrets,
    },
    NOTHING,
    "Secrets that are put in place of their stand-ins in requests that go there: in the headers that carry credentials \
     (`authorization`, also inside its Basic form, `x-api-key`, `apikey` and their like), or in the places that `in` lists \
     instead: `\"url\"`, `\"body\"`, `\"header:NAME\"`. What stands in a URL, a body or another header can come back to \
     the handler, in an error page or as what it stored. The host must be named, and use https unless it is private.",
);
const PRIVATE: Key<bool> = Key::value(
    "private",
    SWITCH,
    "false",
    "Lets the host be on this machine or its own network; needs one exact host. Link-local addresses and those of \
     instance metadata are reached only where the URL spells that very address.",
);
const TRACE: Key<bool> = Key::value(
    "trace",
    SWITCH,
    "false",
    "Lets requests carry the trace context of their attempt (`traceparent`, `tracestate`), where traces are collected. It \
     tells the far end which requests belong together, so grant it to services of your own.",
);
static HTTP_SECTION: Section = Section {
    about: "Where outgoing requests may go.",
    keys: &[URL.entry(), METHODS.entry(), HTTP_SECRETS.entry(), PRIVATE.entry(), TRACE.entry()],
};

/// What grants may name: what the rest of the configuration declares.
pub(super) struct Declared<'a> {
    /// Names under `[secrets]`.
    pub(super) secrets: Vec<&'a str>,
    /// Names under `[blobs]`.
    pub(super) blobs: Vec<&'a str>,
}

pub(super) fn read(reader: &Reader<'_>, declared: &Declared<'_>) -> Grants {
    let grants = Grants {
        http: reader
            .listed(HTTP.name, &HTTP_SECTION)
            .iter()
            .filter_map(|rule| read_rule(rule, declared))
            .collect(),
        blobs: reader.get(&BLOBS).unwrap_or_default(),
        cache: reader.value(&CACHE),
        kv: reader.get(&KV).unwrap_or_default(),
        enqueue: reader.get(&ENQUEUE).unwrap_or_default(),
        publish: reader.get(&PUBLISH).unwrap_or_default(),
        config: reader.get(&CONFIG).unwrap_or_default(),
        secrets: reader.get(&SECRETS).unwrap_or_default(),
        refused: LISTS.into_iter().filter(|need| is_empty_list(reader.node(need.key()))).collect(),
    };
    reader.refuse_undeclared(BLOBS.name, "[blobs]", grants.blobs.iter().map(String::as_str), &declared.blobs);
    let secrets = grants.secrets.iter().map(|grant| grant.name.as_str());
    reader.refuse_undeclared(SECRETS.name, "[secrets]", secrets, &declared.secrets);
    grants
}

/// The keys that take a list.
const LISTS: [Need; 6] = [Need::Http, Need::Blobs, Need::Kv, Need::Enqueue, Need::Publish, Need::Secrets];

fn is_empty_list(node: Option<&Node>) -> bool {
    matches!(node, Some(Node { value: Value::List(items), .. }) if items.is_empty())
}

fn read_rule(reader: &Reader<'_>, declared: &Declared<'_>) -> Option<HttpRule> {
    let (methods, secrets) = (reader.get(&METHODS), reader.get(&HTTP_SECRETS).unwrap_or_default());
    let named = secrets.iter().map(RuleSecret::name);
    reader.refuse_undeclared(HTTP_SECRETS.name, "[secrets]", named, &declared.secrets);
    let (private, trace) = (reader.value(&PRIVATE), reader.value(&TRACE));
    let url = reader.get(&URL)?;
    match HttpRule::new(&url, methods, secrets, private) {
        Ok(rule) => Some(rule.with_trace(trace)),
        Err(error) => {
            // What a cause quotes of a URL with an '@' may be a part of a password.
            let is_safe = !url.contains('@') || !error.why.contains('"');
            let cause = if is_safe {
                error.why.as_str()
            } else {
                "cannot be used, and may hold a user or a password"
            };
            reader.fault_shown(URL.name, cause, "write for example url = \"https://api.example.com/v1/*\"");
            None
        }
    }
}

/// Bytes of a bucket's name.
const BUCKET_BYTES_MAX: usize = 64;

/// Whether a bucket can be called so.
pub(super) fn is_bucket(name: &str) -> bool {
    (1..=BUCKET_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

fn buckets(node: &Node) -> Result<Vec<String>, String> {
    let names = (TEXTS.read)(node)?;
    match names.iter().find(|name| !is_bucket(name)) {
        Some(name) => Err(format!("has {name:?}, which cannot be the name of a bucket")),
        None => Ok(names),
    }
}

fn rule_secrets(node: &Node) -> Result<Vec<RuleSecret>, String> {
    let Value::List(items) = &node.value else { return Err("is not a list".to_owned()) };
    items.iter().map(rule_secret).collect()
}

fn rule_secret(item: &Node) -> Result<RuleSecret, String> {
    let (name, places) = match &item.value {
        Value::Table(table) => {
            if let Some(unknown) = table.keys().find(|key| !["name", "in"].contains(&key.as_str())) {
                return Err(format!("has an item with the unknown key {unknown:?}"));
            }
            let name = table.get("name").map(text).transpose()?.ok_or("has an item without a name")?;
            (name, table.get("in").map(TEXTS.read).transpose()?)
        }
        _ => (text(item)?, None),
    };
    RuleSecret::new(name, places.as_deref()).map_err(|why| format!("has an item with a fault: {why}"))
}

fn secrets(node: &Node) -> Result<Vec<SecretGrant>, String> {
    let Value::List(items) = &node.value else { return Err("is not a list".to_owned()) };
    items.iter().map(secret).collect()
}

fn secret(item: &Node) -> Result<SecretGrant, String> {
    let Value::Table(table) = &item.value else {
        return Ok(SecretGrant { name: text(item)?, reveal: false });
    };
    if let Some(unknown) = table.keys().find(|key| !["name", "reveal"].contains(&key.as_str())) {
        return Err(format!("has an item with the unknown key {unknown:?}"));
    }
    let name = table.get("name").map(text).transpose()?.ok_or("has an item without a name")?;
    let reveal = match table.get("reveal").map(|node| &node.value) {
        None => false,
        Some(Value::Bool(reveal)) => *reveal,
        Some(_) => return Err("has an item whose reveal is neither true nor false".to_owned()),
    };
    Ok(SecretGrant { name, reveal })
}
