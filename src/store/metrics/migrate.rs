//! From the first schema (a row for each sample and roll-up) to this one: written beside it, then put in its place.

use std::{collections::BTreeMap, path::Path};

use rusqlite::{Connection, OpenFlags, params};

use super::{
    FILE, Keeping, Metrics, StoreError, bring::Existing, rolled::Rolled, sqlite, tier::STEP_SECONDS,
};
use crate::{
    metrics::Metric,
    units::{Timestamp, VmId},
};

const NEW_FILE: &str = "metrics.db.new";

/// Whether the file has the first schema.
pub fn is_old(path: &Path) -> Result<bool, StoreError> {
    if !path.exists() {
        return Ok(false);
    }
    let look = || -> rusqlite::Result<bool> {
        let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        db.query_row(
            "SELECT count(*) = 2 FROM sqlite_master WHERE type = 'table' AND name IN ('sample', 'rollup')",
            [],
            |row| row.get(0),
        )
    };
    look().map_err(sqlite(FILE))
}

/// Brings everything over. Interrupted, it begins anew with the next start.
pub fn bring_over(path: &Path, keeping: &Keeping) -> Result<(), StoreError> {
    let new_path = path.with_file_name(NEW_FILE);
    for suffix in ["", "-wal", "-shm"] {
        let left = new_path.with_file_name(format!("{NEW_FILE}{suffix}"));
        match std::fs::remove_file(&left) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(StoreError::File { path: left, source });
            }
            _ => {}
        }
    }
    let old = Connection::open(path).map_err(sqlite(FILE))?;
    // What is still beside the file comes into it, so that one rename replaces all.
    old.pragma_update(None, "journal_mode", "DELETE")
        .map_err(sqlite(FILE))?;
    {
        let mut new = Metrics::with(
            Connection::open(&new_path).map_err(sqlite(NEW_FILE))?,
            keeping.clone(),
        )?;
        let series: Vec<(i64, String, usize)> = rows(
            &old,
            "SELECT id, vm, metric FROM series ORDER BY vm, metric",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, i64>(2)? as usize)),
        )?;
        tracing::info!(
            series = series.len(),
            "the history is brought to the new schema"
        );
        for (id, vm, metric) in series {
            let Some(metric) = Metric::ALL.get(metric).copied() else {
                tracing::warn!(vm, metric, "a series of an unknown metric was left behind");
                continue;
            };
            bring_series(&old, &mut new, id, &VmId(vm), metric)?;
        }
        new.db
            .pragma_update(None, "journal_mode", "DELETE")
            .map_err(sqlite(NEW_FILE))?;
    }
    drop(old);
    std::fs::rename(&new_path, path).map_err(|source| StoreError::File {
        path: new_path,
        source,
    })
}

fn bring_series(
    old: &Connection,
    new: &mut Metrics,
    id: i64,
    vm: &VmId,
    metric: Metric,
) -> Result<(), StoreError> {
    let rolled: Vec<(i64, Rolled)> = rows(
        old,
        "SELECT step, total, count, least, most FROM rollup WHERE series = ?1 AND count > 0",
        params![id],
        |row| {
            let count: u32 = row.get(2)?;
            Ok((
                row.get::<_, i64>(0)? * i64::from(STEP_SECONDS),
                Rolled {
                    mean: row.get::<_, f64>(1)? / f64::from(count),
                    least: row.get(3)?,
                    most: row.get(4)?,
                    count,
                },
            ))
        },
    )?;
    let samples: Vec<(Timestamp, f64)> = rows(
        old,
        "SELECT at, value FROM sample WHERE series = ?1 ORDER BY at",
        params![id],
        |row| Ok((Timestamp(row.get(0)?), row.get(1)?)),
    )?;
    let steps: BTreeMap<i64, Rolled> = rolled.into_iter().collect();
    new.writing(|new| {
        let number = new.number_vm(vm)?;
        new.bring(number, metric, steps, Existing::Replace)?;
        new.bring_samples(number, metric, &samples)
    })
}

fn rows<T>(
    db: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>, StoreError> {
    db.prepare_cached(sql)
        .and_then(|mut select| select.query_map(parameters, read)?.collect())
        .map_err(sqlite(FILE))
}
