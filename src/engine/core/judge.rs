//! The settings and the state put to the deciders: need, size, place.

use super::{Core, VmRecord};
use crate::{
    inventory::{Pool, Service, Vm},
    metrics::Metric,
    shadow::{
        Need, Placement, Rejected, Sizing,
        need::{self, Helped, NeedInput, NeedPolicy},
        placement::{self, PlacementInput, PlacementPolicy},
        sizing::{self, SizingInput, SizingPolicy},
    },
    units::{PoolId, Timestamp},
};

impl Core {
    pub(super) fn need_policy(&self) -> NeedPolicy {
        NeedPolicy {
            min_probability: self.settings.forecast.min_probability,
            threshold: self.settings.health.threshold,
            horizon_seconds: self.settings.forecast.horizon_hours * 3600,
            give_back_after_seconds: self.settings.shadow.give_back_after_seconds,
            margin: self.settings.shadow.margin,
            max_data_age_seconds: self.settings.approval.max_data_age_seconds,
            ..NeedPolicy::default()
        }
    }

    pub(super) fn need_of(&self, at: Timestamp, record: &VmRecord) -> Option<Need> {
        need::need(&self.need_input(at, record), &self.need_policy())
    }

    /// Since when a VM with a shadow would do without it.
    pub(super) fn quiet_since(&self, at: Timestamp, record: &VmRecord) -> Option<Timestamp> {
        need::quiet_since(
            record.quiet_since,
            &self.need_input(at, record),
            &self.need_policy(),
        )
    }

    fn need_input<'a>(&self, at: Timestamp, record: &'a VmRecord) -> NeedInput<'a> {
        let shadow = self
            .shadows
            .values()
            .find(|shadow| shadow.vm == record.vm.id);
        NeedInput {
            vm: &record.vm.id,
            now: at,
            outlooks: &record.outlooks,
            health: &record.health,
            coverage: record.coverage,
            sampled_at: record.sample.as_ref().map(|sample| sample.at),
            helped: shadow.map(|shadow| Helped {
                share: shadow.wanted_share(),
                quiet_since: record.quiet_since,
            }),
        }
    }

    /// By the need, or for the share that an operator wants.
    pub(super) fn size(
        &self,
        record: &VmRecord,
        need: &Need,
        service: Option<&Service>,
        share: Option<f64>,
    ) -> Sizing {
        let policy = SizingPolicy {
            margin: self.settings.shadow.margin,
            max_share: self.settings.shadow.max_share,
        };
        let values = record
            .sample
            .as_ref()
            .map_or([None; Metric::COUNT], |sample| sample.values);
        let input = SizingInput {
            vm: &record.vm,
            need,
            outlooks: &record.outlooks,
            values: &values,
            service,
            share_now: 0.0,
        };
        match share {
            Some(share) => sizing::size_for(&input, &policy, share),
            None => sizing::size(&input, &policy),
        }
    }

    pub(super) fn place(
        &self,
        vm: &Vm,
        sizing: &Sizing,
        wanted: Option<&PoolId>,
    ) -> Result<Placement, Vec<Rejected>> {
        let pools: Vec<Pool> = self.pools.values().cloned().collect();
        let input = PlacementInput {
            vm,
            sizing,
            pools: &pools,
            ledger: &self.ledger,
            wanted,
        };
        let policy = PlacementPolicy {
            pool_headroom: self.settings.shadow.pool_headroom,
            ..PlacementPolicy::default()
        };
        placement::place(&input, &policy)
    }
}
