//! JSON in one spelling: members by name, no space, texts with the fewest escapes, as RFC 8785 has it. Numbers stay as they
//! are written, unlike there: as floats, long ids would become equal that are not.

use std::ops::Range;

/// The deepest nesting that is looked into.
const DEPTH_MAX: usize = 128;

/// The one spelling of this valid JSON. None when it is nested too deeply, or has a text that is no text.
pub(super) fn canonical(text: &str) -> Option<String> {
    let mut writer = Writer { text, at: 0, out: String::with_capacity(text.len()) };
    writer.value(0)?;
    Some(writer.out)
}

struct Writer<'a> {
    text: &'a str,
    at: usize,
    out: String,
}

impl<'a> Writer<'a> {
    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        self.at += rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        self.text.as_bytes().get(self.at).copied()
    }

    fn eat(&mut self, expected: u8) -> Option<()> {
        let is_next = self.peek()? == expected;
        self.at += usize::from(is_next);
        is_next.then_some(())
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.list(depth),
            b'"' => {
                let text = self.string()?;
                quote(&text, &mut self.out)
            }
            _ => {
                let rest = &self.text[self.at..];
                let is_end = |c: char| c.is_ascii_whitespace() || matches!(c, ',' | ']' | '}');
                let word = &rest[..rest.find(is_end).unwrap_or(rest.len())];
                self.at += word.len();
                self.out.push_str(word);
                (!word.is_empty()).then_some(())
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<()> {
        self.eat(b'[')?;
        self.out.push('[');
        let mut is_first = true;
        while self.peek()? != b']' {
            if !std::mem::take(&mut is_first) {
                self.eat(b',')?;
                self.out.push(',');
            }
            self.value(depth + 1)?;
        }
        self.out.push(']');
        self.eat(b']')
    }

    fn object(&mut self, depth: usize) -> Option<()> {
        self.eat(b'{')?;
        let start = self.out.len();
        let mut members: Vec<(String, Range<usize>)> = Vec::new();
        while self.peek()? != b'}' {
            if !members.is_empty() {
                self.eat(b',')?;
                self.peek()?;
            }
            let name = self.string()?;
            self.eat(b':')?;
            let from = self.out.len() - start;
            self.value(depth + 1)?;
            members.push((name, from..self.out.len() - start));
        }
        self.eat(b'}')?;
        let values = self.out.split_off(start);
        // Members of one name keep their order: which of them counts is the handler's matter.
        members.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (n, (name, value)) in members.into_iter().enumerate() {
            self.out.push(if n == 0 { '{' } else { ',' });
            quote(&name, &mut self.out)?;
            self.out.push(':');
            self.out.push_str(&values[value]);
        }
        if self.out.len() == start {
            self.out.push('{');
        }
        self.out.push('}');
        Some(())
    }

    fn string(&mut self) -> Option<String> {
        let bytes = self.text.as_bytes();
        if bytes.get(self.at) != Some(&b'"') {
            return None;
        }
        let mut end = self.at + 1;
        while *bytes.get(end)? != b'"' {
            end += 1 + usize::from(bytes[end] == b'\\');
        }
        let token = &self.text[self.at..=end];
        self.at = end + 1;
        serde_json::from_str(token).ok()
    }
}

fn quote(text: &str, out: &mut String) -> Option<()> {
    out.push_str(&serde_json::to_string(text).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_one_spelling() {
        for (text, one) in [
            (" { } ", "{}"),
            ("[ ]", "[]"),
            (
                r#"{"b":{"d":1,"c":[true , null]},"a":"\u0041\/\n"}"#,
                r#"{"a":"A/\n","b":{"c":[true,null],"d":1}}"#,
            ),
            (r#"{"a":1,"a":0}"#, r#"{"a":1,"a":0}"#),
            ("-1.50e3", "-1.50e3"),
            (r#""a\"b\\""#, r#""a\"b\\""#),
            (r#"{"é":1,"e":2}"#, r#"{"e":2,"é":1}"#),
            ("[[1,[]],{\"x\":[]}]", "[[1,[]],{\"x\":[]}]"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(one), "{text}");
        }
    }

    /// Some JSON by a seed, which is used up on the way.
    fn some(seed: &mut u64, depth: usize) -> serde_json::Value {
        let mut next = |choices: u64| {
            *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (*seed >> 33) % choices
        };
        let text = |n: u64| {
            ["", "a", "b\\", "\"é\n", "😀", "\u{7f}\u{1}", "a/b", "{[,:]}"][n as usize % 8].to_owned()
        };
        match next(if depth == 0 { 4 } else { 6 }) {
            0 => serde_json::Value::Null,
            1 => (next(2) == 0).into(),
            2 => next(1 << 31).into(),
            3 => text(next(8)).into(),
            4 => {
                let length = next(4);
                (0..length).map(|_| some(seed, depth - 1)).collect()
            }
            _ => {
                let names: Vec<String> = (0..next(4)).map(|_| text(next(8))).collect();
                names.into_iter().map(|name| (name, some(seed, depth - 1))).collect()
            }
        }
    }

    #[test]
    fn all_spellings_of_a_value_become_one_that_means_the_same() {
        let mut seed = 7;
        for _ in 0..2_000 {
            let value = some(&mut seed, 5);
            let one = canonical(&value.to_string()).unwrap();
            assert_eq!(canonical(&serde_json::to_string_pretty(&value).unwrap()), Some(one.clone()));
            assert_eq!(canonical(&one), Some(one.clone()), "it is one of itself");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&one).unwrap(), value);
        }
    }

    #[test]
    fn what_it_cannot_follow_it_leaves() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(canonical(&nested(DEPTH_MAX)), Some(nested(DEPTH_MAX)));
        assert_eq!(canonical(&nested(DEPTH_MAX + 1)), None);
        assert_eq!(canonical(r#""\ud800""#), None, "half a character");
    }

    #[test]
    fn what_is_no_json_does_no_harm() {
        for text in
            ["", "{", "[", "\"", "\"\\", "{\"a\"", "{\"a\":", "[1,", "{1:2}", "[,]", "]", "{\"a\":1 \"b\":2}"]
        {
            assert_eq!(canonical(text), None, "{text}");
        }
    }
}
