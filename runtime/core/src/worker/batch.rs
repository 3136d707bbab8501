//! Which ends go to the store in one call.

use crate::attempt::Recorded;
use crate::store::{Finish, Verdict};

/// Bytes that one call carries, unless a single end is larger. Results and payloads can be a MiB and more each: a batch
/// of them by number alone would hold up everybody who shares the store, and be sent whole again after a failure.
pub(super) const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Takes the first ends, in their order: at most `count`, at most [`BYTES_MAX`] together, at least one if there is any.
pub(super) fn take(ended: &mut Vec<Finish>, count: usize) -> Vec<Finish> {
    let mut bytes = 0_usize;
    let mut fits = |finish: &Finish| {
        bytes = bytes.saturating_add(size(finish));
        bytes <= BYTES_MAX
    };
    let taken = ended.iter().take(count).take_while(|finish| fits(finish)).count();
    let at_least = count.min(ended.len()).min(1);
    ended.drain(..taken.max(at_least)).collect()
}

/// What of an end grows with what the guest says.
fn size(finish: &Finish) -> usize {
    // Receipts and crashes are short.
    let Finish { verdict, recorded, .. } = finish;
    let said = match verdict {
        Verdict::Complete { result, .. } => result.len(),
        Verdict::Fail { reason, stacktrace, .. } | Verdict::Retry { reason, stacktrace, .. } => {
            reason.len() + lengths(stacktrace)
        }
        Verdict::DelayUntil(_) | Verdict::Release | Verdict::RateLimit(_) | Verdict::WaitForChildren => 0,
    };
    let Recorded { logs, progress, data } = recorded;
    said + lengths(logs) + [progress, data].into_iter().flatten().map(bytes::Bytes::len).sum::<usize>()
}

fn lengths(lines: &[String]) -> usize {
    lines.iter().map(String::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::JobId;
    use crate::options::Keep;
    use crate::store::Token;
    use bytes::Bytes;

    fn end(id: usize, result: usize, log: usize) -> Finish {
        let verdict = Verdict::Complete { result: Bytes::from(vec![b'1'; result]), keep: Keep::All };
        Finish {
            recorded: Recorded { logs: vec!["x".repeat(log)], ..Recorded::default() },
            ..Finish::new(JobId::new(id.to_string()).unwrap(), Token::new("t", 0), verdict)
        }
    }

    fn batches(mut ended: Vec<Finish>, count: usize) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        while !ended.is_empty() {
            let batch = take(&mut ended, count);
            all.push(batch.iter().map(|finish| finish.id.as_str().to_owned()).collect());
        }
        all
    }

    #[test]
    fn a_batch_ends_with_its_number_or_its_bytes_and_is_never_empty() {
        let small: Vec<Finish> = (0..5).map(|i| end(i, 1, 1)).collect();
        assert_eq!(batches(small, 2), [vec!["0", "1"], vec!["2", "3"], vec!["4"]]);
        const MIB: usize = 1024 * 1024;
        let mixed =
            vec![end(0, MIB, MIB), end(1, 2 * MIB, 0), end(2, 1, 0), end(3, 0, 9 * MIB), end(4, 1, 0)];
        assert_eq!(batches(mixed, 64), [vec!["0", "1"], vec!["2"], vec!["3"], vec!["4"]]);
        assert!(take(&mut Vec::new(), 64).is_empty());
    }
}
