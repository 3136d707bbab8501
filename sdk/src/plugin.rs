//! Several handlers behind one entry: which one runs a job.

use crate::failure::Failure;
use crate::job::Job;
use crate::payload::{Output, Payload, Raw};

/// What [`crate::handler`] writes beside a function, and [`crate::plugin`] collects.
#[derive(Clone, Copy, Debug)]
pub struct Handler {
    /// The job name it takes, exactly; `None` takes every name that no other handler has.
    pub name: Option<&'static str>,
    /// Decodes the payload, runs the function, encodes the result.
    pub call: fn(Job<Raw>) -> Result<Vec<u8>, Failure>,
}

impl Handler {
    /// Can both be in one plugin?
    #[doc(hidden)]
    pub const fn differs(&self, other: &Self) -> bool {
        match (self.name, other.name) {
            (Some(one), Some(other)) => !same(one.as_bytes(), other.as_bytes()),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        }
    }
}

/// The handlers of one component.
#[derive(Clone, Copy, Debug)]
pub struct Plugin {
    handlers: &'static [Handler],
}

impl Plugin {
    /// Collects the handlers; use [`crate::plugin`], which also makes the component.
    ///
    /// # Panics
    /// When two handlers take the same name, or two take any name. In a constant that is a compile error.
    pub const fn new(handlers: &'static [Handler]) -> Self {
        let mut left = 0;
        while left < handlers.len() {
            let mut right = left + 1;
            while right < handlers.len() {
                if !handlers[left].differs(&handlers[right]) {
                    panic!("two handlers of this plugin take the same job name");
                }
                right += 1;
            }
            left += 1;
        }
        Self { handlers }
    }

    /// The job names it takes, in the order they were given, without the one that takes any.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.handlers.iter().filter_map(|handler| handler.name)
    }

    /// Runs the handler that takes the job's name.
    ///
    /// # Errors
    /// [`Failure::Invalid`] when there is none, naming the job's name and those that there are; otherwise whatever
    /// decoding, the handler or encoding answers.
    pub fn dispatch(&self, job: Job<Raw>) -> Result<Vec<u8>, Failure> {
        let exact = self.handlers.iter().find(|handler| handler.name == Some(job.name.as_str()));
        match exact.or_else(|| self.handlers.iter().find(|handler| handler.name.is_none())) {
            Some(handler) => (handler.call)(job),
            None => Err(self.unknown(&job.name)),
        }
    }

    #[cold]
    fn unknown(&self, name: &str) -> Failure {
        let names: Vec<String> = self.names().map(|name| format!("`{name}`")).collect();
        Failure::Invalid(format!(
            "no handler takes jobs named `{name}`; this plugin has {}",
            names.join(", ")
        ))
    }
}

/// Runs a typed function on an untyped job; what [`Handler::call`] does.
#[doc(hidden)]
pub fn call<T: Payload, O: Output>(
    handler: impl FnOnce(Job<T>) -> Result<O, Failure>,
    job: Job<Raw>,
) -> Result<Vec<u8>, Failure> {
    handler(job.decode()?)?.encode()
}

/// Equality of bytes, which constants cannot ask of slices.
const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}
