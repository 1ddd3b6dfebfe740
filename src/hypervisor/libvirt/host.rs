//! One host: its address and the connections to it.
//!
//! Statistics have a connection of their own (see [`super::stats`]); everything else takes an idle one or opens
//! another, so that no call waits behind a long one. A connection whose call hangs is left to itself.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use super::{
    address::Address,
    worker::{Link, Pending, Worker},
};
use crate::{
    hypervisor::{Control, PlatformError},
    units::{EngineId, SourceName, Timestamp},
};

/// How long a call may show no sign of life.
pub const DEADLINE: Duration = Duration::from_secs(8);
/// The same for calls during which a machine starts, an agent answers or a disk flushes.
pub const LONG_DEADLINE: Duration = Duration::from_mins(1);
/// Hanging calls hold a thread and a connection each; beyond this the host counts as hung.
const MAX_HUNG: u32 = 16;
const MAX_IDLE: usize = 4;

pub struct Host {
    pub source: SourceName,
    pub address: Address,
    pub engine: EngineId,
    idle: Mutex<Vec<Worker>>,
    hung: AtomicU32,
}

impl Host {
    pub fn new(source: &SourceName, address: Address, engine: &EngineId) -> Self {
        Self {
            source: source.clone(),
            address,
            engine: engine.clone(),
            idle: Mutex::default(),
            hung: AtomicU32::new(0),
        }
    }

    /// Runs `call` on a connection of its own and waits for it.
    ///
    /// # Errors
    /// What `call` says, or [`PlatformError::Timeout`] when it shows no life for `deadline`.
    pub fn run<T: Send + 'static>(
        &self,
        what: &str,
        deadline: Duration,
        call: impl FnOnce(&Link) -> Result<T, PlatformError> + Send + 'static,
    ) -> Result<T, PlatformError> {
        let worker = self.worker(what)?;
        let pending = worker.start(call);
        match pending.wait(deadline) {
            Ok(result) => {
                self.keep(worker);
                result
            }
            Err(stuck) => Err(self.give_up(what, deadline, stuck)),
        }
    }

    /// As [`Host::run`], on a connection that nobody else gets: what ends with its connection ends with the worker.
    ///
    /// # Errors
    /// As [`Host::run`].
    pub fn run_keeping<T: Send + 'static>(
        &self,
        what: &str,
        deadline: Duration,
        call: impl FnOnce(&Link) -> Result<T, PlatformError> + Send + 'static,
    ) -> Result<(T, Worker), PlatformError> {
        let worker = Worker::new(&self.source, &self.address)?;
        match worker.start(call).wait(deadline) {
            Ok(result) => result.map(|value| (value, worker)),
            Err(stuck) => Err(self.give_up(what, deadline, stuck)),
        }
    }

    /// Runs one libvirt call that shows no life of its own (a copy inside the host) and can take hours; looks at
    /// `control` meanwhile.
    ///
    /// # Errors
    /// What `call` says, or [`PlatformError::Cancelled`]; libvirt then goes on until it is done.
    pub fn run_unbounded<T: Send + 'static>(
        &self,
        what: &str,
        control: &Control,
        call: impl FnOnce(&Link) -> Result<T, PlatformError> + Send + 'static,
    ) -> Result<T, PlatformError> {
        let worker = self.worker(what)?;
        let mut pending = worker.start(call);
        loop {
            match pending.wait(Duration::from_millis(200)) {
                Ok(result) => {
                    self.keep(worker);
                    return result;
                }
                Err(still) => pending = still,
            }
            if let Err(cancelled) = control.check() {
                pending.abandon();
                return Err(cancelled);
            }
        }
    }

    fn worker(&self, what: &str) -> Result<Worker, PlatformError> {
        if self.hung.load(Ordering::Relaxed) >= MAX_HUNG {
            return Err(self.timeout(what, DEADLINE));
        }
        let idle = self.idle().pop();
        idle.map_or_else(|| Worker::new(&self.source, &self.address), Ok)
    }

    fn keep(&self, worker: Worker) {
        // A host that answers is not hung any more; threads that still hang end on their own.
        self.hung.store(0, Ordering::Relaxed);
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE {
            idle.push(worker);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Worker>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up<T>(&self, what: &str, deadline: Duration, stuck: Pending<T>) -> PlatformError {
        stuck.abandon();
        self.hung.fetch_add(1, Ordering::Relaxed);
        self.timeout(what, deadline)
    }

    pub fn timeout(&self, what: &str, deadline: Duration) -> PlatformError {
        PlatformError::Timeout {
            what: format!("{} ({what})", self.source),
            seconds: deadline.as_secs() as u32,
        }
    }
}

/// This machine's clock, which all times of one engine are told by.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
