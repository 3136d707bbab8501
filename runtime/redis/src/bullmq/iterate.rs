//! The next job of each scheduler whose pending job was just claimed. It is made before the claim is handed on: from then
//! on nothing that befalls the claimed job (a retry, a stall, a crash) can break the chain, and the script makes one job
//! for each pending one, whoever claims it how often.

use std::collections::HashSet;
use std::sync::Arc;

use jobcell_core::schedule::{Draft, Repeat, ScheduleError};
use jobcell_core::store::{Claim, ClaimRequest};
use jobcell_core::{Job, JobId, Millis, QueueName, StoreError};
use serde_json::Value as Json;

use super::BullStore;
use super::add::DUE_MAX;
use super::claim::Iterated;
use crate::reply;
use crate::script::{self, Call};

/// Jobs one call makes: it holds Redis for about 20 µs each.
const JOBS_A_CALL_MAX: usize = 200;
/// A key of so many parts may be one of an old repeatable job, which has its rule in its name.
const OLD_KEY_PARTS: usize = 5;

/// The next job of one scheduler, as far as it is known without looking at the scheduler.
struct Next {
    /// When it is due, where that does not depend on the scheduler's record.
    slot: Option<Millis>,
    every: Option<u64>,
    /// How much later than its slot it runs.
    shift: Option<u64>,
    /// The options, not closed.
    options: String,
}

impl BullStore {
    /// Makes the next jobs. Where Redis does not answer, the jobs concerned are taken out of the claim and given back.
    pub(super) async fn iterate(
        &self,
        queue: &QueueName,
        request: &ClaimRequest,
        claim: &mut Claim,
        iterated: &[Iterated],
    ) {
        let mut parts = iterated.chunks(JOBS_A_CALL_MAX);
        while let Some(part) = parts.next() {
            match self.make_next(queue, part, request.now).await {
                Ok(made) => {
                    // Where all that were wanted came, nobody waits for the next one.
                    let due = made.filter(|_| claim.jobs.len() < request.max);
                    claim.next_due = claim.next_due.into_iter().chain(due).min();
                }
                Err(error) if error.is_transient() => {
                    let held: Vec<&Iterated> = part.iter().chain(parts.flatten()).collect();
                    tracing::warn!(
                        %queue, jobs = held.len(), %error,
                        "the next jobs of schedulers cannot be made now; the claimed ones are given back"
                    );
                    self.hold_back(queue, request, claim, &held);
                    return;
                }
                Err(error) => {
                    for Iterated { job, .. } in part {
                        self.tell_broken(queue, job, &error.to_string()).await;
                    }
                }
            }
        }
    }

    /// Makes the next jobs of these, and gives when the first of them is due.
    async fn make_next(
        &self,
        queue: &QueueName,
        iterated: &[Iterated],
        now: Millis,
    ) -> Result<Option<Millis>, StoreError> {
        let next = iterated.iter().map(|iterated| (&iterated.job, next_of(&iterated.job, now)));
        // The timetable of the others has ended.
        let going_on: Vec<(&Arc<Job>, Result<Next, String>)> =
            next.filter_map(|(job, next)| Some((job, next.transpose()?))).collect();
        if going_on.is_empty() {
            return Ok(None);
        }
        let keys = self.keys(queue);
        let mut call = script::ITERATE.call(&keys.meta());
        call.arg(now).arg(going_on.len());
        for (job, next) in &going_on {
            encode(&mut call, job, next);
        }
        let ids: Vec<&JobId> = going_on.iter().map(|(job, _)| &job.id).collect();
        let answers = reply::pairs(self.run(&call, &keys, &ids).await?)?;
        let mut first: Option<Millis> = None;
        for ((job, _), (due, fault)) in going_on.into_iter().zip(answers) {
            first = first.into_iter().chain(due.parse().ok()).min();
            if !fault.is_empty() {
                self.tell_broken(queue, job, &fault).await;
            }
        }
        Ok(first)
    }

    /// Takes these jobs out of the claim. Nobody runs them, so they are given back as soon as Redis answers.
    fn hold_back(&self, queue: &QueueName, request: &ClaimRequest, claim: &mut Claim, held: &[&Iterated]) {
        let ids: HashSet<&JobId> = held.iter().map(|iterated| &iterated.job.id).collect();
        claim.jobs.retain(|claimed| !ids.contains(&claimed.id));
        let runs: Vec<_> = held.chunk_by(|before, after| before.nth + 1 == after.nth).collect();
        // What is given back last is the next to run.
        for run in runs.into_iter().rev() {
            let token_first = request.token_first + run[0].nth as u64;
            self.unanswered.add(queue, &ClaimRequest { max: run.len(), token_first, ..request.clone() });
        }
    }

    /// Says where somebody will look that a scheduler makes no further jobs: in the host's log and in that of the job.
    async fn tell_broken(&self, queue: &QueueName, job: &Job, cause: &str) {
        let scheduler = job.scheduler.as_deref().unwrap_or_default();
        tracing::error!(
            %queue, scheduler, job = %job.id, cause,
            "a scheduler makes no further jobs; mend the cause and set the scheduler again"
        );
        let line = format!(
            "scheduler {scheduler:?} makes no further jobs: {cause}; mend the cause and set the scheduler again"
        );
        if let Err(error) = self.write_logs(queue, &job.id, &[line], job.options.keep_logs).await {
            tracing::debug!(%queue, job = %job.id, %error, "the job's log could not be written");
        }
    }
}

/// None when the timetable has ended.
fn next_of(job: &Job, now: Millis) -> Result<Option<Next>, String> {
    let scheduler = job.scheduler.as_deref().unwrap_or_default();
    let told = |e: ScheduleError| e.to_string();
    let repeat = Repeat::read(&job.options_raw).map_err(told)?;
    let timetable = repeat.timetable().ok_or("the job's options name neither a pattern nor a distance")?;
    let Some(slot) = timetable.next(repeat.slot.unwrap_or(0), repeat.count, now).map_err(told)? else {
        return Ok(None);
    };
    let mut draft = Draft::after(&job.options_raw, &repeat, scheduler, now).map_err(told)?;
    let every = repeat.every.filter(|_| repeat.pattern.is_none());
    let slot = match every {
        // Of an old repeatable job; where the others run next is for their record to say.
        Some(every) => (now.max(repeat.slot.unwrap_or(0)) / every).saturating_add(1).saturating_mul(every),
        None => slot,
    };
    if slot > DUE_MAX {
        return Err(format!(
            "its next job would be due at {slot} ms, after 2039, which this layout cannot hold"
        ));
    }
    let is_old = may_be_old(scheduler);
    if every.is_none() || is_old {
        draft.note_slot(slot).map_err(told)?;
    }
    Ok(Some(Next {
        slot: Some(slot).filter(|_| every.is_none() || is_old),
        every,
        shift: repeat.offset.filter(|_| is_old && every.is_some()),
        options: draft.open(),
    }))
}

fn may_be_old(scheduler: &str) -> bool {
    scheduler.split(':').count() >= OLD_KEY_PARTS
}

/// One job's arguments, as `iterate.lua` lists them.
fn encode(call: &mut Call<'_>, job: &Job, next: &Result<Next, String>) {
    let scheduler = job.scheduler.as_deref().unwrap_or_default();
    let mut flags = String::new();
    if may_be_old(scheduler) {
        flags.push('o');
    }
    if job.options.lifo {
        flags.push('l');
    }
    let number = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    call.arg(scheduler).arg(job.id.as_str()).arg(flags);
    match next {
        Ok(Next { slot, every, shift, options }) => {
            // The next id is this one with another slot.
            let prefix = job.id.as_str().rsplit_once(':').map_or("", |(prefix, _)| prefix);
            let mut prefix = Json::from(format!("{prefix}:")).to_string();
            prefix.pop();
            call.arg(number(*slot)).arg(number(*every)).arg(number(*shift)).arg(prefix).arg(options);
            call.arg(job.options.priority).arg("");
        }
        Err(fault) => {
            for _ in 0..6 {
                call.arg("");
            }
            call.arg(fault);
        }
    }
}
