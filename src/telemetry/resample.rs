//! Samples at whatever times to the steps that the engine keeps.

use crate::{
    metrics::{Series, SeriesBuilder},
    units::Timestamp,
};

/// The step of imported history.
pub const STEP_SECONDS: u32 = 300;

/// Samples further apart than this tell too little of a day.
pub const MAX_SPACING_SECONDS: u32 = 3600;

/// The longest span of one series.
pub const MAX_SPAN_SECONDS: u32 = 400 * 86_400;

/// One value at a second since 1970; 32 bits reach to 2106 and halve what a large import holds in memory.
pub type Point = (u32, f32);

/// Why samples do not make a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotResample {
    #[error(
        "its samples are {seconds} s apart; at most {MAX_SPACING_SECONDS} s can be brought to steps of {STEP_SECONDS} s"
    )]
    TooFarApart { seconds: u32 },
    #[error(
        "it spans {days} days from its first to its last sample; at most {} are taken",
        MAX_SPAN_SECONDS / 86_400
    )]
    TooLong { days: u32 },
}

/// Brings samples in any order to [`STEP_SECONDS`].
///
/// The usual spacing is the median of the distances between neighbours. Finer samples become means. Coarser ones are
/// joined by straight lines, but only across the usual spacing: a distance of more than one and a half times of it
/// is a gap and stays one.
pub fn resample(points: &mut [Point]) -> Result<Series, CannotResample> {
    points.sort_by_key(|(at, _)| *at);
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Ok(Series {
            step_seconds: STEP_SECONDS,
            ..Series::default()
        });
    };
    let span_seconds = last.0 - first.0;
    if span_seconds > MAX_SPAN_SECONDS {
        let days = span_seconds.div_ceil(86_400);
        return Err(CannotResample::TooLong { days });
    }
    let spacing_seconds = usual_spacing(points);
    if spacing_seconds > MAX_SPACING_SECONDS {
        let seconds = spacing_seconds;
        return Err(CannotResample::TooFarApart { seconds });
    }
    let at = |seconds: u32| Timestamp::from_secs(i64::from(seconds));
    let mut builder = SeriesBuilder::new(at(first.0), at(last.0).plus_secs(1), STEP_SECONDS);
    for (seconds, value) in &*points {
        builder.add(at(*seconds), *value);
    }
    if spacing_seconds <= STEP_SECONDS {
        return Ok(builder.means());
    }
    let bridged_seconds = spacing_seconds + spacing_seconds / 2;
    for pair in points.windows(2) {
        let [(from, low), (to, high)] = [pair[0], pair[1]];
        if to - from > bridged_seconds {
            continue;
        }
        let first_between = from / STEP_SECONDS + 1;
        for step in first_between..to / STEP_SECONDS {
            let seconds = step * STEP_SECONDS;
            let share = (seconds - from) as f32 / (to - from) as f32;
            builder.add(at(seconds), low + (high - low) * share);
        }
    }
    Ok(builder.means())
}

/// Median distance of neighbours in sorted samples; 0 of fewer than two.
pub fn usual_spacing(points: &[Point]) -> u32 {
    let mut distances: Vec<u32> = points
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .filter(|distance| *distance > 0)
        .collect();
    if distances.is_empty() {
        return 0;
    }
    let middle = distances.len() / 2;
    *distances.select_nth_unstable(middle).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(points: &[Point]) -> String {
        format!("{:?}", resample(&mut points.to_vec()).unwrap().values)
    }

    #[test]
    fn finer_samples_become_means_in_any_order() {
        let points = [(660, 3.0), (600, 1.0), (720, 5.0), (900, 7.0), (780, 3.0)];
        assert_eq!(values(&points), "[3.0, 7.0]");
    }

    #[test]
    fn coarser_samples_are_joined_and_gaps_stay() {
        let points = [
            (900, 1.0),
            (1800, 4.0),
            (2700, 1.0),
            (5400, 2.0),
            (6300, 2.0),
        ];
        assert_eq!(
            values(&points),
            "[1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0, NaN, NaN, NaN, NaN, NaN, NaN, NaN, NaN, 2.0, 2.0, 2.0, 2.0]"
        );
    }

    #[test]
    fn what_would_be_invented_or_endless_is_refused() {
        let days = resample(&mut [(0, 1.0), (7200, 1.0), (14_400, 1.0)]);
        assert_eq!(days, Err(CannotResample::TooFarApart { seconds: 7200 }));
        let ages = resample(&mut [(0, 1.0), (u32::MAX, 1.0)]);
        assert!(matches!(ages, Err(CannotResample::TooLong { .. })));
        assert!(resample(&mut []).unwrap().values.is_empty());
        assert_eq!(resample(&mut [(600, 1.0)]).unwrap().values, vec![1.0]);
    }
}
