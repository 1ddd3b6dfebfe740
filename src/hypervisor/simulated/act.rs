//! The verbs of a simulated platform, each under the fault rules; and what they do to shadows.

use std::io::Read;

use super::{
    disks::{Blocks, Volume, VolumeKey, VolumeUse},
    fault::Verb,
    observe::Platform,
    replicas::{guard, key},
    shadows::{Power, Shadow},
    world::{Counters, World},
};
use crate::{
    hypervisor::{AgentAnswer, AgentQuestion, Claim, Control, Hypervisor, PlatformError},
    inventory::Owner,
    replication::{IncrementSpec, Manifest, Merge},
    shadow::{
        CloneSpec, OverlaySpec, ShadowSpec,
        promotion::{Fence, FenceFrom},
    },
    units::{PoolId, Timestamp, VmId},
};

impl Platform {
    fn lease(&self, claim: &Claim) -> Result<(), PlatformError> {
        let now = self.shared.now();
        let mut world = self.shared.world();
        if let Some((holder, beaten)) = world.leases.get(&self.source) {
            let silent = now.as_millis() - beaten.as_millis();
            let left = claim.stale.as_millis() as i64 - silent;
            if holder != claim && left > 0 {
                return Err(PlatformError::Leased {
                    source_name: self.source.clone(),
                    by: format!("the console at {}", holder.console),
                    seconds: (left / 1000).max(1) as u32,
                });
            }
        }
        world
            .leases
            .insert(self.source.clone(), (claim.clone(), now));
        Ok(())
    }

    fn define(&self, spec: &ShadowSpec, model: &str) -> Result<(), PlatformError> {
        self.pool_index(&spec.pool)?;
        guard(
            &spec.owner.engine,
            spec.overlays.iter().map(|overlay| &overlay.volume),
        )?;
        let of = self
            .shared
            .roster
            .find(&spec.of)
            .ok_or_else(|| PlatformError::NotFound {
                what: format!("VM {}", spec.of),
            })?;
        if !model.starts_with("<domain") {
            return Err(PlatformError::Failed {
                what: format!("defining {}", spec.name),
                message: "the model is not a definition".to_owned(),
            });
        }
        let id = VmId::of(&self.source, &spec.uuid);
        self.pause();
        let mut world = self.shared.world();
        self.check_name_is_free(&world, spec, &id)?;
        match world.shadows.get(&id) {
            Some(known) if known.spec.owner.engine != spec.owner.engine => {
                return Err(not_ours(&spec.name));
            }
            Some(known) if known.spec == *spec => {}
            Some(known) if known.runs() => return Err(runs(&spec.name)),
            _ => {}
        }
        for overlay in &spec.overlays {
            world.chain(&key(&spec.pool, &spec.storage, &overlay.layer_volume))?;
        }
        for overlay in &spec.overlays {
            let at = key(&spec.pool, &spec.storage, &overlay.volume);
            let stands = world.volumes.get(&at).is_some_and(|volume| {
                volume.complete && volume.backing.as_ref() == Some(&overlay.layer_volume)
            });
            if !stands {
                world.volumes.insert(at, fresh_overlay(overlay));
            }
        }
        let now = self.shared.now();
        world
            .shadows
            .entry(id)
            .and_modify(|known| known.spec = spec.clone())
            .or_insert_with(|| Shadow::new(spec.clone(), of, now));
        Ok(())
    }

    /// A name or uuid that something else has is refused.
    fn check_name_is_free(
        &self,
        world: &World,
        spec: &ShadowSpec,
        id: &VmId,
    ) -> Result<(), PlatformError> {
        let primaries = &self.shared.roster.vms;
        let foreign = primaries
            .iter()
            .any(|vm| vm.source() == self.source && (vm.id == *id || vm.name == spec.name));
        let other = world.shadows.iter().any(|(known, shadow)| {
            known.source() == self.source && known != id && shadow.spec.name == spec.name
        });
        if foreign || other {
            return Err(not_ours(&spec.name));
        }
        Ok(())
    }

    fn renew_overlays(&self, spec: &ShadowSpec) -> Result<(), PlatformError> {
        guard(
            &spec.owner.engine,
            spec.overlays.iter().map(|overlay| &overlay.volume),
        )?;
        self.pause();
        let id = VmId::of(&self.source, &spec.uuid);
        let mut world = self.shared.world();
        let known = self.shadow(&world, &id, &spec.owner)?;
        if known.runs() {
            return Err(runs(&spec.name));
        }
        for overlay in &spec.overlays {
            world.chain(&key(&spec.pool, &spec.storage, &overlay.layer_volume))?;
        }
        for overlay in &spec.overlays {
            let at = key(&spec.pool, &spec.storage, &overlay.volume);
            world.volumes.insert(at, fresh_overlay(overlay));
        }
        if let Some(shadow) = world.shadows.get_mut(&id) {
            shadow.spec.overlays.clone_from(&spec.overlays);
        }
        Ok(())
    }

    /// The shadow of this id, if it is this owner's engine's.
    fn shadow<'w>(
        &self,
        world: &'w World,
        id: &VmId,
        owner: &Owner,
    ) -> Result<&'w Shadow, PlatformError> {
        if self.shared.roster.find(id).is_some() {
            return Err(not_ours(id.as_str()));
        }
        match world.shadows.get(id) {
            None => Err(PlatformError::NotFound {
                what: format!("VM {id}"),
            }),
            Some(shadow) if shadow.spec.owner.engine == owner.engine => Ok(shadow),
            Some(_) => Err(not_ours(id.as_str())),
        }
    }

    fn power(
        &self,
        owner: &Owner,
        uuid: &str,
        on: bool,
        grace_seconds: u32,
    ) -> Result<(), PlatformError> {
        let id = VmId::of(&self.source, uuid);
        {
            let world = self.shared.world();
            match self.shadow(&world, &id, owner) {
                // What is not there does not run.
                Err(PlatformError::NotFound { .. }) if !on => return Ok(()),
                Err(error) => return Err(error),
                Ok(shadow) if shadow.runs() == on => return Ok(()),
                Ok(shadow) if on => self.check_startable(&world, shadow)?,
                Ok(_) => {}
            }
        }
        let latency = &self.shared.spec.latency;
        self.shared.clock.sleep(if on {
            latency.verb_millis
        } else {
            latency.shutdown_millis.min(u64::from(grace_seconds) * 1000)
        });
        let now = self.shared.now();
        let mut world = self.shared.world();
        world.settle_traffic(&self.shared, now);
        if on {
            world.note_started_beside_its_primary(&id);
        }
        if let Some(shadow) = world.shadows.get_mut(&id) {
            shadow.state = if on {
                shadow.generation += 1;
                shadow.counters = Counters {
                    at: now,
                    ..Counters::default()
                };
                Power::On {
                    since: now,
                    answers_at: now.plus_millis(latency.boot_millis as i64),
                }
            } else {
                Power::Off
            };
        }
        world.settle_traffic(&self.shared, now);
        Ok(())
    }

    fn check_startable(&self, world: &World, shadow: &Shadow) -> Result<(), PlatformError> {
        let spec = &shadow.spec;
        for overlay in &spec.overlays {
            world.chain(&key(&spec.pool, &spec.storage, &overlay.volume))?;
        }
        let index = self.pool_index(&spec.pool)?;
        let roster = &self.shared.roster;
        let running: u64 = world
            .shadows
            .values()
            .filter(|other| other.runs() && other.spec.pool == spec.pool)
            .map(|other| other.spec.memory_bytes)
            .sum();
        let taken = roster.pools[index].memory_bytes + running + spec.memory_bytes;
        if taken > roster.capacity(&self.shared.spec, index).memory_bytes {
            return Err(PlatformError::Failed {
                what: format!("starting {}", spec.name),
                message: "cannot allocate memory".to_owned(),
            });
        }
        Ok(())
    }

    fn undefine(&self, spec: &ShadowSpec) -> Result<(), PlatformError> {
        guard(
            &spec.owner.engine,
            spec.overlays.iter().map(|overlay| &overlay.volume),
        )?;
        let id = VmId::of(&self.source, &spec.uuid);
        self.pause();
        let now = self.shared.now();
        let mut world = self.shared.world();
        match self.shadow(&world, &id, &spec.owner) {
            Ok(_) | Err(PlatformError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        world.settle_traffic(&self.shared, now);
        world.shadows.remove(&id);
        for overlay in &spec.overlays {
            world
                .volumes
                .remove(&key(&spec.pool, &spec.storage, &overlay.volume));
        }
        world.settle_traffic(&self.shared, now);
        Ok(())
    }

    fn define_text(&self, id: &VmId) -> Result<String, PlatformError> {
        let (name, vcpus, memory_bytes) = if let Ok(vm) = self.record(id) {
            (vm.name.clone(), vm.size.vcpus, vm.memory_bytes())
        } else {
            let world = self.shared.world();
            let shadow = world
                .shadows
                .get(id)
                .ok_or_else(|| PlatformError::NotFound {
                    what: format!("VM {id}"),
                })?;
            let spec = &shadow.spec;
            (spec.name.clone(), spec.vcpus, spec.memory_bytes)
        };
        Ok(format!(
            "<domain type='simulated'><name>{name}</name><uuid>{}</uuid><vcpu>{vcpus}</vcpu>\
             <memory unit='KiB'>{}</memory></domain>",
            id.uuid(),
            memory_bytes / 1024
        ))
    }
}

pub(super) fn fresh_overlay(overlay: &OverlaySpec) -> Volume {
    Volume {
        used_as: VolumeUse::Overlay,
        backing: Some(overlay.layer_volume.clone()),
        blocks: Blocks::new(),
        bytes: 0,
        complete: true,
    }
}

pub(super) fn not_ours(name: &str) -> PlatformError {
    PlatformError::NotOurs {
        what: format!("VM {name}"),
    }
}

fn runs(name: &str) -> PlatformError {
    PlatformError::Busy {
        what: format!("VM {name}"),
        why: "it runs".to_owned(),
    }
}

impl Hypervisor for Platform {
    fn ensure_increment(
        &self,
        spec: &IncrementSpec,
        resume: bool,
        control: &Control,
    ) -> Result<Timestamp, PlatformError> {
        self.call_in_parts(Verb::EnsureIncrement, |halfway| {
            self.increment(spec, resume, control, halfway)
        })
    }

    fn read_spool(
        &self,
        spec: &IncrementSpec,
        disk: usize,
    ) -> Result<Box<dyn Read + Send>, PlatformError> {
        self.call_in_parts(Verb::ReadSpool, |cut| {
            self.open_spool(spec, disk, cut.as_ref())
        })
    }

    fn ensure_increment_finished(&self, spec: &IncrementSpec) -> Result<(), PlatformError> {
        self.call(Verb::EnsureIncrementFinished, || {
            self.finish_increment(spec)
        })
    }

    fn ensure_increment_absent(&self, spec: &IncrementSpec) -> Result<(), PlatformError> {
        self.call(Verb::EnsureIncrementAbsent, || self.abandon_increment(spec))
    }

    fn ensure_replication_absent(&self, vm: &VmId, owner: &Owner) -> Result<(), PlatformError> {
        self.call(Verb::EnsureReplicationAbsent, || {
            self.abandon_replication(vm, owner);
            Ok(())
        })
    }

    fn ensure_paused(&self, fence: &Fence) -> Result<(), PlatformError> {
        self.call(Verb::EnsurePaused, || self.pause_primary(fence))
    }

    fn ensure_fenced(&self, fence: &Fence, from: FenceFrom) -> Result<(), PlatformError> {
        self.call(Verb::EnsureFenced, || self.fence_primary(fence, from))
    }

    fn ensure_unfenced(&self, fence: &Fence) -> Result<(), PlatformError> {
        self.call(Verb::EnsureUnfenced, || self.unfence_primary(fence))
    }

    fn ensure_layer(
        &self,
        spec: &IncrementSpec,
        disk: usize,
        spool: &mut dyn Read,
        control: &Control,
    ) -> Result<u64, PlatformError> {
        self.call_in_parts(Verb::EnsureLayer, |halfway| {
            self.layer(spec, disk, spool, control, halfway)
        })
    }

    fn ensure_flattened(
        &self,
        pool: &PoolId,
        storage: &str,
        layer: &str,
        flat: &str,
        control: &Control,
    ) -> Result<(), PlatformError> {
        self.call(Verb::EnsureFlattened, || {
            let at = |name: &str| -> VolumeKey { key(pool, storage, name) };
            self.flatten(&at(layer), &at(flat), control)
        })
    }

    fn ensure_merged(&self, merge: &Merge, control: &Control) -> Result<u64, PlatformError> {
        self.call_in_parts(Verb::EnsureMerged, |halfway| {
            self.merge(merge, control, halfway)
        })
    }

    fn ensure_volumes_absent(
        &self,
        owner: &Owner,
        pool: &PoolId,
        storage: &str,
        volumes: &[String],
    ) -> Result<(), PlatformError> {
        self.call_in_parts(Verb::EnsureVolumesAbsent, |halfway| {
            if let Some(error) = halfway {
                let half = &volumes[..volumes.len() / 2];
                self.remove_volumes(owner, pool, storage, half)?;
                return Err(error);
            }
            self.remove_volumes(owner, pool, storage, volumes)
        })
    }

    fn ensure_manifest(&self, manifest: &Manifest) -> Result<(), PlatformError> {
        self.call(Verb::EnsureManifest, || self.keep_manifest(manifest))
    }

    fn ensure_manifest_absent(&self, manifest: &Manifest) -> Result<(), PlatformError> {
        self.call(Verb::EnsureManifestAbsent, || {
            let at = (self.source.clone(), manifest.shadow.clone());
            self.shared.world().manifests.remove(&at);
            Ok(())
        })
    }

    fn ensure_shadow(&self, spec: &ShadowSpec, model: &str) -> Result<(), PlatformError> {
        self.call(Verb::EnsureShadow, || self.define(spec, model))
    }

    fn ensure_overlays(&self, spec: &ShadowSpec) -> Result<(), PlatformError> {
        self.call(Verb::EnsureOverlays, || self.renew_overlays(spec))
    }

    fn ensure_power(
        &self,
        owner: &Owner,
        uuid: &str,
        on: bool,
        grace_seconds: u32,
    ) -> Result<(), PlatformError> {
        self.call(Verb::EnsurePower, || {
            self.power(owner, uuid, on, grace_seconds)
        })
    }

    fn ensure_shadow_absent(&self, spec: &ShadowSpec) -> Result<(), PlatformError> {
        self.call(Verb::EnsureShadowAbsent, || self.undefine(spec))
    }

    fn ensure_clone(&self, clone: &CloneSpec, model: &str) -> Result<(), PlatformError> {
        self.call_in_parts(Verb::EnsureClone, |halfway| {
            self.start_clone(clone, model, halfway)
        })
    }

    fn ensure_clone_absent(&self, clone: &CloneSpec) -> Result<(), PlatformError> {
        self.call(Verb::EnsureCloneAbsent, || self.remove_clone(clone))
    }

    fn clone_console(&self, clone: &CloneSpec) -> Result<String, PlatformError> {
        self.call(Verb::AskClone, || Ok(self.read_console(clone)))
    }

    fn ask_agent(
        &self,
        clone: &CloneSpec,
        question: &AgentQuestion,
    ) -> Result<AgentAnswer, PlatformError> {
        self.call(Verb::AskClone, || self.answer_as_agent(clone, question))
    }

    fn clone_takes(&self, clone: &CloneSpec, _guest_port: u16) -> Result<bool, PlatformError> {
        self.call(Verb::AskClone, || self.clone_is_open(clone))
    }

    fn layer_digest(
        &self,
        pool: &PoolId,
        storage: &str,
        layer: &str,
        control: &Control,
    ) -> Result<String, PlatformError> {
        self.call(Verb::LayerDigest, || {
            self.digest_of(pool, storage, layer, control)
        })
    }

    fn ensure_lease(&self, claim: &Claim) -> Result<(), PlatformError> {
        self.call(Verb::EnsureLease, || self.lease(claim))
    }

    fn release_lease(&self, claim: &Claim) -> Result<(), PlatformError> {
        self.call(Verb::ReleaseLease, || {
            let mut world = self.shared.world();
            if world
                .leases
                .get(&self.source)
                .is_some_and(|(holder, _)| holder == claim)
            {
                world.leases.remove(&self.source);
            }
            Ok(())
        })
    }

    fn definition(&self, vm: &VmId) -> Result<String, PlatformError> {
        self.call(Verb::Definition, || self.define_text(vm))
    }
}
