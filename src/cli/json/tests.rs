//! The documents against the shapes that scripts rely on: one fleet, every listing.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    cli::names,
    engine::snapshot::{
        OperationState, OperationView, ServerView, ServiceView, ShadowState, ShadowView,
        SourceKind, SourceView, StepState, StepView, VmDetail, VmView,
    },
    forecast::{Accuracy, Forecast, ForecastPoint, NotReady},
    health::{Contribution, HealthScore, HealthState},
    inventory::{Owner, Pool, PowerState, Role, Service, ServiceKind, ServiceMember, Vm},
    metrics::{Metric, Series},
    problem::ProblemKind,
    replication::{Consistency, RecoveryPoint},
    shadow::{
        Need, Placement, Plan, PlanKind, Proposal, ProposalState, Rejected, ShareSpec, Sizing,
        Step, Urgency,
    },
    units::{Timestamp, Weight},
};

const AT: Timestamp = Timestamp::from_secs(1_795_357_928);

/// Holds every given name with its value; more fields are welcome.
#[track_caller]
fn assert_holds(document: &Value, wanted: &Value) {
    for (name, value) in wanted.as_object().expect("an object of wanted fields") {
        assert_eq!(
            document.get(name),
            Some(value),
            "field {name} of {document:#}"
        );
    }
}

fn document(value: &impl Serialize) -> Value {
    serde_json::to_value(value).expect("every view is plain data")
}

fn vm(id: &str, name: &str) -> VmView {
    let mut values = [None; Metric::COUNT];
    values[Metric::Cpu.index()] = Some(0.42);
    values[Metric::Disk.index()] = Some(1_048_576.4);
    values[Metric::Net.index()] = Some(f32::NAN);
    VmView {
        withheld: None,
        vm: Arc::new(Vm {
            id: id.into(),
            name: name.to_owned(),
            source: "primary".into(),
            pool: "primary/host".into(),
            host: "host".to_owned(),
            state: PowerState::Running,
            generation: 1,
            vcpus: 2,
            vcpus_max: 4,
            memory_bytes: 1 << 30,
            memory_max_bytes: 1 << 30,
            instance_type: "2 vCPU, 1 GiB".to_owned(),
            disks: Vec::new(),
            net_limit_bytes_per_sec: None,
            has_agent: false,
            foreign_jobs: Vec::new(),
            labels: Vec::new(),
            owner: None,
        }),
        values,
        sampled_at: Some(AT),
        health: Arc::new(HealthScore {
            score: Some(61),
            state: HealthState::Risk,
            contributions: vec![Contribution {
                name: "cpu".to_owned(),
                points: 39,
                why: "CPU at 96 %".to_owned(),
            }],
        }),
        outlooks: Arc::default(),
        spark: Arc::default(),
        shadow: Some("s-00000001".into()),
        proposal: None,
        detail_version: 1,
    }
}

fn share_step() -> Step {
    Step::SetShare(ShareSpec {
        shadow: "s-00000001".into(),
        service: "shop".into(),
        director: "balancer".into(),
        backend: "web".to_owned(),
        primary_server: "w1".to_owned(),
        shadow_server: "s00000001".to_owned(),
        base_weight: Weight(100),
        share: 0.25,
        previous_share: 0.0,
        method_map: None,
    })
}

fn proposal(state: ProposalState) -> Proposal {
    Proposal {
        id: "p-00000001".into(),
        need: Need {
            vm: "primary/u1".into(),
            urgency: Urgency::Now,
            crosses_at: Some(AT),
            probability: Some(0.9),
            reasons: Vec::new(),
        },
        why: "CPU over 85 % at 14:43".to_owned(),
        sizing: Sizing {
            share: 0.25,
            vcpus: 1,
            memory_bytes: 1 << 29,
            peak_no_action: 0.96,
            peak_primary: 0.7,
            peak_shadow: 0.5,
        },
        placement: Some(Placement {
            pool: "secondary/host".into(),
            storage: "default".to_owned(),
            why: "most headroom".to_owned(),
            rejected: vec![Rejected {
                pool: "third/host".into(),
                why: "full".to_owned(),
            }],
        }),
        plan: Plan {
            kind: PlanKind::Create,
            vm: "primary/u1".into(),
            vm_name: "web-1".to_owned(),
            shadow: "s-00000001".into(),
            owner: Owner {
                engine: "e".into(),
                operation: "op-00000001".into(),
            },
            made_at: AT,
            preconditions: Vec::new(),
            steps: vec![share_step()],
            cost: Vec::new(),
            undo: "The share returns to zero.".to_owned(),
            estimate_seconds: 30,
        },
        digest: "ab12".into(),
        created_at: AT,
        expires_at: AT.plus_secs(1800),
        state,
        checks: Vec::new(),
    }
}

fn operation() -> OperationView {
    let step = |state| StepView {
        text: "Start the shadow".to_owned(),
        state,
        note: String::new(),
        started_at: Some(AT),
        ended_at: None,
    };
    OperationView {
        id: "op-00000001".into(),
        kind: PlanKind::Create,
        vm: "primary/u1".into(),
        vm_name: "web-1".to_owned(),
        shadow: "s-00000001".into(),
        state: OperationState::Parked,
        step: 1,
        steps: vec![step(StepState::Done), step(StepState::Failed)],
        started_at: AT,
        ended_at: None,
        progress: None,
        undoing: true,
        by: "ana".to_owned(),
        why: Some("no space left".to_owned()),
    }
}

fn shadow() -> ShadowView {
    ShadowView {
        id: "s-00000001".into(),
        vm: "primary/u1".into(),
        vm_name: "web-1".to_owned(),
        name: "web-1-shadow".to_owned(),
        pool: "secondary/host".into(),
        state: ShadowState::Serving,
        method: "increments".to_owned(),
        vcpus: 1,
        memory_bytes: 1 << 29,
        rpo_seconds: 60,
        lag_seconds: Some(12),
        lag_bytes: Some(4096),
        points: vec![RecoveryPoint {
            number: 7,
            at: AT,
            complete_at: AT.plus_secs(1),
            consistent: Consistency::Crash,
            shipped_bytes: 65_536,
            stored_bytes: 1 << 20,
            digests: Vec::new(),
            pinned: false,
            proof: None,
            layers: vec!["layer".to_owned()],
            depth: 3,
        }],
        stored_bytes: 1 << 20,
        last_proof: None,
        next_proof_at: None,
        proving: false,
        proofs: Vec::new(),
        serving_from: Some(7),
        last_cycle_millis: Some(900),
        cycle_progress: None,
        stalled: None,
        service: Some("shop".into()),
        traffic_share: 0.25,
        wanted_share: 0.25,
        gate: None,
        recent_lags: Vec::new(),
        promotion: None,
    }
}

fn service() -> ServiceView {
    let server = |name: &str, is_shadow, weight| ServerView {
        server: name.to_owned(),
        vm: Some("primary/u1".into()),
        is_shadow,
        weight: Weight(weight),
        up: true,
        requests_per_second: Some(10.0),
        errors_per_second: Some(0.0),
        response_millis: Some(3.5),
    };
    ServiceView {
        service: Service {
            name: "shop".into(),
            kind: ServiceKind::ReadOnly,
            director: "balancer".into(),
            backend: "web".to_owned(),
            members: vec![ServiceMember {
                vm: "primary/u1".into(),
                server: "w1".to_owned(),
            }],
            guest_port: 80,
            guest_address: None,
            probe_path: "/".to_owned(),
            outbound_allowed: false,
            method_map: None,
        },
        servers: vec![server("w1", false, 75), server("s00000001", true, 25)],
        shadow_share: 0.25,
        errors_per_second: Some(0.5),
        response_millis: None,
        requests_per_second: Some(20.0),
        sticky: false,
        error: None,
    }
}

fn fleet() -> Snapshot {
    Snapshot {
        at: AT,
        sources: vec![SourceView {
            name: "primary".into(),
            uri: "qemu:///system".to_owned(),
            kind: SourceKind::Hypervisor,
            role: Role::Primary,
            last_backfill: None,
            armed: false,
            last_ok: Some(AT),
            error: None,
            held_elsewhere: None,
            vms: 2,
            hung: Vec::new(),
            last_millis: 12,
        }],
        pools: Arc::new(vec![Pool {
            id: "secondary/host".into(),
            name: "host".to_owned(),
            source: "secondary".into(),
            role: Role::Secondary,
            hosts: 1,
            cpus: 8,
            memory_bytes: 1 << 34,
            memory_free_bytes: 1 << 33,
            cpu_used: None,
            contention: None,
            storage: Vec::new(),
            service_address: "127.0.0.1".to_owned(),
        }]),
        vms: Arc::new(vec![vm("primary/u1", "web-1"), vm("primary/u2", "web-2")]),
        services: vec![service()],
        proposals: vec![Arc::new(proposal(ProposalState::Open))],
        operations: vec![operation()],
        shadows: vec![shadow()],
        ..Snapshot::default()
    }
}

#[test]
fn vms_keep_their_shape_and_a_gap_is_null() {
    let all = document(&vms(&fleet()));
    assert_eq!(all["vms"].as_array().map(Vec::len), Some(2));
    let first = &all["vms"][0];
    assert_holds(
        first,
        &json!({
            "id": "primary/u1", "name": "web-1", "source": "primary", "pool": "primary/host",
            "state": "running", "instance_type": "2 vCPU, 1 GiB", "vcpus": 2,
            "memory_bytes": 1_073_741_824_u64, "memory": null, "health": 61,
            "sampled_at": "2026-11-22T14:32:08Z", "shadow": "s-00000001",
            "disk_bytes_per_sec": 1_048_576, "net_bytes_per_sec": null,
        }),
    );
    let text = serde_json::to_string(&vms(&fleet())).unwrap();
    assert!(text.contains("\"cpu\":0.42,"), "{text}");
}

#[test]
fn sources_and_pools_keep_their_shape() {
    let now = fleet();
    assert_holds(
        &document(&sources(&now))["sources"][0],
        &json!({ "name": "primary", "uri": "qemu:///system", "kind": "hypervisor", "role": "primary",
            "armed": false, "vms": 2, "hung": [], "error": null, "held_elsewhere": null }),
    );
    assert_holds(
        &document(&pools(&now))["pools"][0],
        &json!({ "id": "secondary/host", "role": "secondary", "memory_free_bytes": 8_589_934_592_u64,
            "cpu_used": null }),
    );
}

#[test]
fn health_contributions_sum_to_what_is_missing() {
    let health = document(&HealthJson::from(&fleet().vms[0]));
    assert_holds(
        &health,
        &json!({ "vm": "primary/u1", "score": 61, "state": "risk",
            "contributions": [{ "name": "cpu", "points": 39, "why": "CPU at 96 %" }] }),
    );
}

#[test]
fn a_forecast_keeps_its_shape_or_says_why_there_is_none() {
    let view = vm("primary/u1", "web-1");
    let mut detail = VmDetail {
        vm: view.vm.id.clone(),
        metric: Metric::Cpu,
        version: 1,
        measured: Series::default(),
        forecast: Ok(Forecast {
            vm: view.vm.id.clone(),
            metric: Metric::Cpu,
            made_at: AT,
            step_seconds: 300,
            model: "day naive".to_owned(),
            accuracy: Some(Accuracy {
                mase: 0.5,
                coverage: 0.75,
            }),
            points: vec![ForecastPoint {
                at: AT,
                mean: 0.5,
                lower: 0.25,
                upper: 0.75,
            }],
            limit: Some(0.85),
            crosses_at: None,
            probability: Some(0.125),
            hourly: vec![0.125],
        }),
        second: None,
        record: None,
        events: Vec::new(),
        limit: Some(0.85),
    };
    let shown = document(&ForecastJson::of(&view, &detail).unwrap());
    assert_holds(
        &shown,
        &json!({ "vm": "primary/u1", "metric": "cpu", "unit": "ratio", "step_seconds": 300,
            "made_at": "2026-11-22T14:32:08Z", "model": "day naive",
            "accuracy": { "mase": 0.5, "coverage": 0.75 },
            "points": [{ "at": "2026-11-22T14:32:08Z", "mean": 0.5, "lower": 0.25, "upper": 0.75 }],
            "limit": 0.85, "crosses_at": null, "probability": 0.125, "hourly": [0.125],
            "no_better_than_naive": false }),
    );
    detail.forecast = Err(NotReady::NoHistory);
    assert_eq!(
        ForecastJson::of(&view, &detail).err(),
        Some(&NotReady::NoHistory)
    );
}

#[test]
fn history_marks_its_gaps() {
    let view = vm("primary/u1", "web-1");
    let series = Series {
        start: AT,
        step_seconds: 60,
        values: vec![0.5, f32::NAN],
    };
    let shown = document(&HistoryJson::of(&view, Metric::Cpu, &series));
    assert_eq!(
        shown["points"],
        json!([
            { "at": "2026-11-22T14:32:08Z", "value": 0.5 },
            { "at": "2026-11-22T14:33:08Z", "value": null },
        ])
    );
}

#[test]
fn proposals_carry_their_plan_and_digest() {
    let shown = document(&proposals(&fleet()));
    let first = &shown["proposals"][0];
    assert_holds(
        first,
        &json!({ "id": "p-00000001", "kind": "create", "vm": "primary/u1", "digest": "ab12",
            "urgency": "now", "crosses_at": "2026-11-22T14:32:08Z", "probability": 0.9,
            "why": "CPU over 85 % at 14:43", "pool": "secondary/host", "state": "open",
            "rejected_pools": [{ "pool": "third/host", "why": "full" }],
            "expires_at": "2026-11-22T15:02:08Z" }),
    );
    assert_holds(
        &first["plan"]["steps"][0],
        &json!({ "step": "set_share", "share": 0.25, "backend": "web" }),
    );
}

#[test]
fn the_reason_of_a_rejection_is_not_the_reason_of_the_need() {
    let rejected = proposal(ProposalState::Rejected {
        by: "ana".to_owned(),
        at: AT,
        why: "maintenance".to_owned(),
    });
    assert_holds(
        &document(&ProposalJson::from(&rejected)),
        &json!({ "state": "rejected", "decided_by": "ana", "decided_why": "maintenance",
            "why": "CPU over 85 % at 14:43" }),
    );
}

#[test]
fn operations_count_their_steps() {
    let now = fleet();
    assert_holds(
        &document(&operations(&now))["operations"][0],
        &json!({ "id": "op-00000001", "kind": "create", "vm": "primary/u1", "state": "parked",
            "step": 1, "steps": 2, "started_at": "2026-11-22T14:32:08Z", "ended_at": null,
            "why": "no space left" }),
    );
    let one = document(&OneOperationJson::of(&now.operations[0], &[]));
    assert_eq!(one["steps"], 2);
    assert_eq!(one["step_list"][1]["state"], "failed");
}

#[test]
fn shadows_show_lag_points_and_share() {
    let shown = document(&shadows(&fleet()));
    assert_holds(
        &shown["shadows"][0],
        &json!({ "vm": "primary/u1", "name": "web-1-shadow", "pool": "secondary/host",
            "state": "serving", "method": "increments", "rpo_seconds": 60, "lag_seconds": 12,
            "lag_bytes": 4096, "last_proof": null, "traffic_share": 0.25 }),
    );
    assert_holds(
        &shown["shadows"][0]["points"][0],
        &json!({ "id": 7, "at": "2026-11-22T14:32:08Z", "consistent": "crash", "proven_at": null }),
    );
}

#[test]
fn traffic_shows_the_weights_of_both_sides() {
    let now = fleet();
    assert_holds(
        &document(&traffic(&now))["services"][0],
        &json!({ "name": "shop", "primary_weight": 75, "shadow_weight": 25, "shadow_share": 0.25,
            "errors_per_second": 0.5, "response_millis": null }),
    );
    assert_holds(
        &document(&services(&now))["services"][0],
        &json!({ "name": "shop", "kind": "read_only", "director": "balancer", "backend": "web" }),
    );
}

#[test]
fn a_word_finds_its_vm_or_says_which_could_be_meant() {
    let mut now = fleet();
    assert_eq!(names::vm(&now, "web-1").unwrap().vm.id.uuid(), "u1");
    assert_eq!(names::vm(&now, "u2").unwrap().vm.name, "web-2");
    let missing = names::vm(&now, "web-11").unwrap_err();
    assert_eq!(missing.kind, ProblemKind::Failed);
    assert!(missing.next.contains("web-1"), "{missing}");
    now.vms = Arc::new(vec![vm("a/u1", "twin"), vm("b/u2", "twin")]);
    let ambiguous = names::vm(&now, "twin").unwrap_err();
    assert_eq!(ambiguous.kind, ProblemKind::Usage);
    assert!(ambiguous.next.contains("a/u1, b/u2"), "{ambiguous}");
}
