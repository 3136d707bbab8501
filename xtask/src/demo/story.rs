//! What happens in the demo, what it should come to, and how it is told.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};

use super::host::{Host, Order};
use super::receiver::Receiver;
use super::site::{NOTIFICATION_SECRET, Site};
use super::stripe::{self, AMOUNT};

/// The donor's picture in the blob store.
pub(super) const PHOTO: &str = "donor.jpg";

/// Everything that was not as expected.
type Unexpected = Vec<String>;

/// Runs the three stages, each on what the one before found out.
pub(super) fn tell(host: &Host<'_>, site: &Site, receiver: &Receiver) -> anyhow::Result<Unexpected> {
    let mut unexpected = Unexpected::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    // Unlike any earlier run's: over Redis the handler remembers which events it has seen.
    let number = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let payment = donation(host, now.as_secs(), number, &mut unexpected)?;
    let thumbnails = thumbnails(host, site, &mut unexpected)?;
    notification(host, receiver, &payment, &thumbnails, &mut unexpected)?;
    Ok(unexpected)
}

fn donation(
    host: &Host<'_>,
    now_secs: u64,
    number: u64,
    unexpected: &mut Unexpected,
) -> anyhow::Result<Value> {
    println!("\n1  The payment provider calls our webhook: 50.00 USD. So does somebody who made it 5000.00.");
    let honest = stripe::delivery(now_secs, number);
    let order =
        |data| Order { queue: "donations", name: "verify-payment", data, options: &["--attempts", "3"] };
    let jobs = host.work(&[order(honest.clone()), order(stripe::forged(&honest))])?;
    let [honest, forged] = jobs.as_slice() else {
        anyhow::bail!("two jobs went in, {} came back", jobs.len())
    };

    headline(honest, "completed");
    let payment = &honest["returnvalue"];
    let minor = payment["amount"].as_u64().unwrap_or(0);
    println!(
        "     {}.{:02} {}, event {}, reference {}; the host checked the signature, the handler never saw the key",
        minor / 100,
        minor % 100,
        text(&payment["currency"]),
        text(&payment["event_id"]),
        text(&payment["reference"])
    );
    let as_expected =
        payment["verified"] == true && payment["amount"] == AMOUNT && payment["currency"] == "USD";
    check(
        honest["state"] == "completed" && as_expected,
        "the signed webhook is verified",
        honest,
        unexpected,
    );

    headline(forged, "failed");
    println!("     refused for good: {}", text(&forged["failedReason"]));
    let refused = forged["state"] == "failed" && forged["attemptsMade"] == 1;
    check(refused, "the forged webhook is refused without a second attempt", forged, unexpected);
    Ok(payment.clone())
}

fn thumbnails(host: &Host<'_>, site: &Site, unexpected: &mut Unexpected) -> anyhow::Result<Value> {
    println!("\n2  The donor's photograph becomes thumbnails.");
    let store = "uploads";
    let data = json!({
        "source": { "blob": { "store": store, "key": PHOTO } },
        "destination": { "store": store, "prefix": "thumbnails/" },
    });
    let order = Order { queue: "media", name: "thumbnails", data, options: &["--attempts", "3"] };
    let jobs = host.work(&[order])?;
    let job = jobs.first().context("one job went in, none came back")?;
    headline(job, "completed");
    let source = &job["returnvalue"]["source"];
    println!(
        "     {PHOTO}: {}×{} {}, {} bytes, EXIF orientation {}",
        source["width"],
        source["height"],
        text(&source["format"]),
        source["bytes"],
        source["orientation"]
    );
    let outputs = job["returnvalue"]["outputs"].as_array().cloned().unwrap_or_default();
    let mut written = 0;
    for output in &outputs {
        let path = site.uploads().join(text(&output["key"]));
        let bytes = std::fs::metadata(&path).map(|file| file.len()).unwrap_or(0);
        let hash = text(&output["sha256"]);
        println!(
            "     {}: {}×{}, {bytes} bytes, sha256 {}…",
            text(&output["key"]),
            output["width"],
            output["height"],
            hash.get(..12).unwrap_or(hash)
        );
        written += usize::from(output["bytes"] == bytes && bytes > 0);
    }
    check(
        job["state"] == "completed" && written == 3,
        "three thumbnails are in the blob store",
        job,
        unexpected,
    );
    Ok(outputs.iter().map(|output| output["key"].clone()).collect())
}

fn notification(
    host: &Host<'_>,
    receiver: &Receiver,
    payment: &Value,
    thumbnails: &Value,
    unexpected: &mut Unexpected,
) -> anyhow::Result<()> {
    println!("\n3  A partner is told by webhook. It is down at first.");
    let data = json!({
        "channel": { "webhook": { "url": receiver.url(), "headers": { "X-Event": "donation.received" } } },
        "template": {
            "text": "A donation has arrived: {{reference}}", "amount": "{{amount}}", "currency": "{{currency}}",
            "thumbnails": thumbnails,
        },
        "data": payment,
    });
    let options = &["--attempts", "5", "--backoff", "exponential:300"];
    let jobs = host.work(&[Order { queue: "notifications", name: "notify", data, options }])?;
    let job = jobs.first().context("one job went in, none came back")?;
    headline(job, "completed");
    let first = text(&job["stacktrace"][0]).lines().next().unwrap_or_default();
    println!("     attempt 1 failed, and was tried again by its backoff: {first}");
    let heard = receiver.heard();
    let mut signed = 0;
    for (index, request) in heard.iter().enumerate() {
        let is_signed =
            stripe::is_signed(request.header("x-jobcell-signature"), &request.body, NOTIFICATION_SECRET);
        signed += usize::from(is_signed);
        println!(
            "     request {}: answered {}, signature {}, idempotency key {}",
            index + 1,
            request.status,
            if is_signed { "right" } else { "WRONG" },
            request.header("idempotency-key")
        );
    }
    if let Some(last) = heard.last() {
        println!("     {}", String::from_utf8_lossy(&last.body));
    }
    let [first, second] = heard.as_slice() else {
        unexpected.push(format!("the receiver heard {} requests instead of 2: {job}", heard.len()));
        return Ok(());
    };
    let one_key = first.header("idempotency-key") == second.header("idempotency-key");
    let delivered = job["state"] == "completed" && job["attemptsMade"] == 2 && signed == 2 && one_key;
    check(delivered, "the second attempt delivers under the same idempotency key", job, unexpected);
    Ok(())
}

/// `✔ donations/1 verify-payment: completed in 8 ms, attempt 1`; the mark says whether that was expected.
fn headline(job: &Value, state_expected: &str) {
    let time = |field: &str| job[field].as_u64();
    let took =
        time("finishedOn").zip(time("processedOn")).map_or(0, |(end, start)| end.saturating_sub(start));
    let mark = if job["state"] == state_expected { '✔' } else { '✘' };
    let (queue, id, name) = (text(&job["queue"]), text(&job["id"]), text(&job["name"]));
    let state = text(&job["state"]);
    println!("   {mark} {queue}/{id} {name}: {state} in {took} ms, attempt {}", job["attemptsMade"]);
}

fn check(as_expected: bool, what: &str, job: &Value, unexpected: &mut Unexpected) {
    if !as_expected {
        unexpected.push(format!("expected that {what}; the job is {job}"));
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}
