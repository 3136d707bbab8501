//! What a plugin says of itself into the JSON that hosts read of it: the section `jobcell:manifest` of the component.

use std::fmt::Write as _;

use syn::LitStr;

use crate::check::Faults;
use crate::parse::{Clause, Fact};

/// The version of the contract that the SDK's bindings are made from.
const WIT_VERSION: &str = "0.1.0";
/// What hosts read at most.
const BYTES_MAX: usize = 3 << 10;
/// What is wanted by names alone.
const NAMED: [&str; 4] = ["blobs", "kv", "enqueue", "publish"];

/// The manifest. Where faults are added it is of no use.
pub(crate) fn text(clauses: &[Clause], faults: &mut Faults) -> String {
    let mut text = String::from("{");
    // Cargo tells these of the crate that is being compiled.
    let name = std::env::var("CARGO_PKG_NAME").unwrap_or_else(|_| "handler".to_owned());
    let _ = write!(text, r#""name":"{}""#, plain(&name));
    if let Ok(version) = std::env::var("CARGO_PKG_VERSION") {
        let _ = write!(text, r#","version":"{}""#, plain(&version));
    }
    let sdk = env!("CARGO_PKG_VERSION");
    let _ = write!(text, r#","wit":"{WIT_VERSION}","language":"rust","build":{{"sdk":"{sdk}"}}"#);
    for (at, clause) in clauses.iter().enumerate() {
        let ident = &clause.ident;
        if clauses[..at].iter().any(|earlier| earlier.ident == *ident) {
            faults.at(ident, format!("`{ident}(…)` stands here twice; put everything into one"));
            continue;
        }
        let written = match ident.to_string().as_str() {
            "wants" => wants(&clause.facts, faults),
            "limits" => limits(&clause.facts, faults),
            other => {
                let text = format!(
                    "unknown clause `{other}`; behind its handlers a plugin has `wants(…)` and `limits(…)`"
                );
                faults.at(ident, text);
                continue;
            }
        };
        let _ = write!(text, r#","{ident}":{{{written}}}"#);
    }
    text.push('}');
    if text.len() > BYTES_MAX {
        let fault = format!(
            "the plugin wants so much that its manifest has {} bytes; hosts read {BYTES_MAX}",
            text.len()
        );
        faults.add(syn::Error::new(proc_macro2::Span::call_site(), fault));
    }
    text
}

fn wants(facts: &[Fact], faults: &mut Faults) -> String {
    const KNOWN: &str = "`http(\"URL\", \"METHOD\"…)`, `blobs(\"NAME\"…)`, `cache`, `kv(\"NAME\"…)`, `enqueue(\"NAME\"…)`, \
        `publish(\"NAME\"…)`, `secrets(\"NAME\"…)` and `reveal(\"NAME\"…)`";
    let (mut http, mut secrets, mut fields) = (Vec::new(), Vec::new(), Vec::new());
    for (at, Fact { ident, texts, number }) in facts.iter().enumerate() {
        let want = ident.to_string();
        if want != "http" && facts[..at].iter().any(|earlier| earlier.ident == want) {
            faults.at(ident, format!("`{want}` stands here twice; put its names together"));
        }
        if let Some(number) = number {
            faults.at(number, format!("a want has no value; a plugin can want {KNOWN}"));
        }
        let quoted: Vec<String> = texts.iter().map(|text| quoted(text, faults)).collect();
        match (want.as_str(), quoted.as_slice()) {
            ("cache", []) => fields.push(r#""cache":true"#.to_owned()),
            ("http", [url]) => http.push(url.clone()),
            ("http", [url, methods @ ..]) => {
                http.push(format!(r#"{{"url":{url},"methods":[{}]}}"#, methods.join(",")));
            }
            ("secrets", [_, ..]) => secrets.extend(quoted),
            ("reveal", [_, ..]) => {
                secrets.extend(quoted.iter().map(|name| format!(r#"{{"name":{name},"reveal":true}}"#)));
            }
            (named, [_, ..]) if NAMED.contains(&named) => {
                fields.push(format!(r#""{named}":[{}]"#, quoted.join(",")));
            }
            _ => faults.at(ident, format!("`{want}` is no want of this form; a plugin can want {KNOWN}")),
        }
    }
    for (field, list) in [("http", http), ("secrets", secrets)] {
        if !list.is_empty() {
            fields.push(format!(r#""{field}":[{}]"#, list.join(",")));
        }
    }
    fields.join(",")
}

fn limits(facts: &[Fact], faults: &mut Faults) -> String {
    let mut fields = Vec::new();
    for Fact { ident, texts, number } in facts {
        let field = match ident.to_string().as_str() {
            "memory_bytes" => Some("memoryBytes"),
            "deadline_ms" => Some("deadlineMs"),
            "stack_bytes" => Some("stackBytes"),
            _ => None,
        };
        let number = number.as_ref().and_then(|number| number.base10_parse::<u64>().ok());
        match (field, number, texts.is_empty()) {
            (Some(field), Some(number @ 1..), true) => fields.push(format!(r#""{field}":{number}"#)),
            _ => faults.at(
                ident,
                "a plugin says as limits what an attempt needs: `memory_bytes = 67108864`, `deadline_ms = 30000` and \
                 `stack_bytes = 1048576`",
            ),
        }
    }
    fields.join(",")
}

/// The text as JSON. What would need escaping there is in no name, URL or method.
fn quoted(text: &LitStr, faults: &mut Faults) -> String {
    let value = text.value();
    if value.is_empty() || value.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        faults.at(text, "a name is not empty and holds no control characters, quotes or backslashes");
    }
    format!("\"{value}\"")
}

fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.+".contains(c) { c } else { '-' };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse::WrittenPlugin;

    /// The manifest, or every fault.
    fn of(written: &str) -> Result<String, Vec<String>> {
        let WrittenPlugin { clauses, .. } = syn::parse_str(written).expect("the shape of a plugin");
        let mut faults = Faults::default();
        let text = text(&clauses, &mut faults);
        let told = |fault: syn::Error| fault.into_iter().map(|one| one.to_string()).collect();
        faults.into_result(text).map_err(told)
    }

    #[test]
    fn a_plugin_says_who_it_is_what_it_wants_and_what_it_needs() {
        let version = env!("CARGO_PKG_VERSION");
        let who = format!(
            r#"{{"name":"jobcell-sdk-macros","version":"{version}","wit":"0.1.0","language":"rust","build":{{"sdk":"{version}"}}"#
        );
        assert_eq!(of("resize, images::crop"), Ok(format!("{who}}}")));
        let written = r#"resize,; wants(http("https://a.example/v1/*", "GET", "PUT"), http("*"), cache, kv("media"),
            secrets("stripe"), reveal("other")); limits(memory_bytes = 67_108_864, deadline_ms = 30000, stack_bytes = 1048576);"#;
        let wants = r#""wants":{"cache":true,"kv":["media"],"http":[{"url":"https://a.example/v1/*","methods":["GET","PUT"]},"*"],"secrets":["stripe",{"name":"other","reveal":true}]}"#;
        let limits = r#""limits":{"memoryBytes":67108864,"deadlineMs":30000,"stackBytes":1048576}"#;
        assert_eq!(of(written), Ok(format!("{who},{wants},{limits}}}")));
        assert_eq!(of("resize; wants()"), Ok(format!("{who},\"wants\":{{}}}}")), "which is to want nothing");
    }

    #[test]
    fn more_than_hosts_read_is_refused_while_it_can_still_be_shortened() {
        let long = format!(r#"resize; wants(kv("{}"))"#, "x".repeat(BYTES_MAX));
        assert!(of(&long).expect_err("too long")[0].contains("hosts read 3072"));
    }

    #[test]
    fn the_contract_is_the_one_that_the_bindings_are_made_from() {
        let wit = include_str!("../../../wit/types.wit");
        assert!(wit.contains(&format!("package jobcell:job@{WIT_VERSION};")));
    }
}
