//! What `top` shows, as lines of text that fit.

use jobcell_core::fleet::{HostStatus, Phase};

use crate::cli::console::{counted, table, visible};
use crate::cli::stats::{Figures, HandlerFigures, QueueFigures};

/// Rows of a part at least, title included, while there is room for it at all.
const PART_MIN: usize = 3;

/// The lines for a screen of so many columns and rows; never more and never wider.
pub(super) fn lines(figures: &Figures, fault: Option<&str>, (columns, rows): (usize, usize)) -> Vec<String> {
    let mut lines = vec![summary(figures)];
    if let Some(fault) = fault {
        lines.push(format!("!! these are old: {fault}"));
    }
    lines.push(String::new());
    let parts = [queues(figures), handlers(figures), hosts(figures)];
    // The last line says how to leave.
    let room = rows.saturating_sub(lines.len() + 1);
    let shares = shares(parts.each_ref().map(Vec::len), room);
    for (part, share) in parts.into_iter().zip(shares) {
        lines.extend(fitted(part, share));
    }
    lines.truncate(rows.saturating_sub(1));
    lines.push("q leaves".to_owned());
    lines.truncate(rows);
    lines.iter().map(|line| visible(line).replace('\n', " ").chars().take(columns).collect()).collect()
}

/// The lines that each part has of so many: a few each while there are any, and what one does not need the others have.
fn shares<const PARTS: usize>(needs: [usize; PARTS], mut room: usize) -> [usize; PARTS] {
    let mut shares = [0; PARTS];
    for (share, need) in shares.iter_mut().zip(needs) {
        *share = need.min(PART_MIN).min(room);
        room -= *share;
    }
    while room > 0 && shares != needs {
        for (share, need) in shares.iter_mut().zip(needs) {
            if *share < need && room > 0 {
                *share += 1;
                room -= 1;
            }
        }
    }
    shares
}

fn summary(figures: &Figures) -> String {
    let Figures { queues, hosts, .. } = figures;
    let sum = |of: fn(&QueueFigures) -> u64| queues.iter().map(of).sum::<u64>();
    let idle = hosts.iter().filter(|host| host.phase != Phase::Running).count();
    let done: f64 = queues.iter().filter_map(|queue| queue.completed_per_second).sum();
    let failed: f64 = queues.iter().filter_map(|queue| queue.failed_per_second).sum();
    let cells = |of: fn(&HostStatus) -> u32| hosts.iter().map(|host| u64::from(of(host))).sum::<u64>();
    format!(
        "{} ({idle} idle)  {:.0} done/s  {:.0} failed/s  {} waiting  {} active  cells {}/{}",
        counted(hosts.len() as u64, "host"),
        done,
        failed,
        sum(|queue| queue.waiting + queue.prioritized),
        sum(|queue| queue.active),
        cells(|host| host.cells.active),
        cells(|host| host.cells.max),
    )
}

/// What a queue has to do and what it does in a second: one that keeps up has no jobs waiting and is busy all the same.
fn work(queue: &QueueFigures) -> f64 {
    let jobs = queue.active + queue.waiting + queue.prioritized;
    jobs as f64 + queue.completed_per_second.unwrap_or(0.0) + queue.failed_per_second.unwrap_or(0.0)
}

/// The busiest first.
fn queues(figures: &Figures) -> Vec<String> {
    let mut queues: Vec<&QueueFigures> = figures.queues.iter().collect();
    queues.sort_by(|a, b| work(b).total_cmp(&work(a)).then_with(|| a.name.cmp(&b.name)));
    let rows: Vec<_> = queues.into_iter().map(QueueFigures::row).collect();
    part(&QueueFigures::TITLES, &rows)
}

/// Those that fail most first, then the slowest.
fn handlers(figures: &Figures) -> Vec<String> {
    let mut handlers: Vec<&HandlerFigures> = figures.handlers.iter().collect();
    handlers.sort_by(|a, b| {
        let of =
            |handler: &HandlerFigures| (handler.failure_ratio.unwrap_or(0.0), handler.p99_ms.unwrap_or(0));
        let ((a_fails, a_takes), (b_fails, b_takes)) = (of(a), of(b));
        b_fails.total_cmp(&a_fails).then(b_takes.cmp(&a_takes))
    });
    let rows: Vec<_> = handlers.into_iter().map(HandlerFigures::row).collect();
    part(&HandlerFigures::TITLES, &rows)
}

fn hosts(figures: &Figures) -> Vec<String> {
    let row = |host: &HostStatus| {
        let lags = host.handlers.values().filter(|handler| handler.lag.is_some()).count();
        vec![
            host.id.clone(),
            host.phase.as_str().to_owned(),
            host.active().to_string(),
            format!("{}/{}", host.cells.active, host.cells.max),
            format!("{} MiB", host.memory_bytes >> 20),
            format!("{:.2}", host.load),
            if lags > 0 { format!("{lags} lag") } else { String::new() },
        ]
    };
    let rows: Vec<_> = figures.hosts.iter().map(row).collect();
    part(&["host", "phase", ">active", ">cells", ">memory", ">load", ""], &rows)
}

fn part(titles: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    table(titles, rows).lines().map(str::to_owned).chain([String::new()]).collect()
}

/// At most so many lines; what is cut off is counted.
fn fitted(mut part: Vec<String>, most: usize) -> Vec<String> {
    if part.len() <= most {
        return part;
    }
    // Title, rows, and an empty line at its end, which nobody misses.
    let rows = part.len() - 2;
    if most == rows + 1 {
        part.truncate(most);
        return part;
    }
    part.truncate(most.saturating_sub(1));
    let shown = part.len().saturating_sub(1);
    if most > 0 {
        part.push(format!("… {} more", rows - shown));
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(queues: usize, handlers: usize, hosts: usize) -> Figures {
        Figures {
            seconds: 1.0,
            queues: (0..queues)
                .map(|n| QueueFigures {
                    name: format!("queue-{n}"),
                    waiting: n as u64,
                    completed_per_second: Some(10.0),
                    ..QueueFigures::default()
                })
                .collect(),
            handlers: (0..handlers)
                .map(|n| HandlerFigures {
                    name: format!("handler-{n}"),
                    failure_ratio: Some(0.01 * n as f64),
                    ..HandlerFigures::default()
                })
                .collect(),
            hosts: (0..hosts)
                .map(|n| HostStatus { id: format!("host-{n}\u{1b}[31m"), ..HostStatus::default() })
                .collect(),
        }
    }

    #[test]
    fn whatever_there_is_fits_whatever_screen() {
        for count in [0, 1, 3, 300] {
            for size in [(80, 24), (20, 5), (1, 1), (300, 100), (80, 2), (10, 0)] {
                let lines = lines(&figures(count, count, count), Some("away"), size);
                assert!(lines.len() <= size.1, "{size:?} {count}: {}", lines.len());
                assert!(lines.iter().all(|line| line.chars().count() <= size.0), "{size:?}");
                assert!(lines.iter().all(|line| !line.contains('\u{1b}')));
            }
        }
    }

    #[test]
    fn no_queue_is_hidden_while_lines_are_free() {
        let text = lines(&figures(12, 1, 1), None, (80, 24)).join("\n");
        assert!((0..12).all(|n| text.contains(&format!("queue-{n} "))) && !text.contains("more"), "{text}");
        assert_eq!(shares([14, 3, 3], 21), [14, 3, 3]);
        assert_eq!(shares([100, 100, 3], 21), [9, 9, 3]);
        assert_eq!(shares([9, 9, 9], 4), [3, 1, 0]);
    }

    #[test]
    fn a_queue_that_keeps_up_is_busy_too() {
        let mut figures = figures(30, 1, 1);
        (figures.queues[0].name, figures.queues[0].completed_per_second) = ("swift".to_owned(), Some(900.0));
        let lines = lines(&figures, None, (80, 24));
        assert!(lines[3].starts_with("swift"), "{lines:?}");
    }

    #[test]
    fn the_busiest_and_the_failing_are_seen_first() {
        let text = lines(&figures(30, 30, 30), None, (80, 24)).join("\n");
        for part in ["queue-29", "handler-29", "host-0", "more", "30 hosts", "q leaves"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("queue-0 ") && !text.contains("handler-1 "), "{text}");
    }
}
