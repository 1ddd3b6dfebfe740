//! Does a shadow answer as its primary would, and does a recovery point boot: what is asked, and the verdict.
//!
//! ```text
//! point ─▶ clone (overlay, isolated network, its time limited) ─▶ checks, one after another ─▶ Proof, kept
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod check;
pub mod prober;
pub mod proof;

/// One question put to a VM's service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Probe {
    Tcp {
        address: String,
        port: u16,
    },
    Http {
        address: String,
        port: u16,
        path: String,
    },
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub passed: bool,
    pub millis: u64,
    /// What was seen, for example `HTTP 200` or `connection refused`.
    pub seen: String,
}

/// An answer over HTTP, as far as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub status: u16,
    pub body: String,
}

/// Keeps a connection open for as long as it lives.
pub trait Held: Send {}

/// Puts a probe to the network.
pub trait Prober: Send + Sync {
    fn probe(&self, probe: &Probe, timeout: Duration) -> Verdict;

    /// # Errors
    /// Why there is no whole answer, in words.
    fn page(&self, address: &str, port: u16, path: &str, timeout: Duration)
    -> Result<Page, String>;

    /// Opens a connection and keeps it. That it opened does not say that a guest behind a forwarded port took it.
    ///
    /// # Errors
    /// Why it did not open, in words.
    fn hold(&self, address: &str, port: u16, timeout: Duration) -> Result<Box<dyn Held>, String>;
}
