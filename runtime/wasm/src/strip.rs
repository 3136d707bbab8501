//! Takes custom sections out of an artifact: debug information, build notes, whatever a producer put there. Nothing of
//! it is needed to run, and what is not there cannot be parsed by anybody later. Names stay, for backtraces.

use wasmparser::BinaryReader;

use crate::admit::AdmitError;

/// Bytes of magic number, version and layer.
const HEADER_BYTES: usize = 8;
/// The layer in the header of a component.
const COMPONENT_LAYER: u8 = 1;
const CUSTOM: u8 = 0;
/// Sections of a component that hold a whole module or component.
const NESTED: [u8; 2] = [1, 4];
/// Bytes of one section of names. A component with a whole language engine in it has about a megabyte.
const NAMES_BYTES_MAX: usize = 4 << 20;

/// The artifact without them. It calls itself as deep as components are nested, which has been bounded before.
///
/// # Errors
/// When the artifact is malformed.
pub(crate) fn stripped(bytes: &[u8]) -> Result<Vec<u8>, AdmitError> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut reader = BinaryReader::new(bytes, 0);
    let header = reader.read_bytes(HEADER_BYTES)?;
    kept.extend_from_slice(header);
    let is_component = header.get(6) == Some(&COMPONENT_LAYER);
    while !reader.eof() {
        let id = reader.read_u8()?;
        let content = reader.read_reader()?;
        let content = &bytes[content.range()];
        if id == CUSTOM {
            if is_names(content, is_component)? {
                section(&mut kept, id, content);
            }
        } else if is_component && NESTED.contains(&id) {
            section(&mut kept, id, &stripped(content)?);
        } else {
            section(&mut kept, id, content);
        }
    }
    Ok(kept)
}

fn is_names(content: &[u8], is_component: bool) -> Result<bool, AdmitError> {
    let name = BinaryReader::new(content, 0).read_string()?;
    let names = if is_component { "component-name" } else { "name" };
    Ok(name == names && content.len() <= NAMES_BYTES_MAX)
}

fn section(kept: &mut Vec<u8>, id: u8, content: &[u8]) {
    kept.push(id);
    let mut size = content.len();
    // LEB128, as every length in WebAssembly.
    loop {
        let low = (size & 0x7f) as u8;
        size >>= 7;
        if size == 0 {
            kept.push(low);
            break;
        }
        kept.push(low | 0x80);
    }
    kept.extend_from_slice(content);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_and_everything_else_goes_however_deep() {
        let noise = "~".repeat(300);
        let text = format!(
            r#"(component $outer (@custom "producers" "{noise}") (core module $m (@custom ".debug_info" "{noise}")
               (func $named (export "f"))) (component $inner (@custom "notes" "x")
               (core module $n (@custom ".debug_line" "y") (func $deep))) (@custom "tail" "z"))"#
        );
        let bytes = wat::parse_str(&text).unwrap();
        let kept = stripped(&bytes).unwrap();
        let has = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
        for gone in ["producers", ".debug_info", "notes", ".debug_line", "tail"] {
            assert!(has(&bytes, gone) && !has(&kept, gone), "{gone}");
        }
        for stays in ["named", "deep", "outer", "component-name"] {
            assert!(has(&kept, stays), "{stays}");
        }
        wasmparser::Validator::new().validate_all(&kept).unwrap();
        assert_eq!(stripped(&kept).unwrap(), kept);
    }

    #[test]
    fn names_beyond_all_measure_go_as_well() {
        let mut bytes = wat::parse_str("(module)").unwrap();
        section(&mut bytes, CUSTOM, &[&b"\x04name"[..], &vec![0; NAMES_BYTES_MAX]].concat());
        assert_eq!(stripped(&bytes).unwrap().len(), HEADER_BYTES);
    }
}
