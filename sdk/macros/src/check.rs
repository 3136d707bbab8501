//! What was written into what was meant, or into every fault at once.

use proc_macro2::Span;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::{Error, FnArg, GenericArgument, ItemFn, Path, PathArguments, Result, ReturnType, Signature, Type};

use crate::manifest;
use crate::parse::{Key, Written, WrittenPlugin};

/// What a handler looks like; every fault of a signature shows it.
pub(crate) const SIGNATURE: &str = "fn name(job: Job<Payload>) -> Result<Output, Failure>";

/// A sound handler.
pub(crate) struct Handler {
    /// `None` takes any name.
    pub(crate) name: Option<String>,
    pub(crate) function: ItemFn,
}

/// The sound, distinct paths of a plugin, at least one, and what it says of itself.
pub(crate) struct Plugin {
    pub(crate) handlers: Vec<Path>,
    pub(crate) manifest: String,
}

/// Collects faults, so that one compilation shows them all.
#[derive(Default)]
pub(crate) struct Faults(Option<Error>);

impl Faults {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    pub(crate) fn at(&mut self, tokens: impl ToTokens, text: impl std::fmt::Display) {
        self.add(Error::new_spanned(tokens, text));
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}

// === handler ===

pub(crate) fn handler(written: Written) -> Result<Handler> {
    let Written { keys, function } = written;
    let mut faults = Faults::default();
    let name = job_name(&keys, &function, &mut faults);
    check_qualifiers(&function.sig, &mut faults);
    check_arguments(&function.sig, &mut faults);
    if let ReturnType::Default = function.sig.output {
        faults.at(&function.sig, format!("a handler answers with a result: {SIGNATURE}"));
    }
    faults.into_result(Handler { name, function })
}

/// The name that the keys say, or the function's own.
fn job_name(keys: &[Key], function: &ItemFn, faults: &mut Faults) -> Option<String> {
    let (mut named, mut any) = (None, false);
    for Key { ident, value } in keys {
        match (ident.to_string().as_str(), value) {
            ("any" | "name", _) if any || named.is_some() => {
                faults
                    .at(ident, "a handler takes either one name or any: give `name = \"…\"` or `any`, once");
            }
            ("any", None) => any = true,
            ("any", Some(value)) => faults.at(value, "`any` has no value: #[handler(any)]"),
            ("name", Some(value)) if value.value().trim().is_empty() => {
                faults.at(value, "a job name is not empty: #[handler(name = \"verify-payment\")]");
            }
            ("name", Some(value)) => named = Some(value.value()),
            ("name", None) => faults.at(ident, "`name` needs a value: #[handler(name = \"verify-payment\")]"),
            (other, _) => {
                faults.at(ident, format!("unknown key `{other}`; a handler knows `name = \"…\"` and `any`"));
            }
        }
    }
    match any {
        true => None,
        false => Some(named.unwrap_or_else(|| function.sig.ident.unraw().to_string().replace('_', "-"))),
    }
}

fn check_qualifiers(signature: &Signature, faults: &mut Faults) {
    if let Some(asyncness) = signature.asyncness {
        let text = "a handler is not async: a cell runs one job, and host functions wait by themselves";
        faults.at(asyncness, format!("{text}; accepted: {SIGNATURE}"));
    }
    if let Some(unsafety) = signature.unsafety {
        faults.at(unsafety, format!("a handler is not unsafe; accepted: {SIGNATURE}"));
    }
    if let Some(abi) = &signature.abi {
        faults.at(abi, format!("a handler is a plain Rust function; accepted: {SIGNATURE}"));
    }
    if !signature.generics.params.is_empty() {
        let text = "a handler has no generic parameters: the payload's type must be known";
        faults.at(&signature.generics, format!("{text}; accepted: {SIGNATURE}"));
    }
}

fn check_arguments(signature: &Signature, faults: &mut Faults) {
    let mut arguments = signature.inputs.iter();
    match arguments.next() {
        None => faults.at(signature, format!("a handler takes the job: {SIGNATURE}")),
        Some(FnArg::Receiver(receiver)) => {
            faults.at(receiver, format!("a handler is not a method; accepted: {SIGNATURE}"));
        }
        Some(FnArg::Typed(job)) if !is_job(&job.ty) => {
            let text = "a handler takes a `Job<…>` of its payload, or `Job<Raw>` for bytes";
            faults.at(&job.ty, format!("{text}; accepted: {SIGNATURE}"));
        }
        Some(FnArg::Typed(_)) => {}
    }
    for surplus in arguments {
        faults.at(surplus, format!("a handler takes the job and nothing else; accepted: {SIGNATURE}"));
    }
}

/// Is the type spelled `Job<…>`, by whatever path? What stands in the brackets is left to the compiler.
fn is_job(written: &Type) -> bool {
    let Type::Path(path) = written else { return false };
    path.path.segments.last().is_some_and(|last| {
        last.ident == "Job"
            && matches!(&last.arguments, PathArguments::AngleBracketed(brackets)
                if matches!(brackets.args.first(), Some(GenericArgument::Type(_))) && brackets.args.len() == 1)
    })
}

// === plugin ===

pub(crate) fn plugin(written: WrittenPlugin) -> Result<Plugin> {
    let WrittenPlugin { handlers, clauses } = written;
    let mut faults = Faults::default();
    if handlers.is_empty() {
        let text = "a plugin has at least one handler: plugin!(resize, thumbnail)";
        faults.add(Error::new(Span::call_site(), text));
    }
    for (at, path) in handlers.iter().enumerate() {
        let spelled = spell(path);
        if handlers[..at].iter().any(|earlier| spell(earlier) == spelled) {
            faults.at(path, format!("the handler `{spelled}` is listed twice"));
        }
        if path.segments.iter().any(|segment| !segment.arguments.is_none()) {
            faults.at(path, "a handler is named by its path alone, without generic arguments");
        }
    }
    let manifest = manifest::text(&clauses, &mut faults);
    faults.into_result(Plugin { handlers, manifest })
}

/// The path as people write it.
pub(crate) fn spell(path: &Path) -> String {
    path.to_token_stream().to_string().replace(' ', "")
}
