//! The health score of a VM: 100 less what its contributions take away.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    Ok,
    Watch,
    Risk,
    Critical,
    /// Too little was measured to say.
    Unknown,
}

/// One reason why the score is under 100.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// For example `cpu`, `response`, `forecast`.
    pub name: String,
    /// What it takes away; all of them sum to 100 − score.
    pub points: u8,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthScore {
    /// 0..=100; `None` when unknown.
    pub score: Option<u8>,
    pub state: HealthState,
    pub contributions: Vec<Contribution>,
}
