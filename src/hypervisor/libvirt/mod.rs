//! libvirt: QEMU hosts over a local socket, ssh or TLS.

use std::sync::Arc;

use super::{Hypervisor, PlatformError};
use crate::units::{EngineId, SourceName};

/// Opens `uri`.
///
/// # Errors
/// See [`super::connect`].
pub fn connect(
    _name: &SourceName,
    uri: &str,
    _engine: &EngineId,
) -> Result<Arc<dyn Hypervisor>, PlatformError> {
    Err(PlatformError::BadAddress {
        uri: uri.to_owned(),
        why: "no driver".to_owned(),
    })
}
