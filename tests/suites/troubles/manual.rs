//! `docs/troubleshooting.md` as the tests read it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

/// A row of a table: what Jobcell says, and the tests that make it say so.
struct Row {
    says: Vec<String>,
    tests: Vec<String>,
}

fn read(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
}

/// What stands between backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The rows of the tables whose last column names tests.
fn rows() -> Vec<Row> {
    let text = read("docs/troubleshooting.md");
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    let lines = text.lines().filter(|line| line.starts_with("| ") && line.contains("`troubles::"));
    let of = |cells: Vec<String>| {
        let [_, says, _, tests] = &cells[..] else { panic!("not four cells: {cells:?}") };
        Row { says: quoted(says), tests: quoted(tests) }
    };
    lines.map(cells).map(of).collect()
}

thread_local! {
    /// The quotes that were said so far in the test of this thread.
    static SAID: RefCell<BTreeSet<String>> = RefCell::default();
}

/// Holds what was said against the rows that name this test: one of their quotes must be there, with anything where it
/// has `…`. A row with several quotes needs [`all_said`] in the end.
#[track_caller]
pub(super) fn quotes(test: &str, said: &str) {
    let quotes = of(test);
    let found: Vec<&String> = quotes.iter().filter(|quote| is_in(quote, said)).collect();
    assert!(!found.is_empty(), "docs/troubleshooting.md quotes {quotes:#?} for {test}; it said:\n{said}");
    SAID.with_borrow_mut(|all| all.extend(found.into_iter().cloned()));
}

/// Every quote of the rows that name this test was said in the course of it.
#[track_caller]
pub(super) fn all_said(test: &str) {
    let all = SAID.take();
    let left: Vec<String> = of(test).into_iter().filter(|quote| !all.contains(quote)).collect();
    assert!(left.is_empty(), "docs/troubleshooting.md quotes for {test} what was not said: {left:#?}");
}

/// The quotes of the rows that name this test.
#[track_caller]
fn of(test: &str) -> Vec<String> {
    let name = format!("troubles::{test}");
    let rows = rows().into_iter().filter(|row| row.tests.contains(&name));
    let quotes: Vec<String> = rows.flat_map(|row| row.says).collect();
    assert!(!quotes.is_empty(), "no row of docs/troubleshooting.md names {name}");
    quotes
}

/// Whether the parts of a quote are in one line of this text, in their order.
fn is_in(quote: &str, said: &str) -> bool {
    said.lines().any(|line| {
        let mut rest = line;
        quote.split('…').all(|part| match rest.find(part.trim()) {
            Some(place) => {
                rest = &rest[place + part.trim().len()..];
                true
            }
            None => false,
        })
    })
}

#[test]
fn every_row_is_backed_by_a_test_that_quotes_it() {
    let rows = rows();
    assert!(rows.len() > 25, "{} rows", rows.len());
    for Row { says, tests } in rows {
        assert!(!says.is_empty() && !tests.is_empty(), "{says:?} {tests:?}");
        for test in tests {
            let path = test.strip_prefix("troubles::").unwrap();
            let (module, function) = path.split_once("::").unwrap();
            let source = read(&format!("tests/suites/troubles/{module}.rs"));
            assert!(source.contains(&format!("fn {function}(")), "there is no test {test}");
            assert!(
                source.contains(&format!("\"{path}\"")),
                "{test} does not hold what was said against the manual"
            );
        }
    }
}

#[test]
fn a_quote_is_found_with_anything_in_its_gaps() {
    let said = "first\nredis at h:1 refuses the connection: x; start it, or correct REDIS_URL\n";
    assert!(is_in("redis at … refuses the connection: … correct …", said));
    assert!(!is_in("correct … redis at", said) && !is_in("first … redis", said));
}
