//! Versions as programs print them.

use std::fmt;

/// Major and minor; nothing here depends on more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// The first `number.number` in the text: `v20.20.2`, `Redis server v=7.0.15 sha=…`.
    pub(crate) fn find(text: &str) -> Option<Self> {
        text.split(|c: char| !(c.is_ascii_digit() || c == '.')).find_map(|word| {
            let mut parts = word.split('.');
            let major = parts.next()?.parse().ok()?;
            let minor = parts.next()?.parse().ok()?;
            Some(Self(major, minor))
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_where_programs_put_them() {
        assert_eq!(Version::find("v20.20.2\n"), Some(Version(20, 20)));
        assert_eq!(Version::find("Redis server v=7.0.15 sha=00000000:0 bits=64"), Some(Version(7, 0)));
        assert_eq!(Version::find("no numbers"), None);
        assert!(Version(6, 2) <= Version(7, 0) && Version(18, 0) > Version(16, 20));
    }
}
