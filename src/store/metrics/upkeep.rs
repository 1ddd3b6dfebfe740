//! What the file holds and costs, and whether every row is what was written.

use serde::{Deserialize, Serialize};

use super::{
    ASIDE, FILE, Metrics, StoreError,
    block::Block,
    chunk::{self, Want},
    head::Tick,
    sqlite,
    tier::{Tier, block_start, sample_step, window_start},
};
use crate::{policy::HistorySettings, units::Timestamp};

/// Bytes of a sealed value where none is there to be measured.
const USUAL_SAMPLE_BYTES: f64 = 2.0;
const USUAL_ROLLUP_BYTES: f64 = 5.0;

/// What one resolution holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TierStats {
    pub tier: Tier,
    pub step_seconds: u32,
    pub keep_days: u32,
    pub sealed_values: u64,
    pub sealed_bytes: u64,
    pub open_bytes: u64,
    /// To the day; `None` where nothing is kept.
    pub oldest: Option<Timestamp>,
    pub newest: Option<Timestamp>,
}

impl TierStats {
    pub fn bytes_per_value(&self) -> Option<f64> {
        (self.sealed_values > 0).then(|| self.sealed_bytes as f64 / self.sealed_values as f64)
    }
}

/// What the whole file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    pub tiers: Vec<TierStats>,
    pub vms: u64,
    /// Acknowledged ticks of the steps that are open.
    pub ticks: u64,
    pub used_bytes: u64,
    pub file_bytes: u64,
    pub max_bytes: u64,
    /// Rows whose checksum was wrong.
    pub quarantined: u64,
    /// Names of damaged files that were moved aside.
    pub set_aside: Vec<String>,
    /// What the settings come to for the VMs that are known, when full.
    pub cost: Cost,
}

/// What keeping times come to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    pub samples_bytes: u64,
    pub five_minutes_bytes: u64,
    pub hours_bytes: u64,
    /// Before the cap.
    pub total_bytes: u64,
    pub is_capped: bool,
}

/// What a look at every row found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Verified {
    pub rows: u64,
    /// Rows that were moved to quarantine now.
    pub damaged: u64,
    /// Rows there altogether.
    pub quarantined: u64,
    /// What SQLite says of the file, where it is not in order.
    pub findings: Vec<String>,
}

/// What `series` (a VM's metric each) cost at these settings, in steady state.
pub fn cost(
    history: &HistorySettings,
    interval_seconds: u32,
    series: u64,
    stats: &[TierStats],
) -> Cost {
    let bytes = |tier: Tier, days: u32, usual: f64| {
        let each = stats
            .iter()
            .find(|stats| stats.tier == tier)
            .and_then(TierStats::bytes_per_value)
            .unwrap_or(usual);
        let a_day = 86_400.0 / f64::from(tier.step_seconds(sample_step(interval_seconds)));
        (series as f64 * a_day * f64::from(days) * each) as u64
    };
    let samples_bytes = bytes(Tier::Samples, history.samples_days, USUAL_SAMPLE_BYTES);
    let five_minutes_bytes = bytes(
        Tier::FiveMinutes,
        history.five_minutes_days,
        USUAL_ROLLUP_BYTES,
    );
    let hours_bytes = bytes(Tier::Hours, history.hours_days, USUAL_ROLLUP_BYTES);
    let total_bytes = samples_bytes + five_minutes_bytes + hours_bytes;
    Cost {
        samples_bytes,
        five_minutes_bytes,
        hours_bytes,
        total_bytes,
        is_capped: total_bytes > history.max_bytes(),
    }
}

impl Metrics {
    /// # Errors
    /// When the file cannot be read.
    pub fn stats(&mut self) -> Result<Stats, StoreError> {
        let history = self.keeping.history.clone();
        let mut tiers = Vec::new();
        for (tier, keep_days) in [
            (Tier::Samples, history.samples_days),
            (Tier::FiveMinutes, history.five_minutes_days),
            (Tier::Hours, history.hours_days),
        ] {
            tiers.push(self.tier_stats(tier, keep_days)?);
        }
        let count = |sql: &str| {
            self.db
                .query_row(sql, [], |row| row.get::<_, i64>(0))
                .map(|count| count.max(0) as u64)
                .map_err(sqlite(FILE))
        };
        let vms = count("SELECT count(*) FROM vm")?;
        let series = count("SELECT count(DISTINCT key & 4294967295) FROM hour_chunk")?;
        // Where nothing is sealed yet: the metrics that every hypervisor gives.
        let series = series.max(vms * 5);
        let cost = cost(&history, self.keeping.interval_seconds, series, &tiers);
        Ok(Stats {
            vms,
            ticks: count("SELECT count(*) FROM tick")?,
            used_bytes: self.used_bytes()?,
            file_bytes: count(
                "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
            )?,
            max_bytes: history.max_bytes(),
            quarantined: count("SELECT count(*) FROM quarantine")?,
            set_aside: self.files_aside()?,
            tiers,
            cost,
        })
    }

    fn files_aside(&self) -> Result<Vec<String>, StoreError> {
        let Some(folder) = &self.folder else {
            return Ok(Vec::new());
        };
        let read = || -> std::io::Result<Vec<String>> {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                let number = name.strip_prefix(ASIDE);
                if number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit())) {
                    names.push(name);
                }
            }
            names.sort();
            Ok(names)
        };
        read().map_err(|source| StoreError::File {
            path: folder.clone(),
            source,
        })
    }

    fn tier_stats(&self, tier: Tier, keep_days: u32) -> Result<TierStats, StoreError> {
        let read = || -> rusqlite::Result<TierStats> {
            let (sealed_values, sealed_bytes, first, last): (i64, i64, Option<i64>, Option<i64>) =
                self.db.query_row(
                    &format!(
                        "SELECT coalesce(sum(cells), 0), coalesce(sum(length(data)), 0), min(key), max(key) FROM {}",
                        tier.chunk_table()
                    ),
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
                )?;
            let (open_bytes, open_first, open_last): (i64, Option<i64>, Option<i64>) =
                self.db.query_row(
                    &format!(
                        "SELECT coalesce(sum(length(data)), 0), min(key & 4294967295), max(key & 4294967295) FROM {}",
                        tier.block_table()
                    ),
                    [],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )?;
            let window = i64::from(tier.window_seconds());
            let oldest = [first.map(window_start), open_first.map(block_start)];
            let newest = [
                last.map(|key| window_start(key) + window),
                open_last.map(|key| block_start(key) + i64::from(tier.block_seconds())),
            ];
            // A chunk of a window that goes on holds less than its whole span.
            let newest = newest.into_iter().flatten();
            let newest = if open_last.is_some() {
                newest.min()
            } else {
                newest.max()
            };
            Ok(TierStats {
                tier,
                step_seconds: tier.step_seconds(self.sample_step),
                keep_days,
                sealed_values: sealed_values.max(0) as u64,
                sealed_bytes: sealed_bytes.max(0) as u64,
                open_bytes: open_bytes.max(0) as u64,
                oldest: oldest.into_iter().flatten().min().map(Timestamp::from_secs),
                newest: newest.map(Timestamp::from_secs),
            })
        };
        read().map_err(sqlite(FILE))
    }

    /// Reads every row and checks that it is what was written; what is not goes to quarantine.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn verify(&mut self) -> Result<Verified, StoreError> {
        let mut verified = Verified::default();
        self.refresh()?;
        for tier in Tier::ALL {
            let columns = tier.columns();
            self.verify_table(tier.block_table(), &mut verified, |key, blob| {
                Block::decode(key, blob).is_some_and(|block| block.columns == columns)
            })?;
            self.verify_table(tier.chunk_table(), &mut verified, |key, blob| {
                chunk::decode(key, blob, Want::All)
                    .is_some_and(|found| found.columns.len() == columns)
            })?;
        }
        let ticks: Vec<(i64, Vec<u8>)> = self
            .db
            .prepare("SELECT at, data FROM tick")
            .and_then(|mut select| {
                select
                    .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .map_err(sqlite(FILE))?;
        for (at, blob) in ticks {
            verified.rows += 1;
            verified.damaged += u64::from(Tick::decode(at, blob).is_none());
        }
        verified.quarantined = self
            .db
            .query_row("SELECT count(*) FROM quarantine", [], |row| {
                row.get::<_, i64>(0)
            })
            .map_err(sqlite(FILE))? as u64;
        let said: Vec<String> = self
            .db
            .prepare("PRAGMA quick_check(10)")
            .and_then(|mut check| check.query_map([], |row| row.get(0))?.collect())
            .map_err(sqlite(FILE))?;
        verified.findings = said.into_iter().filter(|line| line != "ok").collect();
        Ok(verified)
    }

    fn verify_table(
        &mut self,
        table: &str,
        verified: &mut Verified,
        is_good: impl Fn(i64, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let mut damaged = Vec::new();
        let mut check = || -> rusqlite::Result<()> {
            let mut select = self.db.prepare(&format!("SELECT key, data FROM {table}"))?;
            let mut rows = select.query([])?;
            while let Some(row) = rows.next()? {
                let key: i64 = row.get(0)?;
                let blob = row.get_ref(1)?.as_blob()?;
                verified.rows += 1;
                if !is_good(key, blob) {
                    damaged.push((key, blob.to_vec()));
                }
            }
            Ok(())
        };
        check().map_err(sqlite(FILE))?;
        for (key, blob) in damaged {
            self.quarantine_row(table, key, &blob)?;
            verified.damaged += 1;
        }
        Ok(())
    }
}
