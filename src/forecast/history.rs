//! A series made ready for models: only the days that count, every gap filled, and a note of what was really measured.

use super::NotReady;
use crate::metrics::Series;

const DAY_SECONDS: u32 = 86_400;

/// Coarser steps tell too little of a day.
const MAX_STEP_SECONDS: u32 = 3600;

/// The shortest history that carries a forecast: a day, and two hours to see how well that day repeats.
pub const MIN_HISTORY_SECONDS: u64 = 26 * 3600;

/// Older days are not looked at.
const MAX_DAYS: usize = (super::HISTORY_SECONDS / 86_400) as usize;

/// A day with less of it measured ends the history: what lies before an outage of half a day is left out.
const MIN_DAY_COVERAGE: f64 = 0.5;

/// The last day must be known this well, or "now" is not known.
const MIN_LAST_DAY_COVERAGE: f64 = 0.8;

/// A series that has said nothing for longer is not there any more.
const MAX_SILENCE_SECONDS: u64 = 3 * 3600;

/// Gaps of up to so many steps are bridged with a line; longer ones repeat the day before.
const LINEAR_GAP_STEPS: usize = 3;

/// What models work on.
#[derive(Clone, Debug)]
pub struct History {
    /// No gap, nothing negative; the last one is the newest.
    pub values: Vec<f64>,
    /// Whether the value of the same index was measured: errors are counted on these only.
    pub measured: Vec<bool>,
    /// Steps of a day.
    pub day: usize,
}

impl History {
    /// # Errors
    /// Says what the series lacks.
    pub fn of(series: &Series) -> Result<Self, NotReady> {
        let step_seconds = series.step_seconds;
        if step_seconds > MAX_STEP_SECONDS || !DAY_SECONDS.is_multiple_of(step_seconds) {
            return Err(NotReady::OddStep { step_seconds });
        }
        let day = (DAY_SECONDS / step_seconds) as usize;
        let known = &series.values;
        let first = known
            .iter()
            .position(|value| value.is_finite())
            .ok_or(NotReady::NoHistory)?;
        let silent_seconds = silent_steps(known) as u64 * u64::from(step_seconds);
        if silent_seconds > MAX_SILENCE_SECONDS {
            return Err(NotReady::Dead { silent_seconds });
        }
        too_short(known.len() - first, step_seconds)?;
        let last_day = coverage(&known[known.len().saturating_sub(day).max(first)..]);
        if last_day < MIN_LAST_DAY_COVERAGE {
            return Err(NotReady::TooManyGaps { coverage: last_day });
        }
        let usable = &known[start_of_known_days(known, first, day)..];
        too_short(usable.len(), step_seconds)?;
        Ok(Self {
            values: filled(usable, day),
            measured: usable.iter().map(|value| value.is_finite()).collect(),
            day,
        })
    }

    /// # Errors
    /// Where the last day is one and the same value: a counter that stands still, or a meter that repeats itself.
    /// Nought is taken for rest as long as it was not always so.
    #[allow(clippy::float_cmp)] // a meter that repeats itself repeats every bit
    pub fn must_move(&self, step_seconds: u32) -> Result<(), NotReady> {
        let newest = self.values[self.origin()];
        let from = if newest == 0.0 {
            0
        } else {
            self.values.len() - self.day
        };
        let still = &self.values[from..];
        if still.iter().any(|value| *value != newest) {
            return Ok(());
        }
        Err(NotReady::DoesNotMove {
            value: newest as f32,
            seconds: still.len() as u64 * u64::from(step_seconds),
        })
    }

    /// Index of the newest value: where forecasts start.
    pub fn origin(&self) -> usize {
        self.values.len() - 1
    }

    /// Mean absolute error of the day-naive forecast over the whole history: what errors are compared with.
    pub fn naive_error(&self) -> f64 {
        let errors = self.values[self.day..]
            .iter()
            .zip(&self.values)
            .map(|(now, day_before)| (now - day_before).abs());
        let count = self.values.len() - self.day;
        let mean = errors.sum::<f64>() / count as f64;
        // A series that repeats itself exactly has no naive error; a thousandth of its level keeps the ratio finite.
        let level = self.values.iter().sum::<f64>() / self.values.len() as f64;
        mean.max(level * 1e-3).max(1e-9)
    }
}

/// Steps since the newest value that was measured.
fn silent_steps(known: &[f32]) -> usize {
    let silent = known.iter().rev().take_while(|value| !value.is_finite());
    silent.count()
}

fn too_short(steps: usize, step_seconds: u32) -> Result<(), NotReady> {
    let have_seconds = steps as u64 * u64::from(step_seconds);
    match MIN_HISTORY_SECONDS.checked_sub(have_seconds) {
        None | Some(0) => Ok(()),
        Some(needed_seconds) => Err(NotReady::TooShort { needed_seconds }),
    }
}

fn coverage(values: &[f32]) -> f64 {
    let known = values.iter().filter(|value| value.is_finite()).count();
    known as f64 / values.len().max(1) as f64
}

/// Walks back from now, day by day, up to the first day that was hardly measured; begins at a measured value.
fn start_of_known_days(known: &[f32], first: usize, day: usize) -> usize {
    let mut start = known.len();
    for _ in 0..MAX_DAYS {
        let earlier = start.saturating_sub(day).max(first);
        if earlier == start || coverage(&known[earlier..start]) < MIN_DAY_COVERAGE {
            break;
        }
        start = earlier;
    }
    let gap = known[start..].iter().position(|value| value.is_finite());
    start + gap.unwrap_or(0)
}

fn filled(known: &[f32], day: usize) -> Vec<f64> {
    let mut values: Vec<f64> = Vec::with_capacity(known.len());
    let mut index = 0;
    while index < known.len() {
        if known[index].is_finite() {
            values.push(f64::from(known[index]).max(0.0));
            index += 1;
            continue;
        }
        // `known` begins with a value, so there always is one before a gap.
        let before = values[index - 1];
        let end = known[index..]
            .iter()
            .position(|value| value.is_finite())
            .map_or(known.len(), |length| index + length);
        let steps = end - index;
        let after = known.get(end).map(|value| f64::from(*value).max(0.0));
        for offset in 0..steps {
            let value = match after {
                _ if steps > LINEAR_GAP_STEPS && index + offset >= day => {
                    values[index + offset - day]
                }
                Some(after) => before + (after - before) * (offset + 1) as f64 / (steps + 1) as f64,
                None => before,
            };
            values.push(value);
        }
        index = end;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Timestamp;

    fn hourly(values: Vec<f32>) -> Series {
        Series {
            start: Timestamp::from_secs(0),
            step_seconds: 3600,
            values,
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        let of = |values| History::of(&hourly(values)).unwrap_err();
        assert_eq!(of(vec![]), NotReady::NoHistory);
        assert_eq!(of(vec![f32::NAN; 40]), NotReady::NoHistory);
        assert_eq!(
            of(vec![1.0; 20]),
            NotReady::TooShort {
                needed_seconds: 6 * 3600
            }
        );
        let mut gappy = vec![1.0; 48];
        gappy[30..36].fill(f32::NAN);
        assert_eq!(of(gappy), NotReady::TooManyGaps { coverage: 0.75 });
        let mut silent = vec![1.0; 48];
        silent[44..].fill(f32::NAN);
        let silent_seconds = 4 * 3600;
        assert_eq!(of(silent), NotReady::Dead { silent_seconds });
        let odd = Series {
            step_seconds: 7000,
            ..hourly(vec![1.0; 40])
        };
        assert_eq!(
            History::of(&odd).unwrap_err(),
            NotReady::OddStep { step_seconds: 7000 }
        );
    }

    #[test]
    fn what_does_not_move_is_told_from_what_rests() {
        let moves = |values: Vec<f32>| {
            let history = History::of(&hourly(values)).unwrap();
            history.must_move(3600)
        };
        let mut busy_then_still: Vec<f32> = (0..72).map(|hour| hour as f32).collect();
        busy_then_still[40..].fill(7.5);
        let stuck = NotReady::DoesNotMove {
            value: 7.5,
            seconds: 24 * 3600,
        };
        assert_eq!(moves(busy_then_still.clone()), Err(stuck));
        busy_then_still[60] = 7.0;
        assert_eq!(moves(busy_then_still.clone()), Ok(()));
        busy_then_still[40..].fill(0.0);
        assert_eq!(moves(busy_then_still), Ok(()));
        assert!(moves(vec![0.0; 72]).is_err());
    }

    #[test]
    fn short_gaps_are_lines_and_long_ones_repeat_the_day_before() {
        let mut values: Vec<f32> = (0..72).map(|hour| (hour % 24) as f32).collect();
        values[30] = f32::NAN;
        values[40..46].fill(f32::NAN);
        values[70..].fill(f32::NAN);
        let history = History::of(&hourly(values)).unwrap();
        assert_eq!(history.values[30..31], [6.0]);
        assert_eq!(history.values[40..46], [16.0, 17.0, 18.0, 19.0, 20.0, 21.0]);
        assert_eq!(history.values[69..], [21.0, 21.0, 21.0]);
        assert!(!history.measured[30] && !history.measured[71] && history.measured[69]);
    }

    #[test]
    fn a_long_outage_ends_the_history() {
        let mut values = vec![1.0; 24 * 6];
        values[24 * 2..24 * 3].fill(f32::NAN);
        let history = History::of(&hourly(values)).unwrap();
        assert_eq!(history.values.len(), 24 * 3);
    }
}
