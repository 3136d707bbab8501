//! What the outside answered, in the few forms that there are.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An answer of the outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It was done.
    Done,
    /// Yes or no.
    Flag(bool),
    /// A sum.
    Number(i64),
    /// A text: a new job's id, a setting.
    Text(String),
    /// A value, or that there is none.
    Value(Option<Blob>),
    /// Names with texts.
    Pairs(Vec<(String, String)>),
    /// A page of keys, and where the next one begins.
    Keys(Vec<String>, Option<u64>),
    /// What is known of a blob, and its content where that was read.
    Content(u64, Option<Blob>),
    /// What is known of blobs.
    Infos(Vec<BlobInfo>),
    /// An HTTP response.
    Response(Response),
    /// It was refused or failed.
    Failed(Fault),
}

/// Bytes: in JSON `{"text": …}` where they are text, else `{"base64": …}`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob(pub Bytes);

/// What is known of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobInfo {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// What it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Which content it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// An HTTP response as the guest was given it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its headers, in order.
    pub headers: Vec<(String, Blob)>,
    /// As much of its body as was read, and fitted.
    pub body: Blob,
    /// Its trailers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trailers: Vec<(String, Blob)>,
    /// How its body ended.
    pub end: End,
}

/// How the body of a response ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It is whole.
    Whole,
    /// Nobody read on.
    Left,
    /// The rest did not fit into the recording.
    Cut,
    /// It broke off.
    Failed(Fault),
}

/// A refusal or a failure: its word in the interface, and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The word.
    pub code: String,
    /// What comes with it: a text or a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

// === impl Answer ===

impl Answer {
    /// About how many bytes it takes.
    #[must_use]
    pub fn size(&self) -> usize {
        let pairs = |pairs: &[(String, Blob)]| {
            pairs.iter().map(|(name, value)| name.len() + value.0.len()).sum::<usize>()
        };
        let of = match self {
            Self::Done | Self::Flag(_) | Self::Number(_) | Self::Value(None) | Self::Content(_, None) => 0,
            Self::Text(text) => text.len(),
            Self::Value(Some(blob)) | Self::Content(_, Some(blob)) => blob.0.len(),
            Self::Pairs(pairs) => pairs.iter().map(|(name, text)| name.len() + text.len() + 8).sum(),
            Self::Keys(keys, _) => keys.iter().map(|key| key.len() + 4).sum(),
            Self::Infos(infos) => infos.iter().map(|info| info.key.len() + 96).sum(),
            Self::Response(response) => {
                response.body.0.len() + pairs(&response.headers) + pairs(&response.trailers)
            }
            Self::Failed(fault) => fault.code.len() + fault.detail.as_ref().map_or(0, String::len),
        };
        of + 16
    }
}

// === impl Blob ===

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Spelled {
    Text(String),
    Base64(String),
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spelled = match std::str::from_utf8(&self.0) {
            Ok(text) => Spelled::Text(text.to_owned()),
            Err(_) => Spelled::Base64(encode(&self.0)),
        };
        spelled.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Spelled::deserialize(deserializer)? {
            Spelled::Text(text) => Ok(Self(text.into())),
            Spelled::Base64(text) => {
                STANDARD_NO_PAD.decode(text).map(|bytes| Self(bytes.into())).map_err(D::Error::custom)
            }
        }
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD_NO_PAD.encode(bytes)
}

/// Exactly so many bytes.
pub(super) fn array<'de, D: Deserializer<'de>, const N: usize>(deserializer: D) -> Result<[u8; N], D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD_NO_PAD.decode(text).map_err(D::Error::custom)?;
    bytes
        .try_into()
        .map_err(|bytes: Vec<u8>| D::Error::custom(format!("{} bytes in place of {N}", bytes.len())))
}
