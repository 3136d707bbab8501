//! Cells from the outside: real guests and hand-made hostile ones, through the same calls that the host makes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed, wherever in its helpers")]

mod admission;
mod baseline;
mod capabilities;
mod compile_cache;
mod compiling;
mod effects;
mod http;
mod http_peers;
mod http_ssrf;
mod http_tls;
mod keys;
mod keyvalue;
mod limits;
mod outcomes;
mod ranges;
mod secrets;
mod stacks;
mod stops;
mod support;
