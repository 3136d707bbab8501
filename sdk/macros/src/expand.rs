//! What was meant into code. Everything is named from the root of `jobcell_sdk`, so that nothing needs importing.

use proc_macro2::{Literal, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, Path};

use crate::check::{Handler, Plugin, spell};

/// The constant beside the function, by which `plugin!` finds its handler. The compiler says this name to those who
/// forgot the attribute.
fn beside(function: &Ident) -> Ident {
    format_ident!("__handler_attribute_on_{}", function, span = function.span())
}

pub(crate) fn handler(handler: &Handler) -> TokenStream {
    let Handler { name, function } = handler;
    let (visibility, ident) = (&function.vis, &function.sig.ident);
    let constant = beside(ident);
    let name = match name {
        Some(name) => quote!(::core::option::Option::Some(#name)),
        None => quote!(::core::option::Option::None),
    };
    // A signature that only the compiler can judge is judged here, so its errors point at the signature.
    // The argument is hygienic: the function itself may be called `job`.
    let job = Ident::new("job", Span::mixed_site());
    let call = quote_spanned!(function.sig.output.span()=> |#job| ::jobcell_sdk::call(#ident, #job));
    quote! {
        #function

        #[doc(hidden)]
        #[allow(non_upper_case_globals, reason = "named after the function it stands beside")]
        #visibility const #constant: ::jobcell_sdk::Handler = ::jobcell_sdk::Handler { name: #name, call: #call };
    }
}

/// The faults, and the function as it stands, so that what uses it does not fail as well.
pub(crate) fn faulty_handler(faults: &syn::Error, item: &TokenStream) -> TokenStream {
    let faults = faults.to_compile_error();
    quote!(#faults #item)
}

pub(crate) fn plugin(plugin: &Plugin) -> TokenStream {
    let manifest = Literal::byte_string(plugin.manifest.as_bytes());
    let constants: Vec<Path> = plugin.handlers.iter().map(constant).collect();
    let distinct = plugin.handlers.iter().enumerate().flat_map(|(at, right)| {
        let constants = &constants;
        plugin.handlers[..at].iter().enumerate().map(move |(before, left)| {
            let (left_constant, right_constant) = (&constants[before], &constants[at]);
            let text = format!(
                "the handlers `{}` and `{}` take the same job name; rename one with #[handler(name = \"…\")]",
                spell(left),
                spell(right)
            );
            quote_spanned!(right.span()=> ::core::assert!(#left_constant.differs(&#right_constant), #text);)
        })
    });
    quote! {
        /// The handlers of this component, as its entry dispatches to them.
        pub const PLUGIN: ::jobcell_sdk::Plugin = {
            #(#distinct)*
            ::jobcell_sdk::Plugin::new(&[#(#constants),*])
        };
        ::jobcell_sdk::__export_component!(PLUGIN, #manifest);
    }
}

/// `images::resize` into the path of the constant beside that function.
fn constant(handler: &Path) -> Path {
    let mut path = handler.clone();
    if let Some(last) = path.segments.last_mut() {
        last.ident = beside(&last.ident);
    }
    path
}
