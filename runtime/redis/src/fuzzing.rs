//! What fuzzing looks at that nobody else may: how foreign records and items are read.

use bytes::Bytes;
use jobcell_core::{Job, JobId, NameError};
use redis::Value;

use crate::bullmq::record;
use crate::list::item;

/// An item of a list as it was read.
#[derive(Debug)]
pub struct Item {
    /// The name of its job.
    pub id: JobId,
    /// What stands for that name in the key of the job's record.
    pub id_bytes: Vec<u8>,
    /// Whether it is an envelope.
    pub envelope: bool,
    /// The payload that the envelope brings.
    pub data: Option<Bytes>,
    /// Why it cannot be run: the member, and what is wrong with it.
    pub fault: Option<(String, String)>,
}

/// Reads an item of a list.
///
/// # Errors
/// Never, for any item.
pub fn list_item(raw: &Bytes) -> Result<Item, NameError> {
    let item::Item { id, envelope, fault } = item::Item::read(raw)?;
    Ok(Item {
        id_bytes: item::bytes_of(&id),
        id,
        envelope: envelope.is_some(),
        data: envelope.and_then(|envelope| envelope.data),
        fault: fault.map(|fault| (fault.field, fault.cause)),
    })
}

/// Reads the hash of a job, fields and values in turn. The second is the field that cannot be read, and why.
#[must_use]
pub fn record(id: JobId, hash: &[&[u8]]) -> (Option<Job>, Option<(String, String)>) {
    let hash = hash.iter().map(|part| Value::BulkString(part.to_vec())).collect();
    let (job, fault) = record::parse(id, hash);
    (job, fault.map(|fault| (fault.field, fault.cause)))
}
