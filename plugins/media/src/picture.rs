//! Decoded pixels: one byte a channel, rows from top to bottom without gaps.

/// What a pixel consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channels {
    /// Brightness.
    Gray,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue, opacity.
    Rgba,
}

impl Channels {
    /// Bytes of a pixel.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// A decoded picture, as stored (not turned upright), in sRGB by assumption.
///
/// Invariant: `bytes.len() == width × height × channels`, and neither side is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    channels: Channels,
    bytes: Vec<u8>,
}

impl Picture {
    /// Puts a picture together.
    ///
    /// # Panics
    /// When the bytes are not what the size says: that is a fault of this crate, since every caller makes
    /// its buffer from the same size.
    #[must_use]
    pub fn new(width: u32, height: u32, channels: Channels, bytes: Vec<u8>) -> Self {
        assert!(width > 0 && height > 0, "a picture of {width}×{height}");
        assert_eq!(bytes.len(), width as usize * height as usize * channels.count());
        Self { width, height, channels, bytes }
    }

    /// Stored width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Stored height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// What a pixel consists of.
    #[must_use]
    pub fn channels(&self) -> Channels {
        self.channels
    }

    /// The pixels.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The pixels, to change them in place.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Drops an opacity channel that is opaque everywhere: many PNG carry one for nothing, and without it
    /// every later step is a quarter cheaper and JPEG needs no background. Works in place.
    #[must_use]
    pub fn without_useless_alpha(mut self) -> Self {
        let opaque = self.channels == Channels::Rgba && self.bytes.chunks_exact(4).all(|p| p[3] == 0xff);
        if opaque {
            let pixels = self.bytes.len() / 4;
            for pixel in 0..pixels {
                self.bytes.copy_within(pixel * 4..pixel * 4 + 3, pixel * 3);
            }
            self.bytes.truncate(pixels * 3);
            self.bytes.shrink_to_fit();
            self.channels = Channels::Rgb;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_alpha_is_dropped_and_real_alpha_is_kept() {
        let opaque = Picture::new(2, 1, Channels::Rgba, vec![1, 2, 3, 255, 4, 5, 6, 255]);
        assert_eq!(opaque.without_useless_alpha(), Picture::new(2, 1, Channels::Rgb, vec![1, 2, 3, 4, 5, 6]));
        let real = Picture::new(2, 1, Channels::Rgba, vec![1, 2, 3, 255, 4, 5, 6, 254]);
        assert_eq!(real.clone().without_useless_alpha(), real);
    }
}
