//! Taking ticks in, and closing a step of the roll-ups once it is over.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{OptionalExtension, params};

use super::{
    FILE, Metrics, StoreError,
    block::Block,
    cell::{Cell, GAP, to_cell, to_value},
    chunk::{self, Want},
    head::{Head, Row, Tick},
    rolled::Rolled,
    sqlite,
    tier::{LANES, STEP_SECONDS, Tier, VmNumber, block_key, chunk_key, in_range},
};
use crate::metrics::{Metric, Sample};

/// Steps that stay open: samples of hosts that are read a little later still find theirs.
const OPEN_STEPS: usize = 2;
/// More than these an append closes itself: nobody keeps the store up, and the head must stay small.
const MAX_OPEN_STEPS: usize = 4;

/// What an append will know of each VM once it is on disk.
type Newest = HashMap<VmNumber, (i64, i64)>;

impl Metrics {
    /// Keeps the samples of a tick; they are on disk when this returns. What is left out says the module's head.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing of the tick is, and the next one may be again.
    pub fn append(&mut self, samples: &[Sample]) -> Result<(), StoreError> {
        if samples.is_empty() {
            return Ok(());
        }
        let kept = match self.writing(|this| this.append_all(samples)) {
            Err(error) if error.is_damage() && self.folder.is_some() => {
                self.begin_anew(&error)?;
                self.writing(|this| this.append_all(samples))
            }
            kept => kept,
        };
        self.newest.extend(kept?);
        Ok(())
    }

    fn append_all(&mut self, samples: &[Sample]) -> Result<Newest, StoreError> {
        self.refresh()?;
        let mut newest = Newest::new();
        let mut steps: BTreeMap<i64, Vec<(VmNumber, Row)>> = BTreeMap::new();
        for sample in samples {
            if !in_range(sample.at.as_secs()) {
                continue;
            }
            let mut row = [GAP; Metric::COUNT];
            for metric in Metric::ALL {
                if let Some(value) = sample.get(metric) {
                    row[metric.index()] = to_cell(metric, f64::from(value));
                }
            }
            if row.iter().all(|cell| *cell == GAP) {
                continue;
            }
            let vm = self.number_vm(&sample.vm)?;
            let known = newest.get(&vm).or_else(|| self.newest.get(&vm)).copied();
            let at_millis = sample.at.as_millis();
            let step = i64::from(self.sample_step);
            let mut place = at_millis.div_euclid(step * 1000) * step;
            match known {
                Some((newest_millis, _)) if at_millis == newest_millis => continue,
                Some((newest_millis, newest_place)) if at_millis > newest_millis => {
                    let second_half = (at_millis - place * 1000) * 2 >= step * 1000;
                    if place == newest_place && second_half {
                        place += step;
                    }
                    if place <= newest_place {
                        self.leave_taken(place, vm, &mut row);
                    }
                    newest.insert(vm, (at_millis, place.max(newest_place)));
                }
                Some(_) => self.leave_taken(place, vm, &mut row),
                None => {
                    // The first since the start: what was kept before it is in the head.
                    self.leave_taken(place, vm, &mut row);
                    newest.insert(vm, (at_millis, place));
                }
            }
            if row.iter().any(|cell| *cell != GAP) {
                steps.entry(place).or_default().push((vm, row));
            }
        }
        self.leave_standing(&mut steps)?;
        for (at, mut rows) in steps {
            rows.sort_by_key(|(vm, _)| *vm);
            rows.dedup_by_key(|(vm, _)| *vm);
            self.write_tick(at, &rows)?;
        }
        self.close_down_to(MAX_OPEN_STEPS)?;
        Ok(newest)
    }

    fn close_down_to(&mut self, left: usize) -> Result<(), StoreError> {
        while self.head.open_steps().len() > left {
            let oldest = self.head.open_steps()[0];
            self.close_step(oldest)?;
        }
        Ok(())
    }

    /// Closes one step that is over; false when none is.
    pub(super) fn close_next(&mut self) -> Result<bool, StoreError> {
        self.refresh()?;
        let open = self.head.open_steps().len();
        if open <= OPEN_STEPS {
            return Ok(false);
        }
        self.writing(|this| {
            this.refresh()?;
            this.close_down_to(open - 1)
        })?;
        Ok(true)
    }

    /// Takes out of `row` what an open tick holds already.
    fn leave_taken(&self, place: i64, vm: VmNumber, row: &mut Row) {
        for tick in self.head.ticks().iter().filter(|tick| tick.at == place) {
            for (metric, cell) in row.iter_mut().enumerate() {
                if tick.cell(vm, metric) != GAP {
                    *cell = GAP;
                }
            }
        }
    }

    /// Takes out of rows for steps that were closed before what their blocks and chunks hold.
    fn leave_standing(
        &mut self,
        steps: &mut BTreeMap<i64, Vec<(VmNumber, Row)>>,
    ) -> Result<(), StoreError> {
        let closed_to = self.head.closed_to();
        for (at, rows) in steps.iter_mut() {
            let step = Head::step_of(*at);
            if step > closed_to {
                break;
            }
            let index = ((*at - step) / i64::from(self.sample_step)) as usize;
            for (vm, row) in rows.iter_mut() {
                let standing = self.standing(step, vm.group())?;
                for (metric, cell) in row.iter_mut().enumerate() {
                    let stands = standing.get(vm.lane(), metric);
                    if stands.is_some_and(|cells| cells[index] != GAP) {
                        *cell = GAP;
                    }
                }
            }
            rows.retain(|(_, row)| row.iter().any(|cell| *cell != GAP));
        }
        steps.retain(|_, rows| !rows.is_empty());
        Ok(())
    }

    /// What a closed step of a group holds, in its block and in chunks.
    fn standing(&mut self, step: i64, group: u32) -> Result<&Block, StoreError> {
        if !self.standing.contains_key(&(step, group)) {
            let per_block = (STEP_SECONDS / self.sample_step) as usize;
            let mut block = match self.block(Tier::Samples, block_key(group, step))? {
                Some(block) => regrid(&block, per_block),
                None => Block::new(1, per_block),
            };
            self.add_sealed(step, group, &mut block)?;
            self.standing.insert((step, group), block);
        }
        Ok(&self.standing[&(step, group)])
    }

    fn write_tick(&mut self, at: i64, rows: &[(VmNumber, Row)]) -> Result<(), StoreError> {
        let blob = Tick::encode(at, rows);
        self.db
            .prepare_cached("INSERT INTO tick (at, data) VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute(params![at, blob]))
            .map_err(sqlite(FILE))?;
        let id = self.db.last_insert_rowid();
        let tick = Tick::decode(at, blob).ok_or_else(|| StoreError::Damaged {
            file: FILE.to_owned(),
            row: format!("tick {id}"),
            why: "what was packed cannot be read back".to_owned(),
        })?;
        self.head.push(id, tick);
        Ok(())
    }

    /// Closes every open step, so that blocks and chunks hold all there is.
    pub(super) fn close_all(&mut self) -> Result<(), StoreError> {
        while let Some(step) = self.head.open_steps().first().copied() {
            self.close_step(step)?;
        }
        Ok(())
    }

    /// Turns the ticks of a step into blocks of samples and adds them to the roll-ups.
    fn close_step(&mut self, step: i64) -> Result<(), StoreError> {
        let ticks = self.head.take(step);
        let sample_step = i64::from(self.sample_step);
        let per_block = (i64::from(STEP_SECONDS) / sample_step) as usize;
        let mut groups: BTreeMap<u32, Block> = BTreeMap::new();
        for tick in &ticks {
            let index = ((tick.at - step) / sample_step) as usize;
            for (vm, row) in tick.rows() {
                let block = groups
                    .entry(vm.group())
                    .or_insert_with(|| Block::new(1, per_block));
                for (metric, cell) in row.into_iter().enumerate() {
                    if cell == GAP {
                        continue;
                    }
                    let place = &mut block.cells(vm.lane(), metric)[index];
                    if *place == GAP {
                        *place = cell;
                    }
                }
            }
        }
        for (group, fresh) in groups {
            self.close_group(step, group, fresh)?;
        }
        self.db
            .prepare_cached("DELETE FROM tick WHERE at >= ?1 AND at < ?2")
            .and_then(|mut delete| delete.execute([step, step + i64::from(STEP_SECONDS)]))
            .map_err(sqlite(FILE))?;
        self.standing.clear();
        self.next_generation(step)
    }

    fn close_group(&mut self, step: i64, group: u32, mut fresh: Block) -> Result<(), StoreError> {
        let key = block_key(group, step);
        let mut merged = fresh.clone();
        if step <= self.head.closed_to() {
            let before = self.standing(step, group)?.clone();
            for (lane, metric, cells) in before.iter() {
                keep_standing(cells, fresh.cells(lane, metric));
                keep_standing(cells, merged.cells(lane, metric));
            }
            // What is sealed stays in its chunk; what is in the block goes back into it.
            if let Some(block) = self.block(Tier::Samples, key)? {
                for (lane, metric, cells) in regrid(&block, fresh.steps).iter() {
                    let places = merged.cells(lane, metric).iter_mut();
                    for (place, cell) in places.zip(cells).filter(|(_, cell)| **cell != GAP) {
                        *place = *cell;
                    }
                }
            }
        }
        self.put_block(Tier::Samples, key, &merged)?;
        let mut rolled = Vec::new();
        for (lane, metric, cells) in fresh.iter() {
            let metric = Metric::ALL[metric];
            let mut sum = Rolled::default();
            for cell in cells.iter().filter(|cell| **cell != GAP) {
                sum.add(&Rolled::one(to_value(metric, *cell)));
            }
            if sum.count > 0 {
                rolled.push((lane, metric, sum));
            }
        }
        for tier in Tier::ROLLED {
            let span = i64::from(tier.block_seconds());
            let key = block_key(group, step.div_euclid(span) * span);
            let mut block = self
                .block(tier, key)?
                .unwrap_or_else(|| Block::new(tier.columns(), 1));
            for (lane, metric, sum) in &rolled {
                let cells = block.cells(*lane, metric.index());
                let Ok(four) = <&mut [Cell; 4]>::try_from(cells) else {
                    continue;
                };
                let mut both = Rolled::from_cells(*metric, *four);
                both.add(sum);
                *four = both.to_cells(*metric);
            }
            self.put_block(tier, key, &block)?;
        }
        Ok(())
    }

    /// Adds what the chunks of a day that is sealed hold of a step.
    fn add_sealed(&mut self, step: i64, group: u32, block: &mut Block) -> Result<(), StoreError> {
        let window = Tier::Samples.window_of(step);
        let first = chunk_key(window, VmNumber(group * LANES), 0);
        let last = chunk_key(
            window,
            VmNumber(group * LANES + LANES - 1),
            Metric::COUNT - 1,
        );
        let keys: Vec<i64> = self
            .db
            .prepare_cached("SELECT key FROM sample_chunk WHERE key BETWEEN ?1 AND ?2")
            .and_then(|mut select| select.query_map([first, last], |row| row.get(0))?.collect())
            .map_err(sqlite(FILE))?;
        for key in keys {
            let Some(sealed) = self.chunk(Tier::Samples, key, Want::First)? else {
                continue;
            };
            let (lane, metric) = ((key >> 4) as u32 % LANES, (key & 15) as usize);
            let sample_step = i64::from(self.sample_step);
            for index in 0..block.steps {
                let at = step + index as i64 * sample_step - window;
                let at = (at / i64::from(sealed.step_seconds)) as usize;
                let cell = sealed.columns[0].get(at).copied().unwrap_or(GAP);
                if cell != GAP {
                    block.cells(lane as usize, metric)[index] = cell;
                }
            }
        }
        Ok(())
    }

    /// `None` where there is no such block, or it was damaged and is in quarantine now.
    pub(super) fn block(&mut self, tier: Tier, key: i64) -> Result<Option<Block>, StoreError> {
        let table = tier.block_table();
        let blob: Option<Vec<u8>> = self
            .db
            .prepare_cached(&format!("SELECT data FROM {table} WHERE key = ?1"))
            .and_then(|mut select| select.query_row([key], |row| row.get(0)).optional())
            .map_err(sqlite(FILE))?;
        let Some(blob) = blob else { return Ok(None) };
        match Block::decode(key, &blob).filter(|block| block.columns == tier.columns()) {
            Some(block) => Ok(Some(block)),
            None => self.quarantine_row(table, key, &blob).map(|()| None),
        }
    }

    pub(super) fn put_block(
        &mut self,
        tier: Tier,
        key: i64,
        block: &Block,
    ) -> Result<(), StoreError> {
        let table = tier.block_table();
        if block.is_empty() {
            self.db
                .prepare_cached(&format!("DELETE FROM {table} WHERE key = ?1"))
                .and_then(|mut delete| delete.execute([key]))
                .map_err(sqlite(FILE))?;
            return Ok(());
        }
        self.db
            .prepare_cached(&format!(
                "INSERT OR REPLACE INTO {table} (key, data) VALUES (?1, ?2)"
            ))
            .and_then(|mut put| put.execute(params![key, block.encode(key)]))
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    /// `None` where there is no such chunk, or it was damaged and is in quarantine now.
    pub(super) fn chunk(
        &mut self,
        tier: Tier,
        key: i64,
        want: Want,
    ) -> Result<Option<chunk::Columns>, StoreError> {
        let table = tier.chunk_table();
        let sql = match tier {
            Tier::Samples => "SELECT data FROM sample_chunk WHERE key = ?1",
            Tier::FiveMinutes => "SELECT data FROM five_minute_chunk WHERE key = ?1",
            Tier::Hours => "SELECT data FROM hour_chunk WHERE key = ?1",
        };
        let mut select = self.db.prepare_cached(sql).map_err(sqlite(FILE))?;
        let mut rows = select.query([key]).map_err(sqlite(FILE))?;
        let Some(row) = rows.next().map_err(sqlite(FILE))? else {
            return Ok(None);
        };
        let blob = row
            .get_ref(0)
            .and_then(|value| Ok(value.as_blob()?))
            .map_err(sqlite(FILE))?;
        let wanted = if want == Want::All { tier.columns() } else { 1 };
        if let Some(columns) =
            chunk::decode(key, blob, want).filter(|found| found.columns.len() == wanted)
        {
            return Ok(Some(columns));
        }
        let blob = blob.to_vec();
        drop(rows);
        drop(select);
        self.quarantine_row(table, key, &blob).map(|()| None)
    }

    /// Writes a chunk, or removes it where nothing is left in it.
    pub(super) fn put_chunk(
        &mut self,
        tier: Tier,
        key: i64,
        values: &chunk::Columns,
    ) -> Result<(), StoreError> {
        let table = tier.chunk_table();
        let blob = chunk::encode(key, values).map_err(|why| StoreError::Damaged {
            file: FILE.to_owned(),
            row: format!("{table} {key}"),
            why,
        })?;
        let written = match blob {
            None => self
                .db
                .prepare_cached(&format!("DELETE FROM {table} WHERE key = ?1"))
                .and_then(|mut delete| delete.execute([key])),
            Some(blob) => self
                .db
                .prepare_cached(&format!(
                    "INSERT OR REPLACE INTO {table} (key, cells, data) VALUES (?1, ?2, ?3)"
                ))
                .and_then(|mut put| put.execute(params![key, chunk::present(values) as i64, blob])),
        };
        written.map_err(sqlite(FILE)).map(drop)
    }
}

/// Takes out of `fresh` what stands already.
fn keep_standing(standing: &[Cell], fresh: &mut [Cell]) {
    for (standing, fresh) in standing.iter().zip(fresh) {
        if *standing != GAP {
            *fresh = GAP;
        }
    }
}

/// A block of another sampling interval on this one's steps.
pub(super) fn regrid(block: &Block, steps: usize) -> Block {
    if block.steps == steps {
        return block.clone();
    }
    let mut on_steps = Block::new(block.columns, steps);
    for (lane, metric, cells) in block.iter() {
        let places = on_steps.cells(lane, metric);
        for (index, cell) in cells.iter().enumerate() {
            let place = &mut places[index * steps / block.steps];
            if *place == GAP {
                *place = *cell;
            }
        }
    }
    on_steps
}
