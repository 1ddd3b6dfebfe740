//! How long a capacity lasts: months of many VMs are added up, on a thread of its own, and remembered for a while.

use std::{collections::HashMap, sync::Arc, sync::mpsc};

use tokio::sync::oneshot;

use super::{Desk, OwnHistory};
use crate::{
    engine::{
        command::{Answer, Reply},
        snapshot::{RunwayOf, RunwayReport},
    },
    forecast::{aggregate, runway},
    metrics::{Metric, Series},
    problem::Problem,
    units::{Timestamp, VmId},
};

const DAY_SECONDS: i64 = 86_400;
/// Peaks are those of hourly means.
const HOUR_SECONDS: u32 = 3600;
/// What a runway looks back on.
const PAST_DAYS: i64 = 180;
/// Daily peaks change once a day.
const KEPT_SECONDS: i64 = 1800;

/// What is asked of this thread.
pub struct Survey {
    pub of: RunwayOf,
    pub metric: Metric,
    pub horizon_days: u32,
    pub limit: Option<f64>,
    pub members: Vec<(VmId, f64, OwnHistory)>,
    pub reply: oneshot::Sender<Reply>,
}

/// What was worked out lately, by what it was worked out for.
type Known = HashMap<(RunwayOf, Metric, u32), Arc<RunwayReport>>;

impl Desk {
    pub(super) fn survey_all(mut self, asked: &mpsc::Receiver<Survey>) {
        let mut known = Known::new();
        while let Ok(survey) = asked.recv() {
            let now = self.clock.now();
            known.retain(|_, report| now.secs_since(report.at) < KEPT_SECONDS);
            let key = (survey.of.clone(), survey.metric, survey.horizon_days);
            let fresh = known.get(&key).filter(|report| {
                report.limit == survey.limit && report.vms as usize == survey.members.len()
            });
            let report = match fresh {
                Some(report) => Ok(report.clone()),
                None => self.runway(&survey, now).map(Arc::new),
            };
            if let Ok(report) = &report {
                known.insert(key, report.clone());
            }
            // Whoever asked may have gone; then nobody misses the answer.
            let _ = survey
                .reply
                .send(report.map(|report| Answer::Runway { report }));
        }
    }

    fn runway(&mut self, survey: &Survey, now: Timestamp) -> Result<RunwayReport, Problem> {
        let today = now.floor_to(DAY_SECONDS as u32);
        let from = today.plus_secs(-PAST_DAYS * DAY_SECONDS);
        let mut members: Vec<Series> = Vec::with_capacity(survey.members.len());
        for (vm, scale, own) in &survey.members {
            // Up to the last hour of yesterday: today's peak may be yet to come.
            let series = self.series(
                vm,
                survey.metric,
                from,
                today.plus_secs(-1),
                HOUR_SECONDS,
                own,
            )?;
            members.extend(from_first_value(series, *scale as f32));
        }
        let refs: Vec<&Series> = members.iter().collect();
        let none = Series {
            start: today,
            step_seconds: DAY_SECONDS as u32,
            values: Vec::new(),
        };
        let (peaks, runway) = match aggregate::sum(&refs) {
            Err(why) => (none, Err(why)),
            Ok(sum) => {
                let peaks = runway::daily_peaks(&from_midnight(sum));
                let runway = runway::runway(&peaks, survey.limit, survey.horizon_days as usize);
                (peaks, runway)
            }
        };
        Ok(RunwayReport {
            of: survey.of.clone(),
            metric: survey.metric,
            at: now,
            vms: survey.members.len() as u32,
            limit: survey.limit,
            peaks,
            runway,
        })
    }
}

/// What a VM was before its first value is nothing, not a gap.
fn from_first_value(mut series: Series, scale: f32) -> Option<Series> {
    let first = series.values.iter().position(|value| value.is_finite())?;
    series.start = series.at(first);
    series.values.drain(..first);
    for value in &mut series.values {
        *value *= scale;
    }
    Some(series)
}

/// Without the part of a day before the first whole one.
fn from_midnight(mut series: Series) -> Series {
    let into_day = series.start.as_secs().rem_euclid(DAY_SECONDS);
    let until_midnight = (DAY_SECONDS - into_day).rem_euclid(DAY_SECONDS);
    let steps = (until_midnight / i64::from(series.step_seconds.max(1))) as usize;
    let steps = steps.min(series.values.len());
    series.start = series.at(steps);
    series.values.drain(..steps);
    series
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::librarian::tests::{NOW, desk},
        forecast::NotReady,
    };

    /// Hourly means that rise by `slope` a day, from `days` before today on, with a peak at noon.
    fn rising(days: i64, slope: f32) -> Series {
        let today = NOW.floor_to(86_400);
        let value = |hour: i64| {
            let noon = if hour % 24 == 12 { 0.2 } else { 0.0 };
            0.1 + noon + slope * (hour / 24) as f32
        };
        Series {
            start: today.plus_secs(-days * DAY_SECONDS),
            step_seconds: HOUR_SECONDS,
            values: (0..days * 24).map(value).collect(),
        }
    }

    fn survey(of: RunwayOf, limit: Option<f64>, members: &[(VmId, f64)]) -> Survey {
        let members = members.iter().cloned();
        Survey {
            of,
            metric: Metric::Cpu,
            horizon_days: 366,
            limit,
            members: members.map(|(vm, scale)| (vm, scale, None)).collect(),
            reply: oneshot::channel().0,
        }
    }

    #[test]
    fn the_peaks_of_a_pool_are_those_of_its_sum() {
        let folder = tempfile::tempdir().unwrap();
        let mut desk = desk(folder.path());
        let (large, small): (VmId, VmId) = ("dc/1".into(), "dc/2".into());
        for (vm, days, slope) in [(&large, 60, 0.002), (&small, 40, 0.0)] {
            let series = rising(days, slope);
            let metrics = desk.metrics().unwrap();
            metrics.import(vm, Metric::Cpu, &series).unwrap();
        }
        let pool = RunwayOf::Pool("dc/pool".into());
        let members = [(large.clone(), 4.0), (small.clone(), 2.0)];
        let report = desk
            .runway(&survey(pool.clone(), Some(3.0), &members), NOW)
            .unwrap();
        assert_eq!((report.vms, report.unit()), (2, "vcpus"));
        // 4 × (0.3 + 59 × 0.002) of the one and 2 × 0.3 of the other.
        let newest = report.newest_peak().unwrap();
        assert!((newest - 2.272).abs() < 0.01, "{newest}");
        assert_eq!(report.peaks.values.len(), 60);
        let run = report.runway.unwrap();
        assert!(run.full.unwrap().likely.is_some(), "{:?}", run.full);
        // Three weeks are needed, and a pool without VMs has no peaks.
        let young: VmId = "dc/3".into();
        let series = rising(10, 0.0);
        let metrics = desk.metrics().unwrap();
        metrics.import(&young, Metric::Cpu, &series).unwrap();
        let of = |desk: &mut Desk, members: &[(VmId, f64)]| {
            let report = desk.runway(&survey(pool.clone(), None, members), NOW);
            report.unwrap().runway
        };
        let too_short = of(&mut desk, &[(young, 1.0)]);
        assert!(
            matches!(too_short, Err(NotReady::TooShort { .. })),
            "{too_short:?}"
        );
        assert_eq!(of(&mut desk, &[]), Err(NotReady::NoHistory));
    }
}
