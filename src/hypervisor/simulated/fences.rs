//! Primaries that are stopped: paused, powered off, started again, by an engine or by somebody's hand.

use std::{collections::BTreeMap, sync::PoisonError};

use super::{
    observe::Platform,
    world::{Shared, World},
};
use crate::{
    hypervisor::PlatformError,
    inventory::PowerState,
    shadow::promotion::{Fence, FenceFrom},
    units::{Timestamp, VmId},
};

/// One primary that was touched.
#[derive(Clone, Debug)]
pub(super) struct Fenced {
    pub mark: Option<Fence>,
    pub state: PowerState,
    /// Starts since the fleet's.
    pub restarts: u64,
}

/// From when to when each primary stood still.
#[derive(Debug, Default)]
pub(super) struct Stops(BTreeMap<VmId, Vec<(Timestamp, Option<Timestamp>)>>);

impl Stops {
    /// The times before `at`.
    pub(super) fn of(
        &self,
        vm: &VmId,
        at: Timestamp,
    ) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.0
            .get(vm)
            .into_iter()
            .flatten()
            .filter(move |(from, _)| *from < at)
            .map(move |(from, to)| (*from, to.map_or(at, |to| to.min(at))))
    }

    fn begin(&mut self, vm: &VmId, at: Timestamp) {
        let stops = self.0.entry(vm.clone()).or_default();
        if stops.last().is_none_or(|(_, to)| to.is_some()) {
            stops.push((at, None));
        }
    }

    fn end(&mut self, vm: &VmId, at: Timestamp) {
        if let Some((_, to @ None)) = self.0.get_mut(vm).and_then(|stops| stops.last_mut()) {
            *to = Some(at);
        }
    }
}

impl World {
    pub(super) fn power_of(&self, vm: &VmId) -> PowerState {
        self.fences
            .get(vm)
            .map_or(PowerState::Running, |fenced| fenced.state)
    }

    pub(super) fn is_off(&self, vm: &VmId) -> bool {
        self.power_of(vm) == PowerState::Off
    }

    pub(super) fn runs(&self, vm: &VmId) -> bool {
        self.power_of(vm) == PowerState::Running
    }

    pub(super) fn restarts_of(&self, vm: &VmId) -> u64 {
        self.fences.get(vm).map_or(0, |fenced| fenced.restarts)
    }

    /// A shadow that starts in the place of a primary which is let run is the one thing that must never be.
    pub(super) fn note_started_beside_its_primary(&mut self, shadow: &VmId) {
        let Some(of) = self.shadows.get(shadow).map(|shadow| &shadow.spec.of) else {
            return;
        };
        let marked = (self.fences.get(of)).is_some_and(|fenced| fenced.mark.is_some());
        if marked && self.runs(of) {
            let text = format!("{shadow} was started in the place of {of}, which runs");
            self.violations.push(text);
        }
    }

    fn note_started_beside_its_shadow(&mut self, vm: &VmId) {
        let both: Vec<String> = (self.shadows.iter())
            .filter(|(_, shadow)| shadow.spec.of == *vm && shadow.runs())
            .map(|(id, _)| format!("{vm} was started while {id} stands in its place"))
            .collect();
        self.violations.extend(both);
    }

    pub(super) fn set_power(
        &mut self,
        shared: &Shared,
        vm: &VmId,
        state: PowerState,
        at: Timestamp,
    ) {
        self.settle_traffic(shared, at);
        let fenced = self.fences.entry(vm.clone()).or_insert(Fenced {
            mark: None,
            state: PowerState::Running,
            restarts: 0,
        });
        if fenced.state == PowerState::Off && state != PowerState::Off {
            fenced.restarts += 1;
        }
        fenced.state = state;
        let mut stops = shared.stops.lock().unwrap_or_else(PoisonError::into_inner);
        if state == PowerState::Running {
            stops.end(vm, at);
        } else {
            stops.begin(vm, at);
        }
        drop(stops);
        self.settle_traffic(shared, at);
    }

    fn put_mark(&mut self, fence: &Fence) {
        self.fences
            .entry(fence.vm.clone())
            .or_insert(Fenced {
                mark: None,
                state: PowerState::Running,
                restarts: 0,
            })
            .mark
            .get_or_insert_with(|| fence.clone());
    }

    /// Whether our mark is there; an error where it is another's.
    fn marked(&self, fence: &Fence) -> Result<bool, PlatformError> {
        match self
            .fences
            .get(&fence.vm)
            .and_then(|fenced| fenced.mark.as_ref())
        {
            None => Ok(false),
            Some(mark)
                if mark.owner.engine == fence.owner.engine && mark.shadow == fence.shadow =>
            {
                Ok(true)
            }
            Some(_) => Err(PlatformError::NotOurs {
                what: format!("the mark on VM {}", fence.vm),
            }),
        }
    }
}

impl Platform {
    pub(super) fn pause_primary(&self, fence: &Fence) -> Result<(), PlatformError> {
        self.record(&fence.vm)?;
        self.pause();
        let now = self.shared.now();
        let mut world = self.shared.world();
        let marked = world.marked(fence)?;
        match world.power_of(&fence.vm) {
            PowerState::Off if marked => return Ok(()),
            PowerState::Paused if !marked => {
                return Err(PlatformError::Changed {
                    what: format!("VM {}", fence.vm),
                    why: "somebody has paused it".to_owned(),
                });
            }
            PowerState::Off => {
                return Err(PlatformError::Changed {
                    what: format!("VM {}", fence.vm),
                    why: "it is not running any more".to_owned(),
                });
            }
            _ => {}
        }
        world.put_mark(fence);
        world.set_power(&self.shared, &fence.vm, PowerState::Paused, now);
        Ok(())
    }

    pub(super) fn fence_primary(
        &self,
        fence: &Fence,
        from: FenceFrom,
    ) -> Result<(), PlatformError> {
        self.record(&fence.vm)?;
        self.pause();
        let now = self.shared.now();
        let mut world = self.shared.world();
        world.marked(fence)?;
        if from == FenceFrom::Paused && world.runs(&fence.vm) {
            return Err(PlatformError::Changed {
                what: format!("VM {}", fence.vm),
                why: "somebody let it run on after its last delta was read".to_owned(),
            });
        }
        world.put_mark(fence);
        world.set_power(&self.shared, &fence.vm, PowerState::Off, now);
        Ok(())
    }

    pub(super) fn unfence_primary(&self, fence: &Fence) -> Result<(), PlatformError> {
        self.record(&fence.vm)?;
        self.pause();
        let now = self.shared.now();
        let mut world = self.shared.world();
        if !world.marked(fence)? {
            return if world.is_off(&fence.vm) {
                Err(PlatformError::NotOurs {
                    what: format!("VM {}, which is off,", fence.vm),
                })
            } else {
                Ok(())
            };
        }
        if !world.runs(&fence.vm) {
            world.note_started_beside_its_shadow(&fence.vm);
        }
        world.set_power(&self.shared, &fence.vm, PowerState::Running, now);
        if let Some(fenced) = world.fences.get_mut(&fence.vm) {
            fenced.mark = None;
        }
        Ok(())
    }
}
