//! `wasi:config/store`: the settings that the operator wrote under `grants.config`. Always linked; with no settings
//! there is nothing to read.

use jobcell_core::HostCall;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::cell::Cell;
use crate::effect::Does;

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
            let call = cell.effect(HostCall::Config, "config get", Does::Read, |ask| ask.name(&key));
            Ok((Ok::<_, Error>(call.setting(|| cell.template.grants().config.get(&key).cloned())),))
        })?;
        store.func_wrap("get-all", |mut cx: wasmtime::StoreContextMut<'_, Cell>, (): ()| {
            let cell = cx.data_mut();
            cell.called(HostCall::Config);
            let config = &cell.template.grants().config;
            let call = cell.effect(HostCall::Config, "config get-all", Does::Read, |_| ());
            let all = || config.iter().map(|(key, value)| (key.clone(), value.clone())).collect::<Vec<_>>();
            Ok((Ok::<_, Error>(call.setting(all)),))
        })?;
    }
    Ok(())
}
