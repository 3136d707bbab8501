//! `jobcell:job/context`: the running job. Always granted.

use bytes::Bytes;
use jobcell_core::HostCall;
use jobcell_core::effects::Gauge;
use tokio::time::Instant;

use super::{missing, store_error};
use crate::cell::Cell;
use crate::effect::Does;
use crate::job::is_json;
use crate::world::jobcell::job::context::Host;
use crate::world::jobcell::job::types::Error;

impl Host for Cell {
    fn progress(&mut self, json: String) -> Result<(), Error> {
        self.called(HostCall::Context);
        self.within("progress", json.len(), self.template.limits().progress)?;
        if !is_json(json.as_bytes()) {
            return Err(Error::Invalid("progress is not JSON text".to_owned()));
        }
        self.attempt.io.progress(Bytes::from(json));
        Ok(())
    }

    fn log(&mut self, line: String) {
        self.called(HostCall::Context);
        self.log_lines("", &line);
    }

    fn is_cancelled(&mut self) -> bool {
        self.called(HostCall::Context);
        let is_cancelled = self.attempt.io.is_asked() || self.attempt.cancel.is_cancelled();
        self.gauge(Gauge::Cancelled, is_cancelled.into()) != 0
    }

    fn remaining_ms(&mut self) -> u64 {
        self.called(HostCall::Context);
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.gauge(Gauge::Remaining, u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
    }

    fn update_data(&mut self, data: Vec<u8>) -> Result<(), Error> {
        self.called(HostCall::Context);
        self.within("payload", data.len(), self.template.limits().payload)?;
        // A queue whose payloads are JSON text must go on having such; one of raw bytes may hold anything.
        if is_json(&self.attempt.job.data) && !is_json(&data) {
            return Err(Error::Invalid(
                "the payload of this job is JSON text, and the new one is not".to_owned(),
            ));
        }
        let call = self.effect(HostCall::Context, "update-data", Does::Write, |ask| ask.bytes(&data));
        let io = &self.attempt.io;
        call.answer_now(|| {
            io.update_data(Bytes::from(data));
            Ok(())
        })
    }

    async fn children_values(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.called(HostCall::Context);
        let call = self.effect(HostCall::Context, "children-values", Does::Read, |_| ());
        let store = self.template.services().store.as_ref().ok_or_else(|| missing("a job store"));
        let (queue, id) = (&self.attempt.queue, &self.attempt.job.id);
        call.answer(async { store?.children_values(queue, id).await.map_err(store_error) }).await
    }

    async fn children_failures(&mut self) -> Result<Vec<(String, String)>, Error> {
        self.called(HostCall::Context);
        let call = self.effect(HostCall::Context, "children-failures", Does::Read, |_| ());
        let store = self.template.services().store.as_ref().ok_or_else(|| missing("a job store"));
        let (queue, id) = (&self.attempt.queue, &self.attempt.job.id);
        call.answer(async { store?.children_failures(queue, id).await.map_err(store_error) }).await
    }
}
