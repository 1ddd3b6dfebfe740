//! The head: ticks of the steps that are still open, packed as they lie in the file.

use rusqlite::{Connection, OptionalExtension};

use super::{
    cell::{Bytes, CHECKSUM, Cell, GAP, Packed, checked, pack, seal_with_checksum},
    tier::{STEP_SECONDS, VmNumber},
};
use crate::metrics::Metric;

/// The values of one VM at one step.
pub type Row = [Cell; Metric::COUNT];

/// VMs with consecutive numbers.
#[derive(Clone, Copy, Debug)]
struct Run {
    first: u32,
    length: u32,
    /// Place of the first one's values.
    at: u32,
}

/// The values of many VMs at one step.
#[derive(Clone, Debug)]
pub struct Tick {
    pub at: i64,
    blob: Vec<u8>,
    runs: Vec<Run>,
    metrics: Vec<Packed>,
}

impl Tick {
    /// `rows` are sorted by VM, each VM once.
    pub fn encode(at: i64, rows: &[(VmNumber, Row)]) -> Vec<u8> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for (vm, _) in rows {
            match runs.last_mut() {
                Some((first, length)) if *first + *length == vm.0 => *length += 1,
                _ => runs.push((vm.0, 1)),
            }
        }
        let mut blob = vec![0; CHECKSUM];
        blob.extend_from_slice(&(runs.len() as u32).to_le_bytes());
        for (first, length) in runs {
            blob.extend_from_slice(&first.to_le_bytes());
            blob.extend_from_slice(&length.to_le_bytes());
        }
        blob.push(Metric::COUNT as u8);
        let mut column = Vec::with_capacity(rows.len());
        for metric in 0..Metric::COUNT {
            column.clear();
            column.extend(rows.iter().map(|(_, row)| row[metric]));
            pack(&column, &mut blob);
        }
        seal_with_checksum(at, &mut blob);
        blob
    }

    /// `None` when the blob is not what was written.
    pub fn decode(at: i64, blob: Vec<u8>) -> Option<Self> {
        let rest = checked(at, &blob)?;
        let mut bytes = Bytes(rest);
        let count = bytes.u32()?;
        let mut runs = Vec::new();
        let mut vms = 0_u32;
        for _ in 0..count {
            let (first, length) = (bytes.u32()?, bytes.u32()?);
            runs.push(Run {
                first,
                length,
                at: vms,
            });
            vms = vms.checked_add(length)?;
        }
        let metric_count = bytes.u8()?;
        let mut offset = rest.len() - bytes.0.len() + CHECKSUM;
        let mut metrics = Vec::new();
        for _ in 0..metric_count {
            let packed = Packed::find(&blob, offset, vms as usize)?;
            offset = packed.end();
            metrics.push(packed);
        }
        Some(Self {
            at,
            blob,
            runs,
            metrics,
        })
    }

    fn place(&self, vm: VmNumber) -> Option<usize> {
        let after = self.runs.partition_point(|run| run.first <= vm.0);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let within = vm.0 - run.first;
        (within < run.length).then_some((run.at + within) as usize)
    }

    pub fn cell(&self, vm: VmNumber, metric: usize) -> Cell {
        match (self.place(vm), self.metrics.get(metric)) {
            (Some(place), Some(packed)) => packed.get(&self.blob, place),
            _ => GAP,
        }
    }

    pub fn rows(&self) -> impl Iterator<Item = (VmNumber, Row)> + '_ {
        self.runs.iter().flat_map(move |run| {
            (0..run.length).map(move |within| {
                let place = (run.at + within) as usize;
                let mut row = [GAP; Metric::COUNT];
                for (cell, packed) in row.iter_mut().zip(&self.metrics) {
                    *cell = packed.get(&self.blob, place);
                }
                (VmNumber(run.first + within), row)
            })
        })
    }
}

/// All ticks of the open steps, as of some version of the file.
pub struct Head {
    ticks: Vec<Tick>,
    /// Steps that have ticks, the one that was written last at the end.
    open: Vec<i64>,
    last_id: i64,
    /// No step after this one was ever closed.
    closed_to: i64,
    /// Of the file, when this was read; `None` before.
    seen: Option<(i64, i64)>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            ticks: Vec::new(),
            open: Vec::new(),
            last_id: 0,
            closed_to: i64::MIN,
            seen: None,
        }
    }
}

/// The fact that counts how often steps were closed (ticks from before may be gone), and the last step of those.
pub const GENERATION: &str = "generation";

impl Head {
    pub fn step_of(at: i64) -> i64 {
        at.div_euclid(i64::from(STEP_SECONDS)) * i64::from(STEP_SECONDS)
    }

    pub fn ticks(&self) -> &[Tick] {
        &self.ticks
    }

    pub fn open_steps(&self) -> &[i64] {
        &self.open
    }

    pub const fn closed_to(&self) -> i64 {
        self.closed_to
    }

    pub fn generation(&self) -> Option<i64> {
        self.seen.map(|(_, generation)| generation)
    }

    /// What was read no longer counts.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Reads what other connections wrote since. Returns damaged ticks: id, time and bytes.
    pub fn refresh(&mut self, db: &Connection) -> rusqlite::Result<Vec<(i64, i64, Vec<u8>)>> {
        let version = data_version(db)?;
        if self.seen.is_some_and(|(seen, _)| seen == version) {
            return Ok(Vec::new());
        }
        let (generation, closed_to) = generation(db)?;
        if self.seen.is_none_or(|(_, seen)| seen != generation) {
            self.forget();
        }
        self.seen = Some((version, generation));
        self.closed_to = closed_to;
        let mut damaged = Vec::new();
        let mut select =
            db.prepare_cached("SELECT id, at, data FROM tick WHERE id > ?1 ORDER BY id")?;
        let mut rows = select.query([self.last_id])?;
        while let Some(row) = rows.next()? {
            let (id, at): (i64, i64) = (row.get(0)?, row.get(1)?);
            let blob: Vec<u8> = row.get(2)?;
            match Tick::decode(at, blob) {
                Some(tick) => self.push(id, tick),
                None => damaged.push((id, at, row.get(2)?)),
            }
            self.last_id = self.last_id.max(id);
        }
        Ok(damaged)
    }

    /// Takes a tick that this connection wrote.
    pub fn push(&mut self, id: i64, tick: Tick) {
        let step = Self::step_of(tick.at);
        self.open.retain(|open| *open != step);
        self.open.push(step);
        self.last_id = self.last_id.max(id);
        self.ticks.push(tick);
    }

    /// Takes the ticks of a step out, in the order in which they came.
    pub fn take(&mut self, step: i64) -> Vec<Tick> {
        self.open.retain(|open| *open != step);
        let (taken, left) = std::mem::take(&mut self.ticks)
            .into_iter()
            .partition(|tick| Self::step_of(tick.at) == step);
        self.ticks = left;
        taken
    }

    /// This connection closed a step itself and need not read all anew.
    pub fn closed(&mut self, generation: i64, closed_to: i64) {
        self.closed_to = closed_to;
        if let Some((_, seen)) = &mut self.seen {
            *seen = generation;
        }
    }
}

/// Changes when another connection has written.
pub fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?
        .query_row([], |row| row.get(0))
}

/// How often steps were closed, and the last of those.
pub fn generation(db: &Connection) -> rusqlite::Result<(i64, i64)> {
    let found: Option<String> = db
        .prepare_cached("SELECT value FROM fact WHERE name = ?1")?
        .query_row([GENERATION], |row| row.get(0))
        .optional()?;
    let numbers = found.as_deref().and_then(|text| {
        let (generation, closed_to) = text.split_once(' ')?;
        Some((generation.parse().ok()?, closed_to.parse().ok()?))
    });
    Ok(numbers.unwrap_or((0, i64::MIN)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tick_comes_back(
            vms in proptest::collection::btree_map(0..200_u32, proptest::array::uniform8(prop_oneof![Just(GAP), 0..20_000_u32]), 0..60),
            at in any::<i64>(),
        ) {
            let rows: Vec<(VmNumber, Row)> = vms.iter().map(|(vm, row)| (VmNumber(*vm), *row)).collect();
            let tick = Tick::decode(at, Tick::encode(at, &rows)).unwrap();
            prop_assert_eq!(tick.rows().collect::<Vec<_>>(), rows);
            for vm in 0..200 {
                let expected = vms.get(&vm).map_or(GAP, |row| row[3]);
                prop_assert_eq!(tick.cell(VmNumber(vm), 3), expected);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 4..200)) {
            seal_with_checksum(1, &mut bytes);
            if let Some(tick) = Tick::decode(1, bytes) {
                prop_assert_eq!(tick.cell(VmNumber(u32::MAX), 200), GAP);
            }
        }
    }
}
