//! A photograph for demonstrations, painted by formula: sky, sun, mountains, a lake and film grain.
//!
//! Only integers and IEEE sums, products, quotients and square roots are used, so that every machine paints the same
//! bytes. It is stored lying on its side, as cameras do, with EXIF orientation 6 and a camera's name to strip.

use crate::exif;
use crate::orient::Orientation;

/// Stored width in pixels; the upright picture is 1067 × 1600.
pub const STORED_WIDTH: u16 = 1600;

/// Stored height in pixels.
pub const STORED_HEIGHT: u16 = 1067;

/// The photograph as a JPEG file.
#[must_use]
pub fn photo() -> Vec<u8> {
    let (width, height) = (u32::from(STORED_WIDTH), u32::from(STORED_HEIGHT));
    let mut rgb = Vec::with_capacity((width * height * 3) as usize);
    for row in 0..height {
        for column in 0..width {
            // A quarter turn clockwise brings the stored picture upright.
            rgb.extend(scene(height - 1 - row, column));
        }
    }
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, 90);
    encoder.set_sampling_factor(jpeg_encoder::SamplingFactor::F_2_2);
    let written = encoder
        .add_exif_metadata(&exif::block(Orientation::Rotate90))
        .and_then(|()| encoder.encode(&rgb, STORED_WIDTH, STORED_HEIGHT, jpeg_encoder::ColorType::Rgb));
    // Sizes are constants and the file is memory: neither can be refused.
    debug_assert!(written.is_ok());
    file
}

/// The colour at a place of the upright picture, 1067 × 1600.
fn scene(x: u32, y: u32) -> [u8; 3] {
    const HORIZON: f32 = 1000.0;
    let (fx, fy) = (x as f32, y as f32);
    let color = if fy < HORIZON {
        land(fx, fy)
    } else {
        // The lake mirrors the land, darker with distance from the shore, broken by ripples.
        let depth = fy - HORIZON;
        let ripple = (noise(x / 9, y / 2, 7) - 0.5) * depth * 0.12;
        let mirrored = land(fx + ripple, HORIZON - depth * 0.9 - 1.0);
        let dim = 0.72 - depth / 2400.0;
        mix([18.0, 42.0, 66.0], mirrored, dim)
    };
    let grain = (noise(x, y, 1) - 0.5) * 14.0;
    color.map(|channel| (channel + grain).clamp(0.0, 255.0) as u8)
}

/// Sky, sun and three chains of mountains.
fn land(x: f32, y: f32) -> [f32; 3] {
    let mut color = mix([250.0, 176.0, 112.0], [44.0, 92.0, 168.0], (1.0 - y / 1000.0).max(0.0));
    let (dx, dy) = (x - 720.0, y - 520.0);
    let distance = (dx * dx + dy * dy).sqrt();
    color = mix(color, [255.0, 244.0, 214.0], (1.0 - distance / 420.0).max(0.0));
    if distance < 74.0 {
        color = [255.0, 250.0, 232.0];
    }
    for (number, (base, tall, step, tone)) in [
        (690.0, 260.0, 210.0, [116.0, 124.0, 160.0]),
        (790.0, 210.0, 140.0, [74.0, 92.0, 112.0]),
        (900.0, 150.0, 90.0, [34.0, 62.0, 58.0]),
    ]
    .into_iter()
    .enumerate()
    {
        let ridge = base - ridge(x, step, number as u32 + 11) * tall;
        if y > ridge {
            // Haze gathers at the foot; snow lies on the first chain.
            let haze = ((y - ridge) / 420.0).min(0.5);
            color = mix(tone, [206.0, 190.0, 180.0], haze);
            if number == 0 && y < ridge + 26.0 {
                color = [236.0, 238.0, 246.0];
            }
        }
    }
    color
}

/// Height of a mountain chain at `x`, 0 to 1: corners every `step` pixels with finer corners between.
fn ridge(x: f32, step: f32, seed: u32) -> f32 {
    let octave = |step: f32, seed: u32| {
        let place = (x / step + 64.0).max(0.0);
        let (corner, part) = (place as u32, place - (place as u32) as f32);
        noise(corner, 0, seed) * (1.0 - part) + noise(corner + 1, 0, seed) * part
    };
    octave(step, seed) * 0.7 + octave(step / 4.0, seed + 50) * 0.22 + octave(step / 16.0, seed + 90) * 0.08
}

fn mix(from: [f32; 3], to: [f32; 3], part: f32) -> [f32; 3] {
    std::array::from_fn(|at| from[at] * (1.0 - part) + to[at] * part)
}

/// A number from 0 to 1 that looks random and is always the same for the same place.
fn noise(x: u32, y: u32, seed: u32) -> f32 {
    let mut hash = x.wrapping_mul(0x9e37_79b1) ^ y.wrapping_mul(0x85eb_ca77) ^ seed.wrapping_mul(0xc2b2_ae3d);
    hash = (hash ^ (hash >> 15)).wrapping_mul(0x2c1b_3c6d);
    hash = (hash ^ (hash >> 12)).wrapping_mul(0x297a_2d39);
    ((hash ^ (hash >> 15)) >> 8) as f32 / 16_777_216.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::probe::probe;

    #[test]
    fn the_sample_is_a_camera_photograph_and_always_the_same() {
        let file = photo();
        let probe = probe(&file, &Limits::default()).unwrap();
        assert_eq!((probe.width, probe.height, probe.orientation), (1600, 1067, Orientation::Rotate90));
        assert!(file.windows(14).any(|window| window == b"Jobcell Camera"));
        assert!((100_000..2_000_000).contains(&file.len()), "{} bytes", file.len());
        assert_eq!(file, photo());
    }
}
