//! The few drawings that pages use. Each stands beside a word, and is nothing to whoever hears the page.

use maud::{Markup, html};

fn icon(path: &'static str) -> Markup {
    html! {
        svg.icon viewBox="0 0 24 24" aria-hidden="true" focusable="false" { path d=(path) {} }
    }
}

pub(super) fn brand() -> Markup {
    html! {
        svg viewBox="0 0 24 24" aria-hidden="true" focusable="false" fill="none" stroke="currentColor" stroke-width="2" stroke-linejoin="round" {
            path d="M12 2.5 20.2 7.2v9.6L12 21.5 3.8 16.8V7.2Z" {}
            circle cx="12" cy="12" r="3.1" fill="currentColor" stroke="none" {}
        }
    }
}

pub(super) fn overview() -> Markup {
    icon("M4 4h7v9H4zM13 4h7v5h-7zM13 11h7v9h-7zM4 15h7v5H4z")
}

pub(super) fn queues() -> Markup {
    icon("M4 6h16M4 12h16M4 18h10")
}

pub(super) fn schedules() -> Markup {
    icon("M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7v5l3.5 2")
}

pub(super) fn handlers() -> Markup {
    icon("M12 3l8 4.5v9L12 21l-8-4.5v-9ZM12 12l8-4.5M12 12v9M12 12L4 7.5")
}

pub(super) fn hosts() -> Markup {
    icon("M4 4h16v7H4zM4 13h16v7H4zM7.5 7.5h.01M7.5 16.5h.01")
}

pub(super) fn audit() -> Markup {
    icon("M6 3h9l4 4v14H6zM14.5 3v5H19M9.5 13h6M9.5 17h4")
}

pub(super) fn light() -> Markup {
    icon(
        "M12 16.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4",
    )
}

pub(super) fn dark() -> Markup {
    icon("M20 14.2A8.2 8.2 0 0 1 9.8 4a8.2 8.2 0 1 0 10.2 10.2Z")
}

pub(super) fn system() -> Markup {
    icon("M3 4h18v12H3zM8.5 20h7M12 16v4")
}

pub(super) fn good() -> Markup {
    icon("M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM8 12.2l2.8 2.8L16 9.5")
}

pub(super) fn alarm() -> Markup {
    icon("M12 3.5 22 20.5H2ZM12 10v4.5M12 17.5h.01")
}
