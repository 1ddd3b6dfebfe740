use proptest::prelude::*;

use super::{create::shadow_name, *};
use crate::{
    inventory::{
        Disk, DiskFormat, Pool, PowerState, Role, ServiceKind, ServiceMember, Storage, Vm,
    },
    metrics::Metric,
    replication::{Consistency, RecoveryPoint},
    shadow::{Need, Reason, Sizing, Urgency},
    units::PoolId,
};

const GIB: u64 = 1 << 30;

fn vm() -> Vm {
    Vm {
        id: VmId::from("a/uuid-1"),
        name: "shop-1".to_owned(),
        source: "a".into(),
        pool: "a/host-a".into(),
        host: "host-a".to_owned(),
        state: PowerState::Running,
        generation: 7,
        vcpus: 2,
        vcpus_max: 4,
        memory_bytes: 2 * GIB,
        memory_max_bytes: 2 * GIB,
        instance_type: "2 vCPU, 2 GiB".to_owned(),
        disks: vec![disk("vda", false), disk("sr0", true)],
        net_limit_bytes_per_sec: None,
        has_agent: false,
        foreign_jobs: Vec::new(),
        labels: Vec::new(),
        owner: None,
    }
}

fn disk(target: &str, read_only: bool) -> Disk {
    Disk {
        target: target.to_owned(),
        path: format!("/images/{target}.qcow2"),
        format: DiskFormat::Qcow2,
        compat: Some("1.1".to_owned()),
        capacity_bytes: 10 * GIB,
        allocated_bytes: GIB,
        read_only,
        limit_bytes_per_sec: None,
    }
}

fn pool() -> Pool {
    Pool {
        id: PoolId::from("b/host-b"),
        name: "host-b".to_owned(),
        source: "b".into(),
        role: Role::Secondary,
        hosts: 1,
        cpus: 8,
        memory_bytes: 64 * GIB,
        memory_free_bytes: 32 * GIB,
        cpu_used: None,
        contention: None,
        storage: vec![Storage {
            name: "default".to_owned(),
            capacity_bytes: 100 * GIB,
            available_bytes: 50 * GIB,
        }],
        service_address: "127.0.0.1".to_owned(),
    }
}

fn service(kind: ServiceKind) -> Service {
    Service {
        name: "shop".into(),
        kind,
        director: "lb".into(),
        backend: "be".to_owned(),
        members: vec![ServiceMember {
            vm: vm().id,
            server: "primary".to_owned(),
        }],
        guest_port: 80,
        guest_address: None,
        probe_path: "/".to_owned(),
        outbound_allowed: false,
        method_map: (kind == ServiceKind::ReadOnly).then(|| "/etc/m".to_owned()),
    }
}

fn owner() -> Owner {
    Owner {
        engine: "7f3a91c2".into(),
        operation: "op-00000001".into(),
    }
}

fn sizing(share: f64) -> Sizing {
    Sizing {
        share,
        vcpus: 1,
        memory_bytes: 2 * GIB,
        peak_no_action: 0.96,
        peak_primary: 0.72,
        peak_shadow: 0.48,
    }
}

fn create(share: f64, kind: ServiceKind) -> Plan {
    let names = Names::from_bits([0xab; 16], 20_080);
    create_plan(&PlanInput {
        owner: owner(),
        made_at: Timestamp::from_secs(1000),
        vm: &vm(),
        pool: &pool(),
        storage: "default",
        sizing: sizing(share),
        serving: Some(Serving {
            service: &service(kind),
            base_weight: Weight(100),
        }),
        names: &names,
        taken_names: &["shop-1-s1".to_owned()],
        settings: PlanSettings::default(),
    })
}

fn kinds(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .map(|step| {
            let json = serde_json::to_value(step).unwrap();
            json["step"].as_str().unwrap().to_owned()
        })
        .collect()
}

fn shares(plan: &Plan) -> Vec<(f64, f64)> {
    plan.steps
        .iter()
        .filter_map(|step| match step {
            Step::SetShare(share) => Some((share.previous_share, share.share)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_serving_shadow_is_made_in_this_order() {
    let plan = create(0.25, ServiceKind::Stateless);
    assert_eq!(
        kinds(&plan),
        [
            "reserve",
            "replicate",
            "replicate",
            "define_shadow",
            "start_shadow",
            "await_answer",
            "add_server",
            "await_server",
            "set_share",
            "set_share",
            "set_share"
        ]
    );
    assert_eq!(shares(&plan), [(0.0, 0.1), (0.1, 0.2), (0.2, 0.25)]);
}

#[test]
fn every_name_stands_in_the_plan_and_they_fit_together() {
    let plan = create(0.25, ServiceKind::ReadOnly);
    let Step::Replicate {
        increment: seed, ..
    } = &plan.steps[1]
    else {
        panic!("{:?}", plan.steps[1])
    };
    let Step::Replicate {
        increment: next, ..
    } = &plan.steps[2]
    else {
        panic!("{:?}", plan.steps[2])
    };
    let Step::DefineShadow { spec, point } = &plan.steps[3] else {
        panic!("{:?}", plan.steps[3])
    };
    assert_eq!(seed.disks.len(), 1, "a read-only disk is not replicated");
    assert_eq!(seed.parent_checkpoint, None);
    assert_eq!(next.parent_checkpoint.as_ref(), Some(&seed.checkpoint));
    assert_eq!(
        next.disks[0].backing_volume.as_ref(),
        Some(&seed.disks[0].layer_volume)
    );
    assert_eq!(*point, next.number);
    assert_eq!(spec.overlays[0].layer_volume, next.disks[0].layer_volume);
    assert_eq!(spec.name, "shop-1-s2", "s1 is taken");
    assert_eq!(spec.vcpus_max, 4);
    assert!(!spec.network.outbound_allowed);
    let Step::AddServer { server, .. } = &plan.steps[6] else {
        panic!("{:?}", plan.steps[6])
    };
    assert_eq!(server.server, "scabababab");
    assert_eq!(server.port, 20_080);
}

#[test]
fn a_stateful_service_or_no_share_only_replicates() {
    let only_replicates = ["reserve", "replicate", "define_shadow"];
    assert_eq!(kinds(&create(0.0, ServiceKind::Stateless)), only_replicates);
    assert_eq!(kinds(&create(0.4, ServiceKind::Stateful)), only_replicates);
}

#[test]
fn a_replicating_shadow_starts_from_the_newest_point() {
    let created = create(0.0, ServiceKind::Stateless);
    let Some(Step::DefineShadow { spec, .. }) = created.steps.last() else {
        panic!("{:?}", created.steps)
    };
    let point = RecoveryPoint {
        number: 9,
        at: Timestamp::from_secs(2000),
        complete_at: Timestamp::from_secs(2001),
        consistent: Consistency::Crash,
        shipped_bytes: 1,
        stored_bytes: 1 << 20,
        digests: Vec::new(),
        pinned: false,
        proof: None,
        layers: vec!["sc-7f3a91c2-s-abababab-vda-9".to_owned()],
        depth: 9,
    };
    let service = service(ServiceKind::Stateless);
    let mut input = TrafficInput {
        owner: owner(),
        made_at: Timestamp::from_secs(2002),
        vm: &vm(),
        spec,
        serving: Serving {
            service: &service,
            base_weight: Weight(100),
        },
        server: "scabababab",
        start_from: Some(&point),
        previous_share: 0.0,
        share: 0.05,
        settings: PlanSettings::default(),
    };
    let plan = traffic_plan(&input).unwrap();
    assert_eq!(
        kinds(&plan),
        [
            "define_shadow",
            "start_shadow",
            "await_answer",
            "add_server",
            "await_server",
            "set_share"
        ]
    );
    let Step::DefineShadow {
        spec,
        point: number,
    } = &plan.steps[0]
    else {
        panic!("{:?}", plan.steps[0])
    };
    assert_eq!(
        (*number, spec.overlays[0].layer_volume.as_str()),
        (9, point.layers[0].as_str())
    );
    assert!(spec.overlays[0].volume.ends_with("-overlay-vda-9"));

    input.start_from = None;
    input.previous_share = 0.4;
    assert_eq!(
        shares(&traffic_plan(&input).unwrap()),
        [(0.4, 0.05)],
        "traffic returns in one step"
    );
    let torn = RecoveryPoint {
        layers: Vec::new(),
        ..point.clone()
    };
    input.start_from = Some(&torn);
    assert_eq!(traffic_plan(&input), None, "no layer, no start");
}

#[test]
fn only_what_stands_is_retired() {
    let created = create(0.25, ServiceKind::Stateless);
    let spec = created.steps.iter().find_map(|step| match step {
        Step::DefineShadow { spec, .. } => Some(spec),
        _ => None,
    });
    let served = created.steps.iter().rev().find_map(|step| match step {
        Step::SetShare(share) => Some(share),
        _ => None,
    });
    let Step::Reserve { hold } = &created.steps[0] else {
        panic!("{:?}", created.steps[0])
    };
    let owner = owner();
    let vm = vm();
    let mut input = RetireInput {
        owner: owner.clone(),
        made_at: Timestamp::from_secs(3000),
        vm: &vm.id,
        vm_name: &vm.name,
        shadow: &created.shadow,
        served,
        spec,
        running: true,
        replica: Some(Replica {
            owner: &owner,
            pool: &hold.pool,
            storage: "default",
        }),
        hold: Some(hold),
        settings: PlanSettings::default(),
    };
    let whole = retire_plan(&input);
    assert_eq!(
        kinds(&whole),
        [
            "set_share",
            "await_drained",
            "remove_server",
            "stop_shadow",
            "remove_shadow",
            "remove_replica",
            "release"
        ]
    );
    assert_eq!(shares(&whole), [(0.25, 0.0)]);
    input.served = None;
    input.running = false;
    assert_eq!(
        kinds(&retire_plan(&input)),
        ["remove_shadow", "remove_replica", "release"]
    );
}

#[test]
fn a_hostile_vm_name_makes_a_harmless_shadow_name() {
    for hostile in ["<&\"'$(reboot)", "\u{202e}gnp", "   ", "", "-rf", "%s%n"] {
        let name = shadow_name(hostile, &[]);
        assert!(
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')),
            "{name}"
        );
        assert!(
            name.starts_with(|c: char| c.is_ascii_alphanumeric()),
            "{name}"
        );
    }
}

#[test]
fn each_step_can_be_told_and_has_its_effect_and_its_undo() {
    let plan = create(0.25, ServiceKind::Stateless);
    let told: Vec<_> = plan.steps.iter().map(describe).collect();
    assert_eq!(
        told[0],
        "Reserve 1 vCPU, 2 GiB of memory and 1.3 GiB of disk on b/host-b"
    );
    assert_eq!(
        told.last().unwrap(),
        "Move 25 % of the primary's traffic to the shadow (weights 75 : 25)"
    );
    assert_eq!(
        command_text(plan.steps.last().unwrap()),
        "set weight be/primary 75; set weight be/scabababab 25"
    );
    assert_eq!(
        undo_text(plan.steps.last().unwrap()),
        "Set the share back to 20 %"
    );
}

#[test]
fn a_need_is_told_from_now() {
    let now = Timestamp::from_secs(10_000);
    let mut need = Need {
        vm: vm().id,
        urgency: Urgency::Now,
        crosses_at: None,
        probability: None,
        reasons: vec![Reason::ForecastCrosses {
            metric: Metric::Cpu,
            peak: 0.96,
            limit: 0.85,
            at: now.plus_secs(11 * 60 + 20),
            no_better_than_naive: false,
            late_by_seconds: 0,
        }],
    };
    assert_eq!(
        explain(&need, "shop-1", now),
        "CPU over 85 % in 11 min, peak 96 %"
    );
    need.reasons = vec![Reason::HealthUnder {
        score: 34,
        threshold: 50,
        worst: "CPU at 97 %".to_owned(),
    }];
    assert_eq!(
        explain(&need, "shop-1", now),
        "Health 34 is under 50: CPU at 97 %"
    );
    need.reasons = vec![Reason::RiskPassed {
        peak: 0.34,
        limit: 0.85,
        quiet_since: now.plus_secs(-3 * 3600),
    }];
    assert_eq!(
        explain(&need, "shop-1", now),
        "Without help the forecast peaks at 40 % of the limit, quiet for 3 h 00"
    );
}

#[test]
fn the_digest_binds_time_owner_and_preconditions() {
    let plan = create(0.25, ServiceKind::Stateless);
    let signed = digest(&plan);
    assert_eq!(signed.as_str().len(), 64);
    assert_eq!(digest(&plan.clone()), signed);
    let later = Plan {
        made_at: plan.made_at.plus_millis(1),
        ..plan.clone()
    };
    let mut moved = plan.clone();
    moved.owner.operation = "op-00000002".into();
    let mut unchecked = plan.clone();
    unchecked.preconditions.pop();
    for other in [later, moved, unchecked] {
        assert_ne!(digest(&other), signed);
    }
}

proptest! {
    #[test]
    fn any_change_of_any_step_changes_the_digest(
        step in 0_usize..11,
        field in any::<prop::sample::Index>(),
        share in 0.2_f64..=0.29,
    ) {
        let plan = create(share, ServiceKind::Stateless);
        let mut changed = plan.clone();
        let mut json = serde_json::to_value(&plan.steps[step]).unwrap();
        let mut leaves = leaf_paths(&json, String::new());
        leaves.retain(|path| path != "/step");
        let path = field.get(&leaves).clone();
        alter(json.pointer_mut(&path).unwrap());
        if let Ok(altered) = serde_json::from_value(json) {
            changed.steps[step] = altered;
            prop_assert_ne!(digest(&changed), digest(&plan), "{}", path);
        }
        let mut shorter = plan.clone();
        shorter.steps.remove(step);
        prop_assert_ne!(digest(&shorter), digest(&plan));
    }

    #[test]
    fn a_ramp_ends_at_the_share_in_steps_of_a_tenth(from in 0.0_f64..=1.0, to in 0.0_f64..=1.0) {
        let serving = service(ServiceKind::Stateless);
        let model = share_spec(
            &"s-1".into(),
            Serving { service: &serving, base_weight: Weight(100) },
            "primary",
            "sc1",
        );
        let mut steps = Vec::new();
        ramp(&mut steps, &model, from, to);
        let mut at = from;
        for step in &steps {
            let Step::SetShare(share) = step else { panic!("{step:?}") };
            prop_assert!((share.previous_share - at).abs() < 1e-9);
            prop_assert!(share.share - at <= 0.105 + 1e-9, "{} → {}", at, share.share);
            at = share.share;
        }
        prop_assert!((at - to).abs() < 1e-12);
        prop_assert!(steps.len() <= 11);
    }
}

fn leaf_paths(json: &serde_json::Value, path: String) -> Vec<String> {
    match json {
        serde_json::Value::Object(fields) => fields
            .iter()
            .flat_map(|(key, value)| leaf_paths(value, format!("{path}/{key}")))
            .collect(),
        serde_json::Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, value)| leaf_paths(value, format!("{path}/{index}")))
            .collect(),
        _ => vec![path],
    }
}

fn alter(json: &mut serde_json::Value) {
    use serde_json::Value;
    *json = match json {
        Value::String(text) => Value::String(format!("{text}x")),
        Value::Bool(flag) => Value::Bool(!*flag),
        Value::Number(number) if number.is_u64() => Value::from(number.as_u64().unwrap() ^ 1),
        Value::Number(number) => Value::from(number.as_f64().unwrap() + 0.001),
        _ => Value::String("x".to_owned()),
    };
}
