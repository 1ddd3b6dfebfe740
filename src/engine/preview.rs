//! What other settings would change: which keys, whose health, who would need a shadow.

use serde::{Deserialize, Serialize};

use crate::{health::HealthState, policy::edit::Difference, units::VmId};

/// Changed settings held against what is known at this moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SettingsPreview {
    pub changed: Vec<Difference>,
    /// Those whose score, state or need would be another; the worst off first.
    pub vms: Vec<VmPreview>,
    /// From ok to critical and unknown, all of them.
    pub states: Vec<StateCount>,
    /// VMs that need a shadow now, as far as is known; how long a need must stand is not counted in.
    pub needs_before: u32,
    pub needs_after: u32,
    /// A limit or a horizon changes, and forecasts are only made against it in the next round.
    pub forecasts_follow: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VmPreview {
    pub vm: VmId,
    pub name: String,
    pub before: Verdict,
    pub after: Verdict,
}

/// What is found of one VM. The state is that of the score alone, without hysteresis, so that both sides compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub score: Option<u8>,
    pub state: HealthState,
    pub needs_shadow: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateCount {
    pub state: HealthState,
    pub before: u32,
    pub after: u32,
}
