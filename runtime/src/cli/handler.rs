//! `jobcell handler inspect`: what a component says about itself. Needs no config and no store.

use std::path::Path;

use jobcell_wasm::{Description, WIT_VERSION, inspect};

use super::console::{Console, table, visible};
use super::exit::{Exit, Failure};
use super::payload;

pub(super) fn inspect_file(file: &Path, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let bytes = payload::file(file)?;
    let description = inspect(&bytes)
        .map_err(|error| Failure::new(Exit::Refused, format!("{}: {error}", file.display())))?;
    console.answer(&description, describe)?;
    Ok(Exit::Done)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn describe(description: &Description) -> String {
    let Description { digest, size, wit, imports, exports, grants, features } = description;
    let wit = wit.as_deref().unwrap_or("not named");
    let mut shown = format!(
        "digest    sha256:{digest}\nversion   {}\nsize      {:.1} KiB\nwit       {wit} (this host: {WIT_VERSION})\n\
         features  {}\nexports   {}\n\n",
        digest.get(..12).unwrap_or(digest),
        *size as f64 / 1024.0,
        if features.is_empty() { "none".to_owned() } else { features.join(", ") },
        visible(&exports.join(", ")),
    );
    let row = |import: &jobcell_wasm::Import| {
        let needs = import.needs.map_or("", |need| need.line());
        let offered = if import.offered { "" } else { "NOT OFFERED by this host" };
        vec![visible(&import.name), needs.to_owned(), offered.to_owned()]
    };
    shown += &table(&["IMPORT", "NEEDS", ""], &imports.iter().map(row).collect::<Vec<_>>());
    if !grants.is_empty() {
        shown += "\nto grant it what it wants:\n\n    [handlers.NAME.grants]\n";
        shown.extend(grants.iter().map(|line| format!("    {line}\n")));
    }
    shown
}
