//! One frame as a picture.

use jobcell_sdk::prelude::*;

use crate::clip::Clip;

/// A frame as PNG, in the colours of BT.601.
///
/// # Errors
/// Fatal when it cannot be written, which would be a fault of this code.
pub fn png(clip: &Clip, frame: usize) -> Result<Vec<u8>, Failure> {
    let (luma, (blues, reds)) = (clip.luma(frame), clip.chroma(frame));
    let mut pixels = Vec::with_capacity(luma.len() * 3);
    for (at, luma) in luma.iter().enumerate() {
        let (x, y) = (at % clip.width, at / clip.width);
        let colour = (y / 2) * (clip.width / 2) + x / 2;
        pixels.extend(rgb(*luma, blues[colour], reds[colour]));
    }
    let mut file = Vec::new();
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(&mut file, side(clip.width), side(clip.height));
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().or_fatal("the poster")?;
    writer.write_image_data(&pixels).or_fatal("the poster")?;
    writer.finish().or_fatal("the poster")?;
    Ok(file)
}

/// In whole numbers: thousandths of a step.
fn rgb(luma: u8, blue: u8, red: u8) -> [u8; 3] {
    let (luma, blue, red) = (1164 * (i32::from(luma) - 16), i32::from(blue) - 128, i32::from(red) - 128);
    let step = |thousandths: i32| u8::try_from((thousandths / 1000).clamp(0, 255)).unwrap_or(0);
    [step(luma + 1596 * red), step(luma - 392 * blue - 813 * red), step(luma + 2017 * blue)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::tests::painted;

    #[test]
    fn grey_is_grey_and_the_file_reads_back() {
        assert_eq!(rgb(16, 128, 128), [0, 0, 0]);
        assert_eq!(rgb(235, 128, 128), [254, 254, 254]);
        let [r, g, b] = rgb(81, 90, 240);
        assert!(r > 240 && g < 10 && b < 10, "{r} {g} {b}");
        let clip = Clip::read(painted(6, 4, 1, |_, x, _| u8::try_from(20 + x).unwrap())).unwrap();
        let file = png(&clip, 0).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height, info.color_type), (6, 4, png::ColorType::Rgb));
        assert_eq!(pixels[..3], rgb(20, 128, 128));
    }
}
