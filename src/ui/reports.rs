//! What is worked out over many VMs — runways and the record of forecasts — asked of the engine while it is looked at
//! and kept while it is fresh.

use std::{collections::HashMap, sync::Arc};

use crate::{
    engine::{
        command::{Answer, Command, Reply},
        snapshot::{ForecastRecord, RunwayOf, RunwayReport},
    },
    forecast::runway::MAX_HORIZON_DAYS,
    metrics::Metric,
    problem::Problem,
    units::Timestamp,
};

/// The record grows while the engine is idle.
const RECORD_SECONDS: i64 = 20;
/// Daily peaks change once a day.
const RUNWAY_SECONDS: i64 = 1800;
/// What failed is asked for again after so long.
const FAILED_SECONDS: i64 = 60;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Record(Metric),
    Runway(RunwayOf, Metric),
}

impl Key {
    fn of(command: &Command) -> Option<Self> {
        match command {
            Command::ForecastRecord { vm: None, metric } => Some(Self::Record(*metric)),
            Command::Runway { of, metric, .. } => Some(Self::Runway(of.clone(), *metric)),
            _ => None,
        }
    }

    fn command(&self) -> Command {
        match self {
            Self::Record(metric) => Command::ForecastRecord {
                vm: None,
                metric: *metric,
            },
            Self::Runway(of, metric) => Command::Runway {
                of: of.clone(),
                metric: *metric,
                horizon_days: MAX_HORIZON_DAYS as u32,
            },
        }
    }

    const fn kept_seconds(&self) -> i64 {
        match self {
            Self::Record(_) => RECORD_SECONDS,
            Self::Runway(..) => RUNWAY_SECONDS,
        }
    }
}

#[derive(Clone, Debug)]
enum Found {
    Record(Arc<ForecastRecord>),
    Runway(Arc<RunwayReport>),
}

#[derive(Default)]
struct Entry {
    found: Option<Found>,
    problem: Option<Problem>,
    asked_at: Option<Timestamp>,
    in_flight: bool,
}

/// How an answer stands.
#[derive(Clone, Debug)]
pub enum Report<T> {
    Known(Arc<T>),
    /// On its way, or not asked for yet: others come first.
    Waiting,
    Failed(Problem),
}

#[derive(Default)]
pub struct Reports {
    entries: HashMap<Key, Entry>,
    wanted: Vec<Command>,
}

impl Reports {
    pub fn record(&mut self, metric: Metric, now: Timestamp) -> Report<ForecastRecord> {
        let entry = self.want(&Key::Record(metric), now);
        match (&entry.found, &entry.problem) {
            (Some(Found::Record(record)), _) => Report::Known(Arc::clone(record)),
            (_, Some(problem)) => Report::Failed(problem.clone()),
            _ => Report::Waiting,
        }
    }

    pub fn runway(&mut self, of: RunwayOf, metric: Metric, now: Timestamp) -> Report<RunwayReport> {
        let entry = self.want(&Key::Runway(of, metric), now);
        match (&entry.found, &entry.problem) {
            (Some(Found::Runway(report)), _) => Report::Known(Arc::clone(report)),
            (_, Some(problem)) => Report::Failed(problem.clone()),
            _ => Report::Waiting,
        }
    }

    fn want(&mut self, key: &Key, now: Timestamp) -> &Entry {
        // A runway reads months of many VMs: one at a time, so that whoever leaves the page leaves no queue behind.
        let busy = matches!(key, Key::Runway(..))
            && self
                .entries
                .iter()
                .any(|(key, entry)| matches!(key, Key::Runway(..)) && entry.in_flight);
        let entry = self.entries.entry(key.clone()).or_default();
        let kept = if entry.problem.is_some() {
            FAILED_SECONDS
        } else {
            key.kept_seconds()
        };
        let due = entry
            .asked_at
            .is_none_or(|asked| now.secs_since(asked) >= kept);
        if due && !entry.in_flight && !busy {
            entry.asked_at = Some(now);
            entry.in_flight = true;
            self.wanted.push(key.command());
        }
        entry
    }

    /// What must be asked of the engine now.
    pub fn take_wanted(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.wanted)
    }

    /// Takes an answer; false where the command is another one.
    pub fn answered(&mut self, command: &Command, reply: &Reply) -> bool {
        let Some(key) = Key::of(command) else {
            return false;
        };
        let entry = self.entries.entry(key).or_default();
        entry.in_flight = false;
        entry.problem = None;
        match reply {
            Ok(Answer::ForecastRecord { record }) => {
                entry.found = Some(Found::Record(Arc::clone(record)));
            }
            Ok(Answer::Runway { report }) => entry.found = Some(Found::Runway(Arc::clone(report))),
            Ok(_) => {}
            Err(problem) => entry.problem = Some(problem.clone()),
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(name: &str) -> RunwayOf {
        RunwayOf::Pool(name.into())
    }

    #[test]
    fn runways_are_asked_for_one_at_a_time_and_again_when_they_are_old() {
        let mut reports = Reports::default();
        let now = Timestamp::from_secs(1_000_000);
        let ask = |reports: &mut Reports, name: &str, at: Timestamp| {
            reports.runway(pool(name), Metric::Cpu, at);
            reports.take_wanted()
        };
        let first = ask(&mut reports, "a", now);
        assert_eq!(first.len(), 1);
        assert!(ask(&mut reports, "b", now).is_empty(), "a is on its way");
        let refused = Err(Problem::failed("a", "b", "c"));
        assert!(reports.answered(&first[0], &refused));
        assert_eq!(ask(&mut reports, "b", now).len(), 1);
        assert!(matches!(
            reports.runway(pool("a"), Metric::Cpu, now),
            Report::Failed(_)
        ));
        let second = Command::Runway {
            of: pool("b"),
            metric: Metric::Cpu,
            horizon_days: 366,
        };
        reports.answered(&second, &refused);
        assert!(ask(&mut reports, "a", now.plus_secs(59)).is_empty());
        assert_eq!(ask(&mut reports, "a", now.plus_secs(60)).len(), 1);
    }
}
