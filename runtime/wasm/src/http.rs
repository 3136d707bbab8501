//! Outgoing HTTP: which requests may leave ([`rule`], [`path`]), which names lead where ([`resolve`], [`address`]), in
//! which places secrets stand ([`place`], [`substitute`]), and how a request that may leave is sent ([`outgoing`],
//! [`send`]). [`hooks`] joins them to `wasi:http`.
//!
//! Redirects are the guest's: it sees the response, and a request to where it points is decided like any other.

pub(crate) mod address;
pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod failure;
pub(crate) mod hooks;
pub(crate) mod mask;
pub(crate) mod outgoing;
pub(crate) mod path;
pub(crate) mod place;
pub(crate) mod resolve;
pub(crate) mod rule;
pub(crate) mod send;
pub(crate) mod substitute;
mod taped;
pub(crate) mod tls;
