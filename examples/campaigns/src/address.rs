//! Which message of which campaign: by the number that sends it and the recipient's place in that number's list.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a campaign, in bytes: with a number and a place it stays well below what providers give back.
const NAME_BYTES_MAX: usize = 64;

/// One message of one campaign. As text it goes along with the message (`biz_opaque_callback_data`), and comes back with
/// every status of it: `spring-sale/105512345/17`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Address {
    /// The team's name of the campaign.
    pub campaign: String,
    /// The provider's id of the business number that sends it.
    pub number: String,
    /// The place among the recipients of that number, from 0.
    pub place: u32,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.campaign, self.number, self.place)
    }
}

impl FromStr for Address {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('/');
        let (Some(campaign), Some(number), Some(place), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(());
        };
        let place = place.parse().map_err(drop)?;
        match is_name(campaign) && is_number(number) {
            true => Ok(Self { campaign: campaign.to_owned(), number: number.to_owned(), place }),
            false => Err(()),
        }
    }
}

/// Can a campaign be called so? Letters, digits, `-`, `_` and `.`: it becomes a part of keys, ids and URLs.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// Can this be the id of a business number? Digits, as the provider gives them out.
pub fn is_number(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_as_it_went() {
        let address = Address { campaign: "spring-sale".into(), number: "105512345".into(), place: 17 };
        assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn what_others_sent_along_is_no_address() {
        for other in [
            "",
            "order-7",
            "a/1",
            "a/1/x",
            "a/1/2/3",
            "/1/2",
            "a//2",
            "a/b/2",
            "a b/1/2",
            "a/1/-2",
            "a/1/4294967296",
        ] {
            assert_eq!(other.parse::<Address>(), Err(()), "{other}");
        }
        assert!(!is_name(&"x".repeat(65)) && !is_number(""));
    }
}
