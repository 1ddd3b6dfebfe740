//! Starts the engine on its thread, or attaches to the one that already runs on the same data folder.

use super::{OpenOptions, handle::Handle};
use crate::problem::Problem;

/// A running engine, or the connection to one; the engine in this process stops when this is dropped.
pub struct Session {
    pub handle: Handle,
    /// The engine runs in another process.
    pub attached: bool,
}

/// Attaches to the engine that holds the data folder, or starts one in this process.
///
/// # Errors
/// When the data folder or the settings cannot be used.
pub fn open(_options: &OpenOptions) -> Result<Session, Problem> {
    Err(Problem::failed(
        "The engine was not started.",
        "it is not built",
        "wait",
    ))
}

/// Starts an engine that others attach to, and runs until it is told to stop.
///
/// # Errors
/// When another engine holds the data folder, or the data folder cannot be used.
pub fn serve(_options: &OpenOptions) -> Result<(), Problem> {
    Err(Problem::failed(
        "The engine was not started.",
        "it is not built",
        "wait",
    ))
}
