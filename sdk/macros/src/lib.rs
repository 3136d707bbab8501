//! The `#[handler]` attribute and the `plugin!` macro of jobcell-sdk; both are documented there with examples.
//!
//! Each is three steps in three files: `parse` reads tokens into what was written, `check` turns that into what was
//! meant or into every fault at once, `expand` writes code for it and cannot fail.

mod check;
mod expand;
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
#[proc_macro]
pub fn plugin(input: TokenStream) -> TokenStream {
    parse::plugin(input.into())
        .and_then(check::plugin)
        .map_or_else(|faults| faults.to_compile_error(), |plugin| expand::plugin(&plugin))
        .into()
}
