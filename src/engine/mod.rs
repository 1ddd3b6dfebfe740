//! The backend worker: one thread that owns all state, a pure core that decides, effects at the edge.
//!
//! ```text
//! collectors ─▶ Input ─▶ core.apply(at, input) ─▶ [Append, Do, Publish …] ─▶ shell performs in order
//!                 ▲                                         │
//!                 └────────── outcome of a slow effect ◀────┘
//! ```

use std::path::PathBuf;

mod bring;
pub mod collect;
pub mod command;
pub mod core;
pub mod handle;
pub mod librarian;
pub mod perform;
pub mod preview;
pub mod remote;
pub mod send;
pub mod shell;
pub mod simulate;
pub mod snapshot;
pub mod thread;

/// Which engine a face wants.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Holds the databases, the lock and the socket.
    pub data_dir: PathBuf,
    /// The settings file; written with its defaults where it is not there.
    pub settings_file: PathBuf,
    /// The built-in simulated fleet in place of real sources.
    pub demo: Option<DemoOptions>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    pub vms: u32,
    pub seed: u64,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            vms: 10_000,
            seed: 1,
        }
    }
}
