//! Which part of the picture goes into which size. Arithmetic only.

use crate::orient::Orientation;

/// A rectangle of the stored picture, in pixels and parts of pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    /// Distance of its left edge.
    pub left: f64,
    /// Distance of its top edge.
    pub top: f64,
    /// Its width.
    pub width: f64,
    /// Its height.
    pub height: f64,
}

/// What to cut out of the stored picture, and the stored size to bring it to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Geometry {
    /// The part that is shown.
    pub crop: Rect,
    /// Pixels, before turning upright.
    pub width: u32,
    /// Pixels, before turning upright.
    pub height: u32,
    /// False when the stored picture is used as it is.
    pub scaled: bool,
}

/// A checked size wish, for the upright picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// As it is.
    Original,
    /// Fill both sides, cutting evenly.
    Cover {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// Fit within both sides.
    Contain {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
    },
    /// This wide.
    Width(u32),
}

impl Size {
    /// Works out the cut and the size for a stored picture of `stored` pixels.
    ///
    /// Sizes are rounded to the nearest pixel and are at least 1. Without `upscale` nothing gets larger than
    /// the source: `contain` and `width` stop at its size, `cover` shrinks its frame in proportion until the
    /// source fills it.
    #[must_use]
    pub fn geometry(self, stored: (u32, u32), orientation: Orientation, upscale: bool) -> Geometry {
        let upright = orientation.apply_to_size(stored);
        let (width, height) = match self {
            Self::Original => upright,
            Self::Width(wanted) => {
                let width = if upscale { wanted } else { wanted.min(upright.0) };
                (width, scaled(upright.1, width, upright.0))
            }
            Self::Contain { width, height } => contain(upright, (width, height), upscale),
            Self::Cover { width, height } => cover_size(upright, (width, height), upscale),
        };
        let (width, height) = orientation.apply_to_size((width, height));
        let crop = match self {
            Self::Cover { .. } => center(stored, (width, height)),
            Self::Original | Self::Contain { .. } | Self::Width(_) => {
                Rect { left: 0.0, top: 0.0, width: stored.0.into(), height: stored.1.into() }
            }
        };
        Geometry { crop, width, height, scaled: (width, height) != stored }
    }
}

/// `side × numerator ÷ denominator`, rounded, at least 1. A size beyond `u32` is far over every limit and
/// stays at its end to be refused there.
fn scaled(side: u32, numerator: u32, denominator: u32) -> u32 {
    let (side, numerator, denominator) = (u64::from(side), u64::from(numerator), u64::from(denominator));
    let rounded = (side * numerator + denominator / 2) / denominator;
    u32::try_from(rounded.max(1)).unwrap_or(u32::MAX)
}

fn contain(source: (u32, u32), wanted: (u32, u32), upscale: bool) -> (u32, u32) {
    if !upscale && source.0 <= wanted.0 && source.1 <= wanted.1 {
        return source;
    }
    // Is the wanted width what stops it, or the height? Compared as products, without rounding.
    if u64::from(wanted.0) * u64::from(source.1) <= u64::from(wanted.1) * u64::from(source.0) {
        (wanted.0, scaled(source.1, wanted.0, source.0))
    } else {
        (scaled(source.0, wanted.1, source.1), wanted.1)
    }
}

fn cover_size(source: (u32, u32), wanted: (u32, u32), upscale: bool) -> (u32, u32) {
    if upscale || wanted.0 <= source.0 && wanted.1 <= source.1 {
        return wanted;
    }
    // The frame sticks out: bring it into the source, keeping its proportions.
    contain(wanted, source, true)
}

/// The largest part of `source` with the proportions of `shown`, in the middle. Being in the middle, it is
/// the same part however the picture is turned or mirrored.
fn center(source: (u32, u32), shown: (u32, u32)) -> Rect {
    let (width, height) = (f64::from(source.0), f64::from(source.1));
    let scale = (f64::from(shown.0) / width).max(f64::from(shown.1) / height);
    let cut_width = (f64::from(shown.0) / scale).min(width);
    let cut_height = (f64::from(shown.1) / scale).min(height);
    Rect {
        left: (width - cut_width) / 2.0,
        top: (height - cut_height) / 2.0,
        width: cut_width,
        height: cut_height,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upright(size: Size, stored: (u32, u32), upscale: bool) -> (u32, u32) {
        let geometry = size.geometry(stored, Orientation::Upright, upscale);
        (geometry.width, geometry.height)
    }

    #[test]
    fn width_keeps_proportions_and_does_not_enlarge() {
        assert_eq!(upright(Size::Width(320), (1600, 1067), false), (320, 213));
        assert_eq!(upright(Size::Width(320), (200, 100), false), (200, 100));
        assert_eq!(upright(Size::Width(320), (200, 100), true), (320, 160));
        assert_eq!(upright(Size::Width(10), (5000, 3), false), (10, 1), "no side becomes 0");
    }

    #[test]
    fn contain_fits_within_both_sides() {
        let contain = Size::Contain { width: 300, height: 300 };
        assert_eq!(upright(contain, (1600, 1067), false), (300, 200));
        assert_eq!(upright(contain, (1067, 1600), false), (200, 300));
        assert_eq!(upright(contain, (100, 50), false), (100, 50));
        assert_eq!(upright(contain, (100, 50), true), (300, 150));
        assert_eq!(upright(contain, (300, 300), false), (300, 300));
    }

    #[test]
    fn cover_fills_and_cuts_evenly() {
        let cover = Size::Cover { width: 200, height: 200 };
        let geometry = cover.geometry((1600, 1000), Orientation::Upright, false);
        assert_eq!((geometry.width, geometry.height), (200, 200));
        assert_eq!(geometry.crop, Rect { left: 300.0, top: 0.0, width: 1000.0, height: 1000.0 });
    }

    #[test]
    fn cover_keeps_its_proportions_on_a_small_source() {
        let cover = Size::Cover { width: 1200, height: 600 };
        assert_eq!(upright(cover, (800, 800), false), (800, 400));
        assert_eq!(upright(cover, (800, 200), false), (400, 200));
        assert_eq!(upright(cover, (800, 800), true), (1200, 600));
    }

    #[test]
    fn sizes_are_those_of_the_upright_picture() {
        // Stored 1600 × 1067, seen 1067 × 1600.
        let geometry = Size::Width(320).geometry((1600, 1067), Orientation::Rotate90, false);
        assert_eq!((geometry.width, geometry.height), (480, 320), "stored sizes");
        let geometry =
            Size::Cover { width: 100, height: 50 }.geometry((1600, 1000), Orientation::Rotate270, false);
        assert_eq!((geometry.width, geometry.height), (50, 100));
        assert_eq!(geometry.crop, Rect { left: 550.0, top: 0.0, width: 500.0, height: 1000.0 });
    }

    #[test]
    fn the_cut_never_leaves_the_source() {
        for stored in [(1, 1), (7, 3), (3, 7), (1000, 1), (1, 1000), (641, 479)] {
            for wanted in [(1, 1), (3, 2), (2, 3), (640, 480), (5000, 1)] {
                for upscale in [false, true] {
                    let size = Size::Cover { width: wanted.0, height: wanted.1 };
                    let Geometry { crop, width, height, .. } =
                        size.geometry(stored, Orientation::Upright, upscale);
                    assert!(width >= 1 && height >= 1);
                    assert!(
                        crop.left >= 0.0 && crop.left + crop.width <= stored.0.into(),
                        "{stored:?} {wanted:?}"
                    );
                    assert!(
                        crop.top >= 0.0 && crop.top + crop.height <= stored.1.into(),
                        "{stored:?} {wanted:?}"
                    );
                    assert!(upscale || width <= stored.0 && height <= stored.1, "{stored:?} {wanted:?}");
                }
            }
        }
    }

    #[test]
    fn an_unchanged_size_is_not_scaled() {
        assert!(!Size::Original.geometry((5, 4), Orientation::Rotate90, false).scaled);
        assert!(!Size::Width(9).geometry((5, 4), Orientation::Upright, false).scaled);
        assert!(Size::Width(4).geometry((5, 4), Orientation::Upright, false).scaled);
    }
}
