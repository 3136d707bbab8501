//! What is known of one message, as a letter, and which letter may follow which.

/// What is known of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not sent, and nobody is about to.
    Open,
    /// The provider is being asked, by the attempt that goes by this mark (0 to 25). Whoever finds it at the start of an
    /// attempt knows that an earlier one ended in the middle.
    Asked(u8),
    /// It may have been sent: the answer was lost. It is not sent again; a status may still tell.
    Uncertain,
    /// Taken by the provider.
    Sent,
    /// On the recipient's phone.
    Delivered,
    /// Read there.
    Read,
    /// Refused by the provider, at once or later.
    Failed,
    /// Not to be sent: the recipient does not want messages.
    Skipped,
}

use State::{Asked, Delivered, Failed, Open, Read, Sent, Skipped, Uncertain};

/// Marks of attempts: as many as there are capital letters.
const MARKS: u8 = 26;

impl State {
    /// Asked by this attempt. Attempts of one message that are near each other, by their starts or their rounds, have
    /// different marks.
    pub fn asked_by(round: u32, starts: u32) -> Self {
        let mark = (u64::from(round) * 7 + u64::from(starts)) % u64::from(MARKS);
        Asked(u8::try_from(mark).unwrap_or_default())
    }

    /// As it stands in the ledger.
    pub const fn letter(self) -> u8 {
        match self {
            Open => b'.',
            Asked(mark) => b'A' + mark % MARKS,
            Uncertain => b'u',
            Sent => b's',
            Delivered => b'd',
            Read => b'r',
            Failed => b'f',
            Skipped => b'x',
        }
    }

    /// What the letter means. One that a later version wrote counts as sent: the safe reading of what is not known is not
    /// to send.
    pub const fn of(letter: u8) -> Self {
        match letter {
            b'.' => Open,
            b'A'..=b'Z' => Asked(letter - b'A'),
            b'u' => Uncertain,
            b'd' => Delivered,
            b'r' => Read,
            b'f' => Failed,
            b'x' => Skipped,
            _ => Sent,
        }
    }

    /// May `next` be written over this? Statuses come twice and in any order, and an attempt that was thought dead may
    /// still report: only what says more is written. Nothing leads back to where a message would be sent again; only the
    /// attempt that asked can take its own question back (`Ledger::take_back`).
    pub const fn may_become(self, next: Self) -> bool {
        match self {
            Open => !matches!(next, Open),
            Asked(_) => !matches!(next, Open | Asked(_) | Skipped),
            Uncertain => matches!(next, Sent | Delivered | Read | Failed),
            Sent => matches!(next, Delivered | Read | Failed),
            Delivered => matches!(next, Read),
            Read | Failed | Skipped => false,
        }
    }

    /// Is there nothing left to do about it?
    pub const fn is_settled(self) -> bool {
        !matches!(self, Open | Asked(_))
    }

    /// For people.
    pub const fn word(self) -> &'static str {
        match self {
            Open => "open",
            Asked(_) => "asked",
            Uncertain => "uncertain",
            Sent => "sent",
            Delivered => "delivered",
            Read => "read",
            Failed => "failed",
            Skipped => "skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [State; 9] = [Open, Asked(0), Asked(25), Uncertain, Sent, Delivered, Read, Failed, Skipped];

    #[test]
    fn letters_are_read_as_they_were_written() {
        for state in ALL {
            assert_eq!(State::of(state.letter()), state);
        }
        assert_eq!(State::of(b'?'), Sent, "what a later version wrote is not sent again");
    }

    #[test]
    fn nothing_leads_back_to_where_it_would_be_sent_again() {
        for state in ALL {
            assert!(!state.may_become(Open), "{state:?}");
            assert_eq!(state.may_become(Asked(7)), state == Open, "{state:?}");
            assert!(!state.may_become(state), "{state:?}: a repeat changes nothing");
        }
    }

    #[test]
    fn attempts_that_could_meet_have_different_marks() {
        let marks: std::collections::BTreeSet<_> = (0..3)
            .flat_map(|round| (1..6).map(move |starts| State::asked_by(round, starts).letter()))
            .collect();
        assert_eq!(marks.len(), 15);
    }

    #[test]
    fn statuses_in_any_order_end_the_same() {
        let told = [Sent, Delivered, Read];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [2, 0, 1], [0, 2, 1], [1, 0, 2]] {
            let end = order.iter().fold(Uncertain, |state, &at| match state.may_become(told[at]) {
                true => told[at],
                false => state,
            });
            assert_eq!(end, Read);
        }
    }
}
