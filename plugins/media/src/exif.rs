//! The one EXIF field that matters here: how the camera was held.
//!
//! An EXIF block is a small TIFF file. Only its first directory is read, only for the orientation tag, and
//! anything odd means "upright": a picture is not refused for the faults of its metadata, which is thrown
//! away anyway.

use crate::orient::Orientation;

const TAG_ORIENTATION: u16 = 0x0112;
const TYPE_SHORT: u16 = 3;

/// What JPEG (always) and WebP (sometimes) put before the TIFF header.
const PREFIX: &[u8] = b"Exif\0\0";

/// Is this the content of a JPEG APP1 segment with EXIF, rather than XMP?
pub(crate) fn is_exif(segment: &[u8]) -> bool {
    segment.starts_with(PREFIX)
}

/// Reads the orientation from an EXIF block, with or without its JPEG prefix.
pub(crate) fn orientation(block: &[u8]) -> Orientation {
    find(block.strip_prefix(PREFIX).unwrap_or(block)).unwrap_or_default()
}

fn find(tiff: &[u8]) -> Option<Orientation> {
    let big = match tiff.get(..4)? {
        b"MM\0*" => true,
        b"II*\0" => false,
        _ => return None,
    };
    let u16_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    };
    let u32_at = |at: usize| {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    };
    let directory = usize::try_from(u32_at(4)?).ok()?;
    let entries = usize::from(u16_at(directory)?);
    (0..entries).find_map(|entry| {
        // An entry is tag (2), type (2), count (4), value (4).
        let at = directory.checked_add(2 + entry * 12)?;
        let wanted = u16_at(at)? == TAG_ORIENTATION && u16_at(at + 2)? == TYPE_SHORT && u32_at(at + 4)? == 1;
        if wanted { Orientation::from_exif(u16_at(at + 8)?) } else { None }
    })
}

/// A TIFF block with an orientation and a camera's name, as a camera writes it.
#[cfg(any(test, feature = "sample"))]
pub(crate) fn block(orientation: Orientation) -> Vec<u8> {
    const CAMERA: &[u8; 16] = b"Jobcell Camera\0\0";
    let mut tiff = b"MM\0*\0\0\0\x08\0\x02".to_vec();
    // Tag 0x010f (make): ASCII, 16 bytes, stored behind the directory (8 + 2 + 2 × 12 + 4 = 38).
    tiff.extend([0x01, 0x0f, 0, 2, 0, 0, 0, 16, 0, 0, 0, 38]);
    tiff.extend([0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation as u8, 0, 0]);
    tiff.extend([0; 4]);
    tiff.extend(CAMERA);
    tiff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_eight_orientations_are_read_in_both_byte_orders() {
        for orientation in Orientation::ALL {
            let mut block = block(orientation);
            assert_eq!(super::orientation(&block), orientation);
            block.splice(0..0, PREFIX.iter().copied());
            assert_eq!(super::orientation(&block), orientation);

            let value = orientation as u8;
            let little = [b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".as_slice(), &[value, 0, 0, 0]];
            assert_eq!(super::orientation(&little.concat()), orientation);
        }
    }

    #[test]
    fn odd_blocks_mean_upright() {
        let good = block(Orientation::Rotate90);
        for cut in 0..32 {
            assert_eq!(orientation(&good[..cut]), Orientation::Upright, "cut at {cut}");
        }
        let mut nine = good;
        nine[31] = 9;
        assert_eq!(orientation(&nine), Orientation::Upright);
        // A directory that points outside, and one that claims 65535 entries.
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), Orientation::Upright);
        assert_eq!(orientation(b"MM\0*\0\0\0\x08\xff\xff"), Orientation::Upright);
    }
}
