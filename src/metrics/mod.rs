//! One reading of a VM, counters turned into rates, and evenly spaced series in which a gap stays a gap.

use serde::{Deserialize, Serialize};

use crate::units::{Timestamp, VmId};

pub mod rates;
pub mod series;

pub use rates::RateTracker;
pub use series::SeriesBuilder;

/// What is measured of a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// 0..=1 of the VM's vCPUs.
    Cpu,
    /// 0..=1 of the VM's memory.
    Memory,
    /// Reads and writes of all disks, bytes a second.
    Disk,
    /// Received and sent on all interfaces, bytes a second.
    Net,
    /// 0..=1 of the time in which a vCPU was ready and did not run.
    Steal,
    /// Mean response time at the balancer, milliseconds.
    Response,
    /// 0..=1 of the balancer's requests that failed (5xx or no answer).
    Errors,
    /// Requests a second at the balancer.
    Requests,
}

impl Metric {
    pub const COUNT: usize = 8;
    pub const ALL: [Self; Self::COUNT] = [
        Self::Cpu,
        Self::Memory,
        Self::Disk,
        Self::Net,
        Self::Steal,
        Self::Response,
        Self::Errors,
        Self::Requests,
    ];
    /// The ones that a forecast is made of.
    pub const FORECAST: [Self; 4] = [Self::Cpu, Self::Memory, Self::Disk, Self::Net];

    pub const fn index(self) -> usize {
        self as usize
    }

    /// The stable name in files, flags and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Net => "net",
            Self::Steal => "steal",
            Self::Response => "response",
            Self::Errors => "errors",
            Self::Requests => "requests",
        }
    }

    pub const fn unit(self) -> &'static str {
        match self {
            Self::Cpu | Self::Memory | Self::Steal | Self::Errors => "ratio",
            Self::Disk | Self::Net => "bytes_per_second",
            Self::Response => "milliseconds",
            Self::Requests => "requests_per_second",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == name)
    }
}

/// What a platform counts for one VM since it started, at one moment. `None` where the platform does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    pub vm: VmId,
    pub at: Timestamp,
    pub vcpus: u32,
    pub cpu_nanos: Option<u64>,
    pub steal_nanos: Option<u64>,
    pub disk_bytes: Option<u64>,
    pub net_bytes: Option<u64>,
    pub memory_used_bytes: Option<u64>,
    pub memory_total_bytes: Option<u64>,
}

/// The values of one VM at one moment; a gap is `None`, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    pub vm: VmId,
    pub at: Timestamp,
    pub values: [Option<f32>; Metric::COUNT],
}

impl Sample {
    pub fn get(&self, metric: Metric) -> Option<f32> {
        self.values[metric.index()]
    }
}

/// Evenly spaced values; value `i` stands for the step that begins at `start + i * step_seconds`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub start: Timestamp,
    pub step_seconds: u32,
    /// `NaN` is a gap.
    pub values: Vec<f32>,
}

impl Series {
    pub fn at(&self, index: usize) -> Timestamp {
        self.start
            .plus_secs(index as i64 * i64::from(self.step_seconds))
    }

    /// The end of the last step.
    pub fn end(&self) -> Timestamp {
        self.at(self.values.len())
    }

    /// 0..=1 of the steps that hold a value.
    pub fn coverage(&self) -> f64 {
        if self.values.is_empty() {
            return 0.0;
        }
        let known = self.values.iter().filter(|value| value.is_finite()).count();
        known as f64 / self.values.len() as f64
    }
}
