//! What is known of every message, durably: one letter each, on sheets in a bucket.
//!
//! A sheet is one value and its letters are changed by compare-and-swap, so that two who change it at the same time never
//! lose one's change. Messages that follow one another are on different sheets, so that those in flight at the same time
//! seldom meet. 16 sheets with 512 letters each are a block; a sheet that is not there, and what is missing at its end, is
//! open. So a campaign of 100,000 takes some 200 values of half a KiB.

use std::ops::Range;

use jobcell_sdk::HostError;
use jobcell_sdk::kv::{self, Bucket, Swap};

use crate::address::Address;
use crate::state::State;

/// The bucket that the handler is granted.
pub const BUCKET: &str = "campaigns";

const SHEETS: u32 = 16;
const LETTERS: u32 = 512;
const BLOCK: u32 = SHEETS * LETTERS;
/// Tries of a change; each that fails means that another one went through.
const TRIES_MAX: usize = 200;

/// The letters of all campaigns.
pub struct Ledger(Bucket);

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marked {
    /// Written; this is what was there.
    Was(State),
    /// Not written, because this is there and says as much or more.
    Stays(State),
}

impl Ledger {
    /// Opens it; nothing is asked of the store.
    ///
    /// # Errors
    /// When the bucket is not granted.
    pub fn open() -> Result<Self, HostError> {
        kv::open(BUCKET).map(Self)
    }

    /// Where other things of campaigns are kept.
    pub fn bucket(&self) -> &Bucket {
        &self.0
    }

    /// Writes what is known of a message now, unless more is known already. One atomic step.
    ///
    /// # Errors
    /// When the store cannot be reached; then the change may have been made.
    pub fn mark(&self, message: &Address, next: State) -> Result<Marked, HostError> {
        self.change(message, next, |now| now.may_become(next))
    }

    /// Makes a message open again that this attempt was about to ask for, and that was certainly not taken. What anybody
    /// else has written stays.
    ///
    /// # Errors
    /// As [`Ledger::mark`].
    pub fn take_back(&self, message: &Address, asked: State) -> Result<Marked, HostError> {
        self.change(message, State::Open, |now| now == asked)
    }

    fn change(
        &self,
        message: &Address,
        next: State,
        may: impl Fn(State) -> bool,
    ) -> Result<Marked, HostError> {
        let (sheet, letter) = position(message.place);
        let key = key(&message.campaign, &message.number, sheet);
        let mut cas = self.0.watch(&key)?;
        for _ in 0..TRIES_MAX {
            let mut letters = cas.current()?.unwrap_or_default();
            let now = letters.get(letter).map_or(State::Open, |&letter| State::of(letter));
            if !may(now) {
                return Ok(Marked::Stays(now));
            }
            if letters.len() <= letter {
                letters.resize(letter + 1, State::Open.letter());
            }
            letters[letter] = next.letter();
            match cas.swap(&letters)? {
                Swap::Done => return Ok(Marked::Was(now)),
                Swap::Lost(changed) => cas = changed,
            }
        }
        Err(HostError::Unavailable(format!("sheet `{key}` changes faster than it can be written")))
    }

    /// What is known of all messages of one number in a campaign, by place.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn read(&self, campaign: &str, number: &str, recipients: u32) -> Result<Vec<State>, HostError> {
        let mut states = vec![State::Open; recipients as usize];
        for sheet in sheets(recipients) {
            let letters = self.0.get(&key(campaign, number, sheet))?.unwrap_or_default();
            for (at, &letter) in (0..).zip(&letters) {
                if let Some(state) = states.get_mut(place(sheet, at)) {
                    *state = State::of(letter);
                }
            }
        }
        Ok(states)
    }

    /// Removes what is known of them.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub fn forget(&self, campaign: &str, number: &str, recipients: u32) -> Result<(), HostError> {
        sheets(recipients).try_for_each(|sheet| self.0.delete(&key(campaign, number, sheet)))
    }
}

/// The sheets of so many messages.
fn sheets(recipients: u32) -> Range<u32> {
    0..recipients.div_ceil(BLOCK) * SHEETS
}

fn key(campaign: &str, number: &str, sheet: u32) -> String {
    format!("{campaign}/{number}/{sheet}")
}

/// Sheet and letter of a place.
fn position(place: u32) -> (u32, usize) {
    let (block, within) = (place / BLOCK, place % BLOCK);
    (block * SHEETS + within % SHEETS, (within / SHEETS) as usize)
}

/// The place of a sheet's letter.
fn place(sheet: u32, letter: u32) -> usize {
    (sheet / SHEETS * BLOCK + letter * SHEETS + sheet % SHEETS) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use jobcell_sdk::testing::Host;

    use super::*;

    fn message(place: u32) -> Address {
        Address { campaign: "sale".into(), number: "1".into(), place }
    }

    #[test]
    fn every_place_has_a_letter_of_its_own() {
        let all: BTreeSet<_> = (0..3 * BLOCK).map(position).collect();
        assert_eq!(all.len(), 3 * BLOCK as usize);
        for at in (0..3 * BLOCK).step_by(7) {
            let (sheet, letter) = position(at);
            assert_eq!(place(sheet, u32::try_from(letter).unwrap()), at as usize);
            assert!(letter < LETTERS as usize);
        }
        let neighbours: BTreeSet<_> = (100..100 + SHEETS).map(|place| position(place).0).collect();
        assert_eq!(neighbours.len(), SHEETS as usize, "those in flight at once are on different sheets");
    }

    #[test]
    fn a_mark_says_what_was_there_and_never_less_than_is_known() {
        Host::new().bucket(BUCKET).within(|| {
            let ledger = Ledger::open().unwrap();
            let (asked, other) = (State::Asked(1), State::Asked(2));
            assert_eq!(ledger.mark(&message(20), asked), Ok(Marked::Was(State::Open)));
            assert_eq!(ledger.mark(&message(20), other), Ok(Marked::Stays(asked)));
            assert_eq!(
                ledger.take_back(&message(20), other),
                Ok(Marked::Stays(asked)),
                "somebody else's question"
            );
            assert_eq!(ledger.take_back(&message(20), asked), Ok(Marked::Was(asked)));
            assert_eq!(ledger.mark(&message(20), other), Ok(Marked::Was(State::Open)));
            assert_eq!(ledger.mark(&message(20), State::Read), Ok(Marked::Was(other)));
            assert_eq!(ledger.take_back(&message(20), other), Ok(Marked::Stays(State::Read)));
            assert_eq!(ledger.mark(&message(20), State::Sent), Ok(Marked::Stays(State::Read)));
            let states = ledger.read("sale", "1", 40).unwrap();
            assert_eq!(states[20], State::Read);
            assert_eq!(states.iter().filter(|&&state| state == State::Open).count(), 39);
            assert_eq!(ledger.read("sale", "2", 1).unwrap(), [State::Open], "another number's are its own");
        });
    }

    #[test]
    fn large_campaigns_are_read_as_they_were_written() {
        Host::new().bucket(BUCKET).within(|| {
            let ledger = Ledger::open().unwrap();
            let places = [0, 1, 15, 16, 8_191, 8_192, 19_999];
            for place in places {
                ledger.mark(&message(place), State::Sent).unwrap();
            }
            let states = ledger.read("sale", "1", 20_000).unwrap();
            let sent: Vec<_> =
                (0..).zip(&states).filter(|(_, state)| **state == State::Sent).map(|(at, _)| at).collect();
            assert_eq!(sent, places);
        });
    }
}
