//! Finds the handler projects below folders.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use jobcell_handlers::Wants;
use serde::Deserialize;
use toml::{Table, Value};

use super::{Project, Recipe};

/// Folders below a folder that is searched: `plugins/team/handler` is found from where `plugins` is.
const DEPTH_MAX: usize = 3;
/// Projects of one search: more is most likely the wrong folder.
const PROJECTS_MAX: usize = 200;
/// The profile for guests, where a workspace has one.
const GUEST_PROFILE: &str = "guest";
/// What is taken otherwise.
const RELEASE_PROFILE: &str = "release";

/// Why the projects of a folder cannot be told.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FindError {
    /// A folder or a manifest cannot be read.
    #[error("{path} cannot be read: {cause}; correct the path, or make it readable for this user")]
    Unreadable { path: PathBuf, cause: io::Error },
    /// A manifest is no TOML.
    #[error("{path} is no Cargo manifest: {cause}")]
    Malformed { path: PathBuf, cause: toml::de::Error },
    /// It says that it wants what nothing can be granted.
    #[error(
        "{path}: [package.metadata.jobcell.wants] cannot be read: {cause}; write it like [handlers.NAME.grants], for \
         example cache = true"
    )]
    Wants { path: PathBuf, cause: toml::de::Error },
    /// There is no project.
    #[error(
        "there is no handler project in {folders}: looked for a Cargo.toml whose [lib] has crate-type = [\"cdylib\"], \
         {DEPTH_MAX} folders deep; name the project's folder, or give the handler a [handlers.NAME.build] in the \
         configuration"
    )]
    Nothing { folders: String },
    /// Two projects would be one handler.
    #[error(
        "{first} and {second} are both handler {handler:?}; give one of them another name under [lib], or as handler \
         under [package.metadata.jobcell]"
    )]
    Twice { handler: String, first: PathBuf, second: PathBuf },
    /// Far too many.
    #[error(
        "there are more than {PROJECTS_MAX} handler projects below {folder}; name the folders that are meant"
    )]
    TooMany { folder: PathBuf },
}

/// The Cargo packages in and below these folders that make a component. A folder that is one is not searched further.
/// `profile` is built in place of what the workspace suggests.
///
/// # Errors
/// When a folder cannot be read, or two packages would be the same handler. None at all is no error.
pub(crate) fn find(folders: &[PathBuf], profile: Option<&str>) -> Result<Vec<Project>, FindError> {
    let mut projects: Vec<Project> = Vec::new();
    for folder in folders {
        let folder = folder.canonicalize().map_err(unreadable(folder))?;
        search(&folder, 0, profile, &mut projects)?;
        if projects.len() > PROJECTS_MAX {
            return Err(FindError::TooMany { folder });
        }
    }
    // A folder named twice, or inside another one, is one project.
    let mut seen = BTreeSet::new();
    projects.retain(|project| seen.insert(project.folder.clone()));
    projects.sort_by(|a, b| a.handler.cmp(&b.handler));
    for pair in projects.windows(2) {
        if pair[0].handler == pair[1].handler {
            return Err(FindError::Twice {
                handler: pair[0].handler.clone(),
                first: pair[0].folder.clone(),
                second: pair[1].folder.clone(),
            });
        }
    }
    Ok(projects)
}

fn search(
    folder: &Path,
    depth: usize,
    profile: Option<&str>,
    found: &mut Vec<Project>,
) -> Result<(), FindError> {
    let manifest = folder.join("Cargo.toml");
    if manifest.is_file()
        && let Some(project) = project(&manifest, folder, profile)?
    {
        found.push(project);
        return Ok(());
    }
    if depth == DEPTH_MAX || found.len() > PROJECTS_MAX {
        return Ok(());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable(folder))? {
        let entry = entry.map_err(unreadable(folder))?;
        // Links are not followed: they may lead round in a circle.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && !is_beside_sources(&entry.path()) {
            folders.push(entry.path());
        }
    }
    folders.sort();
    folders.iter().try_for_each(|folder| search(folder, depth + 1, profile, found))
}

/// Folders that hold what was built or fetched, never sources.
pub(super) fn is_beside_sources(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.starts_with('.') || ["target", "node_modules", "dist", "__pycache__"].contains(&&*name)
}

/// The project of a manifest, if it makes a component.
fn project(manifest: &Path, folder: &Path, profile: Option<&str>) -> Result<Option<Project>, FindError> {
    let table = read(manifest)?;
    let (Some(package), Some(library)) = (table_of(&table, "package"), table_of(&table, "lib")) else {
        return Ok(None);
    };
    let kinds = library.get("crate-type").or_else(|| library.get("crate_type")).and_then(Value::as_array);
    if !kinds.is_some_and(|kinds| kinds.iter().any(|kind| kind.as_str() == Some("cdylib"))) {
        return Ok(None);
    }
    let text = |table: &Table, key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
    let own = table_of(package, "metadata").and_then(|metadata| table_of(metadata, "jobcell"));
    let named = own.and_then(|own| text(own, "handler"));
    let library_name = text(library, "name").map(|name| name.replace('_', "-"));
    let Some(handler) = named.or(library_name).or_else(|| text(package, "name")) else { return Ok(None) };
    let profile = match profile {
        Some(profile) => profile.to_owned(),
        None => suggested_profile(folder, &table).to_owned(),
    };
    let wants = own.and_then(|own| own.get("wants")).cloned().map(Wants::deserialize).transpose();
    let wants = wants.map_err(|cause| FindError::Wants { path: manifest.to_owned(), cause })?;
    // `version.workspace = true` is told by Cargo when it builds.
    let version = text(package, "version").unwrap_or_default();
    Ok(Some(Project {
        handler,
        folder: folder.to_owned(),
        recipe: Recipe::Cargo { profile, version },
        wants,
        watched: vec![folder.to_owned()],
    }))
}

/// Profiles belong to the root of a workspace: the nearest manifest upwards that says it is one, or the package itself.
fn suggested_profile(folder: &Path, own: &Table) -> &'static str {
    let has_guest =
        |table: &Table| table_of(table, "profile").is_some_and(|all| all.contains_key(GUEST_PROFILE));
    let is_guest = if own.contains_key("workspace") {
        has_guest(own)
    } else {
        let mut above = folder.ancestors().skip(1).filter_map(|folder| read(&folder.join("Cargo.toml")).ok());
        above
            .find(|table| table.contains_key("workspace"))
            .map_or_else(|| has_guest(own), |root| has_guest(&root))
    };
    if is_guest { GUEST_PROFILE } else { RELEASE_PROFILE }
}

fn read(manifest: &Path) -> Result<Table, FindError> {
    let text = fs::read_to_string(manifest).map_err(unreadable(manifest))?;
    text.parse().map_err(|cause| FindError::Malformed { path: manifest.to_owned(), cause })
}

fn table_of<'a>(table: &'a Table, key: &str) -> Option<&'a Table> {
    table.get(key).and_then(Value::as_table)
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> FindError {
    move |cause| FindError::Unreadable { path: path.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";

    fn package(name: &str, more: &str) -> String {
        format!("[package]\nname = \"{name}\"\nversion = \"1.2.3\"\n{more}")
    }

    #[test]
    fn packages_that_make_a_component_are_found_by_their_names() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "Cargo.toml", "[workspace]\n[profile.guest]\ninherits = \"release\"\n");
        write(root.path(), "plugins/a/Cargo.toml", &package("team-a", CDYLIB));
        write(
            root.path(),
            "plugins/b/Cargo.toml",
            &package("team-b", &format!("{CDYLIB}name = \"resize_it\"\n")),
        );
        let named = format!("{CDYLIB}[package.metadata.jobcell]\nhandler = \"mail\"\n");
        write(root.path(), "c/Cargo.toml", &package("c", &named));
        write(root.path(), "library/Cargo.toml", &package("library", "[lib]\n"));
        write(root.path(), "target/x/Cargo.toml", &package("built", CDYLIB));
        write(root.path(), "a/b/c/deep/Cargo.toml", &package("deep", CDYLIB));
        let found = find(&[root.path().to_owned(), root.path().join("c")], None).unwrap();
        let names: Vec<&str> = found.iter().map(|project| &*project.handler).collect();
        assert_eq!(names, ["mail", "resize-it", "team-a"]);
        let guest = Recipe::Cargo { profile: "guest".to_owned(), version: "1.2.3".to_owned() };
        assert!(found.iter().all(|project| project.recipe == guest), "{found:?}");
        let own = find(&[root.path().join("c")], Some("dev")).unwrap();
        assert!(matches!(&own[0].recipe, Recipe::Cargo { profile, .. } if profile == "dev"));
    }

    #[test]
    fn without_a_profile_for_guests_it_is_release() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "Cargo.toml", &package("alone", &format!("{CDYLIB}[workspace]\n")));
        let found = find(&[root.path().to_owned()], None).unwrap();
        assert!(matches!(&found[0].recipe, Recipe::Cargo { profile, .. } if profile == "release"));
        assert_eq!(found[0].handler, "alone");
    }

    #[test]
    fn a_manifest_may_say_what_its_handler_wants() {
        let root = tempfile::tempdir().unwrap();
        let wants = |text: &str| {
            let manifest = package("wanting", &format!("{CDYLIB}[package.metadata.jobcell.wants]\n{text}\n"));
            write(root.path(), "Cargo.toml", &manifest);
            find(&[root.path().to_owned()], None)
        };
        let found = wants("cache = true\nkv = [\"totals\"]").unwrap();
        let expected = Wants { cache: true, kv: vec!["totals".to_owned()], ..Wants::default() };
        assert_eq!(found[0].wants, Some(expected));
        let told = wants("cahce = true").unwrap_err().to_string();
        assert!(told.contains("cahce") && told.contains("[package.metadata.jobcell.wants]"), "{told}");
    }

    #[test]
    fn one_name_is_one_handler() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "a/Cargo.toml", &package("same", CDYLIB));
        write(root.path(), "b/Cargo.toml", &package("same", CDYLIB));
        let told = find(&[root.path().to_owned()], None).unwrap_err().to_string();
        assert!(told.contains("\"same\"") && told.contains("[package.metadata.jobcell]"), "{told}");
        write(root.path(), "b/Cargo.toml", "[package\n");
        assert!(matches!(find(&[root.path().to_owned()], None), Err(FindError::Malformed { .. })));
        let nowhere = find(&[root.path().join("c")], None).unwrap_err().to_string();
        assert!(nowhere.contains("/c cannot be read"), "{nowhere}");
    }
}
