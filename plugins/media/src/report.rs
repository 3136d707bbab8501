//! What a job answers.

use serde::{Deserialize, Serialize};

use crate::format::Format;
use crate::probe::Probe;

/// Result of `inspect`, and part of the others: the source as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceReport {
    /// Format of the bytes, whatever they were declared as.
    pub format: Format,
    /// Pixels, seen upright.
    pub width: u32,
    /// Pixels, seen upright.
    pub height: u32,
    /// EXIF orientation, 1 to 8; 1 when there is none.
    pub orientation: u8,
    /// Does it move?
    pub animated: bool,
    /// 1 for a still picture.
    pub frames: u32,
    /// May it have transparency? Read from the header; the pixels may still all be opaque.
    pub alpha: bool,
    /// Size of the file.
    pub bytes: u64,
}

impl SourceReport {
    /// Reports on a probed file of `bytes` bytes.
    #[must_use]
    pub fn new(probe: &Probe, bytes: u64) -> Self {
        let (width, height) = probe.upright_size();
        Self {
            format: probe.format,
            width,
            height,
            orientation: probe.orientation as u8,
            animated: probe.animated,
            frames: probe.frames,
            alpha: probe.has_alpha(),
            bytes,
        }
    }
}

/// One written output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputReport {
    /// The output's name in the payload.
    pub name: String,
    /// The blob store.
    pub store: String,
    /// The key in it.
    pub key: String,
    /// Pixels, seen upright.
    pub width: u32,
    /// Pixels, seen upright.
    pub height: u32,
    /// Size of the file.
    pub bytes: u64,
    /// Media type, as given to the store.
    pub content_type: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// True for an animation that was passed through.
    pub animated: bool,
}

/// Result of `process` and `thumbnails`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Processed {
    /// The source.
    pub source: SourceReport,
    /// In the order of the payload.
    pub outputs: Vec<OutputReport>,
}

/// Progress of `process` and `thumbnails`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Outputs written.
    pub done: usize,
    /// Outputs asked for.
    pub total: usize,
}
