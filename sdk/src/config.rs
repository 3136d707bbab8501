//! The handler's own settings, which the operator writes under `grants.config`; over `wasi:config/store` in a cell.

use crate::error::HostError;
use crate::host;

/// The setting, if the operator gave one.
///
/// # Errors
/// [`HostError::Unavailable`] when the settings cannot be read now.
pub fn get(key: &str) -> Result<Option<String>, HostError> {
    host::config::get(key)
}
