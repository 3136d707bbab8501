//! Resampling with Lanczos3, SIMD where the target has it.
//!
//! The output is made in strips. The resampler works in two passes with a buffer between them as wide as the
//! source and as high as the output; a strip bounds it to about a megabyte. Each strip names the part of
//! the source it shows, and the filter reaches over its edges into the source, so strips join without seams:
//! the result is the same as that of one piece.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{U8, U8x3, U8x4};
use fast_image_resize::{MulDiv, PixelTrait, ResizeOptions, Resizer};

use crate::geometry::{Geometry, Rect};
use crate::picture::{Channels, Picture};
use crate::refusal::Refusal;

/// Bytes between the two passes. Small enough not to count, large enough that each strip's setup does not.
const STRIP_BYTES: usize = 1024 * 1024;

/// A picture ready to be resized: colours multiplied with their opacity, so that invisible pixels lend no
/// colour to visible ones.
#[derive(Debug)]
pub struct Premultiplied(Picture);

impl Premultiplied {
    /// Multiplies in place.
    ///
    /// # Errors
    /// [`Refusal::Resampling`] for a picture that the resampler cannot take; none that the limits let through.
    pub fn new(mut picture: Picture) -> Result<Self, Refusal> {
        if picture.channels() == Channels::Rgba {
            let (width, height) = (picture.width(), picture.height());
            let mut image = image::<U8x4>(width, height, picture.bytes_mut())?;
            MulDiv::new().multiply_alpha_inplace_typed(&mut image).map_err(refused)?;
        }
        Ok(Self(picture))
    }

    /// Cuts and resizes as `geometry` says; the result is not premultiplied.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn resize(&self, geometry: &Geometry) -> Result<Picture, Refusal> {
        let channels = self.0.channels();
        let Geometry { crop: _, width, height, scaled: _ } = *geometry;
        let mut bytes = vec![0; width as usize * height as usize * channels.count()];
        // One function for each kind of pixel that occurs, instead of the resampler's own choice among thirteen:
        // the others would be most of the component.
        match channels {
            Channels::Gray => resample::<U8>(&self.0, geometry, &mut bytes)?,
            Channels::Rgb => resample::<U8x3>(&self.0, geometry, &mut bytes)?,
            Channels::Rgba => {
                resample::<U8x4>(&self.0, geometry, &mut bytes)?;
                let mut image = image::<U8x4>(width, height, &mut bytes)?;
                MulDiv::new().divide_alpha_inplace_typed(&mut image).map_err(refused)?;
            }
        }
        Ok(Picture::new(width, height, channels, bytes))
    }
}

/// Fills `bytes` strip by strip.
fn resample<P: PixelTrait>(source: &Picture, geometry: &Geometry, bytes: &mut [u8]) -> Result<(), Refusal> {
    let Geometry { crop, width, height, scaled: _ } = *geometry;
    let pixel = source.channels().count();
    let view = TypedImageRef::<P>::from_buffer(source.width(), source.height(), source.bytes());
    let view = view.map_err(refused)?;
    let line = width as usize * pixel;
    let strip = (STRIP_BYTES / (source.width() as usize * pixel)).clamp(16, 1024);
    let mut resizer = Resizer::new();
    for (number, rows) in bytes.chunks_mut(strip * line).enumerate() {
        let (first, count) = ((number * strip) as u32, (rows.len() / line) as u32);
        let shown = strip_of(&crop, height, first, count, source.height());
        let options =
            ResizeOptions::new().crop(shown.left, shown.top, shown.width, shown.height).use_alpha(false);
        resizer.resize_typed(&view, &mut image::<P>(width, count, rows)?, &options).map_err(refused)?;
    }
    Ok(())
}

fn image<P: PixelTrait>(width: u32, height: u32, bytes: &mut [u8]) -> Result<TypedImage<'_, P>, Refusal> {
    TypedImage::from_buffer(width, height, bytes).map_err(refused)
}

fn refused(cause: impl std::fmt::Display) -> Refusal {
    Refusal::Resampling { cause: cause.to_string() }
}

/// The part of the source that `count` output rows from `first` show.
fn strip_of(crop: &Rect, height: u32, first: u32, count: u32, source_height: u32) -> Rect {
    let scale = crop.height / f64::from(height);
    let top = crop.top + f64::from(first) * scale;
    // Rounding must not put the lower edge outside the source.
    let shown = (f64::from(count) * scale).min(f64::from(source_height) - top);
    Rect { left: crop.left, top, width: crop.width, height: shown }
}

#[cfg(test)]
mod tests {
    use fast_image_resize::PixelType;
    use fast_image_resize::images::{Image, ImageRef};

    use super::*;
    use crate::fixture;

    fn geometry(crop: Rect, width: u32, height: u32) -> Geometry {
        Geometry { crop, width, height, scaled: true }
    }

    fn whole(picture: &Picture) -> Rect {
        Rect { left: 0.0, top: 0.0, width: picture.width().into(), height: picture.height().into() }
    }

    #[test]
    fn strips_join_without_seams() {
        // 3000 pixels wide: strips of 116 rows.
        let (width, height) = (3000, 700);
        let picture = Picture::new(width, height, Channels::Rgb, fixture::pixels(width, height));
        for (crop, size) in [
            (whole(&picture), (1111, 401)),
            (Rect { left: 10.5, top: 3.25, width: 2000.0, height: 600.5 }, (900, 555)),
        ] {
            let view = ImageRef::new(width, height, picture.bytes(), PixelType::U8x3).unwrap();
            let mut once = Image::new(size.0, size.1, PixelType::U8x3);
            let options = ResizeOptions::new().crop(crop.left, crop.top, crop.width, crop.height);
            Resizer::new().resize(&view, &mut once, &options).unwrap();
            let strips =
                Premultiplied::new(picture.clone()).unwrap().resize(&geometry(crop, size.0, size.1)).unwrap();
            assert_eq!(strips.bytes().len(), once.buffer().len());
            // The place of a filter is computed in floating point; a strip may round a hair differently.
            let worst = strips.bytes().iter().zip(once.buffer()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert!(worst <= 1, "strips differ by {worst}");
        }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            let pixel = &[90, 140, 200, 255][..channels.count()];
            let bytes = pixel.repeat(64 * 48);
            let picture = Picture::new(64, 48, channels, bytes);
            let crop = whole(&picture);
            let small = Premultiplied::new(picture).unwrap().resize(&geometry(crop, 13, 7)).unwrap();
            assert_eq!(small.bytes(), pixel.repeat(13 * 7), "{channels:?}");
        }
    }

    #[test]
    fn invisible_pixels_lend_no_colour() {
        // Left half opaque red, right half invisible green: no output pixel may be anything but red.
        let row: Vec<u8> =
            (0..32).flat_map(|x| if x < 16 { [255, 0, 0, 255] } else { [0, 255, 0, 0] }).collect();
        let picture = Picture::new(32, 32, Channels::Rgba, row.repeat(32));
        let crop = whole(&picture);
        let small = Premultiplied::new(picture).unwrap().resize(&geometry(crop, 5, 5)).unwrap();
        for pixel in small.bytes().chunks_exact(4).filter(|pixel| pixel[3] > 8) {
            assert!(pixel[0] > 240 && pixel[1] < 10, "{pixel:?}");
        }
        assert!(small.bytes()[3] > 240, "the visible side stays visible");
    }
}
