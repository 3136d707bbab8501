//! What a running host can be asked, by whatever way: signals, the fleet, the API.

use async_trait::async_trait;
use jobcell_core::fleet::HostStatus;
use jobcell_server::{Control, Reloaded};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

use crate::fleet::Portrait;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Stop in good order; the second time at once.
    Stop,
    /// Stop claiming.
    Quiet,
    /// Claim again.
    Unquiet,
    /// Read configuration and handlers again.
    Reload,
}

/// Somebody asks.
pub(crate) struct Ask {
    /// For what.
    pub(crate) asked: Asked,
    /// Is told when it was done, and for [`Asked::Reload`] what came of it. Signals wait for no answer.
    pub(crate) done: Option<oneshot::Sender<Result<Reloaded, Vec<String>>>>,
}

/// The host as its own API reaches it.
pub(super) struct Steering {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) portrait: Arc<dyn Portrait>,
}

#[async_trait]
impl Control for Steering {
    async fn reload(&self) -> Result<Reloaded, Vec<String>> {
        let (done, answered) = oneshot::channel();
        let ending = |_| vec!["the host is ending and reads no configuration any more".to_owned()];
        self.asks.send(Ask { asked: Asked::Reload, done: Some(done) }).await.map_err(|_| ending(()))?;
        answered.await.map_err(|_| ending(()))?
    }

    fn status(&self) -> HostStatus {
        self.portrait.status()
    }
}
