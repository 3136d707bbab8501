//! The one seam between what a guest asks of the outside and the outside: every capability passes through a [`Call`],
//! which asks, records or answers from a recording (see [`jobcell_core::effects`]).
//!
//! An attempt without a tape pays one look at an empty place for each call: nothing is hashed, copied or allocated. One
//! that plays never polls the future that would ask, and its template has nothing to ask ([`Template::sealed`]); either
//! would do.
//!
//! [`Template::sealed`]: crate::template::Template::sealed

pub(crate) mod clock;
pub(crate) mod fault;
mod parts;
pub(crate) mod scrub;
mod told;

use std::future::Future;
use std::sync::Arc;

use jobcell_core::HostCall;
use jobcell_core::effects::{Answer, Gauge, Player, Recorder, Request, Tape, Why};

use crate::cell::Cell;
use crate::world::jobcell::job::types::Error;
pub(crate) use parts::Parts;
use scrub::Scrub;
pub(crate) use told::{Content, Told};

/// One question to the outside.
pub(crate) enum Call {
    /// It is asked.
    Live,
    /// It is asked, and written down.
    Record(Arc<Recorder>, Request, Option<Scrub>),
    /// It is answered from a recording.
    Play(Arc<Player>, Request, Option<Scrub>),
}

/// Whether a call changes something outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    Read,
    Write,
}

impl Cell {
    /// A question to the outside. `parts` says what is asked; it is only called for an attempt with a tape.
    pub(crate) fn effect(
        &self,
        kind: HostCall,
        call: &'static str,
        does: Does,
        parts: impl FnOnce(&mut Parts<'_>),
    ) -> Call {
        Call::on(
            self.tape.as_ref(),
            || Scrub::of(&self.template),
            |scrub| {
                let mut asked = Parts::new(kind, call, scrub);
                parts(&mut asked);
                asked.request(does == Does::Write)
            },
        )
    }

    /// What a value that changes by itself is for this attempt.
    pub(crate) fn gauge(&self, gauge: Gauge, value: u64) -> u64 {
        self.tape.as_ref().map_or(value, |tape| read(tape, gauge, value))
    }

    /// Whether the attempt is answered from a recording.
    pub(crate) fn is_played(&self) -> bool {
        matches!(self.tape, Some(Tape::Play(_)))
    }
}

/// What a gauge is on this tape.
pub(crate) fn read(tape: &Tape, gauge: Gauge, value: u64) -> u64 {
    match tape {
        Tape::Record(recorder) => recorder.read(gauge, value),
        Tape::Play(player) => player.read(gauge, value),
    }
}

// === impl Call ===

impl Call {
    /// A question of an attempt with this tape. Without one neither function is called.
    fn on(
        tape: Option<&Tape>,
        scrub: impl FnOnce() -> Option<Scrub>,
        request: impl FnOnce(Option<&Scrub>) -> Request,
    ) -> Self {
        let Some(tape) = tape else { return Self::Live };
        let scrub = scrub();
        let request = request(scrub.as_ref());
        match tape {
            Tape::Record(recorder) => Self::Record(Arc::clone(recorder), request, scrub),
            Tape::Play(player) => Self::Play(Arc::clone(player), request, scrub),
        }
    }

    /// The answer: of the outside, or of the recording; then `live` is dropped as it is.
    ///
    /// # Errors
    /// What `live` says, or a question that the recording does not have, in words.
    ///
    /// Cancel safe as `live` is; a call that was recorded and dropped stays without an answer.
    pub(crate) async fn answer<A: Told>(
        self,
        live: impl Future<Output = Result<A, Error>>,
    ) -> Result<A, Error> {
        match self {
            Self::Live => live.await,
            Self::Record(recorder, request, scrub) => {
                // Before it is asked: the attempt may end meanwhile.
                let place = recorder.asked(request);
                let answer = live.await;
                note(&recorder, place, scrub.as_ref(), &answer);
                answer
            }
            Self::Play(player, request, scrub) => play(&player, &request, scrub.as_ref()),
        }
    }

    /// The same for what is answered at once.
    ///
    /// # Errors
    /// As [`Call::answer`].
    pub(crate) fn answer_now<A: Told>(self, live: impl FnOnce() -> Result<A, Error>) -> Result<A, Error> {
        match self {
            Self::Live => live(),
            Self::Record(recorder, request, scrub) => {
                let place = recorder.asked(request);
                let answer = live();
                note(&recorder, place, scrub.as_ref(), &answer);
                answer
            }
            Self::Play(player, request, scrub) => play(&player, &request, scrub.as_ref()),
        }
    }

    /// The same for a setting: one that the recording does not have is this host's own, which is nobody else's business.
    pub(crate) fn setting<A: Told>(self, own: impl FnOnce() -> A) -> A {
        match self {
            Self::Live => own(),
            Self::Record(recorder, request, scrub) => {
                let place = recorder.asked(request);
                let value = own();
                if let Some(place) = place {
                    recorder.told(place, out(value.write(), scrub.as_ref()), 0);
                }
                value
            }
            Self::Play(player, request, scrub) => {
                let recorded = player.answer_if_recorded(&request);
                recorded.and_then(|answer| A::read(back(answer, scrub.as_ref()))).unwrap_or_else(own)
            }
        }
    }
}

fn note<A: Told>(
    recorder: &Recorder,
    place: Option<usize>,
    scrub: Option<&Scrub>,
    answer: &Result<A, Error>,
) {
    let Some(place) = place else { return };
    let answer = match answer {
        Ok(answer) => answer.write(),
        Err(error) => Answer::Failed(fault::word_of(error)),
    };
    recorder.told(place, out(answer, scrub), 0);
}

fn out(answer: Answer, scrub: Option<&Scrub>) -> Answer {
    match scrub {
        Some(scrub) => scrub.out(answer),
        None => answer,
    }
}

fn play<A: Told>(player: &Player, request: &Request, scrub: Option<&Scrub>) -> Result<A, Error> {
    match player.answer(request) {
        Ok(Answer::Failed(fault)) => Err(fault::of_word(&fault)),
        Ok(answer) => A::read(back(answer, scrub))
            .ok_or_else(|| Error::Other(player.diverge(&request.what, Why::Unreadable).to_string())),
        Err(divergence) => Err(Error::Other(divergence.to_string())),
    }
}

fn back(answer: Answer, scrub: Option<&Scrub>) -> Answer {
    match scrub {
        Some(scrub) => scrub.back(answer),
        None => answer,
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn without_a_tape_nothing_is_hashed_copied_or_cleaned() {
        let call = Call::on(None, || panic!("cleaned"), |_| panic!("hashed"));
        assert!(matches!(call, Call::Live));
        let answer = call.answer(async { Ok::<_, Error>(7_i64) }).now_or_never().unwrap();
        assert!(matches!(answer, Ok(7)));
    }

    #[test]
    fn a_played_call_asks_nobody() {
        let player = Arc::new(Player::new(Arc::default()));
        let request = Parts::new(HostCall::Cache, "cache get", None).request(false);
        let call = Call::Play(Arc::clone(&player), request, None);
        let asked = async { panic!("somebody was asked") };
        let answer = call.answer::<()>(asked).now_or_never().unwrap();
        assert!(matches!(answer, Err(Error::Other(why)) if why.contains("cache get")));
        assert_eq!(player.played().diverged, 1);
    }
}
