//! A plan in words: what each step does, the exact effect, what undoes it, and why it is proposed.

use super::promotion_wording as promotion;
use crate::{
    replication::{RecoveryPoint, names},
    reservation::Hold,
    shadow::{CloneSpec, Need, Reason, ShadowSpec, ShareSpec, Step},
    traffic::{ServerSpec, split},
    units::{Timestamp, printable},
};

/// `1.5 GiB`, in powers of 1,024.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!(
        "{} {}",
        text.strip_suffix(".0").unwrap_or(&text),
        UNITS[unit]
    )
}

/// `11 min`, `1 h 05`, `2 d 3 h`.
pub(super) fn duration(seconds: i64) -> String {
    let minutes = seconds.max(0) / 60;
    match minutes {
        0 => format!("{} s", seconds.max(0)),
        1..60 => format!("{minutes} min"),
        60..1440 => format!("{} h {:02}", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", minutes / 1440, minutes % 1440 / 60),
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// The weights that a share comes to: primary's and shadow's.
fn pair(share: &ShareSpec) -> String {
    let (primary, shadow) = split::weights(share.base_weight, share.share);
    format!("{} : {}", primary.0, shadow.0)
}

/// One line for people: what the step does.
pub fn describe(step: &Step) -> String {
    match step {
        Step::Reserve { hold } => format!("Reserve {}", held(hold)),
        Step::Replicate { increment, .. } => {
            let target = &increment.target_pool;
            if increment.parent_checkpoint.is_some() {
                format!("Replicate what changed since to {target}")
            } else {
                let capacity = increment
                    .disks
                    .iter()
                    .fold(0_u64, |sum, disk| sum.saturating_add(disk.capacity_bytes));
                format!(
                    "Copy {} to {target} ({} of capacity) and keep replicating",
                    disks(increment.disks.len()),
                    bytes(capacity)
                )
            }
        }
        Step::DefineShadow { spec, point } => format!(
            "Define {} on {} with {} vCPU and {}, from recovery point {point}",
            spec.name,
            spec.pool,
            spec.vcpus,
            bytes(spec.memory_bytes)
        ),
        Step::StartShadow { .. } => "Start the shadow on its isolated network".to_owned(),
        Step::AwaitAnswer {
            address,
            port,
            timeout_seconds,
            ..
        } => format!("Wait until it answers at {address}:{port}, {timeout_seconds} s at most"),
        Step::AddServer { server, .. } => format!(
            "Add it to backend {} as {}, without traffic",
            printable(&server.backend),
            server.server
        ),
        Step::AwaitServer {
            timeout_seconds, ..
        } => format!("Wait until the balancer finds it healthy, {timeout_seconds} s at most"),
        Step::SetShare(share) if share.share == 0.0 => {
            format!(
                "Return all traffic to the primary (weights {})",
                pair(share)
            )
        }
        Step::SetShare(share) => format!(
            "Move {} of the primary's {} to the shadow (weights {})",
            percent(share.share),
            if share.method_map.is_some() {
                "GET and HEAD requests"
            } else {
                "traffic"
            },
            pair(share)
        ),
        Step::AwaitDrained {
            timeout_seconds, ..
        } => format!("Wait until no request is left on it, {timeout_seconds} s at most"),
        Step::RemoveServer {
            backend, server, ..
        } => format!("Remove {server} from backend {}", printable(backend)),
        Step::StopShadow { grace_seconds, .. } => {
            format!("Shut the shadow down, power off after {grace_seconds} s")
        }
        Step::Refresh {
            from_point, point, ..
        } => format!(
            "Discard what it wrote since recovery point {from_point}, and let it stand on point {point}"
        ),
        Step::RemoveShadow { spec } => {
            format!("Remove {} from {} with its overlays", spec.name, spec.pool)
        }
        Step::RemoveReplica { pool, .. } => {
            format!(
                "End replication: remove its checkpoints on the source and its layers on {pool}"
            )
        }
        Step::Release { hold } => format!("Release {}", held(hold)),
        Step::Promotion(step) => promotion::describe(step),
        Step::StartClone { clone } => format!(
            "Boot a clone of point {} on an isolated network, within {} s; it lives {} s at most",
            clone.point, clone.boot_seconds, clone.lifetime_seconds
        ),
        Step::CheckClone {
            check,
            timeout_seconds,
            ..
        } => format!("Check: {check}, within {timeout_seconds} s or the boot's time"),
        Step::RemoveClone { .. } => "Cut the clone's power and remove its disks".to_owned(),
    }
}

pub(super) fn held(hold: &Hold) -> String {
    format!(
        "{} vCPU, {} of memory and {} of disk on {}",
        hold.vcpus,
        bytes(hold.memory_bytes),
        bytes(hold.disk_bytes),
        hold.pool
    )
}

fn disks(count: usize) -> String {
    if count == 1 {
        "the disk".to_owned()
    } else {
        format!("{count} disks")
    }
}

/// The exact effect, as calls and commands; what a dry run prints and an approver sees.
pub fn command_text(step: &Step) -> String {
    match step {
        Step::Reserve { hold } => format!("ledger hold {} {}", hold.operation, held(hold)),
        Step::Replicate { increment, .. } => {
            let from = increment
                .parent_checkpoint
                .as_ref()
                .map_or_else(|| "full".to_owned(), |parent| format!("since {parent}"));
            let moved: Vec<_> = increment
                .disks
                .iter()
                .map(|disk| {
                    format!(
                        "{} → {} → {}",
                        printable(&disk.target),
                        disk.spool_volume,
                        disk.layer_volume
                    )
                })
                .collect();
            format!(
                "virDomainBackupBegin {} {from} checkpoint {}; virStorageVolUpload {} ({})",
                increment.vm,
                increment.checkpoint,
                printable(&increment.target_storage),
                moved.join(", ")
            )
        }
        Step::DefineShadow { spec, .. } => format!(
            "virStorageVolCreateXML {}; virDomainDefineXML {} uuid {} mac {} {}:{} → guest port {}",
            overlays(spec),
            spec.name,
            spec.uuid,
            spec.network.mac,
            spec.network.address,
            spec.network.port,
            spec.network.guest_port
        ),
        Step::StartShadow { source, uuid, .. } => format!("virDomainCreate {source}/{uuid}"),
        Step::AwaitAnswer {
            address,
            port,
            path,
            ..
        } => format!("GET http://{address}:{port}{}", printable(path)),
        Step::AddServer { server, .. } => add_server(server),
        Step::AwaitServer {
            backend, server, ..
        } => format!("show stat, until {}/{server} is UP", printable(backend)),
        Step::SetShare(share) => {
            let (primary, shadow) = split::weights(share.base_weight, share.share);
            let backend = printable(&share.backend);
            let map = match &share.method_map {
                Some(map) if share.share > 0.0 => {
                    let map = printable(map);
                    format!("add map {map} GET {backend}; add map {map} HEAD {backend}; ")
                }
                _ => String::new(),
            };
            format!(
                "{map}set weight {backend}/{} {}; set weight {backend}/{} {}",
                printable(&share.primary_server),
                primary.0,
                share.shadow_server,
                shadow.0
            )
        }
        Step::AwaitDrained {
            backend, server, ..
        } => format!(
            "show stat, until {}/{server} has 0 sessions",
            printable(backend)
        ),
        Step::RemoveServer {
            backend, server, ..
        } => {
            let backend = printable(backend);
            format!("set server {backend}/{server} state maint; del server {backend}/{server}")
        }
        Step::StopShadow {
            source,
            uuid,
            grace_seconds,
            ..
        } => format!("virDomainShutdown {source}/{uuid}, after {grace_seconds} s virDomainDestroy"),
        Step::Refresh { from, spec, .. } => format!(
            "virDomainUndefine {} uuid {}; virStorageVolDelete {}; virStorageVolCreateXML {}; virDomainDefineXML {}",
            from.name,
            from.uuid,
            overlays(from),
            overlays(spec),
            spec.name
        ),
        Step::RemoveShadow { spec } => format!(
            "virDomainUndefine {} uuid {}; virStorageVolDelete {}",
            spec.name,
            spec.uuid,
            overlays(spec)
        ),
        Step::RemoveReplica {
            shadow,
            owner,
            vm,
            storage,
            ..
        } => {
            let made = names::stem(&owner.engine, shadow);
            format!(
                "virDomainCheckpointDelete {vm} {made}-*; virStorageVolDelete {} {made}-*",
                printable(storage)
            )
        }
        Step::Release { hold } => format!("ledger release {}", hold.operation),
        Step::Promotion(step) => promotion::command_text(step),
        Step::StartClone { clone } => start_clone(clone),
        Step::CheckClone { clone, check, .. } => {
            format!("{} {}: {check}", clone.spec.name, check.name())
        }
        Step::RemoveClone { clone } => format!(
            "virDomainDestroy {} uuid {}; virStorageVolDelete {} {}",
            clone.spec.name,
            clone.spec.uuid,
            overlays(&clone.spec),
            clone.console_volume
        ),
    }
}

fn start_clone(clone: &CloneSpec) -> String {
    let spec = &clone.spec;
    let forwards: Vec<_> = spec
        .network
        .more
        .iter()
        .map(|forward| {
            format!(
                "{}:{} → guest port {}",
                spec.network.address, forward.port, forward.guest_port
            )
        })
        .collect();
    format!(
        "virStorageVolCreateXML {}; virDomainCreateXML {} uuid {} mac {} restrict=on {} AUTODESTROY",
        overlays(spec),
        spec.name,
        spec.uuid,
        spec.network.mac,
        forwards.join(", ")
    )
}

fn add_server(spec: &ServerSpec) -> String {
    let name = format!("{}/{}", printable(&spec.backend), spec.server);
    format!(
        "add server {name} {}:{} check inter {} weight 0; enable health {name}; set server {name} state ready",
        spec.address, spec.port, spec.check_interval_millis
    )
}

pub(super) fn overlays(spec: &ShadowSpec) -> String {
    let names: Vec<_> = spec
        .overlays
        .iter()
        .map(|overlay| overlay.volume.as_str())
        .collect();
    names.join(" ")
}

/// What takes a step back.
pub fn undo_text(step: &Step) -> String {
    match step {
        Step::Reserve { .. } => "Release what was reserved".to_owned(),
        Step::Replicate { increment, .. } => format!(
            "Remove the checkpoint {} and the layers made from it",
            increment.checkpoint
        ),
        Step::DefineShadow { spec, .. } => format!("Remove {} and its overlays", spec.name),
        Step::StartShadow { .. } => "Stop the shadow".to_owned(),
        Step::AddServer { server, .. } => {
            format!("Remove {} from the balancer", server.server)
        }
        Step::SetShare(share) if share.previous_share == 0.0 => {
            "Return all traffic to the primary".to_owned()
        }
        Step::SetShare(share) => {
            format!("Set the share back to {}", percent(share.previous_share))
        }
        Step::RemoveServer { server, .. } => {
            format!("Add {server} to the balancer again, without traffic")
        }
        Step::StopShadow { .. } => "Start the shadow again".to_owned(),
        Step::Refresh { from_point, .. } => {
            format!(
                "Let it stand on recovery point {from_point} again, without what it had written"
            )
        }
        Step::RemoveShadow { spec } => {
            format!("Define {} again, on fresh overlays", spec.name)
        }
        Step::RemoveReplica { .. } => {
            "Cannot be taken back: a new shadow needs a full copy".to_owned()
        }
        Step::Release { .. } => "Reserve it again".to_owned(),
        Step::Promotion(step) => promotion::undo_text(step),
        Step::StartClone { .. } => "Remove the clone".to_owned(),
        Step::CheckClone { .. } | Step::RemoveClone { .. } => {
            "Nothing to take back: the clone is gone by then".to_owned()
        }
        Step::AwaitAnswer { .. } | Step::AwaitServer { .. } | Step::AwaitDrained { .. } => {
            "Nothing to take back: it only waits".to_owned()
        }
    }
}

/// One sentence of why something is proposed for the VM, with times as seen from `now`.
pub fn explain(need: &Need, vm_name: &str, now: Timestamp) -> String {
    let parts: Vec<_> = need
        .reasons
        .iter()
        .map(|reason| because(reason, vm_name, now))
        .collect();
    parts.join("; ")
}

fn because(reason: &Reason, vm_name: &str, now: Timestamp) -> String {
    match reason {
        Reason::ForecastCrosses {
            metric,
            peak,
            limit,
            at,
            no_better_than_naive,
            late_by_seconds,
        } => {
            let ahead = at.secs_since(now);
            let when = if ahead > 0 {
                format!("in {}", duration(ahead))
            } else {
                "now".to_owned()
            };
            let level = |value: f64| match metric.unit() {
                "ratio" => percent(value),
                "bytes_per_second" => format!("{}/s", bytes(value.max(0.0) as u64)),
                _ => format!("{value:.0}"),
            };
            let mut text = format!(
                "{} over {} {when}, peak {}",
                metric_title(metric.name()),
                level(*limit),
                level(*peak)
            );
            // Of a crossing that is there already nobody expects a shadow in time.
            if *late_by_seconds > 0 && ahead > 0 {
                let late = duration(i64::from(*late_by_seconds));
                text.push_str(&format!(", a shadow is ready {late} after that"));
            }
            if *no_better_than_naive {
                text.push_str(
                    ", by a forecast that is no better here than \"as it was yesterday\"",
                );
            }
            text
        }
        Reason::HealthUnder {
            score,
            threshold,
            worst,
        } => format!("Health {score} is under {threshold}: {}", printable(worst)),
        Reason::RiskPassed {
            peak,
            limit,
            quiet_since,
        } => format!(
            "Without help the forecast peaks at {} of the limit, quiet for {}",
            percent(if *limit > 0.0 { peak / limit } else { 0.0 }),
            duration(now.secs_since(*quiet_since))
        ),
        Reason::ProofFailed { point, why } => {
            format!(
                "Point {point} did not pass its validation: {}",
                printable(why)
            )
        }
        Reason::ByHand => format!("An operator asked for it, on {}", printable(vm_name)),
    }
}

fn metric_title(name: &str) -> &str {
    match name {
        "cpu" => "CPU",
        "memory" => "Memory",
        "disk" => "Disk throughput",
        "net" => "Network throughput",
        other => other,
    }
}

pub(super) fn create_cost(
    hold: &Hold,
    vm_name: &str,
    rpo_seconds: u32,
    seed_bytes: u64,
) -> Vec<String> {
    let vm_name = printable(vm_name);
    vec![
        format!("Holds {} while the shadow stands.", held(hold)),
        format!(
            "Reads {} from {vm_name}'s disks once, then what changed every {rpo_seconds} s.",
            bytes(seed_bytes)
        ),
        format!(
            "Needs up to {} of free space beside {vm_name}'s disks during the first copy.",
            bytes(seed_bytes)
        ),
    ]
}

pub(super) fn create_undo(vm_name: &str, serving: bool) -> String {
    let vm_name = printable(vm_name);
    let traffic = if serving {
        format!("Traffic returns to {vm_name} at once; then the")
    } else {
        "The".to_owned()
    };
    format!(
        "{traffic} shadow, its disks and the checkpoints made for it are removed. {vm_name} runs on untouched."
    )
}

pub(super) fn traffic_cost(spec: &ShadowSpec, start_from: Option<&RecoveryPoint>) -> Vec<String> {
    let mut cost = Vec::new();
    if start_from.is_some() {
        cost.push(format!(
            "{} runs on {} with {} vCPU and {}.",
            spec.name,
            spec.pool,
            spec.vcpus,
            bytes(spec.memory_bytes)
        ));
    }
    cost.push("What the shadow writes while it serves is discarded later.".to_owned());
    cost
}

pub(super) fn traffic_undo(
    vm_name: &str,
    previous_share: f64,
    start_from: Option<&RecoveryPoint>,
) -> String {
    if start_from.is_some() {
        format!(
            "Traffic returns to {} at once; the shadow is stopped and goes on replicating.",
            printable(vm_name)
        )
    } else {
        format!(
            "The share goes back to {} at once.",
            percent(previous_share)
        )
    }
}

pub(super) fn validate_cost(clone: &CloneSpec, running: bool) -> Vec<String> {
    let spec = &clone.spec;
    let size = format!("{} vCPU and {}", spec.vcpus, bytes(spec.memory_bytes));
    let whose = if running {
        format!("Takes {size} on {} while it runs.", spec.pool)
    } else {
        format!("Uses {size} that the shadow holds on {}.", spec.pool)
    };
    vec![
        whose,
        "What the clone writes is discarded; replication goes on meanwhile.".to_owned(),
    ]
}

pub(super) fn validate_undo(vm_name: &str) -> String {
    format!(
        "The clone is removed at any moment; {} and its shadow are not touched.",
        printable(vm_name)
    )
}

pub(super) fn refresh_cost(spec: &ShadowSpec, from: u64, to: &RecoveryPoint) -> Vec<String> {
    vec![
        format!(
            "What {} wrote since it started on recovery point {from} is discarded.",
            spec.name
        ),
        format!(
            "The primary carries all traffic until it answers again, on point {} of {}.",
            to.number, to.at
        ),
    ]
}

pub(super) fn refresh_undo(spec: &ShadowSpec, from: u64) -> String {
    format!(
        "{} starts on recovery point {from} again and gets its share back; what it had written stays discarded.",
        spec.name
    )
}

pub(super) fn retire_cost(hold: Option<&Hold>) -> Vec<String> {
    let mut cost = vec!["Recovery points and what the shadow wrote are lost.".to_owned()];
    cost.extend(hold.map(|hold| format!("Gives back {}.", held(hold))));
    cost
}

pub(super) fn retire_undo(vm_name: &str) -> String {
    format!(
        "Until its disks are removed the shadow can be brought back; after that a new one needs a full copy. {} runs \
         on untouched.",
        printable(vm_name)
    )
}
