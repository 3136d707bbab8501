//! The runbook has an answer to every alert, and what the documents link to is there.

use std::collections::BTreeSet;

use jobcell_tests::Site;

use super::{repository, text};

/// The anchors that headings of a Markdown page get.
fn anchors(page: &str) -> BTreeSet<String> {
    let heading =
        |line: &str| line.starts_with('#').then(|| line.trim_start_matches('#').trim().to_lowercase());
    let anchor = |heading: String| -> String {
        let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    page.lines().filter_map(heading).map(anchor).collect()
}

#[test]
fn each_alert_has_a_section_that_says_what_it_means_and_what_to_do() {
    let (page, rules) = (text("docs/operations.md"), text("deploy/prometheus/alerts.yml"));
    let links: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook_url: docs/operations.md#"))
        .collect();
    let names: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 20 && links.len() == names.len(), "{} alerts, {} links", names.len(), links.len());
    for (name, link) in names.iter().zip(&links) {
        assert_eq!(name.to_lowercase(), *link);
        let (_, section) =
            page.split_once(&format!("\n### {name}\n")).unwrap_or_else(|| panic!("no section for {name}"));
        let section = section.split("\n#").next().unwrap_or_default();
        for part in ["**Means:**", "**Do:**"] {
            assert!(section.contains(part), "{name}: {part}");
        }
    }
    let sections = page.lines().filter_map(|line| line.strip_prefix("### Jobcell"));
    let unknown: Vec<_> =
        sections.filter(|name| !names.contains(&format!("Jobcell{name}").as_str())).collect();
    assert!(unknown.is_empty(), "sections of alerts that are gone: {unknown:?}");
}

#[test]
fn links_of_the_operators_documents_lead_somewhere() {
    for path in ["docs/operations.md", "docs/observability.md"] {
        let page = text(path);
        for link in page.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.to_owned() } else { format!("docs/{file}") };
            assert!(repository().join(&target).exists(), "{path}: {link}");
            if !anchor.is_empty() && target.ends_with(".md") {
                let page = text(&target);
                let known = anchors(&page).contains(anchor) || page.contains(&format!("id=\"{anchor}\""));
                assert!(known, "{path}: {link} has no such heading");
            }
        }
    }
}

#[test]
fn every_command_in_the_runbook_exists() {
    let page = text("docs/operations.md");
    let spans = page.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("jobcell "));
    let is_command = |word: &&str| {
        !word.is_empty()
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            && !word.starts_with('-')
    };
    let commands: BTreeSet<Vec<&str>> =
        spans.map(|span| span.split(' ').take_while(is_command).collect()).collect();
    assert!(commands.len() >= 12, "{commands:?}");
    let site = Site::raw("");
    for command in commands {
        let args = [command.as_slice(), &["--help"]].concat();
        let ran = site.cli(&args).ok();
        assert!(ran.stdout.contains("Usage: jobcell"), "{command:?}");
    }
}
