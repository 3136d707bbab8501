//! Passing an animated GIF through: the same frames, none of the words.
//!
//! Frames, their timing, colours and the loop count are kept byte for byte. Comments, XMP, colour profiles,
//! plain text and unknown extensions are left out, and so is whatever follows the trailer.

use crate::probe::{GifBlock, gif_blocks};
use crate::refusal::Refusal;

/// Copies an animation without its metadata.
///
/// # Errors
/// Cut off or damaged.
pub fn without_metadata(source: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut file = Vec::with_capacity(source.len());
    for block in gif_blocks(source)? {
        match block {
            GifBlock::Head(bytes)
            | GifBlock::Control(bytes)
            | GifBlock::Loop(bytes)
            | GifBlock::Frame(bytes)
            | GifBlock::Trailer(bytes) => file.extend_from_slice(bytes),
            GifBlock::Other => {}
        }
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    /// A frame's delay, transparent colour and pixels.
    type Frame = (u16, Option<u8>, Vec<u8>);

    /// Everything a viewer shows.
    fn shown(file: &[u8]) -> (gif::Repeat, Vec<Frame>) {
        let mut decoder = gif::DecodeOptions::new().read_info(file).unwrap();
        let mut frames = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            frames.push((frame.delay, frame.transparent, frame.buffer.to_vec()));
        }
        (decoder.repeat(), frames)
    }

    #[test]
    fn frames_timing_and_repetition_stay_and_words_go() {
        let file = fixture::animated_gif(16, 12, 4);
        let has = |file: &[u8], words: &[u8]| file.windows(words.len()).any(|window| window == words);
        assert!(has(&file, b"Main Street") && has(&file, b"<creator>"));
        let kept = without_metadata(&file).unwrap();
        assert!(!has(&kept, b"Main Street") && !has(&kept, b"XMP") && !has(&kept, b"<creator>"));
        assert_eq!(shown(&kept), shown(&file));
        assert_eq!(shown(&kept).1.len(), 4);
    }

    #[test]
    fn bytes_behind_the_trailer_go_and_a_second_pass_changes_nothing() {
        let mut file = fixture::animated_gif(5, 5, 2);
        file.extend(b"a zip archive");
        let once = without_metadata(&file).unwrap();
        assert_eq!(once.last(), Some(&0x3b));
        assert_eq!(without_metadata(&once).unwrap(), once);
    }
}
