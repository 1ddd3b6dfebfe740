//! History from Prometheus and whatever else speaks its HTTP API (VictoriaMetrics, Thanos, Mimir).
//!
//! `wire` reads its answers, `queries` says what is asked and which VM an answer is of, `backfill` cuts a long span
//! into slices that any server answers, `remote_write` packs our samples; these are pure. `client` asks and sends.

pub mod backfill;
pub mod client;
pub mod queries;
pub mod remote_write;
pub mod wire;

/// Why a server's answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrometheusError {
    #[error("{0}")]
    BadAddress(String),
    /// Nobody answers, or not in time.
    #[error("{0}")]
    Unreachable(String),
    /// The server's own words.
    #[error("it says: {0}")]
    Refused(String),
    /// Smaller slices may go through.
    #[error("the answer is too large: {0}")]
    TooLarge(String),
    #[error("its answer cannot be read: {0}")]
    Garbled(String),
}
