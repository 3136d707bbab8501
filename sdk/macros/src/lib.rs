//! The `#[handler]` attribute and the `plugin!` macro of jobcell-sdk; both are documented there with examples.
//!
//! Each is three steps in three files: `parse` reads tokens into what was written, `check` turns that into what was
//! meant or into every fault at once (`manifest` what a plugin says of itself), `expand` writes code for it and cannot
//! fail.

mod check;
mod expand;
mod manifest;
mod parse;

use proc_macro::TokenStream;

/// Makes a plain function a handler of jobs.
///
/// The function stays what it is and can be called and tested as such. It must look like this:
///
/// ```text
/// fn name(job: Job<Payload>) -> Result<Output, Failure>
/// ```
///
/// It takes the jobs that bear its own name, with `-` for `_`; `#[handler(name = "verify-payment")]` says another one,
/// and `#[handler(any)]` takes every name that no other handler of the plugin has.
#[proc_macro_attribute]
pub fn handler(attributes: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    parse::handler(attributes.into(), item.clone())
        .and_then(check::handler)
        .map_or_else(|faults| expand::faulty_handler(&faults, &item), |handler| expand::handler(&handler))
        .into()
}

/// Makes the crate a component of these handlers: `plugin!(resize, images::thumbnail);`, once, at the root of the
/// crate.
///
/// Each is named by the path to the function itself, not by a shorter name that a `use` gave it. The macro also makes
/// `pub const PLUGIN: jobcell_sdk::Plugin`, for tests of the whole.
///
/// The component bears a manifest that hosts and operators read: the crate's name and version, and behind the handlers,
/// where it says so, what it wants to touch and what an attempt needs:
///
/// ```text
/// plugin!(
///     verify_payment;
///     wants(http("https://api.stripe.com/v1/*", "GET"), kv("payment"), cache, secrets("stripe-webhook"));
///     limits(memory_bytes = 67108864, deadline_ms = 30000, stack_bytes = 1048576);
/// );
/// ```
///
/// A version may touch what it wants *and* the operator grants. Without `wants(…)` it wants everything that it imports.
/// A name may be a beginning followed by `*`; `reveal("…")` is a secret that the handler has to see.
#[proc_macro]
pub fn plugin(input: TokenStream) -> TokenStream {
    parse::plugin(input.into())
        .and_then(check::plugin)
        .map_or_else(|faults| faults.to_compile_error(), |plugin| expand::plugin(&plugin))
        .into()
}
