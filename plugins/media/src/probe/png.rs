//! The chunks of a PNG.

use super::{Cut, Probe};
use crate::exif;
use crate::format::Format;
use crate::orient::Orientation;
use crate::picture::Channels;
use crate::refusal::Refusal;

const FORMAT: Format = Format::Png;

/// PNG's colour types.
const GRAY: u8 = 0;
const RGB: u8 = 2;
const PALETTE: u8 = 3;
const GRAY_ALPHA: u8 = 4;
const RGBA: u8 = 6;

pub(super) fn probe(bytes: &[u8]) -> Result<Probe, Refusal> {
    let mut cut = Cut::new(FORMAT, bytes);
    cut.take(8, "the signature")?;
    let (kind, header) = chunk(&mut cut)?;
    if &kind != b"IHDR" || header.len() != 13 {
        return Err(Refusal::corrupt(FORMAT, "the first chunk is no header"));
    }
    let width = u32::from_be_bytes([header[0], header[1], header[2], header[3]]);
    let height = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let (mut frames, mut animated, mut transparent, mut data) = (1, false, false, false);
    let mut orientation = Orientation::Upright;
    loop {
        let (kind, content) = chunk(&mut cut)?;
        match &kind {
            b"IDAT" => data = true,
            b"tRNS" => transparent = true,
            b"eXIf" => orientation = exif::orientation(content),
            b"acTL" => {
                let Some(count) = content.first_chunk() else {
                    return Err(Refusal::corrupt(FORMAT, "a short animation header"));
                };
                (frames, animated) = (u32::from_be_bytes(*count), true);
            }
            b"IEND" => break,
            _ => {}
        }
    }
    if !data {
        return Err(Refusal::corrupt(FORMAT, "no picture data"));
    }
    let color = header[9];
    let channels = match (color, transparent) {
        (GRAY, false) => Channels::Gray,
        (RGB | PALETTE, false) => Channels::Rgb,
        (GRAY | RGB | PALETTE, true) | (GRAY_ALPHA | RGBA, _) => Channels::Rgba,
        _ => return Err(Refusal::corrupt(FORMAT, format!("colour type {color}"))),
    };
    // Gray with opacity arrives as two bytes a pixel and is spread to four; the rest goes row by row.
    let spread = color == GRAY_ALPHA || color == GRAY && transparent;
    let pixels = u64::from(width) * u64::from(height);
    let rows = u64::from(width) * 8 * 4;
    Ok(Probe {
        format: FORMAT,
        width,
        height,
        orientation,
        frames,
        animated,
        channels,
        work_bytes: rows.saturating_add(if spread { pixels.saturating_mul(2) } else { 0 }),
    })
}

/// The next chunk's type and content. Checksums are the decoder's business.
fn chunk<'a>(cut: &mut Cut<'a>) -> Result<([u8; 4], &'a [u8]), Refusal> {
    let length = u32::from_be_bytes(cut.array("the end chunk")?);
    let kind = cut.array("a chunk's type")?;
    let content = cut.take(length as usize, "the rest of a chunk")?;
    cut.take(4, "a chunk's checksum")?;
    Ok((kind, content))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::limits::Limits;

    #[test]
    fn a_bomb_is_refused_from_its_header() {
        let file = fixture::png_chunks(&[
            (b"IHDR", &[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 8, 6, 0, 0, 0]),
            (b"IDAT", &[0; 8]),
            (b"IEND", &[]),
        ]);
        let refused = crate::probe::probe(&file, &Limits::default());
        assert!(matches!(refused, Err(Refusal::TooLong { .. })), "{refused:?}");
    }

    #[test]
    fn animation_orientation_and_transparency_are_declared_by_chunks() {
        let exif = exif::block(Orientation::Rotate270);
        let header = [0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0];
        let file = fixture::png_chunks(&[
            (b"IHDR", &header),
            (b"acTL", &[0, 0, 0, 7, 0, 0, 0, 0]),
            (b"tRNS", &[0, 1, 0, 1, 0, 1]),
            (b"IDAT", &[0; 8]),
            (b"eXIf", &exif),
            (b"IEND", &[]),
        ]);
        let found = probe(&file).unwrap();
        assert_eq!((found.frames, found.animated, found.channels), (7, true, Channels::Rgba));
        assert_eq!(found.upright_size(), (3, 2));
        let refused = crate::probe::probe(&file, &Limits { frames: 6, ..Limits::default() });
        assert!(matches!(refused, Err(Refusal::TooManyFrames { frames: 7, limit: 6 })), "{refused:?}");
    }

    #[test]
    fn a_file_without_picture_data_is_damaged() {
        let header = [0, 0, 0, 2, 0, 0, 0, 3, 8, 2, 0, 0, 0];
        let file = fixture::png_chunks(&[(b"IHDR", &header), (b"IEND", &[])]);
        assert!(matches!(probe(&file), Err(Refusal::Corrupt { .. })));
        let file = fixture::png_chunks(&[(b"IDAT", &[0; 8]), (b"IEND", &[])]);
        assert!(matches!(probe(&file), Err(Refusal::Corrupt { .. })));
    }
}
