//! The health score of a VM: 100 less what its contributions take away.
//!
//! Each thing that is measured takes points by how near it is to its limit; a crossing that is only predicted takes
//! some before it comes. The contributions of a score always sum to exactly 100 − score, so that a person can add up
//! why a VM stands where it stands.

use serde::{Deserialize, Serialize};

mod normal;
mod score;
mod state;
mod weights;

pub use normal::Normal;
pub use score::{ForecastRisk, HealthInput, Limited, ShadowLag, Thresholds, score};
pub use state::{StateBounds, SteadyState};
pub use weights::Weights;

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
