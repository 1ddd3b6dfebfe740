//! The time that the simulation lives in: the machine's own, or one that moves only when somebody sleeps.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::units::Timestamp;

/// Tells the time and lets it pass.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;

    /// Lets `millis` pass for the caller.
    fn sleep(&self, millis: u64);
}

/// The machine's time.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealClock;

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        // A machine set before 1970 reads as 1970: nothing in a simulation depends on it.
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(since.as_millis() as i64)
    }

    fn sleep(&self, millis: u64) {
        if millis > 0 {
            std::thread::sleep(Duration::from_millis(millis));
        }
    }
}

/// A time that stands still until somebody sleeps or advances it.
#[derive(Debug)]
pub struct VirtualClock(AtomicI64);

impl VirtualClock {
    pub const fn new(start: Timestamp) -> Self {
        Self(AtomicI64::new(start.as_millis()))
    }

    /// Lets `millis` pass for everybody.
    pub fn advance(&self, millis: u64) {
        self.0.fetch_add(millis as i64, Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, millis: u64) {
        // Not added: two sleepers that begin together pass the same time, not one after the other.
        let wake = self.now().plus_millis(millis as i64);
        self.0.fetch_max(wake.as_millis(), Ordering::SeqCst);
    }
}
