//! What a series will do next, how sure that is, and when it crosses its limit.
//!
//! ```text
//!  Series ─▶ history (gaps filled, days that count) ─▶ Mix | DayNaive | Mstl ─▶ Predicted
//!                                                                                    │ assemble(limit)
//!                                                    Outlook, spark ◀── outlook ── Forecast
//! ```
//!
//! No model ever answers a value that is negative, infinite or not a number, and none answers at all from less than
//! [`MIN_HISTORY_SECONDS`] or from a last day that was mostly not measured.

use serde::{Deserialize, Serialize};

use crate::{
    metrics::{Metric, Series},
    units::{Timestamp, VmId},
};

pub mod aggregate;
mod analog;
pub mod backtest;
mod candidate;
mod exceedance;
mod history;
mod mix;
mod model;
mod mstl;
mod naive;
#[cfg(test)]
mod outlier_tests;
mod outlook;
pub mod record;
mod residuals;
pub mod runway;
mod select;
mod surge;
#[cfg(test)]
mod synthetic;
mod trial;

use history::History;
pub use residuals::Spread;

pub use exceedance::{Exceedance, HourAhead, Reached};
pub use history::MIN_HISTORY_SECONDS;
pub use mix::{Analog, Mix};
pub use model::Model;
pub use mstl::{Ets, Mstl, second_opinion};
pub use naive::DayNaive;
pub use outlook::{SPARK_GAP, SPARK_STEPS, assemble, outlook, spark};
pub use select::Select;

/// What a forecast is made of: older history is not read.
pub const HISTORY_SECONDS: u64 = 14 * 86_400;

/// One step ahead.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastPoint {
    pub at: Timestamp,
    pub mean: f32,
    /// 2.5 % quantile.
    pub lower: f32,
    /// 97.5 % quantile.
    pub upper: f32,
}

/// How this model did on this very series, by rolling origins inside its history.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Mean absolute error over that of the day-naive forecast; under 1 beats it.
    pub mase: f64,
    /// 0..=1 of the held-out values that fell inside the 95 % interval.
    pub coverage: f64,
}

impl Accuracy {
    pub fn beats_naive(&self) -> bool {
        self.mase < 1.0
    }
}

/// Held-out values and what was said of them, as they come in.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    count: usize,
    inside: usize,
    absolute: f64,
}

impl Record {
    fn add(&mut self, said: f64, spread: Spread, truth: f64) {
        let error = truth - said;
        self.count += 1;
        self.inside += usize::from(spread.holds(error));
        self.absolute += error.abs();
    }

    /// `None` where nothing was held out.
    fn accuracy(&self, history: &History) -> Option<Accuracy> {
        let count = self.count as f64;
        (self.count > 0).then(|| Accuracy {
            mase: self.absolute / count / history.naive_error(),
            coverage: self.inside as f64 / count,
        })
    }
}

/// A forecast of one series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    pub vm: VmId,
    pub metric: Metric,
    pub made_at: Timestamp,
    pub step_seconds: u32,
    pub model: String,
    pub accuracy: Option<Accuracy>,
    pub points: Vec<ForecastPoint>,
    /// In the metric's unit; `None` where no limit is known, and then no crossing is claimed.
    pub limit: Option<f64>,
    /// The first step whose mean is over the limit.
    pub crosses_at: Option<Timestamp>,
    /// 0..=1 that the limit is crossed within the horizon.
    pub probability: Option<f64>,
    /// The same for each hour ahead: that its highest value is over the limit. Empty without a limit.
    #[serde(default)]
    pub hourly: Vec<f32>,
}

impl Forecast {
    /// On this series the model has lately not beaten "as it was yesterday": nobody should act on it alone.
    pub fn no_better_than_naive(&self) -> bool {
        self.accuracy
            .is_some_and(|accuracy| !accuracy.beats_naive())
    }
}

/// What the fleet's views and decisions need of a forecast, small enough for 40,000 of them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outlook {
    pub metric: Metric,
    pub made_at: Timestamp,
    pub peak: f32,
    pub peak_upper: f32,
    pub peak_at: Timestamp,
    /// 95 % quantile of the means over the horizon: what sizing goes by.
    pub p95: f32,
    pub limit: Option<f32>,
    pub crosses_at: Option<Timestamp>,
    pub probability: Option<f32>,
    /// The beginning of the first hour that is likelier to cross the limit than not.
    #[serde(default)]
    pub likely_at: Option<Timestamp>,
    /// On this series the model has lately not beaten "as it was yesterday".
    #[serde(default)]
    pub no_better_than_naive: bool,
}

impl Outlook {
    /// When the limit is first in question: the mean reaches it, or an hour is likelier to than not. Bursts are over
    /// their limit without their mean ever being.
    pub fn first_sign(&self) -> Option<Timestamp> {
        match (self.crosses_at, self.likely_at) {
            // The mean says when within the hour.
            (Some(mean), Some(hour)) if (0..3600).contains(&mean.secs_since(hour)) => Some(mean),
            (mean, hour) => [mean, hour].into_iter().flatten().min(),
        }
    }
}

/// Why there is no forecast; never an invented line.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum NotReady {
    #[error("{} more of history needed", hours(*.needed_seconds))]
    TooShort { needed_seconds: u64 },
    #[error("only {:.0} % of the last day was measured, 80 % needed", .coverage * 100.0)]
    TooManyGaps { coverage: f64 },
    #[error("no history")]
    NoHistory,
    #[error("steps of {step_seconds} s: they must divide a day and be an hour at most")]
    OddStep { step_seconds: u32 },
    #[error("the last {} all say {value}: a counter that does not move is not forecast", hours(*.seconds))]
    DoesNotMove { value: f32, seconds: u64 },
    #[error("nothing measured for {}", hours(*.silent_seconds))]
    Dead { silent_seconds: u64 },
    #[error("{model} does not fit this series: {why}")]
    DoesNotFit { model: String, why: String },
}

impl NotReady {
    /// The same for all series that lack the same thing.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "too short",
            Self::TooManyGaps { .. } => "too many gaps",
            Self::NoHistory => "no history",
            Self::OddStep { .. } => "odd step",
            Self::DoesNotMove { .. } => "does not move",
            Self::Dead { .. } => "silent",
            Self::DoesNotFit { .. } => "does not fit",
        }
    }
}

fn hours(seconds: u64) -> String {
    if seconds >= 72 * 3600 {
        format!("{} days", seconds.div_ceil(86_400))
    } else if seconds >= 3600 {
        format!("{} h", seconds.div_ceil(3600))
    } else {
        format!("{} min", seconds.div_ceil(60))
    }
}

/// What a model answers: the points and its own record, without VM and limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Predicted {
    pub model: String,
    pub accuracy: Option<Accuracy>,
    pub points: Vec<ForecastPoint>,
    /// What the probability of crossing any limit is read from.
    pub exceedance: Exceedance,
}

/// A way to continue a series. Implementations are pure and keep no state.
pub trait Forecaster: Send + Sync {
    /// The short name shown with every forecast.
    fn name(&self) -> &'static str;

    /// Continues `series` by `horizon_steps` of its own step.
    ///
    /// # Errors
    /// Says what is missing where the series cannot carry a forecast.
    fn predict(&self, series: &Series, horizon_steps: usize) -> Result<Predicted, NotReady>;
}
