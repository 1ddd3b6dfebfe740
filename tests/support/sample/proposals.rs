//! Proposals with their plans.

use std::sync::Arc;

use super::{NOW, owner, spread, target, vm_id};
use shadowcast::{
    metrics::Metric,
    replication::{DiskIncrement, IncrementSpec},
    reservation::Hold,
    shadow::{
        Check, CheckOutcome, Need, Placement, Plan, PlanKind, Proposal, ProposalState, Reason,
        Rejected, ShadowNetwork, ShadowSpec, ShareSpec, Sizing, Step, Urgency,
    },
    traffic::ServerSpec,
    units::{Digest, OperationId, PoolId, ProposalId, ServiceName, ShadowId, SourceName, Weight},
};

pub(super) fn hold(operation: &str, vcpus: u32, memory_bytes: u64) -> Hold {
    Hold {
        operation: OperationId::from(operation),
        pool: PoolId::of(&target(), "shadow-a"),
        vcpus,
        memory_bytes,
        disk_bytes: 82_000_000_000,
    }
}

pub(super) fn shadow_spec(name: &str, vcpus: u32, memory_bytes: u64) -> ShadowSpec {
    ShadowSpec {
        owner: owner("op-1a2b3c4d"),
        shadow: ShadowId(format!("s-{:08x}", spread(name) as u32)),
        of: vm_id(name),
        name: format!("{name}-s1"),
        uuid: "5f0c3f58-6e4e-4a75-9b54-4d6f0d9d6b11".to_owned(),
        pool: PoolId::of(&target(), "shadow-a"),
        storage: "shadow-a-nvme".to_owned(),
        vcpus,
        vcpus_max: vcpus,
        memory_bytes,
        overlays: Vec::new(),
        network: ShadowNetwork {
            mac: "52:54:00:9a:11:07".to_owned(),
            address: "192.0.2.20".to_owned(),
            port: 18_107,
            guest_port: 8080,
            guest_address: None,
            outbound_allowed: false,
            more: Vec::new(),
        },
    }
}

pub(super) fn share_step(name: &str, share: f64, previous_share: f64) -> Step {
    Step::SetShare(ShareSpec {
        shadow: ShadowId(format!("s-{:08x}", spread(name) as u32)),
        service: ServiceName::from("checkout"),
        director: SourceName::from("lb-01"),
        backend: "lb-checkout".to_owned(),
        primary_server: "api07".to_owned(),
        shadow_server: "sc1a2b3c4d".to_owned(),
        base_weight: Weight(100),
        share,
        previous_share,
        method_map: None,
    })
}

/// The plan that creates a shadow of `name` and moves `share`.
pub fn plan(name: &str, share: f64) -> Plan {
    let shadow = ShadowId(format!("s-{:08x}", spread(name) as u32));
    let mut steps = vec![
        Step::Reserve {
            hold: hold("op-1a2b3c4d", 8, 32 << 30),
        },
        Step::Replicate {
            increment: IncrementSpec {
                owner: owner("op-1a2b3c4d"),
                shadow: shadow.clone(),
                vm: vm_id(name),
                number: 0,
                checkpoint: "shc-s-1a2b3c4d-0".to_owned(),
                parent_checkpoint: None,
                freeze: false,
                target_pool: PoolId::of(&target(), "shadow-a"),
                target_storage: "shadow-a-nvme".to_owned(),
                disks: vec![DiskIncrement {
                    target: "vda".to_owned(),
                    capacity_bytes: 80_000_000_000,
                    spool_volume: "shc-spool-0".to_owned(),
                    layer_volume: "shc-layer-0".to_owned(),
                    backing_volume: None,
                }],
            },
            rpo_seconds: 60,
        },
        Step::DefineShadow {
            spec: shadow_spec(name, 8, 32 << 30),
            point: 0,
        },
    ];
    if share > 0.0 {
        steps.extend([
            Step::StartShadow {
                shadow: shadow.clone(),
                source: target(),
                uuid: "5f0c3f58-6e4e-4a75-9b54-4d6f0d9d6b11".to_owned(),
            },
            Step::AwaitAnswer {
                shadow: shadow.clone(),
                address: "192.0.2.20".to_owned(),
                port: 18_107,
                path: "/healthz".to_owned(),
                timeout_seconds: 120,
            },
            Step::AddServer {
                director: SourceName::from("lb-01"),
                server: ServerSpec {
                    backend: "lb-checkout".to_owned(),
                    server: "sc1a2b3c4d".to_owned(),
                    address: "192.0.2.20".to_owned(),
                    port: 18_107,
                    check_interval_millis: 1000,
                },
            },
            share_step(name, share, 0.0),
        ]);
    }
    Plan {
        kind: PlanKind::Create,
        vm: vm_id(name),
        vm_name: name.to_owned(),
        shadow,
        owner: owner("op-1a2b3c4d"),
        made_at: NOW.plus_secs(-40),
        preconditions: Vec::new(),
        steps,
        cost: vec![
            "8 vCPU and 32 GiB in shadow-a".to_owned(),
            "82 GB of disk, about 3 MB/s on the link".to_owned(),
        ],
        undo: "Undo with Z at any time: traffic returns to the original, then everything made is removed."
            .to_owned(),
        estimate_seconds: 540,
    }
}

/// A digest that follows the share, so that a changed plan is another plan.
pub fn digest(name: &str, share: f64) -> Digest {
    Digest(format!("{:064x}", spread(&format!("{name}{share:.3}"))))
}

pub fn proposal(
    name: &str,
    share: f64,
    urgency: Urgency,
    crosses: Option<(i64, f64)>,
    why: &str,
) -> Proposal {
    let crosses_at = crosses.map(|(minutes, _)| NOW.plus_secs(minutes * 60 + 30));
    let peak = crosses.map_or(0.4, |(_, peak)| peak);
    let reasons = match (crosses_at, crosses) {
        (Some(at), Some((_, peak))) => vec![Reason::ForecastCrosses {
            metric: Metric::Cpu,
            peak,
            limit: 0.85,
            at,
            no_better_than_naive: false,
            late_by_seconds: 0,
        }],
        _ => vec![Reason::RiskPassed {
            peak: 0.34,
            limit: 0.85,
            quiet_since: NOW.plus_secs(-3 * 3600),
        }],
    };
    let mut plan = plan(name, share);
    if urgency == Urgency::GiveBack {
        plan.kind = PlanKind::Retire;
        plan.steps = vec![
            share_step(name, 0.0, 0.25),
            Step::AwaitDrained {
                director: SourceName::from("lb-01"),
                backend: "lb-catalog".to_owned(),
                server: "sc1a2b3c4d".to_owned(),
                timeout_seconds: 60,
            },
            Step::RemoveServer {
                director: SourceName::from("lb-01"),
                backend: "lb-catalog".to_owned(),
                server: "sc1a2b3c4d".to_owned(),
            },
            Step::RemoveShadow {
                spec: shadow_spec(name, 8, 32 << 30),
            },
            Step::Release {
                hold: hold("op-1a2b3c4d", 8, 32 << 30),
            },
        ];
    }
    Proposal {
        id: ProposalId(format!("p-{:08x}", spread(name) as u32)),
        need: Need {
            vm: vm_id(name),
            urgency,
            crosses_at,
            probability: crosses.map(|_| 0.81),
            reasons,
        },
        why: why.to_owned(),
        sizing: Sizing {
            share,
            vcpus: 8,
            memory_bytes: 32 << 30,
            peak_no_action: peak,
            peak_primary: peak * (1.0 - share),
            peak_shadow: peak * share * 1.05,
        },
        placement: (urgency != Urgency::GiveBack).then(|| Placement {
            pool: PoolId::of(&target(), "shadow-a"),
            storage: "shadow-a-nvme".to_owned(),
            why: "most headroom after placement, no contention, nothing has to move".to_owned(),
            rejected: vec![Rejected {
                pool: PoolId::of(&target(), "shadow-b"),
                why: "under 10 % of its memory would stay free".to_owned(),
            }],
        }),
        digest: digest(name, share),
        plan,
        created_at: NOW.plus_secs(-360),
        expires_at: NOW.plus_secs(600),
        state: ProposalState::Open,
        checks: [
            (
                CheckOutcome::Passed,
                "shadow-a keeps 61 % of its memory free",
            ),
            (CheckOutcome::Passed, "Sources and balancer are armed"),
            (CheckOutcome::Passed, "Service checkout is stateless"),
            (
                CheckOutcome::Passed,
                "Disk is qcow2 1.1, no other job on it",
            ),
            (
                CheckOutcome::Note,
                "No guest agent: points are as after a power cut",
            ),
        ]
        .map(|(outcome, text)| Check {
            outcome,
            text: text.to_owned(),
        })
        .to_vec(),
    }
}

pub(super) fn proposals() -> Vec<Arc<Proposal>> {
    vec![
        proposal(
            "checkout-api-07",
            0.4,
            Urgency::Now,
            Some((11, 0.96)),
            "Sunday evening peak, 12 % above last week",
        ),
        proposal(
            "ledger-db-02",
            0.0,
            Urgency::Now,
            Some((24, 0.94)),
            "Month-end run started early; stateful, so it only replicates",
        ),
        proposal(
            "search-idx-11",
            0.3,
            Urgency::Soon,
            Some((65, 0.93)),
            "Index rebuild meets the evening peak",
        ),
        proposal(
            "media-enc-03",
            0.25,
            Urgency::Soon,
            Some((110, 0.91)),
            "Encoding backlog of 340 items",
        ),
        proposal(
            "vdi-pool-b-01",
            0.2,
            Urgency::Later,
            Some((440, 0.93)),
            "Logon peak at 22:00",
        ),
        proposal(
            "catalog-api-02",
            0.0,
            Urgency::GiveBack,
            None,
            "Load back to 34 %, forecast flat",
        ),
    ]
    .into_iter()
    .map(Arc::new)
    .collect()
}

/// The same proposal with another split, as the engine would plan it.
pub fn adjusted(proposal: &Proposal, share: f64) -> Proposal {
    let mut new = proposal.clone();
    let name = &proposal.plan.vm_name;
    new.plan = plan(name, share);
    new.sizing.share = share;
    new.sizing.peak_primary = new.sizing.peak_no_action * (1.0 - share);
    new.sizing.peak_shadow = new.sizing.peak_no_action * share * 1.05;
    new.digest = digest(name, share);
    new
}
