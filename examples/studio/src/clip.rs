//! Clips as YUV4MPEG2, the form in which encoders hand over frames: a line about all of them, then each frame's planes.

use std::ops::Range;

/// What the file begins with.
const MAGIC: &str = "YUV4MPEG2";
/// Before every frame.
const FRAME: &[u8] = b"FRAME";
/// Pixels of a side.
const SIDE_MAX: usize = 4096;

/// A clip in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clip {
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    bytes: Vec<u8>,
    /// Where each frame's planes begin.
    frames: Vec<usize>,
}

/// Why a file is no clip that this can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoClip(String);

impl std::error::Error for NoClip {}

impl std::fmt::Display for NoClip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

fn no<T>(why: impl Into<String>) -> Result<T, NoClip> {
    Err(NoClip(why.into()))
}

impl Clip {
    /// Reads a file with one brightness a pixel and, as most have, one colour for four pixels (`C420`).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(bytes: Vec<u8>) -> Result<Self, NoClip> {
        let Some(end) = bytes.iter().take(256).position(|byte| *byte == b'\n') else {
            return no("it has no first line");
        };
        let head = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
        let mut words = head.split(' ');
        if words.next() != Some(MAGIC) {
            return no(format!("it does not begin with {MAGIC}"));
        }
        let (mut width, mut height) = (0, 0);
        for word in words {
            match word.split_at_checked(1) {
                Some(("W", pixels)) => width = pixels.parse().unwrap_or(0),
                Some(("H", pixels)) => height = pixels.parse().unwrap_or(0),
                Some(("C", form)) if !form.starts_with("420") => {
                    return no(format!("its colours are C{form}; only C420 is read"));
                }
                _ => {}
            }
        }
        let is_side = |side: usize| (2..=SIDE_MAX).contains(&side) && side.is_multiple_of(2);
        if !is_side(width) || !is_side(height) {
            return no(format!("its size {width}×{height} is not even, or not within {SIDE_MAX}"));
        }
        let mut clip = Self { width, height, bytes, frames: Vec::new() };
        let mut at = end + 1;
        while at < clip.bytes.len() {
            let rest = &clip.bytes[at..];
            let line = rest.iter().take(128).position(|byte| *byte == b'\n');
            let Some(line) = line.filter(|_| rest.starts_with(FRAME)) else {
                return no(format!("frame {} does not begin where it should", clip.frames.len()));
            };
            let planes = at + line + 1;
            at = planes + clip.frame_bytes();
            if at > clip.bytes.len() {
                return no(format!("frame {} is cut off", clip.frames.len()));
            }
            clip.frames.push(planes);
        }
        if clip.frames.is_empty() { no("it has no frame") } else { Ok(clip) }
    }

    /// Frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Never: a clip has a frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    fn frame_bytes(&self) -> usize {
        self.width * self.height * 3 / 2
    }

    fn luma_range(&self, frame: usize) -> Range<usize> {
        let start = self.frames[frame];
        start..start + self.width * self.height
    }

    /// How bright each pixel of a frame is.
    #[must_use]
    pub fn luma(&self, frame: usize) -> &[u8] {
        &self.bytes[self.luma_range(frame)]
    }

    /// The same, to be changed.
    pub fn luma_mut(&mut self, frame: usize) -> &mut [u8] {
        let range = self.luma_range(frame);
        &mut self.bytes[range]
    }

    /// Blueness and redness of a frame, a quarter as many as pixels.
    #[must_use]
    pub fn chroma(&self, frame: usize) -> (&[u8], &[u8]) {
        let (start, size) = (self.luma_range(frame).end, self.width * self.height / 4);
        self.bytes[start..start + 2 * size].split_at(size)
    }

    /// The file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A clip whose pixels this says: frame, x, y.
    pub(crate) fn painted(
        width: usize,
        height: usize,
        frames: usize,
        paint: impl Fn(usize, usize, usize) -> u8,
    ) -> Vec<u8> {
        let mut bytes = format!("{MAGIC} W{width} H{height} F25:1 Ip C420jpeg\n").into_bytes();
        for frame in 0..frames {
            bytes.extend_from_slice(b"FRAME\n");
            bytes.extend((0..width * height).map(|at| paint(frame, at % width, at / width)));
            bytes.extend(vec![128; width * height / 2]);
        }
        bytes
    }

    #[test]
    fn frames_are_where_they_are() {
        let clip =
            Clip::read(painted(4, 2, 3, |frame, x, y| u8::try_from(frame * 100 + y * 10 + x).unwrap()))
                .unwrap();
        assert_eq!((clip.width, clip.height, clip.len()), (4, 2, 3));
        assert_eq!(clip.luma(2), [200, 201, 202, 203, 210, 211, 212, 213]);
        assert_eq!(clip.chroma(0), (&[128, 128][..], &[128, 128][..]));
    }

    #[test]
    fn what_is_no_clip_says_why() {
        let good = painted(4, 2, 2, |_, _, _| 0);
        let cut = good[..good.len() - 1].to_vec();
        for (bytes, why) in [
            (b"GIF89a\n".to_vec(), "does not begin with"),
            (b"YUV4MPEG2 W4 H2 C444\n".to_vec(), "C444"),
            (b"YUV4MPEG2 W3 H2\n".to_vec(), "3×2"),
            (b"YUV4MPEG2 W99999 H2\n".to_vec(), "99999×2"),
            (b"YUV4MPEG2 W4 H2\n".to_vec(), "no frame"),
            (b"YUV4MPEG2 W4 H2\nFRAMF\n".to_vec(), "frame 0"),
            (cut, "frame 1 is cut off"),
            (Vec::new(), "no first line"),
        ] {
            let told = Clip::read(bytes).unwrap_err().to_string();
            assert!(told.contains(why), "{told}");
        }
    }
}
