//! Names, and beginnings of names followed by `*`: which covers which, and what two have in common.

/// What covers every name.
pub(crate) const EVERY: &str = "*";

/// Whether every name that `narrow` covers is covered by `wide`.
pub(crate) fn covers(wide: &str, narrow: &str) -> bool {
    match (wide.strip_suffix('*'), narrow.strip_suffix('*')) {
        (None, None) => wide == narrow,
        (None, Some(_)) => false,
        (Some(start), None) => narrow.starts_with(start),
        (Some(start), Some(narrow)) => narrow.starts_with(start),
    }
}

/// The names that both cover: the narrower of the two, or none.
pub(crate) fn meet<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    if covers(one, other) {
        Some(other)
    } else if covers(other, one) {
        Some(one)
    } else {
        None
    }
}

pub(crate) fn is_covered(by: &[String], name: &str) -> bool {
    by.iter().any(|by| covers(by, name))
}

/// Of granted names those that are wanted.
#[must_use]
pub fn narrow(granted: &[String], wanted: &[String]) -> Vec<String> {
    let mut narrowed: Vec<String> = Vec::new();
    for granted in granted {
        for name in wanted.iter().filter_map(|wanted| meet(granted, wanted)) {
            if !is_covered(&narrowed, name) {
                narrowed.push(name.to_owned());
            }
        }
    }
    narrowed
}
