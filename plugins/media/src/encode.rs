//! From pixels to files. No encoder here writes any metadata.

use std::io::{self, Write};

use jpeg_encoder::{ImageBuffer, JpegColorType, rgb_to_ycbcr};

use crate::format::Format;
use crate::limits::OUTPUT_BYTES_MAX;
use crate::orient::Upright;
use crate::picture::Channels;
use crate::refusal::Refusal;

/// Up to this many pixels a JPEG gets Huffman tables of its own, 5 to 10 % smaller: the encoder then keeps
/// all coefficients, 6 bytes a pixel, which 2 megapixels bound to 12 MB.
pub(crate) const OWN_TABLES_PIXELS_MAX: u64 = 2_000_000;

/// From here up the colours keep their full resolution (4:4:4); below they are halved in both directions.
const FULL_COLOR_QUALITY: u8 = 90;

/// Opacity from which a GIF pixel is visible: GIF knows only all or nothing.
const GIF_VISIBLE: u8 = 128;

/// One pixel of this many is looked at in search of a GIF's 256 colours: all of a small picture, whose few pixels
/// would else be a poor sample, and every tenth of a large one, which is its author's compromise.
const GIF_SAMPLING: (i32, i32) = (1, 10);

/// Up to this many pixels a GIF is small: the search then takes some tens of milliseconds.
const GIF_SMALL_PIXELS: usize = 250_000;

/// How to write a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    /// The format.
    pub format: Format,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Red, green, blue under transparency when the format has none.
    pub background: [u8; 3],
}

/// Encodes `picture`, upright. The same pixels and the same encoding give the same bytes.
///
/// # Errors
/// [`Refusal::OutputTooLarge`] over [`OUTPUT_BYTES_MAX`]; [`Refusal::Encoding`] for what an encoder
/// refuses. `name` is the output's, for the message.
pub fn encode(picture: &Upright<'_>, encoding: &Encoding, name: &str) -> Result<Vec<u8>, Refusal> {
    let mut file = Bounded::new(OUTPUT_BYTES_MAX);
    let result = match encoding.format {
        Format::Jpeg => jpeg(picture, encoding, &mut file),
        Format::Png => png(picture, &mut file),
        Format::Webp => webp(picture, &mut file),
        Format::Gif => gif(picture, &mut file),
    };
    match result {
        Ok(()) => Ok(file.bytes),
        Err(_) if file.full => {
            Err(Refusal::OutputTooLarge { name: name.to_owned(), limit: OUTPUT_BYTES_MAX })
        }
        Err(cause) => Err(Refusal::Encoding { name: name.to_owned(), cause }),
    }
}

fn words(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The sides as the 16 bits that JPEG and GIF have.
fn short_sides(picture: &Upright<'_>) -> Result<(u16, u16), String> {
    let (width, height) = picture.size();
    let short = |side| u16::try_from(side).map_err(|_| format!("a side of {side} pixels"));
    Ok((short(width)?, short(height)?))
}

fn jpeg(picture: &Upright<'_>, encoding: &Encoding, file: &mut Bounded) -> Result<(), String> {
    let (width, height) = short_sides(picture)?;
    let mut encoder = jpeg_encoder::Encoder::new(file, encoding.quality);
    encoder.set_sampling_factor(if encoding.quality >= FULL_COLOR_QUALITY {
        jpeg_encoder::SamplingFactor::F_1_1
    } else {
        jpeg_encoder::SamplingFactor::F_2_2
    });
    let small = u64::from(width) * u64::from(height) <= OWN_TABLES_PIXELS_MAX;
    encoder.set_optimized_huffman_tables(small);
    let rows = JpegRows { picture, background: encoding.background, width, height };
    encoder.encode_image(rows).map_err(words)
}

/// Hands the JPEG encoder one upright row at a time, so that nothing is turned or flattened in memory.
struct JpegRows<'a> {
    picture: &'a Upright<'a>,
    background: [u8; 3],
    width: u16,
    height: u16,
}

impl ImageBuffer for JpegRows<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        match self.picture.picture().channels() {
            Channels::Gray => JpegColorType::Luma,
            Channels::Rgb | Channels::Rgba => JpegColorType::Ycbcr,
        }
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        self.height
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        for pixel in self.picture.row(y.into()) {
            let [r, g, b] = match *pixel {
                [gray] => {
                    buffers[0].push(gray);
                    continue;
                }
                [r, g, b, opacity] => flatten([r, g, b], opacity, self.background),
                [r, g, b, ..] => [r, g, b],
                _ => [0; 3],
            };
            let (luma, blue, red) = rgb_to_ycbcr(r, g, b);
            buffers[0].push(luma);
            buffers[1].push(blue);
            buffers[2].push(red);
        }
    }
}

/// A translucent colour in front of `background`, rounded.
fn flatten(color: [u8; 3], opacity: u8, background: [u8; 3]) -> [u8; 3] {
    let (front, back) = (u32::from(opacity), u32::from(255 - opacity));
    std::array::from_fn(|at| {
        let sum = u32::from(color[at]) * front + u32::from(background[at]) * back;
        ((sum + 127) / 255) as u8
    })
}

fn png(picture: &Upright<'_>, file: &mut Bounded) -> Result<(), String> {
    let (width, height) = picture.size();
    let mut encoder = ::png::Encoder::new(file, width, height);
    encoder.set_depth(::png::BitDepth::Eight);
    encoder.set_color(match picture.picture().channels() {
        Channels::Gray => ::png::ColorType::Grayscale,
        Channels::Rgb => ::png::ColorType::Rgb,
        Channels::Rgba => ::png::ColorType::Rgba,
    });
    let mut writer = encoder.write_header().map_err(words)?;
    let mut rows = writer.stream_writer().map_err(words)?;
    let mut row = Vec::new();
    for y in 0..height {
        row.clear();
        picture.row(y).for_each(|pixel| row.extend_from_slice(pixel));
        rows.write_all(&row).map_err(words)?;
    }
    rows.finish().map_err(words)?;
    writer.finish().map_err(words)
}

fn webp(picture: &Upright<'_>, file: &mut Bounded) -> Result<(), String> {
    let (width, height) = picture.size();
    let color = match picture.picture().channels() {
        Channels::Gray => image_webp::ColorType::L8,
        Channels::Rgb => image_webp::ColorType::Rgb8,
        Channels::Rgba => image_webp::ColorType::Rgba8,
    };
    image_webp::WebPEncoder::new(file).encode(&picture.bytes(), width, height, color).map_err(words)
}

fn gif(picture: &Upright<'_>, file: &mut Bounded) -> Result<(), String> {
    let (width, height) = short_sides(picture)?;
    let mut rgba = Vec::with_capacity(usize::from(width) * usize::from(height) * 4);
    for y in 0..height {
        for pixel in picture.row(y.into()) {
            rgba.extend(match *pixel {
                [gray] => [gray, gray, gray, 0xff],
                [r, g, b, opacity] if opacity >= GIF_VISIBLE => [r, g, b, 0xff],
                [r, g, b] => [r, g, b, 0xff],
                // All invisible pixels are the same one, so that they take one colour of 256.
                _ => [0; 4],
            });
        }
    }
    let small = usize::from(width) * usize::from(height) <= GIF_SMALL_PIXELS;
    let sampling = if small { GIF_SAMPLING.0 } else { GIF_SAMPLING.1 };
    let frame = ::gif::Frame::from_rgba_speed(width, height, &mut rgba, sampling);
    drop(rgba);
    let mut encoder = ::gif::Encoder::new(file, width, height, &[]).map_err(words)?;
    encoder.write_frame(&frame).map_err(words)?;
    // Taking the file back writes the trailer; a drop would swallow its error.
    encoder.into_inner().map(|_| ()).map_err(words)
}

/// A file in memory that refuses to grow beyond a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: u64,
    full: bool,
}

impl Bounded {
    fn new(limit: u64) -> Self {
        Self { bytes: Vec::new(), limit, full: false }
    }
}

impl Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() + more.len()) as u64 > self.limit {
            self.full = true;
            return Err(io::Error::other("the output is full"));
        }
        let needed = self.bytes.len() + more.len();
        if needed > self.bytes.capacity() {
            // Double, but never beyond the limit: while a file moves it is held twice, at most two limits in all.
            let wanted = needed.max(self.bytes.capacity() * 2).min(self.limit as usize);
            self.bytes.reserve_exact(wanted - self.bytes.len());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;
    use crate::fixture;
    use crate::limits::Limits;
    use crate::orient::Orientation;
    use crate::picture::Picture;
    use crate::probe::probe;

    const WHITE: [u8; 3] = [255; 3];

    fn encoded(picture: &Picture, orientation: Orientation, format: Format) -> Vec<u8> {
        let encoding = Encoding { format, quality: 95, background: WHITE };
        encode(&Upright::new(picture, orientation), &encoding, "test").unwrap()
    }

    fn decoded(file: Vec<u8>) -> Picture {
        let probe = probe(&file, &Limits::default()).unwrap();
        decode(file, &probe).unwrap()
    }

    #[test]
    fn lossless_formats_keep_every_pixel_in_every_orientation() {
        for channels in [Channels::Gray, Channels::Rgb, Channels::Rgba] {
            let count = 7 * 5 * channels.count();
            let picture = Picture::new(7, 5, channels, (0..count).map(|at| (at * 3) as u8).collect());
            for orientation in Orientation::ALL {
                let upright = Upright::new(&picture, orientation);
                let out = decoded(encoded(&picture, orientation, Format::Png));
                assert_eq!((out.width(), out.height()), upright.size());
                assert_eq!(out.bytes(), &*upright.bytes(), "{channels:?} {orientation:?}");
                if channels != Channels::Gray {
                    // WebP knows no gray; it comes back as three equal channels.
                    let out = decoded(encoded(&picture, orientation, Format::Webp));
                    assert_eq!(out.bytes(), &*upright.bytes(), "{channels:?} {orientation:?}");
                }
            }
        }
    }

    #[test]
    fn jpeg_puts_the_background_under_transparency() {
        let picture = Picture::new(16, 16, Channels::Rgba, [255, 0, 0, 128].repeat(256));
        for (background, expected) in [(WHITE, [255, 127, 127]), ([0, 0, 255], [128, 0, 127])] {
            let encoding = Encoding { format: Format::Jpeg, quality: 95, background };
            let file = encode(&Upright::new(&picture, Orientation::Upright), &encoding, "x").unwrap();
            let pixel = &decoded(file).bytes()[..3].to_vec();
            let close = pixel.iter().zip(expected).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 3);
            assert!(close, "{pixel:?} for {expected:?}");
        }
        assert_eq!(flatten([9, 9, 9], 0, [1, 2, 3]), [1, 2, 3]);
        assert_eq!(flatten([9, 8, 7], 255, [1, 2, 3]), [9, 8, 7]);
    }

    #[test]
    fn gray_jpeg_has_one_component() {
        let picture = Picture::new(8, 8, Channels::Gray, vec![77; 64]);
        let out = decoded(encoded(&picture, Orientation::Upright, Format::Jpeg));
        assert_eq!(out.channels(), Channels::Gray);
        assert!(out.bytes().iter().all(|byte| byte.abs_diff(77) <= 1));
    }

    #[test]
    fn quality_changes_size_and_equal_input_gives_equal_bytes() {
        let picture = Picture::new(96, 64, Channels::Rgb, fixture::pixels(96, 64));
        let upright = Upright::new(&picture, Orientation::Upright);
        let size = |quality| {
            let encoding = Encoding { format: Format::Jpeg, quality, background: WHITE };
            let file = encode(&upright, &encoding, "x").unwrap();
            assert_eq!(file, encode(&upright, &encoding, "x").unwrap());
            file.len()
        };
        assert!(size(30) < size(80) && size(80) < size(95));
        for format in [Format::Png, Format::Webp, Format::Gif] {
            let twice = [(); 2].map(|()| encoded(&picture, Orientation::Rotate90, format));
            assert_eq!(twice[0], twice[1], "{format}");
        }
    }

    #[test]
    fn gif_keeps_few_colours_exactly_and_transparency_as_all_or_nothing() {
        let bytes = [[200, 10, 30, 255], [0, 90, 60, 127], [5, 5, 5, 128], [200, 10, 30, 0]].concat();
        let picture = Picture::new(2, 2, Channels::Rgba, bytes);
        let out = decoded(encoded(&picture, Orientation::Upright, Format::Gif));
        let pixels: Vec<_> = out.bytes().chunks_exact(4).collect();
        assert_eq!(pixels[0], [200, 10, 30, 255]);
        assert_eq!(pixels[2], [5, 5, 5, 255]);
        assert_eq!((pixels[1][3], pixels[3][3]), (0, 0));
    }

    #[test]
    fn more_than_256_colours_are_reduced_but_recognisable() {
        let picture = Picture::new(64, 64, Channels::Rgb, fixture::pixels(64, 64));
        let out = decoded(encoded(&picture, Orientation::Upright, Format::Gif));
        let error: u64 =
            out.bytes().iter().zip(picture.bytes()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean = error / out.bytes().len() as u64;
        assert!(mean < 12, "mean error {mean}");
    }

    #[test]
    fn an_output_over_its_limit_is_refused_while_it_is_written() {
        let mut file = Bounded::new(100);
        let picture = Picture::new(64, 64, Channels::Rgb, fixture::pixels(64, 64));
        assert!(png(&Upright::new(&picture, Orientation::Upright), &mut file).is_err());
        assert!(file.full && file.bytes.len() <= 100);
    }
}
