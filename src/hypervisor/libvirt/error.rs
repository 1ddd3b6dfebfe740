//! libvirt's error codes as [`PlatformError`]s that a caller can act on.

use virt::error::{Error, ErrorDomain, ErrorNumber};

use crate::{hypervisor::PlatformError, units::SourceName};

/// What `error` means for a call that wanted to do `what` on `source`.
pub fn platform_error(source: &SourceName, what: &str, error: &Error) -> PlatformError {
    let message = error.message();
    let what = what.to_owned();
    // Errors of the file system reach us only as text, in whatever code the driver wrapped them.
    if message.contains("No space left on device") {
        return PlatformError::NoSpace {
            place: format!("{source} ({what})"),
        };
    }
    if error.domain().is(ErrorDomain::Rpc) && message.contains("Permission denied") {
        return denied(&what, message);
    }
    if is_connection_lost(error) {
        return unreachable(source, message);
    }
    let Some(code) = error.code().known() else {
        return failed(what, message);
    };
    match code {
        ErrorNumber::NoConnect | ErrorNumber::UnknownHost | ErrorNumber::InvalidConn => {
            unreachable(source, message)
        }
        ErrorNumber::SystemError if error.domain().is(ErrorDomain::Rpc) => {
            unreachable(source, message)
        }
        ErrorNumber::AuthFailed
        | ErrorNumber::AuthCancelled
        | ErrorNumber::AuthUnavailable
        | ErrorNumber::AccessDenied
        | ErrorNumber::OperationDenied => denied(&what, message),
        ErrorNumber::NoDomain
        | ErrorNumber::NoStoragePool
        | ErrorNumber::NoStorageVolume
        | ErrorNumber::NoDomainCheckpoint => PlatformError::NotFound { what },
        ErrorNumber::NoSupport
        | ErrorNumber::OperationUnsupported
        | ErrorNumber::ConfigUnsupported
        | ErrorNumber::ArgumentUnsupported => PlatformError::Unsupported {
            what,
            why: message.to_owned(),
        },
        ErrorNumber::CheckpointInconsistent => PlatformError::CheckpointLost {
            checkpoint: what,
            why: message.to_owned(),
        },
        ErrorNumber::ResourceBusy | ErrorNumber::OperationTimeout => PlatformError::Busy {
            what,
            why: message.to_owned(),
        },
        _ => failed(what, message),
    }
}

/// Whether the transport under the connection is gone.
fn is_connection_lost(error: &Error) -> bool {
    (error.domain().is(ErrorDomain::Rpc) || error.domain().is(ErrorDomain::Remote))
        && [
            "client socket is closed",
            "connection closed due to keepalive timeout",
            "End of file while reading data",
            "Connection reset",
            "Broken pipe",
            "Cannot recv data",
            "Cannot write data",
        ]
        .iter()
        .any(|sign| error.message().contains(sign))
}

fn unreachable(source: &SourceName, message: &str) -> PlatformError {
    PlatformError::Unreachable {
        source_name: source.clone(),
        why: message.to_owned(),
    }
}

fn denied(what: &str, message: &str) -> PlatformError {
    PlatformError::Denied {
        what: format!("{what}: {message}"),
    }
}

fn failed(what: String, message: &str) -> PlatformError {
    PlatformError::Failed {
        what,
        message: message.to_owned(),
    }
}
