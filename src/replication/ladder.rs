//! Which recovery points are kept, and how those that are not give their space back.
//!
//! ```text
//! layers   0 ◀─ 1 ◀─ 2 ◀─ 3 ◀─ 4        kept: 2, 3, 4
//! merge    0+1+2 ◀───────── 3 ◀─ 4        0 takes what 1 and 2 changed, and is point 2 from then on
//! ```
//!
//! A layer that an expired point leaves behind is still needed by those above it, so it takes over what the next kept
//! point changed. That can break off anywhere: what is above still says what those blocks are, and doing it again ends
//! the same.

use std::collections::BTreeSet;

use super::{DiskMerge, Manifest, Merge, RecoveryPoint, names};
use crate::units::Timestamp;

/// Points expire one by one under the newest; they are merged so many at a time.
const BATCH: usize = 8;

/// How many points are kept, and how far back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The newest.
    pub last: u32,
    /// The newest of each hour (UTC), for so many hours that have one.
    pub hourly: u32,
    /// The newest of each day (UTC), for so many days that have one.
    pub daily: u32,
}

/// What is to be done about points that are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tidy {
    Nothing,
    /// Points that nothing stands on: they are forgotten, then their volumes go.
    Forget(Vec<u64>),
    /// Volumes that no point lists any more.
    Drop(Vec<String>),
    Merge(Merge),
}

impl Ladder {
    /// The numbers of the points that it keeps, pins included.
    pub fn kept(&self, points: &[RecoveryPoint]) -> BTreeSet<u64> {
        let mut kept: BTreeSet<u64> = points
            .iter()
            .rev()
            .take(self.last.max(1) as usize)
            .chain(points.iter().filter(|point| point.pinned))
            .map(|point| point.number)
            .collect();
        for (seconds, count) in [(3600, self.hourly), (86_400, self.daily)] {
            let mut spans = BTreeSet::new();
            for point in points.iter().rev() {
                let span = span(point.at, seconds);
                if spans.contains(&span) {
                    continue;
                }
                if spans.len() >= count as usize {
                    break;
                }
                spans.insert(span);
                kept.insert(point.number);
            }
        }
        kept
    }
}

fn span(at: Timestamp, seconds: i64) -> i64 {
    at.as_millis().div_euclid(seconds * 1000)
}

impl Manifest {
    /// The next thing to do so that only what `ladder` keeps takes space. `held` are points that something runs on.
    pub fn tidying(&self, ladder: &Ladder, held: &BTreeSet<u64>, max_chain: u32) -> Tidy {
        if !self.garbage.is_empty() {
            return Tidy::Drop(self.garbage.clone());
        }
        let mut held = held.clone();
        held.extend(self.serving_from);
        let mut wanted = ladder.kept(&self.points);
        wanted.extend(&held);
        let forgotten = self.loose(&wanted);
        if !forgotten.is_empty() {
            return Tidy::Forget(forgotten);
        }
        // A layer under way names the volume that it will stand on.
        if self.in_flight.is_some() {
            return Tidy::Nothing;
        }
        if let Some(merging) = &self.merging {
            return match self.merge_of(merging.number, &merging.forgotten, &held) {
                Some(merge) => Tidy::Merge(Merge {
                    disks: again(merging, &merge),
                    ..merge
                }),
                None => Tidy::Nothing,
            };
        }
        let newest = ladder.last.max(1) as usize;
        let first_of_newest = self.points.len().saturating_sub(newest);
        let long = self.needs_flattening(max_chain);
        self.runs(&wanted)
            .into_iter()
            .filter(|run| run.len() >= BATCH || run.end != first_of_newest || long)
            .max_by_key(ExactSizeIterator::len)
            .and_then(|run| {
                let number = self.points[run.end].number;
                let forgotten: Vec<u64> = self.points[run].iter().map(|p| p.number).collect();
                self.merge_of(number, &forgotten, &held)
            })
            .map_or(Tidy::Nothing, Tidy::Merge)
    }

    /// Points that are not wanted and that no wanted point of their line stands on.
    fn loose(&self, wanted: &BTreeSet<u64>) -> Vec<u64> {
        let mut loose = Vec::new();
        let mut needed = false;
        for point in self.points.iter().rev() {
            needed |= wanted.contains(&point.number);
            if !needed {
                loose.push(point.number);
            }
            // Under a full copy another line begins.
            needed &= point.depth != 0;
        }
        loose.reverse();
        loose
    }

    /// Each stretch of points that are not wanted, by its place; the point at its end is wanted.
    fn runs(&self, wanted: &BTreeSet<u64>) -> Vec<std::ops::Range<usize>> {
        let mut runs = Vec::new();
        let mut start = None;
        for (index, point) in self.points.iter().enumerate() {
            if point.depth == 0 {
                start = None;
            }
            if wanted.contains(&point.number) {
                runs.extend(start.take().map(|start| start..index));
            } else {
                start.get_or_insert(index);
            }
        }
        runs
    }

    /// The merge after which `number` stands on the lowest of `forgotten`; `None` where that layer is in use, or the
    /// points are not there.
    fn merge_of(&self, number: u64, forgotten: &[u64], held: &BTreeSet<u64>) -> Option<Merge> {
        let at = self
            .points
            .iter()
            .position(|point| point.number == number)?;
        let line_end = self.points[at + 1..]
            .iter()
            .position(|point| point.depth == 0)
            .map_or(self.points.len(), |next| at + 1 + next);
        if self.points[at..line_end]
            .iter()
            .any(|point| held.contains(&point.number))
        {
            return None;
        }
        let point = &self.points[at];
        let above = (at + 1 < line_end).then(|| &self.points[at + 1]);
        let below: Vec<&RecoveryPoint> = self
            .points
            .iter()
            .filter(|point| forgotten.contains(&point.number))
            .collect();
        let engine = &self.owner.engine;
        let disks = point.layers.iter().enumerate().map(|(disk, layer)| {
            let layer_of = |point: &&RecoveryPoint| point.layers.get(disk).cloned();
            let mut over: Vec<String> = below.iter().filter_map(layer_of).collect();
            let base = if over.is_empty() {
                layer.clone()
            } else {
                over.remove(0)
            };
            over.push(layer.clone());
            DiskMerge {
                base,
                over,
                above: above.and_then(|above| above.layers.get(disk).cloned()),
                scratch: names::scratch_volume(engine, &self.shadow, disk),
            }
        });
        Some(Merge {
            owner: self.owner.clone(),
            shadow: self.shadow.clone(),
            pool: self.target_pool.clone(),
            storage: self.target_storage.clone(),
            number,
            forgotten: forgotten.to_vec(),
            disks: disks.collect(),
        })
    }

    /// Forgets points that nothing stands on; their volumes are garbage from now on.
    pub fn forget(&mut self, numbers: &[u64]) {
        let gone = |point: &RecoveryPoint| numbers.contains(&point.number);
        self.garbage.extend(
            self.points
                .iter()
                .filter(|point| gone(point))
                .flat_map(|point| point.layers.iter().cloned()),
        );
        self.points.retain(|point| !gone(point));
    }

    /// The volumes are gone.
    pub fn dropped(&mut self, volumes: &[String]) {
        self.garbage.retain(|volume| !volumes.contains(volume));
    }

    /// Says, before anything happens, that the points under `merge` are none any more.
    pub fn begin_merge(&mut self, merge: Merge) {
        let lost = |point: &RecoveryPoint| merge.forgotten.contains(&point.number);
        let count = self.points.iter().filter(|point| lost(point)).count() as u32;
        let bytes: u64 = self
            .points
            .iter()
            .filter(|point| lost(point))
            .map(|point| point.stored_bytes)
            .sum();
        self.points.retain(|point| !lost(point));
        let at = self
            .points
            .iter()
            .position(|point| point.number == merge.number);
        if let Some(at) = at {
            self.points[at].stored_bytes += bytes;
            let mut line = self.points[at..].iter_mut();
            // The point itself may become the full copy that its line begins with.
            if let Some(point) = line.next() {
                point.depth = point.depth.saturating_sub(count);
            }
            for point in line.take_while(|point| point.depth != 0) {
                point.depth = point.depth.saturating_sub(count);
            }
        }
        self.merging = Some(merge);
    }

    /// The merge has ended: the point stands on the lowest layer, and those over it are garbage.
    pub fn merged(&mut self, stored_bytes: u64) {
        let Some(merge) = self.merging.take() else {
            return;
        };
        if let Some(point) = self.points.iter_mut().find(|p| p.number == merge.number) {
            point.layers = merge.disks.iter().map(|disk| disk.base.clone()).collect();
            point.stored_bytes = stored_bytes;
            // It is more now than what the source gave for this one point.
            point.digests.clear();
        }
        self.garbage
            .extend(merge.disks.into_iter().flat_map(|disk| disk.over));
    }

    /// What all points take on the target.
    pub fn stored_bytes(&self) -> u64 {
        self.points
            .iter()
            .fold(0, |sum, point| sum.saturating_add(point.stored_bytes))
    }
}

/// The disks of a merge that was begun before, by what stands above them now.
fn again(begun: &Merge, now: &Merge) -> Vec<DiskMerge> {
    begun
        .disks
        .iter()
        .zip(&now.disks)
        .map(|(begun, now)| DiskMerge {
            above: now.above.clone(),
            ..begun.clone()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{inventory::Owner, replication::Consistency};

    const LAST_TWO: Ladder = Ladder {
        last: 2,
        hourly: 0,
        daily: 0,
    };

    fn point(number: u64, depth: u32, minutes: i64) -> RecoveryPoint {
        RecoveryPoint {
            number,
            at: Timestamp::from_secs(minutes * 60),
            complete_at: Timestamp::from_secs(minutes * 60 + 1),
            consistent: Consistency::Crash,
            shipped_bytes: 10,
            stored_bytes: 10,
            layers: vec![format!("layer-{number}")],
            digests: Vec::new(),
            depth,
            pinned: false,
            proof: None,
        }
    }

    fn manifest(points: Vec<RecoveryPoint>) -> Manifest {
        let owner = Owner {
            engine: "0123456789ab".into(),
            operation: "op-1".into(),
        };
        let mut manifest = Manifest::new(
            "s-1".into(),
            owner,
            "a/1".into(),
            "b/b".into(),
            "shadow".to_owned(),
            60,
        );
        manifest.points = points;
        manifest
    }

    fn line(count: u64) -> Manifest {
        manifest((0..count).map(|n| point(n, n as u32, n as i64)).collect())
    }

    fn merge(tidy: Tidy) -> Merge {
        match tidy {
            Tidy::Merge(merge) => merge,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_newest_of_each_hour_and_day_and_pins_are_kept() {
        // Every 20 minutes for three days.
        let mut manifest = manifest(
            (0..216)
                .map(|n| point(n, n as u32, n as i64 * 20))
                .collect(),
        );
        manifest.points[5].pinned = true;
        let ladder = Ladder {
            last: 2,
            hourly: 3,
            daily: 2,
        };
        let kept: Vec<u64> = ladder.kept(&manifest.points).into_iter().collect();
        // Hours end with 215, 212, 209; days with 215 and 143.
        assert_eq!(kept, [5, 143, 209, 212, 214, 215]);
    }

    #[test]
    fn expired_points_go_down_into_the_layer_under_them_in_one_batch() {
        let nobody = BTreeSet::new();
        assert_eq!(line(9).tidying(&LAST_TWO, &nobody, 99), Tidy::Nothing);
        let mut manifest = line(10);
        let merge = merge(manifest.tidying(&LAST_TWO, &nobody, 99));
        assert_eq!(merge.number, 8);
        assert_eq!(merge.forgotten, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(merge.disks[0].base, "layer-0");
        assert_eq!(merge.disks[0].over.len(), 8);
        assert_eq!(merge.disks[0].above.as_deref(), Some("layer-9"));

        manifest.begin_merge(merge.clone());
        let depths: Vec<(u64, u32)> = manifest
            .points
            .iter()
            .map(|p| (p.number, p.depth))
            .collect();
        assert_eq!(depths, [(8, 0), (9, 1)]);
        assert!(
            manifest.volumes().contains(&"layer-3".to_owned()),
            "what is being merged is still there"
        );
        manifest.merged(70);
        assert_eq!(manifest.points[0].layers, ["layer-0"]);
        assert_eq!(manifest.stored_bytes(), 80);
        let garbage: Vec<String> = (1..=8).map(|n| format!("layer-{n}")).collect();
        assert_eq!(
            manifest.tidying(&LAST_TWO, &nobody, 99),
            Tidy::Drop(garbage.clone())
        );
        manifest.dropped(&garbage);
        assert_eq!(manifest.tidying(&LAST_TWO, &nobody, 99), Tidy::Nothing);
        assert_eq!(manifest.volumes(), ["layer-0", "layer-9", "layer-9-flat"]);
    }

    #[test]
    fn nothing_under_a_running_machine_is_written_to() {
        let mut manifest = line(12);
        for held in [10, 11] {
            let held = BTreeSet::from([held]);
            assert_eq!(manifest.tidying(&LAST_TWO, &held, 99), Tidy::Nothing);
        }
        // What lies over it may be merged.
        manifest.serving_from = Some(1);
        let merge = merge(manifest.tidying(&LAST_TWO, &BTreeSet::new(), 99));
        assert_eq!(merge.disks[0].base, "layer-2");
        assert_eq!(merge.number, 10);
        assert_eq!(merge.forgotten.first(), Some(&2));
    }

    #[test]
    fn a_merge_that_was_begun_is_done_again_with_what_stands_above_by_then() {
        let nobody = BTreeSet::new();
        let one = Ladder {
            last: 1,
            ..LAST_TWO
        };
        let mut manifest = line(9);
        let begun = merge(manifest.tidying(&one, &nobody, 99));
        assert_eq!(begun.disks[0].above, None);
        manifest.begin_merge(begun);
        manifest.points.push(point(9, 1, 9));
        let redone = merge(manifest.tidying(&one, &nobody, 99));
        assert_eq!(redone.disks[0].base, "layer-0");
        assert_eq!(redone.disks[0].over.last().unwrap(), "layer-8");
        assert_eq!(redone.disks[0].above.as_deref(), Some("layer-9"));
    }

    #[test]
    fn a_line_that_nobody_wants_goes_without_merging() {
        let mut manifest = manifest(vec![
            point(0, 0, 0),
            point(1, 1, 1),
            point(2, 2, 2),
            point(3, 0, 3),
            point(4, 1, 4),
        ]);
        let nobody = BTreeSet::new();
        assert_eq!(
            manifest.tidying(&LAST_TWO, &nobody, 99),
            Tidy::Forget(vec![0, 1, 2])
        );
        manifest.serving_from = Some(1);
        assert_eq!(
            manifest.tidying(&LAST_TWO, &nobody, 99),
            Tidy::Forget(vec![2])
        );
        manifest.forget(&[2]);
        assert_eq!(manifest.garbage, ["layer-2"]);
    }

    #[test]
    fn a_single_point_that_leaves_the_ladder_further_down_goes_at_once() {
        let ladder = Ladder {
            last: 2,
            hourly: 2,
            daily: 0,
        };
        let manifest = manifest(vec![
            point(0, 0, 10),
            point(1, 1, 70),
            point(2, 2, 130),
            point(3, 3, 131),
        ]);
        let merge = merge(manifest.tidying(&ladder, &BTreeSet::new(), 99));
        assert_eq!((merge.number, &*merge.forgotten), (1, &[0][..]));
    }
}
