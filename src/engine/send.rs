//! Sends samples to the Prometheus server that keeps them, from a bounded queue on a thread of its own. A server that
//! does not answer is asked again; what finds no room meanwhile is dropped and counted.

use std::{
    sync::mpsc::{self, SyncSender, TrySendError},
    time::Duration,
};

use crate::{
    metrics::Sample,
    telemetry::prometheus::{PrometheusError, client::Prometheus, remote_write},
};

/// Ticks that wait at most.
const QUEUE: usize = 256;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where samples are handed over.
pub struct Sending {
    queue: SyncSender<Vec<Sample>>,
    dropped: u64,
}

impl Sending {
    /// Starts the thread that sends to `uri`.
    ///
    /// # Errors
    /// When there is no thread left.
    pub fn start(uri: String) -> std::io::Result<Self> {
        let (queue, waiting) = mpsc::sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("remote write".to_owned())
            .spawn(move || send_all(&uri, &waiting))?;
        Ok(Self { queue, dropped: 0 })
    }

    /// Never waits: a server that hangs must not hold up the engine.
    pub fn send(&mut self, samples: &[Sample]) {
        match self.queue.try_send(samples.to_vec()) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.dropped += 1;
                if self.dropped.is_power_of_two() {
                    tracing::warn!(
                        ticks = self.dropped,
                        "ticks were not sent to Prometheus: it does not keep up"
                    );
                }
            }
            Err(TrySendError::Disconnected(_)) => {
                tracing::error!("the thread that sends samples has ended");
            }
        }
    }
}

fn send_all(uri: &str, waiting: &mpsc::Receiver<Vec<Sample>>) {
    let server = match Prometheus::at(uri) {
        Ok(server) => server,
        Err(error) => {
            tracing::error!(%error, uri, "no samples are sent");
            return;
        }
    };
    while let Ok(samples) = waiting.recv() {
        let body = match remote_write::encode(&samples) {
            Ok(Some(body)) => body,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(%error, "a tick was not sent");
                continue;
            }
        };
        let mut pause = FIRST_PAUSE;
        loop {
            match server.write(body.clone()) {
                Ok(()) => break,
                Err(error @ PrometheusError::Unreachable(_)) => {
                    tracing::warn!(%error, "samples wait to be sent");
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => {
                    // It would say the same again.
                    tracing::warn!(%error, "a tick was refused by Prometheus and is not sent again");
                    break;
                }
            }
        }
    }
}
