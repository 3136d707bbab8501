//! `[blobs]`: where blobs lie, and who the host is there.

use std::collections::BTreeMap;

use jobcell_wasm::{BlobOption, BlobOptionForm, BlobStore, WasmError};

use super::environment::Environment;
use super::fault::Origin;
use super::forms::{Form, NAMES, scheme_of, text, without_login};
use super::node::{Node, Value};
use super::reader::Reader;
use super::secret::{self, Secret};
use super::table::{Absent, Entry, Key, Section, nearest};

/// A blob store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobsConfig {
    /// Where it is: `file://`, `memory://`, `s3://`, `gs://`, `az://`.
    pub url: String,
    /// Options of its own, by name; they go before the environment. Without those that are kept elsewhere when secrets
    /// were not wanted.
    pub options: BTreeMap<String, Secret>,
}

const URL: Key<String> = Key::new(
    "url",
    Form {
        name: "URL",
        expects: "\"file:///absolute/path\", \"memory://\", \"s3://bucket/prefix\", \"gs://bucket\" or \"az://container\"",
        read: blobs_url,
    },
    Absent::Required,
    "Where the blobs lie.",
);
const OPTIONS: Entry = Key::new(
    "options",
    NAMES,
    Absent::Means("none"),
    "What this store takes from here instead of the usual `AWS_*`, `GOOGLE_*` and `AZURE_*` variables, so that two stores can \
     have different credentials: `endpoint`, `region`, `access_key_id`, `secret_access_key`, `allow_http`, … of S3 \
     ([all of them](state.md#blobs)). Each is a value, `{ env = \"VARIABLE\" }` or `{ file = \"path\" }`; one that is secret is \
     never a value in a file. A store with a credential here takes no credential from the variables, and one that says \
     where it is nothing of that.",
)
.entry()
.with_names();

pub(super) static BLOBS: Section =
    Section { about: "Stores for large data, granted to handlers by name.", keys: &[URL.entry(), OPTIONS] };

const SCHEMES: [&str; 5] = ["file", "memory", "s3", "gs", "az"];

/// Reads one store; values that are kept elsewhere only where they are wanted.
pub(super) fn read(reader: &Reader<'_>, environment: &Environment, is_wanted: bool) -> Option<BlobsConfig> {
    let url = reader.get(&URL);
    let scheme = url.as_deref().and_then(|url| scheme_of(url).ok()).map(|(scheme, _)| scheme.to_owned());
    let mut options = BTreeMap::new();
    match reader.node(OPTIONS.name).map(Node::as_table) {
        None => {}
        Some(None) => {
            reader.fault(OPTIONS.name, "must be a table", "write for example { region = \"eu-west-1\" }");
        }
        // Which options there are is only known with the URL, whose fault is noted.
        Some(Some(table)) => {
            for (name, node) in scheme.iter().flat_map(|_| table) {
                let known = known(reader, scheme.as_deref().unwrap_or_default(), name);
                let value = known.and_then(|option| {
                    let value = read_option(reader, option, name, node, environment, is_wanted)?;
                    Some((option.name.to_owned(), value))
                });
                options.extend(value);
            }
        }
    }
    Some(BlobsConfig { url: url?, options })
}

/// The option of that name, which dashes may be in, as in other keys.
fn known(reader: &Reader<'_>, scheme: &str, name: &str) -> Option<&'static BlobOption> {
    let options = BlobStore::options(scheme);
    let meant = name.replace('-', "_");
    let found = options.iter().find(|option| option.name == meant);
    if found.is_none() {
        let names: Vec<&str> = options.iter().map(|option| option.name).collect();
        let fix = match nearest(&meant, names.iter().copied()) {
            None => format!("remove it; stores with {scheme}:// have no options"),
            Some(like) => format!("did you mean {like:?}? Known for {scheme}://: {}", names.join(", ")),
        };
        reader.fault(&path(name), "unknown option", &fix);
    }
    found
}

fn read_option(
    reader: &Reader<'_>,
    option: &BlobOption,
    name: &str,
    node: &Node,
    environment: &Environment,
    is_wanted: bool,
) -> Option<Secret> {
    let path = path(name);
    if matches!(node.value, Value::Table(_)) {
        return secret::read(&reader.section(&path, &secret::SECRET), environment, is_wanted);
    }
    let is_secret = option.form == BlobOptionForm::Secret;
    let elsewhere = "write { env = \"VARIABLE\" } or { file = \"path\" }";
    if is_secret && matches!(node.origin, Origin::File { .. }) {
        reader.fault(&path, "is a secret, which does not belong here", elsewhere);
        return None;
    }
    let value = match &node.value {
        Value::Text(text) if text.is_empty() => Err("is empty"),
        Value::Text(text) if !is_secret && without_login(text) != *text => {
            Err("holds a login or a query, which may be secret")
        }
        Value::Text(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
            Ok(node.as_text().map_or_else(|| node.shown(), str::to_owned))
        }
        Value::List(_) | Value::Table(_) | Value::Other(_) => Err("is not text"),
    };
    let value = match (value, option.form) {
        (Ok(value), BlobOptionForm::Flag) if value != "true" && value != "false" => {
            Err(("is neither true nor false", "write true or false"))
        }
        (value, _) => value.map_err(|cause| (cause, elsewhere)),
    };
    value.map_err(|(cause, fix)| reader.fault(&path, cause, fix)).ok().map(Secret::new)
}

fn path(option: &str) -> String {
    format!("{}.{option}", OPTIONS.name)
}

fn blobs_url(node: &Node) -> Result<String, String> {
    let text = text(node)?;
    let (scheme, rest) = scheme_of(&text)?;
    if !SCHEMES.contains(&scheme) {
        return Err(format!("has the unknown scheme {scheme:?}"));
    }
    if rest.contains('@') {
        return Err("holds credentials, which do not belong here".to_owned());
    }
    match scheme {
        "file" if !rest.starts_with('/') => Err("is not an absolute path (three slashes)".to_owned()),
        "s3" | "gs" | "az" if rest.trim_matches('/').is_empty() => Err("names no bucket".to_owned()),
        _ => Ok(text),
    }
}

// === impl BlobsConfig ===

impl BlobsConfig {
    /// A store without options of its own.
    #[must_use]
    pub fn at(url: impl Into<String>) -> Self {
        Self { url: url.into(), options: BTreeMap::new() }
    }

    /// Opens it. Nothing is asked of a remote one yet.
    pub(crate) fn open(&self) -> Result<BlobStore, WasmError> {
        BlobStore::open_with(
            &self.url,
            self.options.iter().map(|(name, value)| (name.as_str(), value.expose())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, FileChoice, Request, load_all};

    fn load(toml: &str, variables: &[(&str, &str)], secrets: bool) -> (Config, Vec<String>) {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let loaded = load_all(&Request {
            file: FileChoice::Text("jobcell.toml".into(), toml.to_owned()),
            environment: variables.collect(),
            secrets,
            ..Request::default()
        });
        (loaded.config, loaded.faults.iter().map(ToString::to_string).collect())
    }

    fn store(options: &str) -> String {
        format!("[blobs.b]\nurl = \"s3://bucket/in\"\noptions = {{ {options} }}\n")
    }

    #[test]
    fn options_are_values_variables_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "from-file\n").unwrap();
        let toml = store(&format!(
            "endpoint = \"http://127.0.0.1:9\", allow-http = true, access_key_id = {{ env = \"UP\" }}, \
             secret_access_key = {{ file = {file:?} }}"
        ));
        let variables = [("UP", "from-env"), ("JOBCELL_BLOBS__B__OPTIONS__TOKEN", "from-own-variable")];
        let (config, faults) = load(&toml, &variables, true);
        assert!(faults.is_empty(), "{faults:#?}");
        let options = &config.blobs["b"].options;
        let read: Vec<_> = options.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
        assert_eq!(
            read,
            [
                ("access_key_id", "from-env"),
                ("allow_http", "true"),
                ("endpoint", "http://127.0.0.1:9"),
                ("secret_access_key", "from-file"),
                ("token", "from-own-variable"),
            ]
        );
        assert!(!format!("{:?}", config.blobs).contains("from-"), "{:?}", config.blobs);
        config.blobs["b"].open().unwrap();
        let (config, faults) = load(&toml, &[], false);
        assert!(faults.is_empty() && config.blobs["b"].options.len() == 2, "{faults:#?}");
    }

    #[test]
    fn faults_of_options_are_told_without_values() {
        for (options, parts) in [
            ("secret_access_key = \"hunter2\"", ["b.options.secret_access_key: ", "{ env = \"VARIABLE\" }"]),
            ("proxy_url = \"http://hunter2\"", ["b.options.proxy_url: ", "is a secret"]),
            ("acess_key_id = \"hunter2\"", ["did you mean \"access_key_id\"?", "endpoint, region"]),
            ("bucket = \"hunter2\"", ["b.options.bucket: unknown option", "Known for s3://"]),
            ("endpoint = \"http://u:hunter2@h\"", ["b.options.endpoint: ", "a login"]),
            ("allow_http = \"hunter2\"", ["b.options.allow_http: ", "true or false"]),
            ("region = \"\"", ["b.options.region: ", "is empty"]),
            ("region = [\"hunter2\"]", ["b.options.region: ", "is not text"]),
            ("token = { env = \"NOT_SET\" }", ["b.options.token.env: ", "NOT_SET is not set"]),
            ("token = { value = \"hunter2\" }", ["b.options.token.value: ", "unknown key"]),
        ] {
            let (_, faults) = load(&store(options), &[], true);
            let told = faults.join("\n");
            assert!(parts.iter().all(|part| told.contains(part)), "{parts:?}: {told}");
            assert!(!told.contains("hunter2") && told.contains("jobcell.toml:3: "), "{told}");
        }
        let (_, faults) =
            load("[blobs.b]\nurl = \"memory://\"\noptions = { region = \"hunter2\" }", &[], true);
        assert!(faults.len() == 1 && faults[0].contains("have no options"), "{faults:#?}");
        assert!(!faults[0].contains("hunter2"), "{faults:#?}");
    }
}
