//! Job `mine`: what a user posted on this day in other years.

use jobcell_sdk::prelude::*;
use serde::{Deserialize, Serialize};

use crate::date::Date;

/// Memories that are shown at most.
const SHOWN_MAX: usize = 5;

/// What a producer puts on the queue.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mining {
    /// Whose posts these are.
    pub user_id: String,
    /// The day that is remembered on, as `2026-11-21`.
    pub today: String,
    /// All of them, or those of these days.
    pub posts: Vec<Post>,
}

/// A post.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Post {
    /// Its id.
    pub id: String,
    /// When it was posted, in milliseconds since 1970.
    pub at: u64,
    /// How many liked it.
    #[serde(default)]
    pub likes: u64,
}

/// A post that is remembered.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// Its id.
    pub post_id: String,
    /// How long ago.
    pub years_ago: i64,
    /// The day.
    pub date: String,
}

/// What was found.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mined {
    /// Whose.
    pub user_id: String,
    /// The most liked of each year first, then the years before.
    pub memories: Vec<Memory>,
    /// How many there are in all.
    pub found: usize,
}

/// Takes the jobs named `mine`.
///
/// # Errors
/// Invalid when the day is none.
#[handler]
pub fn mine(job: Job<Mining>) -> Result<Mined, Failure> {
    let Mining { user_id, today, posts } = job.data;
    let today = Date::read(&today).or_invalid("today: not a day such as 2026-11-21")?;
    let mut found: Vec<(i64, &Post, Date)> = Vec::new();
    for post in &posts {
        let date = Date::of(post.at);
        let years_ago = today.year - date.year;
        if years_ago > 0 && is_day_of(date, today) {
            found.push((years_ago, post, date));
        }
    }
    found.sort_by(|(a, one, _), (b, other, _)| {
        a.cmp(b).then(other.likes.cmp(&one.likes)).then(one.id.cmp(&other.id))
    });
    let memory = |(years_ago, post, date): &(i64, &Post, Date)| Memory {
        post_id: post.id.clone(),
        years_ago: *years_ago,
        date: date.to_string(),
    };
    Ok(Mined { user_id, memories: found.iter().take(SHOWN_MAX).map(memory).collect(), found: found.len() })
}

/// Whether a day comes back on this one. The 29th of February does on the 28th where there is none.
fn is_day_of(date: Date, today: Date) -> bool {
    let is_leap_day = (date.month, date.day) == (2, 29);
    let day = if is_leap_day && !Date::is_leap(today.year) { 28 } else { date.day };
    (date.month, day) == (today.month, today.day)
}

#[cfg(test)]
mod tests {
    use jobcell_sdk::testing::{self, Host};

    use super::*;

    fn post(id: &str, at: u64, likes: u64) -> Post {
        Post { id: id.to_owned(), at, likes }
    }

    fn mined(today: &str, posts: Vec<Post>) -> Result<Mined, Failure> {
        let mining = Mining { user_id: "u1".to_owned(), today: today.to_owned(), posts };
        Host::new().run(mine, testing::job(mining))
    }

    #[test]
    fn this_day_of_other_years_is_found() {
        let posts = vec![
            post("today", 1_795_219_200_000, 9),
            post("last-year", 1_763_683_200_000, 3),
            post("last-year-liked", 1_763_683_200_001, 8),
            post("day-before", 1_763_683_199_999, 99),
            post("two-years", 1_732_147_200_000, 1),
        ];
        let Mined { memories, found, .. } = mined("2026-11-21", posts).unwrap();
        let ids: Vec<_> = memories.iter().map(|memory| (memory.post_id.as_str(), memory.years_ago)).collect();
        assert_eq!(ids, [("last-year-liked", 1), ("last-year", 1), ("two-years", 2)]);
        assert_eq!((found, memories[2].date.as_str()), (3, "2024-11-21"));
    }

    #[test]
    fn the_leap_day_comes_every_year() {
        let leap = || vec![post("leap", 1_709_164_800_000, 0)];
        assert_eq!(mined("2025-02-28", leap()).unwrap().found, 1);
        assert_eq!(mined("2028-02-28", leap()).unwrap().found, 0);
        assert_eq!(mined("2028-02-29", leap()).unwrap().found, 1);
    }

    #[test]
    fn a_day_that_is_none_is_the_payloads_fault() {
        assert!(matches!(mined("2026-02-30", Vec::new()), Err(Failure::Invalid(_))));
    }
}
