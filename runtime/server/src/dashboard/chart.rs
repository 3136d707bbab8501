//! Charts of finished jobs by the minute, drawn on the server from the series that the stores keep.
//!
//! Bars stretch with the page, so everything that is text stands beside the drawing, not in it.

use jobcell_core::Millis;
use jobcell_core::store::Series;
use maud::{Markup, html};

use super::units;

/// How far a chart goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Range {
    Hour,
    Hours6,
    Day,
}

/// Something that changed what ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: Millis,
    pub(super) text: String,
}

/// Jobs by the bar, oldest first; the last bar is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bars {
    range: Range,
    values: Vec<u64>,
    /// When the last bar ends.
    until: Millis,
}

const MINUTE: Millis = 60_000;
/// Height of the drawing in its own units; as many are one pixel.
const HEIGHT: f64 = 132.0;
/// Width of one bar's place in its own units.
const STEP: f64 = 10.0;

// === impl Range ===

impl Range {
    pub(super) const ALL: [Self; 3] = [Self::Hour, Self::Hours6, Self::Day];

    pub(super) fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|range| range.as_str() == text).unwrap_or(Self::Hour)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "1h",
            Self::Hours6 => "6h",
            Self::Day => "24h",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Hour => "the last hour",
            Self::Hours6 => "the last 6 hours",
            Self::Day => "the last 24 hours",
        }
    }

    pub(super) fn minutes(self) -> u64 {
        match self {
            Self::Hour => 60,
            Self::Hours6 => 360,
            Self::Day => 1440,
        }
    }

    fn per_bar(self) -> u64 {
        match self {
            Self::Hour => 1,
            Self::Hours6 => 5,
            Self::Day => 15,
        }
    }
}

// === impl Bars ===

impl Bars {
    /// The sum of these series.
    pub(super) fn of<'a>(series: impl IntoIterator<Item = &'a Series>, range: Range, now: Millis) -> Self {
        let per_bar = range.per_bar();
        // Bars begin at even minutes, so that they do not change their jobs as time goes on.
        let end = now / MINUTE / per_bar * per_bar + per_bar;
        let first = end.saturating_sub(range.minutes());
        let mut values = vec![0_u64; usize::try_from(range.minutes() / per_bar).unwrap_or(0)];
        let mut add = |minute: u64, jobs: u64| {
            let bar = minute.checked_sub(first).map(|since| since / per_bar);
            if let Some(value) = bar.and_then(|bar| values.get_mut(usize::try_from(bar).ok()?)) {
                *value = value.saturating_add(jobs);
            }
        };
        for Series { last, points, current, .. } in series {
            let Some(last) = last.map(|last| last / MINUTE) else { continue };
            for (back, jobs) in (1..).zip(points) {
                if let Some(minute) = last.checked_sub(back) {
                    add(minute, *jobs);
                }
            }
            add(last, *current);
        }
        Self { range, values, until: end * MINUTE }
    }

    pub(super) fn total(&self) -> u64 {
        self.values.iter().sum()
    }

    fn begins(&self, bar: usize) -> Millis {
        self.until.saturating_sub((self.values.len() - bar) as u64 * self.range.per_bar() * MINUTE)
    }

    /// How far from the left a moment is, in the drawing's units; none outside.
    fn place(&self, at: Millis) -> Option<f64> {
        let whole = self.range.minutes() * MINUTE;
        let since = at.checked_sub(self.until.saturating_sub(whole)).filter(|since| *since <= whole)?;
        Some(since as f64 / whole as f64 * self.values.len() as f64 * STEP)
    }

    /// The drawing. `what` says what is counted, `class` how bars look.
    pub(super) fn draw(&self, what: &str, class: &str, marks: &[Mark]) -> Markup {
        let most = self.values.iter().copied().max().unwrap_or(0);
        let ceiling = ceiling(most);
        let width = self.values.len() as f64 * STEP;
        let per = if self.range.per_bar() == 1 {
            "minute".to_owned()
        } else {
            format!("{} min", self.range.per_bar())
        };
        let told = format!(
            "{what} in {}: {} in all, at most {} per {per}",
            self.range.words(),
            units::count(self.total()),
            units::count(most)
        );
        let middle = self.begins(self.values.len() / 2);
        html! {
            div.plot {
                svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(told) {
                    line.grid-line x1="0" y1="0.5" x2=(width) y2="0.5" {}
                    line.grid-line x1="0" y1=(HEIGHT / 2.0) x2=(width) y2=(HEIGHT / 2.0) {}
                    line.base-line x1="0" y1=(HEIGHT) x2=(width) y2=(HEIGHT) {}
                    @for (bar, value) in self.values.iter().enumerate() {
                        @let height = *value as f64 / ceiling as f64 * HEIGHT;
                        @let height = if *value > 0 { height.max(2.0) } else { 0.0 };
                        @let left = bar as f64 * STEP;
                        @if *value > 0 {
                            rect class=(class) x=(left + 1.5) y=(format!("{:.1}", HEIGHT - height)) width=(STEP - 3.0) height=(format!("{height:.1}")) {}
                        }
                        rect.hit x=(left) y="0" width=(STEP) height=(HEIGHT) {
                            title { (units::clock(self.begins(bar))) ": " (units::count(*value)) }
                        }
                    }
                    @for (mark, left) in marks.iter().filter_map(|mark| Some((mark, self.place(mark.at)?))) {
                        line.swap-line x1=(format!("{left:.1}")) y1="0" x2=(format!("{left:.1}")) y2=(HEIGHT) {
                            title { (units::clock(mark.at)) " " (mark.text) }
                        }
                    }
                }
                span.ceiling aria-hidden="true" { (units::count(ceiling)) }
            }
            div.axis aria-hidden="true" {
                span { (units::clock(self.begins(0))) }
                span { (units::clock(middle)) }
                span { "now" }
            }
        }
    }

    /// The marks that are within the chart, newest first.
    pub(super) fn within<'a>(&self, marks: &'a [Mark]) -> Vec<&'a Mark> {
        marks.iter().filter(|mark| self.place(mark.at).is_some()).collect()
    }
}

/// A round number that all bars are below.
fn ceiling(most: u64) -> u64 {
    let mut step = 1_u64;
    loop {
        for factor in [1, 2, 5] {
            let round = step.saturating_mul(factor);
            if round >= most.max(4) {
                return round;
            }
        }
        step = step.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Millis = 1_000 * MINUTE + 30_000;

    fn series(last: u64, points: &[u64], current: u64) -> Series {
        let length = points.len() as u64;
        Series { total: 1_000_000, last: Some(last * MINUTE + 5), points: points.to_vec(), length, current }
    }

    #[test]
    fn each_point_is_in_its_minute_and_those_since_in_the_last() {
        let bars = Bars::of([&series(1000, &[3, 0, 2], 4)], Range::Hour, NOW);
        assert_eq!(bars.values[55..], [0, 2, 0, 3, 4]);
        assert_eq!(bars.total(), 9);
    }

    #[test]
    fn the_first_jobs_of_all_are_shown_at_once() {
        let bars = Bars::of([&series(1000, &[], 2)], Range::Hour, NOW);
        assert_eq!((bars.values[59], bars.total()), (2, 2));
    }

    #[test]
    fn old_series_leave_empty_bars_and_longer_ranges_add_up() {
        let old = series(900, &[7], 0);
        assert_eq!(Bars::of([&old], Range::Hour, NOW).total(), 0);
        let both = [&series(1000, &[3, 3, 3, 3, 3, 3, 3], 0), &series(1000, &[1], 0)];
        let bars = Bars::of(both, Range::Hours6, NOW);
        assert_eq!((bars.values.len(), bars.total()), (72, 22));
        // The bar from 995 on ends with 999.
        assert_eq!(bars.values[70..], [15 + 1, 0]);
    }

    #[test]
    fn a_chart_is_told_in_words_and_nothing_in_it_is_markup() {
        let bars = Bars::of([&series(1000, &[3], 0)], Range::Hour, NOW);
        let mark = Mark { at: NOW - 5 * MINUTE, text: "<script>".to_owned() };
        let drawn = bars.draw("Completed jobs", "bar-done", std::slice::from_ref(&mark)).into_string();
        assert!(drawn.contains("Completed jobs in the last hour: 3 in all, at most 3 per minute"), "{drawn}");
        assert!(drawn.contains("swap-line") && !drawn.contains("<script>") && !drawn.contains("style="));
        assert_eq!(bars.within(&[Mark { at: 5, text: String::new() }, mark]).len(), 1);
    }

    #[test]
    fn ceilings_are_round() {
        assert_eq!([0, 3, 7, 10, 11, 480, 501].map(ceiling), [5, 5, 10, 10, 20, 500, 1000]);
    }
}
