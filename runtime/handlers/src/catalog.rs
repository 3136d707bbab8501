//! The versions of every handler, kept where the whole fleet sees them: what deploys, activates and rolls back.
//!
//! Every change reads a handler's document, applies a command to it ([`fn@crate::apply`]), and writes it back over the
//! revision that it read. Every decision raises the handler's *generation*; what hosts note down does not. Whoever says
//! which generation he saw gets a [`CatalogError::Conflict`] when somebody else decided something meanwhile; whoever does
//! not means the command in any case, and it is applied to what there is then. So two operators never mix.
//!
//! Bytes are blobs under their digests, kept before any document names them and forgotten after the last one ceased to.

mod blobs;
mod error;
mod look;

use std::panic::resume_unwind;
use std::sync::Arc;

use bytes::Bytes;
use jobcell_core::documents::{Entries, Expect, Folder, Log, Put};
use jobcell_core::priority::behind;
use jobcell_core::{Clock, Documents, StoreError};
use serde::{Deserialize, Serialize};

use crate::apply::apply;
use crate::artifact::Artifact;
use crate::canary::CanaryRules;
use crate::desired::{Command, Deployed, Desired, Refusal};
use crate::digest::{Digest, DigestStart};
use crate::manifest::{self, Manifest};
use crate::trust::{Signature, Trust};
use crate::version::{Change, Version, kept_why};
use crate::view::HandlerView;
use crate::wants::{Capability, Wants};
pub use error::CatalogError;
use look::{decode, find};

/// How often a change is tried that somebody else's came before. Every try means that another one succeeded.
const TRIES: u32 = 64;
/// Entries of a handler's history that are kept.
const HISTORY_MAX: u32 = 1_000;

/// What a component shows without being run, to whoever knows the engine.
pub trait Inspect: Send + Sync + 'static {
    /// Looks at a component.
    ///
    /// # Errors
    /// Why no host can run it, with the fix.
    fn inspect(&self, component: &[u8]) -> Result<Inspected, String>;
}

/// What a component shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inspected {
    /// The version of `jobcell:job` that it imports, when it imports any.
    pub wit: Option<String>,
    /// What its imports need.
    pub needs: Vec<Capability>,
}

/// The versions of every handler.
#[derive(Clone)]
pub struct Catalog {
    documents: Arc<dyn Documents>,
    trust: Trust,
    inspect: Arc<dyn Inspect>,
    clock: Arc<dyn Clock>,
    /// What somebody gives as the reason of what is asked next.
    why: Option<Arc<str>>,
}

/// What is done with a version once it is known.
#[derive(Debug, Clone, Default)]
pub struct DeployOptions {
    /// It becomes active.
    pub activate: bool,
    /// Or it becomes the canary: of a hundred jobs so many, under these rules.
    pub canary: Option<(u8, CanaryRules)>,
    /// It may want more than the active version does.
    pub approve: bool,
    /// Who deploys it.
    pub who: String,
    /// The generation that he saw; none to deploy in any case.
    pub generation: Option<u64>,
}

/// What a change led to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// What is wanted since, with its generation.
    pub desired: Desired,
    /// What changed; nothing where all was so already.
    pub changes: Vec<Change>,
}

/// An entry of a handler's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Its place: larger than that of every older entry.
    #[serde(default)]
    pub number: u64,
    /// The generation that it led to.
    pub generation: u64,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
}

// === impl Catalog ===

impl Catalog {
    /// Over these documents.
    #[must_use]
    pub fn new(
        documents: Arc<dyn Documents>,
        trust: Trust,
        inspect: Arc<dyn Inspect>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { documents, trust, inspect, clock, why: None }
    }

    /// The same, for something that is asked for this reason: it stands in the history in place of the plain word for
    /// what was done. An empty one is none.
    #[must_use]
    pub fn because(&self, why: &str) -> Self {
        Self { why: Some(why.trim()).filter(|why| !why.is_empty()).map(Arc::from), ..self.clone() }
    }

    /// Whose versions may run.
    #[must_use]
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Makes the version known, and active or the canary where that is asked for. What is known already is not deployed
    /// twice. Cancel safety: a dropped call may be done or not; calling it again is fine.
    ///
    /// # Errors
    /// When its bytes are no handler's, its signature does not count, or the command cannot be followed. Where only what
    /// was to follow cannot (it needs approval, say), the version is known all the same.
    pub async fn deploy(
        &self,
        handler: &str,
        artifact: Artifact,
        signature: Option<Signature>,
        options: DeployOptions,
    ) -> Result<HandlerView, CatalogError> {
        check_name(handler)?;
        let mut deployed = self.examined(handler, &artifact, signature).await?;
        let DeployOptions { activate, canary, approve, who, generation } = options;
        let digest = deployed.digest;
        deployed.is_mended = !self.is_kept(&digest).await?;
        self.keep(&artifact).await?;
        let deploy = Command::Deploy(Box::new(deployed));
        let then = match canary {
            Some((percent, rules)) => Some(Command::Canary { digest, percent, rules, approve }),
            None if activate => Some(Command::Activate { digest, approve }),
            None => None,
        };
        let mut refusal = None;
        let applied = self
            .change(handler, &who, generation, true, |desired, now| {
                let mut changes = apply(desired, deploy.clone(), &who, now)?;
                refusal = None;
                match then.clone().map(|then| apply(desired, then, &who, now)) {
                    Some(Ok(more)) => changes.extend(more),
                    Some(Err(refused)) => refusal = Some(refused),
                    None => {}
                }
                Ok(changes)
            })
            .await;
        let applied = match applied {
            Ok(applied) => applied,
            // Where the store failed, the write may yet turn out to be done.
            Err(fault @ CatalogError::Store(_)) => return Err(fault),
            Err(fault) => {
                self.forget_needless(&digest).await;
                return Err(fault);
            }
        };
        // It is done, whatever becomes of the store from here on.
        if let Err(fault) = self.keep_again(&artifact).await {
            tracing::warn!(handler, version = digest.short(), %fault, "nobody knows whether its bytes are kept");
        }
        match refusal {
            Some(refusal) => Err(self.told(handler, refusal)),
            None => Ok(self.done(handler, applied.desired).await),
        }
    }

    /// What the artifact wants beyond the active version, in lines; nothing where none is active.
    ///
    /// # Errors
    /// When its bytes are no handler's, its signature does not count, or the store cannot be read.
    pub(crate) async fn wider(
        &self,
        handler: &str,
        artifact: &Artifact,
        signature: Option<&Signature>,
    ) -> Result<Vec<String>, CatalogError> {
        let new = self.examined(handler, artifact, signature.cloned()).await?.wants;
        let desired = self.desired(handler).await?;
        let active = desired.as_ref().and_then(|(_, desired)| desired.active_version());
        Ok(active.map(|active| new.beyond(&active.wants)).unwrap_or_default())
    }

    /// [`Self::examine`] on another thread: it reads all of the component.
    async fn examined(
        &self,
        handler: &str,
        artifact: &Artifact,
        signature: Option<Signature>,
    ) -> Result<Deployed, CatalogError> {
        let (catalog, handler, artifact) = (self.clone(), handler.to_owned(), artifact.clone());
        let examined = behind(move || catalog.examine(&handler, &artifact, signature)).await;
        examined.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// What is to be known of an artifact before anybody keeps it.
    fn examine(
        &self,
        handler: &str,
        artifact: &Artifact,
        signature: Option<Signature>,
    ) -> Result<Deployed, CatalogError> {
        let Artifact { bytes, digest } = artifact;
        let refused =
            |why: String| CatalogError::Refused { handler: handler.to_owned(), digest: *digest, why };
        let Inspected { wit, needs } = self.inspect.inspect(bytes).map_err(refused)?;
        let unreadable = |fault: manifest::ManifestError| refused(fault.to_string());
        let section = manifest::section(bytes).map_err(unreadable)?;
        let signed_by =
            self.trust.verify(handler, digest, section.unwrap_or_default(), signature.as_ref())?;
        let mut manifest = match section {
            Some(section) => {
                let manifest = Manifest::parse(section).map_err(unreadable)?;
                manifest.check_wit(wit.as_deref()).map_err(unreadable)?;
                manifest
            }
            None => Manifest::unsaid(handler, wit),
        };
        let wants = manifest.wants.take().unwrap_or_else(|| Wants::of(&needs));
        let size = bytes.len() as u64;
        Ok(Deployed { digest: *digest, size, manifest, wants, signature, signed_by, is_mended: false })
    }

    /// Makes the version active.
    ///
    /// # Errors
    /// When it is not known, cannot be active, wants more than the active one unapproved, or is not signed as it must be.
    pub async fn activate(
        &self,
        handler: &str,
        version: &DigestStart,
        approve: bool,
        who: &str,
        generation: Option<u64>,
    ) -> Result<HandlerView, CatalogError> {
        let digest = self.trusted(handler, version).await?;
        self.command(handler, Command::Activate { digest, approve }, who, generation).await
    }

    /// Makes the version the canary.
    ///
    /// # Errors
    /// As [`Catalog::activate`], and when no version is active or the share or its rules make no sense.
    #[expect(clippy::too_many_arguments, reason = "each is one field of one request")]
    pub async fn canary(
        &self,
        handler: &str,
        version: &DigestStart,
        percent: u8,
        rules: CanaryRules,
        approve: bool,
        who: &str,
        generation: Option<u64>,
    ) -> Result<HandlerView, CatalogError> {
        let digest = self.trusted(handler, version).await?;
        self.command(handler, Command::Canary { digest, percent, rules, approve }, who, generation).await
    }

    /// Makes the canary active. `why` is for what hosts decide.
    ///
    /// # Errors
    /// When there is no canary, or it is not signed as it must be.
    pub async fn promote(
        &self,
        handler: &str,
        why: Option<String>,
        who: &str,
        generation: Option<u64>,
    ) -> Result<HandlerView, CatalogError> {
        let desired = self.existing(handler).await?;
        self.check_trusted(handler, &desired, desired.canary.as_ref().map(|canary| canary.digest)).await?;
        self.command(handler, Command::Promote { why }, who, generation).await
    }

    /// Ends the canary, or without one goes back to the previous version. `why` is for what hosts decide.
    ///
    /// # Errors
    /// When there is nothing to go back to, or that is not signed as it must be: no host would run it.
    pub async fn rollback(
        &self,
        handler: &str,
        why: Option<String>,
        who: &str,
        generation: Option<u64>,
    ) -> Result<HandlerView, CatalogError> {
        let desired = self.existing(handler).await?;
        // The end of a canary changes nothing about what is active.
        self.check_trusted(handler, &desired, desired.previous.filter(|_| desired.canary.is_none())).await?;
        self.command(handler, Command::Rollback { why }, who, generation).await
    }

    /// Takes the version out of use.
    ///
    /// # Errors
    /// When it is not known, or active with nothing to go back to.
    pub async fn quarantine(
        &self,
        handler: &str,
        version: &DigestStart,
        why: String,
        who: &str,
        generation: Option<u64>,
    ) -> Result<HandlerView, CatalogError> {
        let digest = self.resolve(handler, version).await?;
        self.command(handler, Command::Quarantine { digest, why }, who, generation).await
    }

    /// Lets a quarantined version be used again.
    ///
    /// # Errors
    /// When it is not quarantined.
    pub async fn release(
        &self,
        handler: &str,
        version: &DigestStart,
        who: &str,
        generation: Option<u64>,
    ) -> Result<HandlerView, CatalogError> {
        let digest = self.resolve(handler, version).await?;
        self.command(handler, Command::Release { digest }, who, generation).await
    }

    /// Does any command, and shows the handler.
    ///
    /// # Errors
    /// When the handler is not known, somebody else was there first, or the command cannot be followed.
    pub async fn command(
        &self,
        handler: &str,
        command: Command,
        who: &str,
        generation: Option<u64>,
    ) -> Result<HandlerView, CatalogError> {
        let Applied { desired, .. } = self.apply(handler, command, who, generation).await?;
        Ok(self.done(handler, desired).await)
    }

    /// The handler as a change left it: without its hosts where those cannot be read.
    async fn done(&self, handler: &str, desired: Desired) -> HandlerView {
        match self.view(handler, desired.clone()).await {
            Ok(view) => view,
            Err(_) => HandlerView::new(handler, desired, &[]),
        }
    }

    /// Does any command. Cancel safety: a dropped call may be done or not.
    ///
    /// # Errors
    /// As [`Catalog::command`].
    pub async fn apply(
        &self,
        handler: &str,
        command: Command,
        who: &str,
        generation: Option<u64>,
    ) -> Result<Applied, CatalogError> {
        self.change(handler, who, generation, false, |desired, now| apply(desired, command.clone(), who, now))
            .await
    }

    // --- what these are made of

    /// Reads, changes and writes back, until nobody comes in between.
    async fn change(
        &self,
        handler: &str,
        who: &str,
        generation: Option<u64>,
        may_be_new: bool,
        mut make: impl FnMut(&mut Desired, u64) -> Result<Vec<Change>, Refusal> + Send,
    ) -> Result<Applied, CatalogError> {
        let mut found = self.documents.get(Folder::Handlers, handler).await?;
        for _ in 0..TRIES {
            if found.is_none() && !may_be_new {
                return Err(self.no_such_handler(handler).await?);
            }
            let expect = found.as_ref().map_or(Expect::Absent, |there| Expect::Revision(there.revision));
            let decoded = found.map(|there| decode(handler, &there.content)).transpose()?;
            let mut desired = decoded.unwrap_or_default();
            if let Some(expected) = generation
                && desired.generation != expected
            {
                return Err(conflict(handler, expected, &desired));
            }
            let before: Vec<Digest> = desired.versions.iter().map(|version| version.digest).collect();
            let mut changes =
                make(&mut desired, self.clock.now()).map_err(|fault| self.told(handler, fault))?;
            self.explain(&mut desired, &mut changes);
            if changes.is_empty() && expect != Expect::Absent {
                return Ok(Applied { desired, changes });
            }
            let content =
                desired.encode().map_err(|fault| corrupt(&format!("handler {handler:?}"), &fault))?;
            let generation = desired.generation;
            let (log, contents) = (Log::Handler(handler.to_owned()), history(handler, generation, &changes)?);
            // In one step: whatever was changed, who did it and why is known.
            let entries = Entries { log: &log, contents: &contents, keep: HISTORY_MAX };
            let put =
                self.documents.put_logged(Folder::Handlers, handler, content.into(), expect, entries).await?;
            match put {
                Put::Written(_) => {
                    self.forget_unknown(&before, &desired).await;
                    tracing::info!(
                        handler,
                        who,
                        generation,
                        changes = changes.len(),
                        "what is wanted of the handler has changed"
                    );
                    return Ok(Applied { desired, changes });
                }
                Put::Conflict(there) => found = there,
            }
        }
        Err(CatalogError::Busy { handler: handler.to_owned(), tries: TRIES })
    }

    /// Gives the last step, which is what was asked for, the reason that was given.
    fn explain(&self, desired: &mut Desired, changes: &mut [Change]) {
        let (Some(why), Some(step)) = (&self.why, changes.last_mut()) else { return };
        step.why = kept_why(why);
        if let Some(version) = desired.version_mut(&step.digest) {
            version.why.clone_from(&step.why);
        }
        desired.last = Some(step.clone());
    }

    /// The version of that name, when its signature counts with the keys as they are now.
    async fn trusted(&self, handler: &str, version: &DigestStart) -> Result<Digest, CatalogError> {
        let desired = self.existing(handler).await?;
        let digest = find(handler, &desired, version)?.digest;
        self.check_trusted(handler, &desired, Some(digest)).await?;
        Ok(digest)
    }

    /// Whether the version's signature counts with the keys as they are now.
    async fn check_trusted(
        &self,
        handler: &str,
        desired: &Desired,
        digest: Option<Digest>,
    ) -> Result<(), CatalogError> {
        let version = digest.and_then(|digest| desired.version(&digest));
        if let Some(Version { digest, signature, .. }) = version.filter(|_| self.trust.is_required()) {
            let Artifact { bytes, .. } = self.artifact(digest).await?;
            let section = manifest::section(&bytes).ok().flatten().unwrap_or_default();
            self.trust.verify(handler, digest, section, signature.as_ref())?;
        }
        Ok(())
    }

    fn told(&self, handler: &str, refusal: Refusal) -> CatalogError {
        CatalogError::of(handler, refusal)
    }
}

/// What the history says of these changes.
fn history(handler: &str, generation: u64, changes: &[Change]) -> Result<Vec<Bytes>, CatalogError> {
    let entry = |change: &Change| {
        let entry = HistoryEntry { number: 0, generation, change: change.clone() };
        serde_json::to_vec(&entry).map(Bytes::from)
    };
    let entries = changes.iter().map(entry).collect::<Result<_, _>>();
    entries.map_err(|fault| corrupt(&format!("the history of handler {handler:?}"), &fault))
}

fn corrupt(what: &str, fault: &serde_json::Error) -> CatalogError {
    CatalogError::Store(StoreError::Corrupt(format!("{what}: {fault}")))
}

fn conflict(handler: &str, expected: u64, found: &Desired) -> CatalogError {
    let last = found.last.as_ref();
    CatalogError::Conflict {
        handler: handler.to_owned(),
        expected,
        found: found.generation,
        by: last.map_or_else(|| "nobody".to_owned(), |last| last.by.clone()),
        at: last.map_or(0, |last| last.at),
    }
}

fn check_name(handler: &str) -> Result<(), CatalogError> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_name = (1..=64).contains(&handler.len())
        && handler.chars().all(is_allowed)
        && !handler.starts_with(['-', '.']);
    if is_name { Ok(()) } else { Err(CatalogError::NoName { handler: handler.chars().take(80).collect() }) }
}

#[cfg(test)]
mod tests;
