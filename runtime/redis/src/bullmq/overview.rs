//! Looking at a queue as a whole.

use std::collections::BTreeMap;
use std::time::Duration;

use jobcell_core::store::{Page, Series, WorkerSeen};
use jobcell_core::{JobId, JobState, QueueName, StoreError};

use super::BullStore;
use super::read::PAGE_MAX;
use crate::reply;
use crate::script;

/// Priorities one call counts.
const PRIORITIES_A_CALL: usize = 1000;

impl BullStore {
    pub(super) async fn read_priorities(
        &self,
        queue: &QueueName,
        priorities: &[u64],
    ) -> Result<BTreeMap<u64, u64>, StoreError> {
        let keys = self.keys(queue);
        let mut counted = BTreeMap::new();
        for part in priorities.chunks(PRIORITIES_A_CALL) {
            let mut call = script::PRIORITIES.call(&keys.meta());
            for priority in part {
                call.arg(*priority);
            }
            let counts = reply::array(self.run(&call, &keys, &[]).await?)?;
            for (priority, count) in part.iter().zip(counts) {
                counted.insert(*priority, reply::count(&count)?);
            }
        }
        Ok(counted)
    }

    pub(super) async fn read_series(
        &self,
        queue: &QueueName,
        state: JobState,
        page: Page,
    ) -> Result<Series, StoreError> {
        if !state.is_finished() {
            return Err(StoreError::Rejected(format!(
                "there is no series of {state} jobs; there is one of completed and one of failed ones"
            )));
        }
        let keys = self.keys(queue);
        // An empty range where nothing is asked for: the last point lies before the first.
        let first = page.offset.min(1 << 52);
        let last = i64::try_from(first + page.limit.min(PAGE_MAX)).unwrap_or(i64::MAX) - 1;
        let (first, last) = if page.limit == 0 { (1, 0) } else { (first, last) };
        let mut call = script::SERIES.call(&keys.meta());
        call.arg(state.as_str()).arg(first).arg(last);
        let [total, written, points, length, before] = reply::tuple(self.run(&call, &keys, &[]).await?)?;
        let points = reply::array(points)?;
        let total = reply::count(&total)?;
        Ok(Series {
            total,
            last: Some(reply::count(&written)?).filter(|at| *at > 0),
            points: points.iter().map(reply::count).collect::<Result<_, _>>()?,
            length: reply::count(&length)?,
            current: total.saturating_sub(reply::count(&before)?),
        })
    }

    /// Those whose blocking connection has the name that BullMQ gives one, its own and ours.
    pub(super) async fn read_workers(&self, queue: &QueueName) -> Result<Vec<WorkerSeen>, StoreError> {
        let mut list = redis::cmd("CLIENT");
        list.arg("LIST").arg("TYPE").arg("normal");
        // In a cluster they are connected to the node that has the queue.
        let marker = self.keys(queue).of("marker");
        let list = self.redis.call_near(&marker, &list).await.map_err(|e| self.redis.error(&e))?;
        let list = reply::text(list)?.unwrap_or_default();
        Ok(workers(&list, &self.redis.keys().client_name(queue, None)))
    }

    pub(super) async fn read_owner(&self, queue: &QueueName, id: &str) -> Result<Option<JobId>, StoreError> {
        let key = self.keys(queue).of(&format!("de:{id}"));
        let owner = reply::text(self.ask(redis::cmd("GET").arg(key), queue, &[]).await?)?;
        Ok(owner.and_then(|owner| JobId::new(&owner).ok()))
    }

    pub(super) async fn release_owner(&self, queue: &QueueName, id: &str) -> Result<bool, StoreError> {
        let key = self.keys(queue).of(&format!("de:{id}"));
        Ok(reply::int(&self.ask(redis::cmd("DEL").arg(key), queue, &[]).await?)? == 1)
    }
}

/// The lines of `CLIENT LIST` whose connection is named so, or so with a worker's name behind.
fn workers(list: &str, unnamed: &str) -> Vec<WorkerSeen> {
    let seen = |line: &str| {
        let (mut name, mut address, mut age) = ("", "", 0);
        for (field, value) in line.split(' ').filter_map(|part| part.split_once('=')) {
            match field {
                "name" => name = value,
                "addr" => address = value,
                "age" => age = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let name = match name.strip_prefix(unnamed)? {
            "" => None,
            rest => Some(rest.strip_prefix(":w:")?.to_owned()),
        };
        Some(WorkerSeen { name, address: address.to_owned(), age: Duration::from_secs(age) })
    };
    list.lines().filter_map(seen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_told_from_other_clients_by_their_names() {
        let list = "id=3 addr=127.0.0.1:52555 laddr=127.0.0.1:6379 fd=8 name=bull:bWFpbA== age=855 idle=0\n\
                    id=4 addr=10.0.0.9:5 name=bull:bWFpbA==:w:media=1 age=2 idle=0\n\
                    id=5 addr=10.0.0.9:6 name=bull:bWFpbA==:qe age=2\n\
                    id=6 addr=10.0.0.9:7 name=bull:bWFpbA==x age=2\n\
                    id=7 addr=10.0.0.9:8 name= age=2\r\n\n";
        let workers = workers(list, "bull:bWFpbA==");
        let shown: Vec<_> =
            workers.iter().map(|w| (w.name.as_deref(), w.address.as_str(), w.age.as_secs())).collect();
        assert_eq!(shown, [(None, "127.0.0.1:52555", 855), (Some("media=1"), "10.0.0.9:5", 2)]);
    }
}
