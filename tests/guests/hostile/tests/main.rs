//! Every hostile guest under every profile of limits, in one process that is looked at between the bouts.
//!
//! There is no test harness: its threads and descriptors would be among those that are counted, and this program is
//! also the compiler process of its own host. A word on the command line runs the chapters and guests whose names have
//! it.

#![expect(clippy::unwrap_used, reason = "a test program: a panic is how a test fails")]

mod matrix;
mod panics;
mod reuse;
mod table;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jobcell_core::Store;
use jobcell_embedded::{EmbeddedOptions, EmbeddedStore};
use jobcell_hostile::Arena;
use jobcell_wasm::{Compiler, CompilerProcess, Engine, EngineConfig};
use tempfile::TempDir;

/// How late an end may be on a machine that does other things too. What was measured is printed.
const GRACE: Duration = Duration::from_secs(15);
/// How long admission may take: the compiler's own bound, and a slow machine.
const ADMISSION_MAX: Duration = Duration::from_secs(45);

/// What the chapters share.
struct World {
    engine: Engine,
    arena: Arena,
    /// The words from the command line.
    filters: Vec<String>,
    _folder: TempDir,
}

fn main() -> ExitCode {
    jobcell_wasm::compiler_entry();
    let filters: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut passed, mut failures) = (0, Vec::new());
    runtime.block_on(async {
        let world = World::make(filters).await;
        for (name, ended) in [
            ("table", table::run()),
            ("reuse", reuse::run(&world).await),
            ("panics", panics::run(&world).await),
            ("matrix", matrix::run(&world).await),
        ] {
            println!("chapter {name}: {} passed, {} failed", ended.passed, ended.failures.len());
            passed += ended.passed;
            failures.extend(ended.failures);
        }
    });
    if !failures.is_empty() {
        println!("\nfailures:\n\n{}", failures.join("\n"));
    }
    let word = if failures.is_empty() { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {} failed; 0 ignored", failures.len());
    std::io::stdout().flush().unwrap();
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl World {
    async fn make(filters: Vec<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path(), EmbeddedOptions::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        // Short bounds, so that the suite ends: what passes them takes the same way as under longer ones.
        let bounds = CompilerProcess {
            cpu: Duration::from_secs(4),
            wall: Duration::from_secs(8),
            ..CompilerProcess::default()
        };
        let compiler = Compiler::Process(bounds);
        let config = EngineConfig { cells: 400, compiler, baseline: true, ..EngineConfig::default() };
        let engine = Engine::new(config).unwrap();
        let arena = Arena::open(engine.clone(), Some(store), GRACE, ADMISSION_MAX).await.unwrap();
        Self { engine, arena, filters, _folder: folder }
    }

    fn wants(&self, name: &str) -> bool {
        // A word may be a part of the name, or the name a part of what a failed check was called.
        let names = |filter: &String| name.contains(filter) || filter.contains(name);
        self.filters.is_empty() || self.filters.iter().any(names)
    }
}

/// What a chapter came to.
#[derive(Default)]
struct Ended {
    passed: usize,
    failures: Vec<String>,
}

impl Ended {
    fn check(&mut self, name: &str, fault: Option<String>) {
        match fault {
            None => self.passed += 1,
            Some(fault) => {
                println!("test {name} ... FAILED: {fault}");
                self.failures.push(format!("{name}: {fault}"));
            }
        }
    }
}
