//! What is shown of a handler: what is wanted of it, and what each host of the fleet runs.

use jobcell_core::Millis;
use jobcell_core::fleet::{HostHandler, HostStatus};
use jobcell_core::shadow::ShadowReport;
use serde::Serialize;

use crate::canary::Canary;
use crate::desired::{Desired, Shadow};
use crate::digest::Digest;
use crate::manifest::Manifest;
use crate::trust::KeyId;
use crate::version::{State, Version};
use crate::wants::Diff;

/// A handler as listings and the API show it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HandlerView {
    /// Its name.
    pub name: String,
    /// Where its versions come from, as the configuration of the host that answers says; none where it does not know.
    pub source: Option<String>,
    /// Which state of it this is: what a change can be made conditional on.
    pub generation: u64,
    /// The version that takes the jobs.
    pub active: Option<Digest>,
    /// The version that a rollback leads to.
    pub previous: Option<Digest>,
    /// The version that takes a share of them.
    pub canary: Option<Canary>,
    /// The version that runs on copies.
    pub shadow: Option<Shadow>,
    /// What that came to, on all hosts together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shadow_report: Option<ShadowReport>,
    /// Every version that is known, the newest first.
    pub versions: Vec<VersionView>,
    /// What each host runs of it.
    pub hosts: Vec<HostView>,
}

/// A version as listings show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionView {
    /// Its name.
    pub digest: Digest,
    /// The first 12 hex digits of it, as in metrics, logs and receipts.
    pub short: String,
    /// Bytes.
    pub size: u64,
    /// What it says of itself.
    pub manifest: Manifest,
    /// What it wants to touch, in lines.
    pub wants: Vec<String>,
    /// Whose signature it bears, checked.
    pub signed_by: Option<KeyId>,
    /// Whose signature it says it bears, where nobody has checked that for want of the key.
    pub unchecked_key: Option<KeyId>,
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub at: Millis,
    /// Who brought it there.
    pub by: String,
    /// Why.
    pub why: String,
    /// When it was deployed.
    pub deployed_at: Millis,
    /// Who deployed it.
    pub deployed_by: String,
    /// Who accepted that it wants more than the version before.
    pub approved_by: Option<String>,
    /// What that was, in lines, as long as that version is known.
    pub approved: Vec<String>,
}

/// What one host runs of a handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostView {
    /// The host's id.
    pub host: String,
    /// The machine's name.
    pub name: String,
    /// What its new jobs run on.
    pub active: Option<String>,
    /// What a share of them runs on.
    pub canary: Option<String>,
    /// How it stands to what is wanted.
    pub state: HostState,
    /// Why it does not run what is wanted, or what it is doing about it.
    pub lag: Option<String>,
    /// Those of the versions wanted that it cannot run until something about it or them is changed.
    pub refuses: Vec<String>,
    /// Whether its new jobs run on baseline code still, until the optimised code is there.
    pub baseline: bool,
}

/// How a host stands to what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HostState {
    /// It runs that.
    Current,
    /// It is on its way.
    Loading,
    /// It cannot, or has not begun.
    Lagging,
}

// === impl HandlerView ===

impl HandlerView {
    /// The handler in this state, with every host that says it runs it.
    #[must_use]
    pub fn new(name: &str, desired: Desired, hosts: &[HostStatus]) -> Self {
        let shadow_report = desired.shadow.as_ref().and_then(|shadow| report(name, shadow, hosts));
        let of_host = |host: &HostStatus| Some(HostView::new(host, host.handlers.get(name)?, &desired));
        let hosts = hosts.iter().filter_map(of_host).collect();
        let Desired { generation, active, previous, canary, shadow, versions, last: _ } = desired;
        let views = versions.iter().map(|version| VersionView::new(version, &versions)).collect();
        Self {
            name: name.to_owned(),
            source: None,
            generation,
            active,
            previous,
            canary,
            shadow,
            shadow_report,
            versions: views,
            hosts,
        }
    }
}

/// What a shadow came to, on all hosts that run this very one.
fn report(handler: &str, shadow: &Shadow, hosts: &[HostStatus]) -> Option<ShadowReport> {
    let candidate = shadow.digest.to_string();
    let reports = hosts.iter().filter_map(|host| host.handlers.get(handler)?.shadow.as_ref());
    let reports = reports.filter(|report| report.candidate == candidate && report.since == shadow.since);
    reports.cloned().reduce(|mut all, report| {
        all.merge(&report);
        all
    })
}

/// What somebody accepted that the version wants, beyond the one that was active then.
fn approved(version: &Version, versions: &[Version]) -> Vec<String> {
    let beyond = |over: Option<&Version>| Diff::between(over.map(|over| &over.wants), &version.wants).wider;
    match (&version.approved_by, version.approved_over) {
        (None, _) => Vec::new(),
        // None was active.
        (Some(_), None) => beyond(None),
        (Some(_), Some(over)) => {
            let over = versions.iter().find(|version| version.digest == over);
            over.map(|over| beyond(Some(over))).unwrap_or_default()
        }
    }
}

// === impl VersionView ===

impl VersionView {
    fn new(version: &Version, versions: &[Version]) -> Self {
        let approved = approved(version, versions);
        let version = version.clone();
        let Version { digest, size, manifest, wants, signature, signed_by, state, at, by, why, .. } = version;
        let Version { deployed_at, deployed_by, approved_by, .. } = version;
        let unchecked_key =
            signature.filter(|_| signed_by.is_none()).map(|signature| signature.claimed_key());
        Self {
            digest,
            short: digest.short(),
            size,
            manifest,
            wants: wants.lines(),
            signed_by,
            unchecked_key,
            state,
            at,
            by,
            why,
            deployed_at,
            deployed_by,
            approved_by,
            approved,
        }
    }
}

// === impl HostView ===

impl HostView {
    fn new(host: &HostStatus, runs: &HostHandler, desired: &Desired) -> Self {
        let HostHandler { active, canary, loading, lag, refuses, baseline, .. } = runs.clone();
        let text = |digest: Option<Digest>| digest.map(|digest| digest.to_string());
        let wanted_canary = desired.canary.as_ref().map(|canary| canary.digest);
        let is_current = active == text(desired.active) && canary == text(wanted_canary);
        let state = match (is_current, &loading, &lag) {
            // What it loads beside what takes jobs (the version before, a staged one) is no way still to go.
            (true, _, None) => HostState::Current,
            (_, Some(_), _) => HostState::Loading,
            (_, None, _) => HostState::Lagging,
        };
        let lag = match (lag, loading) {
            (Some(lag), _) => Some(lag),
            (None, _) if is_current => None,
            (None, Some(loading)) => Some(format!("loading {loading}")),
            (None, None) => Some("it has not acted on the last change yet".to_owned()),
        };
        Self { host: host.id.clone(), name: host.name.clone(), active, canary, state, lag, refuses, baseline }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn host(runs: HostHandler) -> HostStatus {
        HostStatus {
            id: "a-1-0000".to_owned(),
            name: "a".to_owned(),
            handlers: BTreeMap::from([("media".to_owned(), runs)]),
            ..HostStatus::default()
        }
    }

    fn seen(runs: HostHandler, desired: Desired) -> HostView {
        HandlerView::new("media", desired, &[host(runs)]).hosts.remove(0)
    }

    #[test]
    fn the_reports_of_one_shadow_are_added_up() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let of = |digest: Digest, since| {
            let report =
                ShadowReport { candidate: digest.to_string(), since, runs: 3, ..ShadowReport::default() };
            host(HostHandler { shadow: Some(report), ..HostHandler::default() })
        };
        let shadow = Some(Shadow { digest: two, percent: 10, since: 7, by: "ops".to_owned() });
        let hosts = [of(two, 7), of(one, 7), of(two, 6), of(two, 7), host(HostHandler::default())];
        let view = HandlerView::new("media", Desired { shadow, ..Desired::default() }, &hosts);
        assert_eq!(view.shadow_report.map(|report| report.runs), Some(6));
        let view = HandlerView::new("media", Desired::default(), &hosts);
        assert_eq!(view.shadow_report, None);
    }

    #[test]
    fn a_host_that_lags_says_why() {
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let wanted = || Desired { active: Some(two), ..Desired::default() };
        let runs =
            |digest: Digest| HostHandler { active: Some(digest.to_string()), ..HostHandler::default() };

        assert_eq!(seen(runs(two), wanted()).state, HostState::Current);
        let behind = seen(runs(one), wanted());
        assert_eq!(behind.state, HostState::Lagging);
        assert!(behind.lag.unwrap().contains("not acted"));
        let stuck = HostHandler { lag: Some("the disk is full".to_owned()), ..runs(one) };
        let stuck = seen(stuck, wanted());
        assert_eq!((stuck.state, stuck.lag.as_deref()), (HostState::Lagging, Some("the disk is full")));
        let loading = HostHandler { loading: Some(two.to_string()), ..runs(one) };
        let loading = seen(loading, wanted());
        assert_eq!(loading.state, HostState::Loading);
        assert!(loading.lag.unwrap().contains(&two.to_string()));
        let beside = HostHandler { loading: Some(one.to_string()), ..runs(two) };
        let beside = seen(beside, wanted());
        assert_eq!((beside.state, beside.lag), (HostState::Current, None), "it takes the jobs already");
    }

    #[test]
    fn hosts_without_the_handler_are_not_listed() {
        let view = HandlerView::new("other", Desired::default(), &[host(HostHandler::default())]);
        assert_eq!(view.hosts, []);
    }
}
