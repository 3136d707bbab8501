//! `jobcell invoke`: one job in a cell with no store.

use std::path::Path;

use bytes::Bytes;
use jobcell_core::{JobId, QueueName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::args::InvokeArgs;
use super::console::{Console, visible};
use super::exit::{Exit, Failure};
use super::{payload, receipt};
use crate::config::Config;
use crate::invoke::{Invocation, Invoked, Target, invoke};

/// A job's file: what `job get --json` prints, or as little as a name. Other members are ignored.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct JobFile {
    id: Option<String>,
    queue: Option<String>,
    name: Option<String>,
    data: Option<Box<RawValue>>,
    opts: FileOptions,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FileOptions {
    attempts: Option<u64>,
    tenant: Option<String>,
}

pub(super) async fn run(
    config: &Config,
    args: InvokeArgs,
    console: &mut Console<'_>,
) -> Result<Exit, Failure> {
    let target = target(&args.target);
    let invocation = invocation(args, console)?;
    let invoked = invoke(config, &target, invocation).await?;
    let exit = if invoked.outcome == "completed" { Exit::Done } else { Exit::Failed };
    console.answer(&invoked, describe)?;
    Ok(exit)
}

/// A file when it looks like one, else a handler's name.
fn target(text: &str) -> Target {
    let is_file =
        text.ends_with(".wasm") || text.contains(std::path::MAIN_SEPARATOR) || Path::new(text).is_file();
    if is_file { Target::File(text.into()) } else { Target::Handler(text.to_owned()) }
}

fn invocation(args: InvokeArgs, console: &mut Console<'_>) -> Result<Invocation, Failure> {
    let InvokeArgs { target: _, job, name, data, queue, attempt } = args;
    let file = match &job {
        None => JobFile::default(),
        Some(path) => {
            let bytes = if path.as_os_str() == "-" {
                payload::bounded(console.input, "stdin")?
            } else {
                payload::file(path)?
            };
            serde_json::from_slice(&bytes).map_err(|fault| {
                let fix = "write an object such as { \"name\": \"resize\", \"data\": {} }";
                Failure::usage(format!("{} is not a job: {fault}; {fix}", path.display()))
            })?
        }
    };
    let data = match (data, file.data) {
        (Some(data), _) => payload::read(&data, console.input)?,
        (None, Some(data)) => Bytes::from(Box::<str>::from(data).into_string()),
        (None, None) => Bytes::from_static(b"{}"),
    };
    let Some(name) = name.or(file.name).filter(|name| !name.is_empty()) else {
        return Err(Failure::usage("the job has no name; add \"name\" to its file, or --name"));
    };
    let attempt = attempt.unwrap_or(1);
    Ok(Invocation {
        queue: QueueName::new(queue.or(file.queue).as_deref().unwrap_or("invoke"))?,
        id: JobId::new(file.id.as_deref().unwrap_or("1"))?,
        name,
        data,
        attempt,
        attempts: file.opts.attempts.unwrap_or(1).max(attempt),
        tenant: file.opts.tenant,
    })
}

pub(super) fn describe(invoked: &Invoked) -> String {
    let Invoked { handler, version, outcome, result, reason, stopped_by, backtrace, logs, progress, receipt } =
        invoked;
    let mut shown = format!("handler   {handler}@{version}\noutcome   {outcome}");
    shown += &stopped_by.map(|cause| format!(" ({cause})\n")).unwrap_or_else(|| "\n".to_owned());
    let mut some = |label: &str, value: Option<String>| {
        if let Some(value) = value {
            shown += &format!("{label:<8}  {}\n", visible(&value).replace('\n', "\n          "));
        }
    };
    some("result", result.as_ref().map(ToString::to_string));
    some("reason", reason.clone());
    some("trace", (!backtrace.is_empty()).then(|| backtrace.join("\n")));
    some("progress", progress.as_ref().map(ToString::to_string));
    some("log", (!logs.is_empty()).then(|| logs.join("\n")));
    for (label, text) in receipt::lines(receipt) {
        some(label, Some(text));
    }
    shown
}
