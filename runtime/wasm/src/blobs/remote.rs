//! Stores that are reached by HTTP: which options they take, and how they are opened.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use url::Url;

use super::{Kind, Opened};

/// An option of a store that is reached by HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobOption {
    /// Its name, as `object_store` has it.
    pub name: &'static str,
    /// What its value is.
    pub form: BlobOptionForm,
    group: Group,
}

/// What an option's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobOptionForm {
    /// Text that may be shown.
    Text,
    /// `true` or `false`.
    Flag,
    /// Text that must never be shown.
    Secret,
}

/// Options that only mean something together: a store that has one of them takes none of them from the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Each means something alone.
    Alone,
    /// Who the host is.
    Credentials,
    /// Where the store is.
    Place,
}

/// A kind of store.
struct Provider {
    name: &'static str,
    /// What the names of its variables begin with.
    variables: &'static str,
    options: &'static [BlobOption],
    /// Names that only the environment has, with their groups.
    environment: &'static [(&'static str, Group)],
}

const fn text(name: &'static str) -> BlobOption {
    BlobOption { name, form: BlobOptionForm::Text, group: Group::Alone }
}

const fn flag(name: &'static str) -> BlobOption {
    BlobOption { name, form: BlobOptionForm::Flag, group: Group::Alone }
}

const fn secret(name: &'static str) -> BlobOption {
    BlobOption { name, form: BlobOptionForm::Secret, group: Group::Alone }
}

impl BlobOption {
    const fn of(self, group: Group) -> Self {
        Self { group, ..self }
    }
}

static S3: Provider = Provider {
    name: "S3",
    variables: "AWS_",
    options: &[
        text("access_key_id").of(Group::Credentials),
        secret("secret_access_key").of(Group::Credentials),
        secret("token").of(Group::Credentials),
        text("role_arn").of(Group::Credentials),
        text("role_session_name").of(Group::Credentials),
        text("web_identity_token_file").of(Group::Credentials),
        flag("skip_signature").of(Group::Credentials),
        text("endpoint").of(Group::Place),
        text("region").of(Group::Place),
        flag("virtual_hosted_style_request").of(Group::Place),
        text("endpoint_url_sts"),
        flag("unsigned_payload"),
        text("checksum_algorithm"),
        flag("disable_tagging"),
        flag("disable_bulk_delete"),
        flag("request_payer"),
        text("server_side_encryption"),
        text("sse_kms_key_id"),
        flag("sse_bucket_key_enabled"),
        secret("sse_customer_key_base64"),
        flag("allow_http"),
        flag("allow_invalid_certificates"),
        text("connect_timeout"),
        text("timeout"),
        secret("proxy_url"),
    ],
    environment: &[
        ("aws_container_credentials_relative_uri", Group::Credentials),
        ("aws_container_credentials_full_uri", Group::Credentials),
        ("aws_container_authorization_token_file", Group::Credentials),
        ("aws_endpoint_url_s3", Group::Place),
    ],
};

static GOOGLE: Provider = Provider {
    name: "Google Cloud Storage",
    variables: "GOOGLE_",
    options: &[
        text("application_credentials").of(Group::Credentials),
        text("service_account_path").of(Group::Credentials),
        secret("service_account_key").of(Group::Credentials),
        secret("bearer_token").of(Group::Credentials),
        flag("skip_signature").of(Group::Credentials),
        text("base_url").of(Group::Place),
        flag("allow_http"),
        flag("allow_invalid_certificates"),
        text("connect_timeout"),
        text("timeout"),
        secret("proxy_url"),
    ],
    environment: &[],
};

static AZURE: Provider = Provider {
    name: "Azure Blob Storage",
    variables: "AZURE_",
    options: &[
        secret("account_key").of(Group::Credentials),
        secret("sas_token").of(Group::Credentials),
        secret("bearer_token").of(Group::Credentials),
        text("client_id").of(Group::Credentials),
        secret("client_secret").of(Group::Credentials),
        text("tenant_id").of(Group::Credentials),
        text("federated_token_file").of(Group::Credentials),
        flag("use_azure_cli").of(Group::Credentials),
        flag("skip_signature").of(Group::Credentials),
        text("account_name").of(Group::Place),
        text("endpoint").of(Group::Place),
        flag("use_emulator").of(Group::Place),
        flag("use_fabric_endpoint").of(Group::Place),
        text("authority_host"),
        text("object_id"),
        text("msi_endpoint"),
        text("msi_resource_id"),
        flag("disable_tagging"),
        secret("encryption_key"),
        flag("allow_http"),
        flag("allow_invalid_certificates"),
        text("connect_timeout"),
        text("timeout"),
        secret("proxy_url"),
    ],
    environment: &[],
};

/// The options of stores with URLs of this scheme: none of a folder, of memory and of what there is not.
pub(super) fn options(scheme: &str) -> &'static [BlobOption] {
    match scheme {
        "s3" => S3.options,
        "gs" => GOOGLE.options,
        "az" => AZURE.options,
        _ => &[],
    }
}

/// How a store's faults are met before a handler hears of them: often enough for a connection that broke or a server that
/// was busy for a moment, and soon enough that the attempt can still say what failed. A store that is away for longer is
/// what the job's own attempts are for.
fn retries() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(1),
        ..BackoffConfig::default()
    };
    RetryConfig { backoff, max_retries: 3, retry_timeout: Duration::from_secs(10) }
}

pub(super) fn open(url: &Url, own: &[(&str, &str)]) -> Result<Opened, String> {
    crate::http::tls::install_provider();
    let bucket = url.host_str().filter(|bucket| !bucket.is_empty()).ok_or("it names no bucket")?;
    // What stands before an `@` looks like a password, and after `?` like an option: neither has an effect.
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() {
        return Err("it has a login or a query, which have no effect; credentials come from `options` or the environment"
            .to_owned());
    }
    let prefix = Path::from_url_path(url.path()).map_err(|error| error.to_string())?;
    let told = |error: object_store::Error| without_values(error.to_string(), own);
    // The bucket last: a variable may name another one.
    let store: Arc<dyn ObjectStore> = match url.scheme() {
        "gs" => {
            let mut store = GoogleCloudStorageBuilder::new().with_retry(retries());
            for (key, value) in settings::<GoogleConfigKey>(&GOOGLE, &["SERVICE_ACCOUNT"], own)? {
                store = store.with_config(key, value);
            }
            Arc::new(store.with_bucket_name(bucket).build().map_err(told)?)
        }
        "az" => {
            let mut store = MicrosoftAzureBuilder::new().with_retry(retries());
            for (key, value) in settings::<AzureConfigKey>(&AZURE, &["IDENTITY_ENDPOINT"], own)? {
                store = store.with_config(key, value);
            }
            Arc::new(store.with_container_name(bucket).build().map_err(told)?)
        }
        _ => {
            let mut store = AmazonS3Builder::new().with_retry(retries());
            for (key, value) in settings::<AmazonS3ConfigKey>(&S3, &[], own)? {
                store = store.with_config(key, value);
            }
            Arc::new(store.with_bucket_name(bucket).build().map_err(told)?)
        }
    };
    Ok(Opened { store, prefix, kind: Kind::Remote, folder: None })
}

/// What the environment and the store's own options say, in the order in which it holds: the last wins. Of a group of
/// which the store has something of its own, the environment gives nothing: a key of one account and a token of another
/// would make a signature that nobody takes. `others` are variables without the provider's beginning.
fn settings<K: FromStr + PartialEq + Copy>(
    provider: &Provider,
    others: &[&str],
    own: &[(&str, &str)],
) -> Result<Vec<(K, String)>, String> {
    let (mut groups, mut chosen) = (BTreeSet::new(), Vec::new());
    for (name, value) in own {
        let key: Option<K> = name.parse().ok();
        let option = |key: &K| provider.options.iter().find(|option| is_key(option.name, key));
        let known = key.and_then(|key| Some((key, option(&key)?)));
        let (key, option) = known.ok_or_else(|| format!("{} has no option {name:?}", provider.name))?;
        groups.insert(option.group);
        chosen.push((key, (*value).to_owned()));
    }
    groups.remove(&Group::Alone);
    let given = std::env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.to_str()?, value.to_str()?);
        if !name.starts_with(provider.variables) && !others.contains(&name) {
            return None;
        }
        let key: K = name.to_ascii_lowercase().parse().ok()?;
        (!groups.contains(&provider.group(&key))).then(|| (key, value.to_owned()))
    });
    Ok(given.chain(chosen).collect())
}

/// An error's text without what the store's own options hold: a faulty value is quoted, and may be a secret in the wrong
/// place.
fn without_values(mut text: String, own: &[(&str, &str)]) -> String {
    // What follows quotes parts of a key.
    if let Some((start, _)) = text.split_once("Unable to decode service account") {
        text = format!("{start}its service account's key is not the JSON text of one");
    }
    for (_, value) in own.iter().filter(|(_, value)| !value.is_empty()) {
        text = text.replace(value, "***").replace(&value.escape_debug().to_string(), "***");
    }
    text
}

fn is_key<K: FromStr + PartialEq>(name: &str, key: &K) -> bool {
    name.parse::<K>().is_ok_and(|named| named == *key)
}

impl Provider {
    fn group<K: FromStr + PartialEq>(&self, key: &K) -> Group {
        let options = self.options.iter().map(|option| (option.name, option.group));
        let mut known = options.chain(self.environment.iter().copied());
        known.find(|(name, _)| is_key(name, key)).map_or(Group::Alone, |(_, group)| group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each_is_known<K: FromStr + PartialEq>(provider: &Provider) {
        for option in provider.options {
            assert!(option.name.parse::<K>().is_ok(), "{}", option.name);
        }
        for (name, _) in provider.environment {
            assert!(name.parse::<K>().is_ok(), "{name}");
        }
    }

    #[test]
    fn each_option_is_one_of_its_store() {
        each_is_known::<AmazonS3ConfigKey>(&S3);
        each_is_known::<GoogleConfigKey>(&GOOGLE);
        each_is_known::<AzureConfigKey>(&AZURE);
    }

    #[test]
    fn a_store_is_told_its_bucket_by_its_url_alone() {
        for (name, own) in [("bucket", "other"), ("aws_bucket_name", "other"), ("nonsense", "x")] {
            let told = settings::<AmazonS3ConfigKey>(&S3, &[], &[(name, own)]).unwrap_err();
            assert!(told.contains(name) && !told.contains(own), "{told}");
        }
    }

    #[test]
    fn names_of_variables_mean_the_same_option() {
        let (short, long) = ([("endpoint", "http://a")], [("aws_endpoint_url", "http://a")]);
        let read = |own: &[(&str, &str)]| settings::<AmazonS3ConfigKey>(&S3, &[], own).unwrap();
        assert_eq!(read(&short).last(), read(&long).last());
        assert_eq!(S3.group(&AmazonS3ConfigKey::S3Endpoint), Group::Place);
        assert_eq!(S3.group(&AmazonS3ConfigKey::Token), Group::Credentials);
        assert_eq!(S3.group(&AmazonS3ConfigKey::RequestPayer), Group::Alone);
    }
}
