//! `jobcell dev`: a host on the embedded store whose handlers are built from their sources, and built and swapped again
//! when those change.
//!
//! What was built goes into a folder of the store by one rename, and the host follows that file like any other. A build
//! that fails changes no file, so the version before keeps serving. Where no configuration names a project's handler, it
//! gets the jobs of a queue of its own name.

mod overlay;

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use futures::future::select_all;
use jobcell_handlers::Digest;

use super::args::DevArgs;
use super::build::write;
use super::console::{Console, visible};
use super::exit::{Exit, Failure};
use super::sound;
use crate::config::{Environment, Loaded, Request};
use crate::host::{self, RunOptions};
use crate::project::{FindError, Project, Recipe, Snapshot, find};

/// Where built components go in the directory of the embedded store.
const FOLDER: &str = "dev";

/// A project, and how its sources were when it was built last.
struct Watched {
    project: Project,
    /// Where its component goes.
    place: PathBuf,
    paths: Vec<PathBuf>,
    /// Where its command puts the component, which may be among its sources.
    built: Option<PathBuf>,
    seen: Snapshot,
}

pub(super) async fn run(
    loaded: Loaded,
    request: Request,
    args: &DevArgs,
    environment: &Environment,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let base = sound(loaded, console)?;
    let mut projects = find(&args.folders, args.profile.as_deref())?;
    let named = |handler: &str| projects.iter().any(|project| project.handler == handler);
    let own: Vec<Project> =
        base.handlers.values().filter_map(overlay::project).filter(|own| !named(&own.handler)).collect();
    projects.extend(own);
    if projects.is_empty() {
        let folders: Vec<String> = args.folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(FindError::Nothing { folders: folders.join(", ") }.into());
    }
    let folder = base.embedded.path.join(FOLDER);
    // The host's file is meant from here as well, whatever directory its configuration is read from.
    let folder = std::path::absolute(&folder).unwrap_or(folder);
    let mut watched: Vec<Watched> =
        projects.into_iter().map(|project| Watched::new(project, &folder)).collect();
    for one in &mut watched {
        console.note(&format!("{}: building {}", one.project.handler, one.project.folder.display()));
        one.build(console).await;
    }
    wait_for_first(&mut watched, console).await;

    let places: Vec<(String, PathBuf)> =
        watched.iter().map(|one| (one.project.handler.clone(), one.place.clone())).collect();
    let reread = || overlay::config(&request, &places).map(|overlaid| overlaid.config);
    let overlay::Overlaid { config, told } = overlay::config(&request, &places)?;
    for line in told {
        console.note(&line);
    }
    let options = RunOptions { burst: false, environment, reread: &reread };
    let ended = tokio::select! {
        ended = Box::pin(host::run(&config, options)) => ended?,
        never = rebuild(&mut watched, console) => match never {},
    };
    console.answer(
        &serde_json::json!({ "given_back": ended.given_back, "abandoned": ended.abandoned }),
        |_| String::new(),
    )?;
    Ok(if ended.given_back + ended.abandoned == 0 { Exit::Done } else { Exit::TimedOut })
}

/// A host cannot start without a component of each handler: waits until each has one, from now or from before.
async fn wait_for_first(watched: &mut [Watched], console: &mut Console<'_>) {
    while let Some(missing) = watched.iter().find(|one| !one.place.is_file()) {
        console.note(&format!("{}: waiting for a change that makes it build", missing.project.handler));
        let (index, now) = changed(watched, |one| !one.place.is_file()).await;
        watched[index].again(&now, console).await;
    }
}

/// Builds what changed, again and again.
async fn rebuild(watched: &mut [Watched], console: &mut Console<'_>) -> Infallible {
    loop {
        let (index, now) = changed(watched, |_| true).await;
        watched[index].again(&now, console).await;
    }
}

/// The first of these projects whose sources change, and how they are then. Cancel safe.
async fn changed(watched: &[Watched], is_meant: impl Fn(&Watched) -> bool) -> (usize, Snapshot) {
    let meant = watched.iter().enumerate().filter(|(_, one)| is_meant(one));
    let next = meant.map(|(index, one)| {
        Box::pin(async move { (index, one.seen.next(&one.paths, one.built.as_deref()).await) })
    });
    let ((index, now), _, _) = select_all(next).await;
    (index, now)
}

// === impl Watched ===

impl Watched {
    fn new(project: Project, folder: &Path) -> Self {
        let place = folder.join(format!("{}.wasm", project.handler));
        let paths = project.watched.clone();
        let built = match &project.recipe {
            Recipe::Command { output, .. } => Some(output.clone()),
            Recipe::Cargo { .. } => None,
        };
        let seen = Snapshot::of(&paths, built.as_deref());
        Self { project, place, paths, built, seen }
    }

    /// How its sources are now.
    fn now(&self) -> Snapshot {
        Snapshot::of(&self.paths, self.built.as_deref())
    }

    /// Builds it because its sources are like this now.
    async fn again(&mut self, now: &Snapshot, console: &mut Console<'_>) {
        let what = self.seen.changed(now).map(|path| path.strip_prefix(&self.project.folder).unwrap_or(path));
        let what = what.map_or_else(|| "something".to_owned(), |path| path.display().to_string());
        console.note(&format!("{}: {} changed; building", self.project.handler, visible(&what)));
        self.build(console).await;
    }

    /// Builds it and puts the component into its place; whatever is wrong is said, and leaves what is there.
    async fn build(&mut self, console: &mut Console<'_>) {
        let before = self.now();
        let handler = self.project.handler.clone();
        let sources = match self.made().await {
            Ok((sources, told)) => {
                console.note(&format!("{handler}: {told}"));
                sources
            }
            Err(told) => {
                let goes_on = if self.place.is_file() { "; the version before keeps serving" } else { "" };
                console.note(&format!("{}{goes_on}", visible(&told)));
                Vec::new()
            }
        };
        if self.now() != before {
            // Somebody went on writing meanwhile: the next look finds it.
            self.seen = before;
            return;
        }
        let new: Vec<PathBuf> = sources
            .into_iter()
            .filter(|path| !self.paths.iter().any(|known| path.starts_with(known)))
            .collect();
        self.paths.extend(new);
        self.seen = self.now();
    }

    /// What it was made from, and what came of it in words.
    async fn made(&self) -> Result<(Vec<PathBuf>, String), String> {
        let built = self.project.build().await.map_err(|error| error.to_string())?;
        let bytes = self.project.described(&built).map_err(|error| error.to_string())?;
        let (digest, took) = (Digest::of(&bytes).short(), built.took.as_secs_f32());
        let is_same = std::fs::read(&self.place).is_ok_and(|there| there == bytes);
        if is_same {
            return Ok((built.sources, format!("built in {took:.1} s; it is {digest} as before")));
        }
        write(&self.place, &bytes).map_err(|cause| {
            format!("{} cannot be written: {cause}; make room, or make it writable", self.place.display())
        })?;
        let kind = match self.project.recipe {
            Recipe::Cargo { .. } => "",
            Recipe::Command { .. } => " by its command",
        };
        Ok((
            built.sources,
            format!("built{kind} in {took:.1} s: version {digest}, {} KiB", bytes.len().div_ceil(1024)),
        ))
    }
}
