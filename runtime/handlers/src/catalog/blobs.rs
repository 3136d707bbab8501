//! The bytes of versions: kept while any handler knows them.

use jobcell_core::documents::Folder;

use super::look::{decode, find};
use super::{Catalog, CatalogError};
use crate::artifact::Artifact;
use crate::desired::Desired;
use crate::digest::Digest;

// === impl Catalog ===

impl Catalog {
    /// The bytes of a version, as they were deployed.
    ///
    /// # Errors
    /// When they are not there, or are others than those that bear this name.
    pub async fn artifact(&self, digest: &Digest) -> Result<Artifact, CatalogError> {
        let Some(bytes) = self.documents.blob(&digest.to_string()).await? else {
            return Err(CatalogError::Lost { digest: *digest });
        };
        let artifact = Artifact::named(bytes).await;
        if artifact.digest == *digest { Ok(artifact) } else { Err(CatalogError::Altered { digest: *digest }) }
    }

    /// Whether these bytes can be had: others may lie where they belong.
    pub(super) async fn is_kept(&self, digest: &Digest) -> Result<bool, CatalogError> {
        match self.documents.blob(&digest.to_string()).await? {
            Some(bytes) => Ok(Artifact::named(bytes).await.digest == *digest),
            None => Ok(false),
        }
    }

    pub(super) async fn keep(&self, artifact: &Artifact) -> Result<(), CatalogError> {
        let Artifact { bytes, digest } = artifact;
        Ok(self.documents.keep_blob(&digest.to_string(), bytes.clone()).await?)
    }

    /// Keeps what a document names by now once more, if somebody who did not see that document yet has forgotten it.
    pub(super) async fn keep_again(&self, artifact: &Artifact) -> Result<(), CatalogError> {
        if self.is_kept(&artifact.digest).await? { Ok(()) } else { self.keep(artifact).await }
    }

    /// Forgets the bytes of versions that fell out of this document, where no other handler knows them either.
    ///
    /// Somebody may deploy the very same bytes at this moment: he looks after his write whether they are there
    /// ([`Self::keep_again`]), and this looks after forgetting them whether somebody needs them. One of the two sees the
    /// other.
    pub(super) async fn forget_unknown(&self, before: &[Digest], after: &Desired) {
        for digest in before.iter().filter(|digest| after.version(digest).is_none()) {
            self.forget_needless(digest).await;
        }
    }

    /// Forgets these bytes unless some handler knows them. What cannot be forgotten costs room and nothing else.
    pub(super) async fn forget_needless(&self, digest: &Digest) {
        if let Err(fault) = self.forget(digest).await {
            tracing::warn!(version = digest.short(), %fault, "the bytes of a version could not be forgotten");
        }
    }

    async fn forget(&self, digest: &Digest) -> Result<(), CatalogError> {
        if self.is_known(digest).await? {
            return Ok(());
        }
        let Some(bytes) = self.documents.blob(&digest.to_string()).await? else { return Ok(()) };
        self.documents.forget_blob(&digest.to_string()).await?;
        if self.is_known(digest).await? {
            self.documents.keep_blob(&digest.to_string(), bytes).await?;
        }
        Ok(())
    }

    async fn is_known(&self, digest: &Digest) -> Result<bool, CatalogError> {
        for (name, document) in self.documents.list(Folder::Handlers).await? {
            let desired = decode(&name, &document.content)?;
            if find(&name, &desired, &(*digest).into()).is_ok() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
