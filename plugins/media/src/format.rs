//! The image formats: their names, content types, file extensions and first bytes.

use serde::{Deserialize, Serialize};

use crate::refusal::Refusal;

/// A format that is read and written here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG, baseline or progressive, 8 bit.
    Jpeg,
    /// PNG; the default image of an animated one.
    Png,
    /// WebP, read lossy and lossless, written lossless.
    Webp,
    /// GIF; the first frame, or the whole animation passed through.
    Gif,
}

impl Format {
    /// The registered media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
        }
    }

    /// The usual file extension, without its dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Gif => "gif",
        }
    }

    /// Can it hold transparency?
    #[must_use]
    pub fn has_alpha(self) -> bool {
        match self {
            Self::Png | Self::Webp | Self::Gif => true,
            Self::Jpeg => false,
        }
    }

    /// Recognises a format by its first bytes; names and declared types are never trusted for this.
    ///
    /// # Errors
    /// [`Refusal::UnknownFormat`].
    pub fn sniff(bytes: &[u8]) -> Result<Self, Refusal> {
        match bytes {
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Ok(Self::Gif),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::Webp),
            _ => Err(Refusal::UnknownFormat { first: hex::encode(&bytes[..bytes.len().min(12)]) }),
        }
    }

    /// Compares the format of the bytes with the content type that a store or server declared for them.
    /// No declaration, or one that says nothing (`application/octet-stream`), passes.
    ///
    /// # Errors
    /// [`Refusal::Mismatch`].
    pub fn check_declared(self, declared: Option<&str>) -> Result<(), Refusal> {
        let Some(declared) = declared else { return Ok(()) };
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let agrees = match essence.as_str() {
            "" | "application/octet-stream" | "binary/octet-stream" | "image/*" => true,
            "image/jpg" | "image/pjpeg" => self == Self::Jpeg,
            "image/x-png" | "image/apng" => self == Self::Png,
            other => other == self.content_type(),
        };
        if agrees {
            return Ok(());
        }
        // The declaration comes from outside and goes into a message: keep it short and printable.
        let declared = essence.chars().filter(|c| c.is_ascii_graphic()).take(64).collect();
        Err(Refusal::Mismatch { declared, found: self.content_type() })
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Webp => "WebP",
            Self::Gif => "GIF",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_their_first_bytes_only() {
        assert_eq!(Format::sniff(b"\xff\xd8\xff\xe0rest").unwrap(), Format::Jpeg);
        assert_eq!(Format::sniff(b"GIF87a").unwrap(), Format::Gif);
        assert_eq!(Format::sniff(b"RIFF\x01\x02\x03\x04WEBPVP8 ").unwrap(), Format::Webp);
        let refused = Format::sniff(b"<svg xmlns").unwrap_err().to_string();
        assert!(refused.contains("3c73766720"), "{refused}");
        assert!(matches!(Format::sniff(b""), Err(Refusal::UnknownFormat { .. })));
    }

    #[test]
    fn declared_types_must_agree_unless_they_say_nothing() {
        for fine in [None, Some("image/jpeg"), Some("IMAGE/JPEG; q=1"), Some("image/jpg"), Some("")] {
            assert!(Format::Jpeg.check_declared(fine).is_ok(), "{fine:?}");
        }
        assert!(Format::Png.check_declared(Some("application/octet-stream")).is_ok());
        let refused = Format::Png.check_declared(Some("text/html; charset=utf-8")).unwrap_err().to_string();
        assert!(refused.contains("text/html") && refused.contains("image/png"), "{refused}");
        assert!(Format::Png.check_declared(Some("image/jpeg")).is_err());
    }
}
