//! The inside of a cell: bindings made from the project's WIT, and the component's one export.
//!
//! Only what a handler calls is imported: an interface of which no function is reachable is dropped when the
//! component is made, so a plugin never asks for grants that it does not use.

pub(crate) mod imports;

use std::time::Duration;

use crate::failure::Failure;
use crate::job::{Header, Job};
use crate::payload::Raw;
use crate::plugin::Plugin;
use crate::time::whole_ms;

/// Generated from `wit/`. The export macro is used through [`crate::plugin`] only.
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "jobcell:job/handler",
        pub_export_macro: true,
        export_macro_name: "export_handler",
        default_bindings_module: "jobcell_sdk::cell::bindings",
    });
}

pub use bindings::Guest;
pub use bindings::jobcell::job::types;

/// Runs one attempt: what the component's `handle` does.
///
/// # Errors
/// Whatever the plugin answers, in the WIT's words.
pub fn run(plugin: &Plugin, job: types::Job) -> Result<Vec<u8>, types::Failure> {
    plugin.dispatch(receive(job)).map_err(answer)
}

fn receive(job: types::Job) -> Job<Raw> {
    let types::Job {
        id,
        queue,
        name,
        data,
        attempt,
        max_attempts,
        starts,
        stalls,
        enqueued_at,
        deadline,
        idempotency_key,
        tenant,
        parent,
        headers,
    } = job;
    Job {
        id,
        queue,
        name,
        data: Raw(data),
        attempt,
        max_attempts,
        starts,
        stalls,
        enqueued_at,
        deadline,
        idempotency_key,
        tenant,
        parent,
        headers: headers.into_iter().map(|types::Header { name, value }| Header { name, value }).collect(),
    }
}

#[cold]
fn answer(failure: Failure) -> types::Failure {
    match failure {
        Failure::Retry(reason) => types::Failure::Retry(reason),
        Failure::RetryAfter { reason, delay } => retry_after(reason, delay),
        Failure::Fatal(reason) => types::Failure::Fatal(reason),
        Failure::Invalid(reason) => types::Failure::Invalid(reason),
        Failure::RateLimited(rest) => types::Failure::RateLimited(whole_ms(rest)),
        Failure::DelayUntil(when_ms) => types::Failure::DelayUntil(when_ms),
        Failure::Requeue => types::Failure::Requeue,
        Failure::WaitForChildren => types::Failure::WaitForChildren,
        Failure::Other(reason) => types::Failure::Other(reason),
    }
}

fn retry_after(reason: String, delay: Duration) -> types::Failure {
    types::Failure::RetryAfter(types::DelayedRetry { reason, delay_ms: whole_ms(delay) })
}

/// Makes the crate that uses it a component around a plugin.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_component {
    ($plugin:path, $manifest:literal) => {
        const _: () = {
            // A custom section: it takes no memory, and nothing in the cell can read it.
            #[used]
            #[unsafe(link_section = "jobcell:manifest")]
            static MANIFEST: [u8; $manifest.len()] = *$manifest;

            struct Component;

            impl $crate::cell::Guest for Component {
                fn handle(
                    job: $crate::cell::types::Job,
                ) -> ::core::result::Result<::std::vec::Vec<u8>, $crate::cell::types::Failure> {
                    $crate::cell::run(&$plugin, job)
                }
            }

    $crate::cell::bindings::export_handler!(Component with_types_in $crate::cell::bindings);
        };
    };
}
