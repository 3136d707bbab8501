//! JSON as people read it: indented, coloured, escaped. Numbers and strings stay as they were written.

use maud::{Markup, PreEscaped, html};

/// Characters that are shown of one value: a page stays usable whatever a payload is.
const SHOWN_MAX: usize = 200_000;
/// Levels that are indented.
const DEPTH_MAX: usize = 64;
/// Bytes of markup that one value may become; what is left is shown as it is.
const MARKUP_MAX: usize = 4 << 20;

/// A value, in a box with a button to copy it.
pub(super) fn block(id: &str, text: &str) -> Markup {
    let is_cut = text.len() > SHOWN_MAX;
    html! {
        pre.code #(id) tabindex="0" { (pretty(cut(text))) }
        @if is_cut {
            footer { "Only the first " (super::units::bytes(SHOWN_MAX as u64)) " of " (super::units::bytes(text.len() as u64)) " are shown." }
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_MAX)]
}

/// The text of a value with line breaks and colours. What is no JSON is shown as it is.
pub(super) fn pretty(text: &str) -> Markup {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0_usize;
    let mut rest = text.trim();
    while let Some(first) = rest.chars().next() {
        if out.len() > MARKUP_MAX {
            escape(&mut out, rest);
            break;
        }
        let taken = match first {
            '"' => {
                let end = string_end(rest);
                let is_key = rest[end..].trim_start().starts_with(':');
                mark(&mut out, if is_key { "k" } else { "s" }, &rest[..end]);
                end
            }
            '{' | '[' => {
                let after = rest[1..].trim_start();
                if after.starts_with(['}', ']']) {
                    escape(&mut out, &rest[..1]);
                    escape(&mut out, &after[..1]);
                    rest.len() - after.len() + 1
                } else {
                    depth += 1;
                    out.push(first);
                    line(&mut out, depth);
                    1
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(first);
                1
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
                1
            }
            ':' => {
                out.push_str(": ");
                1
            }
            blank if blank.is_ascii_whitespace() => 1,
            _ => {
                let end = rest
                    .find([',', '}', ']', ':', '"', ' ', '\n', '\t', '\r'])
                    .unwrap_or(rest.len())
                    .max(first.len_utf8());
                let class = if first.is_ascii_digit() || first == '-' { "n" } else { "l" };
                mark(&mut out, class, &rest[..end]);
                end
            }
        };
        rest = &rest[taken..];
    }
    PreEscaped(out)
}

/// The end of the string that this begins with, its closing quote included.
fn string_end(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth.min(DEPTH_MAX)));
}

fn mark(out: &mut String, class: &str, text: &str) {
    out.push_str("<span class=\"");
    out.push_str(class);
    out.push_str("\">");
    escape(out, text);
    out.push_str("</span>");
}

fn escape(out: &mut String, text: &str) {
    out.push_str(&html! { (text) }.into_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> String {
        let marked = pretty(text).into_string();
        let mut out = String::new();
        let mut is_tag = false;
        for c in marked.chars() {
            match c {
                '<' => is_tag = true,
                '>' => is_tag = false,
                c if !is_tag => out.push(c),
                _ => {}
            }
        }
        out
    }

    #[test]
    fn values_are_indented_and_numbers_stay_as_they_are() {
        assert_eq!(
            plain(r#"{"a":1.50,"b":[],"c":[true,null]}"#),
            "{\n  &quot;a&quot;: 1.50,\n  &quot;b&quot;: [],\n  &quot;c&quot;: [\n    true,\n    null\n  ]\n}"
        );
        assert_eq!(plain("123456789012345678901234567890"), "123456789012345678901234567890");
    }

    #[test]
    fn nothing_in_a_payload_becomes_markup() {
        for hostile in [
            r#"{"<script>alert(1)</script>":"</pre><img src=x onerror=alert(1)>"}"#,
            r#""\"><script>""#,
            "<script>alert(1)</script>",
            "{<b>:<i>}",
            r#"{"a":"unclosed <script>"#,
            "[<",
        ] {
            let marked = pretty(hostile).into_string();
            let tags: Vec<_> = marked.match_indices('<').map(|(at, _)| &marked[at..]).collect();
            assert!(
                tags.iter().all(|tag| tag.starts_with("<span class=\"") || tag.starts_with("</span>")),
                "{marked}"
            );
        }
    }

    #[test]
    fn whatever_it_is_it_ends() {
        for odd in ["", "{", "]]]]", "\"", "\\", ":,:,", "é", "{\"é\":ü}", "\u{0}"] {
            let _ = pretty(odd).into_string();
        }
        let deep = "[".repeat(100_000);
        assert!(pretty(&deep).into_string().len() < MARKUP_MAX + 200_000);
    }
}
