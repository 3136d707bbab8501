//! Job `enhance`: a clip that was filmed in the dark with a shaking sensor becomes one that can be watched.

use jobcell_sdk::jobs::{self, Options};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{blobs, context};
use serde::{Deserialize, Serialize};

use crate::clip::Clip;
use crate::poster;

/// The store of uploads.
const UPLOADS: &str = "uploads";
/// The queue on which the plugin makes thumbnails of posters: the same one, by another job name.
const THUMBNAILS: (&str, &str) = ("video-enhancement", "thumbnails");
/// Of a hundred pixels so many may become plain black, and as many plain white.
const CUT_PERCENT: usize = 1;
/// The darkest and the brightest that video is meant to have.
const DARK: u8 = 16;
const BRIGHT: u8 = 235;

/// What a producer puts on the queue.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Upload {
    /// The video.
    pub video_id: String,
    /// The clip's key in the store of uploads.
    pub clip: String,
}

/// The darkest and the brightest of nearly all pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Darkest.
    pub dark: u8,
    /// Brightest.
    pub bright: u8,
}

/// What became of the clip.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Enhanced {
    /// The video.
    pub video_id: String,
    /// Frames.
    pub frames: usize,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// Key of the enhanced clip.
    pub clip: String,
    /// Key of the poster.
    pub poster: String,
    /// The frame on the poster.
    pub poster_frame: usize,
    /// Before.
    pub levels: Levels,
    /// How much pixels would flicker from frame to frame if it were only levelled, in steps of brightness.
    pub noise_before: f64,
    /// How much they do.
    pub noise_after: f64,
}

/// Takes the jobs named `enhance`.
///
/// # Errors
/// Invalid when the file is no clip; a retry when the store cannot be reached.
#[handler]
pub fn enhance(job: Job<Upload>) -> Result<Enhanced, Failure> {
    let Upload { video_id, clip: key } = job.data;
    let clip = Clip::read(blobs::get(UPLOADS, &key)?).or_invalid(format!("the clip {key}"))?;
    let levels = levels(&clip);
    let table = stretch(levels);
    let mut better = clip.clone();
    for frame in 0..clip.len() {
        calm(&clip, frame, &table, better.luma_mut(frame));
        context::progress(&(100 * (frame + 1) / clip.len()))?;
    }
    let poster_frame = sharpest(&better);
    let name = key.rsplit('/').next().unwrap_or(&key).trim_end_matches(".y4m");
    let (enhanced, picture) = (format!("enhanced/{name}.y4m"), format!("posters/{name}.png"));
    // Keys are the video's own: a second attempt writes the same again.
    blobs::put(UPLOADS, &enhanced, better.bytes(), Some("video/x-yuv4mpeg"))?;
    blobs::put(UPLOADS, &picture, poster::png(&better, poster_frame)?, Some("image/png"))?;
    let (queue, name) = THUMBNAILS;
    let thumbnails = serde_json::json!({
        "source": { "blob": { "store": UPLOADS, "key": picture } },
        "destination": { "store": UPLOADS, "prefix": format!("thumbs/{video_id}-") },
        "widths": [40, 80],
    });
    // Under an id made of the video's, so that a second attempt adds no second job.
    let id = format!("thumbnails-{video_id}");
    jobs::enqueue(queue, name, &thumbnails, &Options { id: Some(id), ..Options::default() })?;
    Ok(Enhanced {
        video_id,
        frames: clip.len(),
        width: clip.width,
        height: clip.height,
        clip: enhanced,
        poster: picture,
        poster_frame,
        levels,
        noise_before: noise(&clip, &table),
        noise_after: noise(&better, &std::array::from_fn(|level| u8::try_from(level).unwrap_or(u8::MAX))),
    })
}

/// Over all frames, so that the clip does not pulse.
fn levels(clip: &Clip) -> Levels {
    let mut counts = [0_usize; 256];
    for frame in 0..clip.len() {
        clip.luma(frame).iter().for_each(|luma| counts[usize::from(*luma)] += 1);
    }
    let cut = clip.len() * clip.width * clip.height * CUT_PERCENT / 100;
    Levels { dark: beyond(cut, &counts, 0..=255), bright: beyond(cut, &counts, (0..=255).rev()) }
}

/// The first of these brightnesses with more than so many pixels up to it.
fn beyond(cut: usize, counts: &[usize; 256], mut levels: impl Iterator<Item = u8>) -> u8 {
    let mut seen = 0;
    let first = levels.find(|level| {
        seen += counts[usize::from(*level)];
        seen > cut
    });
    first.unwrap_or(0)
}

/// From each brightness to that which it becomes.
fn stretch(Levels { dark, bright }: Levels) -> [u8; 256] {
    let (from, span) = (i32::from(dark), i32::from(bright.saturating_sub(dark)).max(1));
    let (low, high) = (i32::from(DARK), i32::from(BRIGHT));
    std::array::from_fn(|level| {
        let level = i32::try_from(level).unwrap_or(0);
        let stretched = low + (level - from) * (high - low) / span;
        u8::try_from(stretched.clamp(low, high)).unwrap_or(DARK)
    })
}

/// Of each pixel the middle one of three frames: what flashes up in one of them goes.
fn calm(clip: &Clip, frame: usize, table: &[u8; 256], out: &mut [u8]) {
    let last = clip.len() - 1;
    // The first and the last frame have both neighbours on one side.
    let (one, other) = match frame {
        0 => (last.min(1), last.min(2)),
        frame if frame == last => (last - 1, last.saturating_sub(2)),
        frame => (frame - 1, frame + 1),
    };
    let around = clip.luma(one).iter().zip(clip.luma(other));
    for ((out, now), (a, b)) in out.iter_mut().zip(clip.luma(frame)).zip(around) {
        let middle = (*now).clamp(*a.min(b), *a.max(b));
        *out = table[usize::from(middle)];
    }
}

/// How far pixels are from the middle between the frame before and the one after, on average, when each brightness is
/// shown as the table has it.
#[expect(clippy::cast_precision_loss, reason = "an average of bytes")]
fn noise(clip: &Clip, table: &[u8; 256]) -> f64 {
    let shown = |luma: &u8| u16::from(table[usize::from(*luma)]);
    let (mut sum, mut pixels) = (0_u64, 0_u64);
    for frame in 1..clip.len().saturating_sub(1) {
        let around = clip.luma(frame - 1).iter().zip(clip.luma(frame + 1));
        for (now, (before, after)) in clip.luma(frame).iter().zip(around) {
            sum += u64::from((2 * shown(now)).abs_diff(shown(before) + shown(after)) / 2);
            pixels += 1;
        }
    }
    if pixels == 0 { 0.0 } else { (sum as f64 / pixels as f64 * 100.0).round() / 100.0 }
}

/// The frame with the most detail.
fn sharpest(clip: &Clip) -> usize {
    let detail = |frame: &usize| -> u64 {
        let luma = clip.luma(*frame);
        luma.chunks(clip.width)
            .map(|row| row.windows(2).map(|pair| u64::from(pair[0].abs_diff(pair[1]))).sum::<u64>())
            .sum()
    };
    (0..clip.len()).max_by_key(detail).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::{self, Host};

    use super::*;
    use crate::clip::tests::painted;

    /// A slope in the dark; single pixels of frame 2 flash up.
    fn dark() -> Vec<u8> {
        painted(16, 16, 5, |frame, x, y| {
            if frame == 2 && x == y && x < 8 { 250 } else { u8::try_from(40 + 2 * x + y).unwrap() }
        })
    }

    fn job(key: &str) -> Upload {
        Upload { video_id: "v1".to_owned(), clip: key.to_owned() }
    }

    #[test]
    fn a_clip_is_levelled_calmed_and_has_a_poster() {
        let host =
            Host::new().blob(UPLOADS, "clips/v1.y4m", dark()).store(UPLOADS).enqueues("video-enhancement");
        let enhanced = host.run(enhance, testing::job(job("clips/v1.y4m"))).unwrap();
        assert_eq!((enhanced.frames, enhanced.clip.as_str()), (5, "enhanced/v1.y4m"));
        assert!(enhanced.levels.dark >= 40 && enhanced.levels.bright <= 90, "{:?}", enhanced.levels);
        assert!(enhanced.noise_before > 3.0 && enhanced.noise_after < 0.01, "{enhanced:?}");
        let better = Clip::read(host.blob_bytes(UPLOADS, "enhanced/v1.y4m").unwrap()).unwrap();
        assert_eq!((better.luma(2).iter().min(), better.luma(2).iter().max()), (Some(&DARK), Some(&BRIGHT)));
        assert!(host.blob_bytes(UPLOADS, "posters/v1.png").unwrap().starts_with(b"\x89PNG"));
        assert_eq!(host.progress().last(), Some(&serde_json::json!(100)));
        let [thumbnails] = &host.enqueued()[..] else { panic!() };
        assert_eq!((thumbnails.queue.as_str(), thumbnails.name.as_str()), THUMBNAILS);
    }

    #[test]
    fn what_is_no_clip_is_not_tried_again() {
        let host = Host::new().blob(UPLOADS, "a.mp4", *b"no clip");
        let ended = host.run(enhance, testing::job(job("a.mp4")));
        assert!(matches!(ended, Err(Failure::Invalid(why)) if why.contains("a.mp4")));
    }

    #[test]
    fn a_grey_clip_stays_grey() {
        let clip = Clip::read(painted(4, 4, 1, |_, _, _| 7)).unwrap();
        assert_eq!(levels(&clip), Levels { dark: 7, bright: 7 });
        assert_eq!(stretch(levels(&clip))[7], DARK);
        assert!(noise(&clip, &[0; 256]).abs() < f64::EPSILON);
    }
}
