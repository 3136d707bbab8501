//! What all attempts of one version share: the linked component, its limits, grants and services.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use jobcell_core::AttemptIo;
use jobcell_core::event::Event;
use jobcell_core::trace::Note;
use wasmtime::Store;

use crate::admit::Admitted;
use crate::cell::Cell;
use crate::engine::{Engine, Pool, Tier};
use crate::error::WasmError;
use crate::grants::Grants;
use crate::http::send::Connections;
use crate::limits::Limits;
use crate::redact::{Granted, Redactor};
use crate::secret::{Placeholders, Secret};
use crate::services::Services;
use crate::stop::bytes;
use crate::world::HandlerPre;

/// What a handler is called and what it may do.
#[derive(Debug, Clone, Default)]
pub struct HandlerSpec {
    /// The handler's name under `[handlers]`.
    pub name: String,
    /// What one attempt may use.
    pub limits: Limits,
    /// What it may touch.
    pub grants: Grants,
}

/// One version of a handler, ready to make cells.
pub(crate) struct Template {
    engine: Engine,
    pool: Arc<Pool>,
    pre: HandlerPre<Cell>,
    /// With the limits as they are for this code.
    spec: HandlerSpec,
    version: String,
    services: Services,
    /// Bytes that one host call may carry.
    host_call: usize,
    likeness: Likeness,
    /// Stand-in and name of each granted secret.
    stand_ins: BTreeMap<String, String>,
    redactor: Option<Arc<Redactor>>,
    /// The same with nothing to reach, made when it is first needed.
    sealed: OnceLock<Arc<Template>>,
}

/// What stays the same when a version goes on with other code: guests may have kept stand-ins, and peers connections.
#[derive(Clone)]
struct Likeness {
    placeholders: Arc<Placeholders>,
    connections: Arc<Connections>,
}

/// What cells are made of, and where.
struct Linked {
    pre: HandlerPre<Cell>,
    pool: Arc<Pool>,
    version: String,
}

/// Room in a host call for names and lengths around a blob.
const BLOB_MARGIN: usize = 64 * 1024;

// === impl Linked ===

impl Linked {
    fn of(admitted: &Admitted) -> Self {
        let (pre, pool) = (admitted.pre().clone(), Arc::clone(admitted.pool()));
        Self { pre, pool, version: admitted.version().to_owned() }
    }
}

// === impl Likeness ===

impl Likeness {
    fn new(services: &Services) -> Self {
        let (placeholders, connections) = (Placeholders::new(), services.http.connections());
        Self { placeholders: Arc::new(placeholders), connections: Arc::new(connections) }
    }
}

// === impl Template ===

impl Template {
    /// Checks the grants against what the host has, and puts everything together.
    pub(crate) fn new(
        engine: &Engine,
        admitted: &Admitted,
        spec: HandlerSpec,
        services: Services,
    ) -> Result<Self, WasmError> {
        let likeness = Likeness::new(&services);
        Self::like(engine, admitted, spec, services, likeness)
    }

    /// The same version on other code; `spec` is what this was made of.
    pub(crate) fn renewed(&self, admitted: &Admitted, spec: HandlerSpec) -> Result<Self, WasmError> {
        Self::like(&self.engine, admitted, spec, self.services.clone(), self.likeness.clone())
    }

    fn like(
        engine: &Engine,
        admitted: &Admitted,
        spec: HandlerSpec,
        services: Services,
        likeness: Likeness,
    ) -> Result<Self, WasmError> {
        let faults = faults(engine, admitted, &spec, &services);
        if !faults.is_empty() {
            return Err(WasmError::Handler { handler: spec.name, faults });
        }
        let limits = spec.limits.eased(admitted.tier().allowance());
        let spec = HandlerSpec { limits, ..spec };
        let HandlerSpec { limits, grants, .. } = &spec;
        let blob = if grants.blobs.is_empty() { 0 } else { limits.blob.saturating_add(BLOB_MARGIN) };
        // The result comes out by the same way and must fit even where it is allowed to be large.
        let host_call = limits.host_call.max(blob).max(limits.result.saturating_add(BLOB_MARGIN));
        Ok(Self::with(engine.clone(), Linked::of(admitted), spec, services, (host_call, likeness)))
    }

    fn with(
        engine: Engine,
        linked: Linked,
        spec: HandlerSpec,
        services: Services,
        (host_call, likeness): (usize, Likeness),
    ) -> Self {
        let Linked { pre, pool, version } = linked;
        let placeholders = &likeness.placeholders;
        let secrets = &spec.grants.secrets;
        let stand_ins =
            secrets.iter().map(|grant| (placeholders.of(&grant.name), grant.name.clone())).collect();
        let granted = secrets.iter().map(|grant| Granted {
            name: grant.name.clone(),
            reveal: grant.reveal,
            stand_in: placeholders.of(&grant.name),
        });
        Self {
            redactor: Redactor::new(Arc::clone(&services.secrets), granted.collect()),
            sealed: OnceLock::new(),
            engine,
            pool,
            pre,
            version,
            services,
            host_call,
            likeness,
            stand_ins,
            spec,
        }
    }

    /// The same version with nothing to reach: for attempts that are answered from a recording.
    pub(crate) fn sealed(&self) -> &Arc<Self> {
        self.sealed.get_or_init(|| {
            let Self { engine, pool, pre, version, spec, .. } = self;
            let linked = Linked { pre: pre.clone(), pool: Arc::clone(pool), version: version.clone() };
            let services = self.services.sealed();
            let rest = (self.host_call, Likeness::new(&services));
            Arc::new(Self::with(engine.clone(), linked, spec.clone(), services, rest))
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(crate) fn tier(&self) -> Tier {
        self.pool.tier()
    }

    pub(crate) fn pre(&self) -> &HandlerPre<Cell> {
        &self.pre
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.spec.limits
    }

    pub(crate) fn grants(&self) -> &Grants {
        &self.spec.grants
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    pub(crate) fn host_call(&self) -> usize {
        self.host_call
    }

    /// The stand-in for a granted secret.
    pub(crate) fn placeholder(&self, secret: &str) -> String {
        self.likeness.placeholders.of(secret)
    }

    /// The name of the secret that this is the stand-in of.
    pub(crate) fn secret_behind(&self, stand_in: &[u8]) -> Option<&str> {
        self.stand_ins.get(std::str::from_utf8(stand_in).ok()?).map(String::as_str)
    }

    /// The secrets that have stand-ins: stand-in, name and value.
    pub(crate) fn stand_ins(&self) -> impl Iterator<Item = (&str, &str, &Secret)> {
        self.stand_ins.iter().filter_map(|(stand_in, name)| {
            Some((stand_in.as_str(), name.as_str(), self.services.secrets.get(name)?))
        })
    }

    /// The handler's own connections for outgoing HTTP.
    pub(crate) fn connections(&self) -> &Connections {
        &self.likeness.connections
    }

    /// What finds the granted secrets in texts. None when there are none.
    pub(crate) fn redactor(&self) -> Option<&Arc<Redactor>> {
        self.redactor.as_ref()
    }

    /// Tells the host's observers that a request was refused.
    pub(crate) fn denied_http(&self, io: &AttemptIo) {
        io.note(Note::Denied("http"));
        let event = Event::Denied { handler: self.name().to_owned(), capability: "http" };
        self.services.observer.on(&event);
    }

    /// A store with every bound set: all of them must hold while the component's own start code runs.
    pub(crate) fn store(&self, cell: Cell) -> Store<Cell> {
        let mut store = Store::new(self.pool.wasmtime(), cell);
        store.limiter(|cell| &mut cell.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|mut cell| cell.data_mut().pulse());
        store.set_hostcall_fuel(self.host_call);
        store.set_max_component_handles(self.limits().handles);
        store
    }
}

/// Everything in the settings that names what does not exist, or asks for more than the engine has.
fn faults(engine: &Engine, admitted: &Admitted, spec: &HandlerSpec, services: &Services) -> Vec<String> {
    let HandlerSpec { name, limits, grants } = spec;
    let mut faults = Vec::new();
    let linked = admitted.pool().stack();
    if limits.stack != linked {
        let (asked, linked) = (bytes(limits.stack), bytes(linked));
        faults.push(format!("limits.stack = {asked}, and it was admitted for stacks of {linked}"));
    }
    let memory_max = engine.memory_max();
    if limits.memory > memory_max {
        let (asked, most) = (bytes(limits.memory), bytes(memory_max));
        faults.push(format!("limits.memory = {asked} is more than the engine's memory_max of {most}"));
    }
    for (key, asked) in [("deadline", limits.deadline), ("cpu", limits.cpu)] {
        let tick = engine.tick();
        if asked < tick {
            faults.push(format!("limits.{key} = {asked:?} is shorter than one tick of the engine, {tick:?}"));
        }
    }
    let counts = [
        ("table-elements", limits.table_elements, engine.table_elements_max()),
        ("instances", limits.instances as usize, Limits::INSTANCES_MAX as usize),
        ("memories", limits.memories as usize, Limits::MEMORIES_MAX as usize),
        ("tables", limits.tables as usize, Limits::TABLES_MAX as usize),
        ("random", usize::try_from(limits.random).unwrap_or(usize::MAX), Limits::RANDOM_MAX as usize),
        ("host-call", limits.host_call, Limits::HOST_CALL_MAX),
        ("handles", limits.handles, Limits::HANDLES_MAX),
        ("resources", limits.resources, Limits::RESOURCES_MAX),
    ];
    for (key, asked, most) in counts.into_iter().filter(|(_, asked, most)| asked > most) {
        faults.push(format!("limits.{key} = {asked} is more than the {most} that the engine has for a cell"));
    }
    for store in grants.blobs.iter().filter(|store| !services.blobs.contains_key(*store)) {
        faults.push(format!(
            "grants.blobs names {store:?}, which is not configured; add a table [blobs.{store}]"
        ));
    }
    let named_by_rules = grants.http.iter().flat_map(|rule| rule.secrets());
    let mut named: Vec<_> = grants.secrets.iter().map(|grant| grant.name.as_str()).collect();
    for secret in named_by_rules {
        if grants.secret(secret).is_none() {
            faults.push(format!(
                "grants.http puts secret {secret:?} into requests, but grants.secrets does not list it; the handler \
                 could not get its placeholder"
            ));
        }
    }
    named.retain(|secret| services.secrets.get(secret).is_none());
    for secret in named {
        faults.push(format!(
            "grants.secrets names {secret:?}, which is not configured; add it under [secrets]"
        ));
    }
    if name.is_empty() {
        faults.push("the handler has no name".to_owned());
    }
    faults
}
