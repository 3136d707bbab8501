//! Builds a project, and gives the component with its manifest in it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::{Project, Recipe};

/// What cargo builds for.
const TARGET: &str = "wasm32-wasip2";

/// A component that was built.
#[derive(Debug)]
pub(crate) struct Built {
    /// The file that the compiler made.
    pub(crate) file: PathBuf,
    /// Its bytes.
    pub(crate) bytes: Vec<u8>,
    /// The package's version, as its manifest says.
    pub(crate) version: String,
    /// Files that it was made from, besides those of its folder.
    pub(crate) sources: Vec<PathBuf>,
    /// How long it took.
    pub(crate) took: Duration,
}

/// Why a project does not build. What the compiler has to say, it has said on stderr.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BuildError {
    /// The program that builds cannot be started.
    #[error("{program} cannot be started: {cause}; {fix}")]
    NotStarted { program: String, cause: io::Error, fix: &'static str },
    /// It says that the sources are wrong.
    #[error("handler {handler:?} does not build ({status}); what is wrong stands above")]
    Failed { handler: String, status: ExitStatus },
    /// It succeeded without a component.
    #[error(
        "handler {handler:?}: the build in {folder} made no component; a package makes one when its [lib] has \
         crate-type = [\"cdylib\"] and it calls `plugin!`"
    )]
    NoComponent { handler: String, folder: PathBuf },
    /// What it made cannot be read.
    #[error(
        "handler {handler:?}: {path} cannot be read after the build: {cause}; is it what the build makes?"
    )]
    Unreadable { handler: String, path: PathBuf, cause: io::Error },
}

/// What cargo says it made.
#[derive(Debug, Default, PartialEq, Eq)]
struct Made {
    file: Option<PathBuf>,
    version: Option<String>,
}

// === impl Project ===

impl Project {
    /// Builds it. The compiler's words go to this process's stderr, whole and coloured as it likes.
    ///
    /// Cancel safety: a build whose future is dropped is killed.
    ///
    /// # Errors
    /// When it does not build, or makes nothing that can be read.
    pub(crate) async fn build(&self) -> Result<Built, BuildError> {
        let started = Instant::now();
        let (file, version) = match &self.recipe {
            Recipe::Cargo { profile, version } => {
                let Made { file, version: told } = self.cargo(profile).await?;
                let missing =
                    || BuildError::NoComponent { handler: self.handler.clone(), folder: self.folder.clone() };
                (file.ok_or_else(missing)?, told.unwrap_or_else(|| version.clone()))
            }
            Recipe::Command { line, output } => {
                self.shell(line).await?;
                (output.clone(), String::new())
            }
        };
        let unreadable =
            |cause| BuildError::Unreadable { handler: self.handler.clone(), path: file.clone(), cause };
        let bytes = tokio::fs::read(&file).await.map_err(unreadable)?;
        // Only cargo leaves one; elsewhere the folder is all that is known.
        let sources = tokio::fs::read_to_string(file.with_extension("d")).await.unwrap_or_default();
        let sources = dependencies(&sources);
        Ok(Built { file, bytes, version, sources, took: started.elapsed() })
    }

    async fn cargo(&self, profile: &str) -> Result<Made, BuildError> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.args(["build", "--lib", "--target", TARGET, "--profile", profile]);
        command.arg("--message-format=json-render-diagnostics");
        let fix = "install Rust from rustup.rs, or put cargo into the PATH";
        let mut child = self.spawn(&mut command, Stdio::piped(), "cargo", fix)?;
        let mut made = Made::default();
        if let Some(out) = child.stdout.take() {
            let manifest = self.folder.join("Cargo.toml");
            let mut lines = BufReader::new(out).lines();
            // A line that cannot be read tells nothing; whether the build succeeded, its status says.
            while let Ok(Some(line)) = lines.next_line().await {
                made.read(&line, &manifest);
            }
        }
        self.ended(child, "cargo", fix).await?;
        Ok(made)
    }

    async fn shell(&self, line: &str) -> Result<(), BuildError> {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        let fix = "[handlers.NAME.build] command needs a shell";
        // Its stdout is not the answer of this program.
        let child = self.spawn(&mut command, Stdio::from(io::stderr()), "sh", fix)?;
        self.ended(child, "sh", fix).await
    }

    fn spawn(
        &self,
        command: &mut Command,
        stdout: Stdio,
        program: &str,
        fix: &'static str,
    ) -> Result<tokio::process::Child, BuildError> {
        let not_started = |cause| BuildError::NotStarted { program: program.to_owned(), cause, fix };
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(stdout);
        command.kill_on_drop(true).spawn().map_err(not_started)
    }

    async fn ended(
        &self,
        mut child: tokio::process::Child,
        program: &str,
        fix: &'static str,
    ) -> Result<(), BuildError> {
        let not_started = |cause| BuildError::NotStarted { program: program.to_owned(), cause, fix };
        let status = child.wait().await.map_err(not_started)?;
        if status.success() {
            Ok(())
        } else {
            Err(BuildError::Failed { handler: self.handler.clone(), status })
        }
    }
}

// === impl Made ===

impl Made {
    /// Takes one line of cargo's messages: what the package of this manifest made, and its version.
    fn read(&mut self, line: &str, manifest: &Path) {
        let Ok(message) = serde_json::from_str::<Value>(line) else { return };
        let is_own = message["manifest_path"].as_str().is_some_and(|path| Path::new(path) == manifest);
        if message["reason"] != "compiler-artifact" || !is_own {
            return;
        }
        let files = message["filenames"].as_array().into_iter().flatten().filter_map(Value::as_str);
        if let Some(file) =
            files.map(Path::new).find(|file| file.extension().is_some_and(|kind| kind == "wasm"))
        {
            self.file = Some(file.to_owned());
            // `path+file:///…#name@1.2.3`, or without the name where the folder is called so.
            let id = message["package_id"].as_str().unwrap_or_default();
            let version =
                id.rsplit(['#', '@']).next().filter(|text| text.starts_with(|c: char| c.is_ascii_digit()));
            self.version = version.map(str::to_owned);
        }
    }
}

/// The files of a dependency list such as make reads, as cargo leaves one beside what it makes.
fn dependencies(text: &str) -> Vec<PathBuf> {
    let Some((_, sources)) = text.lines().next().unwrap_or_default().split_once(": ") else {
        return Vec::new();
    };
    // A space in a name is written `\ `.
    let joined = sources.replace("\\ ", "\0");
    joined.split_whitespace().map(|path| PathBuf::from(path.replace('\0', " "))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_tells_what_it_made_of_this_package() {
        let manifest = Path::new("/w/greeter/Cargo.toml");
        let line = |manifest: &str, id: &str, file: &str| {
            serde_json::json!({
                "reason": "compiler-artifact", "manifest_path": manifest, "package_id": id, "filenames": [file],
            })
            .to_string()
        };
        let id = "path+file:///w/greeter#1.2.3";
        let mut made = Made::default();
        for other in [
            "not json",
            r#"{"reason":"build-finished","success":true}"#,
            &line("/w/sdk/Cargo.toml", "path+file:///w/sdk#0.1.0", "/w/target/sdk.wasm"),
            &line("/w/greeter/Cargo.toml", id, "/w/target/libgreeter.rlib"),
        ] {
            made.read(other, manifest);
            assert_eq!(made, Made::default(), "{other}");
        }
        made.read(&line("/w/greeter/Cargo.toml", id, "/w/target/greeter.wasm"), manifest);
        let expected =
            Made { file: Some("/w/target/greeter.wasm".into()), version: Some("1.2.3".to_owned()) };
        assert_eq!(made, expected);
        made.read(&line("/w/greeter/Cargo.toml", "path+file:///w/x#greeter@2.0.0", "/g.wasm"), manifest);
        assert_eq!(made.version.as_deref(), Some("2.0.0"));
    }

    #[test]
    fn what_a_build_was_made_from_is_read_with_its_spaces() {
        let text = "/w/target/a.wasm: /w/src/lib.rs /w/my\\ sdk/src/x.rs\n\n/w/src/lib.rs:\n";
        assert_eq!(dependencies(text), [PathBuf::from("/w/src/lib.rs"), PathBuf::from("/w/my sdk/src/x.rs")]);
        assert!(dependencies("").is_empty());
    }

    fn project(folder: &Path, line: &str) -> Project {
        let recipe = Recipe::Command { line: line.to_owned(), output: folder.join("out.wasm") };
        let watched = vec![folder.to_owned()];
        Project { handler: "own".to_owned(), folder: folder.to_owned(), recipe, wants: None, watched }
    }

    #[tokio::test]
    async fn a_command_of_the_project_builds_it_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let built = project(folder.path(), "printf made > out.wasm").build().await.unwrap();
        assert_eq!((&*built.bytes, built.file), (&b"made"[..], folder.path().join("out.wasm")));
        let failed = project(folder.path(), "exit 3").build().await.unwrap_err();
        assert!(failed.to_string().contains("\"own\" does not build"), "{failed}");
        let elsewhere = project(folder.path(), "rm out.wasm").build().await.unwrap_err();
        assert!(matches!(elsewhere, BuildError::Unreadable { .. }), "{elsewhere}");
    }
}
