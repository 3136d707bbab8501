//! What a job will need at its peak, worked out before it starts.
//!
//! A cell that runs out of memory traps, and a trap is retried; a job that can never fit must be refused
//! instead. The estimate counts every large buffer by the sizes in the header and the asked outputs, and takes
//! the worst order. The source's bytes are counted to the end although they are freed after decoding: the
//! hole they leave is not always used again.

use crate::encode::{Encoding, OWN_TABLES_PIXELS_MAX};
use crate::format::Format;
use crate::geometry::Geometry;
use crate::limits::{OUTPUT_BYTES_MAX, WORKING_BYTES_MAX};
use crate::orient::Orientation;
use crate::probe::Probe;
use crate::refusal::Refusal;

/// The resampler's buffer between its passes, its tables, and the codecs' own state.
const FIXED_BYTES: u64 = 3 * 1024 * 1024;

/// Bytes needed at the peak of decoding a source that took `source_bytes` to fetch, and of making each of `outputs`
/// in turn.
#[must_use]
pub fn peak_bytes<'a>(
    probe: &Probe,
    source_bytes: u64,
    outputs: impl Iterator<Item = (&'a Geometry, Encoding)>,
) -> u64 {
    let picture = probe.pixels() * probe.channels.count() as u64;
    let most = outputs.map(|(geometry, encoding)| output_bytes(probe, geometry, encoding.format)).max();
    source_bytes + picture + probe.work_bytes.max(most.unwrap_or(0)) + FIXED_BYTES
}

/// Refuses what does not fit into a cell.
///
/// # Errors
/// [`Refusal::TooMuchMemory`].
pub fn check<'a>(
    probe: &Probe,
    source_bytes: u64,
    outputs: impl Iterator<Item = (&'a Geometry, Encoding)>,
) -> Result<(), Refusal> {
    let need = peak_bytes(probe, source_bytes, outputs);
    if need > WORKING_BYTES_MAX {
        return Err(Refusal::TooMuchMemory { need, limit: WORKING_BYTES_MAX });
    }
    Ok(())
}

/// What one output needs beside the decoded picture.
fn output_bytes(probe: &Probe, geometry: &Geometry, format: Format) -> u64 {
    let pixels = u64::from(geometry.width) * u64::from(geometry.height);
    let raw = pixels * probe.channels.count() as u64;
    let resized = if geometry.scaled { raw } else { 0 };
    let turned = if probe.orientation == Orientation::Upright { 0 } else { raw };
    // A growing file is held twice while it moves. JPEG at its best quality takes about a byte a pixel.
    let file = |bytes: u64| bytes.min(OUTPUT_BYTES_MAX) * 2;
    resized
        + match format {
            Format::Jpeg if pixels <= OWN_TABLES_PIXELS_MAX => pixels * 6 + file(pixels),
            Format::Jpeg => file(pixels),
            Format::Png => file(raw),
            // The encoder spreads pixels to four bytes and makes the whole file beside them, at worst as large as the
            // pixels and held three times while it moves; only then, with the four bytes gone, is it handed over.
            Format::Webp => turned + (pixels * 4 + raw * 3).max(raw * 2 + OUTPUT_BYTES_MAX),
            // Four bytes a pixel to search colours in, then one.
            Format::Gif => pixels * 5 + file(pixels),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::limits::{PIXELS_MAX, SOURCE_BYTES_MAX};
    use crate::picture::Channels;

    fn photo(width: u32, height: u32, work_bytes: u64) -> Probe {
        Probe {
            format: Format::Jpeg,
            width,
            height,
            orientation: Orientation::Rotate90,
            frames: 1,
            animated: false,
            channels: Channels::Rgb,
            work_bytes,
        }
    }

    fn need(probe: &Probe, size: Size, format: Format) -> u64 {
        let geometry = size.geometry((probe.width, probe.height), probe.orientation, false);
        let encoding = Encoding { format, quality: 82, background: [255; 3] };
        peak_bytes(probe, SOURCE_BYTES_MAX, std::iter::once((&geometry, encoding)))
    }

    #[test]
    fn twelve_megapixels_pass_in_every_jpeg_layout() {
        let pixels = 4000 * 3000;
        // Baseline; progressive 4:2:0 with 1.5 samples a pixel; progressive 4:4:4 with 3; two bytes a sample.
        for (work, source) in [(0, SOURCE_BYTES_MAX), (pixels * 3, SOURCE_BYTES_MAX), (pixels * 6, 12 << 20)]
        {
            let probe = photo(4000, 3000, work);
            for size in [Size::Width(320), Size::Width(1600), Size::Original] {
                let need = need(&probe, size, Format::Jpeg) - SOURCE_BYTES_MAX + source;
                assert!(need <= WORKING_BYTES_MAX, "{need} for {size:?} and {work}");
            }
        }
    }

    #[test]
    fn the_largest_baseline_photograph_passes() {
        let probe = photo(5000, 5000, 0);
        assert_eq!(probe.pixels(), PIXELS_MAX);
        assert!(need(&probe, Size::Width(640), Format::Jpeg) <= WORKING_BYTES_MAX);
    }

    #[test]
    fn work_that_cannot_fit_is_refused_before_it_starts() {
        let probe = photo(5000, 5000, 5000 * 5000 * 6);
        let geometry = Size::Width(10).geometry((5000, 5000), probe.orientation, false);
        let encoding = Encoding { format: Format::Jpeg, quality: 82, background: [255; 3] };
        let refused = check(&probe, 1000, std::iter::once((&geometry, encoding))).unwrap_err();
        assert!(matches!(refused, Refusal::TooMuchMemory { limit: WORKING_BYTES_MAX, .. }));
        // A lossless WebP of a whole photograph: four bytes a pixel several times over.
        assert!(need(&photo(5000, 5000, 0), Size::Original, Format::Webp) > WORKING_BYTES_MAX);
    }
}
