//! How much a picture may be, decided from its header before a pixel is decoded.
//!
//! A few hundred bytes of PNG can declare a picture of many gigabytes. So every number here is compared
//! with what the header *says*; decoding starts only when the declared picture fits. A payload may lower
//! each limit for its job and can never raise one above the built-in maximum.

use crate::payload::LimitsPayload;
use crate::refusal::Refusal;

/// Most pixels (width × height, or canvas of an animation) a picture may declare: 25 megapixels, which
/// takes in the 24.5-megapixel photographs that telephones make.
///
/// Arithmetic: a baseline JPEG is decoded straight into RGB, so 25 MP × 3 B = 75 MB, plus its source of
/// at most 16.8 MB, plus at most 33.6 MB for the encoded copy while its buffer grows = 125.4 MB, below
/// [`WORKING_BYTES_MAX`] (125.8 MB). Layouts that need more per pixel (progressive JPEG, transparency,
/// lossless WebP) meet the memory estimate of [`crate::memory`] before they meet this number.
pub const PIXELS_MAX: u64 = 25_000_000;

/// Longest side in pixels. WebP cannot express more, and no resampler intermediate gets out of hand.
pub const SIDE_MAX: u32 = 16_383;

/// Most frames of an animation. Only the first is decoded, so this bounds what is kept and passed on.
pub const FRAMES_MAX: u32 = 1_000;

/// Largest encoded source in bytes (16 MiB), blob or download: at 25 megapixels more than five bits a pixel, which
/// is a camera's best JPEG.
pub const SOURCE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Largest encoded output in bytes (16 MiB); the encoder stops there.
pub const OUTPUT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most outputs of one job. The decoded picture is shared; the deadline is what they compete for.
pub const OUTPUTS_MAX: usize = 32;

/// Memory the buffers of one job may take at their peak (120 MiB). A cell of the recommended 128 MiB
/// keeps the other 8 MiB for its stack (1 MiB), code tables, codec state and the payload.
pub const WORKING_BYTES_MAX: u64 = 120 * 1024 * 1024;

/// The limits of one job: the built-in maxima, or lower where the payload says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// See [`PIXELS_MAX`].
    pub pixels: u64,
    /// See [`SIDE_MAX`].
    pub side: u32,
    /// See [`FRAMES_MAX`].
    pub frames: u32,
    /// See [`SOURCE_BYTES_MAX`].
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pixels: PIXELS_MAX, side: SIDE_MAX, frames: FRAMES_MAX, bytes: SOURCE_BYTES_MAX }
    }
}

impl Limits {
    /// Takes what the payload asked for.
    ///
    /// # Errors
    /// [`Refusal::Payload`] for a limit of 0 or above the built-in maximum.
    pub fn from_payload(asked: &LimitsPayload) -> Result<Self, Refusal> {
        let LimitsPayload { pixels, side, frames, bytes } = *asked;
        Ok(Self {
            pixels: lowered("limits.pixels", pixels, PIXELS_MAX)?,
            side: lowered("limits.side", side, SIDE_MAX)?,
            frames: lowered("limits.frames", frames, FRAMES_MAX)?,
            bytes: lowered("limits.bytes", bytes, SOURCE_BYTES_MAX)?,
        })
    }

    /// Checks a declared picture.
    ///
    /// # Errors
    /// The refusal that names the declared value and the limit it passes.
    pub fn check_size(&self, width: u32, height: u32) -> Result<(), Refusal> {
        let side = width.max(height);
        if side > self.side {
            return Err(Refusal::TooLong { width, height, limit: self.side });
        }
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.pixels {
            return Err(Refusal::TooManyPixels { width, height, limit: self.pixels });
        }
        Ok(())
    }

    /// Checks a declared or counted number of frames.
    ///
    /// # Errors
    /// [`Refusal::TooManyFrames`].
    pub fn check_frames(&self, frames: u32) -> Result<(), Refusal> {
        if frames > self.frames {
            return Err(Refusal::TooManyFrames { frames, limit: self.frames });
        }
        Ok(())
    }

    /// Checks the size of the encoded source, known or promised.
    ///
    /// # Errors
    /// [`Refusal::SourceTooLarge`].
    pub fn check_bytes(&self, bytes: u64) -> Result<(), Refusal> {
        if bytes > self.bytes {
            return Err(Refusal::SourceTooLarge { bytes, limit: self.bytes });
        }
        Ok(())
    }
}

fn lowered<T>(field: &str, asked: Option<T>, max: T) -> Result<T, Refusal>
where
    T: Copy + PartialOrd + Default + std::fmt::Display,
{
    match asked {
        None => Ok(max),
        Some(value) if value == T::default() => {
            Err(Refusal::payload(field, format!("0 would refuse every picture; leave it out for {max}")))
        }
        Some(value) if value > max => {
            Err(Refusal::payload(field, format!("{value} is above the built-in maximum of {max}")))
        }
        Some(value) => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_lowers_limits_and_never_raises_them() {
        let asked = LimitsPayload { pixels: Some(10), ..LimitsPayload::default() };
        let limits = Limits::from_payload(&asked).unwrap();
        assert_eq!(limits, Limits { pixels: 10, ..Limits::default() });

        let asked = LimitsPayload { pixels: Some(PIXELS_MAX + 1), ..LimitsPayload::default() };
        let refused = Limits::from_payload(&asked).unwrap_err().to_string();
        assert!(refused.contains("limits.pixels") && refused.contains("25000000"), "{refused}");

        let asked = LimitsPayload { frames: Some(0), ..LimitsPayload::default() };
        assert!(Limits::from_payload(&asked).unwrap_err().to_string().contains("limits.frames"));
    }

    #[test]
    fn each_limit_holds_at_its_edge() {
        let limits = Limits { pixels: 100, side: 50, frames: 3, bytes: 7 };
        assert!(limits.check_size(10, 10).is_ok());
        assert!(matches!(limits.check_size(10, 11), Err(Refusal::TooManyPixels { limit: 100, .. })));
        assert!(limits.check_size(50, 2).is_ok());
        assert!(matches!(limits.check_size(1, 51), Err(Refusal::TooLong { limit: 50, .. })));
        assert!(limits.check_frames(3).is_ok());
        assert!(matches!(limits.check_frames(4), Err(Refusal::TooManyFrames { frames: 4, limit: 3 })));
        assert!(limits.check_bytes(7).is_ok());
        assert!(matches!(limits.check_bytes(8), Err(Refusal::SourceTooLarge { bytes: 8, limit: 7 })));
    }
}
