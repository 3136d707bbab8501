//! `jobcell build`: a handler's project becomes a component with its manifest, ready to be signed and deployed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jobcell_handlers::Digest;
use serde::Serialize;

use super::args::BuildArgs;
use super::console::Console;
use super::exit::{Exit, Failure};
use crate::project::{BuildError, DescribeError, FindError, Project, find};

/// Where components go beside what Cargo makes.
const FOLDER: &str = "jobcell";

/// What `--json` prints, one for each project.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    handler: String,
    file: PathBuf,
    digest: String,
    size: usize,
    took_ms: u128,
}

pub(super) async fn run(args: &BuildArgs, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let BuildArgs { folder, out, profile } = args;
    let projects = find(std::slice::from_ref(folder), profile.as_deref())?;
    if projects.is_empty() {
        return Err(FindError::Nothing { folders: folder.display().to_string() }.into());
    }
    let is_file = out.as_ref().is_some_and(|out| out.extension().is_some_and(|kind| kind == "wasm"));
    if is_file && projects.len() > 1 {
        let names: Vec<&str> = projects.iter().map(|project| &*project.handler).collect();
        return Err(Failure::usage(format!(
            "--out names one file, and there are several handlers: {}; name a folder, or build one project",
            names.join(", ")
        )));
    }
    let mut made = Vec::new();
    for project in &projects {
        console.note(&format!("building {} in {}", project.handler, project.folder.display()));
        made.push(component(project, out.as_deref().map(|out| (out, is_file))).await?);
    }
    console.answer(&made, |made| made.iter().map(describe).collect())?;
    Ok(Exit::Done)
}

async fn component(project: &Project, out: Option<(&Path, bool)>) -> Result<Component, Failure> {
    let built = project.build().await?;
    let bytes = project.described(&built)?;
    let name = format!("{}.wasm", project.handler);
    let file = match out {
        Some((file, true)) => file.to_owned(),
        Some((folder, false)) => folder.join(name),
        None => built.file.parent().unwrap_or(&project.folder).join(FOLDER).join(name),
    };
    write(&file, &bytes).map_err(|cause| {
        Failure::failed(format!(
            "{} cannot be written: {cause}; name another place with --out",
            file.display()
        ))
    })?;
    Ok(Component {
        handler: project.handler.clone(),
        file,
        digest: Digest::of(&bytes).to_string(),
        size: bytes.len(),
        took_ms: built.took.as_millis(),
    })
}

/// Writes a file so that whoever reads it sees the old one or the new one, whole.
pub(super) fn write(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut written = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut written, bytes)?;
    written.as_file().sync_all()?;
    // A temporary file is its owner's alone; a component is nobody's secret.
    written.as_file().set_permissions(Permissions::from_mode(0o644))?;
    written.persist(file).map(drop).map_err(|error| error.error)
}

fn describe(component: &Component) -> String {
    let Component { handler, file, digest, size, took_ms } = component;
    format!(
        "handler   {handler}\nfile      {}\ndigest    {digest}\nsize      {} KiB\nbuilt in  {took_ms} ms\n",
        file.display(),
        size.div_ceil(1024)
    )
}

impl From<FindError> for Failure {
    fn from(error: FindError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self::failed(error.to_string())
    }
}

impl From<DescribeError> for Failure {
    fn from(error: DescribeError) -> Self {
        let exit = match &error {
            DescribeError::Refused { .. } => Exit::Refused,
            DescribeError::Manifest { .. } => Exit::Failed,
        };
        Self::new(exit, error.to_string())
    }
}
