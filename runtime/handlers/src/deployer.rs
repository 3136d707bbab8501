//! Hands new versions of a handler in that come from a file of this host or from a registry: what the command line does
//! for the store, done by the host for itself.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::Documents;
use tokio::time::sleep;

use crate::artifact::{Artifact, Source};
use crate::catalog::{Catalog, CatalogError, DeployOptions};
use crate::digest::Digest;
use crate::file::{self, FileWatch, Look};
use crate::follower::Stage;
use crate::oci::{OciImage, OciRegistries, Pulled};
use crate::plan::Plan;
use crate::trust::Signature;

/// Between two looks at what a tag means. Registries count requests.
const TAG: Duration = Duration::from_secs(30);
/// Before a registry is asked again that could not answer: twice as long after each time, at most [`TAG`].
const REGISTRY_AGAIN: Duration = Duration::from_secs(1);
/// Versions of each handler whose bytes a host keeps of its own files and registries, besides those in use: enough to go
/// back a few steps, and not the memory of everything that was ever built.
const KEPT: usize = 5;
/// Bytes of a signature's file that are read at most.
const SIGNATURE_BYTES_MAX: usize = 4096;

/// Watches the source of one handler.
pub(crate) struct Deployer {
    pub(crate) plan: Plan,
    pub(crate) catalog: Arc<Catalog>,
    /// Where that catalog keeps bytes.
    pub(crate) documents: Arc<dyn Documents>,
    pub(crate) registries: Arc<OciRegistries>,
    pub(crate) stage: Arc<Stage>,
}

/// Reads the signature that lies beside a file.
///
/// # Errors
/// When there is one that cannot be read, or is none.
pub(crate) async fn signature_beside(handler: &str, source: &Path) -> Result<Option<Signature>, String> {
    let path = file::signature_path(handler, source);
    let text = match tokio::fs::read(&path).await {
        Ok(bytes) if bytes.len() <= SIGNATURE_BYTES_MAX => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(bytes) => return Err(format!("{} has {} bytes and is no signature", path.display(), bytes.len())),
        Err(fault) if fault.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(format!("{} cannot be read: {fault}", path.display())),
    };
    text.trim().parse().map(Some).map_err(|fault| format!("{}: {fault}", path.display()))
}

/// How this host hands in what it takes by itself: the operator's configuration is the approval.
pub(crate) fn options(source: &Source) -> DeployOptions {
    let who = match source {
        Source::File(path) => format!("file:{}", path.display()),
        source => source.to_string(),
    };
    DeployOptions { activate: true, approve: true, who, ..DeployOptions::default() }
}

// === impl Deployer ===

impl Deployer {
    /// Goes on until it is dropped, or until nothing can change any more.
    pub(crate) async fn run(self) {
        match self.plan.source.clone() {
            Source::File(path) if self.plan.watch => self.watch_file(&path).await,
            Source::Oci(image) => self.watch_image(&image).await,
            Source::File(_) | Source::Store => {}
        }
    }

    async fn watch_file(&self, path: &Path) {
        let name = &self.plan.name;
        // It may have changed since it was loaded, so it is read once more.
        let mut watch = FileWatch::anew(name, path);
        let mut pause = file::LOOK;
        loop {
            sleep(pause).await;
            pause = file::LOOK_IDLE;
            match watch.look().await {
                Look::Same => {}
                Look::Restless => pause = file::LOOK,
                Look::Fault(fault) => self.cannot(&fault.to_string()),
                Look::Read(artifact) => match signature_beside(name, path).await {
                    Ok(signature) => {
                        if let Err(fault) = self.hand_in(artifact, signature).await {
                            self.cannot(&fault);
                        }
                    }
                    Err(fault) => self.cannot(&fault),
                },
            }
        }
    }

    async fn watch_image(&self, image: &OciImage) {
        let (mut known, mut again) = (None::<String>, REGISTRY_AGAIN);
        // What keeps what is there from being taken: told until something else is there.
        let mut lacks = None;
        loop {
            let pause = match self.registries.pull(image, known.as_deref()).await {
                Ok(pulled) => {
                    again = REGISTRY_AGAIN;
                    if let Some(Pulled { artifact, signature, manifest }) = pulled {
                        let taken = match signature.as_deref().map(str::parse).transpose() {
                            Ok(signature) => self.hand_in(artifact, signature).await,
                            Err(fault) => Err(format!("oci://{image}: its signature: {fault}")),
                        };
                        lacks = taken.err();
                        known = Some(manifest);
                    }
                    if let Some(fault) = &lacks {
                        self.cannot(fault);
                    } else {
                        self.stage.board.set_source_fault(&self.plan.name, None);
                    }
                    TAG
                }
                Err(fault) => {
                    self.cannot(&fault.to_string());
                    again = (again * 2).min(TAG);
                    again
                }
            };
            // What is named by its digest never changes.
            if known.is_some() && (image.is_digest() || !self.plan.watch) {
                return;
            }
            sleep(pause).await;
        }
    }

    /// Nothing new can be had; what runs goes on.
    fn cannot(&self, fault: &str) {
        let name = &self.plan.name;
        if self.stage.board.set_source_fault(name, Some(fault.to_owned())) {
            tracing::error!(
                handler = name,
                fault,
                "nothing new can be taken from the handler's source; what runs goes on"
            );
        }
    }

    /// Makes it what is wanted, or says why it cannot be.
    async fn hand_in(&self, artifact: Artifact, signature: Option<Signature>) -> Result<(), String> {
        let (name, board, digest) = (&self.plan.name, &self.stage.board, artifact.digest);
        // What was taken already stays as it was left: somebody may have gone back from it.
        if board.taken(name) != Some(digest) {
            let handed_in = hand_in(&self.catalog, &self.plan, artifact, signature).await;
            handed_in.map_err(|fault| fault.to_string())?;
            board.set_taken(name, digest);
            if let Err(fault) = forget_old(&self.catalog, &*self.documents).await {
                tracing::warn!(handler = name, %fault, "the bytes of old versions could not be forgotten");
            }
        }
        board.set_source_fault(name, None);
        Ok(())
    }
}

/// Forgets the bytes of versions that are neither in use nor among the newest of any handler. They stay listed.
async fn forget_old(catalog: &Catalog, documents: &dyn Documents) -> Result<(), CatalogError> {
    let (mut kept, mut old) = (BTreeSet::new(), BTreeSet::new());
    for (_, desired) in catalog.all_desired().await? {
        kept.extend([desired.active, desired.previous].into_iter().flatten());
        kept.extend(desired.canary.iter().map(|canary| canary.digest));
        kept.extend(desired.shadow.iter().map(|shadow| shadow.digest));
        let digests: Vec<Digest> = desired.versions.iter().map(|version| version.digest).collect();
        let (newest, rest) = digests.split_at(digests.len().min(KEPT));
        kept.extend(newest);
        old.extend(rest);
    }
    for digest in old.difference(&kept) {
        documents.forget_blob(&digest.to_string()).await?;
    }
    Ok(())
}

/// Makes an artifact what is wanted.
pub(crate) async fn hand_in(
    catalog: &Catalog,
    plan: &Plan,
    artifact: Artifact,
    signature: Option<Signature>,
) -> Result<(), CatalogError> {
    let wider = catalog.wider(&plan.name, &artifact, signature.as_ref()).await?.join("; ");
    if wider.is_empty() {
        return catalog.deploy(&plan.name, artifact, signature, options(&plan.source)).await.map(drop);
    }
    let why = format!("wants more than the version before: {wider}");
    let version = artifact.digest.short();
    let deployed = catalog.because(&why).deploy(&plan.name, artifact, signature, options(&plan.source)).await;
    if deployed.is_ok() {
        tracing::warn!(
            handler = plan.name,
            version,
            source = %plan.source,
            wider,
            "a version that wants more than the one before is active; what the configuration grants is the approval"
        );
    }
    deployed.map(drop)
}
