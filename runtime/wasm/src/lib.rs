//! Cells: runs each attempt of a job in a fresh WebAssembly instance that may touch only what it was granted.
//!
//! The way of a handler: its bytes are admitted ([`Engine::admit`]: shape, imports against grants, compiling), become a
//! [`HandlerRunner`] with its limits and the host's services, and from then on every attempt gets a cell of its own —
//! a store with all bounds set, one call, and away with it.
//!
//! This is the only crate that knows wasmtime. Whatever a guest does becomes an outcome with a cause and a reason;
//! nothing it does reaches the host's other work.

mod admit;
mod blobs;
mod capability;
mod cell;
mod clock;
mod code;
mod compile;
mod compile_cache;
mod cpu;
mod effect;
mod engine;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod grants;
mod http;
mod inspect;
mod interface;
mod job;
mod limits;
mod optimise;
mod redact;
mod runner;
mod secret;
mod services;
mod shape;
mod stdio;
mod stop;
mod strip;
mod template;
mod ticker;
mod usage;
mod validate;
mod warm;
mod world;

pub use admit::{ARTIFACT_BYTES_CEILING, AdmitError, AdmitOptions, Admitted, screen};
pub use blobs::{BlobOption, BlobOptionForm, BlobStore};
pub use compile::child::compiler_entry;
pub use compile::{CompileBound, Compiler, CompilerProcess};
pub use compile_cache::CompileCache;
pub use engine::{Clearing, Engine, EngineConfig, EngineReport, Tier, WASMTIME_VERSION};
pub use error::WasmError;
pub use grants::{Grants, HttpRule, RuleError, SecretGrant};
pub use http::place::RuleSecret;
pub use http::resolve::{Resolver, SystemResolver};
pub use http::send::HttpSender;
pub use inspect::{Description, Import, inspect};
pub use interface::{Need, WIT_VERSION};
pub use limits::{HttpLimits, Limits};
pub use optimise::{OptimiseError, Optimiser};
pub use runner::HandlerRunner;
pub use secret::Secrets;
pub use services::{RangeBucket, RangeJobs, Services};
pub use template::HandlerSpec;
