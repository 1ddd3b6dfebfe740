//! Shadows and the services they serve.

use super::{NOW, spread, target, vm_id};
use shadowcast::{
    engine::snapshot::{GateView, ServiceView, ShadowState, ShadowView},
    inventory::{Service, ServiceKind, ServiceMember},
    replication::{Consistency, Progress, ProofMark, RecoveryPoint},
    units::{OperationId, PoolId, ServiceName, ShadowId, SourceName},
    validation::{
        check::{Check, CheckResult},
        proof::Proof,
    },
};

/// Shadows: VM, state, share, rpo, lag.
pub(super) const SHADOWS: [(&str, ShadowState, f64, u32, u64); 7] = [
    ("geo-tile-18", ShadowState::Stalled, 0.4, 60, 132),
    ("catalog-api-02", ShadowState::Serving, 0.1, 60, 41),
    ("cart-api-03", ShadowState::Serving, 0.25, 60, 24),
    ("pay-gw-01", ShadowState::Replicating, 0.0, 30, 12),
    ("img-proc-05", ShadowState::Creating, 0.0, 60, 0),
    ("auth-idp-02", ShadowState::Replicating, 0.0, 60, 38),
    ("orders-db-01", ShadowState::Replicating, 0.0, 120, 55),
];

pub fn shadows() -> Vec<ShadowView> {
    SHADOWS
        .iter()
        .map(|(name, state, share, rpo, lag)| {
            let mut random = fastrand::Rng::with_seed(spread(name));
            let creating = *state == ShadowState::Creating;
            let mut recent: Vec<f32> = (0..60)
                .map(|_| *rpo as f32 * (0.55 + random.f32() * 0.35))
                .collect();
            if *state == ShadowState::Stalled {
                for (index, lag) in recent.iter_mut().rev().take(4).enumerate() {
                    *lag = 132.0 - index as f32 * 20.0;
                }
            }
            ShadowView {
                id: ShadowId(format!("s-{:08x}", spread(name) as u32)),
                vm: vm_id(name),
                vm_name: (*name).to_owned(),
                name: format!("{name}-s1"),
                pool: PoolId::of(&target(), "shadow-a"),
                state: *state,
                method: "increments".to_owned(),
                vcpus: 4,
                memory_bytes: 16 << 30,
                rpo_seconds: *rpo,
                lag_seconds: (!creating).then_some(*lag),
                lag_bytes: Some(if *state == ShadowState::Stalled {
                    1_900_000_000
                } else {
                    lag * 130_000
                }),
                points: if creating {
                    Vec::new()
                } else {
                    points(&mut random, *lag, *rpo)
                },
                stored_bytes: if creating { 0 } else { 42_300_000_000 },
                last_proof: (!creating).then(|| mark(name, 0)),
                next_proof_at: Some(NOW.plus_secs(7100)),
                proving: *name == PROVING,
                proofs: if creating {
                    Vec::new()
                } else {
                    (0..4).map(|back| proof(name, back)).collect()
                },
                serving_from: (*share > 0.0).then_some(412),
                last_cycle_millis: (!creating).then_some(1340),
                cycle_progress: creating.then_some(Progress {
                    done_bytes: 26_000_000_000,
                    total_bytes: 61_000_000_000,
                }),
                stalled: (*state == ShadowState::Stalled)
                    .then(|| "kvm-secondary does not answer; next try in 30 s".to_owned()),
                service: (*share > 0.0).then(|| ServiceName(format!("svc-{name}"))),
                traffic_share: *share,
                wanted_share: *share,
                gate: (*share > 0.0).then(|| GateView {
                    holds: *name != "catalog-api-02",
                    error_ratio: Some(0.0008),
                    error_limit: 0.02,
                    response_millis: Some(182.0),
                    response_limit_millis: 250.0,
                    last_breach: (*name == "catalog-api-02")
                        .then(|| "p95 311 ms over 250 at 13:05: share back to 0".to_owned()),
                }),
                recent_lags: if creating { Vec::new() } else { recent },
                promotion: None,
            }
        })
        .collect()
}

/// Whose newest proof failed, and whose clone runs.
const FAILED: &str = "catalog-api-02";
const PROVING: &str = "auth-idp-02";

/// A week of days, half a day of hours and the newest.
fn points(random: &mut fastrand::Rng, lag: u64, rpo: u32) -> Vec<RecoveryPoint> {
    let newest = NOW.plus_secs(-(lag as i64));
    let days = (1..=7).rev().map(|day| (day * 86_400, 4_000_000_000));
    let hours = (1..=12).rev().map(|hour| (hour * 3600, 600_000_000));
    let last = (0..8).rev().map(|back| (back * i64::from(rpo), 3_000_000));
    days.chain(hours)
        .chain(last)
        .enumerate()
        .map(|(place, (ago, usual))| {
            let at = newest.plus_secs(-ago);
            let bytes = usual / 2 + random.u64(0..usual);
            let proven = place < 7 || place % 4 == 3;
            RecoveryPoint {
                number: 390 + place as u64,
                at,
                complete_at: at.plus_secs(2),
                consistent: if place.is_multiple_of(3) {
                    Consistency::FileSystem
                } else {
                    Consistency::Crash
                },
                shipped_bytes: bytes,
                stored_bytes: bytes,
                layers: vec![format!("shc-layer-{place}")],
                digests: Vec::new(),
                depth: place as u32,
                pinned: place == 2 || place == 15,
                proof: proven.then(|| ProofMark {
                    at: at.plus_secs(600),
                    passed: place != 11,
                    operation: "op-proof".into(),
                }),
            }
        })
        .collect()
}

fn mark(name: &str, back: i64) -> ProofMark {
    ProofMark {
        at: NOW.plus_secs(-7300 - back * 14_400),
        passed: name != FAILED || back > 0,
        operation: OperationId(format!("op-{back:08x}")),
    }
}

fn proof(name: &str, back: i64) -> Proof {
    let mark = mark(name, back);
    let service = Check::Http {
        port: 8080,
        path: "/health".to_owned(),
        status: Some(200),
        body: None,
    };
    let files = Check::Files {
        sha256: [("/etc/app.conf".to_owned(), "0".repeat(64))].into(),
    };
    let answered = if mark.passed {
        Ok("HTTP 200".to_owned())
    } else {
        Err("HTTP 503 (within 30 s)".to_owned())
    };
    let sound = |text: &str| Ok(text.to_owned());
    let mut proof = Proof {
        operation: mark.operation.clone(),
        shadow: ShadowId(format!("s-{:08x}", spread(name) as u32)),
        vm: vm_id(name),
        point: 409 - back as u64,
        point_at: mark.at.plus_secs(-60),
        by: if back == 2 { "ana" } else { "the schedule" }.to_owned(),
        started_at: mark.at.plus_secs(-19),
        ended_at: None,
        verdict: None,
        why: None,
        results: vec![
            CheckResult::new(
                &Check::Boots,
                sound("guest agent answers"),
                11_200 + back as u64 * 310,
            ),
            CheckResult::new(&Check::Agent, sound("answered"), 40),
            CheckResult::new(&service, answered, if mark.passed { 380 } else { 30_100 }),
            CheckResult::new(
                &Check::Blocks,
                sound("9 layer(s) equal what the source gave"),
                4100,
            ),
            CheckResult::new(&files, sound("1 file(s) as declared"), 210),
        ],
        console: String::new(),
    };
    proof.conclude(mark.at);
    proof
}

pub(super) fn services() -> Vec<ServiceView> {
    let proposed = [
        "checkout-api-07",
        "search-idx-11",
        "media-enc-03",
        "vdi-pool-b-01",
    ];
    SHADOWS
        .iter()
        .filter(|shadow| shadow.2 > 0.0)
        .map(|(name, _, share, ..)| (*name, *share))
        .chain(proposed.map(|name| (name, 0.0)))
        .map(|(name, share)| ServiceView {
            service: Service {
                name: ServiceName(format!("svc-{name}")),
                kind: ServiceKind::Stateless,
                director: SourceName::from("lb-01"),
                backend: format!("lb-{}", name.split('-').next().unwrap_or("svc")),
                members: vec![ServiceMember {
                    vm: vm_id(name),
                    server: "p1".to_owned(),
                }],
                guest_port: 8080,
                guest_address: None,
                probe_path: "/".to_owned(),
                outbound_allowed: false,
                method_map: None,
            },
            servers: Vec::new(),
            shadow_share: share,
            errors_per_second: Some(0.3),
            response_millis: Some(182.0),
            requests_per_second: Some(412.0),
            sticky: false,
            error: None,
        })
        .collect()
}
