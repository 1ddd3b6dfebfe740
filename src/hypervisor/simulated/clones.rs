//! Clones that a recovery point is tried in: they boot, answer, and can be told to fail in each way that is checked.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    act::{fresh_overlay, not_ours},
    disks::{Blocks, Volume, VolumeUse, spool_reader},
    observe::Platform,
    replicas::{guard, key},
    world::World,
};
use crate::{
    hypervisor::{AgentAnswer, AgentQuestion, Control, PlatformError},
    replication::digest::Digested,
    shadow::CloneSpec,
    units::{PoolId, Timestamp, VmId},
};

pub(super) struct TriedClone {
    pub spec: CloneSpec,
    pub answers_at: Timestamp,
    /// It has ended by itself.
    pub over: bool,
}

/// What is wrong with every clone that is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloneFlaw {
    /// The guest never comes up.
    NeverBoots,
    /// It ends soon after its start.
    EndsByItself,
    NoAgent,
    /// Nothing listens in the guest.
    ClosedPorts,
    /// Its service answers 503.
    BadStatus,
    /// Its service answers with another page.
    OtherPage,
    /// Commands end with code 1 and print nothing.
    CommandsFail,
    SilentConsole,
    /// Its files are not what they were.
    ChangedFiles,
}

impl TriedClone {
    pub(super) fn answers(&self, at: Timestamp, flaw: Option<CloneFlaw>) -> bool {
        !self.over && flaw != Some(CloneFlaw::NeverBoots) && self.answers_at <= at
    }

    fn leads_to(&self, address: &str, port: u16) -> Option<u16> {
        let network = &self.spec.spec.network;
        let forward = network.more.iter().find(|forward| forward.port == port)?;
        (network.address == address).then_some(forward.guest_port)
    }
}

impl World {
    /// The clone that a forwarded port leads to.
    pub(super) fn clone_at(&self, address: &str, port: u16) -> Option<&TriedClone> {
        self.clones
            .values()
            .find(|clone| !clone.over && clone.leads_to(address, port).is_some())
    }
}

impl Platform {
    fn clone_id(&self, clone: &CloneSpec) -> VmId {
        VmId::of(&self.source, &clone.spec.uuid)
    }

    fn name_of(&self, vm: &VmId) -> String {
        let roster = &self.shared.roster;
        roster
            .find(vm)
            .map_or_else(String::new, |index| roster.vms[index].name.clone())
    }

    pub(super) fn start_clone(
        &self,
        clone: &CloneSpec,
        model: &str,
        halfway: Option<PlatformError>,
    ) -> Result<(), PlatformError> {
        let spec = &clone.spec;
        self.pool_index(&spec.pool)?;
        let made = spec.overlays.iter().map(|overlay| &overlay.volume);
        guard(
            &spec.owner.engine,
            made.chain([&clone.console_volume, &spec.name]),
        )?;
        if !model.starts_with("<domain") {
            return Err(PlatformError::Failed {
                what: format!("starting {}", spec.name),
                message: "the model is not a definition".to_owned(),
            });
        }
        let id = self.clone_id(clone);
        self.pause();
        let now = self.shared.now();
        let mut world = self.shared.world();
        match world.clones.get(&id) {
            Some(known) if known.over => return Err(ended(clone)),
            Some(_) => return Ok(()),
            None => {}
        }
        for overlay in &spec.overlays {
            world.chain(&key(&spec.pool, &spec.storage, &overlay.layer_volume))?;
        }
        for overlay in &spec.overlays {
            let at = key(&spec.pool, &spec.storage, &overlay.volume);
            world.volumes.insert(at, fresh_overlay(overlay));
        }
        let console = Volume {
            used_as: VolumeUse::Foreign,
            backing: None,
            blocks: Blocks::new(),
            bytes: 4096,
            complete: true,
        };
        let at = key(&spec.pool, &spec.storage, &clone.console_volume);
        world.volumes.insert(at, console);
        if let Some(error) = halfway {
            return Err(error);
        }
        note_reach(&mut world, clone);
        let boot = self.shared.spec.latency.boot_millis as i64;
        let over = world.clone_flaw == Some(CloneFlaw::EndsByItself);
        world.clones.insert(
            id,
            TriedClone {
                spec: clone.clone(),
                answers_at: now.plus_millis(boot),
                over,
            },
        );
        Ok(())
    }

    pub(super) fn remove_clone(&self, clone: &CloneSpec) -> Result<(), PlatformError> {
        let spec = &clone.spec;
        let made = spec.overlays.iter().map(|overlay| &overlay.volume);
        guard(&spec.owner.engine, made.chain([&clone.console_volume]))?;
        let id = self.clone_id(clone);
        self.pause();
        let mut world = self.shared.world();
        if let Some(known) = world.clones.get(&id)
            && known.spec.spec.owner.engine != spec.owner.engine
        {
            return Err(not_ours(&spec.name));
        }
        world.clones.remove(&id);
        let volumes = spec.overlays.iter().map(|overlay| &overlay.volume);
        for name in volumes.chain([&clone.console_volume]) {
            world.volumes.remove(&key(&spec.pool, &spec.storage, name));
        }
        Ok(())
    }

    pub(super) fn read_console(&self, clone: &CloneSpec) -> String {
        let now = self.shared.now();
        let world = self.shared.world();
        let Some(known) = world.clones.get(&self.clone_id(clone)) else {
            return String::new();
        };
        match world.clone_flaw {
            Some(CloneFlaw::SilentConsole | CloneFlaw::NeverBoots) => String::new(),
            flaw if known.answers(now, flaw) => {
                format!("booting\n{} ready\n", self.name_of(&clone.spec.of))
            }
            _ => "booting\n".to_owned(),
        }
    }

    pub(super) fn answer_as_agent(
        &self,
        clone: &CloneSpec,
        question: &AgentQuestion,
    ) -> Result<AgentAnswer, PlatformError> {
        let now = self.shared.now();
        let world = self.shared.world();
        let known = world
            .clones
            .get(&self.clone_id(clone))
            .filter(|known| !known.over)
            .ok_or_else(|| ended(clone))?;
        let flaw = world.clone_flaw;
        if flaw == Some(CloneFlaw::NoAgent) || !known.answers(now, flaw) {
            return Err(PlatformError::Failed {
                what: "guest agent".to_owned(),
                message: "it is not connected".to_owned(),
            });
        }
        Ok(match question {
            AgentQuestion::Ping => AgentAnswer::Pong,
            AgentQuestion::Run { .. } if flaw == Some(CloneFlaw::CommandsFail) => {
                AgentAnswer::Ran {
                    code: 1,
                    output: String::new(),
                }
            }
            AgentQuestion::Run { .. } => AgentAnswer::Ran {
                code: 0,
                output: format!("{}\n", self.name_of(&clone.spec.of)),
            },
            AgentQuestion::Sha256 { path } => {
                let changed = flaw == Some(CloneFlaw::ChangedFiles);
                let salt = if changed { "changed " } else { "" };
                AgentAnswer::Sha256(hex::encode(Sha256::digest(format!("{salt}{path}"))))
            }
        })
    }

    pub(super) fn clone_is_open(&self, clone: &CloneSpec) -> Result<bool, PlatformError> {
        let now = self.shared.now();
        let world = self.shared.world();
        let known = world
            .clones
            .get(&self.clone_id(clone))
            .filter(|known| !known.over)
            .ok_or_else(|| ended(clone))?;
        let flaw = world.clone_flaw;
        Ok(flaw != Some(CloneFlaw::ClosedPorts) && known.answers(now, flaw))
    }

    pub(super) fn digest_of(
        &self,
        pool: &PoolId,
        storage: &str,
        layer: &str,
        control: &Control,
    ) -> Result<String, PlatformError> {
        let at = key(pool, storage, layer);
        let (reader, bytes) = {
            let world = self.shared.world();
            let volume = world
                .volumes
                .get(&at)
                .ok_or_else(|| PlatformError::NotFound {
                    what: format!("volume {layer}"),
                })?;
            (spool_reader(volume, None)?, volume.bytes)
        };
        self.copy(bytes, control)?;
        Digested::new(reader)
            .read_all()
            .map_err(|error| PlatformError::Failed {
                what: format!("volume {layer}"),
                message: error.to_string(),
            })
    }
}

/// A clone that could reach anybody is what no engine may ever start.
fn note_reach(world: &mut World, clone: &CloneSpec) {
    let network = &clone.spec.network;
    let twin = world
        .shadows
        .values()
        .any(|shadow| shadow.spec.network.mac == network.mac);
    if network.outbound_allowed || twin {
        let text = format!("{} can be taken for another machine", clone.spec.name);
        world.violations.push(text);
    }
}

fn ended(clone: &CloneSpec) -> PlatformError {
    PlatformError::NotFound {
        what: format!(
            "the clone {} (it has ended by itself, or its power was cut)",
            clone.spec.name
        ),
    }
}
