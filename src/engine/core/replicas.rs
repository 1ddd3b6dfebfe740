//! Keeping replicas in step: one cycle after another, by each shadow's objective.

use super::{Action, Core, Document, Effect, EffectId, Failure, Outcome, Pending};
use crate::{
    engine::snapshot::TimelineKind,
    replication::{Manifest, ladder::Tidy},
    units::{ShadowId, Timestamp},
};

/// Lags that are remembered for the eye.
const MAX_LAGS: usize = 60;
/// Attempts to ship a complete spool before the increment is taken anew.
const MAX_RESUMES: u32 = 3;
const MAX_PAUSE_SECONDS: i64 = 60;

/// What is only remembered while the engine runs.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub recent_lags: Vec<f32>,
    failures: u32,
    not_before: Option<Timestamp>,
    /// An operator asked for a point out of turn.
    pub sync_now: bool,
}

impl Core {
    /// Starts each cycle that is due.
    pub(super) fn run_cycles(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        if self.frozen || self.store_failed.is_some() {
            return;
        }
        let busy = self.held_up_vms();
        let due: Vec<ShadowId> = self
            .manifests
            .values()
            .filter(|manifest| manifest.active && !busy.contains(&manifest.vm))
            .filter(|manifest| !self.is_promoted(&manifest.shadow))
            .filter(|manifest| self.cycle_due(at, manifest))
            .map(|manifest| manifest.shadow.clone())
            .collect();
        for shadow in due {
            self.start_cycle(at, &shadow, out);
        }
    }

    fn cycle_due(&self, at: Timestamp, manifest: &Manifest) -> bool {
        if self.replica_effect(&manifest.shadow).is_some() {
            return false;
        }
        // After a start the sources are being connected: nothing is tried before they were heard.
        let ends = [manifest.vm.source(), manifest.target_pool.source()];
        if ends
            .iter()
            .any(|end| self.sources.get(end).is_none_or(|source| !source.heard))
        {
            return false;
        }
        let replica = self.replicas.get(&manifest.shadow);
        if replica
            .and_then(|replica| replica.not_before)
            .is_some_and(|before| at < before)
        {
            return false;
        }
        manifest.in_flight.is_some()
            || replica.is_some_and(|replica| replica.sync_now)
            || manifest.due_at().is_some_and(|due| due <= at)
    }

    fn start_cycle(&mut self, at: Timestamp, shadow: &ShadowId, out: &mut Vec<Effect>) {
        let disks = self.disks_of(shadow);
        let freeze = self.settings.shadow.freeze_filesystems;
        let replica = self.replicas.entry(shadow.clone()).or_default();
        replica.sync_now = false;
        let failures = replica.failures;
        let Some(manifest) = self.manifests.get_mut(shadow) else {
            return;
        };
        let (spec, resume) = match &manifest.in_flight {
            Some(flight) => (
                flight.spec.clone(),
                flight.spooled_at.is_some() && failures < MAX_RESUMES,
            ),
            None => match manifest.next_increment(&disks, freeze) {
                Some(spec) => (spec, false),
                None => return,
            },
        };
        if !resume {
            manifest.begin(spec.clone(), at);
        }
        out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
        let pending = Pending::Cycle {
            shadow: shadow.clone(),
        };
        self.perform(
            pending,
            Action::Cycle {
                spec: Box::new(spec),
                resume,
            },
            out,
        );
    }

    /// Guest-side names and sizes of the disks that are replicated.
    pub(super) fn disks_of(&self, shadow: &ShadowId) -> Vec<(String, u64)> {
        self.shadows
            .get(shadow)
            .and_then(|shadow| shadow.spec.as_ref())
            .map(|spec| {
                spec.overlays
                    .iter()
                    .map(|disk| (disk.target.clone(), disk.capacity_bytes))
                    .collect()
            })
            .unwrap_or_default()
    }

    pub(super) fn spooled(&mut self, at: Timestamp, effect: EffectId, out: &mut Vec<Effect>) {
        let shadow = match self.pending.get(&effect) {
            Some(Pending::Cycle { shadow }) => shadow.clone(),
            Some(Pending::Step { operation, .. }) => match self.operations.get(operation) {
                Some(operation) => operation.plan.shadow.clone(),
                None => return,
            },
            _ => return,
        };
        if let Some(manifest) = self.manifests.get_mut(&shadow)
            && let Some(flight) = &mut manifest.in_flight
        {
            flight.spooled_at = Some(at);
            out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
        }
    }

    pub(super) fn cycle_ended(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(Outcome::Shipped(shipped)) => {
                let Some(manifest) = self.manifests.get_mut(shadow) else {
                    return;
                };
                let was_stalled = manifest.stalled.is_some();
                let lag = manifest.lag_seconds(at);
                if let Some(flight) = manifest.in_flight.clone() {
                    manifest.commit(&flight.spec, &shipped);
                }
                out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
                let replica = self.replicas.entry(shadow.clone()).or_default();
                replica.failures = 0;
                replica.not_before = None;
                replica.recent_lags.push(lag.unwrap_or_default() as f32);
                let surplus = replica.recent_lags.len().saturating_sub(MAX_LAGS);
                replica.recent_lags.drain(..surplus);
                if was_stalled {
                    self.replica_event(at, shadow, "is in step again", false, out);
                }
                self.tidy(shadow, out);
            }
            Ok(_) => {}
            Err(failure) => self.cycle_failed(at, shadow, &failure, out),
        }
        self.carry_on(at, shadow, out);
    }

    fn cycle_failed(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        failure: &Failure,
        out: &mut Vec<Effect>,
    ) {
        let Some(manifest) = self.manifests.get_mut(shadow) else {
            return;
        };
        let news = manifest.stalled.is_none();
        if failure.checkpoint_lost {
            manifest.lose_checkpoint();
        }
        // The flight goes on under its own names: a complete spool is shipped again, anything less is taken anew. It may
        // have left something on a source that was not even reached, which only these names find again.
        manifest.stalled = Some(failure.why.clone());
        out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
        let replica = self.replicas.entry(shadow.clone()).or_default();
        replica.failures += 1;
        let pause = (1_i64 << replica.failures.min(6)).min(MAX_PAUSE_SECONDS);
        replica.not_before = Some(at.plus_secs(if failure.checkpoint_lost { 0 } else { pause }));
        if news {
            let text = format!("fell behind: {}", failure.why);
            self.replica_event(at, shadow, &text, true, out);
        }
    }

    /// Gives back the space of points that the ladder does not keep, one thing after another.
    pub(super) fn tidy(&mut self, shadow: &ShadowId, out: &mut Vec<Effect>) {
        let max_chain = self.settings.shadow.max_chain;
        let ladder = self.settings.ladder();
        let held = self.held_points(shadow);
        let Some(manifest) = self.manifests.get_mut(shadow) else {
            return;
        };
        loop {
            match manifest.tidying(&ladder, &held, max_chain) {
                Tidy::Nothing => break,
                Tidy::Forget(numbers) => {
                    manifest.forget(&numbers);
                    out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
                }
                Tidy::Merge(merge) => {
                    manifest.begin_merge(merge.clone());
                    out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
                    let pending = Pending::Merge {
                        shadow: shadow.clone(),
                    };
                    let merge = Box::new(merge);
                    self.perform(pending, Action::Merge { merge }, out);
                    return;
                }
                Tidy::Drop(volumes) => {
                    let manifest = Box::new(manifest.clone());
                    let pending = Pending::DropVolumes {
                        shadow: shadow.clone(),
                        volumes: volumes.clone(),
                    };
                    self.perform(pending, Action::DropVolumes { manifest, volumes }, out);
                    return;
                }
            }
        }
        if manifest.needs_flattening(max_chain) {
            let manifest = manifest.clone();
            self.flatten(shadow, manifest, out);
        }
    }

    fn flatten(&mut self, shadow: &ShadowId, manifest: Manifest, out: &mut Vec<Effect>) {
        let number = manifest.newest().map_or(0, |point| point.number);
        let flat = manifest
            .flat_volumes()
            .into_iter()
            .map(|(_, flat)| flat)
            .collect();
        let pending = Pending::Flatten {
            shadow: shadow.clone(),
            number,
            flat,
        };
        let manifest = Box::new(manifest);
        self.perform(pending, Action::Flatten { manifest }, out);
    }

    pub(super) fn merge_ended(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(Outcome::Merged { stored_bytes }) => {
                if let Some(manifest) = self.manifests.get_mut(shadow) {
                    manifest.merged(stored_bytes);
                    out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
                }
                self.tidy(shadow, out);
            }
            Ok(_) => {}
            // It is tried again after the next cycle.
            Err(failure) => {
                let text = format!("keeps the space of expired points: {}", failure.why);
                self.replica_event(at, shadow, &text, true, out);
            }
        }
        self.carry_on(at, shadow, out);
    }

    pub(super) fn flatten_ended(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        number: u64,
        flat: &[String],
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(_) => {
                if let Some(manifest) = self.manifests.get_mut(shadow) {
                    manifest.flattened(number, flat);
                    out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
                }
                self.tidy(shadow, out);
            }
            Err(failure) => {
                let text = format!("could not be flattened: {}", failure.why);
                self.replica_event(at, shadow, &text, true, out);
            }
        }
        self.carry_on(at, shadow, out);
    }

    pub(super) fn volumes_dropped(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        volumes: &[String],
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(_) => {
                if let Some(manifest) = self.manifests.get_mut(shadow) {
                    manifest.dropped(volumes);
                    out.push(Effect::Put(Document::Manifest(Box::new(manifest.clone()))));
                }
                self.tidy(shadow, out);
            }
            Err(failure) => {
                let text = format!("keeps old points that should go: {}", failure.why);
                self.replica_event(at, shadow, &text, true, out);
            }
        }
        self.carry_on(at, shadow, out);
    }

    /// An operation on the shadow may wait for what has just ended.
    fn carry_on(&mut self, at: Timestamp, shadow: &ShadowId, out: &mut Vec<Effect>) {
        let waiting: Vec<_> = self
            .operations
            .values()
            .filter(|operation| !operation.ended() && operation.plan.shadow == *shadow)
            .map(|operation| operation.id.clone())
            .collect();
        for operation in waiting {
            self.advance(at, &operation, out);
        }
    }

    /// Whether a cycle must end before an operation may touch the shadow; it is told to end.
    pub(super) fn yield_to_cycle(&self, shadow: &ShadowId, out: &mut Vec<Effect>) -> bool {
        match self.replica_effect(shadow) {
            Some(effect) => {
                out.push(Effect::Cancel { effect });
                true
            }
            None => false,
        }
    }

    /// What runs for the replica outside of operations.
    pub(super) fn replica_effect(&self, wanted: &ShadowId) -> Option<EffectId> {
        self.pending
            .iter()
            .find_map(|(effect, pending)| match pending {
                Pending::Cycle { shadow }
                | Pending::Flatten { shadow, .. }
                | Pending::Merge { shadow }
                | Pending::DropVolumes { shadow, .. }
                    if shadow == wanted =>
                {
                    Some(*effect)
                }
                _ => None,
            })
    }

    fn replica_event(
        &mut self,
        at: Timestamp,
        shadow: &ShadowId,
        text: &str,
        bad: bool,
        out: &mut Vec<Effect>,
    ) {
        let Some(manifest) = self.manifests.get(shadow) else {
            return;
        };
        let vm = manifest.vm.clone();
        let text = format!("The shadow of {} {text}", self.vm_name(&vm));
        self.event(
            at,
            TimelineKind::Replication,
            text,
            Some(vm),
            None,
            bad,
            out,
        );
    }
}
