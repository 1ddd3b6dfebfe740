//! Reading a series: chunks, then what is open in blocks, then the head.

use std::collections::BTreeMap;

use super::{
    FILE, Metrics, StoreError,
    block::View,
    cell::{GAP, to_value},
    chunk::{Columns, Want},
    head::data_version,
    rolled::Rolled,
    seal::at,
    sqlite,
    tier::{Tier, VmNumber, block_key, block_start, chunk_key, in_range},
};
use crate::{
    metrics::{Metric, Series},
    units::{Timestamp, VmId},
};

/// No answer holds more steps than this.
const MAX_STEPS: i64 = 20_000_000;

/// The open roll-ups of the group that was asked for last: a fleet is read VM by VM.
#[derive(Default)]
pub struct BlockCache {
    of: Option<(Tier, u32, (i64, u64))>,
    rows: Vec<(i64, Vec<u8>)>,
}

/// Roll-ups of one series; a step whose `count` is 0 is a gap, and NaN in the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RollUps {
    pub start: Timestamp,
    pub step_seconds: u32,
    pub mean: Vec<f32>,
    pub least: Vec<f32>,
    pub most: Vec<f32>,
    pub count: Vec<u32>,
}

/// Steps of a tier or of an answer.
struct Steps {
    start: i64,
    step: i64,
    rolled: Vec<Rolled>,
}

impl Steps {
    fn new(start: i64, end: i64, step: i64) -> Self {
        let length = ((end - start).div_euclid(step) + 1).clamp(0, MAX_STEPS);
        Self {
            start,
            step,
            rolled: vec![Rolled::default(); length as usize],
        }
    }

    fn at(&mut self, seconds: i64) -> Option<&mut Rolled> {
        let index = (seconds - self.start).div_euclid(self.step);
        self.rolled.get_mut(usize::try_from(index).ok()?)
    }
}

impl Metrics {
    /// `from..=to` at `step_seconds`; steps without a value are gaps. What is asked in steps of 5 minutes or an hour and
    /// more comes from those roll-ups, finer ones from the samples.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn series(
        &mut self,
        vm: &VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: u32,
    ) -> Result<Series, StoreError> {
        let steps = self.steps(vm, metric, from, to, step_seconds, Want::First)?;
        Ok(Series {
            start: Timestamp::from_secs(steps.start),
            step_seconds: step_seconds.max(1),
            values: steps.rolled.iter().map(mean).collect(),
        })
    }

    /// The same with what a mean hides.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn roll_ups(
        &mut self,
        vm: &VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: u32,
    ) -> Result<RollUps, StoreError> {
        let steps = self.steps(vm, metric, from, to, step_seconds, Want::All)?;
        let or_gap = |rolled: &Rolled, value: f64| {
            if rolled.count == 0 {
                f32::NAN
            } else {
                value as f32
            }
        };
        let rolled = &steps.rolled;
        Ok(RollUps {
            start: Timestamp::from_secs(steps.start),
            step_seconds: step_seconds.max(1),
            mean: rolled.iter().map(mean).collect(),
            least: rolled.iter().map(|one| or_gap(one, one.least)).collect(),
            most: rolled.iter().map(|one| or_gap(one, one.most)).collect(),
            count: rolled.iter().map(|one| one.count).collect(),
        })
    }

    fn steps(
        &mut self,
        vm: &VmId,
        metric: Metric,
        from: Timestamp,
        to: Timestamp,
        step_seconds: u32,
        want: Want,
    ) -> Result<Steps, StoreError> {
        let step = i64::from(step_seconds.max(1));
        let start = from.floor_to(step_seconds.max(1)).as_secs();
        let mut answer = Steps::new(start, to.as_secs(), step);
        let Some(vm) = self.find_vm(vm)? else {
            return Ok(answer);
        };
        let tier = tier_for(step_seconds);
        let tier_step = i64::from(tier.step_seconds(self.sample_step));
        // A coarser step takes all that lies in it, also past `to`.
        let end = (start + answer.rolled.len() as i64 * step - 1).min(to.as_secs());
        let want = if tier_step == step { want } else { Want::All };
        let found = self.tier_steps(tier, vm, metric, start, end, want)?;
        if found.step == step && found.start == start {
            answer.rolled = found.rolled;
            return Ok(answer);
        }
        for (index, rolled) in found.rolled.iter().enumerate() {
            if rolled.count > 0
                && let Some(place) = answer.at(found.start + index as i64 * found.step)
            {
                place.add(rolled);
            }
        }
        Ok(answer)
    }

    /// What one tier holds of a series, on the tier's own steps.
    fn tier_steps(
        &mut self,
        tier: Tier,
        vm: VmNumber,
        metric: Metric,
        from: i64,
        to: i64,
        want: Want,
    ) -> Result<Steps, StoreError> {
        self.refresh()?;
        let step = i64::from(tier.step_seconds(self.sample_step));
        let start = from.div_euclid(step) * step;
        let mut steps = Steps::new(start, to, step);
        if to < from {
            return Ok(steps);
        }
        let window_seconds = i64::from(tier.window_seconds());
        let mut window = tier.window_of(start.max(0));
        while window <= to && in_range(window) {
            if let Some(columns) = self.chunk(tier, chunk_key(window, vm, metric.index()), want)? {
                take_columns(&mut steps, metric, window, &columns);
            }
            window += window_seconds;
        }
        self.take_blocks(tier, vm, metric, to, &mut steps)?;
        self.take_head(tier, vm, metric, &mut steps);
        Ok(steps)
    }

    fn take_blocks(
        &mut self,
        tier: Tier,
        vm: VmNumber,
        metric: Metric,
        to: i64,
        steps: &mut Steps,
    ) -> Result<(), StoreError> {
        let span = i64::from(tier.block_seconds());
        let first = steps.start.max(0).div_euclid(span) * span;
        if to < first || !in_range(to) {
            return Ok(());
        }
        let range = (block_key(vm.group(), first), block_key(vm.group(), to) + 1);
        self.load_blocks(tier, vm.group(), range)?;
        let rows = &self.blocks.rows;
        let rows = &rows[rows.partition_point(|(key, _)| *key < range.0)..];
        for (key, blob) in rows.iter().take_while(|(key, _)| *key < range.1) {
            let Some(view) = View::unchecked(blob) else {
                continue;
            };
            let Some(mut cells) = view.cells(vm.lane(), metric.index()) else {
                continue;
            };
            let block = block_start(*key);
            if tier == Tier::Samples {
                let each = span / view.steps as i64;
                for (index, cell) in cells.enumerate() {
                    if cell != GAP
                        && let Some(place) = steps.at(block + index as i64 * each)
                        && place.count == 0
                    {
                        *place = Rolled::one(to_value(metric, cell));
                    }
                }
            } else if let Some(place) = steps.at(block) {
                let four = std::array::from_fn(|_| cells.next().unwrap_or(GAP));
                place.add(&Rolled::from_cells(metric, four));
            }
        }
        Ok(())
    }

    /// Brings the blocks of a group into the cache. Roll-ups come whole, samples only in `range`.
    fn load_blocks(&mut self, tier: Tier, group: u32, range: (i64, i64)) -> Result<(), StoreError> {
        let version = data_version(&self.db).map_err(sqlite(FILE))?;
        let of = Some((tier, group, (version, self.own_writes)));
        if tier != Tier::Samples && self.blocks.of == of {
            return Ok(());
        }
        let range = match tier {
            Tier::Samples => range,
            _ => (i64::from(group) << 32, i64::from(group + 1) << 32),
        };
        let table = tier.block_table();
        self.blocks.of = None;
        self.blocks.rows.clear();
        let mut damaged = Vec::new();
        {
            let mut select = self
                .db
                .prepare_cached(&format!(
                    "SELECT key, data FROM {table} WHERE key >= ?1 AND key < ?2 ORDER BY key"
                ))
                .map_err(sqlite(FILE))?;
            let mut rows = select.query([range.0, range.1]).map_err(sqlite(FILE))?;
            while let Some(row) = rows.next().map_err(sqlite(FILE))? {
                let key: i64 = row.get(0).map_err(sqlite(FILE))?;
                let blob: Vec<u8> = row.get(1).map_err(sqlite(FILE))?;
                if View::of(key, &blob).is_some_and(|view| view.columns == tier.columns()) {
                    self.blocks.rows.push((key, blob));
                } else {
                    damaged.push((key, blob));
                }
            }
        }
        for (key, blob) in damaged {
            self.quarantine_row(table, key, &blob)?;
        }
        self.blocks.of = Some((tier, group, (version, self.own_writes)));
        Ok(())
    }

    fn take_head(&self, tier: Tier, vm: VmNumber, metric: Metric, steps: &mut Steps) {
        let mut sums: BTreeMap<i64, Rolled> = BTreeMap::new();
        for tick in self.head.ticks() {
            let cell = tick.cell(vm, metric.index());
            if cell == GAP {
                continue;
            }
            let one = Rolled::one(to_value(metric, cell));
            if tier == Tier::Samples {
                if let Some(place) = steps.at(tick.at)
                    && place.count == 0
                {
                    *place = one;
                }
            } else {
                let step = tick.at.div_euclid(steps.step) * steps.step;
                sums.entry(step).or_default().add(&one);
            }
        }
        for (at, sum) in sums {
            if let Some(place) = steps.at(at) {
                place.add(&sum);
            }
        }
    }

    /// What the 5-minute steps in a span hold, by their start.
    pub(super) fn five_minutes(
        &mut self,
        vm: VmNumber,
        metric: Metric,
        from: i64,
        to: i64,
    ) -> Result<BTreeMap<i64, Rolled>, StoreError> {
        let steps = self.tier_steps(Tier::FiveMinutes, vm, metric, from, to, Want::All)?;
        Ok(steps
            .rolled
            .iter()
            .enumerate()
            .filter(|(_, rolled)| rolled.count > 0)
            .map(|(index, rolled)| (steps.start + index as i64 * steps.step, *rolled))
            .collect())
    }

    /// The moment of the oldest value of a series.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn oldest(&mut self, vm: &VmId, metric: Metric) -> Result<Option<Timestamp>, StoreError> {
        let Some(vm) = self.find_vm(vm)? else {
            return Ok(None);
        };
        self.refresh()?;
        let mut oldest: Option<i64> = None;
        for tier in [Tier::Hours, Tier::FiveMinutes] {
            if let Some(at) = self.oldest_in(tier, vm, metric)? {
                // A finer tier that begins in the same hour says it more exactly.
                let span = i64::from(tier.step_seconds(self.sample_step));
                oldest = Some(match oldest {
                    Some(known) if at >= known + 3600 => known,
                    Some(_) | None => at.div_euclid(span) * span,
                });
            }
        }
        let open = self
            .head
            .ticks()
            .iter()
            .filter(|tick| tick.cell(vm, metric.index()) != GAP)
            .map(|tick| super::head::Head::step_of(tick.at))
            .min();
        let oldest = match (oldest, open) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        };
        Ok(oldest.map(Timestamp::from_secs))
    }

    fn oldest_in(
        &mut self,
        tier: Tier,
        vm: VmNumber,
        metric: Metric,
    ) -> Result<Option<i64>, StoreError> {
        let mut oldest = None;
        let mut from = 0_i64;
        // Window after window, of which there are a few dozens.
        while oldest.is_none() {
            let next: Option<i64> = self
                .db
                .prepare_cached(&format!(
                    "SELECT min(key) FROM {} WHERE key >= ?1",
                    tier.chunk_table()
                ))
                .and_then(|mut select| select.query_row([from], |row| row.get(0)))
                .map_err(sqlite(FILE))?;
            let Some(key) = next else { break };
            let window = super::tier::window_start(key);
            let columns = self.chunk(tier, chunk_key(window, vm, metric.index()), Want::First)?;
            if let Some(columns) = columns {
                let first = columns.columns[0].iter().position(|cell| *cell != GAP);
                oldest = first.map(|index| window + index as i64 * i64::from(columns.step_seconds));
            }
            from = super::tier::window_key(window + 60);
        }
        let group = i64::from(vm.group());
        self.load_blocks(tier, vm.group(), (group << 32, (group + 1) << 32))?;
        let open = self.blocks.rows.iter().find_map(|(key, blob)| {
            let has = View::unchecked(blob)?
                .cells(vm.lane(), metric.index())?
                .next()?
                != GAP;
            has.then(|| block_start(*key))
        });
        Ok(match (oldest, open) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        })
    }
}

/// The coarsest tier that is not coarser than what is asked.
const fn tier_for(step_seconds: u32) -> Tier {
    if step_seconds >= Tier::Hours.block_seconds() {
        Tier::Hours
    } else if step_seconds >= Tier::FiveMinutes.block_seconds() {
        Tier::FiveMinutes
    } else {
        Tier::Samples
    }
}

fn take_columns(steps: &mut Steps, metric: Metric, window: i64, columns: &Columns) {
    let each = i64::from(columns.step_seconds);
    let whole = columns.columns.len() == 4;
    for (index, cell) in columns.columns[0].iter().enumerate() {
        if *cell == GAP {
            continue;
        }
        let Some(place) = steps.at(window + index as i64 * each) else {
            continue;
        };
        if whole {
            *place = Rolled::from_cells(metric, at(columns, index));
        } else if place.count == 0 {
            *place = Rolled::one(to_value(metric, *cell));
        }
    }
}

fn mean(rolled: &Rolled) -> f32 {
    if rolled.count == 0 {
        f32::NAN
    } else {
        rolled.mean as f32
    }
}
