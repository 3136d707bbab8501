//! Lists in slices: a cursor says where the next slice begins.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jobcell_core::store::Page;
use jobcell_core::{Admin, Job, JobId, JobState, QueueName, StoreError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::problem::Problem;

/// Which slice of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Slice {
    /// `next` of the slice before; none begins at the start.
    pub(crate) cursor: Option<String>,
    /// How many to give. Default 50, if nothing else is said.
    #[param(minimum = 1, maximum = 1000)]
    pub(crate) limit: Option<u64>,
}

/// A slice of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    /// The slice.
    pub(crate) items: Vec<T>,
    /// The cursor of the next slice; null after the last one.
    pub(crate) next: Option<String>,
}

/// A query string, read with problems that name the parameter.
pub(crate) struct Query<T>(pub(crate) T);

/// Where in a list of jobs the next slice begins: behind the job that was seen last, wherever that is by then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    state: JobState,
    offset: u64,
    last: Option<String>,
}

/// Items in a slice when nothing is asked for.
const LIMIT: u64 = 50;
/// The most items in a slice.
const LIMIT_MAX: u64 = 1000;
/// How far a job is looked for on each side of where it was, when jobs were added or taken away before it.
const DRIFT: u64 = 500;

/// The names in a path, read with problems.
pub(crate) struct Path<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(names)| Self(names))
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))
    }
}

// === impl Slice ===

impl Slice {
    pub(crate) fn limit(&self) -> Result<u64, Problem> {
        self.limit_or(LIMIT)
    }

    /// The same where so many are given when nothing is asked for.
    pub(crate) fn limit_or(&self, default: u64) -> Result<u64, Problem> {
        match self.limit {
            None => Ok(default),
            Some(limit) if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
            Some(limit) => {
                Err(Problem::bad_request(format!("limit {limit} is not between 1 and {LIMIT_MAX}")))
            }
        }
    }

    /// Where to begin in a list that only grows at its end.
    pub(crate) fn offset(&self) -> Result<u64, Problem> {
        self.read::<u64>().map(Option::unwrap_or_default)
    }

    /// Where to go on in a list of numbered entries, newest first.
    pub(crate) fn before(&self) -> Result<Option<u64>, Problem> {
        self.read()
    }

    /// Where to go on in a list that has places of its own.
    pub(crate) fn place<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        self.read()
    }

    fn read<T: DeserializeOwned>(&self) -> Result<Option<T>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let decoded = URL_SAFE_NO_PAD.decode(cursor).ok();
        decoded.and_then(|json| serde_json::from_slice(&json).ok()).map(Some).ok_or_else(|| {
            Problem::bad_request("cursor is not one that this list gave; leave it out to begin anew")
        })
    }
}

/// The cursor for a place.
pub(crate) fn cursor(place: &impl Serialize) -> Option<String> {
    serde_json::to_vec(place).ok().map(|json| URL_SAFE_NO_PAD.encode(json))
}

/// A slice of the jobs of these states, one state after the other, and the cursor of the next.
///
/// A job that stays in its state is not missed: the slice goes on behind the job that was seen last, wherever that is by
/// then. Where it is gone, or its state is a list whose places no store knows, it is looked for among [`DRIFT`] others on
/// each side of where it was. One that moves may be seen twice.
pub(crate) async fn jobs(
    store: &dyn Admin,
    queue: &QueueName,
    states: &[JobState],
    slice: &Slice,
) -> Result<(Vec<(JobState, Job)>, Option<String>), Problem> {
    let limit = slice.limit()?;
    let Some(first) = states.first() else { return Ok((Vec::new(), None)) };
    let mut place = slice.read::<Place>()?.unwrap_or_else(|| Place::start(*first));
    let Some(begun) = states.iter().position(|state| *state == place.state) else {
        return Err(Problem::bad_request("cursor is of a list of other states; leave it out to begin anew"));
    };
    let mut found: Vec<(JobState, Job)> = Vec::new();
    for state in &states[begun..] {
        if place.state != *state {
            place = Place::start(*state);
        }
        let left = limit - found.len() as u64;
        let jobs = place.go_on(store, queue, left).await?;
        // Asked for by itself: a store gives no more than the most that can be asked for here.
        let may_be_more = jobs.len() as u64 == left;
        found.extend(jobs.into_iter().map(|job| (*state, job)));
        // With no room left in this slice, the state begins in the next one.
        if may_be_more && !place.clone().go_on(store, queue, 1).await?.is_empty() {
            return Ok((found, cursor(&place)));
        }
    }
    Ok((found, None))
}

// === impl Place ===

impl Place {
    fn start(state: JobState) -> Self {
        Self { state, offset: 0, last: None }
    }

    /// The next so many jobs; the place is behind them then.
    async fn go_on(
        &mut self,
        store: &dyn Admin,
        queue: &QueueName,
        limit: u64,
    ) -> Result<Vec<Job>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let behind = match self.last.as_ref().and_then(|last| JobId::new(last).ok()) {
            Some(last) => store.list_behind(queue, self.state, &last, limit).await?,
            None => None,
        };
        let jobs = match behind {
            Some(jobs) => jobs,
            None => {
                self.offset = self.found_again(store, queue).await?;
                store.list(queue, self.state, Page { offset: self.offset, limit }).await?
            }
        };
        self.offset += jobs.len() as u64;
        if let Some(job) = jobs.last() {
            self.last = Some(job.id.to_string());
        }
        Ok(jobs)
    }

    /// The offset behind the job that was seen last.
    async fn found_again(&self, store: &dyn Admin, queue: &QueueName) -> Result<u64, StoreError> {
        let Self { state, offset, last: Some(last) } = self else { return Ok(self.offset) };
        let find = async |from: u64, count: u64| {
            let jobs = store.list(queue, *state, Page { offset: from, limit: count }).await?;
            let at = jobs.iter().position(|job| job.id.as_str() == last);
            Ok::<_, StoreError>(at.map(|at| from + at as u64 + 1))
        };
        let was_at = offset.saturating_sub(1);
        // Most often nothing has moved; else newer ones came before it, or earlier ones have gone.
        if let Some(behind) = find(was_at, 1).await? {
            return Ok(behind);
        }
        if let Some(behind) = find(offset.saturating_sub(DRIFT), DRIFT * 2).await? {
            return Ok(behind);
        }
        // It is gone, or far away: beginning a little earlier shows some again and leaves out none that stayed.
        Ok(offset.saturating_sub(DRIFT))
    }
}
