//! The settings as what each decider goes by. The engine and a replay of the past ask here, so that both decide alike.

use super::Settings;
use crate::{
    health::Thresholds,
    shadow::{hold::HoldPolicy, need::NeedPolicy, sizing::SizingPolicy},
};

/// A sample older than this many intervals no longer says how a VM is.
const MAX_SAMPLE_AGE_INTERVALS: u32 = 6;

impl Settings {
    pub const fn max_sample_age_seconds(&self) -> u32 {
        self.sampling
            .interval_seconds
            .saturating_mul(MAX_SAMPLE_AGE_INTERVALS)
    }

    pub const fn thresholds(&self) -> Thresholds {
        let health = &self.health;
        Thresholds {
            response_millis: health.response_millis,
            slow_factor: health.slow_factor,
            slow_floor_millis: health.slow_floor_millis,
            error_ratio: health.error_ratio,
            steal: health.steal,
            weights: health.weights,
            states: health.states,
            max_data_age_seconds: self.max_sample_age_seconds() as u64,
        }
    }

    /// `ready_seconds` is what a shadow needs on this fleet until it can help.
    pub fn need_policy(&self, ready_seconds: u32) -> NeedPolicy {
        NeedPolicy {
            min_probability: self.forecast.min_probability,
            threshold: self.health.threshold,
            horizon_seconds: self.forecast.horizon_hours.saturating_mul(3600),
            ready_seconds,
            decision_seconds: self.forecast.decision_minutes.saturating_mul(60),
            give_back_after_seconds: self.shadow.give_back_after_seconds,
            margin: self.shadow.margin,
            max_data_age_seconds: self.approval.max_data_age_seconds,
            ..NeedPolicy::default()
        }
    }

    pub const fn hold_policy(&self) -> HoldPolicy {
        HoldPolicy {
            raise_after_seconds: self.forecast.raise_after_seconds,
            withdraw_after_seconds: self.forecast.withdraw_after_seconds,
        }
    }

    pub const fn sizing_policy(&self) -> SizingPolicy {
        SizingPolicy {
            margin: self.shadow.margin,
            max_share: self.shadow.max_share,
        }
    }
}
