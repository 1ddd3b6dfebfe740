//! A portion of live traffic: weights that make a share, the gate that guards it, the balancer that carries it.

use serde::{Deserialize, Serialize};

use crate::units::{Timestamp, Weight};

pub mod gate;
pub mod haproxy;
pub mod methods;
pub mod split;

/// What a balancer says of one server. Counters run since its start or reload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerStats {
    pub backend: String,
    pub server: String,
    /// `address:port`.
    pub address: String,
    pub weight: Weight,
    /// Answers its checks (or has none) and takes traffic.
    pub up: bool,
    pub status: String,
    pub sessions_now: u64,
    pub requests_total: u64,
    pub errors_total: u64,
    /// Mean over the balancer's last 1,024 requests.
    pub response_millis: Option<f64>,
}

/// One look at a balancer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrafficReading {
    pub at: Timestamp,
    pub servers: Vec<ServerStats>,
    /// Backends whose algorithm takes any weight; a static one takes only 0 or 100 %.
    pub backends: Vec<BackendInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendInfo {
    pub name: String,
    pub algorithm: String,
    pub dynamic_weights: bool,
    /// Cookie or stick-table persistence limits how exact a share can be.
    pub sticky: bool,
}

/// A server to be made in a backend. `name` holds only `[a-z0-9]`, at most 32.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSpec {
    pub backend: String,
    pub server: String,
    pub address: String,
    pub port: u16,
    /// Milliseconds between health checks.
    pub check_interval_millis: u32,
}

/// Why a balancer did not do as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DirectorError {
    #[error("not a balancer address: {0}")]
    BadAddress(String),
    #[error("the balancer does not answer: {0}")]
    Unreachable(String),
    #[error("the balancer has no backend or server {0}")]
    NotFound(String),
    #[error("the balancer refused: {0}")]
    Refused(String),
    #[error("not a name that may be sent to a balancer: {0}")]
    BadName(String),
    #[error("the balancer answered what cannot be read: {0}")]
    Garbled(String),
}

/// Moves traffic between servers. Every verb is idempotent: it makes something so, and reads back.
pub trait TrafficDirector: Send + Sync {
    /// What works, one line each; the first `Err` is what fails.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn examine(&self) -> Result<Vec<String>, DirectorError>;

    /// # Errors
    /// When it cannot be reached or understood.
    fn read(&self) -> Result<TrafficReading, DirectorError>;

    /// Adds the server at weight 0, with checks, enabled.
    ///
    /// # Errors
    /// When the backend is not there or the balancer refuses.
    fn ensure_server(&self, spec: &ServerSpec) -> Result<(), DirectorError>;

    /// Sets absolute weights and reads them back. Refuses to leave a backend with no weight at all.
    ///
    /// # Errors
    /// When a server is not there or the balancer refuses.
    fn ensure_weights(
        &self,
        backend: &str,
        weights: &[(String, Weight)],
    ) -> Result<(), DirectorError>;

    /// Says whether a rule of the balancer goes by `map`, and the map leads nothing but GET and HEAD to `backend`.
    /// Changes nothing.
    ///
    /// # Errors
    /// When it is not so, or cannot be found out.
    fn check_methods(&self, map: &str, backend: &str) -> Result<(), DirectorError>;

    /// The same, and adds GET and HEAD to the map where they are missing.
    ///
    /// # Errors
    /// As [`TrafficDirector::check_methods`], or when the balancer refuses.
    fn ensure_methods(&self, map: &str, backend: &str) -> Result<(), DirectorError>;

    /// Drains and removes the server.
    ///
    /// # Errors
    /// When the balancer refuses; a server that is not there is no error.
    fn ensure_server_absent(&self, backend: &str, server: &str) -> Result<(), DirectorError>;
}
