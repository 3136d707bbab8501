//! What is wrong with a request, in words for people who write JSON and not Rust.

/// What a deserializer says, said plainly. Its place in the text is left out: the path is told beside it.
pub(super) fn plain(cause: &str) -> String {
    let cause = match cause.rfind(" at line ") {
        Some(end) => &cause[..end],
        None => cause,
    };
    if let Some(rest) = cause.strip_prefix("unknown field ") {
        return match rest.split_once(", expected ") {
            Some((name, known)) => {
                let known = known.trim_start_matches("one of ");
                format!("there is no {name}; there are {known}")
            }
            None => format!("there is no {}", rest.split(',').next().unwrap_or(rest)),
        };
    }
    if let Some(name) = cause.strip_prefix("missing field ") {
        return format!("{name} is missing");
    }
    if let Some(name) = cause.strip_prefix("duplicate field ") {
        return format!("{name} is given twice");
    }
    for kind in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some((given, wanted)) =
            cause.strip_prefix(kind).and_then(|rest| rest.rsplit_once(", expected "))
        {
            return format!("{} was given where {} is expected", shape(given), wanted_shape(wanted));
        }
    }
    cause.to_owned()
}

/// What was given.
fn shape(given: &str) -> String {
    match given {
        "map" => "an object".to_owned(),
        "sequence" => "an array".to_owned(),
        "unit value" => "null".to_owned(),
        given => given.to_owned(),
    }
}

/// What is expected.
fn wanted_shape(wanted: &str) -> &str {
    match wanted {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "a string" | "str" | "string" => "a text",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        wanted if wanted.starts_with("struct ") => "an object",
        wanted => wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_plainly() {
        for (said, expected) in [
            (
                "unknown field `a`, expected one of `b`, `c` at line 1 column 4",
                "there is no `a`; there are `b`, `c`",
            ),
            ("unknown field `a`, expected `b`", "there is no `a`; there are `b`"),
            ("unknown field `a`, there are no fields", "there is no `a`"),
            ("missing field `name` at line 1 column 2", "`name` is missing"),
            ("duplicate field `name`", "`name` is given twice"),
            (
                "invalid type: map, expected a string at line 2 column 1",
                "an object was given where a text is expected",
            ),
            (
                "invalid type: string \"x, expected y\", expected u64",
                "string \"x, expected y\" was given where a whole number of 0 or more is expected",
            ),
            (
                "invalid value: integer `-1`, expected u64",
                "integer `-1` was given where a whole number of 0 or more is expected",
            ),
            (
                "invalid type: integer `1`, expected struct JobInput",
                "integer `1` was given where an object is expected",
            ),
            ("`count` is -5, and no whole number", "`count` is -5, and no whole number"),
        ] {
            assert_eq!(plain(said), expected);
        }
    }
}
