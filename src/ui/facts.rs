//! What the fleet adds up to, worked out once for each new set of VMs and never in a frame.

use std::sync::Arc;

use crate::{
    engine::snapshot::{Snapshot, VmView},
    health::HealthState,
};

/// Columns of the chart of crossings to come.
pub const SLOTS: usize = 12;

#[derive(Default)]
pub struct Facts {
    of: Option<(Arc<Vec<VmView>>, u32)>,
    pub ok: u32,
    pub watch: u32,
    pub risk: u32,
    pub critical: u32,
    pub unknown: u32,
    /// Indices of the VMs that are forecast to cross, soonest first.
    pub crossing: Arc<Vec<u32>>,
    /// Crossings in each twelfth of the horizon.
    pub slots: [u32; SLOTS],
    /// VMs with a sample.
    pub reporting: u32,
    pub shadows: u32,
    /// All indices, for views without a filter.
    pub all: Arc<Vec<u32>>,
}

impl Facts {
    pub fn update(&mut self, now: &Snapshot) {
        if self.of.as_ref().is_some_and(|(of, horizon)| {
            Arc::ptr_eq(of, &now.vms) && *horizon == now.horizon_seconds
        }) {
            return;
        }
        let mut fresh = Self {
            of: Some((Arc::clone(&now.vms), now.horizon_seconds)),
            ..Self::default()
        };
        let slot_seconds = i64::from(now.horizon_seconds.max(1).div_ceil(SLOTS as u32));
        let mut crossing = Vec::new();
        for (index, view) in now.vms.iter().enumerate() {
            *match view.health.state {
                HealthState::Ok => &mut fresh.ok,
                HealthState::Watch => &mut fresh.watch,
                HealthState::Risk => &mut fresh.risk,
                HealthState::Critical => &mut fresh.critical,
                HealthState::Unknown => &mut fresh.unknown,
            } += 1;
            fresh.reporting += u32::from(view.sampled_at.is_some());
            fresh.shadows += u32::from(view.shadow.is_some());
            if let Some(at) = view.first_crossing().and_then(|outlook| outlook.crosses_at) {
                let slot = at.secs_since(now.at).max(0) / slot_seconds;
                fresh.slots[(slot as usize).min(SLOTS - 1)] += 1;
                crossing.push((at, index as u32));
            }
        }
        crossing.sort_unstable();
        fresh.crossing = Arc::new(crossing.into_iter().map(|(_, index)| index).collect());
        fresh.all = Arc::new((0..now.vms.len() as u32).collect());
        *self = fresh;
    }
}
