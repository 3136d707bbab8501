//! `jobcell:job/blobs`: files in the stores that the operator named, for handlers granted `blobs = ["STORE"]`.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use jobcell_core::HostCall;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStoreExt, PutOptions,
    PutPayload,
};

use super::{shown, within};
use crate::blobs::fault::{is_missing_bucket, is_refused};
use crate::blobs::{BlobStore, Folder, Kind, is_being_written};
use crate::cell::Cell;
use crate::effect::{Content, Does, Parts};
use crate::usage::Budget;
use crate::world::jobcell::job::blobs::{Host, Info};
use crate::world::jobcell::job::types::Error;

/// Bytes of a key: what S3 takes.
const KEY_BYTES_MAX: usize = 1024;
/// Keys in one answer.
const LIST_MAX: u32 = 1000;
/// Bytes of a content type.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

impl Host for Cell {
    async fn get(&mut self, store: String, key: String) -> Result<Vec<u8>, Error> {
        let place = self.blob(&store, &key)?;
        let call = self.effect(HostCall::Blobs, "blob get", Does::Read, |ask| place.parts(ask));
        let room = self.room();
        let found = call.answer(async {
            let (store, location) = place.find().await?;
            let found = store.store().get_opts(&location, GetOptions::default()).await;
            read(&store, found.map_err(|error| blob_error(&store, error))?, room).await
        });
        let found = found.await?;
        self.take(found)
    }

    async fn get_range(
        &mut self,
        store: String,
        key: String,
        offset: u64,
        length: u64,
    ) -> Result<Vec<u8>, Error> {
        let place = self.blob(&store, &key)?;
        let end = offset
            .checked_add(length)
            .ok_or_else(|| Error::Invalid("the range ends beyond 2^64".to_owned()))?;
        let call = self.effect(HostCall::Blobs, "blob get-range", Does::Read, |ask| {
            place.parts(ask);
            ask.number(offset);
            ask.number(length);
        });
        let room = self.room();
        let found = call.answer(async {
            let (store, location) = place.find().await?;
            range(&store, &location, offset..end, room).await
        });
        let found = found.await?;
        self.take(found)
    }

    async fn head(&mut self, store: String, key: String) -> Result<Info, Error> {
        let place = self.blob(&store, &key)?;
        let call = self.effect(HostCall::Blobs, "blob head", Does::Read, |ask| place.parts(ask));
        call.answer(async {
            let (store, location) = place.find().await?;
            let options = GetOptions { head: true, ..GetOptions::default() };
            let found = store.store().get_opts(&location, options).await;
            let found = found.map_err(|error| blob_error(&store, error))?;
            let kept = found.attributes.get(&Attribute::ContentType).map(|kind| kind.as_ref().to_owned());
            info(&store, found.meta, kept)
        })
        .await
    }

    async fn put(
        &mut self,
        store: String,
        key: String,
        data: Vec<u8>,
        content_type: Option<String>,
    ) -> Result<Info, Error> {
        let place = self.blob(&store, &key)?;
        let limit = self.template.limits().blob;
        self.within("blob", data.len(), limit)?;
        if let Some(kind) = &content_type {
            within(kind.len(), CONTENT_TYPE_BYTES_MAX)?;
            if !kind.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ') {
                return Err(Error::Invalid(format!("content type {kind:?} is not printable ASCII")));
            }
        }
        let size = data.len() as u64;
        self.spend(Budget::Blobs, size)?;
        let call = self.effect(HostCall::Blobs, "blob put", Does::Write, |ask| {
            place.parts(ask);
            ask.bytes(&data);
            ask.maybe(content_type.as_deref());
        });
        call.answer(async {
            let (store, location) = place.find().await?;
            let mut attributes = Attributes::new();
            // A folder has no place for it and would refuse the file.
            if let Some(kind) = content_type.as_ref().filter(|_| store.kind() != Kind::Folder) {
                attributes.insert(Attribute::ContentType, kind.clone().into());
            }
            let payload = PutPayload::from_bytes(Bytes::from(data));
            let options = PutOptions { attributes, ..PutOptions::default() };
            let put = store.store().put_opts(&location, payload, options).await;
            let put = put.map_err(|error| blob_error(&store, error))?;
            Ok(Info { key: place.key.to_owned(), size, content_type, etag: put.e_tag })
        })
        .await
    }

    async fn delete(&mut self, store: String, key: String) -> Result<(), Error> {
        let place = self.blob(&store, &key)?;
        let call = self.effect(HostCall::Blobs, "blob delete", Does::Write, |ask| place.parts(ask));
        call.answer(async {
            let (store, location) = place.find().await?;
            store.store().delete(&location).await.map_err(|error| blob_error(&store, error))
        })
        .await
    }

    async fn list(
        &mut self,
        store: String,
        prefix: String,
        start_after: Option<String>,
        limit: u32,
    ) -> Result<Vec<Info>, Error> {
        self.called(HostCall::Blobs);
        let found = self.blob_store(&store)?;
        within(prefix.len(), KEY_BYTES_MAX)?;
        // The libraries behind it panic over addresses that are too long.
        within(start_after.as_ref().map_or(0, String::len), KEY_BYTES_MAX)?;
        let call = self.effect(HostCall::Blobs, "blob list", Does::Read, |ask| {
            ask.name(&store);
            ask.name(&prefix);
            ask.maybe(start_after.as_deref());
            ask.number(limit.into());
        });
        let limit = limit.min(LIST_MAX) as usize;
        call.answer(async {
            let store = found.ok_or(Error::NotFound)?;
            list(&store, &prefix, start_after.as_deref(), limit).await
        })
        .await
    }
}

/// A key of a store, as the guest named both.
struct Place<'a> {
    /// None where there is no such store, and for an attempt that is answered from a recording.
    store: Option<BlobStore>,
    name: &'a str,
    key: &'a str,
}

/// Bytes that may be read: of one blob, and what is left of all together.
#[derive(Clone, Copy)]
struct Room {
    blob: usize,
    blobs: u64,
}

impl Cell {
    /// A granted store; none where there is none of this name.
    fn blob_store(&self, name: &str) -> Result<Option<BlobStore>, Error> {
        if !self.template.grants().blobs.iter().any(|granted| granted == name) {
            let name = shown(name);
            return Err(self.denied(
                "blobs",
                &format!("blob store {name:?}"),
                &format!("blobs = [\"{name}\"]"),
            ));
        }
        Ok(self.template.services().blobs.get(name).cloned())
    }

    /// A key of a granted store. Nothing is asked of the store.
    fn blob<'a>(&mut self, store: &'a str, key: &'a str) -> Result<Place<'a>, Error> {
        self.called(HostCall::Blobs);
        let found = self.blob_store(store)?;
        within(key.len(), KEY_BYTES_MAX)?;
        // Without its slashes it would be the store's own folder, which is not in the folder.
        if key.trim_matches('/').is_empty() {
            return Err(Error::Invalid("the key is empty".to_owned()));
        }
        Ok(Place { store: found, name: store, key })
    }

    fn room(&self) -> Room {
        let limits = self.template.limits();
        Room { blob: limits.blob, blobs: self.usage.left(Budget::Blobs, limits) }
    }

    /// Takes what was read from the budget, or says which limit it is over.
    fn take(&mut self, found: Content) -> Result<Vec<u8>, Error> {
        let Content { size, bytes } = found;
        let limit = self.template.limits().blob;
        self.within("blob", usize::try_from(size).unwrap_or(usize::MAX), limit)?;
        self.spend(Budget::Blobs, size)?;
        // Only where the recorded attempt had lower limits than this one.
        let missing = || Error::Other("the recorded attempt did not read this blob".to_owned());
        bytes.map(Vec::from).ok_or_else(missing)
    }
}

impl Place<'_> {
    fn parts(&self, ask: &mut Parts<'_>) {
        ask.name(self.name);
        ask.name(self.key);
    }

    /// Where it lies, inside of the store.
    async fn find(&self) -> Result<(BlobStore, Path), Error> {
        let Self { store, key, .. } = self;
        let store = store.clone().ok_or(Error::NotFound)?;
        let location = store.locate(key).map_err(|fault| Error::Invalid(format!("key {key:?}: {fault}")))?;
        if let Some(folder) = store.folder() {
            if location.filename().is_some_and(is_being_written) {
                return Err(Error::Invalid(format!(
                    "key {key:?}: this store calls files so while they are written; end it with something else than '#' \
                     and digits"
                )));
            }
            let at = location.clone();
            if !in_folder(&store, folder, move |folder| folder.holds(&at)).await? {
                return Err(Error::Invalid(format!(
                    "key {key:?} leads out of the store, by a symbolic link"
                )));
            }
        }
        Ok((store, location))
    }
}

/// A part of a blob.
async fn range(
    store: &BlobStore,
    location: &Path,
    range: std::ops::Range<u64>,
    room: Room,
) -> Result<Content, Error> {
    let nothing = || Content { size: 0, bytes: Some(Bytes::new()) };
    if range.is_empty() {
        return Ok(nothing());
    }
    let offset = range.start;
    let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
    match store.store().get_opts(location, options).await {
        Ok(found) => read(store, found, room).await,
        // Stores have no common word for a range that begins at the end or beyond it, where nothing is left to read.
        Err(error @ object_store::Error::Generic { .. }) => match store.store().head(location).await {
            Ok(meta) if meta.size <= offset => Ok(nothing()),
            Ok(_) | Err(_) => Err(blob_error(store, error)),
        },
        Err(error) => Err(blob_error(store, error)),
    }
}

/// Reads a file; not where its size, which is known before its first byte is asked for, is over the room.
async fn read(store: &BlobStore, found: GetResult, room: Room) -> Result<Content, Error> {
    let size = found.range.end.saturating_sub(found.range.start);
    if size > room.blob as u64 || size > room.blobs {
        return Ok(Content { size, bytes: None });
    }
    let bytes = found.bytes().await.map_err(|error| blob_error(store, error))?;
    Ok(Content { size, bytes: Some(bytes) })
}

/// Looks at a folder of this machine on a thread that may wait for the disk.
async fn in_folder<R: Send + 'static>(
    store: &BlobStore,
    folder: &Arc<Folder>,
    look: impl FnOnce(&Folder) -> io::Result<R> + Send + 'static,
) -> Result<R, Error> {
    let folder = Arc::clone(folder);
    let looked = tokio::task::spawn_blocking(move || look(&folder)).await;
    let failed = |error: io::Error| {
        blob_error(store, object_store::Error::Generic { store: "folder", source: error.into() })
    };
    looked.map_err(|error| Error::Other(error.to_string()))?.map_err(failed)
}

/// The first `limit` keys that begin so, in order.
async fn list(
    store: &BlobStore,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> Result<Vec<Info>, Error> {
    // Stores list by folder; the rest of the prefix is compared here.
    let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
    let folder = if folder.is_empty() {
        store.prefix().clone()
    } else {
        store.locate(folder).map_err(|fault| Error::Invalid(format!("prefix {prefix:?}: {fault}")))?
    };
    let offset = match start_after {
        Some(key) => {
            store.locate(key).map_err(|fault| Error::Invalid(format!("start-after {key:?}: {fault}")))?
        }
        None => Path::default(),
    };
    if let Some(folder) = store.folder() {
        let (prefix, after) = (prefix.to_owned(), start_after.map(str::to_owned));
        let keys =
            in_folder(store, folder, move |folder| folder.keys(&prefix, after.as_deref(), limit)).await?;
        return list_files(store, keys).await;
    }
    let mut stream = store.store().list_with_offset(Some(&folder), &offset);
    let mut listed = Vec::new();
    while listed.len() < limit {
        let Some(meta) = stream.try_next().await.map_err(|error| blob_error(store, error))? else { break };
        let Some(key) = store.key(&meta.location) else { continue };
        if key.starts_with(prefix) && start_after.is_none_or(|after| key.as_str() > after) {
            listed.push(info(store, meta, None)?);
        }
    }
    Ok(listed)
}

/// What is known of files of a folder; one that was deleted meanwhile is left out.
async fn list_files(store: &BlobStore, keys: Vec<String>) -> Result<Vec<Info>, Error> {
    let mut listed = Vec::with_capacity(keys.len());
    for key in keys {
        let location = store.locate(&key).map_err(|fault| Error::Other(fault.to_string()))?;
        match store.store().head(&location).await {
            Ok(meta) => listed.push(info(store, meta, None)?),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(blob_error(store, error)),
        }
    }
    Ok(listed)
}

fn info(store: &BlobStore, meta: ObjectMeta, kept_type: Option<String>) -> Result<Info, Error> {
    let key = store
        .key(&meta.location)
        .ok_or_else(|| Error::Other("the store answered with a strange key".to_owned()))?;
    let content_type = kept_type.or_else(|| match store.kind() {
        Kind::Folder => type_by_name(&key),
        Kind::Memory | Kind::Remote => None,
    });
    Ok(Info { key, size: meta.size, content_type, etag: meta.e_tag })
}

/// Folders keep no content types; the ends of names tell the common ones.
fn type_by_name(key: &str) -> Option<String> {
    let (_, end) = key.rsplit_once('.')?;
    let kind = match end.to_ascii_lowercase().as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "html" => "text/html",
        _ => return None,
    };
    Some(kind.to_owned())
}

/// What a guest is told. The texts of stores carry hosts, folders and request details: they are the operator's, in the log.
fn blob_error(store: &BlobStore, error: object_store::Error) -> Error {
    use object_store::Error as E;
    if let E::Generic { source, .. } = &error
        && let Some(why) = impossible(&**source)
    {
        return Error::Invalid(format!("this store cannot have such a key: {why}"));
    }
    match error {
        // A bucket that is missing is not a file that is missing: no handler can do anything about it.
        E::NotFound { .. } if !is_missing_bucket(&error) => Error::NotFound,
        E::InvalidPath { source } => Error::Invalid(source.to_string()),
        other => {
            tracing::warn!("{}", store.told(&other));
            Error::Unavailable(if is_refused(&other) {
                "the blob store refuses the host's credentials; the host's log says why".to_owned()
            } else {
                "the blob store failed; the host's log says why".to_owned()
            })
        }
    }
}

/// Why a folder can never do what it was asked for, whoever tries again.
fn impossible(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let cause = causes.find_map(|cause| cause.downcast_ref::<io::Error>())?;
    match cause.kind() {
        io::ErrorKind::InvalidFilename => Some("a part of it is too long for the name of a file"),
        io::ErrorKind::InvalidInput => Some("it cannot be the name of a file"),
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::AlreadyExists => {
            Some("what is a folder in one key is a file in another")
        }
        _ => None,
    }
}
