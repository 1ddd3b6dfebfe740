//! How much traffic a shadow takes over, and how large it must be for that.
//!
//! The share is the least that brings the primary's forecast under its limit less a margin, in whole percents. The
//! shadow has the fewest vCPUs that carry the share within the same bound, and the primary's memory: a clone of a
//! running system needs its working set whatever its traffic is. With a share of 0 it replicates and is powered off.

use super::{Need, Reason, Sizing};
use crate::{
    forecast::Outlook,
    inventory::{Service, Vm},
    metrics::Metric,
    units::VmId,
};

/// The figures of the settings that decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SizingPolicy {
    /// 0..=1: how far under its limit the primary is brought.
    pub margin: f64,
    /// 0..=1: the most of a VM's traffic that one shadow gets.
    pub max_share: f64,
}

impl Default for SizingPolicy {
    fn default() -> Self {
        Self {
            margin: 0.1,
            max_share: 0.6,
        }
    }
}

/// What is known of the VM that is to be helped.
#[derive(Clone, Copy, Debug)]
pub struct SizingInput<'a> {
    pub vm: &'a Vm,
    pub need: &'a Need,
    pub outlooks: &'a [Outlook],
    /// Newest values, by [`Metric::index`].
    pub values: &'a [Option<f32>; Metric::COUNT],
    pub service: Option<&'a Service>,
    /// 0..=1 that a shadow has of the traffic already: the outlooks are of what is left.
    pub share_now: f64,
}

/// Whether load of this kind moves with traffic. Memory does not: a process keeps what it has.
pub const fn follows_traffic(metric: Metric) -> bool {
    matches!(metric, Metric::Cpu | Metric::Disk | Metric::Net)
}

/// Whether any of `vm`'s traffic can go to a clone.
pub fn may_share(service: Option<&Service>, vm: &VmId) -> bool {
    service.is_some_and(|service| {
        service.allows_clone() && service.members.iter().any(|member| member.vm == *vm)
    })
}

/// Sizes a shadow by the need.
pub fn size(input: &SizingInput, policy: &SizingPolicy) -> Sizing {
    size_for(input, policy, least_share(input, policy))
}

/// Sizes a shadow for a share that an operator chose; clipped to what the policy and the service allow.
pub fn size_for(input: &SizingInput, policy: &SizingPolicy, share: f64) -> Sizing {
    let share = if may_share(input.service, &input.vm.id) && share.is_finite() {
        share.clamp(0.0, policy.max_share.clamp(0.0, 1.0))
    } else {
        0.0
    };
    let vcpus = fewest_vcpus(input, policy, share);
    let leading = leading_metric(input.need);
    let peak = whole_peak(input, leading);
    // CPU is a ratio of the vCPUs; the others are of a limit that a clone of the same kind shares.
    let peak_shadow = match leading {
        Metric::Cpu => peak * share * f64::from(input.vm.vcpus.max(1)) / f64::from(vcpus),
        Metric::Memory => peak,
        other => limit_of(input, other).map_or(0.0, |limit| peak * share / limit),
    };
    let moved = if follows_traffic(leading) { share } else { 0.0 };
    Sizing {
        share,
        vcpus,
        memory_bytes: input.vm.memory_bytes,
        peak_no_action: peak,
        peak_primary: peak * (1.0 - moved),
        peak_shadow: if share > 0.0 { peak_shadow } else { 0.0 },
    }
}

/// The metric that the need is about first: the nearest crossing, CPU where none is.
pub fn leading_metric(need: &Need) -> Metric {
    need.reasons
        .iter()
        .find_map(|reason| match reason {
            Reason::ForecastCrosses { metric, .. } => Some(*metric),
            _ => None,
        })
        .unwrap_or(Metric::Cpu)
}

/// The least share, over all loads that follow traffic, that keeps every one under its bound.
fn least_share(input: &SizingInput, policy: &SizingPolicy) -> f64 {
    let least = input
        .outlooks
        .iter()
        .filter(|outlook| follows_traffic(outlook.metric))
        .filter_map(|outlook| {
            let limit = outlook.limit.map(f64::from).filter(|limit| *limit > 0.0)?;
            let level = level(input, outlook);
            (level > 0.0).then(|| 1.0 - limit * (1.0 - policy.margin) / level)
        })
        .fold(0.0, f64::max);
    up_to_percent(least).min(policy.max_share)
}

/// The next whole percent; a hair over one is that one, since 1 − 0.75 need not be 0.25.
fn up_to_percent(share: f64) -> f64 {
    // Adding zero makes a negative one positive: nobody wants to read −0 %.
    ((share * 100.0 - 1e-9).ceil() / 100.0).max(0.0) + 0.0
}

/// What sizing goes by: the forecast's 95 % quantile, what the need says is crossed and, where the VM is unwell now, the
/// present value if higher. Without the help that it already gets.
fn level(input: &SizingInput, outlook: &Outlook) -> f64 {
    let unwell_now = input
        .need
        .reasons
        .iter()
        .any(|reason| matches!(reason, Reason::HealthUnder { .. }));
    let forecast = f64::from(outlook.p95).max(crossed(input, outlook).unwrap_or(0.0));
    let present = input.values[outlook.metric.index()]
        .map(f64::from)
        .filter(|_| unwell_now);
    let level = present.map_or(forecast, |present| present.max(forecast));
    if level.is_finite() {
        level / left(input)
    } else {
        0.0
    }
}

/// What a load gets to that the need says will cross its limit: bursts and short peaks do without the 95 % quantile of
/// the means ever coming near it.
fn crossed(input: &SizingInput, outlook: &Outlook) -> Option<f64> {
    input.need.reasons.iter().find_map(|reason| match reason {
        Reason::ForecastCrosses {
            metric,
            peak,
            limit,
            ..
        } if *metric == outlook.metric => {
            let burst = if outlook.crosses_at.is_none() && peak.is_finite() {
                // More than all vCPUs cannot be used, however wide the interval.
                peak.min(if *metric == Metric::Cpu {
                    1.0
                } else {
                    f64::MAX
                })
            } else {
                0.0
            };
            Some(burst.max(*limit)).filter(|level| level.is_finite())
        }
        _ => None,
    })
}

/// 0..=1 of the traffic that the primary has now, kept off zero.
fn left(input: &SizingInput) -> f64 {
    (1.0 - input.share_now).clamp(0.05, 1.0)
}

fn outlook(input: &SizingInput, metric: Metric) -> Option<Outlook> {
    input
        .outlooks
        .iter()
        .find(|outlook| outlook.metric == metric)
        .copied()
}

fn limit_of(input: &SizingInput, metric: Metric) -> Option<f64> {
    outlook(input, metric)
        .and_then(|outlook| outlook.limit)
        .map(f64::from)
        .filter(|limit| *limit > 0.0)
}

/// The primary's peak if it had all of its traffic.
fn whole_peak(input: &SizingInput, metric: Metric) -> f64 {
    let scale = if follows_traffic(metric) {
        left(input)
    } else {
        1.0
    };
    outlook(input, metric)
        .map(|outlook| f64::from(outlook.peak).max(crossed(input, &outlook).unwrap_or(0.0)))
        .or_else(|| input.values[metric.index()].map(f64::from))
        .filter(|peak| peak.is_finite())
        .unwrap_or(0.0)
        / scale
}

/// The fewest vCPUs whose use by `share` of the load stays under the primary's bound; the primary's own number where
/// its CPU is not known.
fn fewest_vcpus(input: &SizingInput, policy: &SizingPolicy, share: f64) -> u32 {
    let most = input.vm.vcpus_max.max(input.vm.vcpus).max(1);
    if share == 0.0 {
        return 1;
    }
    let Some(cpu) = outlook(input, Metric::Cpu) else {
        return input.vm.vcpus.clamp(1, most);
    };
    let bound = cpu.limit.map_or(1.0, f64::from) * (1.0 - policy.margin);
    let busy = share * level(input, &cpu) * f64::from(input.vm.vcpus);
    if bound <= 0.0 {
        return most;
    }
    let needed = (busy / bound - 1e-9).ceil().clamp(1.0, f64::from(most));
    needed as u32
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // "Nothing moves" is exactly 0, and a share at its cap exactly the cap.
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        inventory::{PowerState, ServiceKind, ServiceMember},
        shadow::Urgency,
        units::Timestamp,
    };

    fn vm(vcpus: u32) -> Vm {
        Vm {
            id: VmId::from("a/1"),
            name: "shop-1".to_owned(),
            source: "a".into(),
            pool: "a/host".into(),
            host: "host".to_owned(),
            state: PowerState::Running,
            generation: 1,
            vcpus,
            vcpus_max: vcpus * 2,
            memory_bytes: 4 << 30,
            memory_max_bytes: 4 << 30,
            instance_type: String::new(),
            disks: Vec::new(),
            net_limit_bytes_per_sec: None,
            has_agent: false,
            foreign_jobs: Vec::new(),
            labels: Vec::new(),
            owner: None,
        }
    }

    fn service(kind: ServiceKind, member: &str) -> Service {
        Service {
            name: "shop".into(),
            kind,
            director: "lb".into(),
            backend: "be".to_owned(),
            members: vec![ServiceMember {
                vm: member.into(),
                server: "primary".to_owned(),
            }],
            guest_port: 80,
            guest_address: None,
            probe_path: "/".to_owned(),
            outbound_allowed: false,
            method_map: (kind == ServiceKind::ReadOnly).then(|| "m".to_owned()),
        }
    }

    fn outlook(metric: Metric, p95: f32, limit: Option<f32>) -> Outlook {
        let at = Timestamp::from_secs(1000);
        Outlook {
            metric,
            made_at: at,
            peak: p95 * 1.05,
            peak_upper: p95 * 1.1,
            peak_at: at,
            p95,
            limit,
            crosses_at: Some(at),
            probability: Some(0.9),
            likely_at: None,
            no_better_than_naive: false,
        }
    }

    fn need(reasons: Vec<Reason>) -> Need {
        Need {
            vm: VmId::from("a/1"),
            urgency: Urgency::Now,
            crosses_at: None,
            probability: None,
            reasons,
        }
    }

    fn sized(vm: &Vm, outlooks: &[Outlook], service: Option<&Service>) -> Sizing {
        size(
            &SizingInput {
                vm,
                need: &need(Vec::new()),
                outlooks,
                values: &[None; Metric::COUNT],
                service,
                share_now: 0.0,
            },
            &SizingPolicy::default(),
        )
    }

    #[test]
    fn the_share_is_the_least_that_helps_and_the_shadow_the_smallest_that_carries_it() {
        let stateless = service(ServiceKind::Stateless, "a/1");
        let cpu = outlook(Metric::Cpu, 1.0, Some(0.85));
        let sizing = sized(&vm(8), &[cpu], Some(&stateless));
        // 1 − 0.765 = 0.235; 0.24 of 8 vCPUs is 1.92, over 0.765 is 2.5.
        assert!((sizing.share - 0.24).abs() < 1e-9, "{sizing:?}");
        assert_eq!(sizing.vcpus, 3);
        assert_eq!(sizing.memory_bytes, 4 << 30);
        assert!((sizing.peak_no_action - 1.05).abs() < 1e-6);
        assert!((sizing.peak_primary - 1.05 * 0.76).abs() < 1e-6);
        assert!((sizing.peak_shadow - 1.05 * 0.24 * 8.0 / 3.0).abs() < 1e-6);
    }

    #[test]
    fn without_a_service_that_allows_it_nothing_moves() {
        let cpu = [outlook(Metric::Cpu, 1.0, Some(0.85))];
        let stateful = service(ServiceKind::Stateful, "a/1");
        let of_another = service(ServiceKind::Stateless, "a/2");
        for service in [None, Some(&stateful), Some(&of_another)] {
            let sizing = sized(&vm(8), &cpu, service);
            assert_eq!((sizing.share, sizing.vcpus), (0.0, 1));
            assert_eq!(sizing.peak_primary, sizing.peak_no_action);
            assert_eq!(sizing.peak_shadow, 0.0);
        }
    }

    #[test]
    fn memory_and_loads_without_a_limit_move_nothing() {
        let stateless = service(ServiceKind::Stateless, "a/1");
        let memory = outlook(Metric::Memory, 0.99, Some(0.9));
        let net = outlook(Metric::Net, 1e9, None);
        assert_eq!(sized(&vm(2), &[memory, net], Some(&stateless)).share, 0.0);
        let net = outlook(Metric::Net, 1e9, Some(0.9e9));
        let sizing = sized(&vm(2), &[memory, net], Some(&stateless));
        assert!((sizing.share - 0.19).abs() < 1e-9, "{sizing:?}");
    }

    #[test]
    fn bursts_and_short_peaks_that_cross_are_sized_by_what_they_reach() {
        let stateless = service(ServiceKind::Stateless, "a/1");
        let burst = Outlook {
            peak: 0.4,
            peak_upper: 0.95,
            crosses_at: None,
            likely_at: Some(Timestamp::from_secs(1000)),
            ..outlook(Metric::Cpu, 0.35, Some(0.85))
        };
        let reason = |peak: f64| {
            need(vec![Reason::ForecastCrosses {
                metric: Metric::Cpu,
                peak,
                limit: f64::from(0.85_f32),
                at: Timestamp::from_secs(1000),
                no_better_than_naive: false,
                late_by_seconds: 0,
            }])
        };
        let sized = |need: &Need, outlook: Outlook| {
            let input = SizingInput {
                vm: &vm(8),
                need,
                outlooks: &[outlook],
                values: &[None; Metric::COUNT],
                service: Some(&stateless),
                share_now: 0.0,
            };
            size(&input, &SizingPolicy::default())
        };
        // 1 − 0.765 / 0.95, and over 1 a CPU cannot get.
        let by_burst = sized(&reason(0.95), burst);
        assert!((by_burst.share - 0.20).abs() < 1e-9, "{by_burst:?}");
        assert!(
            (by_burst.peak_no_action - 0.95).abs() < 1e-9,
            "{by_burst:?}"
        );
        assert!((sized(&reason(3.0), burst).share - 0.24).abs() < 1e-9);
        // A peak too short for the quantile: to the limit, and the margin under it.
        let short = Outlook {
            peak: 0.9,
            crosses_at: Some(Timestamp::from_secs(1000)),
            ..burst
        };
        assert!((sized(&reason(0.9), short).share - 0.1).abs() < 1e-9);
        // Nothing is said to cross: by the quantile alone.
        assert_eq!(sized(&need(Vec::new()), burst).share, 0.0);
    }

    #[test]
    fn what_is_measured_now_counts_when_the_vm_is_unwell() {
        let stateless = service(ServiceKind::Stateless, "a/1");
        let vm = vm(2);
        let outlooks = [outlook(Metric::Cpu, 0.5, Some(0.85))];
        let mut values = [None; Metric::COUNT];
        values[Metric::Cpu.index()] = Some(1.0);
        let unwell = need(vec![Reason::HealthUnder {
            score: 30,
            threshold: 50,
            worst: String::new(),
        }]);
        let mut input = SizingInput {
            vm: &vm,
            need: &unwell,
            outlooks: &outlooks,
            values: &values,
            service: Some(&stateless),
            share_now: 0.0,
        };
        let policy = SizingPolicy::default();
        assert!((size(&input, &policy).share - 0.24).abs() < 1e-9);
        let well = need(Vec::new());
        input.need = &well;
        assert_eq!(size(&input, &policy).share, 0.0);
    }

    #[test]
    fn help_that_is_there_already_is_not_taken_for_a_low_load() {
        let stateless = service(ServiceKind::Stateless, "a/1");
        let vm = vm(2);
        // Half of the traffic is away: 0.5 stands for a whole of 1.0.
        let outlooks = [outlook(Metric::Cpu, 0.5, Some(0.85))];
        let input = SizingInput {
            vm: &vm,
            need: &need(Vec::new()),
            outlooks: &outlooks,
            values: &[None; Metric::COUNT],
            service: Some(&stateless),
            share_now: 0.5,
        };
        assert!((size(&input, &SizingPolicy::default()).share - 0.24).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn a_sizing_holds_what_it_promises(
            p95 in 0.01_f32..4.0,
            limit in 0.05_f32..=1.0,
            vcpus in 1_u32..64,
            margin in 0.0_f64..0.5,
            max_share in 0.0_f64..=1.0,
        ) {
            let stateless = service(ServiceKind::Stateless, "a/1");
            let vm = vm(vcpus);
            let outlooks = [outlook(Metric::Cpu, p95, Some(limit))];
            let policy = SizingPolicy { margin, max_share };
            let sizing = size(
                &SizingInput {
                    vm: &vm,
                    need: &need(Vec::new()),
                    outlooks: &outlooks,
                    values: &[None; Metric::COUNT],
                    service: Some(&stateless),
                    share_now: 0.0,
                },
                &policy,
            );
            let (level, bound) = (f64::from(p95), f64::from(limit) * (1.0 - margin));
            prop_assert!((0.0..=max_share).contains(&sizing.share));
            let held = level * (1.0 - sizing.share) <= bound + 1e-6;
            prop_assert!(held || sizing.share == max_share, "{:?}", sizing);
            // The least: one percent less would not do.
            if sizing.share >= 0.01 && sizing.share < max_share {
                prop_assert!(level * (1.0 - (sizing.share - 0.01)) > bound - 1e-6, "{:?}", sizing);
            }
            prop_assert!((1..=vm.vcpus_max).contains(&sizing.vcpus));
            let used = |vcpus: u32| sizing.share * level * f64::from(vm.vcpus) / f64::from(vcpus);
            prop_assert!(used(sizing.vcpus) <= bound + 1e-6 || sizing.vcpus == vm.vcpus_max);
            prop_assert!(sizing.vcpus == 1 || used(sizing.vcpus - 1) > bound - 1e-6);
        }
    }
}
