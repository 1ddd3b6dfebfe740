//! What past occurrences of an event did, and what is learned of that: so many times the usual load, or so much more.

use super::super::Window;

/// What a planner's figure counts for against occurrences that were seen; an event without one is expected to do
/// nothing, with half that weight.
const EXPECTED_WEIGHT: f64 = 0.5;
/// The spread (of the logarithm) of what was never seen, and the least of what was seen often.
const UNSEEN_SPREAD: f64 = 0.25;
const LEAST_SPREAD: f64 = 0.03;
/// No event changes a load more than this.
pub const MOST: f64 = 20.0;
/// Adding must tell occurrences from each other with less than this part of the error of multiplying.
const CLEARLY_BETTER: f64 = 0.9;

/// One occurrence beside what is usual.
#[derive(Clone, Debug)]
pub struct Seen {
    pub window: Window,
    /// The logarithm of how many times the usual load it was.
    pub ratio: f64,
    /// How much more than the usual load it was on average, in the metric's unit.
    pub more: f64,
    /// Each measured value and what is usual there.
    pub steps: Vec<(f64, f64)>,
}

impl Seen {
    pub fn of(window: Window, steps: Vec<(f64, f64)>, floor: f64) -> Self {
        let count = steps.len().max(1) as f64;
        let actual: f64 = steps.iter().map(|(value, _)| value).sum();
        let usual: f64 = steps.iter().map(|(_, usual)| usual).sum();
        let ratio = (actual / count + floor) / (usual / count + floor);
        Self {
            window,
            ratio: ratio.clamp(1.0 / MOST, MOST).ln(),
            more: (actual - usual) / count,
            steps,
        }
    }

    /// Mean absolute error of what `says` makes of the usual load.
    pub fn error(&self, says: impl Fn(f64) -> f64) -> f64 {
        let errors = self
            .steps
            .iter()
            .map(|(value, usual)| (value - says(*usual)).abs());
        errors.sum::<f64>() / self.steps.len().max(1) as f64
    }

    fn usual(&self) -> f64 {
        self.steps.iter().map(|(_, usual)| usual).sum::<f64>() / self.steps.len().max(1) as f64
    }
}

/// A centre and how far occurrences lie from it.
#[derive(Clone, Copy, Debug)]
pub struct Drawn {
    pub centre: f64,
    pub deviation: f64,
}

/// Whether the event adds to a load rather than multiplying it: each occurrence is told by the others in both ways.
/// Where the usual load was always the same, both say the same, and it multiplies.
pub fn adds(seen: &[Seen]) -> bool {
    if seen.len() < 2 {
        return false;
    }
    let others = (seen.len() - 1) as f64;
    let ratios: f64 = seen.iter().map(|one| one.ratio).sum();
    let mores: f64 = seen.iter().map(|one| one.more).sum();
    let (mut multiplied, mut added) = (0.0, 0.0);
    for one in seen {
        let factor = ((ratios - one.ratio) / others).exp();
        let more = (mores - one.more) / others;
        multiplied += one.error(|usual| usual * factor);
        added += one.error(|usual| usual + more);
    }
    added < CLEARLY_BETTER * multiplied
}

/// The logarithm of an uplift, from what was seen and what was expected.
pub fn ratio(seen: &[Seen], expected: Option<f64>) -> Drawn {
    let prior = expected.map(|factor| factor.clamp(1.0 / MOST, MOST).ln());
    let ratios: Vec<f64> = seen.iter().map(|one| one.ratio).collect();
    drawn(&ratios, prior, UNSEEN_SPREAD, LEAST_SPREAD)
}

/// The same of what is added, in the metric's unit.
pub fn more(seen: &[Seen], expected: Option<f64>) -> Drawn {
    let usual = seen.iter().map(Seen::usual).sum::<f64>() / seen.len().max(1) as f64;
    let prior = expected.map(|factor| (factor - 1.0) * usual);
    let mores: Vec<f64> = seen.iter().map(|one| one.more).collect();
    drawn(&mores, prior, UNSEEN_SPREAD * usual, LEAST_SPREAD * usual)
}

fn drawn(seen: &[f64], prior: Option<f64>, unseen: f64, least: f64) -> Drawn {
    let weight = if prior.is_some() {
        EXPECTED_WEIGHT
    } else {
        EXPECTED_WEIGHT / 2.0
    };
    let count = seen.len() as f64;
    let centre = (seen.iter().sum::<f64>() + prior.unwrap_or(0.0) * weight) / (count + weight);
    if seen.is_empty() {
        let deviation = if prior.is_some() { unseen } else { 0.0 };
        return Drawn { centre, deviation };
    }
    let squares: f64 = seen.iter().map(|one| (one - centre).powi(2)).sum();
    // One occurrence tells little of how they differ.
    let variance = (squares + unseen.powi(2)) / (count + 1.0);
    Drawn {
        centre,
        deviation: variance.sqrt().max(least),
    }
}
