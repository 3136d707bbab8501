//! The parity table of `docs/bullmq.md`: made from what the suites showed in this run, and compared with the page.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::workspace::Workspace;

/// Around the part of the page that is made here.
const MARKS: [&str; 2] =
    ["<!-- parity: written by JOBCELL_BLESS=1 cargo xtask parity -->\n", "<!-- /parity -->"];

/// Where the suites write what they show, a line each.
pub(crate) fn results(workspace: &Workspace) -> PathBuf {
    workspace.target.join("parity.jsonl")
}

/// Forgets what an earlier run showed.
///
/// # Errors
/// When it cannot be removed.
pub(crate) fn begin(workspace: &Workspace) -> anyhow::Result<()> {
    let path = results(workspace);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Compares the page with what a whole run showed; with `JOBCELL_BLESS` set it is written instead.
///
/// # Errors
/// When they differ.
pub(crate) fn check(workspace: &Workspace) -> anyhow::Result<()> {
    let path = results(workspace);
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let table = Table::read(&text)?.render();
    let page_path = workspace.root.join("docs").join("bullmq.md");
    let page = fs::read_to_string(&page_path).with_context(|| format!("reading {}", page_path.display()))?;
    let wanted =
        put(&page, &table).with_context(|| format!("{} has no place for the table", page_path.display()))?;
    if page == wanted {
        return Ok(());
    }
    if std::env::var_os("JOBCELL_BLESS").is_some() {
        println!("  wrote {}", page_path.display());
        return fs::write(&page_path, wanted).with_context(|| format!("writing {}", page_path.display()));
    }
    bail!(
        "docs/bullmq.md differs from what the suites show; `JOBCELL_BLESS=1 cargo xtask parity` writes it:\n{}",
        differences(&page, &wanted).join("\n")
    )
}

/// The first lines that only one of the two has.
fn differences(page: &str, wanted: &str) -> Vec<String> {
    const SHOWN: usize = 20;
    let only = |mark: &'static str, one: &str, other: &str| {
        let known: BTreeSet<String> = other.lines().map(str::to_owned).collect();
        let own = one.lines().filter(move |line| !known.contains(*line));
        own.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    let mut lines = only("-", page, wanted);
    lines.extend(only("+", wanted, page));
    lines.truncate(SHOWN);
    lines
}

/// The page with this table between the marks.
fn put(page: &str, table: &str) -> Option<String> {
    let (head, rest) = page.split_once(MARKS[0])?;
    let (_, tail) = rest.split_once(MARKS[1])?;
    Some(format!("{head}{}{table}{}{tail}", MARKS[0], MARKS[1]))
}

/// Something with its place in an order of its own.
type Placed = (u64, String);

/// The clients that show each behaviour, by the file and line of its declaration and its sentence.
type Behaviours = BTreeMap<(String, u64, String), BTreeSet<Placed>>;

/// Clients across, and for each area its behaviours in the order in which they are declared.
#[derive(Debug, Default)]
struct Table {
    clients: BTreeSet<Placed>,
    areas: BTreeMap<Placed, Behaviours>,
}

impl Table {
    fn read(lines: &str) -> anyhow::Result<Self> {
        let mut table = Self::default();
        let rows = lines.lines().map(|line| {
            let row: Value = serde_json::from_str(line).with_context(|| format!("a result: {line}"))?;
            Ok((line, row))
        });
        let rows: Vec<(&str, Value)> = rows.collect::<anyhow::Result<_>>()?;
        // Of a test that was run again the last run counts.
        let name =
            |row: &Value| format!("{} {} {} {}", row["file"], row["line"], row["sentence"], row["client"]);
        let last: BTreeMap<String, usize> =
            rows.iter().enumerate().map(|(n, (_, row))| (name(row), n)).collect();
        for (n, (line, row)) in rows.iter().enumerate() {
            if last.get(&name(row)) != Some(&n) {
                continue;
            }
            let text =
                |field: &str| row[field].as_str().map(str::to_owned).context(format!("no {field}: {line}"));
            let number = |field: &str| row[field].as_u64().context(format!("no {field}: {line}"));
            if row["passed"] != true {
                bail!("{} failed with {}", text("sentence")?, text("client")?);
            }
            let client = (number("client_order")?, text("client")?);
            let area = (number("area_order")?, text("area")?);
            let behaviour = (text("file")?, number("line")?, text("sentence")?);
            table.clients.insert(client.clone());
            table.areas.entry(area).or_default().entry(behaviour).or_default().insert(client);
        }
        Ok(table)
    }

    fn render(&self) -> String {
        let behaviours: usize = self.areas.values().map(BTreeMap::len).sum();
        let checks: usize = self.areas.values().flat_map(BTreeMap::values).map(BTreeSet::len).sum();
        let names: Vec<_> = self.clients.iter().map(|(_, name)| name.as_str()).collect();
        let mut out = format!("{behaviours} behaviours, {checks} checks.\n");
        for ((_, area), behaviours) in &self.areas {
            // Writing to a String cannot fail.
            let _ = write!(
                out,
                "\n### {area}\n| | {} |\n|---|{}\n",
                names.join(" | "),
                ":-:|".repeat(names.len())
            );
            for ((_, _, sentence), clients) in behaviours {
                let cells = self.clients.iter().map(|client| if clients.contains(client) { "✓" } else { "" });
                let _ = writeln!(out, "| {sentence} | {} |", cells.collect::<Vec<_>>().join(" | "));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"area":"Events","area_order":2,"client":"b","client_order":1,"sentence":"late","file":"e.rs","line":9,"passed":true}
{"area":"Events","area_order":2,"client":"a","client_order":0,"sentence":"early","file":"e.rs","line":3,"passed":true}
{"area":"Events","area_order":2,"client":"a","client_order":0,"sentence":"early","file":"e.rs","line":3,"passed":true}
{"area":"Adding","area_order":0,"client":"b","client_order":1,"sentence":"adds","file":"z.rs","line":1,"passed":true}
"#;

    #[test]
    fn the_table_is_in_declared_order_and_empty_where_nothing_was_tried() {
        let wanted = "3 behaviours, 3 checks.\n\n### Adding\n| | a | b |\n|---|:-:|:-:|\n| adds |  | ✓ |\n\n\
                      ### Events\n| | a | b |\n|---|:-:|:-:|\n| early | ✓ |  |\n| late |  | ✓ |\n";
        assert_eq!(Table::read(LINES).unwrap().render(), wanted);
    }

    #[test]
    fn what_failed_gives_no_table() {
        let failed = LINES.replacen("true", "false", 1);
        assert!(Table::read(&failed).unwrap_err().to_string().contains("late failed with b"));
    }

    #[test]
    fn of_a_behaviour_that_is_shown_again_the_last_run_counts() {
        let failed = LINES.replacen("true", "false", 1);
        let again = format!("{failed}{LINES}");
        assert_eq!(Table::read(&again).unwrap().render(), Table::read(LINES).unwrap().render());
        assert!(Table::read(&format!("{LINES}{failed}")).is_err());
    }

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = format!("before\n{}old\n{}\nafter\n", MARKS[0], MARKS[1]);
        let wanted = format!("before\n{}new\n{}\nafter\n", MARKS[0], MARKS[1]);
        assert_eq!(put(&page, "new\n"), Some(wanted));
        assert_eq!(put("no marks", "new\n"), None);
    }
}
