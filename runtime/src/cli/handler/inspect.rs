//! `jobcell handler inspect`: what a component says about itself. Needs no config and no store.

use std::path::Path;

use jobcell_handlers::Manifest;
use jobcell_wasm::{Description, WIT_VERSION, inspect};
use serde::Serialize;

use super::read_component;
use super::shown::short;
use crate::cli::console::{Console, table, visible};
use crate::cli::exit::{Exit, Failure};

/// What `--json` prints.
#[derive(Serialize)]
struct Inspected {
    #[serde(flatten)]
    description: Description,
    /// Null where it brings none.
    manifest: Option<Manifest>,
}

pub(super) fn file(file: &Path, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let bytes = read_component(file)?;
    let refused =
        |error: &dyn std::fmt::Display| Failure::new(Exit::Refused, format!("{}: {error}", file.display()));
    let mut description = inspect(&bytes).map_err(|error| refused(&error))?;
    description.digest = format!("sha256:{}", description.digest);
    let manifest = Manifest::read(&bytes).map_err(|error| refused(&error))?;
    console.answer(&Inspected { description, manifest }, describe)?;
    Ok(Exit::Done)
}

#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn describe(inspected: &Inspected) -> String {
    let Inspected { description, manifest } = inspected;
    let Description { digest, size, wit, imports, exports, grants, features } = description;
    let wit = wit.as_deref().unwrap_or("not named");
    let mut shown = format!(
        "digest    {digest}\nversion   {}\nsize      {:.1} KiB\nwit       {wit} (this host: {WIT_VERSION})\n\
         features  {}\nexports   {}\n",
        short(digest),
        *size as f64 / 1024.0,
        if features.is_empty() { "none".to_owned() } else { features.join(", ") },
        visible(&exports.join(", ")),
    );
    shown += &manifest.as_ref().map_or_else(|| "manifest  none\n\n".to_owned(), of_manifest);
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

fn of_manifest(manifest: &Manifest) -> String {
    let Manifest { name, version, wit: _, language, build, limits, wants } = manifest;
    let mut shown = format!("manifest  {}", visible(name));
    shown.extend(version.iter().map(|version| format!(" {}", visible(version))));
    shown.extend(language.iter().map(|language| format!(", in {}", visible(language))));
    shown += "\n";
    for (fact, value) in build {
        shown += &format!("          {}: {}\n", visible(fact), visible(value));
    }
    if let Some(memory) = limits.memory_bytes {
        shown += &format!("          needs {} MiB of memory\n", memory.div_ceil(1 << 20));
    }
    if let Some(deadline) = limits.deadline_ms {
        shown += &format!("          needs up to {deadline} ms\n");
    }
    if let Some(stack) = limits.stack_bytes {
        shown += &format!("          needs a stack of {} KiB\n", stack.div_ceil(1 << 10));
    }
    let wants = wants.as_ref().map_or_else(
        || "whatever it imports".to_owned(),
        |wants| if wants.lines().is_empty() { "nothing".to_owned() } else { wants.lines().join(", ") },
    );
    shown + &format!("wants     {}\n\n", visible(&wants))
}
