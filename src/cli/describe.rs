//! A plan's steps in words, and the calls that they make on the platforms, with every name that was chosen.

use indicatif::BinaryBytes;

use crate::{
    replication::IncrementSpec,
    shadow::{ShadowSpec, Step},
    units::VmId,
};

/// What a step does.
pub fn text(step: &Step) -> String {
    match step {
        Step::Reserve { hold } => format!(
            "Reserve {} vCPU, {} memory and {} disk in {}",
            hold.vcpus,
            BinaryBytes(hold.memory_bytes),
            BinaryBytes(hold.disk_bytes),
            hold.pool
        ),
        Step::Replicate {
            increment,
            rpo_seconds,
        } => match &increment.parent_checkpoint {
            None => format!(
                "Copy {} in full to {}, then keep it within {rpo_seconds} s",
                disk_names(increment),
                increment.target_pool
            ),
            Some(parent) => format!(
                "Bring what changed on {} since {parent} to {}",
                disk_names(increment),
                increment.target_pool
            ),
        },
        Step::DefineShadow { spec, point } => format!(
            "Define {} in {}: {} vCPU, {} memory, powered off, on point {point}",
            spec.name,
            spec.pool,
            spec.vcpus,
            BinaryBytes(spec.memory_bytes)
        ),
        Step::StartShadow { source, .. } => format!("Start the shadow on {source}"),
        Step::AwaitAnswer {
            address,
            port,
            timeout_seconds,
            ..
        } => format!("Wait until {address}:{port} answers, {timeout_seconds} s at most"),
        Step::AddServer { director, server } => format!(
            "Add {}/{} to {director} with weight 0",
            server.backend, server.server
        ),
        Step::AwaitServer {
            backend,
            server,
            timeout_seconds,
            ..
        } => format!(
            "Wait until the balancer's checks of {backend}/{server} pass, {timeout_seconds} s at most"
        ),
        Step::SetShare(share) => format!(
            "Move the shadow's share of {} from {} to {}",
            share.service,
            percent(share.previous_share),
            percent(share.share)
        ),
        Step::AwaitDrained {
            backend,
            server,
            timeout_seconds,
            ..
        } => format!("Wait until {backend}/{server} is drained, {timeout_seconds} s at most"),
        Step::RemoveServer {
            director,
            backend,
            server,
        } => format!("Remove {backend}/{server} from {director}"),
        Step::StopShadow {
            source,
            grace_seconds,
            ..
        } => format!("Stop the shadow on {source}, cut its power after {grace_seconds} s"),
        Step::RemoveShadow { spec } => format!("Remove {} and its overlays", spec.name),
        Step::RemoveReplica { pool, .. } => {
            format!("End replication; delete our checkpoints and every layer in {pool}")
        }
        Step::Release { hold } => format!("Release the reservation in {}", hold.pool),
    }
}

/// The platform calls of a step, in order. None for a step that only touches the ledger.
pub fn commands(step: &Step) -> Vec<String> {
    match step {
        Step::Reserve { .. } | Step::Release { .. } => Vec::new(),
        Step::Replicate { increment, .. } => replicate(increment),
        Step::DefineShadow { spec, .. } => define(spec),
        Step::StartShadow { source, uuid, .. } => vec![format!("{source}: start {uuid}")],
        Step::AwaitAnswer {
            address,
            port,
            path,
            ..
        } => vec![format!("GET http://{address}:{port}{path}")],
        Step::AddServer { director, server } => vec![format!(
            "{director}: add server {}/{} {}:{} weight 0 check inter {}ms",
            server.backend,
            server.server,
            server.address,
            server.port,
            server.check_interval_millis
        )],
        Step::AwaitServer {
            director,
            backend,
            server,
            ..
        }
        | Step::AwaitDrained {
            director,
            backend,
            server,
            ..
        } => vec![format!("{director}: show stat, {backend}/{server}")],
        Step::SetShare(share) => vec![format!(
            "{}: set weight {}/{} and {}/{} for {} on the shadow",
            share.director,
            share.backend,
            share.primary_server,
            share.backend,
            share.shadow_server,
            percent(share.share)
        )],
        Step::RemoveServer {
            director,
            backend,
            server,
        } => vec![
            format!("{director}: set server {backend}/{server} state maint"),
            format!("{director}: del server {backend}/{server}"),
        ],
        Step::StopShadow {
            source,
            uuid,
            grace_seconds,
            ..
        } => vec![
            format!("{source}: shutdown {uuid}"),
            format!("{source}: destroy {uuid}, if it still runs after {grace_seconds} s"),
        ],
        Step::RemoveShadow { spec } => {
            let source = spec.pool.source();
            let mut calls = vec![format!("{source}: undefine {}", spec.uuid)];
            calls.extend((spec.overlays.iter()).map(|overlay| {
                format!(
                    "{source}: vol-delete {} in {}",
                    overlay.volume, spec.storage
                )
            }));
            calls
        }
        Step::RemoveReplica {
            vm,
            pool,
            storage,
            shadow,
            ..
        } => vec![
            format!(
                "{}: checkpoint-delete {}, ours of {shadow}",
                vm.source(),
                vm.uuid()
            ),
            format!(
                "{}: vol-delete in {storage}, ours of {shadow}",
                pool.source()
            ),
        ],
    }
}

fn replicate(increment: &IncrementSpec) -> Vec<String> {
    let mut calls = vec![backup(&increment.vm, increment)];
    for disk in &increment.disks {
        let backing = disk
            .backing_volume
            .as_ref()
            .map_or_else(String::new, |backing| format!(" on {backing}"));
        calls.push(format!(
            "{}: vol-create {}{backing}, {} in {}; vol-upload from {}",
            increment.target_pool.source(),
            disk.layer_volume,
            BinaryBytes(disk.capacity_bytes),
            increment.target_storage,
            disk.spool_volume
        ));
    }
    calls
}

fn backup(vm: &VmId, increment: &IncrementSpec) -> String {
    let since = increment
        .parent_checkpoint
        .as_ref()
        .map_or_else(String::new, |parent| format!(" --incremental {parent}"));
    let freeze = if increment.freeze {
        ", file systems frozen"
    } else {
        ""
    };
    format!(
        "{}: backup-begin {}{since} --checkpoint {}{freeze}",
        vm.source(),
        vm.uuid(),
        increment.checkpoint
    )
}

fn define(spec: &ShadowSpec) -> Vec<String> {
    let source = spec.pool.source();
    let mut calls: Vec<String> = (spec.overlays.iter())
        .map(|overlay| {
            format!(
                "{source}: vol-create {} on {} in {}",
                overlay.volume, overlay.layer_volume, spec.storage
            )
        })
        .collect();
    let outward = if spec.network.outbound_allowed {
        "allowed"
    } else {
        "denied"
    };
    calls.push(format!(
        "{source}: define {} ({}), MAC {}, {}:{} to guest port {}, outward {outward}",
        spec.name,
        spec.uuid,
        spec.network.mac,
        spec.network.address,
        spec.network.port,
        spec.network.guest_port
    ));
    calls
}

fn disk_names(increment: &IncrementSpec) -> String {
    let names: Vec<&str> = (increment.disks.iter())
        .map(|disk| disk.target.as_str())
        .collect();
    names.join(", ")
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}
