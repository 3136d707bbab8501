//! Where a command reads and writes: results to stdout, everything else to stderr.

use std::io::{BufRead, Write};

use serde::Serialize;

use super::exit::{Exit, Failure};

/// Where a command reads and writes.
pub(super) struct Console<'a> {
    pub(super) input: &'a mut dyn BufRead,
    pub(super) out: &'a mut dyn Write,
    pub(super) err: &'a mut dyn Write,
    /// `--json`: one JSON value on stdout, nothing else.
    pub(super) json: bool,
    /// `--yes`.
    pub(super) yes: bool,
    /// Somebody sits at stdin. Never asked otherwise.
    pub(super) interactive: bool,
    /// Whether the one JSON value has been written.
    pub(super) is_answered: bool,
}

impl Console<'_> {
    /// Writes the one JSON value, where `--json` asks for it, else what `human` makes.
    pub(super) fn answer<T: Serialize>(
        &mut self,
        value: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        let text = if self.json {
            self.is_answered = true;
            // Values here are maps with text keys, which always encode.
            serde_json::to_string(value).map_err(|error| Failure::failed(format!("JSON: {error}")))? + "\n"
        } else {
            human(value)
        };
        self.write(&text)
    }

    /// Writes to stdout as it is.
    pub(super) fn write(&mut self, text: &str) -> Result<(), Failure> {
        self.out.write_all(text.as_bytes())?;
        Ok(self.out.flush()?)
    }

    /// Says something beside the result.
    pub(super) fn note(&mut self, text: &str) {
        // A closed stderr is no reason to fail.
        let _ = writeln!(self.err, "{text}");
    }

    /// Asks before something that cannot be undone.
    ///
    /// # Errors
    /// When the answer is no, or there is nobody to ask and no `--yes`.
    pub(super) fn confirm(&mut self, what: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !self.interactive {
            return Err(Failure::usage(format!("{what} cannot be undone; add --yes to do it")));
        }
        let _ = write!(self.err, "{what}? This cannot be undone. [y/N] ");
        let _ = self.err.flush();
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        if ["y", "yes"].contains(&line.trim().to_lowercase().as_str()) {
            Ok(())
        } else {
            Err(Failure::new(Exit::Failed, "nothing was changed"))
        }
    }

    /// Says why a command failed: to stderr, and with `--json` as the one value too.
    pub(super) fn fail(&mut self, exit: Exit, message: &str) {
        self.note(&format!("error: {message}"));
        if self.json && !self.is_answered {
            let value = serde_json::json!({ "error": { "message": message, "exit": exit as u8 } });
            let _ = writeln!(self.out, "{value}");
        }
    }
}

/// Rows with aligned columns, a line each whatever is in them. Those whose title begins with `>` are numbers and stand
/// right.
pub(super) fn table(titles: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| in_one_line(cell)).collect()).collect();
    let bare: Vec<&str> = titles.iter().map(|title| title.trim_start_matches('>')).collect();
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([bare[i].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..titles.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (i, cell) in cells.enumerate() {
            let pad = " ".repeat(widths[i].saturating_sub(cell.chars().count()));
            let is_number = titles[i].starts_with('>');
            line += &if is_number { format!("{pad}{cell}  ") } else { format!("{cell}{pad}  ") };
        }
        line.trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut bare.iter().copied());
    for row in &rows {
        text += &line(&mut row.iter().map(String::as_str));
    }
    text
}

/// Text from a job or a guest as a terminal may show it: it cannot move the cursor, colour or ring.
pub(super) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && c != '\n' && c != '\t' {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The same in a cell of a table, where a line or a column of its own would pass for another row.
fn in_one_line(text: &str) -> String {
    visible(text).replace('\n', "\\n").replace('\t', "\\t")
}

/// A time of day, in UTC.
pub(super) fn time(millis: u64) -> String {
    let since = std::time::Duration::from_millis(millis);
    match std::time::UNIX_EPOCH.checked_add(since) {
        // Later than humantime can write: somebody stored nonsense.
        Some(at) if millis < 253_402_300_800_000 => humantime::format_rfc3339_millis(at).to_string(),
        _ => format!("{millis} ms since 1970"),
    }
}

/// A length of time in the units it has, as [`humantime`] reads it: `2d 9h`.
pub(super) fn duration(duration: std::time::Duration) -> String {
    let (mut left, mut parts) = (duration.as_millis(), Vec::new());
    for (unit, millis) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if left >= millis {
            parts.push(format!("{}{unit}", left / millis));
        }
        left %= millis;
    }
    if parts.is_empty() { "0s".to_owned() } else { parts.join(" ") }
}

/// So many of something, by its name for one: `1 job`, `2 jobs`.
pub(super) fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let rows = vec![
            vec!["a".to_owned(), "10".to_owned(), "x".to_owned()],
            vec!["long".to_owned(), "5".to_owned(), String::new()],
        ];
        assert_eq!(table(&["name", ">n", "z"], &rows), "name   n  z\na     10  x\nlong   5\n");
    }

    #[test]
    fn a_cell_is_in_one_line_whatever_a_job_is_called() {
        let rows = vec![vec!["a\nb\t\u{1b}c".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["NAME", "Y"], &rows), "NAME           Y\na\\nb\\t\\u{1b}c  x\n");
    }

    #[test]
    fn a_terminal_is_not_steered_by_what_a_job_holds() {
        assert_eq!(visible("a\u{1b}[31mb\u{9b}c\r\n\td\u{7}"), "a\\u{1b}[31mb\\u{9b}c\\r\n\td\\u{7}");
    }

    #[test]
    fn lengths_of_time_are_read_as_they_are_written() {
        for (millis, written) in
            [(0, "0s"), (1, "1ms"), (90_000, "1m 30s"), (205_200_000, "2d 9h"), (31_536_000_001, "365d 1ms")]
        {
            let length = std::time::Duration::from_millis(millis);
            assert_eq!(duration(length), written);
            assert_eq!(humantime::parse_duration(written), Ok(length));
        }
    }

    #[test]
    fn one_is_not_several() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "job")), ["0 jobs", "1 job", "2 jobs"]);
    }

    #[test]
    fn times_are_in_utc() {
        assert_eq!(time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(time(u64::MAX), "18446744073709551615 ms since 1970");
    }
}
