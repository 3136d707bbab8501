//! Handlers from an OCI registry, in the layout that the CNCF gives WebAssembly there: a manifest with one layer, which
//! is the component itself.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use oci_client::client::{ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::manifest::{OciDescriptor, OciImageManifest};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio::time::timeout;

use crate::artifact::{ARTIFACT_BYTES_MAX, Artifact};

/// How long one answer may take to begin and to go on.
const ANSWER: Duration = Duration::from_secs(15);
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long all of it may take: 32 MiB over a slow line.
const WHOLE: Duration = Duration::from_secs(120);
/// Bytes of a manifest at most: what registries themselves take.
const MANIFEST_BYTES_MAX: usize = 4 << 20;
/// Kinds of manifests that are understood. No indexes: a component runs on every platform.
const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
/// What the layer with the component is called: today's name, and that of earlier tools.
const LAYERS: [&str; 3] = [
    "application/wasm",
    "application/vnd.wasm.content.layer.v1+wasm",
    "application/vnd.bytecodealliance.wasm.component.layer.v0+wasm",
];
/// The annotation of the manifest that carries a signature of the component, as `jobcell handler sign` prints it.
pub const SIGNATURE_ANNOTATION: &str = "dev.jobcell.signature";

/// Where in which registry: `host[:port]/repository:tag` or `…@sha256:DIGEST`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OciImage(Reference);

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} names nothing in a registry ({cause}); give host/repository:TAG or host/repository@sha256:DIGEST"
)]
pub struct OciImageError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub cause: String,
}

/// Who this host is to a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct OciLogin {
    /// The user, or what the registry wants in its place.
    pub username: String,
    /// Password or access token.
    pub password: String,
}

/// The registries that handlers come from.
#[derive(Debug, Clone, Default)]
pub struct OciRegistries {
    /// By host, with the port where one is given.
    pub logins: BTreeMap<String, OciLogin>,
}

/// What was found under a name.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// The component.
    pub artifact: Artifact,
    /// Its signature, where the manifest carries one.
    pub signature: Option<String>,
    /// The digest of the manifest.
    pub manifest: String,
}

/// A handler cannot be had from its registry.
#[derive(Debug, thiserror::Error)]
pub enum OciError {
    /// It answers no, or not at all.
    #[error("oci://{image}: {cause}; {fix}")]
    Registry {
        /// What was asked for.
        image: String,
        /// What it said.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// What it answers is no component.
    #[error("oci://{image}: {cause}; push the component with `wkg oci push`, or correct the source")]
    NoComponent {
        /// What was asked for.
        image: String,
        /// Why.
        cause: String,
    },
    /// What came is not what was promised.
    #[error(
        "oci://{image}: {cause}: it was cut off or changed on its way; it is tried again, and the version that runs goes on"
    )]
    Damaged {
        /// What was asked for.
        image: String,
        /// How.
        cause: String,
    },
}

// === impl OciImage ===

impl OciImage {
    /// Whether it always means the same bytes.
    #[must_use]
    pub fn is_digest(&self) -> bool {
        self.0.digest().is_some()
    }

    /// The registry's host, with the port where one is given.
    #[must_use]
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    /// Whether the registry is this machine, so that nobody else sees what is said without TLS.
    fn is_loopback(&self) -> bool {
        let host = self.registry();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        let is_loopback = |address: std::net::IpAddr| address.is_loopback();
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback)
    }
}

impl FromStr for OciImage {
    type Err = OciImageError;

    fn from_str(text: &str) -> Result<Self, OciImageError> {
        let fault = |cause: String| OciImageError { text: text.chars().take(300).collect(), cause };
        let Some((host, _)) = text.split_once('/') else {
            return Err(fault("it has no repository".to_owned()));
        };
        if host.contains('@') {
            let text = text.rsplit_once('@').map_or(text, |(_, rest)| rest).to_owned();
            let cause = "it holds credentials, which belong into [registries]".to_owned();
            return Err(OciImageError { text, cause });
        }
        // Without this a word would be taken for a repository of a registry that nobody named.
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err(fault(format!("{host:?} is no host")));
        }
        let reference: Reference =
            text.parse().map_err(|cause: oci_client::ParseError| fault(cause.to_string()))?;
        Ok(Self(reference))
    }
}

impl fmt::Display for OciImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for OciLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OciLogin").field("username", &self.username).finish_non_exhaustive()
    }
}

// === impl OciRegistries ===

impl OciRegistries {
    /// Asks what the name means now. None when it is still the manifest `known`.
    ///
    /// Cancel safety: nothing is left of a dropped future.
    ///
    /// # Errors
    /// When the registry cannot be reached, refuses, or what it has is no component, too large or damaged.
    pub async fn pull(&self, image: &OciImage, known: Option<&str>) -> Result<Option<Pulled>, OciError> {
        match timeout(WHOLE, self.pull_now(image, known)).await {
            Ok(pulled) => pulled,
            Err(_) => Err(OciError::Registry {
                image: image.to_string(),
                cause: format!("it took longer than {} s", WHOLE.as_secs()),
                fix: AGAIN.to_owned(),
            }),
        }
    }

    async fn pull_now(&self, image: &OciImage, known: Option<&str>) -> Result<Option<Pulled>, OciError> {
        let client = self.client(image)?;
        let auth = match self.logins.get(image.registry()) {
            Some(OciLogin { username, password }) => RegistryAuth::Basic(username.clone(), password.clone()),
            None => RegistryAuth::Anonymous,
        };
        let asked = client.pull_manifest_raw(&image.0, &auth, &MANIFESTS).await;
        let (manifest, digest) = asked.map_err(|fault| refused(image, &fault))?;
        if known == Some(digest.as_str()) {
            return Ok(None);
        }
        let manifest = read_manifest(image, &manifest)?;
        let layer = layer(image, &manifest)?;
        let bytes = self.layer_bytes(&client, image, layer).await?;
        let signature =
            manifest.annotations.as_ref().and_then(|notes| notes.get(SIGNATURE_ANNOTATION)).cloned();
        Ok(Some(Pulled { artifact: Artifact::new(bytes), signature, manifest: digest }))
    }

    fn client(&self, image: &OciImage) -> Result<Client, OciError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Fails only when somebody else was faster, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let config = ClientConfig {
            protocol: if image.is_loopback() { ClientProtocol::Http } else { ClientProtocol::Https },
            read_timeout: Some(ANSWER),
            connect_timeout: Some(CONNECT),
            user_agent: concat!("jobcell/", env!("CARGO_PKG_VERSION")),
            platform_resolver: None,
            ..ClientConfig::default()
        };
        Client::try_from(config).map_err(|fault| refused(image, &fault))
    }

    async fn layer_bytes(
        &self,
        client: &Client,
        image: &OciImage,
        layer: &OciDescriptor,
    ) -> Result<Bytes, OciError> {
        let damaged = |cause: String| OciError::Damaged { image: image.to_string(), cause };
        let size = u64::try_from(layer.size).unwrap_or(u64::MAX);
        let stream =
            client.pull_blob_stream(&image.0, layer).await.map_err(|fault| refused(image, &fault))?;
        let mut stream = stream.stream;
        let mut bytes = BytesMut::with_capacity(usize::try_from(size).unwrap_or_default());
        while let Some(part) = stream.try_next().await.map_err(|fault| damaged(fault.to_string()))? {
            bytes.extend_from_slice(&part);
            if bytes.len() as u64 > size {
                return Err(damaged(format!("the component has more than the {size} bytes of its manifest")));
            }
        }
        if bytes.len() as u64 != size {
            return Err(damaged(format!("{} of the component's {size} bytes came", bytes.len())));
        }
        let bytes = bytes.freeze();
        let found = crate::digest::Digest::of(&bytes).to_string();
        if found != layer.digest {
            return Err(damaged(format!("the component is {found} and not {}", layer.digest)));
        }
        Ok(bytes)
    }
}

const AGAIN: &str = "it is tried again, and the version that runs goes on";

fn refused(image: &OciImage, fault: &OciDistributionError) -> OciError {
    let registry = image.registry();
    let fix = match fault {
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            format!("give username and password in [registries.{registry:?}]")
        }
        OciDistributionError::ImageManifestNotFoundError(_) | OciDistributionError::RegistryError { .. } => {
            "push it there, or correct the source".to_owned()
        }
        OciDistributionError::RequestError(cause) if cause.is_connect() => {
            format!("is the registry {registry} up, and reachable from this host? {AGAIN}")
        }
        _ => AGAIN.to_owned(),
    };
    OciError::Registry { image: image.to_string(), cause: told(fault), fix }
}

/// With the causes behind it, which say what went wrong.
fn told(fault: &OciDistributionError) -> String {
    let mut text = fault.to_string();
    let mut cause = std::error::Error::source(fault);
    while let Some(next) = cause {
        let more = next.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = next.source();
    }
    text.chars().take(1000).collect()
}

fn read_manifest(image: &OciImage, bytes: &[u8]) -> Result<OciImageManifest, OciError> {
    let no = |cause: String| OciError::NoComponent { image: image.to_string(), cause };
    if bytes.len() > MANIFEST_BYTES_MAX {
        return Err(no(format!(
            "its manifest has {} bytes, and at most {MANIFEST_BYTES_MAX} are read",
            bytes.len()
        )));
    }
    serde_json::from_slice(bytes).map_err(|fault| no(format!("its manifest is none of an image: {fault}")))
}

/// The one layer that is a component.
fn layer<'a>(image: &OciImage, manifest: &'a OciImageManifest) -> Result<&'a OciDescriptor, OciError> {
    let no = |cause: String| OciError::NoComponent { image: image.to_string(), cause };
    let mut found = manifest.layers.iter().filter(|layer| LAYERS.contains(&layer.media_type.as_str()));
    let (Some(layer), None) = (found.next(), found.next()) else {
        let types: Vec<_> = manifest.layers.iter().take(8).map(|layer| layer.media_type.as_str()).collect();
        return Err(no(format!("it has not exactly one layer of type application/wasm, but {types:?}")));
    };
    match u64::try_from(layer.size) {
        Ok(size) if size <= ARTIFACT_BYTES_MAX => Ok(layer),
        _ => Err(no(format!(
            "its component has {} bytes, and at most {ARTIFACT_BYTES_MAX} are admitted",
            layer.size
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_host_and_a_repository() {
        for (text, registry, is_digest) in [
            ("ghcr.io/acme/media:1.2", "ghcr.io", false),
            ("localhost:5000/media:latest", "localhost:5000", false),
            (&format!("127.0.0.1:5000/a/b@sha256:{}", "0".repeat(64)), "127.0.0.1:5000", true),
        ] {
            let image: OciImage = text.parse().unwrap();
            assert_eq!((image.registry(), image.is_digest()), (registry, is_digest), "{text}");
            assert_eq!(image.to_string(), text);
        }
        let fault = "u:hunter2@ghcr.io/a:1".parse::<OciImage>().unwrap_err().to_string();
        assert!(fault.contains("[registries]") && !fault.contains("hunter2"), "{fault}");
        for text in ["", "media", "acme/media:1", "ghcr.io/UPPER:1", "ghcr.io/a@sha256:12"] {
            let fault = text.parse::<OciImage>().unwrap_err().to_string();
            assert!(fault.contains("host/repository:TAG"), "{fault}");
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls() {
        let is_loopback = |text: &str| text.parse::<OciImage>().unwrap().is_loopback();
        for text in ["localhost/a:1", "localhost:5000/a:1", "127.0.0.1:5000/a:1"] {
            assert!(is_loopback(text), "{text}");
        }
        for text in
            ["ghcr.io/a:1", "127.0.0.1.example.com/a:1", "10.0.0.1:5000/a:1", "localhost.example.com/a:1"]
        {
            assert!(!is_loopback(text), "{text}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let login = OciLogin { username: "u".into(), password: "hunter2".into() };
        assert!(!format!("{login:?}").contains("hunter2"));
    }
}
