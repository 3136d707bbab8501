//! Pictures that the tests make for themselves; no file of somebody else's is needed.

use crate::exif;
use crate::format::Format;
use crate::orient::Orientation;

/// A colour for each place, smooth with an edge, so that filters and codecs have something to do.
fn rgb(x: u32, y: u32) -> [u8; 3] {
    let edge = if x > y { 60 } else { 0 };
    [(x * 5 % 196) as u8 + edge, (y * 7 % 196) as u8, ((x + y) * 3 % 196) as u8 + edge]
}

/// The RGB bytes that [`still`] encodes.
pub(crate) fn pixels(width: u32, height: u32) -> Vec<u8> {
    (0..height).flat_map(|y| (0..width).flat_map(move |x| rgb(x, y))).collect()
}

/// An opaque still picture.
pub(crate) fn still(format: Format, width: u32, height: u32) -> Vec<u8> {
    let rgb = pixels(width, height);
    let mut file = Vec::new();
    match format {
        Format::Jpeg => file = jpeg_with(&rgb, width, height, |_| {}),
        Format::Png => png(&rgb, width, height, png::ColorType::Rgb, &mut file),
        Format::Webp => image_webp::WebPEncoder::new(&mut file)
            .encode(&rgb, width, height, image_webp::ColorType::Rgb8)
            .unwrap(),
        Format::Gif => {
            let frame = gif::Frame::from_rgb(width as u16, height as u16, &rgb);
            let mut encoder = gif::Encoder::new(&mut file, width as u16, height as u16, &[]).unwrap();
            encoder.write_frame(&frame).unwrap();
        }
    }
    file
}

/// A PNG whose left half is a translucent red and whose right half is an invisible green.
pub(crate) fn translucent_png(width: u32, height: u32) -> Vec<u8> {
    let row = (0..width).flat_map(|x| if x < width / 2 { [255, 0, 0, 128] } else { [0, 255, 0, 0] });
    let rgba: Vec<u8> = (0..height).flat_map(|_| row.clone()).collect();
    let mut file = Vec::new();
    png(&rgba, width, height, png::ColorType::Rgba, &mut file);
    file
}

pub(crate) fn png(bytes: &[u8], width: u32, height: u32, color: png::ColorType, file: &mut Vec<u8>) {
    let mut encoder = png::Encoder::new(file, width, height);
    encoder.set_color(color);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(bytes).unwrap();
    writer.finish().unwrap();
}

fn jpeg_with(
    rgb: &[u8],
    width: u32,
    height: u32,
    set: impl FnOnce(&mut jpeg_encoder::Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, 88);
    set(&mut encoder);
    encoder.encode(rgb, width as u16, height as u16, jpeg_encoder::ColorType::Rgb).unwrap();
    file
}

/// A progressive JPEG with 4:2:0 colour.
pub(crate) fn progressive_jpeg(width: u32, height: u32) -> Vec<u8> {
    jpeg_with(&pixels(width, height), width, height, |encoder| encoder.set_progressive(true))
}

/// A JPEG with this EXIF block.
pub(crate) fn jpeg_with_exif(tiff: &[u8], width: u32, height: u32) -> Vec<u8> {
    jpeg_with(&pixels(width, height), width, height, |encoder| encoder.add_exif_metadata(tiff).unwrap())
}

/// A JPEG of `width` × `height` stored pixels, from a camera held like this.
pub(crate) fn jpeg_held(orientation: Orientation, width: u32, height: u32) -> Vec<u8> {
    jpeg_with_exif(&exif::block(orientation), width, height)
}

/// A picture in four flat quarters as seen upright: red, green / blue, white; stored as `orientation` needs.
pub(crate) fn quarters_held(orientation: Orientation, width: u32, height: u32) -> Vec<u8> {
    let (stored_width, stored_height) = orientation.apply_to_size((width, height));
    let mut rgb = vec![0; (width * height * 3) as usize];
    for y in 0..height {
        for x in 0..width {
            let color: [u8; 3] = match (x < width / 2, y < height / 2) {
                (true, true) => [255, 0, 0],
                (false, true) => [0, 255, 0],
                (true, false) => [0, 0, 255],
                (false, false) => [255, 255, 255],
            };
            // Written from EXIF's own definitions, apart from the code under test.
            let (right, bottom) = (stored_width - 1, stored_height - 1);
            let (column, row) = match orientation as u8 {
                1 => (x, y),
                2 => (right - x, y),
                3 => (right - x, bottom - y),
                4 => (x, bottom - y),
                5 => (y, x),
                6 => (y, bottom - x),
                7 => (right - y, bottom - x),
                _ => (right - y, x),
            };
            let at = ((row * stored_width + column) * 3) as usize;
            rgb[at..at + 3].copy_from_slice(&color);
        }
    }
    let exif = exif::block(orientation);
    jpeg_with(&rgb, stored_width, stored_height, |encoder| encoder.add_exif_metadata(&exif).unwrap())
}

/// A GIF that repeats for ever, with comments and XMP in it.
pub(crate) fn animated_gif(width: u16, height: u16, frames: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, width, height, &[0, 0, 0, 250, 90, 10]).unwrap();
    encoder.set_repeat(gif::Repeat::Infinite).unwrap();
    encoder.write_raw_extension(gif::AnyExtension(0xfe), &[b"made at home, 12 Main Street"]).unwrap();
    encoder.write_raw_extension(gif::AnyExtension(0xff), &[b"XMP DataXMP", b"<creator>"]).unwrap();
    for number in 0..frames {
        let mut frame = gif::Frame { width, height, delay: 4 + u16::from(number), ..gif::Frame::default() };
        let pixels = usize::from(width) * usize::from(height);
        frame.buffer =
            (0..pixels).map(|at| ((at + usize::from(number)) % 2) as u8).collect::<Vec<_>>().into();
        encoder.write_frame(&frame).unwrap();
    }
    drop(encoder);
    file
}

/// A PNG put together from chunks, checksums left at zero: enough for a probe.
pub(crate) fn png_chunks(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (kind, content) in chunks {
        file.extend((content.len() as u32).to_be_bytes());
        file.extend(*kind);
        file.extend(*content);
        file.extend([0; 4]);
    }
    file
}

/// A WebP put together from chunks.
pub(crate) fn webp_chunks(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut body = b"WEBP".to_vec();
    for (kind, content) in chunks {
        body.extend(*kind);
        body.extend((content.len() as u32).to_le_bytes());
        body.extend(*content);
        body.resize(body.len().next_multiple_of(2), 0);
    }
    let mut file = b"RIFF".to_vec();
    file.extend((body.len() as u32).to_le_bytes());
    file.extend(body);
    file
}

/// The bitstream of a lossy picture that is gray all over. To VP8's arithmetic decoder a run of zero bytes
/// says "no" to every question, and with every answer "no" a key frame predicts mid-gray without a rest.
pub(crate) fn gray_vp8(width: u16, height: u16) -> Vec<u8> {
    let blocks = usize::from(width.div_ceil(16)) * usize::from(height.div_ceil(16));
    let first_partition = 64 + blocks * 8;
    // Key frame, version 0, shown.
    let tag = ((first_partition as u32) << 5) | 1 << 4;
    let mut stream = tag.to_le_bytes()[..3].to_vec();
    stream.extend([0x9d, 0x01, 0x2a]);
    stream.extend(width.to_le_bytes());
    stream.extend(height.to_le_bytes());
    stream.resize(stream.len() + first_partition + 64 + blocks * 8, 0);
    stream
}

/// A lossy WebP that is gray all over.
pub(crate) fn lossy_webp(width: u16, height: u16) -> Vec<u8> {
    webp_chunks(&[(b"VP8 ", &gray_vp8(width, height))])
}

/// A lossy WebP, gray all over, with a lossless opacity of 200 everywhere.
pub(crate) fn translucent_lossy_webp(width: u16, height: u16) -> Vec<u8> {
    let (right, bottom) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
    let header = [0x10, 0, 0, 0, right[0], right[1], 0, bottom[0], bottom[1], 0];
    let mut opacity = vec![200; 1 + usize::from(width) * usize::from(height)];
    // Neither filtered nor compressed.
    opacity[0] = 0;
    webp_chunks(&[(b"VP8X", &header), (b"ALPH", &opacity), (b"VP8 ", &gray_vp8(width, height))])
}

/// An animated WebP of `frames` equal lossless frames.
pub(crate) fn animated_webp(width: u16, height: u16, frames: usize) -> Vec<u8> {
    let still = still(Format::Webp, width.into(), height.into());
    let (right, bottom) = ((width - 1).to_le_bytes(), (height - 1).to_le_bytes());
    let size = [right[0], right[1], 0, bottom[0], bottom[1], 0];
    let mut header = vec![0x02, 0, 0, 0];
    header.extend(size);
    let mut frame = vec![0; 6];
    frame.extend(size);
    frame.extend([100, 0, 0, 0]);
    // Behind the file's type, size and type.
    frame.extend(&still[12..]);
    let mut chunks: Vec<(&[u8; 4], &[u8])> = vec![(b"VP8X", &header), (b"ANIM", &[0; 6])];
    chunks.extend(std::iter::repeat_n((b"ANMF", frame.as_slice()), frames));
    webp_chunks(&chunks)
}
