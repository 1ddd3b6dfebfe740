//! Which state a score stands for, without flapping: worse at once, better only past a margin and for a while.

use serde::{Deserialize, Serialize};

use super::HealthState;
use crate::units::Timestamp;

/// Where the states begin, and how hard it is to come back to a better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StateBounds {
    pub watch_below: u8,
    pub risk_below: u8,
    pub critical_below: u8,
    /// Points over a bound before a state can become better.
    pub margin: u8,
    /// And for so long.
    pub hold_seconds: u32,
}

impl Default for StateBounds {
    fn default() -> Self {
        Self {
            watch_below: 85,
            risk_below: 70,
            critical_below: 50,
            margin: 3,
            hold_seconds: 60,
        }
    }
}

impl StateBounds {
    /// What a score stands for by itself.
    pub const fn of(&self, score: u8) -> HealthState {
        if score < self.critical_below {
            HealthState::Critical
        } else if score < self.risk_below {
            HealthState::Risk
        } else if score < self.watch_below {
            HealthState::Watch
        } else {
            HealthState::Ok
        }
    }
}

/// The state of one VM over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SteadyState {
    shown: HealthState,
    /// Since when its score has been good enough for a better state, and the worst of those states.
    better: Option<(Timestamp, HealthState)>,
}

impl Default for SteadyState {
    fn default() -> Self {
        Self {
            shown: HealthState::Unknown,
            better: None,
        }
    }
}

impl SteadyState {
    pub const fn shown(self) -> HealthState {
        self.shown
    }

    /// Takes a new score. What is not known is shown as that at once, and what becomes known is, too.
    #[must_use]
    pub fn after(self, score: Option<u8>, at: Timestamp, bounds: &StateBounds) -> Self {
        let Some(score) = score else {
            return Self::default();
        };
        let plain = bounds.of(score);
        if self.shown == HealthState::Unknown || plain >= self.shown {
            return Self {
                shown: plain,
                better: None,
            };
        }
        let eased = bounds.of(score.saturating_sub(bounds.margin));
        if eased >= self.shown {
            return Self {
                better: None,
                ..self
            };
        }
        let (since, worst) = self
            .better
            .map_or((at, eased), |(since, worst)| (since, worst.max(eased)));
        if at.secs_since(since) >= i64::from(bounds.hold_seconds) {
            Self {
                shown: worst,
                better: None,
            }
        } else {
            Self {
                better: Some((since, worst)),
                ..self
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: StateBounds = StateBounds {
        watch_below: 85,
        risk_below: 70,
        critical_below: 50,
        margin: 3,
        hold_seconds: 60,
    };

    fn shown(scores: &[(i64, Option<u8>)]) -> Vec<HealthState> {
        let mut state = SteadyState::default();
        let mut states = Vec::new();
        for (second, score) in scores {
            state = state.after(*score, Timestamp::from_secs(*second), &BOUNDS);
            states.push(state.shown());
        }
        states
    }

    #[test]
    fn worse_is_shown_at_once_and_better_after_the_margin_and_the_hold() {
        use HealthState::{Critical, Ok, Risk, Unknown, Watch};
        let states = shown(&[
            (0, Some(90)),
            (10, Some(49)),
            // Over the bound, within the margin.
            (20, Some(52)),
            (200, Some(52)),
            (210, Some(53)),
            (260, Some(90)),
            // A minute has passed, and the worst of it was a risk.
            (270, Some(90)),
            (280, Some(90)),
            (339, Some(90)),
            (340, Some(90)),
            (350, None),
            (360, Some(80)),
        ]);
        assert_eq!(
            states,
            [
                Ok, Critical, Critical, Critical, Critical, Critical, Risk, Risk, Risk, Ok,
                Unknown, Watch
            ]
        );
    }

    #[test]
    fn falling_back_begins_the_hold_anew() {
        let states = shown(&[
            (0, Some(60)),
            (10, Some(75)),
            (50, Some(71)),
            (60, Some(75)),
            (119, Some(75)),
            (120, Some(75)),
        ]);
        assert_eq!(states[4], HealthState::Risk);
        assert_eq!(states[5], HealthState::Watch);
    }

    proptest! {
        #[test]
        fn a_state_gets_better_at_most_once_a_hold(scores in proptest::collection::vec(0_u8..=100, 1..200)) {
            let timed: Vec<_> = scores.iter().enumerate().map(|(index, score)| (index as i64 * 7, Some(*score))).collect();
            let states = shown(&timed);
            let eased = states.windows(2).filter(|pair| pair[1] < pair[0]).count();
            prop_assert!(eased <= scores.len() * 7 / 60 + 1);
            for (state, score) in states.iter().zip(&scores) {
                prop_assert!(*state >= BOUNDS.of(*score), "never better than the score says");
            }
        }
    }
}
