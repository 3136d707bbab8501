//! Cells from the outside: real guests and hand-made hostile ones, through the same calls that the host makes.

mod admission;
mod capabilities;
mod compile_cache;
mod http;
mod outcomes;
mod stops;
mod support;
