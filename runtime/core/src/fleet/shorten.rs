//! Keeps a host's status within what a document may have.

use bytes::Bytes;

use super::HostStatus;
use crate::documents::DOCUMENT_BYTES_MAX;

/// Characters of a text at most: a few sentences, a cause and the lines that mend it.
const TEXT_CHARS_MAX: usize = 1_000;
/// Characters of a reason where there are too many of them for whole ones.
const REASON_CHARS_MAX: usize = 200;
/// Bytes of a word that is left out rather than cut.
const WORD_BYTES_MAX: usize = 40;
/// Versions of one handler that are counted at most: active, canary, previous, and one that still drains.
const VERSIONS_MAX: usize = 4;

/// The document. What is dispensable goes first: the examples of shadows, the ends of reasons, jobs that
/// broke, counts of handlers without a canary, then all counts, then the last handlers and queues by name.
pub(super) fn encoded(status: &HostStatus) -> Bytes {
    let mut status = status.clone();
    bound_texts(&mut status);
    let steps: [fn(&mut HostStatus); 5] = [
        |status| {
            status
                .handlers
                .values_mut()
                .filter_map(|handler| handler.shadow.as_mut())
                .for_each(|shadow| shadow.examples.clear());
        },
        |status| {
            let reasons = status.handlers.values_mut().filter_map(|handler| handler.lag.as_mut());
            reasons.for_each(|reason| cut(reason, REASON_CHARS_MAX));
        },
        |status| {
            // How many attempts there were is kept: without it the jobs that other hosts name would weigh more.
            let breaks = status.handlers.values_mut().flat_map(|handler| handler.breaks.values_mut());
            breaks.for_each(|breaks| breaks.ways.clear());
        },
        |status| {
            let without = status.handlers.values_mut().filter(|handler| handler.canary.is_none());
            without.for_each(|handler| handler.counts.clear());
        },
        |status| status.handlers.values_mut().for_each(|handler| handler.counts.clear()),
    ];
    let mut steps = steps.into_iter();
    loop {
        // Texts and numbers always have a JSON; an empty document would only be one that nobody reads.
        let json = serde_json::to_vec(&status).unwrap_or_default();
        if json.len() <= DOCUMENT_BYTES_MAX {
            return json.into();
        }
        status.shortened = true;
        if let Some(step) = steps.next() {
            step(&mut status);
            continue;
        }
        let half = status.queues.len() / 2;
        status.queues.truncate(half);
        for _ in 0..status.handlers.len().div_ceil(2) {
            status.handlers.pop_last();
        }
    }
}

fn bound_texts(status: &mut HostStatus) {
    let HostStatus { id, name, version, address, queues, handlers, shortened, .. } = status;
    [id, name, version].into_iter().chain(address).for_each(bound);
    queues.iter_mut().for_each(|queue| bound(&mut queue.name));
    for handler in handlers.values_mut() {
        let texts = [
            &mut handler.active,
            &mut handler.canary,
            &mut handler.previous,
            &mut handler.loading,
            &mut handler.lag,
        ];
        texts.into_iter().flatten().for_each(bound);
        if handler.counts.len() > VERSIONS_MAX {
            *shortened = true;
            let named = [&handler.active, &handler.canary, &handler.previous];
            let is_named = |digest: &String| named.iter().any(|named| named.as_ref() == Some(digest));
            handler.counts.retain(|digest, _| is_named(digest));
        }
    }
}

fn bound(text: &mut String) {
    cut(text, TEXT_CHARS_MAX);
}

/// Cuts a text, behind a whole word where one ends nearby.
fn cut(text: &mut String, chars_max: usize) {
    if let Some((end, _)) = text.char_indices().nth(chars_max) {
        let word = text[..end].rfind(char::is_whitespace).filter(|word| end - word <= WORD_BYTES_MAX);
        text.truncate(word.unwrap_or(end));
        text.push('…');
    }
}
