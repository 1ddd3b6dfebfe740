//! The settings and the state put to the deciders: need, size, place.

use super::{Core, VmRecord};
use crate::{
    health::HealthScore,
    inventory::{Pool, Service, Vm},
    metrics::Metric,
    operation::{Outcome, fold::Phase},
    shadow::{
        Need, Placement, PlanKind, Rejected, Sizing,
        hold::Held,
        need::{self, Helped, NeedInput, NeedPolicy},
        placement::{self, PlacementInput, PlacementPolicy},
        plan, ready,
        sizing::{self, SizingInput},
    },
    units::{PoolId, Timestamp},
};

/// What was found of one VM's need.
pub(super) struct Judged {
    pub need: Option<Need>,
    pub held: Held,
}

impl Core {
    pub(super) fn need_policy(&self) -> NeedPolicy {
        self.settings.need_policy(self.ready_seconds())
    }

    /// What a shadow needs on this fleet until it can help, by the operations that made the ones before.
    fn ready_seconds(&self) -> u32 {
        let mut made: Vec<(Timestamp, u32)> = self
            .operations
            .values()
            .filter(|operation| {
                operation.plan.kind == PlanKind::Create
                    && operation.phase == Phase::Ended(Outcome::Done)
            })
            .filter_map(|operation| {
                let ended_at = operation.ended_at?;
                let seconds = ended_at.secs_since(operation.opened_at);
                Some((ended_at, u32::try_from(seconds).ok()?))
            })
            .collect();
        made.sort_by_key(|(ended_at, _)| std::cmp::Reverse(*ended_at));
        ready::ready_seconds(made.into_iter().map(|(_, seconds)| seconds))
    }

    /// What is needed now, and since when that has been so; the policy is the raising or the eased one.
    pub(super) fn judge(&self, at: Timestamp, record: &VmRecord, policy: &NeedPolicy) -> Judged {
        let input = self.need_input(at, record, &record.health);
        let need = need::need(&input, policy);
        let held = if need::is_known(&input, policy) {
            record.held.after(need.is_some(), at)
        } else {
            record.held
        };
        Judged { need, held }
    }

    /// Why nothing is proposed though it would be, had enough been measured.
    pub(super) fn withheld(
        &self,
        at: Timestamp,
        record: &VmRecord,
        policy: &NeedPolicy,
    ) -> Option<String> {
        // Before the first look at its history nothing is known of its gaps.
        let covered = record.coverage;
        let in_the_way = covered > 0.0 && covered < policy.min_coverage;
        if !in_the_way || self.shadow_of(&record.vm.id).is_some() {
            return None;
        }
        let need = need::withheld(&self.need_input(at, record, &record.health), policy)?;
        Some(format!(
            "no proposal: only {:.0} % of the last day was measured, {:.0} % are needed ({})",
            covered * 100.0,
            policy.min_coverage * 100.0,
            plan::explain(&need, &record.vm.name, at)
        ))
    }

    /// Since when a VM with a shadow would do without it.
    pub(super) fn quiet_since(
        &self,
        at: Timestamp,
        record: &VmRecord,
        policy: &NeedPolicy,
    ) -> Option<Timestamp> {
        need::quiet_since(
            record.quiet_since,
            &self.need_input(at, record, &record.health),
            policy,
        )
    }

    pub(super) fn need_input<'a>(
        &self,
        at: Timestamp,
        record: &'a VmRecord,
        health: &'a HealthScore,
    ) -> NeedInput<'a> {
        let shadow = self
            .shadows
            .values()
            .find(|shadow| shadow.vm == record.vm.id);
        NeedInput {
            vm: &record.vm.id,
            now: at,
            outlooks: &record.outlooks,
            health,
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
        let policy = self.settings.sizing_policy();
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
