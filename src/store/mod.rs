//! SQLite: the journal with its documents in one file (`synchronous=FULL`), the metrics in another (`NORMAL`).

use std::path::PathBuf;

pub mod journal;
pub mod metrics;
pub mod settings;

/// Why something was not kept or not read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{file}: {source}")]
    Sqlite {
        file: String,
        source: rusqlite::Error,
    },
    #[error("{file} holds a row that cannot be read ({row}): {why}")]
    Damaged {
        file: String,
        row: String,
        why: String,
    },
    #[error("{file} was written by a newer version of this program (schema {version})")]
    Newer { file: String, version: i64 },
    #[error("{path}: {source}", path = .path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

fn sqlite(file: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |source| StoreError::Sqlite {
        file: file.to_owned(),
        source,
    }
}
