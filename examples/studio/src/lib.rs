//! The handlers of the studio example, one for each of the team's queues.
//!
//! | job name | queue | does |
//! |---|---|---|
//! | `enhance` | video-enhancement | levels and calms an uploaded clip, and makes a poster of its sharpest frame |
//! | `count` | analytics | adds a batch of events to hourly counters, each batch once |
//! | `sync` | chain-sync | copies a chain's blocks page by page and checks how each hangs on the one before |
//! | `mine` | memory-mining | finds what a user posted on this day in other years |
//! | `audit` | privacy-audit | looks for personal data in texts, and reports where it is without repeating it |
//!
//! Moderation is a component of its own beside this one: `moderation/`.

pub mod analytics;
pub mod chain;
pub mod clip;
pub mod date;
pub mod enhance;
pub mod memories;
pub mod poster;
pub mod privacy;

jobcell_sdk::plugin!(enhance::enhance, analytics::count, chain::sync, memories::mine, privacy::audit);
