//! When the next cycle is due, what it is, lag and compaction: pure decisions over a manifest.

use super::{Consistency, DiskIncrement, InFlight, IncrementSpec, Manifest, RecoveryPoint, names};
use crate::{
    inventory::Owner,
    units::{PoolId, ShadowId, Timestamp, VmId},
};

/// What a cycle leaves behind.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Shipped {
    /// When the checkpoint was taken.
    pub at: Timestamp,
    pub complete_at: Timestamp,
    pub shipped_bytes: u64,
    /// Of each disk's layer; see [`RecoveryPoint::digests`].
    #[serde(default)]
    pub digests: Vec<String>,
}

impl Manifest {
    /// A replica that has not been seeded yet.
    pub fn new(
        shadow: ShadowId,
        owner: Owner,
        vm: VmId,
        target_pool: PoolId,
        target_storage: String,
        rpo_seconds: u32,
    ) -> Self {
        Self {
            shadow,
            owner,
            vm,
            target_pool,
            target_storage,
            rpo_seconds,
            next_number: 0,
            checkpoint: None,
            points: Vec::new(),
            in_flight: None,
            merging: None,
            garbage: Vec::new(),
            serving_from: None,
            stalled: None,
            last_cycle_millis: None,
            active: false,
        }
    }

    pub fn newest(&self) -> Option<&RecoveryPoint> {
        self.points.last()
    }

    /// Age of the newest complete point: what would be lost if the source were gone now.
    pub fn lag_seconds(&self, now: Timestamp) -> Option<u64> {
        self.newest()
            .map(|point| now.secs_since(point.at).max(0) as u64)
    }

    /// A cycle starts early enough that its end falls within the objective.
    pub fn due_at(&self) -> Option<Timestamp> {
        let newest = self.newest()?;
        let takes = i64::try_from(self.last_cycle_millis.unwrap_or(1000)).unwrap_or(1000);
        let pause = (i64::from(self.rpo_seconds) * 1000 - 2 * takes).max(500);
        Some(newest.at.plus_millis(pause))
    }

    /// The next increment on the newest point; `None` before the seed. A lost checkpoint makes it a full copy.
    pub fn next_increment(&self, disks: &[(String, u64)], freeze: bool) -> Option<IncrementSpec> {
        let newest = self.newest()?;
        let number = self.next_number;
        let engine = &self.owner.engine;
        let disks = disks
            .iter()
            .enumerate()
            .map(|(index, (target, capacity_bytes))| {
                let backing = newest.layers.get(index).cloned();
                DiskIncrement {
                    target: target.clone(),
                    capacity_bytes: *capacity_bytes,
                    spool_volume: names::spool_volume(engine, &self.shadow, target, number),
                    layer_volume: names::layer_volume(engine, &self.shadow, target, number),
                    backing_volume: self.checkpoint.as_ref().and(backing),
                }
            })
            .collect();
        Some(IncrementSpec {
            owner: self.owner.clone(),
            shadow: self.shadow.clone(),
            vm: self.vm.clone(),
            number,
            checkpoint: names::checkpoint(engine, &self.shadow, number),
            parent_checkpoint: self.checkpoint.clone(),
            freeze,
            target_pool: self.target_pool.clone(),
            target_storage: self.target_storage.clone(),
            disks,
        })
    }

    /// Records that `spec` is about to start. Saved before anything happens.
    pub fn begin(&mut self, spec: IncrementSpec, now: Timestamp) {
        self.next_number = self.next_number.max(spec.number + 1);
        self.in_flight = Some(InFlight {
            spec,
            started_at: now,
            spooled_at: None,
        });
    }

    /// Increments can no longer be counted from the newest point. A flight becomes a full copy under its own names, so
    /// that whatever it has left on either side is found and replaced.
    pub fn lose_checkpoint(&mut self) {
        self.checkpoint = None;
        if let Some(flight) = &mut self.in_flight {
            flight.spooled_at = None;
            flight.spec.parent_checkpoint = None;
            for disk in &mut flight.spec.disks {
                disk.backing_volume = None;
            }
        }
    }

    /// The layers of `spec` are complete: this is the commit.
    pub fn commit(&mut self, spec: &IncrementSpec, shipped: &Shipped) {
        if self.points.iter().any(|point| point.number == spec.number) {
            self.in_flight = None;
            return;
        }
        let started = self
            .in_flight
            .as_ref()
            .map_or(shipped.at, |flight| flight.started_at);
        let full = spec.disks.iter().all(|disk| disk.backing_volume.is_none());
        let depth = if full {
            0
        } else {
            self.newest().map_or(0, |point| point.depth + 1)
        };
        self.points.push(RecoveryPoint {
            number: spec.number,
            at: shipped.at,
            complete_at: shipped.complete_at,
            consistent: if spec.freeze {
                Consistency::FileSystem
            } else {
                Consistency::Crash
            },
            shipped_bytes: shipped.shipped_bytes,
            stored_bytes: shipped.shipped_bytes,
            digests: shipped.digests.clone(),
            pinned: false,
            proof: None,
            layers: spec
                .disks
                .iter()
                .map(|disk| disk.layer_volume.clone())
                .collect(),
            depth,
        });
        self.checkpoint = Some(spec.checkpoint.clone());
        self.in_flight = None;
        self.stalled = None;
        self.last_cycle_millis =
            Some((shipped.complete_at.as_millis() - started.as_millis()).max(0) as u64);
    }

    /// The chain under the newest point is longer than it may be: it should become one full layer.
    pub fn needs_flattening(&self, max_chain: u32) -> bool {
        self.newest().is_some_and(|point| point.depth >= max_chain)
    }

    /// The volumes that flattening the newest point makes, one for each disk.
    pub fn flat_volumes(&self) -> Vec<(String, String)> {
        let Some(newest) = self.newest() else {
            return Vec::new();
        };
        newest
            .layers
            .iter()
            .map(|layer| (layer.clone(), names::flat_volume(layer)))
            .collect()
    }

    /// The newest point stands on its own full layers from now on.
    pub fn flattened(&mut self, number: u64, flat: &[String]) {
        let Some(point) = self.points.iter().find(|point| point.number == number) else {
            return;
        };
        let mut copy = point.clone();
        copy.layers = flat.to_vec();
        copy.digests.clear();
        copy.depth = 0;
        copy.number = self.next_number;
        self.next_number += 1;
        self.points.push(copy);
    }

    /// Every volume that may stand on the target for this replica.
    pub fn volumes(&self) -> Vec<String> {
        let mut volumes: Vec<String> = self
            .points
            .iter()
            .flat_map(|point| point.layers.iter().cloned())
            .collect();
        if let Some(flight) = &self.in_flight {
            volumes.extend(
                flight
                    .spec
                    .disks
                    .iter()
                    .map(|disk| disk.layer_volume.clone()),
            );
        }
        volumes.extend(self.flat_volumes().into_iter().map(|(_, flat)| flat));
        volumes.extend(self.garbage.iter().cloned());
        for disk in self.merging.iter().flat_map(|merge| &merge.disks) {
            volumes.extend(
                [&disk.base, &disk.scratch]
                    .into_iter()
                    .chain(&disk.over)
                    .cloned(),
            );
        }
        volumes.sort();
        volumes.dedup();
        volumes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        let owner = Owner {
            engine: "0123456789ab".into(),
            operation: "op-1".into(),
        };
        Manifest::new(
            "s-1".into(),
            owner,
            "a/1".into(),
            "b/b".into(),
            "shadow".to_owned(),
            60,
        )
    }

    fn point(number: u64, depth: u32) -> RecoveryPoint {
        RecoveryPoint {
            number,
            at: Timestamp::from_secs(number as i64 * 60),
            complete_at: Timestamp::from_secs(number as i64 * 60 + 1),
            consistent: Consistency::Crash,
            shipped_bytes: 1,
            stored_bytes: 1,
            layers: vec![format!("layer-{number}")],
            digests: Vec::new(),
            depth,
            pinned: false,
            proof: None,
        }
    }

    #[test]
    fn a_lost_checkpoint_makes_the_next_increment_a_full_copy() {
        let mut manifest = manifest();
        manifest.points = vec![point(0, 0)];
        manifest.next_number = 1;
        manifest.checkpoint = Some("cp".to_owned());
        let disks = [("vda".to_owned(), 64)];
        let increment = manifest.next_increment(&disks, false).unwrap();
        assert_eq!(
            increment.disks[0].backing_volume.as_deref(),
            Some("layer-0")
        );
        manifest.checkpoint = None;
        let full = manifest.next_increment(&disks, false).unwrap();
        assert_eq!(
            (full.parent_checkpoint, full.disks[0].backing_volume.clone()),
            (None, None)
        );
    }

    #[test]
    fn a_commit_counts_once() {
        let mut manifest = manifest();
        manifest.points = vec![point(0, 0)];
        manifest.next_number = 1;
        manifest.checkpoint = Some("cp".to_owned());
        let spec = manifest
            .next_increment(&[("vda".to_owned(), 64)], false)
            .unwrap();
        manifest.begin(spec.clone(), Timestamp::from_secs(60));
        let shipped = Shipped {
            at: Timestamp::from_secs(60),
            complete_at: Timestamp::from_secs(61),
            shipped_bytes: 9,
            digests: Vec::new(),
        };
        manifest.commit(&spec, &shipped);
        manifest.commit(&spec, &shipped);
        assert_eq!(manifest.points.len(), 2);
        assert_eq!(manifest.newest().unwrap().depth, 1);
        assert_eq!(manifest.lag_seconds(Timestamp::from_secs(75)), Some(15));
    }
}
