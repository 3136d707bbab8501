//! `wasi:keyvalue`, `store` and `atomics`: values that stay, for handlers granted `kv = ["BUCKET"]`.
//!
//! A bucket belongs to a tenant and to every handler that is granted its name; see [`jobcell_core::keyvalue`].
//!
//! The interfaces know three errors, of which only `other` has a text. It begins with the word that our own interfaces
//! have for it: `too large:`, `quota:`, `unavailable:`, `invalid:`.

mod bucket;

use std::future::Future;

use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Lower, Resource, ResourceType};

use crate::cell::Cell;
use crate::world::jobcell::job::types;
use bucket::{Cas, OpenBucket};

/// The version that counts the places of a listing, and knows no compare-and-swap.
const DRAFT: &str = "0.2.0-draft";
/// The version after it.
const DRAFT_2: &str = "0.2.0-draft2";

/// The versions in use. Drafts match only themselves, so each is offered by its own name.
pub(crate) const VERSIONS: [&str; 2] = [DRAFT_2, DRAFT];

#[derive(ComponentType, Lift, Lower, Debug)]
#[component(variant)]
enum Error {
    #[component(name = "no-such-store")]
    NoSuchStore,
    #[component(name = "access-denied")]
    AccessDenied,
    #[component(name = "other")]
    Other(String),
}

/// Why a compare-and-swap did nothing.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum CasError {
    #[component(name = "store-error")]
    Store(Error),
    /// Somebody else was first; with a handle that knows the value of now.
    #[component(name = "cas-failed")]
    Failed(Resource<Cas>),
}

/// A page of keys.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Page {
    #[component(name = "keys")]
    keys: Vec<String>,
    #[component(name = "cursor")]
    cursor: Option<String>,
}

/// The same in [`DRAFT`].
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct DraftPage {
    #[component(name = "keys")]
    keys: Vec<String>,
    #[component(name = "cursor")]
    cursor: Option<u64>,
}

type Bucket = Resource<OpenBucket>;
type Answer<'a, R> = Box<dyn Future<Output = wasmtime::Result<(R,)>> + Send + 'a>;
type Context<'a> = StoreContextMut<'a, Cell>;

/// Runs a host function whose refusals are values for the guest.
fn answer<'a, R>(call: impl Future<Output = R> + Send + 'a) -> Answer<'a, R> {
    Box::new(async move { Ok((call.await,)) })
}

pub(super) fn add_to_linker(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    for version in VERSIONS {
        let mut store = linker.instance(&format!("wasi:keyvalue/store@{version}"))?;
        add_store(&mut store)?;
        match version {
            DRAFT => store.func_wrap_async("[method]bucket.list-keys", draft_list_keys)?,
            _ => store.func_wrap_async("[method]bucket.list-keys", list_keys)?,
        }
        let mut atomics = linker.instance(&format!("wasi:keyvalue/atomics@{version}"))?;
        match version {
            DRAFT => atomics.func_wrap_async("increment", draft_increment)?,
            _ => add_atomics(&mut atomics)?,
        }
    }
    Ok(())
}

/// What the versions have in common.
fn add_store(store: &mut LinkerInstance<'_, Cell>) -> wasmtime::Result<()> {
    store.resource("bucket", ResourceType::host::<OpenBucket>(), |mut cx: Context<'_>, rep| {
        cx.data_mut().table().delete(Bucket::new_own(rep))?;
        Ok(())
    })?;
    store.func_wrap("open", |mut cx: Context<'_>, (name,): (String,)| {
        Ok((cx.data_mut().open_bucket(&name),))
    })?;
    store.func_wrap_async("[method]bucket.get", |mut cx: Context<'_>, (bucket, key): (Bucket, String)| {
        answer(async move { cx.data_mut().kv_get(&bucket, &key).await })
    })?;
    store.func_wrap_async(
        "[method]bucket.set",
        |mut cx: Context<'_>, (bucket, key, value): (Bucket, String, Vec<u8>)| {
            answer(async move { cx.data_mut().kv_set(&bucket, &key, value).await })
        },
    )?;
    store.func_wrap_async(
        "[method]bucket.delete",
        |mut cx: Context<'_>, (bucket, key): (Bucket, String)| {
            answer(async move { cx.data_mut().kv_delete(&bucket, &key).await })
        },
    )?;
    store.func_wrap_async("[method]bucket.exists", |mut cx: Context<'_>, (bucket, key): (Bucket, String)| {
        answer(async move { cx.data_mut().kv_exists(&bucket, &key).await })
    })
}

fn add_atomics(atomics: &mut LinkerInstance<'_, Cell>) -> wasmtime::Result<()> {
    atomics.resource("cas", ResourceType::host::<Cas>(), |mut cx: Context<'_>, rep| {
        cx.data_mut().table().delete(Resource::<Cas>::new_own(rep))?;
        Ok(())
    })?;
    atomics.func_wrap_async(
        "increment",
        |mut cx: Context<'_>, (bucket, key, delta): (Bucket, String, i64)| {
            answer(async move { cx.data_mut().kv_increment(&bucket, &key, delta).await })
        },
    )?;
    atomics.func_wrap_async("[static]cas.new", |mut cx: Context<'_>, (bucket, key): (Bucket, String)| {
        answer(async move { cx.data_mut().kv_cas(&bucket, key).await })
    })?;
    atomics.func_wrap_async("[method]cas.current", |mut cx: Context<'_>, (cas,): (Resource<Cas>,)| {
        answer(async move { cx.data_mut().kv_current(&cas).await })
    })?;
    atomics.func_wrap_async("swap", |mut cx: Context<'_>, (cas, value): (Resource<Cas>, Vec<u8>)| {
        answer(async move { cx.data_mut().kv_swap(cas, value).await })
    })
}

fn list_keys(
    mut cx: Context<'_>,
    (bucket, cursor): (Bucket, Option<String>),
) -> Answer<'_, Result<Page, Error>> {
    answer(async move {
        let from = match cursor.as_deref().map(str::parse) {
            None => 0,
            Some(Ok(from)) => from,
            Some(Err(_)) => {
                return Err(types::Error::Invalid("this cursor was not given out here".into()).into());
            }
        };
        let found = cx.data_mut().kv_keys(&bucket, from).await?;
        Ok(Page { keys: found.keys, cursor: found.next.map(|next| next.to_string()) })
    })
}

fn draft_list_keys(
    mut cx: Context<'_>,
    (bucket, cursor): (Bucket, Option<u64>),
) -> Answer<'_, Result<DraftPage, Error>> {
    answer(async move {
        let found = cx.data_mut().kv_keys(&bucket, cursor.unwrap_or(0)).await?;
        Ok(DraftPage { keys: found.keys, cursor: found.next })
    })
}

fn draft_increment(
    mut cx: Context<'_>,
    (bucket, key, delta): (Bucket, String, u64),
) -> Answer<'_, Result<u64, Error>> {
    answer(async move {
        let delta = i64::try_from(delta)
            .map_err(|_| types::Error::Invalid(format!("counters have 63 bits, and {delta} has more")))?;
        let sum = cx.data_mut().kv_increment(&bucket, &key, delta).await?;
        // Only who counts by another version of the interface gets below zero.
        u64::try_from(sum).map_err(|_| {
            types::Error::Other(format!("the sum is {sum}, which this interface cannot say")).into()
        })
    })
}

impl From<types::Error> for Error {
    fn from(error: types::Error) -> Self {
        match error {
            types::Error::Denied(_) => Self::AccessDenied,
            types::Error::NotFound => Self::NoSuchStore,
            types::Error::TooLarge(limit) => Self::Other(format!("too large: the limit is {limit}")),
            types::Error::Quota(why) => Self::Other(format!("quota: {why}")),
            types::Error::Unavailable(why) => Self::Other(format!("unavailable: {why}")),
            types::Error::Invalid(why) => Self::Other(format!("invalid: {why}")),
            types::Error::Other(why) => Self::Other(why),
        }
    }
}
