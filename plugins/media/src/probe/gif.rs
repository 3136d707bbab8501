//! The blocks of a GIF. The same walk serves the probe and the pass-through of animations.

use super::{Cut, Probe};
use crate::format::Format;
use crate::orient::Orientation;
use crate::picture::Channels;
use crate::refusal::Refusal;

const FORMAT: Format = Format::Gif;

const EXTENSION: u8 = 0x21;
const IMAGE: u8 = 0x2c;
const TRAILER: u8 = 0x3b;
const CONTROL: u8 = 0xf9;
const APPLICATION: u8 = 0xff;

/// One piece of a GIF with the bytes it is made of; put end to end they are the file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Block<'a> {
    /// Signature, screen size and global colours.
    Head(&'a [u8]),
    /// Timing and transparency of the next frame.
    Control(&'a [u8]),
    /// How often to repeat.
    Loop(&'a [u8]),
    /// Comments, XMP, ICC, plain text and everything else that is not the picture.
    Other,
    /// A frame: place, local colours and compressed data.
    Frame(&'a [u8]),
    /// The end.
    Trailer(&'a [u8]),
}

/// Splits a GIF into its blocks up to the trailer.
///
/// # Errors
/// Cut off or damaged; a frame outside the screen counts as damaged.
pub(crate) fn blocks(bytes: &[u8]) -> Result<Vec<Block<'_>>, Refusal> {
    let mut cut = Cut::new(FORMAT, bytes);
    let screen = cut.take(13, "the header")?;
    let (width, height) = (u16_at(screen, 6), u16_at(screen, 8));
    cut.take(colors(screen[10]), "the global colours")?;
    let taken = |cut: &Cut<'_>| bytes.len() - cut.rest.len();
    let mut blocks = vec![Block::Head(&bytes[..taken(&cut)])];
    loop {
        let start = taken(&cut);
        let [kind] = cut.array("the trailer")?;
        match kind {
            EXTENSION => {
                let [label] = cut.array("an extension")?;
                let name = cut.rest.get(1..12).unwrap_or_default();
                let loops = label == APPLICATION && matches!(name, b"NETSCAPE2.0" | b"ANIMEXTS1.0");
                skip_data(&mut cut)?;
                let block = &bytes[start..taken(&cut)];
                blocks.push(match label {
                    CONTROL => Block::Control(block),
                    _ if loops => Block::Loop(block),
                    _ => Block::Other,
                });
            }
            IMAGE => {
                let place = cut.take(9, "a frame's place")?;
                let (right, bottom) = (
                    u32::from(u16_at(place, 0)) + u32::from(u16_at(place, 4)),
                    u32::from(u16_at(place, 2)) + u32::from(u16_at(place, 6)),
                );
                if right > width.into() || bottom > height.into() {
                    let cause =
                        format!("a frame reaches to {right},{bottom} on a screen of {width}×{height}");
                    return Err(Refusal::corrupt(FORMAT, cause));
                }
                cut.take(colors(place[8]), "a frame's colours")?;
                cut.take(1, "a frame's data")?;
                skip_data(&mut cut)?;
                blocks.push(Block::Frame(&bytes[start..taken(&cut)]));
            }
            TRAILER => {
                blocks.push(Block::Trailer(&bytes[start..taken(&cut)]));
                return Ok(blocks);
            }
            other => return Err(Refusal::corrupt(FORMAT, format!("block type {other:#04x}"))),
        }
    }
}

pub(super) fn probe(bytes: &[u8]) -> Result<Probe, Refusal> {
    let blocks = blocks(bytes)?;
    let (width, height) = (u16_at(bytes, 6), u16_at(bytes, 8));
    let (mut frames, mut alpha, mut transparent_next) = (0_u32, false, false);
    for block in blocks {
        match block {
            // Introducer, label and size come before the flags.
            Block::Control(control) => {
                transparent_next = control.get(3).is_some_and(|flags| flags & 1 == 1);
            }
            Block::Frame(frame) => {
                if frames == 0 {
                    let covers = u16_at(frame, 5) == width && u16_at(frame, 7) == height;
                    alpha = transparent_next || !covers;
                }
                frames += 1;
            }
            Block::Head(_) | Block::Loop(_) | Block::Other | Block::Trailer(_) => {}
        }
    }
    if frames == 0 {
        return Err(Refusal::corrupt(FORMAT, "no frame"));
    }
    Ok(Probe {
        format: FORMAT,
        width: width.into(),
        height: height.into(),
        orientation: Orientation::Upright,
        frames,
        animated: frames > 1,
        channels: if alpha { Channels::Rgba } else { Channels::Rgb },
        // The first frame as colour numbers, before they are put onto the canvas.
        work_bytes: u64::from(width) * u64::from(height),
    })
}

/// Bytes of the colour table that these flags announce.
fn colors(flags: u8) -> usize {
    if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
}

/// Sub-blocks, each with its length before it, up to an empty one.
fn skip_data(cut: &mut Cut<'_>) -> Result<(), Refusal> {
    loop {
        let [length] = cut.array("the end of a block")?;
        if length == 0 {
            return Ok(());
        }
        cut.take(length.into(), "the rest of a block")?;
    }
}

/// Little-endian; every caller has taken these bytes before.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::limits::Limits;

    #[test]
    fn frames_are_counted_and_limited() {
        let file = fixture::animated_gif(12, 9, 5);
        let found = probe(&file).unwrap();
        assert_eq!((found.width, found.height, found.frames, found.animated), (12, 9, 5, true));
        let refused = crate::probe::probe(&file, &Limits { frames: 4, ..Limits::default() });
        assert!(matches!(refused, Err(Refusal::TooManyFrames { frames: 5, limit: 4 })), "{refused:?}");
    }

    #[test]
    fn a_frame_larger_than_its_screen_is_damaged() {
        let mut file = fixture::still(Format::Gif, 12, 9);
        file[6] = 11;
        let refused = probe(&file).unwrap_err().to_string();
        assert!(refused.contains("12,9") && refused.contains("11×9"), "{refused}");
    }

    #[test]
    fn a_screen_of_four_gigapixels_is_refused() {
        let mut file = fixture::still(Format::Gif, 4, 4);
        file[6..10].copy_from_slice(&[0xff; 4]);
        let refused = crate::probe::probe(&file, &Limits::default());
        assert!(matches!(refused, Err(Refusal::TooLong { width: 65535, .. })), "{refused:?}");
    }
}
