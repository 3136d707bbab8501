//! Channel `overlay`: a message to whoever watches now, such as a stream's overlay or a dashboard. It goes to a
//! channel of the host, is not kept, and is done when the host has taken it; nobody may be listening.

use jobcell_sdk::prelude::*;
use jobcell_sdk::publish;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fault::Fault;
use crate::notice::Delivered;
use crate::outgoing::Outgoing;
use crate::template::Renderer;

/// Where to.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overlay {
    /// The host's channel; must be among the handler's grants.
    channel: String,
    /// Whose listeners are meant, for jobs that have no tenant of their own. A job never speaks to another tenant.
    #[serde(default)]
    tenant: Option<String>,
}

/// What listeners receive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    tenant_id: &'a str,
    queue: &'a str,
    job_id: &'a str,
    /// A listener that has seen it drops the message: a retry publishes again.
    idempotency_key: &'a str,
    data: &'a Value,
}

impl Overlay {
    /// Fills the template, or takes the data as it is where there is none, and publishes it.
    ///
    /// # Errors
    /// A tenant that is missing or not the job's; the host's refusals as `?` converts them.
    pub fn notify<T>(
        &self,
        job: &Job<T>,
        out: &Outgoing,
        renderer: &mut Renderer<'_>,
        template: Option<&Value>,
        data: &Value,
    ) -> Result<Delivered, Failure> {
        let tenant_id = self.tenant(job.tenant.as_deref())?;
        let filled = template.map(|template| renderer.tree("template", template)).transpose()?;
        let message = Message {
            tenant_id,
            queue: &job.queue,
            job_id: &job.id,
            idempotency_key: &out.idempotency_key,
            data: filled.as_ref().unwrap_or(data),
        };
        publish::json(&self.channel, &message)?;
        Ok(Delivered::by("overlay", out))
    }

    fn tenant<'a>(&'a self, of_job: Option<&'a str>) -> Result<&'a str, Fault> {
        match (of_job, self.tenant.as_deref()) {
            (Some(job), Some(named)) if job != named => {
                Err(Fault::new("channel.overlay.tenant", "is not the job's own tenant"))
            }
            (Some(tenant), _) | (None, Some(tenant)) if !tenant.is_empty() => Ok(tenant),
            _ => {
                Err(Fault::new("channel.overlay.tenant", "is missing, and the job has no tenant of its own"))
            }
        }
    }
}
