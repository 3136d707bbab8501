//! What a form says.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::shown::Fault;

/// The fields of a form that was sent, in order. `visit` has read them, and looked at the proof among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

/// Fields of a form.
const FIELDS_MAX: usize = 4096;

impl Fields {
    pub(super) fn read(body: &[u8]) -> Self {
        Self(form_urlencoded::parse(body).into_owned().take(FIELDS_MAX).collect())
    }

    /// The text of a field; empty when it is not there.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The trimmed text of a field that was filled in.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        Some(self.text(name).trim()).filter(|text| !text.is_empty())
    }

    /// Every value of a field.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether a box was ticked.
    pub(super) fn is_ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// A whole number that was filled in.
    ///
    /// # Errors
    /// Names the field by what the form calls it.
    pub(super) fn number(&self, name: &str, label: &str) -> Result<Option<u64>, Fault> {
        self.parsed(name, label, "a whole number")
    }

    /// The same for any kind of value.
    pub(super) fn parsed<T: std::str::FromStr>(
        &self,
        name: &str,
        label: &str,
        kind: &str,
    ) -> Result<Option<T>, Fault> {
        let Some(text) = self.given(name) else { return Ok(None) };
        let parsed = text.parse().map(Some);
        parsed
            .map_err(|_| Fault::bad_request(format!("{label}: {text:?} is not {kind}; go back and mend it")))
    }
}

impl<S: Sync> FromRequestParts<S> for Fields {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_forms_send_them() {
        let fields = Fields::read(b"name=a+b%26c&id=1&id=2&empty=+&n=x7&on=on");
        assert_eq!((fields.text("name"), fields.text("none")), ("a b&c", ""));
        assert_eq!(fields.all("id").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((fields.given("empty"), fields.is_ticked("on")), (None, true));
        assert!(fields.number("n", "Priority").is_err() && fields.number("id", "Id").unwrap() == Some(1));
    }
}
