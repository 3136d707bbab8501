//! JSON text into values, with the place of a fault.

use serde::de::DeserializeOwned;

/// Decodes a whole JSON text. A fault is told as `presets[1].width: what is wrong at line 1 column 42`; one of the
/// whole, such as the wrong type at its root or text after its end, has no path.
pub(crate) fn from_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    // Following the path costs time on every field, so it is done only for a text known to be faulty.
    serde_json::from_slice(text).map_err(|fault| locate::<T>(text).unwrap_or_else(|| fault.to_string()))
}

/// Reads a faulty text again, this time keeping the path to the fault, if that is inside.
#[cold]
fn locate<T: DeserializeOwned>(text: &[u8]) -> Option<String> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let fault = serde_path_to_error::deserialize::<_, T>(&mut json).err()?;
    let path = fault.path().to_string();
    // `?` stands for a field whose name could not be read, and `.` for the root.
    let mut path = path.as_str();
    while let Some(known) = path.strip_suffix(".?") {
        path = known;
    }
    (!matches!(path, "." | "?")).then(|| format!("{path}: {}", fault.inner()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_fault_inside_has_its_path_and_one_of_the_whole_has_none() {
        type Lists = BTreeMap<String, Vec<u8>>;
        let told = |text: &str| from_json::<Lists>(text.as_bytes()).unwrap_err();
        assert_eq!(
            told(r#"{"a":[1,"x"]}"#),
            r#"a[1]: invalid type: string "x", expected u8 at line 1 column 11"#
        );
        assert_eq!(told("[]"), "invalid type: sequence, expected a map at line 1 column 0");
        assert_eq!(told("{"), "EOF while parsing an object at line 1 column 1");
        assert_eq!(told("{} {}"), "trailing characters at line 1 column 4");
        assert_eq!(from_json::<Lists>(br#"{"a":[1]}"#), Ok(BTreeMap::from([("a".to_owned(), vec![1])])));
    }
}
