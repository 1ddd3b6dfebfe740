//! The forecast of a sum, in the stable shape.

use serde::Serialize;

use crate::{
    forecast::{Accuracy, ForecastPoint},
    metrics::Metric,
    units::{Timestamp, VmId},
};

#[derive(Serialize)]
pub struct TogetherJson<'a> {
    pub of: &'a str,
    pub metric: Metric,
    /// Of sums: vCPUs and bytes in place of ratios.
    pub unit: &'static str,
    pub made_at: Timestamp,
    pub step_seconds: u32,
    pub model: &'a str,
    pub accuracy: Option<Accuracy>,
    pub points: &'a [ForecastPoint],
    /// Most first; they add up to the highest mean.
    pub contributions: Vec<ContributionJson<'a>>,
}

#[derive(Serialize)]
pub struct ContributionJson<'a> {
    pub vm: &'a VmId,
    pub at_peak: f64,
}
