//! What a producer puts into a job, as typed; checked into what is needed by [`crate::recipe`].
//!
//! Field names are camelCase; an unknown field is an error, so that a typing mistake fails the first job
//! instead of silently changing pictures.

use serde::{Deserialize, Serialize};

use crate::format::Format;

/// Where the picture comes from: `{"blob": {"store": …, "key": …}}` or `{"url": "https://…"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// An object in a granted blob store.
    Blob(BlobSource),
    /// An `https` address that the handler's `http` grant covers. Signed addresses are fine: the query is
    /// left out of every message. Redirects are not followed; give the final address.
    Url(String),
}

/// An object in a blob store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct BlobSource {
    /// Name of the store in the host's configuration.
    pub store: String,
    /// Key of the object.
    pub key: String,
}

/// Where the outputs go. The key of an output is `prefix` + its name + `.` + the format's extension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Destination {
    /// Name of the store in the host's configuration.
    pub store: String,
    /// Put before every name as it is, so end it with `/` for a folder. Default: nothing.
    #[serde(default)]
    pub prefix: String,
}

/// Lower limits for this job; see [`crate::limits`] for the maxima, which apply when left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LimitsPayload {
    /// Pixels, width × height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<u64>,
    /// Pixels of the longer side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<u32>,
    /// Frames of an animation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u32>,
    /// Bytes of the encoded source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Payload of `process`: one picture, several outputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Process {
    /// The picture.
    pub source: Source,
    /// Where the outputs go.
    pub destination: Destination,
    /// 1 to 32 outputs with different names.
    pub outputs: Vec<Output>,
    /// Lower limits for this job.
    #[serde(default)]
    pub limits: LimitsPayload,
    /// Go by the bytes even when the declared content type says another format. Default: refuse.
    #[serde(default)]
    pub sniff: bool,
}

/// How a picture is fitted into the asked size. The size is always that of the upright picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fit {
    /// Keep the size; `width` and `height` must be left out.
    #[default]
    Original,
    /// Fill `width` × `height` exactly and cut off what sticks out, evenly on both sides.
    Cover,
    /// As large as fits into `width` × `height`; nothing is cut off.
    Contain,
    /// `width` pixels wide; the height follows.
    Width,
}

/// The encoding of an output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OutputFormat {
    /// The format of the source.
    #[default]
    Source,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// Lossless WebP.
    Webp,
    /// GIF with one frame of at most 256 colours.
    Gif,
}

impl OutputFormat {
    /// The format to write for a source of `source`.
    #[must_use]
    pub fn resolve(self, source: Format) -> Format {
        match self {
            Self::Source => source,
            Self::Jpeg => Format::Jpeg,
            Self::Png => Format::Png,
            Self::Webp => Format::Webp,
            Self::Gif => Format::Gif,
        }
    }
}

/// What becomes of an animation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Animation {
    /// Write the first frame as a still picture.
    #[default]
    First,
    /// Pass an animated GIF through: frames and timing byte for byte, metadata left out. Needs `fit`
    /// `original` and `format` `source` or `gif`. A source that is not animated is written as a still;
    /// an animated WebP or PNG is refused.
    Keep,
}

/// One picture to write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Output {
    /// 1 to 64 of `a-z A-Z 0-9 . _ -`; part of the key.
    pub name: String,
    /// Default `original`.
    #[serde(default)]
    pub fit: Fit,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// Default `source`.
    #[serde(default)]
    pub format: OutputFormat,
    /// JPEG quality 1 to 100, default 82. Refused for the other formats, which are lossless here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// Allow an output larger than the source. Default: the output stays at the source's size, a `cover`
    /// keeps its proportions.
    #[serde(default)]
    pub upscale: bool,
    /// `#rrggbb` put under transparency where the format has none (JPEG). Default `#ffffff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    /// Default `first`.
    #[serde(default)]
    pub animation: Animation,
}

/// Payload of `thumbnails`: the same picture at several widths.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Thumbnails {
    /// The picture.
    pub source: Source,
    /// Where the thumbnails go, named `w160`, `w320`, …
    pub destination: Destination,
    /// Widths in pixels, default 160, 320 and 640. A picture narrower than a width keeps its own width;
    /// the key does not change.
    #[serde(default = "default_widths")]
    pub widths: Vec<u32>,
    /// Default `jpeg`.
    #[serde(default = "default_thumbnail_format")]
    pub format: OutputFormat,
    /// JPEG quality 1 to 100, default 82.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<u8>,
    /// `#rrggbb` put under transparency when JPEG is written. Default `#ffffff`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    /// Lower limits for this job.
    #[serde(default)]
    pub limits: LimitsPayload,
    /// Go by the bytes even when the declared content type says another format. Default: refuse.
    #[serde(default)]
    pub sniff: bool,
}

/// Lists of cards, chat, and a page on a dense screen: what most pages need.
fn default_widths() -> Vec<u32> {
    vec![160, 320, 640]
}

/// Thumbnails go where every client must show them.
fn default_thumbnail_format() -> OutputFormat {
    OutputFormat::Jpeg
}

impl From<Thumbnails> for Process {
    fn from(thumbnails: Thumbnails) -> Self {
        let Thumbnails { source, destination, widths, format, quality, background, limits, sniff } =
            thumbnails;
        let output = |width| Output {
            name: format!("w{width}"),
            fit: Fit::Width,
            width: Some(width),
            format,
            quality,
            background: background.clone(),
            ..Output::default()
        };
        let outputs = widths.into_iter().map(output).collect();
        Self { source, destination, outputs, limits, sniff }
    }
}

/// Payload of `inspect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Inspect {
    /// The picture.
    pub source: Source,
    /// Lower limits for this job.
    #[serde(default)]
    pub limits: LimitsPayload,
    /// Go by the bytes even when the declared content type says another format. Default: refuse.
    #[serde(default)]
    pub sniff: bool,
}
