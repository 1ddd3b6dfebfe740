//! Shadows and the services they serve.

use super::{NOW, spread, target, vm_id};
use shadowcast::{
    engine::snapshot::{GateView, ServiceView, ShadowState, ShadowView},
    inventory::{Service, ServiceKind, ServiceMember},
    replication::{Consistency, Progress, RecoveryPoint},
    units::{PoolId, ServiceName, ShadowId, SourceName},
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
                    (0..8)
                        .map(|number: u64| RecoveryPoint {
                            number: 380 + number,
                            at: NOW
                                .plus_secs(-(*lag as i64) - (7 - number as i64) * i64::from(*rpo)),
                            complete_at: NOW.plus_secs(
                                2 - (*lag as i64) - (7 - number as i64) * i64::from(*rpo),
                            ),
                            consistent: if number.is_multiple_of(3) {
                                Consistency::FileSystem
                            } else {
                                Consistency::Crash
                            },
                            shipped_bytes: 2_000_000 + random.u64(0..6_000_000),
                            layers: vec![format!("shc-layer-{number}")],
                            depth: 3 + number as u32,
                        })
                        .collect()
                },
                serving_from: (*share > 0.0).then_some(382),
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
            }
        })
        .collect()
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
