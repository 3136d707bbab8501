//! The recipients of a campaign, page by page, from the team's own back end: it has the database.

use jobcell_sdk::http::Request;
use jobcell_sdk::prelude::*;
use jobcell_sdk::secrets;
use serde::Deserialize;

use crate::settings;

/// The secret with the token for the team's internal API.
pub const TOKEN: &str = "app-token";
/// The most that is asked for at once.
const PAGE_MAX: u32 = 500;

/// One of them. The list of a campaign must not change once it runs: a place in it stands for one message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Recipient {
    /// The number with country code, digits.
    pub to: String,
    /// What is filled into the template.
    #[serde(default)]
    pub parameters: Vec<String>,
    /// The team knows that they want no messages.
    #[serde(default)]
    pub opted_out: bool,
}

/// Up to `count` of those that `number` writes to, from this place on.
///
/// # Errors
/// Retried when the back end cannot be reached or has none there; fatal when the host refuses the request.
pub fn page(campaign: &str, number: &str, from: u32, count: u32) -> Result<Vec<Recipient>, Failure> {
    let (app, count) = (settings::app()?, count.min(PAGE_MAX));
    let url =
        format!("{app}/internal/campaigns/{campaign}/recipients?number={number}&from={from}&limit={count}");
    let response = Request::get(url).bearer(secrets::placeholder(TOKEN)?).send()?;
    if !response.is_success() {
        return Err(Failure::retry(format!(
            "the recipients from {from} on: the back end answered {}",
            response.status
        )));
    }
    let mut page: Vec<Recipient> = response.json()?;
    if page.is_empty() {
        return Err(Failure::retry(format!(
            "the back end has no recipients from {from} on, though there must be more"
        )));
    }
    page.truncate(count as usize);
    Ok(page)
}
