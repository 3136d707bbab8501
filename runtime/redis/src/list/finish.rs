//! Ending attempts, and claiming in the same call.

use std::time::Duration;

use jobcell_core::attempt::Recorded;
use jobcell_core::options::KeepLimits;
use jobcell_core::store::{Claim, ClaimRequest, CrashNote, Finish, FinishReply, Refusal, Verdict};
use jobcell_core::{Keep, Millis, StoreError};

use super::store::ListStore;
use super::{claim, script};
use crate::bullmq::ms;
use crate::error;
use crate::reply;
use crate::script::Call;

/// Finishes one call writes: it holds Redis for about 15 µs each, and Lua passes on a few thousand values at once.
const FINISHES_A_CALL_MAX: usize = 256;

/// The pause before the next claim when one could not be started.
const CLAIM_AGAIN: Duration = Duration::from_millis(50);

impl ListStore {
    pub(super) async fn finish_all(
        &self,
        finishes: Vec<Finish>,
        request: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError> {
        if finishes.len() <= FINISHES_A_CALL_MAX {
            return self.finish_and_claim(&finishes, request, now).await;
        }
        let mut all = FinishReply::default();
        let mut parts = finishes.chunks(FINISHES_A_CALL_MAX).peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let reply = self.finish_and_claim(part, request.filter(|_| last), now).await?;
            all.finished.extend(reply.finished);
            all.claim = reply.claim;
        }
        Ok(all)
    }

    pub(super) async fn finish_and_claim(
        &self,
        finishes: &[Finish],
        request: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError> {
        self.give_back_unanswered().await;
        let mut call = self.call(&script::FINISH);
        let own = self.options.own_records.map(|stay| ms(stay).to_string()).unwrap_or_default();
        call.arg(now).arg(own).arg(finishes.len());
        claim::encode(&mut call, request);
        for finish in finishes {
            self.encode(&mut call, finish)?;
        }
        let value = match call.send(&self.redis).await {
            Ok(value) => value,
            Err(e) => {
                // A claim that Redis answers with an error took nothing.
                if let Some(request) = request.filter(|_| !error::is_unsent(&e) && !error::is_answered(&e)) {
                    self.unanswered.add(request);
                }
                return Err(self.explain(&e).await);
            }
        };
        let [codes, items, rest, due, faults, evicted, untold, unclaimed] = reply::tuple(value)?;
        for (key, cause) in reply::pairs(faults)? {
            tracing::error!(key, cause, "a job's end cannot be written; mend or delete the key");
        }
        self.note_untold(untold);
        let codes = reply::array(codes)?;
        let finished: Result<Vec<_>, StoreError> =
            codes.iter().map(|code| Ok(verdict(reply::int(code)?))).collect();
        let finished = finished?;
        self.forget_items(reply::array(evicted)?).await;
        let unclaimed = reply::text(unclaimed)?.filter(|cause| !cause.is_empty());
        if let Some(cause) = unclaimed {
            // The next claim comes by itself and tells what is wrong.
            tracing::debug!(queue = %self.queue, cause, "nothing could be claimed");
            let claim = Claim { rate_limited: Some(CLAIM_AGAIN), ..Claim::default() };
            return Ok(FinishReply { finished, claim });
        }
        let claim = match self.claimed(request, [items, rest, due]).await {
            Ok(claim) => claim,
            Err(e) => {
                // What was taken and not started must not wait for its lock to run out.
                request.into_iter().for_each(|request| self.unanswered.add(request));
                if finishes.is_empty() {
                    return Err(e);
                }
                // The ends are written. The next claim comes soon, gives back what this one took, and tells what is
                // wrong.
                tracing::debug!(queue = %self.queue, error = %e, "claimed items could not be started");
                Claim { rate_limited: Some(CLAIM_AGAIN), ..Claim::default() }
            }
        };
        Ok(FinishReply { finished, claim })
    }

    /// One record, as `finish.lua` lists them.
    fn encode(&self, call: &mut Call<'_>, finish: &Finish) -> Result<(), StoreError> {
        let Finish { id, token, verdict, recorded, keep_logs, receipt, crashes, digest } = finish;
        let Recorded { logs, progress, data } = recorded;
        let crashes = match crashes {
            CrashNote::Leave => None,
            CrashNote::Forget => Some("-".to_owned()),
            CrashNote::Set(crashes) => Some(crashes.to_string()),
        };
        let left: Vec<(&str, &[u8])> = [
            ("p", progress.as_deref()),
            ("d", data.as_deref()),
            ("r", receipt.as_ref().map(|receipt| receipt.json.as_bytes())),
            ("k", crashes.as_deref().map(str::as_bytes)),
            ("v", digest.as_deref().map(str::as_bytes)),
        ]
        .into_iter()
        .filter_map(|(flag, value)| Some((flag, value?)))
        .collect();
        call.arg(token.as_str())
            .arg(id.as_str())
            .arg(self.keys.record(id).unwrap_or_default())
            .arg(left.iter().map(|(flag, _)| *flag).collect::<String>())
            .arg(keep_logs.map(|n| n.to_string()).unwrap_or_default())
            .arg(logs.len());
        for (_, value) in &left {
            call.arg(*value);
        }
        for line in logs {
            call.arg(line);
        }
        match verdict {
            Verdict::Complete { result, keep } => {
                call.arg("c").arg(&result[..]).arg(keep_completed(keep)).arg("").arg("");
            }
            Verdict::Fail { reason, stacktrace, keep, attempts_max: _ } => {
                call.arg("f").arg(reason).arg(keep_failed(keep)).arg(traces(stacktrace)?).arg("");
            }
            Verdict::Retry { reason, stacktrace, delay, lifo } => {
                let delay = if delay.is_zero() { 0 } else { ms(*delay) };
                call.arg("r").arg(reason).arg(delay).arg(traces(stacktrace)?).arg(u8::from(*lifo));
            }
            Verdict::DelayUntil(due) => {
                call.arg("d").arg(*due).arg("").arg("").arg("");
            }
            Verdict::Release => {
                call.arg("b").arg("").arg("").arg("").arg("");
            }
            Verdict::RateLimit(rest) => {
                call.arg("l").arg(ms(*rest)).arg("").arg("").arg("");
            }
            Verdict::WaitForChildren => {
                call.arg("w").arg("").arg("").arg("").arg("");
            }
        }
        Ok(())
    }
}

fn verdict(code: i64) -> Result<(), Refusal> {
    match code {
        0 => Ok(()),
        1 => Err(Refusal::Missing),
        2 => Err(Refusal::LockExpired),
        6 => Err(Refusal::LockTaken),
        7 => Err(Refusal::NothingToWaitFor),
        8 => Err(Refusal::Unwritable),
        _ => Err(Refusal::NotActive),
    }
}

fn traces(stacktrace: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(stacktrace)
        .map_err(|e| StoreError::Rejected(format!("the stack trace cannot be stored: {e}")))
}

/// Milliseconds the record of a completed job stays. There is no list of completed jobs to count.
fn keep_completed(keep: &Keep) -> String {
    match keep {
        Keep::None | Keep::UpTo(KeepLimits { count: Some(0), .. }) => "0".to_owned(),
        Keep::UpTo(KeepLimits { age: Some(age), .. }) => {
            age.saturating_mul(1000).clamp(1, 1 << 52).to_string()
        }
        Keep::All | Keep::UpTo(KeepLimits { age: None, .. }) => String::new(),
    }
}

/// How many dead items stay. They have no time of their own to go by.
fn keep_failed(keep: &Keep) -> String {
    match keep {
        Keep::None => "0".to_owned(),
        Keep::UpTo(KeepLimits { count: Some(count), .. }) => count.to_string(),
        Keep::All | Keep::UpTo(KeepLimits { count: None, .. }) => String::new(),
    }
}
