//! The gate: while a shadow serves, its errors and its response time must stay within limits.
//!
//! [`Gate`] keeps what the balancer's counters grew by over the last moments; [`Gate::verdict`] judges a window of it.

use std::collections::VecDeque;

use super::{ServerStats, TrafficReading};
use crate::units::Timestamp;

/// Above these a shadow loses its traffic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GateLimits {
    /// 0..=1 of the requests.
    pub error_ratio: f64,
    pub response_millis: f64,
    pub window_seconds: u32,
    /// Fewer in the window say nothing.
    pub min_requests: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GateVerdict {
    Holds,
    Breached {
        why: String,
    },
    /// Too few requests to say.
    Inconclusive,
}

/// What a server did in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    pub requests: u64,
    pub errors: u64,
    /// Mean over the window's looks, weighted by their requests.
    pub response_millis: Option<f64>,
}

impl Measured {
    /// 0..=1; `None` without requests.
    pub fn error_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| (self.errors as f64 / self.requests as f64).min(1.0))
    }
}

/// Growth between two looks.
#[derive(Clone, Copy, Debug)]
struct Growth {
    at: Timestamp,
    requests: u64,
    errors: u64,
    response_millis: Option<f64>,
}

/// Looks that are kept at most; a window holds far fewer.
const KEPT: usize = 4096;

/// Watches one server of one backend.
#[derive(Clone, Debug)]
pub struct Gate {
    backend: String,
    server: String,
    last: Option<(u64, u64)>,
    growths: VecDeque<Growth>,
}

impl Gate {
    pub fn new(backend: impl Into<String>, server: impl Into<String>) -> Self {
        Self {
            backend: backend.into(),
            server: server.into(),
            last: None,
            growths: VecDeque::new(),
        }
    }

    /// Takes in one look at the balancer. The first one only sets the marks that later ones are counted from.
    pub fn observe(&mut self, reading: &TrafficReading) {
        let found = reading
            .servers
            .iter()
            .find(|server| server.backend == self.backend && server.server == self.server);
        let Some(server) = found else {
            // Gone: when it comes back its counters begin anew.
            self.last = Some((0, 0));
            return;
        };
        if self
            .growths
            .back()
            .is_some_and(|growth| growth.at >= reading.at)
        {
            // The clock went back: what was seen cannot be placed in a window any more.
            self.growths.clear();
        }
        if let Some(last) = self.last {
            self.growths.push_back(growth(reading.at, last, server));
        }
        self.last = Some((server.requests_total, server.errors_total));
        if self.growths.len() > KEPT {
            self.growths.pop_front();
        }
    }

    /// Forgets what was seen, for example after a breach was acted on; counting goes on from the last look.
    pub fn clear(&mut self) {
        self.growths.clear();
    }

    /// What the server did in the `window_seconds` before the last look.
    pub fn measured(&self, window_seconds: u32) -> Measured {
        let Some(newest) = self.growths.back() else {
            return Measured::default();
        };
        let start = newest.at.plus_secs(-i64::from(window_seconds));
        let mut sum = Measured::default();
        let mut weighted = 0.0;
        let mut timed = 0_u64;
        for growth in self.growths.iter().filter(|growth| growth.at > start) {
            sum.requests = sum.requests.saturating_add(growth.requests);
            sum.errors = sum.errors.saturating_add(growth.errors);
            if let Some(millis) = growth.response_millis {
                weighted += millis * growth.requests as f64;
                timed = timed.saturating_add(growth.requests);
            }
        }
        sum.response_millis = (timed > 0).then(|| weighted / timed as f64);
        sum
    }

    pub fn verdict(&self, limits: &GateLimits) -> GateVerdict {
        let measured = self.measured(limits.window_seconds);
        if measured.requests < u64::from(limits.min_requests.max(1)) {
            return GateVerdict::Inconclusive;
        }
        if let Some(ratio) = measured
            .error_ratio()
            .filter(|ratio| *ratio > limits.error_ratio)
        {
            return GateVerdict::Breached {
                why: format!(
                    "{} of {} requests failed in {} s ({:.1} %, {:.1} % allowed)",
                    measured.errors,
                    measured.requests,
                    limits.window_seconds,
                    ratio * 100.0,
                    limits.error_ratio * 100.0
                ),
            };
        }
        if let Some(millis) = measured
            .response_millis
            .filter(|millis| *millis > limits.response_millis)
        {
            return GateVerdict::Breached {
                why: format!(
                    "it answers in {millis:.0} ms ({:.0} ms allowed)",
                    limits.response_millis
                ),
            };
        }
        GateVerdict::Holds
    }
}

fn growth(at: Timestamp, (requests, errors): (u64, u64), server: &ServerStats) -> Growth {
    // Counters that shrank began anew at a reload: what they show now came since.
    let reset = server.requests_total < requests || server.errors_total < errors;
    let (requests, errors) = if reset { (0, 0) } else { (requests, errors) };
    let requests = server.requests_total - requests;
    Growth {
        at,
        requests,
        errors: server.errors_total - errors,
        response_millis: server
            .response_millis
            .filter(|millis| requests > 0 && millis.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: GateLimits = GateLimits {
        error_ratio: 0.02,
        response_millis: 500.0,
        window_seconds: 10,
        min_requests: 20,
    };

    fn look(second: i64, requests: u64, errors: u64, millis: f64) -> TrafficReading {
        TrafficReading {
            at: Timestamp::from_secs(second),
            servers: vec![ServerStats {
                backend: "be".to_owned(),
                server: "sc1".to_owned(),
                requests_total: requests,
                errors_total: errors,
                response_millis: Some(millis),
                ..ServerStats::default()
            }],
            backends: Vec::new(),
        }
    }

    fn gate(looks: &[TrafficReading]) -> Gate {
        let mut gate = Gate::new("be", "sc1");
        for look in looks {
            gate.observe(look);
        }
        gate
    }

    #[test]
    fn what_happened_before_the_first_look_is_not_counted() {
        let gate = gate(&[look(0, 1000, 1000, 10.0), look(5, 1100, 1000, 10.0)]);
        assert_eq!(gate.verdict(&LIMITS), GateVerdict::Holds);
        assert_eq!(gate.measured(10).requests, 100);
    }

    #[test]
    fn errors_over_the_limit_breach_and_say_so() {
        let gate = gate(&[look(0, 0, 0, 10.0), look(5, 100, 3, 10.0)]);
        let GateVerdict::Breached { why } = gate.verdict(&LIMITS) else {
            panic!("{:?}", gate.verdict(&LIMITS))
        };
        assert_eq!(
            why,
            "3 of 100 requests failed in 10 s (3.0 %, 2.0 % allowed)"
        );
    }

    #[test]
    fn slow_answers_breach() {
        let slow = gate(&[look(0, 0, 0, 10.0), look(5, 50, 0, 501.0)]);
        assert!(matches!(
            slow.verdict(&LIMITS),
            GateVerdict::Breached { .. }
        ));
        let fair = gate(&[look(0, 0, 0, 10.0), look(5, 50, 0, 500.0)]);
        assert_eq!(fair.verdict(&LIMITS), GateVerdict::Holds);
    }

    #[test]
    fn few_requests_say_nothing_and_neither_does_the_past() {
        let few = gate(&[look(0, 0, 0, 10.0), look(5, 19, 19, 9000.0)]);
        assert_eq!(few.verdict(&LIMITS), GateVerdict::Inconclusive);
        // The errors are older than the window.
        let past = gate(&[
            look(0, 0, 0, 10.0),
            look(5, 100, 100, 10.0),
            look(16, 200, 100, 10.0),
        ]);
        assert_eq!(past.verdict(&LIMITS), GateVerdict::Holds);
    }

    #[test]
    fn a_reload_or_an_absence_neither_hides_nor_invents_errors() {
        let reloaded = gate(&[look(0, 5000, 40, 10.0), look(5, 100, 10, 10.0)]);
        assert_eq!(reloaded.measured(10).requests, 100);
        assert_eq!(reloaded.measured(10).errors, 10);

        let mut absent = gate(&[look(0, 5000, 40, 10.0)]);
        absent.observe(&TrafficReading {
            at: Timestamp::from_secs(2),
            ..TrafficReading::default()
        });
        absent.observe(&look(4, 6000, 60, 10.0));
        assert_eq!(absent.measured(10).requests, 6000);
    }

    #[test]
    fn after_a_breach_was_acted_on_the_old_errors_are_forgotten() {
        let mut gate = gate(&[look(0, 0, 0, 10.0), look(5, 100, 100, 10.0)]);
        gate.clear();
        assert_eq!(gate.verdict(&LIMITS), GateVerdict::Inconclusive);
        gate.observe(&look(6, 200, 100, 10.0));
        assert_eq!(gate.verdict(&LIMITS), GateVerdict::Holds);
    }

    #[test]
    fn a_clock_that_went_back_does_not_mix_windows() {
        let gate = gate(&[
            look(100, 0, 0, 10.0),
            look(105, 100, 100, 10.0),
            look(50, 200, 100, 10.0),
        ]);
        assert_eq!(gate.verdict(&LIMITS), GateVerdict::Holds);
    }
}
