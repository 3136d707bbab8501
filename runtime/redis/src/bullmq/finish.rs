//! Ending attempts, and claiming in the same round trip.

use jobcell_core::attempt::Recorded;
use jobcell_core::options::KeepLimits;
use jobcell_core::store::{ClaimRequest, CrashNote, Finish, FinishReply, ReceiptNote, Refusal, Verdict};
use jobcell_core::{JobId, Keep, Millis, QueueName, StoreError};

use super::{BullStore, claim};
use crate::error;
use crate::reply;
use crate::script::{self, Call};

/// Finishes one call writes: it holds Redis for about 10 µs each, and Lua passes on a few thousand values at once.
const FINISHES_A_CALL_MAX: usize = 256;

impl BullStore {
    pub(super) async fn finish_all(
        &self,
        queue: &QueueName,
        finishes: Vec<Finish>,
        request: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError> {
        if finishes.len() <= FINISHES_A_CALL_MAX {
            return self.finish_and_claim(queue, &finishes, request, now).await;
        }
        let mut all = FinishReply::default();
        let mut parts = finishes.chunks(FINISHES_A_CALL_MAX).peekable();
        while let Some(part) = parts.next() {
            let last = parts.peek().is_none();
            let reply = self.finish_and_claim(queue, part, request.filter(|_| last), now).await?;
            all.finished.extend(reply.finished);
            all.claim = reply.claim;
        }
        Ok(all)
    }

    pub(super) async fn finish_and_claim(
        &self,
        queue: &QueueName,
        finishes: &[Finish],
        request: Option<&ClaimRequest>,
        now: Millis,
    ) -> Result<FinishReply, StoreError> {
        self.give_back_unanswered(queue).await;
        let keys = self.keys(queue);
        let mut call = script::FINISH.call(&keys.meta());
        call.arg(now).arg(self.options.series.of(queue)).arg(finishes.len());
        claim::encode(&mut call, request);
        for finish in finishes {
            call.arg(finish.id.as_str());
        }
        for finish in finishes {
            call.arg(finish.token.as_str());
        }
        for finish in finishes {
            encode(&mut call, finish)?;
        }
        let value = match call.send(&self.redis).await {
            Ok(value) => value,
            Err(e) => {
                // A key of another type is met before anything is claimed, or what was is put back.
                let claimed = !error::did_nothing(&e) && !error::has_code(&e, "WRONGTYPE");
                if let Some(request) = request.filter(|_| claimed) {
                    self.unanswered.add(queue, request);
                }
                let ids: Vec<&JobId> = finishes.iter().map(|finish| &finish.id).collect();
                return Err(self.explain(e, &keys, &ids).await);
            }
        };
        let [codes, jobs, rest, due, dropped, faults, misfits] = reply::tuple(value)?;
        for (id, cause) in reply::pairs(faults)? {
            tracing::error!(
                key = keys.of(&id),
                cause,
                "what a job's end leaves cannot be written; mend or delete the key"
            );
        }
        let codes = reply::array(codes)?;
        let finished: Result<Vec<_>, StoreError> =
            codes.iter().map(|code| Ok(verdict(reply::int(code)?))).collect();
        let (mut claim, iterated) = claim::decode(&keys, request, [jobs, rest, due, dropped, misfits])?;
        if let Some(request) = request.filter(|_| !iterated.is_empty()) {
            self.iterate(queue, request, &mut claim, &iterated).await;
        }
        Ok(FinishReply { finished: finished?, claim })
    }
}

fn verdict(code: i64) -> Result<(), Refusal> {
    match code {
        0 => Ok(()),
        1 => Err(Refusal::Missing),
        2 => Err(Refusal::LockExpired),
        4 => Err(Refusal::PendingChildren),
        6 => Err(Refusal::LockTaken),
        7 => Err(Refusal::NothingToWaitFor),
        8 => Err(Refusal::Unwritable),
        9 => Err(Refusal::FailedChildren),
        _ => Err(Refusal::NotActive),
    }
}

/// One record, as `finish.lua` lists them.
fn encode(call: &mut Call<'_>, finish: &Finish) -> Result<(), StoreError> {
    let Finish { id: _, token: _, verdict, recorded, keep_logs, receipt, crashes, digest } = finish;
    if !recorded.is_empty() {
        let Recorded { logs, progress, data } = recorded;
        let flags = match (progress, data) {
            (Some(_), Some(_)) => "pd",
            (Some(_), None) => "p",
            (None, Some(_)) => "d",
            (None, None) => "",
        };
        call.arg("+").arg(flags).arg(keep_logs.map(|n| n.to_string()).unwrap_or_default()).arg(logs.len());
        for json in [progress, data].into_iter().flatten() {
            call.arg(&json[..]);
        }
        for line in logs {
            call.arg(line);
        }
    }
    // Nobody else reads it.
    let digest = digest.as_deref().filter(|_| matches!(verdict, Verdict::Retry { .. }));
    encode_cost(call, receipt.as_ref(), crashes, digest);
    match verdict {
        Verdict::Complete { result, keep } => {
            // Every client parses the result; one that is not there is JSON's null.
            let result = if result.is_empty() { &b"null"[..] } else { &result[..] };
            call.arg("c").arg(result).arg(policy(keep));
        }
        Verdict::Fail { reason, stacktrace, keep, attempts_max } => {
            call.arg("f").arg(reason).arg(traces(stacktrace)?).arg(policy(keep)).arg(*attempts_max);
        }
        Verdict::Retry { reason, stacktrace, delay, lifo } => {
            let delay = if delay.is_zero() { 0 } else { claim::ms(*delay) };
            call.arg("r").arg(reason).arg(traces(stacktrace)?).arg(delay).arg(u8::from(*lifo));
        }
        Verdict::DelayUntil(due) => {
            call.arg("d").arg(*due);
        }
        Verdict::Release => {
            call.arg("b");
        }
        Verdict::RateLimit(rest) => {
            call.arg("l").arg(claim::ms(*rest));
        }
        Verdict::WaitForChildren => {
            call.arg("w");
        }
    }
    Ok(())
}

/// What the attempt cost, how it broke and which version ran it, where there is something to say.
fn encode_cost(
    call: &mut Call<'_>,
    receipt: Option<&ReceiptNote>,
    crashes: &CrashNote,
    digest: Option<&str>,
) {
    if receipt.is_none() && *crashes == CrashNote::Leave && digest.is_none() {
        return;
    }
    let (json, keep) = receipt.map_or(("", 0), |receipt| (receipt.json.as_str(), receipt.keep));
    call.arg("#").arg(json).arg(keep);
    match crashes {
        CrashNote::Leave => call.arg(""),
        CrashNote::Forget => call.arg("-"),
        CrashNote::Set(crashes) => call.arg(crashes.to_string()),
    };
    call.arg(digest.unwrap_or_default());
}

fn traces(stacktrace: &[String]) -> Result<String, StoreError> {
    serde_json::to_string(stacktrace)
        .map_err(|e| StoreError::Rejected(format!("the stack trace cannot be stored: {e}")))
}

pub(super) fn policy(keep: &Keep) -> String {
    let part = |n: Option<u64>| n.map(|n| n.to_string()).unwrap_or_default();
    match keep {
        Keep::All => String::new(),
        Keep::None | Keep::UpTo(KeepLimits { count: Some(0), .. }) => "0".to_owned(),
        Keep::UpTo(KeepLimits { count: None, age: None, .. }) => String::new(),
        Keep::UpTo(KeepLimits { count, age, limit }) => {
            format!("{},{},{}", part(*count), part(*age), part(*limit))
        }
    }
}
