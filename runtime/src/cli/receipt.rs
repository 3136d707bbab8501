//! A receipt as people read it: a line for each thing that cost something.

use jobcell_core::Receipt;
use jobcell_core::receipt::{Destination, Near};

use super::console::visible;

/// Label and text of each line, the most important first. The first is always there.
pub(super) fn lines(receipt: &Receipt) -> Vec<(&'static str, String)> {
    let Receipt { wall_us, cpu_us, start_us, memory_peak_bytes, host_calls, destinations, near, .. } =
        receipt;
    let mut lines = vec![(
        "cost",
        format!(
            "{} wall, {} cpu, {} to start, {} peak, {} host calls",
            milliseconds(*wall_us),
            milliseconds(*cpu_us),
            milliseconds(*start_us),
            size(*memory_peak_bytes),
            host_calls.total()
        ),
    )];
    if let Some(job) = receipt.computed_by.as_ref().filter(|_| receipt.cached) {
        lines.push(("cached", format!("nothing was run: the result is that of job {}", visible(job))));
    }
    if !host_calls.is_empty() {
        let calls: Vec<String> =
            host_calls.iter().map(|(kind, calls)| format!("{} {calls}", kind.as_str())).collect();
        lines.push(("calls", calls.join(", ")));
    }
    for Destination { host, requests, sent, received } in destinations.iter() {
        let sizes = format!("{} sent, {} received", size(*sent), size(*received));
        lines.push(("http", format!("{} requests {requests}, {sizes}", visible(host))));
    }
    for note in near {
        lines.push(("near", nearness(note)));
    }
    let Receipt { log_bytes, log_bytes_dropped, log_lines_dropped, .. } = receipt;
    if *log_bytes_dropped > 0 {
        let dropped = format!("{} with {log_lines_dropped} whole lines dropped", size(*log_bytes_dropped));
        lines.push(("logged", format!("{}; {dropped}", size(*log_bytes))));
    }
    lines
}

fn nearness(near: &Near) -> String {
    let Near { name, used, of } = near;
    let amount = |n: u64| match &**name {
        "deadline" | "cpu" => format!("{n} ms"),
        "memory" | "payload" | "result" | "log" | "progress" | "message" | "blob" | "blobs"
        | "cache-value" | "cache-bytes" | "http.upload" | "http.download" => size(n),
        _ => n.to_string(),
    };
    // What was asked for and refused is above the limit.
    let verb = if used > of { "wanted" } else { "used" };
    format!("limits.{}: {verb} {} of {}", visible(name), amount(*used), amount(*of))
}

#[expect(clippy::cast_precision_loss, reason = "a measure for people")]
pub(super) fn milliseconds(us: u64) -> String {
    format!("{:.3} ms", us as f64 / 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "a measure for people")]
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use jobcell_core::HostCall;

    use super::*;

    #[test]
    fn only_what_happened_has_a_line() {
        let quiet = lines(&Receipt { wall_us: 1500, ..Receipt::default() });
        assert_eq!(
            quiet,
            [("cost", "1.500 ms wall, 0.000 ms cpu, 0.000 ms to start, 0 B peak, 0 host calls".to_owned())]
        );

        let cached =
            Receipt { cached: true, computed_by: Some("moderation/17".to_owned()), ..Receipt::default() };
        let told = lines(&cached).pop().unwrap();
        assert_eq!(told, ("cached", "nothing was run: the result is that of job moderation/17".to_owned()));

        let mut receipt = Receipt { memory_peak_bytes: 3 << 19, ..Receipt::default() };
        receipt.host_calls.count(HostCall::Http);
        let at = receipt.destinations.index("a.example:443");
        *receipt.destinations.get_mut(at).unwrap() =
            Destination { host: "a.example:443".to_owned(), requests: 2, sent: 5, received: 2048 };
        receipt.note("memory", 60 << 20, 64 << 20);
        receipt.note("enqueued", 1001, 1000);
        receipt.note("cpu", 9_000, 10_000);
        (receipt.log_bytes, receipt.log_bytes_dropped, receipt.log_lines_dropped) = (1024, 10, 2);
        let told: Vec<_> = lines(&receipt).into_iter().skip(1).collect();
        let expected = [
            ("calls", "http 1"),
            ("http", "a.example:443 requests 2, 5 B sent, 2.0 KiB received"),
            ("near", "limits.memory: used 60.0 MiB of 64.0 MiB"),
            ("near", "limits.enqueued: wanted 1001 of 1000"),
            ("near", "limits.cpu: used 9000 ms of 10000 ms"),
            ("logged", "1.0 KiB; 10 B with 2 whole lines dropped"),
        ];
        assert_eq!(told, expected.map(|(label, text)| (label, text.to_owned())));
    }
}
