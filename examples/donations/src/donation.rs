//! The order of the steps: verify payment → process media → save → broadcast.
//!
//! | step | its failure |
//! |---|---|
//! | payment | ends the donation, which says why; nothing else was begun |
//! | media | degrades it: it goes on without a picture, and says so |
//! | save | stops it until somebody tries the step again: money has arrived, so the donation is never dropped |
//! | broadcast | is noted: it is saved, and an overlay that missed it shows it when it is opened again |
//!
//! Every step has an id made of the donation's, so a donation that is run twice (its host died) finds the step that it
//! had asked for instead of asking for another one.

use std::time::Duration;

use jobcell_sdk::jobs::{Backoff, OnChildFailure, Options};
use jobcell_sdk::prelude::*;
use jobcell_sdk::{context, jobs};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::children::{Children, Step};
use crate::record::{Picture, Record};
use crate::save::Saved;

/// The store of donors' uploads and of the thumbnails.
const UPLOADS: &str = "uploads";
/// Thumbnails for a telephone, the overlay and the donation's page.
const WIDTHS: [u32; 3] = [160, 320, 640];
/// What overlays' servers listen to.
const CHANNEL: &str = "overlay";
/// Characters of the team's id of a donation: it is a folder in the storage.
const ID_CHARS_MAX: usize = 64;

/// What the producer knows of a donation when the payment's webhook arrives.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Donation {
    /// The team's own id of the donation.
    pub donation: String,
    /// Whose stream it is for.
    pub streamer: String,
    /// The donor's name.
    pub donor: String,
    /// What the donor wrote.
    #[serde(default)]
    pub message: String,
    /// The donor's upload, by its key in the storage.
    #[serde(default)]
    pub picture: Option<String>,
}

/// What the producer gets to see in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The row in the team's database.
    pub saved: String,
    /// Was it broadcast?
    pub shown: bool,
    /// The donation as it was saved.
    #[serde(flatten)]
    pub record: Record,
}

/// What the payment plugin answers; more than this is in it.
#[derive(Debug, Clone, Deserialize)]
struct Payment {
    verified: bool,
    event_id: String,
    reference: Option<String>,
    amount: Option<u64>,
    currency: Option<String>,
}

/// What the media plugin answers; more than this is in it.
#[derive(Debug, Clone, Deserialize)]
struct Processed {
    outputs: Vec<Picture>,
}

/// Leads a donation one step further.
///
/// # Errors
/// [`Failure::WaitForChildren`] while a step runs, [`Failure::Fatal`] when the payment was refused.
#[handler]
pub fn donation(job: Job<Donation>) -> Result<Outcome, Failure> {
    validate(&job.data)?;
    let children = Children::read()?;
    let payment = payment(&job, &children)?;
    let (pictures, degraded) = pictures(&job, &children)?;
    let record = record(&job.data, payment, pictures, degraded)?;
    let Saved { id } = saved(&job, &children, &record)?;
    let shown = shown(&job, &children, &record)?;
    Ok(Outcome { saved: id, shown, record })
}

fn validate(donation: &Donation) -> Result<(), Failure> {
    let Donation { donation: id, streamer, .. } = donation;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(is_plain) {
        return Err(Failure::invalid(format!(
            "donation: {id:?} is not 1 to {ID_CHARS_MAX} of A-Z a-z 0-9 - _: it names a folder of the storage"
        )));
    }
    if streamer.is_empty() {
        return Err(Failure::invalid("streamer: must not be empty"));
    }
    Ok(())
}

/// The proof that money has arrived. Only the payment handler's own answer counts, whatever else the flow has.
fn payment(job: &Job<Donation>, children: &Children) -> Result<Payment, Failure> {
    let step = children.given("verify-payment", &own(job))?;
    match step {
        Step::Done(payment @ Payment { verified: true, .. }) => Ok(payment),
        Step::Done(Payment { event_id, .. }) => {
            Err(Failure::fatal(format!("the payment of event {event_id} is not verified")))
        }
        Step::Failed(reason) => Err(Failure::fatal(format!("the payment was refused: {reason}"))),
        Step::Open => Err(Failure::invalid(
            "the donation came without its verify-payment child; add both as one flow, with FlowProducer",
        )),
    }
}

/// The thumbnails; or none, and why.
fn pictures(job: &Job<Donation>, children: &Children) -> Result<(Vec<Picture>, Option<String>), Failure> {
    let Some(upload) = &job.data.picture else { return Ok((Vec::new(), None)) };
    let id = id(job, "media");
    match children.step(&id)? {
        Step::Done(Processed { outputs }) => Ok((outputs, None)),
        Step::Failed(reason) => {
            context::log(format!("without a picture: {reason}"));
            Ok((Vec::new(), Some(reason)))
        }
        Step::Open => {
            let options = Options {
                id: Some(id),
                // 0.5, 1, 2 s: who waits for a picture waits on a live stream.
                attempts: Some(4),
                backoff: Some(Backoff::Exponential(Duration::from_millis(500))),
                on_failure: OnChildFailure::Ignore,
                ..Options::default()
            };
            let payload = json!({
                "source": { "blob": { "store": UPLOADS, "key": upload } },
                "destination": { "store": UPLOADS, "prefix": format!("thumbs/{}/", job.data.donation) },
                "widths": WIDTHS,
                "format": "jpeg",
            });
            wait("media", "mediaQueue", "thumbnails", &payload, &options)
        }
    }
}

fn record(
    donation: &Donation,
    payment: Payment,
    pictures: Vec<Picture>,
    degraded: Option<String>,
) -> Result<Record, Failure> {
    let Payment { event_id, reference, amount, currency, .. } = payment;
    let Donation { donation, streamer, donor, message, picture: _ } = donation.clone();
    Ok(Record {
        donation,
        streamer,
        donor,
        message,
        amount: amount.or_fatal("the verified payment has no amount; expect one in verify-payment")?,
        currency: currency.or_fatal("the verified payment has no currency; expect one in verify-payment")?,
        event: event_id,
        payment: reference,
        pictures,
        degraded,
    })
}

fn saved(job: &Job<Donation>, children: &Children, record: &Record) -> Result<Saved, Failure> {
    let id = id(job, "save");
    match children.step(&id)? {
        Step::Done(saved) => Ok(saved),
        // Not with the options below; another release may have enqueued it.
        Step::Failed(reason) => Err(Failure::fatal(format!("paid, but not saved: {reason}"))),
        Step::Open => {
            let options = Options {
                id: Some(id),
                // 0.5 s, doubled nine times: more than four minutes in which the database may be away.
                attempts: Some(10),
                backoff: Some(Backoff::Exponential(Duration::from_millis(500))),
                on_failure: OnChildFailure::Block,
                ..Options::default()
            };
            wait("save", &job.queue, "save-donation", record, &options)
        }
    }
}

fn shown(job: &Job<Donation>, children: &Children, record: &Record) -> Result<bool, Failure> {
    let id = id(job, "overlay");
    match children.step::<serde_json::Value>(&id)? {
        Step::Done(_) => Ok(true),
        Step::Failed(reason) => {
            context::log(format!("not broadcast: {reason}"));
            Ok(false)
        }
        Step::Open => {
            let options = Options {
                id: Some(id),
                attempts: Some(5),
                backoff: Some(Backoff::Exponential(Duration::from_millis(200))),
                on_failure: OnChildFailure::Ignore,
                ..Options::default()
            };
            let payload = json!({
                "channel": { "overlay": { "channel": CHANNEL, "tenant": record.streamer } },
                "data": record,
            });
            wait("overlay", "overlayQueue", "notify", &payload, &options)
        }
    }
}

/// Asks for a step and gives the donation back until it has ended.
fn wait<T>(
    step: &str,
    queue: &str,
    name: &str,
    payload: &(impl Serialize + ?Sized),
    options: &Options,
) -> Result<T, Failure> {
    jobs::enqueue_child(queue, name, payload, options)?;
    // For people to look at; failing to show it is no reason to fail the job.
    let _shown = context::progress(&json!({ "waiting": step }));
    Err(Failure::WaitForChildren)
}

fn id(job: &Job<Donation>, step: &str) -> String {
    own(job) + step
}

/// How the ids of the steps begin that the donation asks for itself.
fn own(job: &Job<Donation>) -> String {
    format!("{}-", job.id)
}
