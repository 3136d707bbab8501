//! The chunks of a WebP: one bitstream, or an extended file with canvas, metadata and frames.

use super::{Cut, Probe};
use crate::exif;
use crate::format::Format;
use crate::orient::Orientation;
use crate::picture::Channels;
use crate::refusal::Refusal;

const FORMAT: Format = Format::Webp;

const FLAG_ALPHA: u8 = 0x10;
const FLAG_ANIMATION: u8 = 0x02;

/// What a bitstream's own header says.
#[derive(Clone, Copy)]
struct Bitstream {
    width: u32,
    height: u32,
    alpha: bool,
    lossy: bool,
}

pub(super) fn probe(bytes: &[u8]) -> Result<Probe, Refusal> {
    let mut cut = Cut::new(FORMAT, bytes);
    cut.take(4, "the signature")?;
    let size = u32::from_le_bytes(cut.array("the file size")?) as usize;
    // The size counts from here; bytes behind it are not ours.
    let mut cut = Cut::new(FORMAT, cut.take(size, "the rest of the file")?);
    cut.take(4, "the signature")?;
    let (kind, content) = chunk(&mut cut)?;
    if &kind == b"VP8X" {
        return extended(content, &mut cut);
    }
    let Some(stream) = bitstream(kind, content)? else {
        return Err(Refusal::corrupt(FORMAT, "no picture in the first chunk"));
    };
    Ok(still((stream.width, stream.height), stream, false, Orientation::Upright))
}

fn extended(header: &[u8], cut: &mut Cut<'_>) -> Result<Probe, Refusal> {
    let &[flags, _, _, _, w0, w1, w2, h0, h1, h2] = header else {
        return Err(Refusal::corrupt(FORMAT, "an extended header of the wrong size"));
    };
    let canvas = (u24(w0, w1, w2) + 1, u24(h0, h1, h2) + 1);
    let (mut frames, mut picture, mut orientation) = (0, None, Orientation::Upright);
    while !cut.rest.is_empty() {
        let (kind, content) = chunk(cut)?;
        match &kind {
            b"ANMF" => {
                check_frame(content, canvas)?;
                frames += 1;
            }
            b"EXIF" => orientation = exif::orientation(content),
            _ => picture = picture.or(bitstream(kind, content)?),
        }
    }
    if flags & FLAG_ANIMATION != 0 {
        if frames == 0 {
            return Err(Refusal::corrupt(FORMAT, "an animation without frames"));
        }
        let (width, height) = canvas;
        return Ok(Probe {
            format: FORMAT,
            width,
            height,
            orientation,
            frames,
            animated: true,
            channels: if flags & FLAG_ALPHA != 0 { Channels::Rgba } else { Channels::Rgb },
            // The canvas and one decoded frame, four bytes a pixel each; the frame's planes are gone by then.
            work_bytes: u64::from(width) * u64::from(height) * 8,
        });
    }
    let Some(stream) = picture else {
        return Err(Refusal::corrupt(FORMAT, "no picture"));
    };
    if (stream.width, stream.height) != canvas {
        let cause = format!(
            "a canvas of {}×{} with a picture of {}×{}",
            canvas.0, canvas.1, stream.width, stream.height
        );
        return Err(Refusal::corrupt(FORMAT, cause));
    }
    Ok(still(canvas, stream, flags & FLAG_ALPHA != 0, orientation))
}

fn still(
    (width, height): (u32, u32),
    stream: Bitstream,
    alpha_flag: bool,
    orientation: Orientation,
) -> Probe {
    let Bitstream { alpha, lossy, .. } = stream;
    let alpha = if lossy { alpha_flag } else { alpha || alpha_flag };
    let pixels = u64::from(width) * u64::from(height);
    // Lossy keeps planes of 1.5 bytes a pixel; its opacity is a lossless picture of its own (4 bytes, then 1).
    // Lossless decodes into four bytes a pixel: the delivered picture itself when it has opacity, else a
    // buffer beside it. A quarter byte a pixel covers the transforms' tables.
    let quarters = match (lossy, alpha) {
        (true, false) => 6,
        (true, true) => 26,
        (false, false) => 17,
        (false, true) => 1,
    };
    Probe {
        format: FORMAT,
        width,
        height,
        orientation,
        frames: 1,
        animated: false,
        channels: if alpha { Channels::Rgba } else { Channels::Rgb },
        work_bytes: pixels * quarters / 4,
    }
}

/// The next chunk's type and content; chunks are padded to even sizes.
fn chunk<'a>(cut: &mut Cut<'a>) -> Result<([u8; 4], &'a [u8]), Refusal> {
    let kind = cut.array("a chunk's type")?;
    let length = u32::from_le_bytes(cut.array("a chunk's size")?) as usize;
    let content = cut.take(length, "the rest of a chunk")?;
    if length % 2 == 1 && !cut.rest.is_empty() {
        cut.take(1, "a chunk's padding")?;
    }
    Ok((kind, content))
}

/// The header of a bitstream chunk; `None` for every other chunk.
fn bitstream(kind: [u8; 4], content: &[u8]) -> Result<Option<Bitstream>, Refusal> {
    let mut cut = Cut::new(FORMAT, content);
    match &kind {
        b"VP8 " => {
            let [_, _, _, s0, s1, s2, w0, w1, h0, h1] = cut.array("the picture's header")?;
            if [s0, s1, s2] != [0x9d, 0x01, 0x2a] {
                return Err(Refusal::corrupt(FORMAT, "the lossy picture does not start with a key frame"));
            }
            // Fourteen bits of size; the upper two only advise on scaling.
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Ok(Some(Bitstream { width: side(w0, w1), height: side(h0, h1), alpha: false, lossy: true }))
        }
        b"VP8L" => {
            let [signature, b0, b1, b2, b3] = cut.array("the picture's header")?;
            if signature != 0x2f {
                return Err(Refusal::corrupt(FORMAT, "the lossless picture has no signature"));
            }
            let bits = u32::from_le_bytes([b0, b1, b2, b3]);
            let side = |shift: u32| ((bits >> shift) & 0x3fff) + 1;
            let alpha = (bits >> 28) & 1 == 1;
            Ok(Some(Bitstream { width: side(0), height: side(14), alpha, lossy: false }))
        }
        _ => Ok(None),
    }
}

/// A frame must lie on the canvas and its bitstream must have the frame's size: the decoder believes the
/// bitstream when it makes its buffers.
fn check_frame(frame: &[u8], (canvas_width, canvas_height): (u32, u32)) -> Result<(), Refusal> {
    let mut cut = Cut::new(FORMAT, frame);
    let place: [u8; 16] = cut.array("a frame's place")?;
    let three = |at: usize| u24(place[at], place[at + 1], place[at + 2]);
    let (x, y, width, height) = (three(0) * 2, three(3) * 2, three(6) + 1, three(9) + 1);
    if x + width > canvas_width || y + height > canvas_height {
        return Err(Refusal::corrupt(
            FORMAT,
            format!("a frame of {width}×{height} at {x},{y} off the canvas"),
        ));
    }
    let (mut kind, mut content) = chunk(&mut cut)?;
    if &kind == b"ALPH" {
        (kind, content) = chunk(&mut cut)?;
    }
    let Some(stream) = bitstream(kind, content)? else {
        return Err(Refusal::corrupt(FORMAT, "a frame without a picture"));
    };
    if (stream.width, stream.height) != (width, height) {
        let cause =
            format!("a frame of {width}×{height} holds a picture of {}×{}", stream.width, stream.height);
        return Err(Refusal::corrupt(FORMAT, cause));
    }
    Ok(())
}

fn u24(b0: u8, b1: u8, b2: u8) -> u32 {
    u32::from_le_bytes([b0, b1, b2, 0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::limits::Limits;

    fn frame(canvas_picture: &[u8], (width, height): (u8, u8)) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0, 0, 0, 0, 0];
        // Behind the file's and the first chunk's type and size.
        frame.extend(&canvas_picture[12..]);
        frame
    }

    fn extended(flags: u8, (width, height): (u8, u8), chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let header = [flags, 0, 0, 0, width - 1, 0, 0, height - 1, 0, 0];
        let mut all: Vec<(&[u8; 4], &[u8])> = vec![(b"VP8X", &header)];
        all.extend(chunks);
        fixture::webp_chunks(&all)
    }

    #[test]
    fn orientation_comes_from_the_exif_chunk() {
        let still = fixture::still(Format::Webp, 6, 4);
        for orientation in Orientation::ALL {
            let exif = exif::block(orientation);
            let file = extended(0x08, (6, 4), &[(b"VP8L", &still[20..]), (b"EXIF", &exif)]);
            let found = probe(&file).unwrap();
            assert_eq!(found.orientation, orientation);
            assert_eq!(found.upright_size(), orientation.apply_to_size((6, 4)));
        }
    }

    #[test]
    fn a_canvas_that_lies_about_its_picture_is_refused() {
        let still = fixture::still(Format::Webp, 6, 4);
        let refused = probe(&extended(0, (5, 4), &[(b"VP8L", &still[20..])])).unwrap_err().to_string();
        assert!(refused.contains("5×4") && refused.contains("6×4"), "{refused}");
    }

    #[test]
    fn frames_are_counted_and_must_tell_the_truth() {
        let still = fixture::still(Format::Webp, 6, 4);
        let honest = frame(&still, (6, 4));
        let anim = [0; 6];
        let chunks: &[(&[u8; 4], &[u8])] = &[(b"ANIM", &anim), (b"ANMF", &honest), (b"ANMF", &honest)];
        let file = extended(0x02, (6, 4), chunks);
        let found = probe(&file).unwrap();
        assert_eq!((found.frames, found.animated), (2, true));
        let refused = crate::probe::probe(&file, &Limits { frames: 1, ..Limits::default() });
        assert!(matches!(refused, Err(Refusal::TooManyFrames { .. })), "{refused:?}");

        // The frame says 2×2 so that limits pass; its bitstream is what a decoder would make room for.
        let lying = frame(&still, (2, 2));
        let file = extended(0x02, (6, 4), &[(b"ANIM", &anim), (b"ANMF", &lying)]);
        assert!(matches!(probe(&file), Err(Refusal::Corrupt { .. })));
        // A picture hidden behind an opacity chunk under a name nobody checks.
        let mut hidden = lying[..16].to_vec();
        hidden.extend(b"ALPH\x02\0\0\0\0\0XXXX\x02\0\0\0\0\0");
        let file = extended(0x02, (6, 4), &[(b"ANIM", &anim), (b"ANMF", &hidden)]);
        let refused = probe(&file).unwrap_err().to_string();
        assert!(refused.contains("without a picture"), "{refused}");
    }
}
