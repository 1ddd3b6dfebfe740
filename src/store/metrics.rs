//! Samples and their roll-ups. The face is small: append, import, series, prune.

use std::{collections::HashMap, path::Path};

use rusqlite::{Connection, OptionalExtension, params};

use super::{StoreError, sqlite};
use crate::{
    metrics::{Metric, Sample, Series},
    units::{Timestamp, VmId},
};

const FILE: &str = "metrics.db";
/// The step of the roll-ups, and of everything that is forecast.
pub const STEP_SECONDS: u32 = 300;
const KEEP_SAMPLES_SECONDS: i64 = 2 * 86_400;
const KEEP_ROLLUPS_SECONDS: i64 = 90 * 86_400;

pub struct Metrics {
    db: Connection,
    ids: HashMap<(VmId, Metric), i64>,
}

impl Metrics {
    /// Opens or makes `metrics.db` in `folder`.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        Self::with(Connection::open(folder.join(FILE)).map_err(sqlite(FILE))?)
    }

    /// # Errors
    /// When SQLite fails.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with(Connection::open_in_memory().map_err(sqlite(FILE))?)
    }

    fn with(db: Connection) -> Result<Self, StoreError> {
        let set_up = || -> rusqlite::Result<()> {
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "NORMAL")?;
            db.busy_timeout(std::time::Duration::from_secs(5))?;
            db.execute_batch(include_str!("schema_metrics.sql"))
        };
        set_up().map_err(sqlite(FILE))?;
        Ok(Self {
            db,
            ids: HashMap::new(),
        })
    }

    /// Keeps samples and adds them to their roll-ups, all or none. A sample that is there already changes nothing.
    ///
    /// # Errors
    /// When the file cannot be written; then nothing is.
    pub fn append(&mut self, samples: &[Sample]) -> Result<(), StoreError> {
        self.db
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(sqlite(FILE))?;
        let written = samples.iter().try_for_each(|sample| {
            Metric::ALL
                .into_iter()
                .try_for_each(|metric| match sample.get(metric) {
                    Some(value) if value.is_finite() => {
                        self.append_one(&sample.vm, metric, sample.at, f64::from(value))
                    }
                    _ => Ok(()),
                })
        });
        self.end(written)
    }

    fn append_one(
        &mut self,
        vm: &VmId,
        metric: Metric,
        at: Timestamp,
        value: f64,
    ) -> Result<(), StoreError> {
        let series = self.series_id(vm, metric)?;
        let new = self
            .db
            .prepare_cached("INSERT OR IGNORE INTO sample (series, at, value) VALUES (?1, ?2, ?3)")
            .and_then(|mut insert| insert.execute(params![series, at.as_millis(), value]))
            .map_err(sqlite(FILE))?;
        if new == 1 {
            self.roll_up(series, at, value, 1)?;
        }
        Ok(())
    }

    fn roll_up(
        &self,
        series: i64,
        at: Timestamp,
        total: f64,
        count: u32,
    ) -> Result<(), StoreError> {
        let step = at.as_secs().div_euclid(i64::from(STEP_SECONDS));
        let mean = total / f64::from(count);
        self.db
            .prepare_cached(
                "INSERT INTO rollup (series, step, total, count, least, most) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
                 ON CONFLICT DO UPDATE SET total = total + ?3, count = count + ?4,
                     least = min(least, ?5), most = max(most, ?5)",
            )
            .and_then(|mut insert| insert.execute(params![series, step, total, count, mean]))
            .map_err(sqlite(FILE))?;
        Ok(())
    }

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
        self.db
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(sqlite(FILE))?;
        let written = self.import_steps(vm, metric, series);
        let count = *written.as_ref().unwrap_or(&0);
        self.end(written.map(drop))?;
        Ok(count)
    }

    fn import_steps(
        &mut self,
        vm: &VmId,
        metric: Metric,
        series: &Series,
    ) -> Result<usize, StoreError> {
        let id = self.series_id(vm, metric)?;
        let mut count = 0;
        let mut replaced = None;
        for (index, value) in series.values.iter().enumerate() {
            if !value.is_finite() {
                continue;
            }
            let at = series.at(index);
            let step = at.as_secs().div_euclid(i64::from(STEP_SECONDS));
            if replaced != Some(step) {
                self.db
                    .prepare_cached("DELETE FROM rollup WHERE series = ?1 AND step = ?2")
                    .and_then(|mut delete| delete.execute([id, step]))
                    .map_err(sqlite(FILE))?;
                replaced = Some(step);
            }
            self.roll_up(id, at, f64::from(*value), 1)?;
            count += 1;
        }
        Ok(count)
    }

    fn end(&mut self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        match written {
            Ok(()) => self.db.execute_batch("COMMIT").map_err(sqlite(FILE)),
            Err(error) => {
                // Ids handed out inside the transaction are gone with it.
                self.ids.clear();
                self.db.execute_batch("ROLLBACK").map_err(sqlite(FILE))?;
                Err(error)
            }
        }
    }

    /// `from..to` at `step_seconds`; steps without a value are gaps. Steps of 5 minutes and more come from the
    /// roll-ups, finer ones from the samples.
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
        let start = from.floor_to(step_seconds);
        let length = to
            .secs_since(start)
            .max(0)
            .div_euclid(i64::from(step_seconds)) as usize
            + 1;
        let mut sums = vec![(0.0_f64, 0_u32); length];
        if let Some(id) = self.find_series(vm, metric)? {
            let rows =
                if step_seconds >= STEP_SECONDS {
                    self.rows(
                        "SELECT step * 300000, total, count FROM rollup
                     WHERE series = ?1 AND step BETWEEN ?2 / 300000 AND ?3 / 300000",
                        id,
                        start,
                        to,
                    )?
                } else {
                    self.rows(
                    "SELECT at, value, 1 FROM sample WHERE series = ?1 AND at BETWEEN ?2 AND ?3",
                    id, start, to,
                )?
                };
            for (at, total, count) in rows {
                let index = Timestamp(at)
                    .secs_since(start)
                    .div_euclid(i64::from(step_seconds));
                if let Some(sum) = usize::try_from(index)
                    .ok()
                    .and_then(|index| sums.get_mut(index))
                {
                    sum.0 += total;
                    sum.1 += count;
                }
            }
        }
        let values = sums
            .into_iter()
            .map(|(total, count)| {
                if count == 0 {
                    f32::NAN
                } else {
                    (total / f64::from(count)) as f32
                }
            })
            .collect();
        Ok(Series {
            start,
            step_seconds,
            values,
        })
    }

    fn rows(
        &self,
        sql: &str,
        series: i64,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(i64, f64, u32)>, StoreError> {
        let read = || -> rusqlite::Result<Vec<(i64, f64, u32)>> {
            self.db
                .prepare_cached(sql)?
                .query_map(params![series, from.as_millis(), to.as_millis()], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect()
        };
        read().map_err(sqlite(FILE))
    }

    /// The moment of the oldest value of a series.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn oldest(&mut self, vm: &VmId, metric: Metric) -> Result<Option<Timestamp>, StoreError> {
        let Some(id) = self.find_series(vm, metric)? else {
            return Ok(None);
        };
        let step: Option<i64> = self
            .db
            .query_row(
                "SELECT min(step) FROM rollup WHERE series = ?1",
                [id],
                |row| row.get(0),
            )
            .map_err(sqlite(FILE))?;
        Ok(step.map(|step| Timestamp::from_secs(step * i64::from(STEP_SECONDS))))
    }

    /// Drops what is older than its keeping time.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn prune(&self, now: Timestamp) -> Result<(), StoreError> {
        let samples = now.plus_secs(-KEEP_SAMPLES_SECONDS).as_millis();
        let rollups = now.plus_secs(-KEEP_ROLLUPS_SECONDS).as_secs() / i64::from(STEP_SECONDS);
        self.db
            .execute("DELETE FROM sample WHERE at < ?1", [samples])
            .and_then(|_| {
                self.db
                    .execute("DELETE FROM rollup WHERE step < ?1", [rollups])
            })
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    fn find_series(&mut self, vm: &VmId, metric: Metric) -> Result<Option<i64>, StoreError> {
        if let Some(id) = self.ids.get(&(vm.clone(), metric)) {
            return Ok(Some(*id));
        }
        let found = self
            .db
            .prepare_cached("SELECT id FROM series WHERE vm = ?1 AND metric = ?2")
            .and_then(|mut select| {
                select
                    .query_row(params![vm.as_str(), metric.index() as i64], |row| {
                        row.get(0)
                    })
                    .optional()
            })
            .map_err(sqlite(FILE))?;
        if let Some(id) = found {
            self.ids.insert((vm.clone(), metric), id);
        }
        Ok(found)
    }

    fn series_id(&mut self, vm: &VmId, metric: Metric) -> Result<i64, StoreError> {
        if let Some(id) = self.find_series(vm, metric)? {
            return Ok(id);
        }
        self.db
            .execute(
                "INSERT INTO series (vm, metric) VALUES (?1, ?2)",
                params![vm.as_str(), metric.index() as i64],
            )
            .map_err(sqlite(FILE))?;
        let id = self.db.last_insert_rowid();
        self.ids.insert((vm.clone(), metric), id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: i64, cpu: f32) -> Sample {
        let mut sample = Sample {
            vm: "a/1".into(),
            at: Timestamp::from_secs(at),
            ..Sample::default()
        };
        sample.values[Metric::Cpu.index()] = Some(cpu);
        sample
    }

    #[test]
    fn samples_become_means_and_gaps_stay_gaps() {
        let mut metrics = Metrics::in_memory().unwrap();
        metrics
            .append(&[
                sample(0, 0.2),
                sample(10, 0.4),
                sample(610, 0.9),
                sample(10, 0.4),
            ])
            .unwrap();
        let vm = VmId::new("a/1");
        let series = metrics
            .series(
                &vm,
                Metric::Cpu,
                Timestamp(0),
                Timestamp::from_secs(899),
                STEP_SECONDS,
            )
            .unwrap();
        assert_eq!(series.values.len(), 3);
        assert!(
            (series.values[0] - 0.3).abs() < 1e-6,
            "a repeated sample counts once"
        );
        assert!(series.values[1].is_nan());
        let fine = metrics
            .series(&vm, Metric::Cpu, Timestamp(0), Timestamp::from_secs(19), 10)
            .unwrap();
        assert_eq!(fine.values, [0.2, 0.4]);
    }

    #[test]
    fn an_import_replaces_its_steps_and_can_be_repeated() {
        let mut metrics = Metrics::in_memory().unwrap();
        let vm = VmId::new("a/1");
        let series = Series {
            start: Timestamp(0),
            step_seconds: 300,
            values: vec![1.0, f32::NAN, 3.0],
        };
        assert_eq!(metrics.import(&vm, Metric::Disk, &series).unwrap(), 2);
        assert_eq!(metrics.import(&vm, Metric::Disk, &series).unwrap(), 2);
        let back = metrics
            .series(
                &vm,
                Metric::Disk,
                Timestamp(0),
                Timestamp::from_secs(899),
                STEP_SECONDS,
            )
            .unwrap();
        assert_eq!((back.values[0], back.values[2]), (1.0, 3.0));
        assert!(back.values[1].is_nan());
        assert_eq!(
            metrics.oldest(&vm, Metric::Disk).unwrap(),
            Some(Timestamp(0))
        );
    }
}
