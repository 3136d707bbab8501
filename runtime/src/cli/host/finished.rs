//! Ends of jobs as a host's metrics page counts them.

use std::collections::HashMap;

/// Ends that were ever counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::cli) struct Finished {
    /// Jobs that completed.
    pub(in crate::cli) completed: u64,
    /// Jobs that failed for good, or where only attempts are counted, attempts that failed.
    pub(in crate::cli) failed: u64,
}

/// The name that the page has attempts under.
const JOBS: &str = "jobcell_jobs_total{";
/// Ends of attempts that are failures.
const FAILURES: [&str; 5] = ["retry", "fatal", "invalid", "stopped", "cancelled"];

/// By queue, from a page of metrics. Lines that cannot be read are left out.
pub(super) fn of_metrics(page: &str) -> HashMap<String, Finished> {
    let mut finished: HashMap<String, Finished> = HashMap::new();
    for line in page.lines() {
        let Some((labels, value)) = line.strip_prefix(JOBS).and_then(|rest| rest.rsplit_once("} ")) else {
            continue;
        };
        let (Some(queue), Some(outcome)) = (label(labels, "queue"), label(labels, "outcome")) else {
            continue;
        };
        let Ok(count) = value.trim().parse::<u64>() else { continue };
        let of_queue = finished.entry(queue).or_default();
        if outcome == "completed" {
            of_queue.completed += count;
        } else if FAILURES.contains(&outcome.as_str()) {
            of_queue.failed += count;
        }
    }
    finished
}

/// The value of a label, unescaped.
fn label(labels: &str, name: &str) -> Option<String> {
    let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
    let (mut value, mut characters) = (String::new(), labels[start..].chars());
    loop {
        match characters.next()? {
            '"' => return Some(value),
            '\\' => value.push(match characters.next()? {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_added_up_by_queue() {
        let page = "# TYPE jobcell_jobs counter\n\
                    jobcell_jobs_total{queue=\"a \\\"b\\\"\",handler=\"h\",outcome=\"completed\"} 5\n\
                    jobcell_jobs_total{queue=\"a \\\"b\\\"\",handler=\"i\",outcome=\"completed\"} 2\n\
                    jobcell_jobs_total{queue=\"a \\\"b\\\"\",handler=\"h\",outcome=\"retry\"} 1\n\
                    jobcell_jobs_total{queue=\"c\",handler=\"h\",outcome=\"delayed\"} 9\n\
                    jobcell_jobs_total{queue=\"broken} 1\nother 3\n";
        let finished = of_metrics(page);
        assert_eq!(finished["a \"b\""], Finished { completed: 7, failed: 1 });
        assert_eq!(finished["c"], Finished::default());
        assert_eq!(finished.len(), 2);
    }
}
