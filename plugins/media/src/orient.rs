//! The eight ways a camera can be held, and reading a picture upright without copying it.
//!
//! Pictures stay as stored until the very last step: a resize works on the stored pixels with width and
//! height exchanged where needed, and the encoder reads rows through [`Upright`]. A 25-megapixel photograph
//! is therefore never turned in memory.

use std::borrow::Cow;

use crate::picture::Picture;

/// EXIF orientation: what to do to the stored picture to see it upright.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Orientation {
    /// 1: nothing.
    #[default]
    Upright = 1,
    /// 2: mirror left to right.
    MirrorX = 2,
    /// 3: half a turn.
    Rotate180 = 3,
    /// 4: mirror top to bottom.
    MirrorY = 4,
    /// 5: mirror along the falling diagonal.
    Transpose = 5,
    /// 6: a quarter turn clockwise.
    Rotate90 = 6,
    /// 7: mirror along the rising diagonal.
    Transverse = 7,
    /// 8: a quarter turn counter-clockwise.
    Rotate270 = 8,
}

impl Orientation {
    /// All of them, in EXIF's order.
    pub const ALL: [Self; 8] = [
        Self::Upright,
        Self::MirrorX,
        Self::Rotate180,
        Self::MirrorY,
        Self::Transpose,
        Self::Rotate90,
        Self::Transverse,
        Self::Rotate270,
    ];

    /// From EXIF's number; `None` for a number EXIF does not know.
    #[must_use]
    pub fn from_exif(value: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|orientation| *orientation as u16 == value)
    }

    /// Do width and height change places?
    #[must_use]
    pub fn swaps_sides(self) -> bool {
        match self {
            Self::Upright | Self::MirrorX | Self::Rotate180 | Self::MirrorY => false,
            Self::Transpose | Self::Rotate90 | Self::Transverse | Self::Rotate270 => true,
        }
    }

    /// A stored size as seen upright, and the other way round.
    #[must_use]
    pub fn apply_to_size<T>(self, (width, height): (T, T)) -> (T, T) {
        if self.swaps_sides() { (height, width) } else { (width, height) }
    }

    /// Row `y` of the upright picture as a walk over the stored pixels of a `width` × `height` picture:
    /// index of the first pixel, and the distance to each next one.
    fn walk(self, width: usize, height: usize, y: usize) -> (usize, isize) {
        let (right, bottom) = (width - 1, height - 1);
        let down = width.cast_signed();
        match self {
            Self::Upright => (y * width, 1),
            Self::MirrorX => (y * width + right, -1),
            Self::Rotate180 => ((bottom - y) * width + right, -1),
            Self::MirrorY => ((bottom - y) * width, 1),
            Self::Transpose => (y, down),
            Self::Rotate90 => (bottom * width + y, -down),
            Self::Transverse => (bottom * width + (right - y), -down),
            Self::Rotate270 => (right - y, down),
        }
    }
}

/// A stored picture seen upright.
#[derive(Debug, Clone, Copy)]
pub struct Upright<'a> {
    picture: &'a Picture,
    orientation: Orientation,
}

impl<'a> Upright<'a> {
    /// Looks at `picture` through `orientation`.
    #[must_use]
    pub fn new(picture: &'a Picture, orientation: Orientation) -> Self {
        Self { picture, orientation }
    }

    /// The stored picture.
    #[must_use]
    pub fn picture(&self) -> &'a Picture {
        self.picture
    }

    /// Width and height as seen.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        self.orientation.apply_to_size((self.picture.width(), self.picture.height()))
    }

    /// The pixels of row `y`, left to right, each as its channels.
    pub fn row(&self, y: u32) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (width, height) = (self.picture.width() as usize, self.picture.height() as usize);
        let (first, step) = self.orientation.walk(width, height, y as usize);
        let channels = self.picture.channels().count();
        let bytes = self.picture.bytes();
        (0..self.size().0 as usize).map(move |x| {
            let at = first.wrapping_add_signed(step * x.cast_signed()) * channels;
            &bytes[at..at + channels]
        })
    }

    /// All pixels in one piece; borrowed when nothing has to move.
    #[must_use]
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        if self.orientation == Orientation::Upright {
            return Cow::Borrowed(self.picture.bytes());
        }
        let mut bytes = Vec::with_capacity(self.picture.bytes().len());
        for y in 0..self.size().1 {
            self.row(y).for_each(|pixel| bytes.extend_from_slice(pixel));
        }
        Cow::Owned(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::Channels;

    /// ```text
    /// stored: a b c
    ///         d e f
    /// ```
    fn seen(orientation: Orientation) -> Vec<String> {
        let picture = Picture::new(3, 2, Channels::Gray, b"abcdef".to_vec());
        let upright = Upright::new(&picture, orientation);
        let (width, height) = upright.size();
        let rows: Vec<String> = (0..height)
            .map(|y| upright.row(y).map(|pixel| char::from(pixel[0])).collect::<String>())
            .collect();
        assert!(rows.iter().all(|row| row.len() == width as usize));
        assert_eq!(rows.concat().as_bytes(), &*upright.bytes());
        rows
    }

    #[test]
    fn each_orientation_is_seen_as_exif_defines_it() {
        assert_eq!(seen(Orientation::Upright), ["abc", "def"]);
        assert_eq!(seen(Orientation::MirrorX), ["cba", "fed"]);
        assert_eq!(seen(Orientation::Rotate180), ["fed", "cba"]);
        assert_eq!(seen(Orientation::MirrorY), ["def", "abc"]);
        assert_eq!(seen(Orientation::Transpose), ["ad", "be", "cf"]);
        assert_eq!(seen(Orientation::Rotate90), ["da", "eb", "fc"]);
        assert_eq!(seen(Orientation::Transverse), ["fc", "eb", "da"]);
        assert_eq!(seen(Orientation::Rotate270), ["cf", "be", "ad"]);
    }

    #[test]
    fn numbers_outside_exif_are_no_orientation() {
        assert_eq!(Orientation::from_exif(0), None);
        assert_eq!(Orientation::from_exif(6), Some(Orientation::Rotate90));
        assert_eq!(Orientation::from_exif(9), None);
    }
}
