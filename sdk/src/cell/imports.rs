//! The host functions, as the component imports them: the twin of the in-memory host of `testing`.

pub(crate) mod http;
pub(crate) mod kv;

use super::bindings::jobcell::job;
use super::types;
use crate::error::HostError;

/// A cell's clock is never set apart from the system's.
pub(crate) fn now_ms() -> Option<u64> {
    None
}

pub(crate) fn sleep(duration: std::time::Duration) {
    std::thread::sleep(duration);
}

impl From<types::Error> for HostError {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(text) => Self::Denied(text),
            types::Error::NotFound => Self::NotFound,
            types::Error::TooLarge(limit) => Self::TooLarge(limit),
            types::Error::Quota(text) => Self::Quota(text),
            types::Error::Unavailable(text) => Self::Unavailable(text),
            types::Error::Invalid(text) => Self::Invalid(text),
            types::Error::Other(text) => Self::Other(text),
        }
    }
}

pub(crate) mod context {
    //! `jobcell:job/context`.

    use super::job::context;
    use crate::error::HostError;

    pub(crate) use context::{is_cancelled, log, remaining_ms};

    pub(crate) fn progress(json: &str) -> Result<(), HostError> {
        Ok(context::progress(json)?)
    }

    pub(crate) fn update_data(data: &[u8]) -> Result<(), HostError> {
        Ok(context::update_data(data)?)
    }

    pub(crate) fn children_values() -> Result<Vec<(String, String)>, HostError> {
        Ok(context::children_values()?)
    }

    pub(crate) fn children_failures() -> Result<Vec<(String, String)>, HostError> {
        Ok(context::children_failures()?)
    }
}

pub(crate) mod jobs {
    //! `jobcell:job/jobs`.

    use super::job::jobs;
    use crate::error::HostError;
    use crate::jobs::{Backoff, OnChildFailure, Options};
    use crate::time::whole_ms;

    pub(crate) fn enqueue(
        queue: &str,
        name: &str,
        data: &[u8],
        options: &Options,
    ) -> Result<String, HostError> {
        Ok(jobs::enqueue(queue, name, data, &convert(options))?)
    }

    pub(crate) fn enqueue_child(
        queue: &str,
        name: &str,
        data: &[u8],
        options: &Options,
    ) -> Result<String, HostError> {
        Ok(jobs::enqueue_child(queue, name, data, &convert(options))?)
    }

    fn convert(options: &Options) -> jobs::Options {
        let Options { id, delay, priority, attempts, backoff, lifo, tenant, on_failure } = options;
        jobs::Options {
            id: id.clone(),
            delay_ms: delay.map(whole_ms),
            priority: *priority,
            attempts: *attempts,
            backoff: backoff.map(|backoff| match backoff {
                Backoff::Fixed(delay) => {
                    jobs::Backoff { kind: jobs::BackoffKind::Fixed, delay_ms: whole_ms(delay) }
                }
                Backoff::Exponential(delay) => {
                    jobs::Backoff { kind: jobs::BackoffKind::Exponential, delay_ms: whole_ms(delay) }
                }
            }),
            lifo: *lifo,
            tenant: tenant.clone(),
            on_failure: match on_failure {
                OnChildFailure::Block => jobs::OnChildFailure::Block,
                OnChildFailure::FailParent => jobs::OnChildFailure::FailParent,
                OnChildFailure::ContinueParent => jobs::OnChildFailure::ContinueParent,
                OnChildFailure::Ignore => jobs::OnChildFailure::Ignore,
                OnChildFailure::RemoveDependency => jobs::OnChildFailure::RemoveDependency,
            },
        }
    }
}

pub(crate) mod publish {
    //! `jobcell:job/publish`.

    use super::job::publish;
    use crate::error::HostError;

    pub(crate) fn publish(channel: &str, message: &[u8]) -> Result<(), HostError> {
        Ok(publish::publish(channel, message)?)
    }
}

pub(crate) mod cache {
    //! `jobcell:job/cache`.

    use super::job::cache;
    use crate::error::HostError;

    pub(crate) fn get(key: &str) -> Result<Option<Vec<u8>>, HostError> {
        Ok(cache::get(key)?)
    }

    pub(crate) fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), HostError> {
        Ok(cache::set(key, value, ttl_ms)?)
    }

    pub(crate) fn set_if_absent(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<bool, HostError> {
        Ok(cache::set_if_absent(key, value, ttl_ms)?)
    }

    pub(crate) fn delete(key: &str) -> Result<(), HostError> {
        Ok(cache::delete(key)?)
    }

    pub(crate) fn increment(key: &str, by: i64, ttl_ms: Option<u64>) -> Result<i64, HostError> {
        Ok(cache::increment(key, by, ttl_ms)?)
    }
}

pub(crate) mod blobs {
    //! `jobcell:job/blobs`.

    use super::job::blobs;
    use crate::blobs::Info;
    use crate::error::HostError;

    pub(crate) fn get(store: &str, key: &str) -> Result<Vec<u8>, HostError> {
        Ok(blobs::get(store, key)?)
    }

    pub(crate) fn get_range(store: &str, key: &str, offset: u64, length: u64) -> Result<Vec<u8>, HostError> {
        Ok(blobs::get_range(store, key, offset, length)?)
    }

    pub(crate) fn head(store: &str, key: &str) -> Result<Info, HostError> {
        Ok(convert(blobs::head(store, key)?))
    }

    pub(crate) fn put(
        store: &str,
        key: &str,
        data: &[u8],
        content_type: Option<&str>,
    ) -> Result<Info, HostError> {
        Ok(convert(blobs::put(store, key, data, content_type)?))
    }

    pub(crate) fn delete(store: &str, key: &str) -> Result<(), HostError> {
        Ok(blobs::delete(store, key)?)
    }

    pub(crate) fn list(
        store: &str,
        prefix: &str,
        start_after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Info>, HostError> {
        Ok(blobs::list(store, prefix, start_after, limit)?.into_iter().map(convert).collect())
    }

    fn convert(info: blobs::Info) -> Info {
        let blobs::Info { key, size, content_type, etag } = info;
        Info { key, size, content_type, etag }
    }
}

pub(crate) mod secrets {
    //! `jobcell:job/secrets`.

    use super::job::secrets;
    use crate::error::HostError;
    use crate::secrets::Algorithm;

    pub(crate) fn hmac(secret: &str, algorithm: Algorithm, message: &[u8]) -> Result<Vec<u8>, HostError> {
        Ok(secrets::hmac(secret, convert(algorithm), message)?)
    }

    pub(crate) fn verify_hmac(
        secret: &str,
        algorithm: Algorithm,
        message: &[u8],
        mac: &[u8],
    ) -> Result<bool, HostError> {
        Ok(secrets::verify_hmac(secret, convert(algorithm), message, mac)?)
    }

    pub(crate) fn placeholder(secret: &str) -> Result<String, HostError> {
        Ok(secrets::placeholder(secret)?)
    }

    pub(crate) fn reveal(secret: &str) -> Result<String, HostError> {
        Ok(secrets::reveal(secret)?)
    }

    fn convert(algorithm: Algorithm) -> secrets::Algorithm {
        match algorithm {
            Algorithm::Sha1 => secrets::Algorithm::Sha1,
            Algorithm::Sha256 => secrets::Algorithm::Sha256,
            Algorithm::Sha512 => secrets::Algorithm::Sha512,
        }
    }
}

pub(crate) mod config {
    //! `wasi:config/store`, of which only reading one value is used.

    use crate::error::HostError;

    mod bindings {
        wit_bindgen::generate!({
            inline: "
                package jobcell:settings;

                world settings {
                    import wasi:config/store@0.2.0-rc.1;
                }

                package wasi:config@0.2.0-rc.1 {
                    interface store {
                        variant error {
                            upstream(string),
                            io(string),
                        }
                        get: func(key: string) -> result<option<string>, error>;
                        get-all: func() -> result<list<tuple<string, string>>, error>;
                    }
                }
            ",
            world: "settings",
            generate_all,
        });
    }

    use bindings::wasi::config::store;

    pub(crate) fn get(key: &str) -> Result<Option<String>, HostError> {
        store::get(key).map_err(|error| match error {
            store::Error::Upstream(text) | store::Error::Io(text) => {
                HostError::Unavailable(format!("the setting `{key}`: {text}"))
            }
        })
    }
}
