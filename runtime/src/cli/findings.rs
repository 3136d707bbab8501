//! `jobcell check` and `jobcell doctor`: faults of the configuration and what was found beyond it, together.

use jobcell_wasm::{Clearing, EngineReport};
use serde::Serialize;

use super::console::{Console, visible};
use super::exit::{Exit, Failure};
use crate::config::{Config, Fault, Loaded, Origin};
use crate::diagnose::{self, Environment, Finding, Findings, Verdict};

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    environment: Option<Machine>,
    findings: Vec<Finding>,
}

/// What this machine offers, as `--json` prints it.
#[derive(Serialize)]
struct Machine {
    jobcell: &'static str,
    wasmtime: &'static str,
    system: String,
    cores: usize,
    /// Null when it does not start.
    engine: Option<EngineReport>,
    /// Why it does not start.
    #[serde(skip_serializing_if = "Option::is_none")]
    engine_fault: Option<String>,
}

impl From<Environment> for Machine {
    fn from(environment: Environment) -> Self {
        let Environment { jobcell, wasmtime, system, cores, engine } = environment;
        let (engine, engine_fault) = match engine {
            Ok(engine) => (Some(engine), None),
            Err(fault) => (None, Some(fault)),
        };
        Self { jobcell, wasmtime, system, cores, engine, engine_fault }
    }
}

pub(super) async fn check(loaded: Loaded, console: &mut Console<'_>) -> Result<Exit, Failure> {
    report(loaded, false, console).await
}

pub(super) async fn doctor(loaded: Loaded, console: &mut Console<'_>) -> Result<Exit, Failure> {
    report(loaded, true, console).await
}

async fn report(loaded: Loaded, with_environment: bool, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Loaded { mut config, faults } = loaded;
    let environment: Option<Machine> = with_environment.then(|| diagnose::environment(&config).into());
    let mut findings: Vec<Finding> = faults.iter().map(of_fault).collect();
    let warnings = config.warnings.iter();
    findings.extend(warnings.map(|warning| finding("config", Verdict::Warning, warning.clone())));
    let found = if knows_store(&faults) {
        leave_faulty(&mut config, &faults);
        diagnose::check(&config).await
    } else {
        let told = "not looked at before the faults above are mended";
        findings.push(finding("store and handlers", Verdict::Warning, told.to_owned()));
        Findings::default()
    };
    if faults.is_empty() {
        let place = config.file.as_ref().map_or("no file".to_owned(), |file| file.display().to_string());
        findings.insert(0, finding("config", Verdict::Ok, place));
    }
    let exit = exit(&faults, &found);
    findings.extend(found.findings);
    let report = Report { ok: exit == Exit::Done, environment, findings };
    console.answer(&report, describe)?;
    Ok(exit)
}

fn finding(subject: &str, verdict: Verdict, message: String) -> Finding {
    Finding { subject: subject.to_owned(), verdict, message }
}

fn of_fault(fault: &Fault) -> Finding {
    finding("config", Verdict::Fault, fault.to_string())
}

/// Whether it is certain which store is meant: a faulty file or `[redis]` could lead to another one.
fn knows_store(faults: &[Fault]) -> bool {
    let is_certain = |fault: &Fault| {
        let is_whole_file = fault.key.is_empty() && matches!(fault.origin, Origin::File { .. });
        !is_whole_file && !fault.is_within("redis") && !fault.is_within("embedded")
    };
    faults.iter().all(is_certain)
}

/// Leaves out what is faulty already, so that it is not told twice.
fn leave_faulty(config: &mut Config, faults: &[Fault]) {
    let is_sound = |group: &str, name: &str| {
        let path = format!("{group}.{name}");
        !faults.iter().any(|fault| fault.is_within(&path))
    };
    config.handlers.retain(|name, _| is_sound("handlers", name));
    config.queues.retain(|name, _| is_sound("queues", name));
    config.blobs.retain(|name, _| is_sound("blobs", name));
}

fn exit(faults: &[Fault], found: &Findings) -> Exit {
    if !faults.is_empty() || found.unsupported {
        Exit::Usage
    } else if found.store_unreachable {
        Exit::StoreUnreachable
    } else if found.handler_refused {
        Exit::Refused
    } else if found.worst() == Verdict::Fault {
        Exit::Failed
    } else {
        Exit::Done
    }
}

fn describe(report: &Report) -> String {
    let mut shown = String::new();
    if let Some(Machine { jobcell, wasmtime, system, cores, engine, engine_fault }) = &report.environment {
        let engine = match engine {
            Some(EngineReport { cells, memory_max, clearing, tick_ms, compiles_apart, baseline, .. }) => {
                format!(
                    "{cells} cells, memory up to {} MiB, cleared by {}, interrupts every {tick_ms} ms, \
                 compiles in {}{}",
                    memory_max >> 20,
                    match clearing {
                        Clearing::PagemapScan => "the kernel's page map".to_owned(),
                        Clearing::Remapping(why) => format!("mapping anew ({why})"),
                    },
                    if *compiles_apart { "a process of its own" } else { "this process" },
                    if *baseline { ", baseline code first" } else { "" },
                )
            }
            None => format!("does not start: {}", engine_fault.as_deref().unwrap_or("unknown")),
        };
        shown += &format!(
            "jobcell   {jobcell}\nwasmtime  {wasmtime}\nsystem    {system}\ncores     {cores}\nengine    {engine}\n\n"
        );
    }
    for Finding { subject, verdict, message } in &report.findings {
        let mark = match verdict {
            Verdict::Ok => "ok     ",
            Verdict::Warning => "warning",
            Verdict::Fault => "FAULT  ",
        };
        shown += &format!("{mark}  {subject}: {}\n", visible(message).replace('\n', "\n         "));
    }
    shown
}
