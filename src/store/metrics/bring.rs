//! History from elsewhere, straight into chunks.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Metrics, StoreError,
    cell::{GAP, to_cell},
    chunk::{Columns, Want},
    rolled::Rolled,
    seal::set,
    tier::{STEP_SECONDS, Tier, VmNumber, block_key, block_start, chunk_key, in_range},
};
use crate::{
    metrics::{Metric, Series},
    units::{Timestamp, VmId},
};

/// What an import does where something is known already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The import takes its place: a file that an operator brings.
    Replace,
    /// It stays: a back-fill, which knows less than what was measured here.
    Keep,
}

impl Metrics {
    /// Brings a series from elsewhere, in place of what its steps held. Returns the number of values.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing is.
    pub fn import(
        &mut self,
        vm: &VmId,
        metric: Metric,
        series: &Series,
    ) -> Result<usize, StoreError> {
        self.import_with(vm, metric, series, Existing::Replace)
    }

    /// # Errors
    /// When the file cannot be written; then nothing is.
    pub fn import_with(
        &mut self,
        vm: &VmId,
        metric: Metric,
        series: &Series,
        existing: Existing,
    ) -> Result<usize, StoreError> {
        let mut steps: BTreeMap<i64, Rolled> = BTreeMap::new();
        let mut count = 0;
        for (index, value) in series.values.iter().enumerate() {
            let at = series.at(index).as_secs();
            let value = f64::from(*value);
            if to_cell(metric, value) == GAP || !in_range(at) {
                continue;
            }
            let step = i64::from(STEP_SECONDS);
            steps
                .entry(at.div_euclid(step) * step)
                .or_default()
                .add(&Rolled::one(value));
            count += 1;
        }
        if steps.is_empty() {
            return Ok(0);
        }
        self.writing(|this| {
            let vm = this.number_vm(vm)?;
            this.bring(vm, metric, steps, existing)
        })?;
        Ok(count)
    }

    /// Puts roll-ups of 5 minutes into their chunks, and makes the hours above them anew.
    pub(super) fn bring(
        &mut self,
        vm: VmNumber,
        metric: Metric,
        mut steps: BTreeMap<i64, Rolled>,
        existing: Existing,
    ) -> Result<(), StoreError> {
        self.refresh()?;
        let (Some(first), Some(last)) = (ends(&steps).0, ends(&steps).1) else {
            return Ok(());
        };
        // The hours above are made anew from 5-minute steps, so none of those may still be in the head.
        let hours = first.div_euclid(3600) * 3600..=last.div_euclid(3600) * 3600 + 3599;
        if self
            .head
            .open_steps()
            .iter()
            .any(|open| hours.contains(open))
        {
            self.close_all()?;
        }
        match existing {
            Existing::Replace => {
                let starts = steps.keys().copied().collect();
                self.clear_blocks(Tier::FiveMinutes, vm, metric, &starts)?;
            }
            Existing::Keep => {
                for at in self.five_minutes(vm, metric, first, last)?.keys() {
                    steps.remove(at);
                }
            }
        }
        self.put_rolled(Tier::FiveMinutes, vm, metric, &steps)?;
        let hours: BTreeSet<i64> = steps.keys().map(|at| at.div_euclid(3600) * 3600).collect();
        let (Some(first), Some(last)) = (hours.first().copied(), hours.last().copied()) else {
            return Ok(());
        };
        let mut rolled: BTreeMap<i64, Rolled> = BTreeMap::new();
        for (at, step) in self.five_minutes(vm, metric, first, last + 3599)? {
            let hour = at.div_euclid(3600) * 3600;
            if hours.contains(&hour) {
                rolled.entry(hour).or_default().add(&step);
            }
        }
        self.clear_blocks(Tier::Hours, vm, metric, &hours)?;
        self.put_rolled(Tier::Hours, vm, metric, &rolled)
    }

    fn clear_blocks(
        &mut self,
        tier: Tier,
        vm: VmNumber,
        metric: Metric,
        starts: &BTreeSet<i64>,
    ) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (starts.first(), starts.last()) else {
            return Ok(());
        };
        let range = (
            block_key(vm.group(), *first),
            block_key(vm.group(), *last) + 1,
        );
        for (key, mut block) in self.blocks_between(tier, range.0, range.1)? {
            if starts.contains(&block_start(key)) && block.get(vm.lane(), metric.index()).is_some()
            {
                block.clear(vm.lane(), metric.index());
                self.put_block(tier, key, &block)?;
            }
        }
        self.own_writes += 1;
        Ok(())
    }

    fn put_rolled(
        &mut self,
        tier: Tier,
        vm: VmNumber,
        metric: Metric,
        steps: &BTreeMap<i64, Rolled>,
    ) -> Result<(), StoreError> {
        let step = tier.block_seconds();
        let length = (tier.window_seconds() / step) as usize;
        let mut rest = steps.iter().peekable();
        while let Some((at, _)) = rest.peek() {
            let window = tier.window_of(**at);
            let end = window + i64::from(tier.window_seconds());
            let key = chunk_key(window, vm, metric.index());
            let mut columns = self
                .chunk(tier, key, Want::All)?
                .unwrap_or_else(|| Columns {
                    step_seconds: step,
                    columns: vec![Vec::new(); tier.columns()],
                });
            for column in &mut columns.columns {
                column.resize(length, GAP);
            }
            while let Some((at, rolled)) = rest.next_if(|(at, _)| **at < end) {
                let index = ((at - window) / i64::from(step)) as usize;
                set(&mut columns, index, rolled.to_cells(metric));
            }
            self.put_chunk(tier, key, &columns)?;
        }
        self.own_writes += 1;
        Ok(())
    }

    /// Puts samples into the chunks of their days; what is there stands. For the schema before this one.
    pub(super) fn bring_samples(
        &mut self,
        vm: VmNumber,
        metric: Metric,
        samples: &[(Timestamp, f64)],
    ) -> Result<(), StoreError> {
        let step = i64::from(self.sample_step);
        let window_seconds = i64::from(Tier::Samples.window_seconds());
        let mut windows: BTreeMap<i64, Columns> = BTreeMap::new();
        for (at, value) in samples {
            let seconds = at.as_secs();
            if !in_range(seconds) {
                continue;
            }
            let window = Tier::Samples.window_of(seconds);
            let columns = windows.entry(window).or_insert_with(|| Columns {
                step_seconds: step as u32,
                columns: vec![vec![GAP; (window_seconds / step) as usize]],
            });
            let place = &mut columns.columns[0][((seconds - window) / step) as usize];
            if *place == GAP {
                *place = to_cell(metric, *value);
            }
        }
        for (window, columns) in windows {
            self.put_chunk(
                Tier::Samples,
                chunk_key(window, vm, metric.index()),
                &columns,
            )?;
        }
        self.own_writes += 1;
        Ok(())
    }
}

fn ends(steps: &BTreeMap<i64, Rolled>) -> (Option<i64>, Option<i64>) {
    (
        steps.first_key_value().map(|(at, _)| *at),
        steps.last_key_value().map(|(at, _)| *at),
    )
}
