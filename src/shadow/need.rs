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
    /// What a shadow needs on this fleet until it can help.
    pub ready_seconds: u32,
    /// What a person gets to decide: no crossing is proposed earlier than this before it would be too late.
    pub decision_seconds: u32,
    /// 0..=1: a forecast peak over this share of its limit counts as a crossing.
    pub near_limit: f64,
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
            ready_seconds: super::ready::UNKNOWN_SECONDS,
            decision_seconds: 12 * 3600,
            near_limit: 1.0,
            give_back_after_seconds: 2 * 3600,
            margin: 0.1,
            min_coverage: 0.8,
            max_data_age_seconds: 120,
        }
    }
}

/// How much better a VM must be before a need that was raised is taken to have passed.
const EASED_PROBABILITY: f64 = 0.1;
const EASED_POINTS: u8 = 5;
const EASED_NEAR_LIMIT: f64 = 0.95;
const EASED_SECONDS: u32 = 1800;

impl NeedPolicy {
    /// What keeps a need standing: easier to meet than what raises it, so that a forecast that trembles about a bound
    /// does not raise and withdraw in turn.
    #[must_use]
    pub fn eased(&self) -> Self {
        Self {
            min_probability: (self.min_probability - EASED_PROBABILITY).max(0.0),
            threshold: self.threshold.saturating_add(EASED_POINTS).min(100),
            near_limit: self.near_limit * EASED_NEAR_LIMIT,
            decision_seconds: self.decision_seconds.saturating_add(EASED_SECONDS),
            horizon_seconds: self.horizon_seconds.saturating_add(EASED_SECONDS),
            ..*self
        }
    }

    /// A crossing further ahead than this can wait.
    fn reach_seconds(&self) -> i64 {
        let in_time = i64::from(self.ready_seconds) + i64::from(self.decision_seconds);
        in_time.min(i64::from(self.horizon_seconds))
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
        .map(|(outlook, at)| crossing_reason(outlook, *at, input.now, policy))
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
            (None, Some(at)) => urgency(at.secs_since(input.now), policy),
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

/// What would be needed if enough had been measured; `None` where coverage is not what stands in the way.
pub fn withheld(input: &NeedInput, policy: &NeedPolicy) -> Option<Need> {
    let regardless = NeedPolicy {
        min_coverage: 0.0,
        ..*policy
    };
    (input.coverage < policy.min_coverage)
        .then(|| need(input, &regardless))
        .flatten()
        .filter(|need| need.urgency != Urgency::GiveBack)
}

/// Whether enough is known to say that there is or is no need.
pub fn is_known(input: &NeedInput, policy: &NeedPolicy) -> bool {
    let fresh = input
        .sampled_at
        .is_some_and(|at| input.now.secs_since(at) <= i64::from(policy.max_data_age_seconds));
    fresh && input.coverage >= policy.min_coverage && input.health.score.is_some()
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

fn is_current(outlook: &Outlook, now: Timestamp) -> bool {
    now.secs_since(outlook.made_at) <= OUTLOOK_LIFETIME_SECONDS
}

/// When the outlook crosses, where that is likely and near enough.
fn crosses(outlook: &Outlook, now: Timestamp, policy: &NeedPolicy) -> Option<Timestamp> {
    let limit = outlook.limit.map(f64::from)?;
    let near_limit = f64::from(outlook.peak) >= limit * policy.near_limit;
    let at = outlook
        .first_sign()
        .or_else(|| near_limit.then_some(outlook.peak_at))?;
    let likely = outlook
        .probability
        .is_some_and(|probability| f64::from(probability) >= policy.min_probability);
    let near = at.secs_since(now) <= policy.reach_seconds();
    (likely && near && is_current(outlook, now)).then_some(at)
}

fn crossing_reason(
    outlook: &Outlook,
    at: Timestamp,
    now: Timestamp,
    policy: &NeedPolicy,
) -> Reason {
    // Of a burst the mean stays under: what it may reach is its upper bound.
    let peak = if outlook.crosses_at.is_some() {
        outlook.peak
    } else {
        outlook.peak_upper
    };
    let late = i64::from(policy.ready_seconds) - at.secs_since(now).max(0);
    Reason::ForecastCrosses {
        metric: outlook.metric,
        peak: f64::from(peak),
        limit: outlook.limit.map_or(f64::NAN, f64::from),
        at,
        no_better_than_naive: outlook.no_better_than_naive,
        late_by_seconds: u32::try_from(late).unwrap_or(0),
    }
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

fn urgency(seconds_ahead: i64, policy: &NeedPolicy) -> Urgency {
    // Where shadows take long, the last moment is earlier.
    if seconds_ahead <= NOW_SECONDS.max(i64::from(policy.ready_seconds)) {
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
        if !is_current(outlook, input.now) || crosses(outlook, input.now, policy).is_some() {
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
mod tests;
