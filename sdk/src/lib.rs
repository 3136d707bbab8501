//! What the author of a Jobcell handler uses.
//!
//! A handler is a plain function over a typed job. The same function runs in a *cell*, a fresh WebAssembly sandbox for
//! every attempt, and under plain `cargo test` against a host in memory:
//!
//! ```
//! use jobcell_sdk::prelude::*;
//! use jobcell_sdk::{blobs, context, http};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Import {
//!     url: String,
//!     key: String,
//! }
//!
//! #[derive(Debug, PartialEq, Serialize)]
//! struct Imported {
//!     bytes: u64,
//! }
//!
//! /// Takes the jobs named `import-file`.
//! #[handler]
//! fn import_file(job: Job<Import>) -> Result<Imported, Failure> {
//!     let Import { url, key } = job.data;
//!     // An error with `?` is worth another attempt, unless the host refused the request itself.
//!     let response = http::Request::get(url).send()?;
//!     if response.status == 404 {
//!         return Err(Failure::fatal("there is no such file"));
//!     }
//!     context::progress(&50)?;
//!     let info = blobs::put("files", &key, &response.body, response.header("content-type"))?;
//!     Ok(Imported { bytes: info.size })
//! }
//!
//! // Makes the crate a component, and `PLUGIN` for tests of the whole.
//! plugin!(import_file);
//!
//! # fn main() {
//! // In a test:
//! use jobcell_sdk::testing::{self, Host};
//!
//! let url = "https://example.com/a.txt";
//! let host = Host::new().store("files").respond(url, http::Response::new(200).with_body("hello"));
//!
//! let job = testing::job(Import { url: url.into(), key: "a.txt".into() });
//! assert_eq!(host.run(import_file, job), Ok(Imported { bytes: 5 }));
//! assert_eq!(host.blob_bytes("files", "a.txt").as_deref(), Some(&b"hello"[..]));
//!
//! // The way a job comes in: by name, as bytes.
//! let job = testing::bytes(*br#"{"url": "https://example.com/a.txt"}"#).name("import-file");
//! assert_eq!(
//!     host.dispatch(&PLUGIN, job),
//!     Err(Failure::invalid("payload: missing field `key` at line 1 column 36"))
//! );
//! # }
//! ```
//!
//! Build it with `cargo build --target wasm32-wasip2`; nothing else is needed. A component imports only what its handlers
//! call, and the operator grants each import by name.
//!
//! - What a handler is given and what it answers: [`Job`], [`Payload`], [`Output`], [`Failure`].
//! - What it can ask of the host: [`context`], [`cache`], [`kv`], [`blobs`], [`secrets`], [`publish`], [`jobs`], [`config`],
//!   [`http`]; all of them answer [`HostError`] or [`http::HttpError`] when they refuse.
//! - How it is tested: [`testing`].
#![cfg_attr(
    target_family = "wasm",
    allow(rustdoc::broken_intra_doc_links, reason = "`testing` is native only")
)]

pub mod blobs;
pub mod cache;
pub mod config;
pub mod context;
mod decode;
mod error;
mod failure;
pub mod http;
mod job;
pub mod jobs;
pub mod kv;
mod payload;
mod plugin;
pub mod prelude;
pub mod publish;
pub mod secrets;
pub mod time;

#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod cell;
#[cfg(not(target_family = "wasm"))]
pub mod testing;

// The two hosts have the same functions: the real one behind the component's imports, and one in memory.
#[cfg(target_family = "wasm")]
use cell::imports as host;
#[cfg(not(target_family = "wasm"))]
use testing::memory as host;

pub use error::HostError;
pub use failure::{Failure, OrFatal};
pub use job::{Header, Job};
pub use jobcell_sdk_macros::{handler, plugin};
pub use payload::{Output, Payload, Raw};
#[doc(hidden)]
pub use plugin::call;
pub use plugin::{Handler, Plugin};

/// Nothing to export natively; a test calls the plugin itself.
#[cfg(not(target_family = "wasm"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __export_component {
    ($plugin:path, $manifest:literal) => {};
}
