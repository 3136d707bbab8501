//! Tokens into what was written.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Ident, ItemFn, LitStr, Path, Result, Token};

/// A function under `#[handler(…)]`, as written.
pub(crate) struct Written {
    pub(crate) keys: Vec<Key>,
    pub(crate) function: ItemFn,
}

/// One key of the attribute: `any` or `name = "…"`, or something unknown of the same shape.
pub(crate) struct Key {
    pub(crate) ident: Ident,
    pub(crate) value: Option<LitStr>,
}

impl Parse for Key {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let ident = input.parse()?;
        let value = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Self { ident, value })
    }
}

pub(crate) fn handler(attributes: TokenStream, item: TokenStream) -> Result<Written> {
    let keys = Punctuated::<Key, Token![,]>::parse_terminated.parse2(attributes)?;
    let function = syn::parse2(item.clone()).map_err(|_| {
        syn::Error::new_spanned(&item, format!("#[handler] goes on a function: {}", crate::check::SIGNATURE))
    })?;
    Ok(Written { keys: keys.into_iter().collect(), function })
}

pub(crate) fn plugin(input: TokenStream) -> Result<Vec<Path>> {
    let paths = Punctuated::<Path, Token![,]>::parse_terminated.parse2(input)?;
    Ok(paths.into_iter().collect())
}
