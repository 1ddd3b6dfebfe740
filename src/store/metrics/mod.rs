//! What was measured: samples for days, their roll-ups for years, in one SQLite file.
//!
//! ```text
//! append ─→ tick  (one row a tick, on disk before `append` returns)
//!             │ when the 5 minutes are over (`maintain`, which also does the rest)
//!             ├─→ sample block ──────┐ when the day is over
//!             ├─→ 5-minute block ────┼─→ chunk: one series, one window, pco
//!             └─→ hour block ────────┘ (30 days for hours)
//! import ───────────────────────────→ chunk
//! ```
//!
//! A block holds 32 VMs, so that one read finds what is open of a series; a chunk holds one series. Each row carries a
//! checksum over its bytes and its key: one that is wrong is moved to `quarantine`, and its values are gaps, never
//! wrong ones. A file that SQLite itself finds damaged is moved aside whole and begun anew.
//!
//! # What becomes of odd samples
//!
//! - **NaN, infinite, negative**: a gap. Counter resets are gaps before they come here (`metrics::rates`).
//! - **Duplicate** (the VM's newest moment again): left out.
//! - **Jitter**: a sample in the second half of a step that is taken goes to the next step.
//! - **Finer than the step**: a second sample in the first half of a step is left out.
//! - **Late, out of order**: goes to its step if that is free, be it open, closed or sealed; roll-ups take it in. The
//!   first value of a step stands.
//! - **A clock set forward** leaves a gap; one **set back** fills only steps that are free until it has caught up.
//! - **Before 1970 or after 2200**: left out.
//! - **An import** takes the place of what its 5-minute steps held, and the hours above follow; samples stay.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use self::{
    head::{GENERATION, Head},
    read::BlockCache,
    tier::VmNumber,
};
use super::{StoreError, sqlite};
use crate::{
    policy::HistorySettings,
    units::{Timestamp, VmId},
};

mod block;
mod bring;
mod cell;
mod chunk;
mod close;
mod head;
mod migrate;
mod read;
mod records;
mod rolled;
mod seal;
#[cfg(test)]
mod tests;
mod tier;
mod upkeep;

pub use bring::Existing;
pub use read::RollUps;
pub use tier::{STEP_SECONDS, Tier};
pub use upkeep::{Cost, Stats, TierStats, Verified, cost};

pub(super) const FILE: &str = "metrics.db";
/// `PRAGMA user_version` of this schema; the one before had none.
const SCHEMA_VERSION: i64 = 2;
const PAGE_BYTES: u32 = 16 * 1024;

/// What is kept, how finely and how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Keeping {
    /// Between two samples of a VM.
    pub interval_seconds: u32,
    pub history: HistorySettings,
}

impl Default for Keeping {
    fn default() -> Self {
        Self {
            interval_seconds: 10,
            history: HistorySettings::default(),
        }
    }
}

/// One connection to the metrics; several may be open on one file.
pub struct Metrics {
    db: Connection,
    keeping: Keeping,
    sample_step: u32,
    numbers: HashMap<VmId, VmNumber>,
    head: Head,
    /// The newest moment of each VM, in milliseconds, and the step that it went to, in seconds.
    newest: HashMap<VmNumber, (i64, i64)>,
    blocks: BlockCache,
    /// What closed steps hold that samples come late for.
    standing: HashMap<(i64, u32), block::Block>,
    /// Counts what this connection wrote; SQLite's own counter leaves that out.
    own_writes: u64,
    nothing_due_before: Timestamp,
    /// Where a damaged file went when this was opened.
    set_aside: Option<PathBuf>,
    folder: Option<PathBuf>,
}

impl Metrics {
    /// Opens or makes `metrics.db` in `folder`. A file of the schema before is brought over; a damaged one is moved
    /// aside (see [`Metrics::set_aside`]) and begun anew.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn open(folder: &Path, keeping: Keeping) -> Result<Self, StoreError> {
        let path = folder.join(FILE);
        let (mut metrics, set_aside) = match Self::at(&path, keeping.clone()) {
            Err(error) if error.is_damage() => {
                let aside = set_file_aside(&path)?;
                tracing::error!(%error, file = %aside.display(), "the metrics were damaged and are begun anew");
                (Self::at(&path, keeping)?, Some(aside))
            }
            opened => (opened?, None),
        };
        metrics.set_aside = set_aside;
        metrics.folder = Some(folder.to_owned());
        Ok(metrics)
    }

    fn at(path: &Path, keeping: Keeping) -> Result<Self, StoreError> {
        if migrate::is_old(path)? {
            migrate::bring_over(path, &keeping)?;
        }
        Self::with(Connection::open(path).map_err(sqlite(FILE))?, keeping)
    }

    /// # Errors
    /// When SQLite fails.
    pub fn in_memory(keeping: Keeping) -> Result<Self, StoreError> {
        Self::with(Connection::open_in_memory().map_err(sqlite(FILE))?, keeping)
    }

    fn with(db: Connection, keeping: Keeping) -> Result<Self, StoreError> {
        let set_up = || -> rusqlite::Result<i64> {
            db.busy_timeout(std::time::Duration::from_secs(5))?;
            db.pragma_update(None, "page_size", PAGE_BYTES)?;
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "NORMAL")?;
            db.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
            db.execute_batch(include_str!("schema.sql"))?;
            let version: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if version == 0 {
                db.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            }
            db.set_prepared_statement_cache_capacity(64);
            Ok(version)
        };
        let version = set_up().map_err(sqlite(FILE))?;
        if version > SCHEMA_VERSION {
            return Err(StoreError::Newer {
                file: FILE.to_owned(),
                version,
            });
        }
        Ok(Self {
            db,
            sample_step: tier::sample_step(keeping.interval_seconds),
            keeping,
            numbers: HashMap::new(),
            head: Head::default(),
            newest: HashMap::new(),
            blocks: BlockCache::default(),
            standing: HashMap::new(),
            own_writes: 0,
            nothing_due_before: Timestamp(i64::MIN),
            set_aside: None,
            folder: None,
        })
    }

    /// The file turned out to be damaged while it was open.
    fn begin_anew(&mut self, error: &StoreError) -> Result<(), StoreError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        let aside = set_file_aside(&folder.join(FILE))?;
        tracing::error!(%error, file = %aside.display(), "the metrics were damaged and are begun anew");
        *self = Self {
            set_aside: Some(aside),
            folder: Some(folder.clone()),
            ..Self::at(&folder.join(FILE), self.keeping.clone())?
        };
        Ok(())
    }

    /// Where a damaged file was moved.
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Seconds between two samples as they are kept.
    pub const fn sample_step_seconds(&self) -> u32 {
        self.sample_step
    }

    /// Runs `work` in one transaction: all of it is kept, or nothing.
    fn writing<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.db
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(sqlite(FILE))?;
        let done = work(self).and_then(|done| {
            self.db.execute_batch("COMMIT").map_err(sqlite(FILE))?;
            Ok(done)
        });
        self.own_writes += 1;
        if done.is_err() {
            // What was read or numbered inside the transaction is gone with it.
            self.numbers.clear();
            self.head.forget();
            self.standing.clear();
            // SQLite has rolled back by itself after some errors, such as a full disk.
            if !self.db.is_autocommit() {
                self.db.execute_batch("ROLLBACK").map_err(sqlite(FILE))?;
            }
        }
        done
    }

    /// Brings the head to what is in the file.
    fn refresh(&mut self) -> Result<(), StoreError> {
        let generation = self.head.generation();
        let damaged = self.head.refresh(&self.db).map_err(sqlite(FILE))?;
        if self.head.generation() != generation {
            self.standing.clear();
        }
        for (id, at, data) in damaged {
            self.quarantine("tick", at, &data)?;
            self.db
                .execute("DELETE FROM tick WHERE id = ?1", [id])
                .map_err(sqlite(FILE))?;
        }
        Ok(())
    }

    /// Keeps a damaged row apart; whoever calls this takes it out of its table.
    fn quarantine(&mut self, table: &str, key: i64, data: &[u8]) -> Result<(), StoreError> {
        tracing::error!(
            table,
            key,
            "a damaged row of the history was moved to quarantine; its values are gaps"
        );
        self.own_writes += 1;
        self.db
            .execute(
                "INSERT INTO quarantine (source, key, data) VALUES (?1, ?2, ?3)",
                params![table, key, data],
            )
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    fn quarantine_row(&mut self, table: &str, key: i64, data: &[u8]) -> Result<(), StoreError> {
        self.quarantine(table, key, data)?;
        self.db
            .execute(&format!("DELETE FROM {table} WHERE key = ?1"), [key])
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    fn next_generation(&mut self, closed: i64) -> Result<(), StoreError> {
        let (generation, closed_to) = head::generation(&self.db).map_err(sqlite(FILE))?;
        let (next, closed_to) = (generation + 1, closed_to.max(closed));
        self.put_fact(GENERATION, &format!("{next} {closed_to}"))?;
        self.head.closed(next, closed_to);
        Ok(())
    }

    /// Keeps a small document beside the samples, such as how far a back-fill has come.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn put_fact(&mut self, name: &str, value: &str) -> Result<(), StoreError> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO fact (name, value) VALUES (?1, ?2)")
            .and_then(|mut put| put.execute([name, value]))
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    /// # Errors
    /// When the file cannot be read.
    pub fn fact(&self, name: &str) -> Result<Option<String>, StoreError> {
        self.db
            .prepare_cached("SELECT value FROM fact WHERE name = ?1")
            .and_then(|mut get| get.query_row([name], |row| row.get(0)).optional())
            .map_err(sqlite(FILE))
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn drop_fact(&mut self, name: &str) -> Result<(), StoreError> {
        self.db
            .execute("DELETE FROM fact WHERE name = ?1", [name])
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    fn find_vm(&mut self, vm: &VmId) -> Result<Option<VmNumber>, StoreError> {
        if let Some(number) = self.numbers.get(vm) {
            return Ok(Some(*number));
        }
        let found: Option<u32> = self
            .db
            .prepare_cached("SELECT number FROM vm WHERE name = ?1")
            .and_then(|mut select| select.query_row([vm.as_str()], |row| row.get(0)).optional())
            .map_err(sqlite(FILE))?;
        let found = found.map(VmNumber);
        if let Some(number) = found {
            self.numbers.insert(vm.clone(), number);
        }
        Ok(found)
    }

    fn number_vm(&mut self, vm: &VmId) -> Result<VmNumber, StoreError> {
        if let Some(number) = self.find_vm(vm)? {
            return Ok(number);
        }
        let number: u32 = self
            .db
            .prepare_cached(
                "INSERT INTO vm (number, name) VALUES ((SELECT coalesce(max(number) + 1, 0) FROM vm), ?1) RETURNING number",
            )
            .and_then(|mut insert| insert.query_row([vm.as_str()], |row| row.get(0)))
            .map_err(sqlite(FILE))?;
        self.numbers.insert(vm.clone(), VmNumber(number));
        Ok(VmNumber(number))
    }
}

impl StoreError {
    /// SQLite says that the file is not what it wrote.
    fn is_damage(&self) -> bool {
        matches!(self, Self::Sqlite { source, .. }
            if matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)))
    }
}

/// Names of files that were moved aside begin so.
const ASIDE: &str = "metrics.db.damaged-";

/// Moves the file and what SQLite keeps beside it out of the way.
fn set_file_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let free = (1..u32::MAX)
        .map(|number| path.with_file_name(format!("{ASIDE}{number}")))
        .find(|aside| !aside.exists())
        .unwrap_or_else(|| path.with_file_name(ASIDE));
    for (suffix, needed) in [("", true), ("-wal", false), ("-shm", false)] {
        let with = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        match std::fs::rename(with(path), with(&free)) {
            Err(source) if needed || source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::File {
                    path: with(path),
                    source,
                });
            }
            _ => {}
        }
    }
    Ok(free)
}
