//! The structure of a JPEG: segments, then scans, then the end marker.

use super::{Cut, Probe};
use crate::exif;
use crate::format::Format;
use crate::orient::Orientation;
use crate::picture::Channels;
use crate::refusal::Refusal;

const FORMAT: Format = Format::Jpeg;

const SOF_FIRST: u8 = 0xc0;
const SOF_LAST: u8 = 0xcf;
const DHT: u8 = 0xc4;
const JPG: u8 = 0xc8;
const DAC: u8 = 0xcc;
const RST_FIRST: u8 = 0xd0;
const RST_LAST: u8 = 0xd7;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;
const APP13: u8 = 0xed;
const COM: u8 = 0xfe;

/// Size and layout from the frame header.
struct Frame {
    width: u32,
    height: u32,
    components: u8,
    /// Coefficients of the whole picture, in samples: what a decoder keeps when it cannot go row by row.
    samples: u64,
    progressive: bool,
}

pub(super) fn probe(bytes: &[u8]) -> Result<Probe, Refusal> {
    let mut cut = Cut::new(FORMAT, bytes);
    cut.take(2, "start marker")?;
    let (mut frame, mut orientation) = (None, None);
    let in_first_scan = loop {
        let (marker, segment) = segment(&mut cut)?;
        match marker {
            DHT | JPG | DAC => {}
            SOF_FIRST..=SOF_LAST if frame.is_some() => {
                return Err(Refusal::corrupt(FORMAT, "a second frame header"));
            }
            SOF_FIRST..=SOF_LAST => frame = Some(frame_header(marker, segment)?),
            APP1 if exif::is_exif(segment) && orientation.is_none() => {
                orientation = Some(exif::orientation(segment));
            }
            SOS => break segment.first().copied().unwrap_or(0),
            EOI => return Err(Refusal::corrupt(FORMAT, "no picture before the end marker")),
            _ => {}
        }
    };
    let Some(frame) = frame else {
        return Err(Refusal::corrupt(FORMAT, "no frame header before the first scan"));
    };
    walk_scans(&mut cut)?;
    // A baseline scan of all components is decoded row by row; everything else keeps two bytes a sample.
    let keeps_samples = frame.progressive || in_first_scan < frame.components;
    Ok(Probe {
        format: FORMAT,
        width: frame.width,
        height: frame.height,
        orientation: orientation.unwrap_or(Orientation::Upright),
        frames: 1,
        animated: false,
        channels: if frame.components == 1 { Channels::Gray } else { Channels::Rgb },
        work_bytes: if keeps_samples { frame.samples * 2 } else { 0 } + row_bytes(&frame),
    })
}

/// Rows of blocks in flight: up to four components, 32 lines of two bytes, twice for the upsampler.
fn row_bytes(frame: &Frame) -> u64 {
    u64::from(frame.width) * 4 * 32 * 2 * 2
}

/// The next marker and the content of its segment. Fill bytes before a marker are allowed.
fn segment<'a>(cut: &mut Cut<'a>) -> Result<(u8, &'a [u8]), Refusal> {
    let [prefix] = cut.array("a segment")?;
    if prefix != 0xff {
        return Err(Refusal::corrupt(FORMAT, format!("byte {prefix:#04x} where a marker belongs")));
    }
    let mut marker = prefix;
    while marker == 0xff {
        [marker] = cut.array("a segment")?;
    }
    if marker == EOI {
        return Ok((marker, &[]));
    }
    let length = usize::from(u16::from_be_bytes(cut.array("a segment's length")?));
    let Some(content) = length.checked_sub(2) else {
        return Err(Refusal::corrupt(FORMAT, format!("a segment of {length} bytes")));
    };
    Ok((marker, cut.take(content, "the rest of a segment")?))
}

fn frame_header(marker: u8, segment: &[u8]) -> Result<Frame, Refusal> {
    let unsupported = |feature: String| Refusal::Unsupported { format: FORMAT, feature };
    let progressive = match marker - SOF_FIRST {
        0 | 1 => false,
        2 => true,
        3 => return Err(unsupported("lossless coding".to_owned())),
        process => return Err(unsupported(format!("coding process {process}"))),
    };
    let mut cut = Cut::new(FORMAT, segment);
    let missing = "the rest of the frame header";
    let [precision, h1, h0, w1, w0, components] = cut.array(missing)?;
    if precision != 8 {
        return Err(unsupported(format!("{precision} bits a sample")));
    }
    if !matches!(components, 1 | 3 | 4) {
        return Err(unsupported(format!("{components} components")));
    }
    let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
    let mut factors = Vec::with_capacity(usize::from(components));
    for _ in 0..components {
        let [_, sampling, _] = cut.array(missing)?;
        let (h, v) = (sampling >> 4, sampling & 15);
        if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
            return Err(Refusal::corrupt(FORMAT, format!("sampling factors {h}×{v}")));
        }
        factors.push((u64::from(h), u64::from(v)));
    }
    // A unit of interleaving has h × v blocks of 64 samples per component.
    let h_max = factors.iter().map(|(h, _)| *h).max().unwrap_or(1);
    let v_max = factors.iter().map(|(_, v)| *v).max().unwrap_or(1);
    let units = u64::from(width).div_ceil(8 * h_max) * u64::from(height).div_ceil(8 * v_max);
    let samples = factors.iter().map(|(h, v)| units * h * v * 64).sum();
    Ok(Frame { width: width.into(), height: height.into(), components, samples, progressive })
}

/// Walks compressed data and the segments between scans up to the end marker. What follows it (a second
/// picture, a video) is not ours.
fn walk_scans(cut: &mut Cut<'_>) -> Result<(), Refusal> {
    const MISSING: &str = "the end marker";
    loop {
        let Some(at) = cut.rest.iter().position(|byte| *byte == 0xff) else {
            return Err(Refusal::Truncated { format: FORMAT, missing: MISSING });
        };
        match cut.rest.get(at + 1) {
            // Stuffing and restart markers belong to the data; a fill byte is skipped alone.
            Some(0 | RST_FIRST..=RST_LAST) => cut.rest = &cut.rest[at + 2..],
            Some(0xff) => cut.rest = &cut.rest[at + 1..],
            Some(_) => {
                cut.rest = &cut.rest[at..];
                if segment(cut)?.0 == EOI {
                    return Ok(());
                }
            }
            None => return Err(Refusal::Truncated { format: FORMAT, missing: MISSING }),
        }
    }
}

/// Renames the segments that carry metadata (EXIF, XMP, ICC, MPF, Photoshop) to comments, so that a decoder
/// skips them instead of keeping copies: a source that is all metadata would otherwise be held several times.
pub(crate) fn blind_metadata(bytes: &mut [u8]) {
    let mut at = 2;
    while let Some([0xff, marker, high, low]) = bytes.get(at..at + 4).and_then(|four| four.as_array()) {
        if *marker == 0xff {
            at += 1;
            continue;
        }
        if *marker == SOS {
            return;
        }
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if matches!(*marker, APP1 | APP2 | APP13) {
            bytes[at + 1] = COM;
        }
        at += 2 + length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::limits::Limits;

    #[test]
    fn every_orientation_is_found() {
        for orientation in Orientation::ALL {
            let found = probe(&fixture::jpeg_held(orientation, 8, 6)).unwrap();
            assert_eq!(found.orientation, orientation);
            assert_eq!((found.width, found.height), (8, 6), "sizes are as stored");
            assert_eq!(found.upright_size(), orientation.apply_to_size((8, 6)));
        }
    }

    #[test]
    fn a_bomb_is_refused_from_its_frame_header() {
        let mut file = fixture::still(Format::Jpeg, 16, 16);
        let sof = file.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        file[sof + 5..sof + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        let refused = crate::probe::probe(&file, &Limits::default());
        assert!(matches!(refused, Err(Refusal::TooLong { width: 65535, height: 65535, .. })), "{refused:?}");
    }

    #[test]
    fn progressive_pictures_count_their_coefficients() {
        let baseline = probe(&fixture::still(Format::Jpeg, 64, 64)).unwrap();
        let progressive = probe(&fixture::progressive_jpeg(64, 64)).unwrap();
        // 64 × 64 in 4:2:0 has 1.5 samples a pixel, two bytes each.
        assert_eq!(progressive.work_bytes - baseline.work_bytes, 64 * 64 * 3);
    }

    #[test]
    fn coding_processes_that_no_browser_shows_are_named() {
        let mut file = fixture::still(Format::Jpeg, 16, 16);
        let sof = file.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        for (marker, word) in [(0xc3, "lossless"), (0xc9, "process 9")] {
            file[sof + 1] = marker;
            let refused = probe(&file).unwrap_err().to_string();
            assert!(refused.contains(word), "{refused}");
        }
    }

    #[test]
    fn an_end_marker_inside_a_thumbnail_does_not_hide_a_cut() {
        let mut exif = exif::block(Orientation::Upright);
        exif.extend([0xff, EOI]);
        let file = fixture::jpeg_with_exif(&exif, 16, 16);
        assert!(probe(&file).is_ok());
        let refused = probe(&file[..file.len() - 2]);
        assert!(matches!(refused, Err(Refusal::Truncated { missing: "the end marker", .. })), "{refused:?}");
    }

    #[test]
    fn blinded_metadata_is_no_longer_found() {
        let mut file = fixture::jpeg_held(Orientation::Rotate90, 8, 8);
        let length = file.len();
        blind_metadata(&mut file);
        assert_eq!(file.len(), length);
        assert_eq!(probe(&file).unwrap().orientation, Orientation::Upright);
        blind_metadata(&mut []);
    }
}
