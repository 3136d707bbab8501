//! What the API can ask of the host it belongs to.

use async_trait::async_trait;
use jobcell_core::fleet::HostStatus;

/// The host that serves the API.
#[async_trait]
pub trait Control: Send + Sync + 'static {
    /// Reads the configuration again, as HUP does: all of it takes effect or, on any fault, nothing.
    ///
    /// # Errors
    /// Every fault, a sentence each without secrets.
    async fn reload(&self) -> Result<Reloaded, Vec<String>>;

    /// How this host stands now: answers also while the store is away. Must not wait.
    fn status(&self) -> HostStatus;
}

/// What reading the configuration again has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Handlers that run another version now, are new, or are gone.
    pub handlers: Vec<String>,
    /// Sections that differ, and take effect when the host is started anew.
    pub needs_restart: Vec<String>,
}
