//! Why a picture or a payload is refused, and what that means for the job.
//!
//! Nothing here gets better by trying again: the same bytes and the same payload give the same refusal.
//! What may get better (a server that is down) is decided in [`crate::source`].

use jobcell_sdk::prelude::Failure;

use crate::format::Format;

/// A refusal that a retry would only repeat.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The payload asks for something that does not exist or contradicts itself; the producer must change it.
    #[error("payload: {field}: {reason}")]
    Payload {
        /// Path of the field in the payload.
        field: String,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// The first bytes belong to none of the formats read here.
    #[error("unknown image format (first bytes {first}); JPEG, PNG, GIF and WebP are read")]
    UnknownFormat {
        /// Up to twelve bytes, in hex.
        first: String,
    },
    /// The store or server says one thing, the bytes another.
    #[error(
        "declared as {declared} but the bytes are {found}; correct the content type, or set `sniff` to go by the bytes"
    )]
    Mismatch {
        /// The declared content type.
        declared: String,
        /// What the bytes are.
        found: &'static str,
    },
    /// The file ends before its own structure does.
    #[error("{format} is cut off: {missing}")]
    Truncated {
        /// Format of the source.
        format: Format,
        /// The part that is not there.
        missing: &'static str,
    },
    /// The structure or the compressed data is damaged.
    #[error("{format} is damaged: {cause}")]
    Corrupt {
        /// Format of the source.
        format: Format,
        /// What the reader stumbled over.
        cause: String,
    },
    /// A correct file that uses a part of its format which is not read here.
    #[error("{format} uses {feature}, which is not supported")]
    Unsupported {
        /// Format of the source.
        format: Format,
        /// The part.
        feature: String,
    },
    /// The declared picture has too many pixels.
    #[error("the picture declares {width}×{height} pixels; the limit is {limit} pixels")]
    TooManyPixels {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// Pixels allowed.
        limit: u64,
    },
    /// One side is too long.
    #[error("the picture declares {width}×{height} pixels; no side may be longer than {limit}")]
    TooLong {
        /// Declared width.
        width: u32,
        /// Declared height.
        height: u32,
        /// Longest side allowed.
        limit: u32,
    },
    /// The animation has too many frames.
    #[error("the animation has {frames} frames; the limit is {limit}")]
    TooManyFrames {
        /// Frames declared or counted.
        frames: u32,
        /// Frames allowed.
        limit: u32,
    },
    /// The encoded source is too large.
    #[error("the source has {bytes} bytes; the limit is {limit}")]
    SourceTooLarge {
        /// Size of the source, or the least it is known to have.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The work would not fit into the cell.
    #[error(
        "this picture and these outputs need about {need} bytes of memory; a media job has {limit}: send a smaller picture or ask for smaller outputs"
    )]
    TooMuchMemory {
        /// Estimated peak.
        need: u64,
        /// Bytes available.
        limit: u64,
    },
    /// An output came out larger than may be written.
    #[error(
        "output `{name}` is larger than {limit} bytes; ask for a smaller size, a lower quality or another format"
    )]
    OutputTooLarge {
        /// The output's name.
        name: String,
        /// Bytes allowed.
        limit: u64,
    },
    /// The resampler refused a picture that was already checked.
    #[error("resizing: {cause}")]
    Resampling {
        /// The resampler's words.
        cause: String,
    },
    /// An encoder refused a picture that was already checked.
    #[error("output `{name}` cannot be encoded: {cause}")]
    Encoding {
        /// The output's name.
        name: String,
        /// The encoder's words.
        cause: String,
    },
}

impl Refusal {
    /// A fault of the payload at `field`.
    pub(crate) fn payload(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Payload { field: field.into(), reason: reason.into() }
    }

    /// Damage found in `format`.
    pub(crate) fn corrupt(format: Format, cause: impl std::fmt::Display) -> Self {
        Self::Corrupt { format, cause: cause.to_string() }
    }

    /// What the job answers: `invalid` when the producer must change the payload, `fatal` when the picture
    /// is to blame.
    #[must_use]
    pub fn into_failure(self) -> Failure {
        match self {
            Self::Payload { .. } => Failure::invalid(self),
            Self::UnknownFormat { .. }
            | Self::Mismatch { .. }
            | Self::Truncated { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported { .. }
            | Self::TooManyPixels { .. }
            | Self::TooLong { .. }
            | Self::TooManyFrames { .. }
            | Self::SourceTooLarge { .. }
            | Self::TooMuchMemory { .. }
            | Self::OutputTooLarge { .. }
            | Self::Resampling { .. }
            | Self::Encoding { .. } => Failure::fatal(self),
        }
    }
}
