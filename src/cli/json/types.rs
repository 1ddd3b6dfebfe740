//! `types`.

use serde::Serialize;

use crate::{metrics::Metric, units::Timestamp};

#[derive(Serialize)]
pub struct TypesJson<'a> {
    pub metric: Metric,
    pub unit: &'static str,
    pub horizon_seconds: u32,
    pub types: Vec<TypeJson<'a>>,
}

#[derive(Serialize)]
pub struct TypeJson<'a> {
    pub name: &'a str,
    /// The rule in the settings that names it, counted from 1; `None` is a size.
    pub rule: Option<usize>,
    pub vms: usize,
    pub vcpus: u64,
    pub memory_bytes: u64,
    /// `None` where too few of it have a history.
    pub profile: Option<ProfileJson>,
}

/// What the middle VM of a type will do at its busiest.
#[derive(Serialize)]
pub struct ProfileJson {
    /// So many were looked at.
    pub vms: usize,
    pub peak: f32,
    pub peak_lower: f32,
    pub peak_upper: f32,
    pub peak_at: Timestamp,
}
