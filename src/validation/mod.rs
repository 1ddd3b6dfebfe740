//! Does a shadow answer as its primary would: what to probe, and the verdict.

use serde::{Deserialize, Serialize};

pub mod prober;

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

/// Puts a probe to the network.
pub trait Prober: Send + Sync {
    fn probe(&self, probe: &Probe, timeout: std::time::Duration) -> Verdict;
}
