//! Series with a known course for the models' tests.

use crate::{metrics::Series, units::Timestamp};

/// A day's curve between 0.2 and 0.6 at 5 minutes, with seeded noise of up to `noise` either way.
pub fn daily(days: usize, noise: f32) -> Series {
    let mut random = fastrand::Rng::with_seed(7);
    Series {
        start: Timestamp::from_secs(1_700_006_400),
        step_seconds: 300,
        values: (0..days * 288)
            .map(|step| curve(step) + (random.f32() * 2.0 - 1.0) * noise)
            .collect(),
    }
}

/// The curve of [`daily`] at any step.
pub fn curve(step: usize) -> f32 {
    let turn = step as f32 / 288.0 * std::f32::consts::TAU;
    0.4 - 0.2 * turn.cos()
}

/// The same series with `tail` as its newest values.
pub fn with_tail(mut series: Series, tail: &[f32]) -> Series {
    let from = series.values.len() - tail.len();
    series.values[from..].copy_from_slice(tail);
    series
}
