//! Reads each source on a thread of its own: a host that hangs holds up nobody else.

use std::{
    sync::{Arc, OnceLock, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::Sender;

use super::{
    core::{Input, Sampled, SourceConfig},
    perform::Platform,
};
use crate::{
    hypervisor::{self, Hypervisor, PlatformError, Readings},
    metrics::rates::RateTracker,
    policy::Sampling,
    telemetry::prometheus::client::Prometheus,
    traffic::{DirectorError, TrafficDirector, haproxy::HaproxyDirector},
    units::EngineId,
};

/// Gates look back over seconds, so balancers are read each second.
const BALANCER_INTERVAL: Duration = Duration::from_secs(1);

/// Between two looks at whether a server that only keeps history is there.
const HISTORY_INTERVAL: Duration = Duration::from_secs(30);

/// A running collector; it ends when this is dropped.
pub struct Collector {
    _stop: mpsc::Sender<()>,
}

/// Starts reading a source into `inputs`.
///
/// # Errors
/// When there is no thread left.
pub fn start(
    config: SourceConfig,
    platform: Platform,
    engine: EngineId,
    sampling: Sampling,
    inputs: Sender<Input>,
) -> std::io::Result<Collector> {
    let (stop, stopped) = mpsc::channel();
    let name = format!("collect {}", config.name);
    std::thread::Builder::new().name(name).spawn(move || {
        let reader = Reader {
            config,
            engine,
            sampling,
            inputs,
            stopped,
        };
        match platform {
            Platform::Hypervisor(slot) => reader.hypervisor(&slot),
            Platform::Balancer(slot) => reader.balancer(&slot),
            Platform::History => reader.history(),
        }
    })?;
    Ok(Collector { _stop: stop })
}

struct Reader {
    config: SourceConfig,
    engine: EngineId,
    sampling: Sampling,
    inputs: Sender<Input>,
    stopped: mpsc::Receiver<()>,
}

impl Reader {
    fn hypervisor(&self, slot: &OnceLock<Arc<dyn Hypervisor>>) {
        let interval = Duration::from_secs(u64::from(self.sampling.interval_seconds));
        let inventory_every = Duration::from_secs(u64::from(self.sampling.inventory_seconds));
        let mut tracker = RateTracker::new(self.sampling.interval_seconds);
        let mut next_inventory = Instant::now();
        let mut first = true;
        loop {
            let round = Instant::now();
            match self.connected(slot) {
                Err(error) => {
                    let source = self.config.name.clone();
                    if !self.send(Input::Inventory {
                        source,
                        result: Err(error),
                        millis: 0,
                    }) {
                        return;
                    }
                }
                Ok(platform) => {
                    if round >= next_inventory {
                        next_inventory = round + inventory_every;
                        let result = platform.inventory();
                        if result.is_err() {
                            next_inventory = round + interval;
                        }
                        if !self.send(Input::Inventory {
                            source: self.config.name.clone(),
                            result,
                            millis: round.elapsed().as_millis() as u64,
                        }) {
                            return;
                        }
                    }
                    let asked = Instant::now();
                    let result = platform
                        .sample()
                        .map(|readings| sampled(&mut tracker, readings));
                    let millis = asked.elapsed().as_millis() as u64;
                    if !self.send(Input::Samples {
                        source: self.config.name.clone(),
                        result,
                        millis,
                    }) {
                        return;
                    }
                }
            }
            // The second reading follows soon: only two readings make a rate.
            let pause = if first {
                Duration::from_secs(1).min(interval)
            } else {
                interval
            };
            first = false;
            if self.pause(pause.saturating_sub(round.elapsed())) {
                return;
            }
        }
    }

    fn connected(
        &self,
        slot: &OnceLock<Arc<dyn Hypervisor>>,
    ) -> Result<Arc<dyn Hypervisor>, PlatformError> {
        if let Some(platform) = slot.get() {
            return Ok(platform.clone());
        }
        let platform = hypervisor::connect(&self.config.name, &self.config.uri, &self.engine)?;
        Ok(slot.get_or_init(|| platform).clone())
    }

    /// Only whether it answers: history comes when it is asked for.
    fn history(&self) {
        loop {
            let round = Instant::now();
            let answered = Prometheus::at(&self.config.uri).and_then(|server| server.version());
            let millis = round.elapsed().as_millis() as u64;
            if !self.send(Input::LookedAt {
                source: self.config.name.clone(),
                error: answered.err().map(|error| error.to_string()),
                millis,
            }) || self.pause(HISTORY_INTERVAL)
            {
                return;
            }
        }
    }

    fn balancer(&self, slot: &OnceLock<Arc<dyn TrafficDirector>>) {
        loop {
            let round = Instant::now();
            let result = self.director(slot).and_then(|director| director.read());
            let millis = round.elapsed().as_millis() as u64;
            if !self.send(Input::Traffic {
                source: self.config.name.clone(),
                result,
                millis,
            }) || self.pause(BALANCER_INTERVAL.saturating_sub(round.elapsed()))
            {
                return;
            }
        }
    }

    fn director(
        &self,
        slot: &OnceLock<Arc<dyn TrafficDirector>>,
    ) -> Result<Arc<dyn TrafficDirector>, DirectorError> {
        if let Some(director) = slot.get() {
            return Ok(director.clone());
        }
        let director: Arc<dyn TrafficDirector> =
            Arc::new(HaproxyDirector::connect(&self.config.uri)?);
        Ok(slot.get_or_init(|| director).clone())
    }

    /// False when the engine is gone.
    fn send(&self, input: Input) -> bool {
        self.inputs.blocking_send(input).is_ok()
    }

    /// True when the collector was stopped.
    fn pause(&self, pause: Duration) -> bool {
        !matches!(
            self.stopped
                .recv_timeout(pause.max(Duration::from_millis(1))),
            Err(mpsc::RecvTimeoutError::Timeout)
        )
    }
}

fn sampled(tracker: &mut RateTracker, readings: Readings) -> Sampled {
    Sampled {
        samples: readings
            .readings
            .into_iter()
            .map(|reading| tracker.take(reading))
            .collect(),
        hung: readings.hung,
    }
}
