//! The journal, and the documents without which it could not be carried on.

use std::path::Path;

use rusqlite::{Connection, params};
use serde::{Serialize, de::DeserializeOwned};

use super::{StoreError, sqlite};
use crate::{
    operation::{Entry, JournalRow},
    units::{OperationId, Timestamp},
};

const FILE: &str = "journal.db";
/// The version that rows are written with; a reader meets older ones.
const ENTRY_VERSION: u32 = 1;
/// Events that are kept.
const MAX_EVENTS: u32 = 5000;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Engine,
    Source,
    Service,
    Proposal,
    Manifest,
    Proof,
    /// An entry of the calendar.
    Calendar,
    /// What is kept for shadows in a pool.
    Reserved,
    /// Stands while automation is stopped.
    Frozen,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Source => "source",
            Self::Service => "service",
            Self::Proposal => "proposal",
            Self::Manifest => "manifest",
            Self::Proof => "proof",
            Self::Calendar => "calendar",
            Self::Reserved => "reserved",
            Self::Frozen => "frozen",
        }
    }
}

#[derive(Serialize, serde::Deserialize)]
struct Versioned<T> {
    version: u32,
    #[serde(flatten)]
    entry: T,
}

pub struct Journal {
    db: Connection,
}

impl Journal {
    /// Opens or makes `journal.db` in `folder`.
    ///
    /// # Errors
    /// When the file cannot be used or is damaged.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let db = Connection::open(folder.join(FILE)).map_err(sqlite(FILE))?;
        Self::with(db)
    }

    /// A journal that is gone with the process.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::with(Connection::open_in_memory().map_err(sqlite(FILE))?)
    }

    fn with(db: Connection) -> Result<Self, StoreError> {
        let set_up = || -> rusqlite::Result<()> {
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            db.execute_batch(include_str!("schema_journal.sql"))
        };
        set_up().map_err(sqlite(FILE))?;
        Ok(Self { db })
    }

    /// Writes one row; it is on disk when this returns.
    ///
    /// # Errors
    /// When it is not.
    pub fn append(&self, row: &JournalRow) -> Result<(), StoreError> {
        let json = encode(&Versioned {
            version: ENTRY_VERSION,
            entry: &row.entry,
        })?;
        self.db
            .prepare_cached(
                "INSERT INTO journal (operation, seq, at, entry) VALUES (?1, ?2, ?3, ?4)",
            )
            .and_then(|mut insert| {
                insert.execute(params![
                    row.operation.as_str(),
                    row.seq,
                    row.at.as_millis(),
                    json
                ])
            })
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    /// All rows in the order in which they were written.
    ///
    /// # Errors
    /// When the file cannot be read, or a row is not what was written.
    pub fn rows(&self) -> Result<Vec<JournalRow>, StoreError> {
        self.select(
            "SELECT operation, seq, at, entry FROM journal ORDER BY id",
            [],
        )
    }

    /// The rows of one operation.
    ///
    /// # Errors
    /// As [`Journal::rows`].
    pub fn rows_of(&self, operation: &OperationId) -> Result<Vec<JournalRow>, StoreError> {
        self.select(
            "SELECT operation, seq, at, entry FROM journal WHERE operation = ?1 ORDER BY id",
            [operation.as_str()],
        )
    }

    fn select(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<JournalRow>, StoreError> {
        let mut statement = self.db.prepare_cached(sql).map_err(sqlite(FILE))?;
        let rows = statement
            .query_map(params, |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get::<_, String>(3)?,
                ))
            })
            .map_err(sqlite(FILE))?;
        rows.map(|row| {
            let (operation, seq, at, json) = row.map_err(sqlite(FILE))?;
            let entry: Versioned<Entry> = decode(&json, || format!("{operation} #{seq}"))?;
            Ok(JournalRow {
                operation: OperationId(operation),
                seq,
                at: Timestamp(at),
                entry: entry.entry,
            })
        })
        .collect()
    }

    /// Writes a document whole, in place of an older one.
    ///
    /// # Errors
    /// When it is not on disk.
    pub fn put(&self, kind: Kind, name: &str, document: &impl Serialize) -> Result<(), StoreError> {
        let json = encode(document)?;
        self.db
            .prepare_cached(
                "INSERT OR REPLACE INTO document (kind, name, json) VALUES (?1, ?2, ?3)",
            )
            .and_then(|mut insert| insert.execute(params![kind.name(), name, json]))
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    /// # Errors
    /// When the file cannot be written.
    pub fn delete(&self, kind: Kind, name: &str) -> Result<(), StoreError> {
        self.db
            .execute(
                "DELETE FROM document WHERE kind = ?1 AND name = ?2",
                [kind.name(), name],
            )
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    /// All documents of a kind, by name.
    ///
    /// # Errors
    /// When the file cannot be read, or a document is not what was written.
    pub fn all<T: DeserializeOwned>(&self, kind: Kind) -> Result<Vec<T>, StoreError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT name, json FROM document WHERE kind = ?1 ORDER BY name")
            .map_err(sqlite(FILE))?;
        let rows = statement
            .query_map([kind.name()], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })
            .map_err(sqlite(FILE))?;
        rows.map(|row| {
            let (name, json) = row.map_err(sqlite(FILE))?;
            decode(&json, || format!("{} {name}", kind.name()))
        })
        .collect()
    }

    /// Keeps whether automation is stopped, for the next start.
    ///
    /// # Errors
    /// When the row is not on disk.
    pub fn put_frozen(&self, frozen: bool) -> Result<(), StoreError> {
        if frozen {
            self.put(Kind::Frozen, "all", &true)
        } else {
            self.delete(Kind::Frozen, "all")
        }
    }

    /// # Errors
    /// When the document cannot be read.
    pub fn frozen(&self) -> Result<bool, StoreError> {
        Ok(!self.all::<bool>(Kind::Frozen)?.is_empty())
    }

    /// Adds to the timeline.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add_event(&self, at: Timestamp, event: &impl Serialize) -> Result<(), StoreError> {
        let json = encode(event)?;
        self.db
            .execute(
                "INSERT INTO event (at, json) VALUES (?1, ?2)",
                params![at.as_millis(), json],
            )
            .and_then(|_| {
                self.db.execute(
                    "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1",
                    [MAX_EVENTS],
                )
            })
            .map_err(sqlite(FILE))?;
        Ok(())
    }

    /// The newest events, newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn events<T: DeserializeOwned>(&self, limit: u32) -> Result<Vec<T>, StoreError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT json FROM event ORDER BY id DESC LIMIT ?1")
            .map_err(sqlite(FILE))?;
        let rows = statement
            .query_map([limit], |row| row.get::<_, String>(0))
            .map_err(sqlite(FILE))?;
        rows.map(|row| decode(&row.map_err(sqlite(FILE))?, || "event".to_owned()))
            .collect()
    }
}

fn encode(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Damaged {
        file: FILE.to_owned(),
        row: "to be written".to_owned(),
        why: error.to_string(),
    })
}

fn decode<T: DeserializeOwned>(json: &str, row: impl Fn() -> String) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Damaged {
        file: FILE.to_owned(),
        row: row(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_written_and_a_number_is_taken_once() {
        let journal = Journal::in_memory().unwrap();
        let row = JournalRow {
            operation: "op-1".into(),
            seq: 0,
            at: Timestamp(5),
            entry: Entry::StepStarted { step: 3 },
        };
        journal.append(&row).unwrap();
        assert!(journal.append(&row).is_err(), "the same number twice");
        assert_eq!(journal.rows().unwrap(), std::slice::from_ref(&row));
        assert_eq!(journal.rows_of(&"op-2".into()).unwrap(), []);
    }

    #[test]
    fn a_damaged_row_is_an_error_and_not_skipped() {
        let journal = Journal::in_memory().unwrap();
        journal
            .db
            .execute(
                "INSERT INTO journal (operation, seq, at, entry) VALUES ('op-1', 0, 0, '{')",
                [],
            )
            .unwrap();
        assert!(matches!(journal.rows(), Err(StoreError::Damaged { .. })));
    }
}
