//! The section within the bytes of a component: found and put there without understanding anything else of them.

use wasmparser::BinaryReader;

use super::{MANIFEST_BYTES_MAX, ManifestError, SECTION};

/// Bytes of magic number, version and layer.
const HEADER_BYTES: usize = 8;
/// The layer in the header of a component; a module has 0.
const COMPONENT_LAYER: u8 = 1;
const CUSTOM: u8 = 0;
/// Sections of a component that hold a whole module or component.
const NESTED: [u8; 2] = [1, 4];
/// How deep parts are looked into: a module in a component that is part of a composed one, and some more.
const DEPTH_MAX: usize = 8;

/// One section: its number, where it begins, and its content.
struct Section<'a> {
    id: u8,
    begin: usize,
    content: &'a [u8],
    content_at: usize,
}

/// The content of the manifest's section; none where there is none. Of several, the outermost counts.
///
/// It takes time in proportion to the bytes, whatever they are, and reads no deeper than anything useful is nested.
///
/// # Errors
/// When the bytes are malformed down to where it lies, there are several that differ, or it is too large.
pub fn section(component: &[u8]) -> Result<Option<&[u8]>, ManifestError> {
    let mut level = vec![(component, 0)];
    for _ in 0..DEPTH_MAX {
        let (mut found, mut below) = (None, Vec::new());
        for (part, at) in level {
            for section in sections(part, at)? {
                let Section { id, content, content_at, .. } = section?;
                if id == CUSTOM {
                    let Some(manifest) = manifest(content, content_at)? else { continue };
                    if found.is_some_and(|found| found != manifest) {
                        return Err(ManifestError::Several);
                    }
                    found = Some(manifest);
                } else if is_component(part) && NESTED.contains(&id) {
                    below.push((content, content_at));
                }
            }
        }
        if let Some(found) = found {
            return match found.len() {
                size if size > MANIFEST_BYTES_MAX => Err(ManifestError::TooLarge { size }),
                _ => Ok(Some(found)),
            };
        }
        level = below;
    }
    Ok(None)
}

/// The component with this content of the section, in place of one on the outermost level.
///
/// # Errors
/// When the component is malformed, or the content too large.
pub fn embed_text(component: &[u8], content: &[u8]) -> Result<Vec<u8>, ManifestError> {
    if content.len() > MANIFEST_BYTES_MAX {
        return Err(ManifestError::TooLarge { size: content.len() });
    }
    let mut embedded = component.get(..HEADER_BYTES).unwrap_or_default().to_vec();
    embedded.reserve(component.len() + content.len() + SECTION.len() + 12);
    for section in sections(component, 0)? {
        let Section { id, begin, content, content_at } = section?;
        if id != CUSTOM || manifest(content, content_at)?.is_none() {
            embedded.extend_from_slice(&component[begin..content_at + content.len()]);
        }
    }
    let mut body = Vec::with_capacity(content.len() + SECTION.len() + 2);
    leb128(&mut body, SECTION.len());
    body.extend_from_slice(SECTION.as_bytes());
    body.extend_from_slice(content);
    embedded.push(CUSTOM);
    leb128(&mut embedded, body.len());
    embedded.extend_from_slice(&body);
    Ok(embedded)
}

fn is_component(part: &[u8]) -> bool {
    part.get(6) == Some(&COMPONENT_LAYER)
}

/// The sections of a module or component that begins at `at`.
fn sections(
    part: &[u8],
    at: usize,
) -> Result<impl Iterator<Item = Result<Section<'_>, ManifestError>>, ManifestError> {
    if !part.starts_with(b"\0asm") || part.len() < HEADER_BYTES {
        return Err(ManifestError::Malformed { at, what: "it does not begin as WebAssembly does" });
    }
    let mut reader = BinaryReader::new(&part[HEADER_BYTES..], 0);
    let mut is_over = false;
    Ok(std::iter::from_fn(move || {
        if is_over || reader.eof() {
            return None;
        }
        let begin = HEADER_BYTES + reader.original_position();
        let read = reader.read_u8().and_then(|id| Ok((id, reader.read_reader()?)));
        Some(match read {
            Ok((id, content)) => {
                let range = content.range();
                let content_at = HEADER_BYTES + range.start;
                let content = &part[content_at..HEADER_BYTES + range.end];
                Ok(Section { id, begin, content, content_at: at + content_at })
            }
            Err(_) => {
                is_over = true;
                Err(ManifestError::Malformed { at: at + begin, what: "a section is cut off" })
            }
        })
    }))
}

/// What stands in the section, when the section is the manifest's.
fn manifest(custom: &[u8], at: usize) -> Result<Option<&[u8]>, ManifestError> {
    let mut reader = BinaryReader::new(custom, 0);
    let name = reader
        .read_string()
        .map_err(|_| ManifestError::Malformed { at, what: "a custom section has no name" })?;
    Ok((name == SECTION).then(|| &custom[reader.original_position()..]))
}

/// A length as WebAssembly writes it.
fn leb128(out: &mut Vec<u8>, mut size: usize) {
    loop {
        let low = (size & 0x7f) as u8;
        size >>= 7;
        if size == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}
