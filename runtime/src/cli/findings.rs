//! `jobcell check` and `jobcell doctor`: faults of the configuration and what was found beyond it, together.

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
    environment: Option<Environment>,
    findings: Vec<Finding>,
}

pub(super) async fn check(loaded: Loaded, console: &mut Console<'_>) -> Result<Exit, Failure> {
    report(loaded, false, console).await
}

pub(super) async fn doctor(loaded: Loaded, console: &mut Console<'_>) -> Result<Exit, Failure> {
    report(loaded, true, console).await
}

async fn report(loaded: Loaded, with_environment: bool, console: &mut Console<'_>) -> Result<Exit, Failure> {
    let Loaded { mut config, faults } = loaded;
    let environment = with_environment.then(|| diagnose::environment(&config));
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
    if !faults.is_empty() {
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
    if let Some(Environment { jobcell, wasmtime, system, cores, engine }) = &report.environment {
        let engine = match engine {
            Ok(engine) => format!(
                "{} cells, memory up to {} MiB, cleared by {:?}, interrupts every {} ms",
                engine.cells,
                engine.memory_max >> 20,
                engine.clearing,
                engine.tick_ms
            ),
            Err(fault) => format!("does not start: {fault}"),
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
