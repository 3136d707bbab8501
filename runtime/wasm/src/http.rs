//! Outgoing HTTP: which requests may leave ([`rule`]), which addresses may be reached ([`address`]), and how a request
//! that may leave is sent ([`send`]). [`hooks`] joins them to `wasi:http`.

pub(crate) mod address;
pub(crate) mod body;
pub(crate) mod budget;
pub(crate) mod hooks;
pub(crate) mod rule;
pub(crate) mod send;
pub(crate) mod substitute;
pub(crate) mod tls;
