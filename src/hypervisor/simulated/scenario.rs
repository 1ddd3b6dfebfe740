//! What a simulated fleet is made of, as TOML: sources, pools, classes of VMs, stories, services.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    inventory::{Role, ServiceKind},
    metrics::Metric,
    units::{ServiceName, SourceName, Timestamp},
};

/// The scenario behind `--demo`.
const DEMO: &str = include_str!("../../../assets/demo.toml");

/// A whole fleet; with a start time it determines every value that the fleet will ever show.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetSpec {
    #[serde(default)]
    pub vms: u32,
    #[serde(default)]
    pub seed: u64,
    /// Guests that have stopped answering a few minutes before the start.
    #[serde(default)]
    pub hung_guests: u32,
    /// The name of the balancer.
    pub director: SourceName,
    #[serde(default)]
    pub latency: Latency,
    pub sources: Vec<SourceSpec>,
    pub pools: Vec<PoolSpec>,
    pub classes: Vec<ClassSpec>,
    #[serde(default)]
    pub stories: Vec<StorySpec>,
    #[serde(default)]
    pub services: Vec<ServiceSpec>,
    #[serde(default)]
    pub promotions: Vec<PromotionSpec>,
}

/// What the verbs take, in the fleet's own time.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Latency {
    /// Of any verb that changes something.
    pub verb_millis: u64,
    pub boot_millis: u64,
    pub shutdown_millis: u64,
    /// Of a backup job and of a copy between two platforms.
    pub copy_bytes_per_sec: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            verb_millis: 150,
            boot_millis: 6_000,
            shutdown_millis: 2_000,
            copy_bytes_per_sec: 1_500_000_000,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceSpec {
    pub name: SourceName,
    pub role: Role,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    pub name: String,
    pub source: SourceName,
    /// Its part of the fleet, relative to the others'.
    pub weight: u32,
    /// 0..=1: the usual daily CPU peak of its VMs.
    pub level: f32,
    /// 0..=1 of its memory that nobody has.
    pub memory_free: f64,
    /// 0..=1 of the time in which its VMs wait for a CPU.
    pub contention: f64,
    pub service_address: String,
    /// Class names with their part of the pool, relative to each other.
    pub classes: BTreeMap<String, u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayShape {
    /// Two humps between nine and five, quiet at weekends.
    Office,
    /// Rises over the day, highest at eight in the evening, more at weekends.
    Evening,
    /// A wall at logon, then the working day.
    Logon,
    /// Works from one to five at night.
    Night,
    /// Nearly the same all day.
    Flat,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassSpec {
    pub name: String,
    /// VM names are one of these, a dash and a number.
    pub stems: Vec<String>,
    pub shape: DayShape,
    /// Multiplies the level of its pool.
    pub cpu: f32,
    /// 0..=1 of the VM's memory: the least and the most that is usual.
    pub memory: [f32; 2],
    /// Bytes a second at the daily peak.
    pub disk_bytes_per_sec: f32,
    pub net_bytes_per_sec: f32,
    pub sizes: Vec<SizeSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeSpec {
    pub vcpus: u32,
    pub memory_gib: u32,
    pub disk_gib: u32,
    /// A second disk; zero for none.
    #[serde(default)]
    pub data_gib: u32,
}

/// A VM that comes under pressure at a set time after the fleet's start, and did so at that time of each day before,
/// a little less each day back: what a forecast can know.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorySpec {
    pub name: String,
    pub class: String,
    pub pool: String,
    pub metric: Metric,
    pub crosses_in_minutes: i32,
    /// 0..=1, on the first day.
    pub peak: f32,
    pub vcpus: u32,
    pub memory_gib: u32,
    pub disk_gib: u32,
}

/// Something that its planners know of, and that no daily course tells: it acts on a whole pool.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromotionSpec {
    pub name: String,
    pub pool: String,
    /// After the fleet's start; it came as often before.
    pub starts_in_minutes: i32,
    pub lasts_minutes: u32,
    pub every_days: u32,
    /// What the usual load is multiplied by.
    pub factor: f32,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    pub name: ServiceName,
    pub kind: ServiceKind,
    pub backend: String,
    pub guest_port: u16,
    pub probe_path: String,
    /// VM names; those that a small fleet does not have are left out.
    pub members: Vec<String>,
}

impl PromotionSpec {
    /// When it comes first after the start of a fleet, on a whole five minutes as its load does.
    pub fn starts(&self, start: Timestamp) -> Timestamp {
        start
            .floor_to(300)
            .plus_secs(i64::from(self.starts_in_minutes) * 60)
    }
}

impl FleetSpec {
    /// The built-in scenario with `vms` VMs.
    pub fn demo(vms: u32, seed: u64) -> Self {
        let spec: Self = toml::from_str(DEMO).expect("the built-in scenario can be read");
        Self { vms, seed, ..spec }
    }
}
