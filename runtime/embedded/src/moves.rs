//! Moving a job to where it waits.

use jobcell_core::{JobId, JobState, Millis};

use crate::error::Result;
use crate::record::Record;
use crate::schema;
use crate::tx::Tx;

/// Due jobs that one claim moves at most, so that a claim after a long pause stays short. The next ones move the rest.
const PROMOTED_MAX: usize = 1000;

impl Tx<'_> {
    /// Puts a job that was taken out of its place among those that are ready, by its priority, and tells.
    pub(crate) fn make_ready(
        &mut self,
        number: u32,
        id: &JobId,
        record: &mut Record,
        front: bool,
        from: Option<&str>,
    ) -> Result<()> {
        let place = ready_place(record);
        self.put_ready(number, id, record, front, place)?;
        match from {
            Some(from) => self.tell(number, "waiting", &[("jobId", id.as_str()), ("prev", from)]),
            None => self.tell(number, "waiting", &[("jobId", id.as_str())]),
        }
        Ok(())
    }

    /// Puts a job in front of all others, whatever its priority, as BullMQ does with recovered ones.
    pub(crate) fn make_first(
        &mut self,
        number: u32,
        id: &JobId,
        record: &mut Record,
        from: &str,
    ) -> Result<()> {
        self.put_ready(number, id, record, true, (JobState::Waiting, 0))?;
        self.tell(number, "waiting", &[("jobId", id.as_str()), ("prev", from)]);
        Ok(())
    }

    /// Puts a job that was taken out of its place behind those that wait without a priority, whatever its own is, and
    /// tells: what BullMQ does with many at once.
    pub(crate) fn make_plain(
        &mut self,
        number: u32,
        id: &JobId,
        record: &mut Record,
        from: &str,
    ) -> Result<()> {
        self.put_ready(number, id, record, false, (JobState::Waiting, 0))?;
        self.tell(number, "waiting", &[("jobId", id.as_str()), ("prev", from)]);
        Ok(())
    }

    /// Puts a job that waits where its priority now says.
    pub(crate) fn move_ready(
        &mut self,
        number: u32,
        id: &JobId,
        record: &mut Record,
        front: bool,
    ) -> Result<()> {
        self.take(number, record)?;
        let place = ready_place(record);
        self.put_ready(number, id, record, front, place)
    }

    fn put_ready(
        &mut self,
        number: u32,
        id: &JobId,
        record: &mut Record,
        front: bool,
        (state, a): (JobState, u64),
    ) -> Result<()> {
        if front {
            self.put_front(number, id.as_str(), record, state, a)?;
        } else {
            self.put_back(number, id.as_str(), record, state, a)?;
        }
        self.wake(number);
        Ok(())
    }

    /// Puts a job that was taken out of its place among those that wait for their time, and tells.
    pub(crate) fn make_delayed(
        &mut self,
        number: u32,
        id: &JobId,
        record: &mut Record,
        due: Millis,
    ) -> Result<()> {
        self.put_back(number, id.as_str(), record, JobState::Delayed, due)?;
        self.tell(number, "delayed", &[("jobId", id.as_str()), ("delay", &due.to_string())]);
        Ok(())
    }

    /// Gives a delayed job another delay, which counts from `from`.
    pub(crate) fn redelay(
        &mut self,
        number: u32,
        id: &JobId,
        record: &mut Record,
        delay: Millis,
        from: Millis,
    ) -> Result<()> {
        self.take(number, record)?;
        record.delay = delay;
        self.make_delayed(number, id, record, from.saturating_add(delay))
    }

    /// Makes a delayed job ready.
    pub(crate) fn undelay(&mut self, number: u32, id: &JobId, record: &mut Record) -> Result<()> {
        self.take(number, record)?;
        record.delay = 0;
        self.make_ready(number, id, record, false, Some("delayed"))
    }

    /// Makes the delayed jobs ready that are due.
    pub(crate) fn promote_due(&mut self, number: u32, now: Millis) -> Result<()> {
        for id in self.ids(schema::up_to(number, JobState::Delayed, now), PROMOTED_MAX)? {
            let mut record = self.need(number, &id)?;
            self.undelay(number, &id, &mut record)?;
        }
        Ok(())
    }
}

/// Where a job waits that is ready: its state, and what orders it there.
fn ready_place(record: &Record) -> (JobState, u64) {
    match record.priority {
        0 => (JobState::Waiting, 0),
        priority => (JobState::Prioritized, priority),
    }
}
