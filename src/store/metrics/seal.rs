//! What is done in idle time: closing steps and sealing windows that are over, and dropping what is past its keeping
//! time. Each call does a little, so that nobody who writes waits long.

use super::{
    FILE, Metrics, StoreError,
    block::Block,
    cell::{Cell, GAP},
    chunk::{Columns, Want},
    rolled::Rolled,
    sqlite,
    tier::{LANES, Tier, VmNumber, block_key, block_start, chunk_key, window_key, window_start},
};
use crate::{metrics::Metric, units::Timestamp};

/// A window is sealed when it has been over for this long: what comes late is rare by then.
const GRACE_SECONDS: i64 = 900;
/// Rows that one transaction drops.
const PRUNED_AT_ONCE: u32 = 4000;
/// Between two looks that found nothing to do.
const REST_SECONDS: i64 = 60;

impl Metrics {
    /// Does the next piece of what is due; true when there may be more.
    ///
    /// # Errors
    /// When the file cannot be written; what was due stays due.
    pub fn maintain(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        if self.close_next()? {
            return Ok(true);
        }
        if now < self.nothing_due_before && self.nothing_due_before.secs_since(now) <= REST_SECONDS
        {
            return Ok(false);
        }
        if self.seal_next(now)? || self.prune(now)? {
            return Ok(true);
        }
        self.nothing_due_before = now.plus_secs(REST_SECONDS);
        Ok(false)
    }

    /// Seals one window of one group of VMs; false when none is due.
    fn seal_next(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        for tier in Tier::ALL {
            let Some((group, window)) = self.due(tier, now)? else {
                continue;
            };
            self.writing(|this| this.seal(tier, group, window))?;
            return Ok(true);
        }
        Ok(false)
    }

    /// The first group whose oldest block lies in a window that is over.
    fn due(&self, tier: Tier, now: Timestamp) -> Result<Option<(u32, i64)>, StoreError> {
        let over = now.as_secs() - GRACE_SECONDS - i64::from(tier.window_seconds());
        let sql = format!(
            "SELECT min(key) FROM {} WHERE key >= ?1",
            tier.block_table()
        );
        let mut select = self.db.prepare_cached(&sql).map_err(sqlite(FILE))?;
        let mut from = 0_i64;
        loop {
            let oldest: Option<i64> = select
                .query_row([from], |row| row.get(0))
                .map_err(sqlite(FILE))?;
            let Some(key) = oldest else { return Ok(None) };
            let window = tier.window_of(block_start(key));
            if window <= over {
                return Ok(Some(((key >> 32) as u32, window)));
            }
            from = ((key >> 32) + 1) << 32;
        }
    }

    /// Turns the blocks of a window into one chunk for each series.
    pub(super) fn seal(&mut self, tier: Tier, group: u32, window: i64) -> Result<(), StoreError> {
        let end = window + i64::from(tier.window_seconds());
        let (first, last) = (block_key(group, window), block_key(group, end));
        let step = tier.step_seconds(self.sample_step);
        let length = (tier.window_seconds() / step) as usize;
        let mut series: Vec<Option<Columns>> = vec![None; LANES as usize * Metric::COUNT];
        for (key, block) in self.blocks_between(tier, first, last)? {
            let start = ((block_start(key) - window) / i64::from(step)) as usize;
            let on_steps = super::close::regrid(&block, (tier.block_seconds() / step) as usize);
            for (lane, metric, cells) in on_steps.iter() {
                let Some(slot) = series.get_mut(lane * Metric::COUNT + metric) else {
                    continue;
                };
                let columns = slot.get_or_insert_with(|| Columns {
                    step_seconds: step,
                    columns: vec![vec![GAP; length]; tier.columns()],
                });
                for (column, cells) in columns.columns.iter_mut().zip(cells.chunks(on_steps.steps))
                {
                    column[start..start + cells.len()].copy_from_slice(cells);
                }
            }
        }
        for (index, columns) in series.into_iter().enumerate() {
            let Some(mut columns) = columns else { continue };
            let (lane, metric) = (index / Metric::COUNT, index % Metric::COUNT);
            let key = chunk_key(window, VmNumber(group * LANES + lane as u32), metric);
            if let Some(before) = self.chunk(tier, key, Want::All)? {
                join(Metric::ALL[metric], &before, &mut columns);
            }
            self.put_chunk(tier, key, &columns)?;
        }
        self.db
            .execute(
                &format!(
                    "DELETE FROM {} WHERE key >= ?1 AND key < ?2",
                    tier.block_table()
                ),
                [first, last],
            )
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    pub(super) fn blocks_between(
        &mut self,
        tier: Tier,
        first: i64,
        last: i64,
    ) -> Result<Vec<(i64, Block)>, StoreError> {
        let table = tier.block_table();
        let rows: Vec<(i64, Vec<u8>)> = self
            .db
            .prepare_cached(&format!(
                "SELECT key, data FROM {table} WHERE key >= ?1 AND key < ?2 ORDER BY key"
            ))
            .and_then(|mut select| {
                select
                    .query_map([first, last], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .map_err(sqlite(FILE))?;
        let mut blocks = Vec::with_capacity(rows.len());
        for (key, blob) in rows {
            match Block::decode(key, &blob).filter(|block| block.columns == tier.columns()) {
                Some(block) => blocks.push((key, block)),
                None => self.quarantine_row(table, key, &blob)?,
            }
        }
        Ok(blocks)
    }

    /// Drops some of what is older than its keeping time or over the cap; true when there may be more.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prune(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let history = self.keeping.history.clone();
        for (tier, days) in [
            (Tier::Samples, history.samples_days),
            (Tier::FiveMinutes, history.five_minutes_days),
            (Tier::Hours, history.hours_days),
        ] {
            let kept_from = now.as_secs() - i64::from(days) * 86_400;
            if kept_from > 0 && self.drop_chunks(tier, window_key(tier.window_of(kept_from)))? {
                return Ok(true);
            }
        }
        if self.used_bytes()? <= history.max_bytes() {
            return Ok(false);
        }
        // Over the cap: the finest go first, and of those the oldest.
        for tier in Tier::ALL {
            let oldest: Option<i64> = self
                .db
                .query_row(
                    &format!("SELECT min(key) FROM {}", tier.chunk_table()),
                    [],
                    |row| row.get(0),
                )
                .map_err(sqlite(FILE))?;
            if let Some(key) = oldest {
                let next = window_start(key) + i64::from(tier.window_seconds());
                return self.drop_chunks(tier, window_key(next));
            }
        }
        Ok(false)
    }

    fn drop_chunks(&mut self, tier: Tier, before: i64) -> Result<bool, StoreError> {
        let table = tier.chunk_table();
        let dropped = self
            .db
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE key IN (SELECT key FROM {table} WHERE key < ?1 ORDER BY key LIMIT ?2)"
            ))
            .and_then(|mut delete| delete.execute([before, i64::from(PRUNED_AT_ONCE)]))
            .map_err(sqlite(FILE))?;
        self.own_writes += u64::from(dropped > 0);
        Ok(dropped > 0)
    }

    /// Bytes that hold something; what was freed is used again before the file grows.
    pub(super) fn used_bytes(&self) -> Result<u64, StoreError> {
        let pragma = |name: &str| {
            self.db
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map_err(sqlite(FILE))
        };
        let pages = pragma("page_count")? - pragma("freelist_count")?;
        Ok((pages * pragma("page_size")?).max(0) as u64)
    }
}

/// Adds what a chunk held before to what is sealed now. Samples that stood stand; roll-ups count both.
pub(super) fn join(metric: Metric, before: &Columns, now: &mut Columns) {
    let length = now.columns.first().map_or(0, Vec::len);
    let four = now.columns.len() == 4;
    for (index, cell) in before.columns.first().into_iter().flatten().enumerate() {
        let place = index * before.step_seconds as usize / now.step_seconds as usize;
        if *cell == GAP || place >= length {
            continue;
        }
        if !four {
            now.columns[0][place] = *cell;
            continue;
        }
        let mut both = Rolled::from_cells(metric, at(before, index));
        both.add(&Rolled::from_cells(metric, at(now, place)));
        set(now, place, both.to_cells(metric));
    }
}

pub(super) fn at(columns: &Columns, index: usize) -> [Cell; 4] {
    let mut cells = [GAP; 4];
    for (cell, column) in cells.iter_mut().zip(&columns.columns) {
        *cell = column.get(index).copied().unwrap_or(GAP);
    }
    cells
}

pub(super) fn set(columns: &mut Columns, index: usize, cells: [Cell; 4]) {
    for (column, cell) in columns.columns.iter_mut().zip(cells) {
        column[index] = cell;
    }
}
