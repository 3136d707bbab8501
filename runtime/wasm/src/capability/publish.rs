//! `jobcell:job/publish`: tells listeners, for handlers granted `publish = ["CHANNEL"]`.

use bytes::Bytes;
use jobcell_core::HostCall;

use super::{missing, within};
use crate::cell::Cell;
use crate::effect::Does;
use crate::grants::covers;
use crate::usage::Budget;
use crate::world::jobcell::job::publish::Host;
use crate::world::jobcell::job::types::Error;

/// Bytes of a channel's name.
const CHANNEL_BYTES_MAX: usize = 512;

impl Host for Cell {
    async fn publish(&mut self, channel: String, message: Vec<u8>) -> Result<(), Error> {
        self.called(HostCall::Publish);
        within(channel.len(), CHANNEL_BYTES_MAX)?;
        if !covers(&self.template.grants().publish, &channel) {
            return Err(self.denied(
                "publish",
                &format!("channel {channel:?}"),
                &format!("publish = [\"{channel}\"]"),
            ));
        }
        self.within("message", message.len(), self.template.limits().message)?;
        self.spend(Budget::Published, 1)?;
        let call = self.effect(HostCall::Publish, "publish", Does::Write, |ask| {
            ask.name(&channel);
            ask.bytes(&message);
        });
        let publisher = self.template.services().publisher.as_ref().ok_or_else(|| missing("live updates"));
        call.answer(async {
            let sent = publisher?.publish(&channel, Bytes::from(message)).await;
            sent.map_err(|error| Error::Unavailable(error.to_string()))
        })
        .await
    }
}
