//! Does something have to be done about a VM: a forecast over its limit, a bad health score, or a risk that has passed.

use super::{Need, Reason, Urgency};
use crate::{
    forecast::Outlook,
    health::HealthScore,
    units::{Timestamp, VmId},
};

/// A crossing nearer than this is [`Urgency::Now`].
const NOW_SECONDS: i64 = 30 * 60;
/// A crossing nearer than this is [`Urgency::Soon`].
const SOON_SECONDS: i64 = 4 * 3600;
/// A forecast made longer ago decides nothing.
const OUTLOOK_LIFETIME_SECONDS: i64 = 3600;

/// The figures of the settings that decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NeedPolicy {
    /// 0..=1; a crossing less likely than this counts for nothing.
    pub min_probability: f64,
    /// A health score under this asks for a shadow.
    pub threshold: u8,
    pub horizon_seconds: u32,
    pub give_back_after_seconds: u32,
    /// 0..=1: how far under its limit a VM must be forecast without help before its shadow is given back.
    pub margin: f64,
    /// 0..=1 of the last day that must have been measured.
    pub min_coverage: f64,
    /// Older samples decide nothing.
    pub max_data_age_seconds: u32,
}

impl Default for NeedPolicy {
    fn default() -> Self {
        Self {
            min_probability: 0.5,
            threshold: 50,
            horizon_seconds: 12 * 3600,
            give_back_after_seconds: 2 * 3600,
            margin: 0.1,
            min_coverage: 0.8,
            max_data_age_seconds: 120,
        }
    }
}

/// The shadow that a VM has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Helped {
    /// 0..=1 of the VM's traffic that the shadow has.
    pub share: f64,
    /// Since when the VM would do without it; the caller keeps what [`quiet_since`] says.
    pub quiet_since: Option<Timestamp>,
}

/// What is known of one VM.
#[derive(Clone, Copy, Debug)]
pub struct NeedInput<'a> {
    pub vm: &'a VmId,
    pub now: Timestamp,
    pub outlooks: &'a [Outlook],
    pub health: &'a HealthScore,
    /// 0..=1 of the last day that was measured.
    pub coverage: f64,
    pub sampled_at: Option<Timestamp>,
    pub helped: Option<Helped>,
}

/// Decides. `None` also where too little is known to say anything.
pub fn need(input: &NeedInput, policy: &NeedPolicy) -> Option<Need> {
    if !is_known(input, policy) {
        return None;
    }
    let mut crossing: Vec<_> = input
        .outlooks
        .iter()
        .filter_map(|outlook| Some((outlook, crosses(outlook, input.now, policy)?)))
        .collect();
    crossing.sort_by_key(|(_, at)| *at);
    let mut reasons: Vec<_> = crossing
        .iter()
        .map(|(outlook, at)| Reason::ForecastCrosses {
            metric: outlook.metric,
            peak: f64::from(outlook.peak),
            limit: outlook.limit.map_or(f64::NAN, f64::from),
            at: *at,
        })
        .collect();
    let unwell = unhealthy(input.health, policy);
    reasons.extend(unwell.clone());
    if reasons.is_empty() {
        return give_back(input, policy);
    }
    let crosses_at = crossing.first().map(|(_, at)| *at);
    Some(Need {
        vm: input.vm.clone(),
        urgency: match (unwell, crosses_at) {
            (Some(_), _) | (None, None) => Urgency::Now,
            (None, Some(at)) => urgency(at.secs_since(input.now)),
        },
        crosses_at,
        probability: crossing
            .iter()
            .filter_map(|(outlook, _)| outlook.probability)
            .map(f64::from)
            .reduce(f64::max),
        reasons,
    })
}

/// Since when the VM would do without its shadow, from what was known before and what is known now; `None` while it
/// would not. What cannot be judged now leaves the answer as it was.
pub fn quiet_since(
    previous: Option<Timestamp>,
    input: &NeedInput,
    policy: &NeedPolicy,
) -> Option<Timestamp> {
    if !is_known(input, policy) {
        return previous;
    }
    quiet_peak(input, policy).and(previous.or(Some(input.now)))
}

fn is_known(input: &NeedInput, policy: &NeedPolicy) -> bool {
    let fresh = input
        .sampled_at
        .is_some_and(|at| input.now.secs_since(at) <= i64::from(policy.max_data_age_seconds));
    fresh && input.coverage >= policy.min_coverage && input.health.score.is_some()
}

fn is_current(outlook: &Outlook, now: Timestamp) -> bool {
    now.secs_since(outlook.made_at) <= OUTLOOK_LIFETIME_SECONDS
}

/// When the outlook crosses, where that is likely and near enough.
fn crosses(outlook: &Outlook, now: Timestamp, policy: &NeedPolicy) -> Option<Timestamp> {
    let at = outlook.crosses_at?;
    let likely = outlook
        .probability
        .is_some_and(|probability| f64::from(probability) >= policy.min_probability);
    let near = at.secs_since(now) <= i64::from(policy.horizon_seconds);
    (outlook.limit.is_some() && likely && near && is_current(outlook, now)).then_some(at)
}

fn unhealthy(health: &HealthScore, policy: &NeedPolicy) -> Option<Reason> {
    let score = health.score.filter(|score| *score < policy.threshold)?;
    let worst = health
        .contributions
        .iter()
        .max_by_key(|contribution| contribution.points)
        .map_or_else(String::new, |contribution| contribution.why.clone());
    Some(Reason::HealthUnder {
        score,
        threshold: policy.threshold,
        worst,
    })
}

fn urgency(seconds_ahead: i64) -> Urgency {
    if seconds_ahead <= NOW_SECONDS {
        Urgency::Now
    } else if seconds_ahead <= SOON_SECONDS {
        Urgency::Soon
    } else {
        Urgency::Later
    }
}

/// The highest forecast without the shadow's help and its limit, where every limit keeps its margin and the VM is well.
fn quiet_peak(input: &NeedInput, policy: &NeedPolicy) -> Option<(f64, f64)> {
    let helped = input.helped?;
    // What the primary is forecast to do is what is left after the share; with nothing left nothing can be said.
    let left = 1.0 - helped.share;
    if left <= 0.0 || unhealthy(input.health, policy).is_some() {
        return None;
    }
    let mut highest: Option<(f64, f64)> = None;
    for outlook in input.outlooks {
        let Some(limit) = outlook.limit.map(f64::from).filter(|limit| *limit > 0.0) else {
            continue;
        };
        if !is_current(outlook, input.now) {
            return None;
        }
        // Memory does not follow traffic: it is not scaled.
        let scale = if super::sizing::follows_traffic(outlook.metric) {
            left
        } else {
            1.0
        };
        let peak = f64::from(outlook.peak) / scale;
        if peak.is_nan() || peak >= limit * (1.0 - policy.margin) {
            return None;
        }
        if highest
            .is_none_or(|(peak_before, limit_before)| peak / limit > peak_before / limit_before)
        {
            highest = Some((peak, limit));
        }
    }
    highest
}

fn give_back(input: &NeedInput, policy: &NeedPolicy) -> Option<Need> {
    let quiet_since = input.helped?.quiet_since?;
    let (peak, limit) = quiet_peak(input, policy)?;
    let quiet_seconds = input.now.secs_since(quiet_since);
    (quiet_seconds >= i64::from(policy.give_back_after_seconds)).then(|| Need {
        vm: input.vm.clone(),
        urgency: Urgency::GiveBack,
        crosses_at: None,
        probability: None,
        reasons: vec![Reason::RiskPassed {
            peak,
            limit,
            quiet_since,
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        health::{Contribution, HealthState},
        metrics::Metric,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn outlook(peak: f32, crosses_in: Option<i64>) -> Outlook {
        Outlook {
            metric: Metric::Cpu,
            made_at: NOW.plus_secs(-60),
            peak,
            peak_upper: peak + 0.05,
            peak_at: NOW.plus_secs(3600),
            p95: peak - 0.02,
            limit: Some(0.85),
            crosses_at: crosses_in.map(|seconds| NOW.plus_secs(seconds)),
            probability: crosses_in.map(|_| 0.9),
            likely_at: None,
            no_better_than_naive: false,
        }
    }

    fn health(score: Option<u8>) -> HealthScore {
        HealthScore {
            score,
            state: HealthState::Ok,
            contributions: vec![
                Contribution {
                    name: "steal".to_owned(),
                    points: 5,
                    why: "steal at 12 %".to_owned(),
                },
                Contribution {
                    name: "cpu".to_owned(),
                    points: 50,
                    why: "CPU at 97 %".to_owned(),
                },
            ],
        }
    }

    struct Case {
        outlooks: Vec<Outlook>,
        health: HealthScore,
        coverage: f64,
        age: i64,
        helped: Option<Helped>,
    }

    impl Case {
        fn of(outlooks: Vec<Outlook>) -> Self {
            Self {
                outlooks,
                health: health(Some(95)),
                coverage: 1.0,
                age: 5,
                helped: None,
            }
        }

        fn with<T>(&self, ask: impl FnOnce(&NeedInput, &NeedPolicy) -> T) -> T {
            let vm = VmId::from("a/1");
            let input = NeedInput {
                vm: &vm,
                now: NOW,
                outlooks: &self.outlooks,
                health: &self.health,
                coverage: self.coverage,
                sampled_at: Some(NOW.plus_secs(-self.age)),
                helped: self.helped,
            };
            ask(&input, &NeedPolicy::default())
        }

        fn need(&self) -> Option<Need> {
            self.with(need)
        }
    }

    #[test]
    fn urgency_goes_by_the_time_that_is_left() {
        for (seconds, expected) in [
            (-60, Urgency::Now),
            (1800, Urgency::Now),
            (1801, Urgency::Soon),
            (4 * 3600, Urgency::Soon),
            (4 * 3600 + 1, Urgency::Later),
        ] {
            let need = Case::of(vec![outlook(0.96, Some(seconds))]).need().unwrap();
            assert_eq!(need.urgency, expected, "{seconds}");
            assert_eq!(need.crosses_at, Some(NOW.plus_secs(seconds)));
        }
    }

    #[test]
    fn the_unlikely_the_far_and_the_stale_raise_nothing() {
        let crossing = outlook(0.96, Some(600));
        let unlikely = Outlook {
            probability: Some(0.49),
            ..crossing
        };
        let unknown = Outlook {
            probability: None,
            ..crossing
        };
        let far = outlook(0.96, Some(12 * 3600 + 1));
        let stale = Outlook {
            made_at: NOW.plus_secs(-3601),
            ..crossing
        };
        for none in [unlikely, unknown, far, stale] {
            assert_eq!(Case::of(vec![none]).need(), None, "{none:?}");
        }
    }

    #[test]
    fn nothing_is_proposed_on_too_little_knowledge() {
        let mut case = Case::of(vec![outlook(0.96, Some(600))]);
        assert!(case.need().is_some());
        case.coverage = 0.79;
        assert_eq!(case.need(), None);
        case.coverage = 0.8;
        assert!(case.need().is_some());
        case.age = 121;
        assert_eq!(case.need(), None);
        case.age = 0;
        case.health = health(None);
        assert_eq!(case.need(), None);
    }

    #[test]
    fn the_nearest_crossing_leads_and_poor_health_is_now() {
        let memory = Outlook {
            metric: Metric::Memory,
            ..outlook(0.99, Some(3 * 3600))
        };
        let mut case = Case::of(vec![memory, outlook(0.96, Some(2 * 3600))]);
        let need = case.need().unwrap();
        assert_eq!(need.urgency, Urgency::Soon);
        assert!(matches!(
            need.reasons[..],
            [
                Reason::ForecastCrosses {
                    metric: Metric::Cpu,
                    ..
                },
                Reason::ForecastCrosses {
                    metric: Metric::Memory,
                    ..
                }
            ]
        ));
        case.health = health(Some(49));
        let need = case.need().unwrap();
        assert_eq!(need.urgency, Urgency::Now);
        assert_eq!(
            need.reasons[2],
            Reason::HealthUnder {
                score: 49,
                threshold: 50,
                worst: "CPU at 97 %".to_owned()
            }
        );
        case.health = health(Some(50));
        assert_eq!(case.need().unwrap().urgency, Urgency::Soon);
    }

    fn helped(share: f64, quiet_for: Option<i64>) -> Helped {
        Helped {
            share,
            quiet_since: quiet_for.map(|seconds| NOW.plus_secs(-seconds)),
        }
    }

    #[test]
    fn a_shadow_is_given_back_only_after_long_quiet_without_its_help() {
        let mut case = Case::of(vec![outlook(0.3, None)]);
        assert_eq!(case.need(), None, "no shadow, nothing to give back");
        case.helped = Some(helped(0.4, Some(7199)));
        assert_eq!(case.need(), None);
        case.helped = Some(helped(0.4, Some(7200)));
        let need = case.need().unwrap();
        assert_eq!(need.urgency, Urgency::GiveBack);
        let Reason::RiskPassed { peak, .. } = need.reasons[0] else {
            panic!("{need:?}")
        };
        assert!((peak - 0.5).abs() < 1e-6, "0.3 at 60 % is 0.5: {peak}");
        // Quiet only thanks to the shadow: 0.3 at 30 % would be 1.0 without it.
        case.helped = Some(helped(0.7, Some(7200)));
        assert_eq!(case.need(), None);
    }

    #[test]
    fn quiet_begins_once_goes_on_and_ends() {
        let mut case = Case::of(vec![outlook(0.3, None)]);
        case.helped = Some(helped(0.0, None));
        let earlier = NOW.plus_secs(-500);
        assert_eq!(case.with(|i, p| quiet_since(None, i, p)), Some(NOW));
        assert_eq!(
            case.with(|i, p| quiet_since(Some(earlier), i, p)),
            Some(earlier)
        );
        // Not known for a moment is not the end of quiet.
        case.age = 1000;
        assert_eq!(
            case.with(|i, p| quiet_since(Some(earlier), i, p)),
            Some(earlier)
        );
        case.age = 0;
        // 0.85 less a tenth is 0.765.
        case.outlooks = vec![outlook(0.77, None)];
        assert_eq!(case.with(|i, p| quiet_since(Some(earlier), i, p)), None);
        case.outlooks = Vec::new();
        assert_eq!(
            case.with(|i, p| quiet_since(Some(earlier), i, p)),
            None,
            "no forecast says nothing of quiet"
        );
    }
}
