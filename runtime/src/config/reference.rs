//! The reference of every key, as Markdown, made from the table of keys.

use std::fmt::Write;

use super::ROOT;
use super::environment::spelled;
use super::table::{Absent, Entry, Inner, Section};

const HEAD: &str = "\
# Configuration

One TOML file, `./jobcell.toml` unless `-c FILE` says otherwise. Each field is taken from the first that gives it: flag,
environment, file, default. All faults are reported at once, each with its key, value, place and fix; an unknown key is a
fault that names the nearest known one.

- **Environment.** `JOBCELL_` and the path of a key, with `__` between its parts and `_` for `-`, sets that key:
  `JOBCELL_SERVER__LISTEN=0.0.0.0:8787`, `JOBCELL_QUEUES__EMAILS__STALLED_INTERVAL=10s`. The value is read as TOML, else
  as text. A part that is a name means the one in the file that is spelled so, else the part in small letters with dashes.
  An empty variable counts as not set, one without `__` is ignored.
- **Paths** in the file are meant from the file's directory, paths from elsewhere from the current one.
- **Durations** have a unit: `\"500ms\"`, `\"25s\"`, `\"1h 30m\"`, `\"7d\"`. **Sizes** too: `\"64KiB\"`, `\"128MiB\"`.

This page is made from the table the host itself reads with; `JOBCELL_BLESS=1 cargo test -p jobcell reference` writes it.
";

/// The reference as it stands in `docs/configuration.md`.
#[must_use]
pub fn reference() -> String {
    let mut page = HEAD.to_owned();
    for entry in ROOT.keys {
        match entry.inner {
            Inner::Section(section) => write_section(&mut page, entry.name, entry.name, section),
            Inner::Named(section) => {
                write_section(&mut page, &format!("{}.NAME", entry.name), entry.name, section);
            }
            Inner::Leaf | Inner::Listed(_) | Inner::Names => {}
        }
    }
    page
}

fn write_section(page: &mut String, path: &str, anchor: &str, section: &'static Section) {
    let place = if path.contains('[') { format!("`{path}`") } else { format!("`[{path}]`") };
    // Writing to a String cannot fail.
    let _ = writeln!(page, "\n<a id=\"{anchor}\"></a>\n## {place}\n\n{}\n", section.about);
    // Keys that are described elsewhere all say the same.
    let mut leaves = section.keys.iter().filter(|entry| matches!(entry.inner, Inner::Leaf));
    let first = leaves.next().map(|entry| entry.about);
    let repeats =
        first.is_some() && leaves.clone().count() > 0 && leaves.all(|entry| Some(entry.about) == first);
    if repeats {
        let keys: Vec<String> = section.keys.iter().map(|entry| format!("`{}`", entry.name)).collect();
        let _ = writeln!(page, "Keys: {}.", keys.join(", "));
    } else {
        let _ = writeln!(page, "| key | value | default | |\n|---|---|---|---|");
    }
    for entry in section.keys.iter().filter(|_| !repeats) {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            entry.name,
            cell(entry.form),
            absent(entry),
            cell(entry.about)
        );
    }
    // A variable cannot say which name or which item of a list it means.
    if !path.contains("NAME") && !path.contains('[') {
        let variables: Vec<String> = section
            .keys
            .iter()
            .map(|entry| {
                format!(
                    "`JOBCELL_{}__{}`",
                    path.split('.').map(spelled).collect::<Vec<_>>().join("__"),
                    spelled(entry.name)
                )
            })
            .collect();
        let _ = writeln!(page, "\nEnvironment: {}.", variables.join(", "));
    }
    for entry in section.keys {
        let inner = format!("{anchor}-{}", entry.name);
        match entry.inner {
            Inner::Section(section) => {
                write_section(page, &format!("{path}.{}", entry.name), &inner, section);
            }
            Inner::Named(section) => {
                write_section(page, &format!("{path}.{}.NAME", entry.name), &inner, section);
            }
            Inner::Listed(section) => {
                write_section(page, &format!("{path}.{}[…]", entry.name), &inner, section);
            }
            Inner::Leaf | Inner::Names => {}
        }
    }
}

fn absent(entry: &Entry) -> String {
    match entry.default {
        Absent::Value(value) => format!("`{value}`"),
        Absent::Means(words) => cell(words),
        Absent::Required => "required".to_owned(),
    }
}

/// Text that may stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::super::{FileChoice, Request, load_all};
    use super::*;

    #[test]
    fn every_variable_listed_sets_a_key() {
        let page = reference();
        let variables: Vec<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("Environment: "))
            .flat_map(|line| line.split('`').filter(|word| word.starts_with("JOBCELL_")))
            .collect();
        assert!(variables.contains(&"JOBCELL_SERVER__TOKENS"), "{variables:?}");
        for variable in variables {
            let environment = [(variable.to_owned(), "1979-05-27".to_owned())].into_iter().collect();
            let request = Request { file: FileChoice::None, environment, ..Request::default() };
            let faults = load_all(&request).faults;
            assert!(faults.iter().all(|fault| fault.cause != "names no key"), "{variable}: {faults:?}");
        }
    }

    #[test]
    fn the_reference_in_docs_is_what_the_host_reads() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let made = reference();
        if std::env::var_os("JOBCELL_BLESS").is_some() {
            std::fs::write(path, &made).unwrap();
        }
        let written = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            written == made,
            "docs/configuration.md differs from the table of keys; run JOBCELL_BLESS=1 cargo test -p jobcell reference"
        );
    }
}
