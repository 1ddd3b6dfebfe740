//! A back-fill as slices: a query over a span that any server answers, one after another, from a kept position.

use serde::{Deserialize, Serialize};

use super::queries::{STEP_SECONDS, defaults};
use crate::{metrics::Metric, units::Timestamp};

/// Prometheus refuses more points a series than this.
pub const MAX_POINTS: u32 = 11_000;
/// Values that one answer may hold, so that it stays well under the cap on its bytes.
const VALUES_AT_ONCE: u32 = 500_000;
/// The least that a slice is cut down to.
const MIN_STEPS: u32 = 12;

/// What is to be brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Wanted {
    /// Each metric with its queries, the surest first.
    pub queries: Vec<(Metric, Vec<String>)>,
    pub since_seconds: u32,
}

impl Wanted {
    /// `own` queries of the settings stand in place of the defaults.
    pub fn new(
        metrics: &[Metric],
        own: impl Fn(Metric) -> Option<String>,
        since_seconds: u32,
    ) -> Self {
        let queries = metrics
            .iter()
            .map(|metric| {
                let queries = match own(*metric) {
                    Some(query) => vec![query],
                    None => defaults(*metric)
                        .iter()
                        .map(|query| (*query).to_owned())
                        .collect(),
                };
                (*metric, queries)
            })
            .filter(|(_, queries)| !queries.is_empty())
            .collect();
        Self {
            queries,
            since_seconds,
        }
    }
}

/// How far a back-fill has come; kept after every slice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub wanted: Wanted,
    pub from: Timestamp,
    pub to: Timestamp,
    /// Place of the query that is next, over all metrics.
    pub query: usize,
    /// Where in the span that query goes on.
    pub at: Timestamp,
    pub slice_steps: u32,
    pub values: u64,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Slice {
    pub metric: Metric,
    pub query: String,
    /// Whole steps; the request's own moments are the ends of steps.
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Progress {
    pub fn begin(wanted: Wanted, now: Timestamp, vms: usize) -> Self {
        let to = now.floor_to(STEP_SECONDS);
        let from = to
            .plus_secs(-i64::from(wanted.since_seconds))
            .floor_to(STEP_SECONDS);
        let slice_steps = (VALUES_AT_ONCE / (vms.max(1) as u32)).clamp(MIN_STEPS, MAX_POINTS - 1);
        Self {
            wanted,
            from,
            to,
            query: 0,
            at: from,
            slice_steps,
            values: 0,
        }
    }

    fn queries(&self) -> impl Iterator<Item = (Metric, &String)> {
        self.wanted
            .queries
            .iter()
            .flat_map(|(metric, queries)| queries.iter().map(|query| (*metric, query)))
    }

    /// `None` when all is done.
    pub fn next(&self) -> Option<Slice> {
        let (metric, query) = self.queries().nth(self.query)?;
        let span = i64::from(self.slice_steps) * i64::from(STEP_SECONDS);
        Some(Slice {
            metric,
            query: query.clone(),
            start: self.at,
            end: self.at.plus_secs(span).min(self.to),
        })
    }

    /// The slice is on disk.
    pub fn done(&mut self, slice: &Slice, values: usize) {
        self.values += values as u64;
        self.at = slice.end;
        if self.at >= self.to {
            self.query += 1;
            self.at = self.from;
        }
    }

    /// Makes the slices smaller; false when they cannot be.
    pub fn halve(&mut self) -> bool {
        let can = self.slice_steps > MIN_STEPS;
        self.slice_steps = (self.slice_steps / 2).max(MIN_STEPS);
        can
    }

    /// 0..=1.
    pub fn share(&self) -> f64 {
        let queries = self.queries().count().max(1) as f64;
        let span = self.to.secs_since(self.from).max(1) as f64;
        let within = self.at.secs_since(self.from) as f64 / span;
        ((self.query as f64 + within) / queries).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cover_the_span_once_and_stay_under_the_servers_limit() {
        let wanted = Wanted::new(&Metric::ALL, |_| None, 90 * 86_400);
        let mut progress = Progress::begin(wanted, Timestamp::from_secs(1_795_357_928), 100);
        let mut reached = progress.from;
        let mut queries = 0;
        let mut share = 0.0;
        while let Some(slice) = progress.next() {
            assert!(slice.end > slice.start);
            assert!(slice.end.secs_since(slice.start) / 300 < i64::from(MAX_POINTS));
            assert_eq!(slice.start, reached);
            reached = slice.end;
            if reached == progress.to {
                reached = progress.from;
                queries += 1;
            }
            progress.done(&slice, 1);
            assert!(progress.share() > share);
            share = progress.share();
        }
        assert_eq!(queries, 10);
        assert!((share - 1.0).abs() < 1e-9);
    }

    #[test]
    fn own_queries_stand_in_place_of_the_defaults() {
        let own =
            |metric| (metric == Metric::Requests).then(|| "sum by (vm) (rate(x[5m]))".to_owned());
        let wanted = Wanted::new(&[Metric::Requests, Metric::Errors, Metric::Cpu], own, 3600);
        assert_eq!(wanted.queries.len(), 2);
        assert_eq!(wanted.queries[0].1, ["sum by (vm) (rate(x[5m]))"]);
    }

    #[test]
    fn slices_are_halved_down_to_an_hour() {
        let mut progress = Progress::begin(
            Wanted::new(&[Metric::Cpu], |_| None, 86_400),
            Timestamp::from_secs(86_400 * 9),
            1,
        );
        let mut halved = 0;
        while progress.halve() {
            halved += 1;
            assert!(halved < 20);
        }
        assert_eq!(progress.slice_steps, MIN_STEPS);
    }
}
