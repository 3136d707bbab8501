//! What there is: read, and never changed.

use jobcell_core::documents::{Folder, Log};
use jobcell_core::fleet::HostStatus;

use super::{Catalog, CatalogError, HistoryEntry, corrupt};
use crate::desired::Desired;
use crate::digest::{Digest, DigestStart};
use crate::version::Version;
use crate::view::HandlerView;
use crate::wants::Diff;

// === impl Catalog ===

impl Catalog {
    /// What is wanted of the handler, with its generation; none of one that nothing was ever deployed for.
    ///
    /// # Errors
    /// When the store cannot be read, or holds something else.
    pub async fn desired(&self, handler: &str) -> Result<Option<(u64, Desired)>, CatalogError> {
        let document = self.documents.get(Folder::Handlers, handler).await?;
        let desired = document.map(|document| decode(handler, &document.content)).transpose()?;
        Ok(desired.map(|desired| (desired.generation, desired)))
    }

    /// Every handler with what is wanted of it, by name.
    ///
    /// # Errors
    /// As [`Catalog::desired`].
    pub async fn all_desired(&self) -> Result<Vec<(String, Desired)>, CatalogError> {
        let documents = self.documents.list(Folder::Handlers).await?;
        let decoded = documents.into_iter().map(|(name, document)| {
            let desired = decode(&name, &document.content)?;
            Ok((name, desired))
        });
        decoded.collect()
    }

    /// Every handler, by name.
    ///
    /// # Errors
    /// As [`Catalog::desired`].
    pub async fn list(&self) -> Result<Vec<HandlerView>, CatalogError> {
        let hosts = self.hosts().await?;
        let all = self.all_desired().await?;
        let view = |(name, desired): (String, Desired)| HandlerView::new(&name, desired, &hosts);
        Ok(all.into_iter().map(view).collect())
    }

    /// One handler.
    ///
    /// # Errors
    /// When nothing was ever deployed for it, and as [`Catalog::desired`].
    pub async fn get(&self, handler: &str) -> Result<HandlerView, CatalogError> {
        let desired = self.existing(handler).await?;
        self.view(handler, desired).await
    }

    /// What the version wants beyond the active one, and the other way round.
    ///
    /// # Errors
    /// When it is not known.
    pub async fn diff(&self, handler: &str, version: &DigestStart) -> Result<Diff, CatalogError> {
        let desired = self.existing(handler).await?;
        let version = find(handler, &desired, version)?;
        Ok(Diff::between(desired.active_version().map(|active| &active.wants), &version.wants))
    }

    /// The newest changes first, older than the entry `before` where that is given.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn history(
        &self,
        handler: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, CatalogError> {
        let log = Log::Handler(handler.to_owned());
        let entries = self.documents.entries(&log, before, limit).await?;
        let decoded = entries.into_iter().map(|entry| {
            let decoded: HistoryEntry = serde_json::from_slice(&entry.content)
                .map_err(|fault| corrupt(&format!("history of handler {handler:?}"), &fault))?;
            Ok(HistoryEntry { number: entry.number, ..decoded })
        });
        decoded.collect()
    }

    /// The whole digest of what somebody names by its beginning.
    ///
    /// # Errors
    /// When no version of the handler begins so, or several do.
    pub async fn resolve(&self, handler: &str, version: &DigestStart) -> Result<Digest, CatalogError> {
        let desired = self.existing(handler).await?;
        Ok(find(handler, &desired, version)?.digest)
    }

    pub(super) async fn existing(&self, handler: &str) -> Result<Desired, CatalogError> {
        match self.desired(handler).await? {
            Some((_, desired)) => Ok(desired),
            None => Err(self.no_such_handler(handler).await?),
        }
    }

    pub(super) async fn no_such_handler(&self, handler: &str) -> Result<CatalogError, CatalogError> {
        let known = self.documents.list(Folder::Handlers).await?.into_iter().map(|(name, _)| name).collect();
        Ok(CatalogError::NoSuchHandler { handler: handler.to_owned(), known })
    }

    pub(super) async fn view(&self, handler: &str, desired: Desired) -> Result<HandlerView, CatalogError> {
        Ok(HandlerView::new(handler, desired, &self.hosts().await?))
    }

    /// Every host; one that writes what this release cannot read is left out.
    async fn hosts(&self) -> Result<Vec<HostStatus>, CatalogError> {
        let documents = self.documents.list(Folder::Hosts).await?;
        let decoded = documents.iter().map(|(id, document)| HostStatus::decode(id, &document.content));
        Ok(decoded.filter_map(Result::ok).collect())
    }
}

pub(super) fn decode(handler: &str, content: &[u8]) -> Result<Desired, CatalogError> {
    Desired::decode(content).map_err(|fault| corrupt(&format!("handler {handler:?}"), &fault))
}

pub(super) fn find<'a>(
    handler: &str,
    desired: &'a Desired,
    start: &DigestStart,
) -> Result<&'a Version, CatalogError> {
    let mut meant = desired.versions.iter().filter(|version| start.begins(&version.digest));
    match (meant.next(), meant.next()) {
        (Some(version), None) => Ok(version),
        (Some(_), Some(_)) => {
            Err(CatalogError::Ambiguous { handler: handler.to_owned(), version: start.clone() })
        }
        (None, _) => Err(CatalogError::NoSuchVersion { handler: handler.to_owned(), version: start.clone() }),
    }
}
