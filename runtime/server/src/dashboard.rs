//! The dashboard: pages for people, made on the server, of what the API knows and with its rules.
//!
//! Every page works without a script; the one script only keeps pages fresh. Who may see and do what is decided where
//! the API decides it: pages call the API's own functions, as the person who is signed in. What pages add is a session
//! instead of a token in a header, and therefore proofs in forms against other sites (`visit`).

mod assets;
mod audit;
mod bulk;
mod chart;
mod fields;
mod follow;
mod handlers;
mod hosts;
mod icons;
mod job;
mod json;
mod links;
mod login;
mod make;
mod overview;
mod queue;
mod queues;
mod schedules;
mod session;
mod shell;
mod shown;
#[cfg(test)]
mod tests;
mod throttle;
mod units;
mod version;
mod visit;

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::FromRef;
use axum::middleware;
use axum::routing::{get, post};
use jobcell_core::QueueName;
use tower_http::compression::CompressionLayer;

use crate::api::access::Access;
use crate::api::{Desk, live};
use crate::health::Health;
use links::Links;
use session::Sessions;
use throttle::Throttle;

/// How the dashboard is reached and how long people stay signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DashboardOptions {
    /// What stands before every path, as `/jobcell`; empty for none. For a proxy that shares one name among programs; it
    /// may take the prefix away or leave it.
    pub path_prefix: String,
    /// A session ends after so long without a page. Default 12 h: a working day.
    pub session_idle: Duration,
    /// A session ends after so long in any case. Default 7 days.
    pub session_max: Duration,
    /// The queues whose finished jobs this host counts by the minute, from which charts are drawn. Default none.
    pub counted: BTreeSet<QueueName>,
}

/// What every page works with.
#[derive(Clone)]
pub(crate) struct Site(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) desk: Arc<Desk>,
    access: Arc<Access>,
    health: Arc<dyn Health>,
    links: Links,
    sessions: Sessions,
    throttle: Throttle,
    counted: BTreeSet<QueueName>,
}

impl Default for DashboardOptions {
    fn default() -> Self {
        Self {
            path_prefix: String::new(),
            session_idle: Duration::from_secs(12 * 3600),
            session_max: Duration::from_secs(7 * 24 * 3600),
            counted: BTreeSet::new(),
        }
    }
}

impl DashboardOptions {
    /// The prefix as `/jobcell`, or nothing.
    pub(crate) fn root(&self) -> String {
        let prefix = self.path_prefix.trim_matches('/');
        if prefix.is_empty() { String::new() } else { format!("/{prefix}") }
    }
}

impl Deref for Site {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl FromRef<Site> for Arc<Desk> {
    fn from_ref(site: &Site) -> Self {
        Arc::clone(&site.desk)
    }
}

/// The pages.
pub(crate) fn router(
    desk: Arc<Desk>,
    access: Arc<Access>,
    health: Arc<dyn Health>,
    options: &DashboardOptions,
) -> Router {
    let sessions = Sessions::new(Arc::clone(desk.fleet.documents()), Arc::clone(&desk.clock), options);
    let links = Links::new(&options.root());
    let (throttle, counted) = (Throttle::default(), options.counted.clone());
    let site = Site(Arc::new(Parts { desk, access, health, links, sessions, throttle, counted }));
    let streams = Router::new()
        .route("/live", get(live::stream))
        .route("/queues/{queue}/jobs/{id}/follow", get(follow::stream));
    let pages = Router::new()
        .route("/", get(overview::show))
        .route("/queues", get(queues::show))
        .route("/queues/{queue}", get(queue::show))
        .route("/queues/{queue}/do/{action}", post(queue::act))
        .route("/queues/{queue}/bulk", post(bulk::act))
        .route("/queues/{queue}/add", get(make::show).post(make::add))
        .route("/queues/{queue}/jobs/{id}", get(job::show))
        .route("/queues/{queue}/jobs/{id}/do/{action}", post(job::act))
        .route("/schedules", get(schedules::show).post(schedules::set))
        .route("/schedules/remove", post(schedules::remove))
        .route("/handlers", get(handlers::show))
        .route("/handlers/{handler}", get(version::show))
        .route("/handlers/{handler}/do/{action}", post(version::act))
        .route("/hosts", get(hosts::show))
        .route("/hosts/{host}/do/{action}", post(hosts::act))
        .route("/audit", get(audit::show))
        .route("/login", get(login::show).post(login::enter))
        .route("/logout", post(login::leave))
        .route("/theme", post(login::theme))
        .layer(CompressionLayer::new());
    pages
        .merge(streams)
        .layer(middleware::from_fn_with_state(site.clone(), visit::guard))
        .merge(assets::routes())
        .with_state(site)
}
