//! Tokens into what was written.

use proc_macro2::TokenStream;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Ident, ItemFn, LitInt, LitStr, Path, Result, Token, parenthesized, token};

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

/// A plugin as written: `resize, thumbnail; wants(cache, kv("media")); limits(deadline_ms = 5000)`.
pub(crate) struct WrittenPlugin {
    pub(crate) handlers: Vec<Path>,
    pub(crate) clauses: Vec<Clause>,
}

/// `wants(…)` or `limits(…)`, or something unknown of the same shape.
pub(crate) struct Clause {
    pub(crate) ident: Ident,
    pub(crate) facts: Vec<Fact>,
}

/// `cache`, `kv("media")` or `deadline_ms = 5000`.
pub(crate) struct Fact {
    pub(crate) ident: Ident,
    pub(crate) texts: Vec<LitStr>,
    pub(crate) number: Option<LitInt>,
}

impl Parse for WrittenPlugin {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut handlers = Vec::new();
        while !input.is_empty() && !input.peek(Token![;]) {
            handlers.push(input.parse()?);
            if !input.is_empty() && !input.peek(Token![;]) {
                input.parse::<Token![,]>()?;
            }
        }
        let mut clauses = Vec::new();
        while input.parse::<Option<Token![;]>>()?.is_some() && !input.is_empty() {
            clauses.push(input.parse()?);
        }
        Ok(Self { handlers, clauses })
    }
}

impl Parse for Clause {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let (ident, content) = (input.parse()?, parenthesised(input)?);
        let facts = Punctuated::<Fact, Token![,]>::parse_terminated(&content)?;
        Ok(Self { ident, facts: facts.into_iter().collect() })
    }
}

impl Parse for Fact {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let ident = input.parse()?;
        let mut texts = Vec::new();
        if input.peek(token::Paren) {
            let content = parenthesised(input)?;
            texts.extend(Punctuated::<LitStr, Token![,]>::parse_terminated(&content)?);
        }
        let number = match input.parse::<Option<Token![=]>>()? {
            Some(_) => Some(input.parse()?),
            None => None,
        };
        Ok(Self { ident, texts, number })
    }
}

fn parenthesised<'a>(input: ParseStream<'a>) -> Result<syn::parse::ParseBuffer<'a>> {
    let content;
    parenthesized!(content in input);
    Ok(content)
}

pub(crate) fn plugin(input: TokenStream) -> Result<WrittenPlugin> {
    syn::parse2(input)
}
