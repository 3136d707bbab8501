//! `wasi:config/store`: the settings that the operator wrote under `grants.config`. Always linked; with no settings
//! there is nothing to read.

use jobcell_core::HostCall;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::cell::Cell;

/// The versions in use. Drafts match only themselves, so each is offered by its own name.
pub(crate) const VERSIONS: [&str; 2] = ["0.2.0-rc.1", "0.2.0-draft"];

/// The interface's own error. Settings are in memory, so reading them never fails.
#[derive(ComponentType, Lift, Lower, Debug)]
#[component(variant)]
enum Error {
    #[component(name = "upstream")]
    Upstream(String),
    #[component(name = "io")]
    Io(String),
}

pub(super) fn add_to_linker(linker: &mut Linker<Cell>) -> wasmtime::Result<()> {
    for version in VERSIONS {
        let mut store = linker.instance(&format!("wasi:config/store@{version}"))?;
        store.func_wrap("get", |mut cx: wasmtime::StoreContextMut<'_, Cell>, (key,): (String,)| {
            let cell = cx.data_mut();
            cell.called(HostCall::Config);
            Ok((Ok::<_, Error>(cell.template.grants().config.get(&key).cloned()),))
        })?;
        store.func_wrap("get-all", |mut cx: wasmtime::StoreContextMut<'_, Cell>, (): ()| {
            let cell = cx.data_mut();
            cell.called(HostCall::Config);
            let config = &cell.template.grants().config;
            let all: Vec<_> = config.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            Ok((Ok::<_, Error>(all),))
        })?;
    }
    Ok(())
}
