//! What a file says about its picture, read from its structure without decoding a pixel.
//!
//! A probe walks the file from end to end, so it also notices one that is cut off, and checks every
//! declared size against the limits. The decoders run only on files that passed.

mod gif;
mod jpeg;
mod png;
mod webp;

use crate::format::Format;
use crate::limits::Limits;
use crate::orient::Orientation;
use crate::picture::Channels;
use crate::refusal::Refusal;

pub(crate) use self::gif::{Block as GifBlock, blocks as gif_blocks};
pub(crate) use self::jpeg::blind_metadata as blind_jpeg_metadata;

/// What a file declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Format of the bytes.
    pub format: Format,
    /// Stored width in pixels, before any turning.
    pub width: u32,
    /// Stored height in pixels.
    pub height: u32,
    /// How to see it upright.
    pub orientation: Orientation,
    /// 1 for a still picture.
    pub frames: u32,
    /// Does it move?
    pub animated: bool,
    /// What the decoder will deliver; [`Channels::Rgba`] when there may be transparency.
    pub channels: Channels,
    /// Bytes the decoder needs at its peak besides the source and the picture it delivers.
    pub work_bytes: u64,
}

impl Probe {
    /// Size as seen upright.
    #[must_use]
    pub fn upright_size(&self) -> (u32, u32) {
        self.orientation.apply_to_size((self.width, self.height))
    }

    /// May there be transparency?
    #[must_use]
    pub fn has_alpha(&self) -> bool {
        self.channels == Channels::Rgba
    }

    /// Pixels of the canvas.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

/// Reads what `bytes` declare and holds it against `limits`.
///
/// # Errors
/// Unknown format, cut off, damaged, unsupported, or over a limit.
pub fn probe(bytes: &[u8], limits: &Limits) -> Result<Probe, Refusal> {
    limits.check_bytes(bytes.len() as u64)?;
    let format = Format::sniff(bytes)?;
    let probe = match format {
        Format::Jpeg => jpeg::probe(bytes)?,
        Format::Png => png::probe(bytes)?,
        Format::Webp => webp::probe(bytes)?,
        Format::Gif => gif::probe(bytes)?,
    };
    if probe.width == 0 || probe.height == 0 {
        return Err(Refusal::corrupt(format, format!("a picture of {}×{}", probe.width, probe.height)));
    }
    limits.check_size(probe.width, probe.height)?;
    limits.check_frames(probe.frames)?;
    Ok(probe)
}

/// Takes bytes off the front of a file; running out of them means the file is cut off.
struct Cut<'a> {
    format: Format,
    rest: &'a [u8],
}

impl<'a> Cut<'a> {
    fn new(format: Format, rest: &'a [u8]) -> Self {
        Self { format, rest }
    }

    /// The next `count` bytes, or [`Refusal::Truncated`] saying that `missing` is not there.
    fn take(&mut self, count: usize, missing: &'static str) -> Result<&'a [u8], Refusal> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(Refusal::Truncated { format: self.format, missing });
        };
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, missing: &'static str) -> Result<[u8; N], Refusal> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, missing)?);
        Ok(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn every_format_is_measured_without_decoding() {
        let limits = Limits::default();
        for format in [Format::Jpeg, Format::Png, Format::Webp, Format::Gif] {
            let probe = probe(&fixture::still(format, 37, 21), &limits).unwrap();
            assert_eq!((probe.format, probe.width, probe.height), (format, 37, 21));
            assert_eq!((probe.frames, probe.animated), (1, false));
            assert_eq!(probe.orientation, Orientation::Upright);
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        let limits = Limits::default();
        for format in [Format::Jpeg, Format::Png, Format::Webp, Format::Gif] {
            let file = fixture::still(format, 24, 16);
            for length in 12..file.len() {
                let refused = probe(&file[..length], &limits);
                assert!(refused.is_err(), "{format} of {} bytes passed when cut to {length}", file.len());
            }
        }
    }

    #[test]
    fn declared_sizes_over_the_limit_are_refused_from_the_header() {
        let limits = Limits { pixels: 400, ..Limits::default() };
        for format in [Format::Jpeg, Format::Png, Format::Webp, Format::Gif] {
            assert!(probe(&fixture::still(format, 20, 20), &limits).is_ok(), "{format}");
            let refused = probe(&fixture::still(format, 21, 20), &limits);
            assert!(
                matches!(refused, Err(Refusal::TooManyPixels { width: 21, .. })),
                "{format}: {refused:?}"
            );
        }
        let limits = Limits { bytes: 64, ..Limits::default() };
        let refused = probe(&fixture::still(Format::Png, 50, 50), &limits);
        assert!(matches!(refused, Err(Refusal::SourceTooLarge { limit: 64, .. })), "{refused:?}");
    }
}
