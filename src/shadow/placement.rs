//! Where a shadow goes: a pool that has room for it after all promises, and is disturbed least.

use super::{
    Placement, Rejected, Sizing,
    plan::{bytes, hold},
};
use crate::{
    inventory::{Pool, Vm},
    reservation::{Hold, Ledger, Shortfall},
    units::{OperationId, PoolId},
};

/// The figures of the settings that decide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlacementPolicy {
    /// 0..=1 of a pool's memory that stays free after placement.
    pub pool_headroom: f64,
    /// 0..=1: a pool whose VMs wait longer than this for a CPU takes no more.
    pub max_contention: f64,
}

impl Default for PlacementPolicy {
    fn default() -> Self {
        Self {
            pool_headroom: 0.1,
            max_contention: 0.1,
        }
    }
}

/// What is to be placed, and where it could go.
#[derive(Clone, Copy, Debug)]
pub struct PlacementInput<'a> {
    pub vm: &'a Vm,
    pub sizing: &'a Sizing,
    pub pools: &'a [Pool],
    pub ledger: &'a Ledger,
    /// The pool that an operator asked for: no other is considered.
    pub wanted: Option<&'a PoolId>,
}

/// A pool that has room.
struct Candidate<'a> {
    pool: &'a Pool,
    storage: &'a str,
    /// 0..=1 of the pool's memory that is free after placement and all promises.
    free_after: f64,
    /// The room is kept for shadows: nobody else loses it.
    reserved: bool,
}

impl Candidate<'_> {
    /// Whole percents are what decides: finer differences are noise, and then a calmer pool is better.
    fn rank(&self) -> (bool, i64, i64) {
        (
            !self.reserved,
            -(self.free_after * 100.0).floor() as i64,
            (self.pool.contention.unwrap_or(0.0) * 1000.0).round() as i64,
        )
    }
}

/// Chooses the pool that is disturbed least: one that keeps room for shadows, then most memory free after placement,
/// then least contention. Nothing that runs is moved to make room.
///
/// # Errors
/// No pool has room: each with its reason.
pub fn place(input: &PlacementInput, policy: &PlacementPolicy) -> Result<Placement, Vec<Rejected>> {
    let mut candidates = Vec::new();
    let mut rejected = Vec::new();
    for pool in input.pools {
        match consider(input, policy, pool) {
            Ok(candidate) => candidates.push(candidate),
            Err(why) => rejected.push(Rejected {
                pool: pool.id.clone(),
                why,
            }),
        }
    }
    // Equal pools are told apart by name, so that the same fleet gives the same answer.
    candidates
        .sort_by(|one, other| (one.rank(), &one.pool.id).cmp(&(other.rank(), &other.pool.id)));
    let mut candidates = candidates.into_iter();
    let Some(best) = candidates.next() else {
        return Err(rejected);
    };
    rejected.extend(candidates.map(|other| Rejected {
        pool: other.pool.id.clone(),
        why: behind(&other, &best),
    }));
    Ok(Placement {
        pool: best.pool.id.clone(),
        storage: best.storage.to_owned(),
        why: format!(
            "{}{} of {}'s memory stays free, {}, and nothing has to move",
            if best.reserved {
                "room is reserved for shadows there, "
            } else {
                ""
            },
            percent(best.free_after),
            best.pool.name,
            calm(best.pool)
        ),
        rejected,
    })
}

fn consider<'a>(
    input: &PlacementInput,
    policy: &PlacementPolicy,
    pool: &'a Pool,
) -> Result<Candidate<'a>, String> {
    if input.wanted.is_some_and(|wanted| *wanted != pool.id) {
        return Err("another pool was asked for".to_owned());
    }
    if pool.id == input.vm.pool {
        return Err(format!(
            "{} runs here: both would fail together",
            crate::units::printable(&input.vm.name)
        ));
    }
    if !pool.role.takes_shadows() {
        return Err("its source is for primaries only".to_owned());
    }
    if let Some(contention) = pool
        .contention
        .filter(|known| *known > policy.max_contention)
    {
        return Err(format!(
            "its VMs wait for a CPU {} of the time, {} at most are allowed",
            percent(contention),
            percent(policy.max_contention)
        ));
    }
    // No operation has this name: what is promised already counts in full.
    let hold = hold(&OperationId::default(), &pool.id, input.vm, input.sizing);
    let storage = pool
        .storage
        .iter()
        .max_by_key(|storage| storage.available_bytes)
        .ok_or("it has no storage for disks")?;
    input
        .ledger
        .fits(&hold, pool, &storage.name, policy.pool_headroom)
        .map_err(|shortfall| in_words(&shortfall, policy.pool_headroom))?;
    Ok(Candidate {
        pool,
        storage: &storage.name,
        free_after: free_after(input.ledger, pool, &hold),
        reserved: input.ledger.reserved_in(&pool.id).is_some(),
    })
}

fn free_after(ledger: &Ledger, pool: &Pool, hold: &Hold) -> f64 {
    let free = ledger
        .memory_free_bytes(pool, 0.0)
        .saturating_sub(hold.memory_bytes);
    free as f64 / pool.memory_bytes.max(1) as f64
}

/// What a pool lacks, for people; it begins with "its" or a figure.
pub fn in_words(shortfall: &Shortfall, headroom: f64) -> String {
    match *shortfall {
        Shortfall::Cpus { needed, cpus } => {
            format!("its hosts have {cpus} CPUs, {needed} are needed")
        }
        Shortfall::Memory { needed, free } => format!(
            "{} of memory needed, {} free after promises and {} of headroom",
            bytes(needed),
            bytes(free),
            percent(headroom)
        ),
        Shortfall::Disk { needed, free } => format!(
            "{} of disk needed, {} free after promises",
            bytes(needed),
            bytes(free)
        ),
        Shortfall::NoStorage => "it has no storage for disks".to_owned(),
        Shortfall::Reserved {
            needed,
            left,
            reserved,
        } => format!(
            "{} of memory needed, {} left of {} that are reserved for shadows",
            bytes(needed),
            bytes(left),
            bytes(reserved)
        ),
        Shortfall::HostLoss { needed, free, host } => format!(
            "{} of memory needed, {} free, and {} must stay free should one of its hosts be lost",
            bytes(needed),
            bytes(free),
            bytes(host)
        ),
    }
}

fn behind(other: &Candidate, best: &Candidate) -> String {
    let (own, better) = (percent(other.free_after), percent(best.free_after));
    let best_name = &best.pool.name;
    if best.reserved && !other.reserved {
        format!("no room is reserved for shadows there, as it is on {best_name}")
    } else if own != better {
        format!("{own} of its memory would stay free, {better} on {best_name}")
    } else if other.rank() == best.rank() {
        format!("as good as {best_name}, which comes first by name")
    } else {
        format!(
            "as much memory as on {best_name} would stay free, but {}",
            calm(other.pool)
        )
    }
}

fn calm(pool: &Pool) -> String {
    match pool.contention {
        None => "contention is not known".to_owned(),
        Some(contention) if contention < 0.005 => "none of its VMs waits for a CPU".to_owned(),
        Some(contention) => format!("its VMs wait for a CPU {} of the time", percent(contention)),
    }
}

fn percent(ratio: f64) -> String {
    format!("{:.0} %", (ratio * 100.0).floor())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        inventory::{Disk, DiskFormat, PowerState, Role, Storage},
        units::VmId,
    };

    const GIB: u64 = 1 << 30;

    fn pool(name: &str, memory_free_gib: u64) -> Pool {
        Pool {
            id: PoolId::new(format!("b/{name}")),
            name: name.to_owned(),
            source: "b".into(),
            role: Role::Both,
            hosts: 1,
            cpus: 8,
            memory_bytes: 100 * GIB,
            memory_free_bytes: memory_free_gib * GIB,
            cpu_used: None,
            contention: Some(0.0),
            storage: vec![
                Storage {
                    name: "small".to_owned(),
                    capacity_bytes: 100 * GIB,
                    available_bytes: GIB,
                },
                Storage {
                    name: "large".to_owned(),
                    capacity_bytes: 100 * GIB,
                    available_bytes: 50 * GIB,
                },
            ],
            service_address: "127.0.0.1".to_owned(),
        }
    }

    fn vm() -> Vm {
        Vm {
            id: VmId::from("a/1"),
            name: "shop-1".to_owned(),
            source: "b".into(),
            pool: "b/own".into(),
            host: "own".to_owned(),
            state: PowerState::Running,
            generation: 1,
            vcpus: 4,
            vcpus_max: 4,
            memory_bytes: 16 * GIB,
            memory_max_bytes: 16 * GIB,
            instance_type: String::new(),
            disks: vec![Disk {
                target: "vda".to_owned(),
                path: "/x".to_owned(),
                format: DiskFormat::Qcow2,
                compat: Some("1.1".to_owned()),
                capacity_bytes: 40 * GIB,
                allocated_bytes: 10 * GIB,
                read_only: false,
                limit_bytes_per_sec: None,
            }],
            net_limit_bytes_per_sec: None,
            has_agent: false,
            foreign_jobs: Vec::new(),
            labels: Vec::new(),
            owner: None,
        }
    }

    fn sizing() -> Sizing {
        Sizing {
            share: 0.25,
            vcpus: 4,
            memory_bytes: 16 * GIB,
            peak_no_action: 0.0,
            peak_primary: 0.0,
            peak_shadow: 0.0,
        }
    }

    fn placed(pools: &[Pool], ledger: &Ledger) -> Result<Placement, Vec<Rejected>> {
        place(
            &PlacementInput {
                vm: &vm(),
                sizing: &sizing(),
                pools,
                ledger,
                wanted: None,
            },
            &PlacementPolicy::default(),
        )
    }

    #[test]
    fn the_emptiest_pool_is_taken_and_the_others_have_their_reason() {
        let mut primaries_only = pool("c", 90);
        primaries_only.role = Role::Primary;
        let mut waiting = pool("d", 90);
        waiting.contention = Some(0.25);
        let mut no_disk = pool("e", 90);
        no_disk.storage.truncate(1);
        let mut few_cpus = pool("f", 90);
        few_cpus.cpus = 2;
        let pools = [
            pool("own", 90),
            pool("a", 50),
            pool("b", 60),
            primaries_only,
            waiting,
            no_disk,
            few_cpus,
            pool("g", 25),
        ];
        let placement = placed(&pools, &Ledger::default()).unwrap();
        assert_eq!(placement.pool, PoolId::from("b/b"));
        assert_eq!(placement.storage, "large");
        assert_eq!(
            placement.why,
            "44 % of b's memory stays free, none of its VMs waits for a CPU, and nothing has to move"
        );
        let why = |name: &str| {
            let id = PoolId::new(format!("b/{name}"));
            let found = placement.rejected.iter().find(|entry| entry.pool == id);
            found.unwrap().why.clone()
        };
        assert_eq!(why("own"), "shop-1 runs here: both would fail together");
        assert_eq!(why("a"), "34 % of its memory would stay free, 44 % on b");
        assert_eq!(why("c"), "its source is for primaries only");
        assert_eq!(
            why("d"),
            "its VMs wait for a CPU 25 % of the time, 10 % at most are allowed"
        );
        assert_eq!(why("e"), "13 GiB of disk needed, 1 GiB free after promises");
        assert_eq!(why("f"), "its hosts have 2 CPUs, 4 are needed");
        assert_eq!(
            why("g"),
            "16 GiB of memory needed, 15 GiB free after promises and 10 % of headroom"
        );
        assert_eq!(placement.rejected.len(), pools.len() - 1);
    }

    #[test]
    fn promises_count_and_contention_decides_between_equals() {
        let mut ledger = Ledger::default();
        ledger.hold(Hold {
            operation: "op-1".into(),
            pool: "b/b".into(),
            vcpus: 1,
            memory_bytes: 20 * GIB,
            disk_bytes: GIB,
        });
        let pools = [pool("a", 50), pool("b", 60)];
        assert_eq!(placed(&pools, &ledger).unwrap().pool, PoolId::from("b/a"));

        let mut busy = pool("a", 60);
        busy.contention = Some(0.02);
        let placement = placed(&[busy, pool("z", 60)], &Ledger::default()).unwrap();
        assert_eq!(placement.pool, PoolId::from("b/z"));
        assert_eq!(
            placement.rejected[0].why,
            "as much memory as on z would stay free, but its VMs wait for a CPU 2 % of the time"
        );
    }

    #[test]
    fn a_pool_that_was_asked_for_is_taken_or_refused_with_its_own_reason() {
        let pools = [pool("a", 50), pool("b", 20)];
        let wanted = PoolId::from("b/b");
        let answer = place(
            &PlacementInput {
                vm: &vm(),
                sizing: &sizing(),
                pools: &pools,
                ledger: &Ledger::default(),
                wanted: Some(&wanted),
            },
            &PlacementPolicy::default(),
        );
        let rejected = answer.unwrap_err();
        assert_eq!(rejected[0].why, "another pool was asked for");
        assert!(
            rejected[1]
                .why
                .starts_with("16 GiB of memory needed, 10 GiB")
        );
    }

    proptest! {
        #[test]
        fn no_pool_without_room_is_ever_taken(
            pools in prop::collection::vec(
                (0_u64..120, 0_u64..60, 1_u32..9, prop::option::of(0.0_f64..0.3), 0_u8..3, 0_u64..60),
                0..8,
            ),
            headroom in 0.0_f64..0.5,
        ) {
            let mut ledger = Ledger::default();
            let pools: Vec<_> = pools
                .into_iter()
                .enumerate()
                .map(|(index, (free, disk, cpus, contention, role, held))| {
                    let mut pool = pool(&index.to_string(), free.min(100));
                    pool.cpus = cpus;
                    pool.contention = contention;
                    pool.role = [Role::Primary, Role::Secondary, Role::Both][usize::from(role)];
                    pool.storage[1].available_bytes = disk * GIB;
                    ledger.hold(Hold {
                        operation: OperationId::new(format!("op-{index}")),
                        pool: pool.id.clone(),
                        vcpus: 1,
                        memory_bytes: held * GIB,
                        disk_bytes: held / 4 * GIB,
                    });
                    pool
                })
                .collect();
            let policy = PlacementPolicy { pool_headroom: headroom, max_contention: 0.1 };
            let answer = place(
                &PlacementInput {
                    vm: &vm(),
                    sizing: &sizing(),
                    pools: &pools,
                    ledger: &ledger,
                    wanted: None,
                },
                &policy,
            );
            let rejected = match &answer {
                Ok(placement) => {
                    let taken = pools.iter().find(|pool| pool.id == placement.pool).unwrap();
                    let promised = ledger.memory_bytes(&taken.id) + 16 * GIB;
                    let free = taken.memory_free_bytes as f64 - promised as f64;
                    prop_assert!(free >= taken.memory_bytes as f64 * headroom - 1.0);
                    let storage = taken.storage.iter().find(|s| s.name == placement.storage).unwrap();
                    prop_assert!(storage.available_bytes >= ledger.disk_bytes(&taken.id) + 13 * GIB);
                    prop_assert!(taken.cpus >= 4 && taken.role.takes_shadows());
                    prop_assert!(taken.contention.is_none_or(|contention| contention <= 0.1));
                    prop_assert_ne!(&taken.id, &vm().pool);
                    placement.rejected.len() + 1
                }
                Err(rejected) => rejected.len(),
            };
            prop_assert_eq!(rejected, pools.len(), "every pool is accounted for");
        }
    }
}
