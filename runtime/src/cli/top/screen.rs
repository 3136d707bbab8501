//! The terminal: taken for as long as this lives, and given back as it was.

use std::io::{self, Stdout, Write, stdout};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::Print;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

/// What a terminal has that does not tell its size.
const USUAL: (u16, u16) = (80, 24);

/// See the module.
pub(super) struct Screen {
    out: Stdout,
}

// === impl Screen ===

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        // From here on it is given back when this is dropped.
        let mut screen = Self { out: stdout() };
        execute!(screen.out, EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Draws these lines, made for the size that the screen has now: columns and rows.
    pub(super) fn draw(&mut self, lines: impl FnOnce((usize, usize)) -> Vec<String>) -> io::Result<()> {
        let (columns, rows) =
            size().ok().filter(|(columns, rows)| *columns > 0 && *rows > 0).unwrap_or(USUAL);
        queue!(self.out, BeginSynchronizedUpdate)?;
        for (row, line) in (0..rows).zip(lines((columns.into(), rows.into()))) {
            queue!(self.out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
            if row + 1 < rows {
                queue!(self.out, MoveTo(0, row + 1))?;
            }
        }
        queue!(self.out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = execute!(self.out, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
