//! Payloads as they are typed: JSON in place, from a file, or from stdin. They are stored byte for byte.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::exit::Failure;

/// Bytes of a payload taken at most. Handlers take 1 MiB by default; larger data belongs into a blob.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Reads what stands in an argument, or where `@FILE` or `-` say. Also gives the place, which is `here` for the argument.
pub(super) fn text(argument: &str, here: &str, input: &mut dyn Read) -> Result<(Vec<u8>, String), Failure> {
    Ok(match (argument, argument.strip_prefix('@')) {
        ("-", _) => (bounded(input, "stdin")?, "stdin".to_owned()),
        (_, Some(path)) => (file(Path::new(path))?, path.to_owned()),
        (text, None) => (text.as_bytes().to_vec(), here.to_owned()),
    })
}

/// Reads `JSON`, `@FILE` or `-`, and makes sure that it is JSON.
pub(super) fn read(argument: &str, input: &mut dyn Read) -> Result<Bytes, Failure> {
    let (bytes, place) = text(argument, "--data", input)?;
    check(&bytes, &place)?;
    // The line break that editors leave at the end of a file is not part of the value.
    let end = bytes.trim_ascii_end().len();
    Ok(Bytes::from(bytes).slice(..end))
}

/// Reads a file within bounds.
pub(super) fn file(path: &Path) -> Result<Vec<u8>, Failure> {
    let fault =
        |error| Failure::usage(format!("{} cannot be read: {error}; correct the path", path.display()));
    let mut file = File::open(path).map_err(fault)?;
    bounded(&mut file, &path.display().to_string())
}

/// Reads within bounds.
pub(super) fn bounded(input: &mut dyn Read, place: &str) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("{place} cannot be read: {error}")))?;
    if bytes.len() as u64 > BYTES_MAX {
        let fix = "put large data into a blob and name it in the payload";
        return Err(Failure::usage(format!("{place} has more than {BYTES_MAX} bytes; {fix}")));
    }
    Ok(bytes)
}

/// Says where text stops being JSON, and shows that place.
fn check(bytes: &[u8], place: &str) -> Result<(), Failure> {
    let Err(fault) = serde_json::from_slice::<IgnoredAny>(bytes) else { return Ok(()) };
    let line = bytes.split(|byte| *byte == b'\n').nth(fault.line().saturating_sub(1)).unwrap_or_default();
    let (from, to) = (fault.column().saturating_sub(21), fault.column().saturating_add(9).min(line.len()));
    let near = String::from_utf8_lossy(line.get(from..to).unwrap_or_default()).into_owned();
    let fix = "in a shell put JSON in single quotes, or use --data @FILE";
    Err(Failure::usage(format!("{place}: the payload is not JSON: {fault}, near {near:?}; {fix}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(argument: &str, input: &str) -> Result<String, String> {
        match read(argument, &mut input.as_bytes()) {
            Ok(bytes) => Ok(String::from_utf8(bytes.to_vec()).unwrap()),
            Err(Failure::Told { message, .. }) => Err(message),
            Err(Failure::OutputClosed) => unreachable!("nothing is written"),
        }
    }

    #[test]
    fn payloads_keep_their_bytes() {
        assert_eq!(read_text(r#"{"b": 1.0,"a":"ü"}"#, ""), Ok(r#"{"b": 1.0,"a":"ü"}"#.to_owned()));
        assert_eq!(read_text("-", "[1, 2]\n"), Ok("[1, 2]".to_owned()));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data.json");
        std::fs::write(&path, "{\"a\": 1}\n").unwrap();
        assert_eq!(read_text(&format!("@{}", path.display()), ""), Ok("{\"a\": 1}".to_owned()));
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        let told = read_text("{\"amount\": 12,}", "").unwrap_err();
        assert!(
            told.contains("line 1 column 15") && told.contains("12,}") && told.contains("single quotes"),
            "{told}"
        );
        let told = read_text("-", "{\n\"a\": ]\n}").unwrap_err();
        assert!(told.starts_with("stdin:") && told.contains("line 2"), "{told}");
        let told = read_text("-", "").unwrap_err();
        assert!(told.contains("EOF"), "{told}");
        assert!(read_text("{} {}", "").unwrap_err().contains("trailing characters"));
        assert!(read_text("@/no/such.json", "").unwrap_err().contains("/no/such.json cannot be read"));
    }
}
