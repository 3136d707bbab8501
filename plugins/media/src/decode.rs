//! From a probed file to pixels. The source is dropped here, as soon as its pixels exist.

use std::io::Cursor;

use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;

use crate::format::Format;
use crate::limits::{SIDE_MAX, WORKING_BYTES_MAX};
use crate::picture::{Channels, Picture};
use crate::probe::{self, Probe};
use crate::refusal::Refusal;

/// Decodes the picture, or the first frame of an animation, as stored (not turned upright).
///
/// Damage is refused, not papered over, wherever the format shows it: a cut file was refused by the probe, and
/// impossible codes or wrong checksums are refused here. JPEG has no checksum, so a changed code that is still a
/// possible one goes unnoticed, as it does in every viewer.
///
/// # Errors
/// Damaged or unsupported data, or a picture that is not what its header declared.
pub fn decode(mut source: Vec<u8>, probe: &Probe) -> Result<Picture, Refusal> {
    let picture = match probe.format {
        Format::Jpeg => {
            probe::blind_jpeg_metadata(&mut source);
            jpeg(&source, probe)?
        }
        Format::Png => png(&source, probe)?,
        #[cfg(feature = "webp")]
        Format::Webp => webp(&source, probe)?,
        #[cfg(not(feature = "webp"))]
        Format::Webp => {
            let feature = "a reader that this component was built without (its feature `webp`)".to_owned();
            return Err(Refusal::Unsupported { format: Format::Webp, feature });
        }
        Format::Gif => gif(&source, probe)?,
    };
    drop(source);
    Ok(picture.without_useless_alpha())
}

/// A zeroed buffer for the picture that `probe` declares. The limits have bounded the product.
fn buffer(probe: &Probe) -> Vec<u8> {
    vec![0; probe.width as usize * probe.height as usize * probe.channels.count()]
}

fn finish(probe: &Probe, bytes: Vec<u8>) -> Picture {
    Picture::new(probe.width, probe.height, probe.channels, bytes)
}

fn differs(probe: &Probe, found: impl std::fmt::Debug) -> Refusal {
    let Probe { format, width, height, .. } = *probe;
    Refusal::corrupt(format, format!("header declares {width}×{height}, the decoder finds {found:?}"))
}

fn jpeg(source: &[u8], probe: &Probe) -> Result<Picture, Refusal> {
    let corrupt = |error: zune_jpeg::errors::DecodeErrors| Refusal::corrupt(Format::Jpeg, error);
    let colors = match probe.channels {
        Channels::Gray => ColorSpace::Luma,
        Channels::Rgb | Channels::Rgba => ColorSpace::RGB,
    };
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(SIDE_MAX as usize)
        .set_max_height(SIDE_MAX as usize)
        .jpeg_set_out_colorspace(colors);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(ZCursor::new(source), options);
    decoder.decode_headers().map_err(corrupt)?;
    let mut bytes = buffer(probe);
    if decoder.output_buffer_size() != Some(bytes.len()) {
        return Err(differs(probe, decoder.dimensions()));
    }
    decoder.decode_into(&mut bytes).map_err(corrupt)?;
    Ok(finish(probe, bytes))
}

fn png(source: &[u8], probe: &Probe) -> Result<Picture, Refusal> {
    let corrupt = |error: ::png::DecodingError| Refusal::corrupt(Format::Png, error);
    let limits = ::png::Limits { bytes: WORKING_BYTES_MAX as usize };
    let mut decoder = ::png::Decoder::new_with_limits(Cursor::new(source), limits);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes become colours, 16 bits become 8, a transparent colour becomes opacity.
    decoder.set_transformations(::png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(corrupt)?;
    let (color, _) = reader.output_color_type();
    let found = match color {
        ::png::ColorType::Grayscale => Channels::Gray,
        ::png::ColorType::Rgb => Channels::Rgb,
        ::png::ColorType::GrayscaleAlpha | ::png::ColorType::Rgba | ::png::ColorType::Indexed => {
            Channels::Rgba
        }
    };
    let size = (reader.info().width, reader.info().height);
    if size != (probe.width, probe.height) || found != probe.channels {
        return Err(differs(probe, (size, color)));
    }
    let mut bytes = vec![0; reader.output_buffer_size().ok_or_else(|| differs(probe, size))?];
    reader.next_frame(&mut bytes).map_err(corrupt)?;
    if color == ::png::ColorType::GrayscaleAlpha {
        bytes = bytes.chunks_exact(2).flat_map(|pair| [pair[0], pair[0], pair[0], pair[1]]).collect();
    }
    Ok(finish(probe, bytes))
}

#[cfg(feature = "webp")]
fn webp(source: &[u8], probe: &Probe) -> Result<Picture, Refusal> {
    let corrupt = |error: image_webp::DecodingError| Refusal::corrupt(Format::Webp, error);
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(source)).map_err(corrupt)?;
    decoder.set_memory_limit(WORKING_BYTES_MAX as usize);
    let mut bytes = buffer(probe);
    if decoder.dimensions() != (probe.width, probe.height)
        || decoder.output_buffer_size() != Some(bytes.len())
    {
        return Err(differs(probe, (decoder.dimensions(), decoder.has_alpha())));
    }
    decoder.read_image(&mut bytes).map_err(corrupt)?;
    Ok(finish(probe, bytes))
}

fn gif(source: &[u8], probe: &Probe) -> Result<Picture, Refusal> {
    let corrupt = |error: ::gif::DecodingError| Refusal::corrupt(Format::Gif, error);
    let mut options = ::gif::DecodeOptions::new();
    options.set_color_output(::gif::ColorOutput::Indexed);
    options.check_frame_consistency(true);
    options.allow_unknown_blocks(true);
    options.set_memory_limit(::gif::MemoryLimit::Bytes(
        std::num::NonZeroU64::new(WORKING_BYTES_MAX).unwrap_or(std::num::NonZeroU64::MIN),
    ));
    let mut decoder = options.read_info(source).map_err(corrupt)?;
    let size = (u32::from(decoder.width()), u32::from(decoder.height()));
    if size != (probe.width, probe.height) {
        return Err(differs(probe, size));
    }
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let Some(frame) = decoder.read_next_frame().map_err(corrupt)? else {
        return Err(Refusal::corrupt(Format::Gif, "no frame"));
    };
    let Some(colors) = frame.palette.as_ref().or(global.as_ref()) else {
        return Err(Refusal::corrupt(Format::Gif, "a frame without colours"));
    };
    let mut bytes = buffer(probe);
    let channels = probe.channels.count();
    let line = probe.width as usize * channels;
    let (left, width) = (usize::from(frame.left), usize::from(frame.width));
    let rows = bytes.chunks_exact_mut(line).skip(frame.top.into());
    for (row, numbers) in rows.zip(frame.buffer.chunks_exact(width.max(1))) {
        let place = &mut row[left * channels..(left + width) * channels];
        for (pixel, number) in place.chunks_exact_mut(channels).zip(numbers) {
            if frame.transparent == Some(*number) {
                continue;
            }
            // A number without a colour is shown black, as browsers do.
            let color = colors.get(usize::from(*number) * 3..).and_then(|rest| rest.first_chunk());
            let [r, g, b] = *color.unwrap_or(&[0; 3]);
            match pixel {
                [pr, pg, pb] => (*pr, *pg, *pb) = (r, g, b),
                [pr, pg, pb, pa] => (*pr, *pg, *pb, *pa) = (r, g, b, 0xff),
                _ => {}
            }
        }
    }
    Ok(finish(probe, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::limits::Limits;

    fn decoded(file: &[u8]) -> Result<Picture, Refusal> {
        let probe = probe::probe(file, &Limits::default())?;
        decode(file.to_vec(), &probe)
    }

    /// Largest difference of a byte.
    fn distance(a: &[u8], b: &[u8]) -> u8 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap()
    }

    #[test]
    fn lossless_formats_give_back_their_pixels() {
        for format in [Format::Png, Format::Webp] {
            let picture = decoded(&fixture::still(format, 19, 23)).unwrap();
            assert_eq!((picture.width(), picture.height()), (19, 23));
            assert_eq!(picture.bytes(), fixture::pixels(19, 23), "{format}");
        }
    }

    #[test]
    fn jpeg_and_gif_come_close() {
        // Flat colours, so that only the codec differs.
        let quarters = fixture::quarters_held(crate::orient::Orientation::Upright, 32, 32);
        let picture = decoded(&quarters).unwrap();
        assert_eq!(picture.channels(), Channels::Rgb);
        assert!(distance(&picture.bytes()[..3], &[255, 0, 0]) < 6, "{:?}", &picture.bytes()[..3]);
        assert!(distance(&picture.bytes()[31 * 3..32 * 3], &[0, 255, 0]) < 6);

        let picture = decoded(&fixture::animated_gif(8, 6, 3)).unwrap();
        assert_eq!(picture.channels(), Channels::Rgb);
        assert_eq!(&picture.bytes()[..6], [0, 0, 0, 250, 90, 10]);
    }

    #[test]
    fn progressive_and_baseline_jpeg_decode_alike() {
        let baseline = decoded(&fixture::still(Format::Jpeg, 40, 24)).unwrap();
        let progressive = decoded(&fixture::progressive_jpeg(40, 24)).unwrap();
        assert!(distance(baseline.bytes(), progressive.bytes()) <= 1);
    }

    #[test]
    fn gray_stays_gray_and_gray_with_opacity_is_spread() {
        let mut gray = Vec::new();
        fixture::png(&[0, 90, 180, 255], 2, 2, ::png::ColorType::Grayscale, &mut gray);
        let picture = decoded(&gray).unwrap();
        assert_eq!((picture.channels(), picture.bytes()), (Channels::Gray, [0, 90, 180, 255].as_slice()));

        let mut pairs = Vec::new();
        fixture::png(&[7, 8, 9, 255], 2, 1, ::png::ColorType::GrayscaleAlpha, &mut pairs);
        let picture = decoded(&pairs).unwrap();
        assert_eq!(picture.channels(), Channels::Rgba);
        assert_eq!(picture.bytes(), [7, 7, 7, 8, 9, 9, 9, 255]);

        let mut file = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut file, 95);
        encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_1_1);
        encoder.encode(&[120; 64], 8, 8, jpeg_encoder::ColorType::Luma).unwrap();
        let picture = decoded(&file).unwrap();
        assert_eq!(picture.channels(), Channels::Gray);
        assert!(distance(picture.bytes(), &[120; 64]) <= 1);
    }

    #[test]
    fn sixteen_bits_and_palettes_become_eight_bit_colours() {
        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, 1, 1);
        encoder.set_color(::png::ColorType::Rgb);
        encoder.set_depth(::png::BitDepth::Sixteen);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc]).unwrap();
        writer.finish().unwrap();
        assert_eq!(decoded(&file).unwrap().bytes(), [0x12, 0x56, 0x9a]);

        let mut file = Vec::new();
        let mut encoder = ::png::Encoder::new(&mut file, 2, 1);
        encoder.set_color(::png::ColorType::Indexed);
        encoder.set_palette(vec![1, 2, 3, 200, 100, 50]);
        encoder.set_trns(vec![255, 30]);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[1, 0]).unwrap();
        writer.finish().unwrap();
        assert_eq!(decoded(&file).unwrap().bytes(), [200, 100, 50, 30, 1, 2, 3, 255]);
    }

    #[test]
    fn an_opaque_alpha_channel_is_dropped() {
        let mut file = Vec::new();
        fixture::png(&[5, 6, 7, 255], 1, 1, ::png::ColorType::Rgba, &mut file);
        let picture = decoded(&file).unwrap();
        assert_eq!((picture.channels(), picture.bytes()), (Channels::Rgb, [5, 6, 7].as_slice()));
    }

    #[test]
    fn a_gif_frame_smaller_than_its_screen_leaves_the_rest_transparent() {
        let mut file = Vec::new();
        let mut encoder = gif_encoder(&mut file);
        let frame = ::gif::Frame {
            left: 1,
            top: 1,
            width: 1,
            height: 1,
            buffer: vec![1].into(),
            ..::gif::Frame::default()
        };
        encoder.write_frame(&frame).unwrap();
        drop(encoder);
        let picture = decoded(&file).unwrap();
        let mut expected = vec![0; 16];
        expected[12..].copy_from_slice(&[9, 8, 7, 255]);
        assert_eq!((picture.channels(), picture.bytes()), (Channels::Rgba, expected.as_slice()));
    }

    fn gif_encoder(file: &mut Vec<u8>) -> ::gif::Encoder<&mut Vec<u8>> {
        ::gif::Encoder::new(file, 2, 2, &[0, 0, 0, 9, 8, 7]).unwrap()
    }

    #[test]
    fn damage_inside_the_data_is_refused() {
        // Runs of ones are no JPEG code, whatever the tables.
        let mut jpeg = fixture::still(Format::Jpeg, 64, 64);
        let sos = jpeg.windows(2).position(|w| w == [0xff, 0xda]).unwrap();
        let middle = (sos + jpeg.len()) / 2;
        jpeg.splice(middle..middle + 8, [0xff, 0].repeat(4));
        assert!(matches!(decoded(&jpeg), Err(Refusal::Corrupt { .. })));

        let mut png = fixture::still(Format::Png, 64, 64);
        let middle = png.len() / 2;
        png[middle] ^= 0x55;
        assert!(
            matches!(decoded(&png), Err(Refusal::Corrupt { .. })),
            "the checksum must be held against it"
        );
    }

    /// Damage may be refused or go unnoticed; what it must never do is panic, which in a cell would be a
    /// trap and so a retry of a job that cannot succeed.
    #[test]
    fn no_damage_makes_a_decoder_panic() {
        let mut files: Vec<Vec<u8>> = [Format::Jpeg, Format::Png, Format::Webp, Format::Gif]
            .map(|format| fixture::still(format, 33, 18))
            .to_vec();
        files.extend([
            fixture::progressive_jpeg(33, 18),
            fixture::translucent_png(9, 9),
            fixture::animated_gif(9, 9, 3),
            fixture::lossy_webp(20, 20),
            fixture::translucent_lossy_webp(20, 20),
            fixture::animated_webp(9, 9, 2),
        ]);
        let limits = Limits { pixels: 1_000_000, ..Limits::default() };
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        for file in &files {
            for _ in 0..400 {
                let mut damaged = file.clone();
                for _ in 0..=state % 3 {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let at = (state >> 16) as usize % damaged.len();
                    damaged[at] = (state >> 8) as u8;
                }
                if let Ok(probe) = probe::probe(&damaged, &limits) {
                    let _refused_or_not = decode(damaged, &probe);
                }
            }
        }
    }

    #[test]
    fn lossy_webp_is_read_with_and_without_opacity() {
        let picture = decoded(&fixture::lossy_webp(20, 17)).unwrap();
        assert_eq!((picture.width(), picture.height(), picture.channels()), (20, 17, Channels::Rgb));
        assert!(distance(picture.bytes(), &[128; 20 * 17 * 3]) < 12, "{:?}", &picture.bytes()[..12]);

        let picture = decoded(&fixture::translucent_lossy_webp(20, 17)).unwrap();
        assert_eq!(picture.channels(), Channels::Rgba);
        assert!(picture.bytes().chunks_exact(4).all(|pixel| pixel[3] == 200));
    }

    #[test]
    fn an_animated_webp_gives_its_first_frame() {
        let picture = decoded(&fixture::animated_webp(11, 7, 3)).unwrap();
        assert_eq!((picture.width(), picture.height()), (11, 7));
        // Frames are blended onto the canvas, which rounds.
        assert!(distance(picture.bytes(), &fixture::pixels(11, 7)) <= 1);
    }
}
