use super::*;
use crate::{inventory::Role, reservation::Hold};

const GIB: u64 = 1 << 30;

/// 128 GiB and 32 CPUs on four hosts, 64 GiB and 24 CPUs free.
fn pool() -> Pool {
    Pool {
        id: PoolId::from("b/pool"),
        name: "pool".to_owned(),
        source: "b".into(),
        role: Role::Secondary,
        hosts: 4,
        cpus: 32,
        memory_bytes: 128 * GIB,
        memory_free_bytes: 64 * GIB,
        cpu_used: Some(0.25),
        contention: None,
        storage: Vec::new(),
        service_address: "127.0.0.1".to_owned(),
    }
}

fn reserved(share: f64) -> Reserved {
    Reserved {
        pool: pool().id,
        share,
        until: None,
        since: Timestamp::from_secs(0),
        by: "ann".to_owned(),
    }
}

fn taken(memory_gib: u64, vcpus: u32, waiting_gib: u64) -> Taken {
    Taken {
        memory_bytes: memory_gib * GIB,
        vcpus,
        waiting_bytes: waiting_gib * GIB,
    }
}

#[test]
fn what_shadows_take_is_no_longer_idle() {
    let idle = room(&reserved(0.25), &pool(), Taken::default());
    assert_eq!((idle.memory_bytes, idle.idle_bytes), (32 * GIB, 32 * GIB));
    assert_eq!((idle.cpus, idle.idle_cpus, idle.short_bytes), (8.0, 8.0, 0));
    assert_eq!(
        idle.n_plus_one,
        NPlusOne::Kept,
        "64 free, 32 kept, 32 a host"
    );
    let used = room(&reserved(0.25), &pool(), taken(24, 6, 0));
    assert_eq!((used.idle_bytes, used.idle_cpus), (8 * GIB, 2.0));
    let over = room(&reserved(0.25), &pool(), taken(48, 16, 0));
    assert_eq!((over.idle_bytes, over.idle_cpus), (0, 0.0));
}

#[test]
fn what_others_took_of_it_is_short() {
    let mut grown = pool();
    grown.memory_free_bytes = 12 * GIB;
    grown.cpu_used = Some(0.875);
    let now = room(&reserved(0.25), &grown, taken(8, 2, 4));
    // Of 12 free 4 belong to a shadow that does not run yet; 24 are kept and idle.
    assert_eq!((now.idle_bytes, now.short_bytes), (24 * GIB, 16 * GIB));
    assert_eq!((now.idle_cpus, now.short_cpus), (6.0, 2.0));
    assert_eq!(now.n_plus_one, NPlusOne::Broken);
}

#[test]
fn only_what_is_there_can_be_reserved() {
    let keep = |share: f64, change: fn(&mut Pool)| {
        let mut pool = pool();
        change(&mut pool);
        can_keep(&reserved(share), &pool, Taken::default(), 0.125)
    };
    assert_eq!(keep(0.25, |_| ()), Ok(()));
    assert_eq!(
        keep(0.26, |_| ()),
        Err(Unkept::HostLoss {
            possible: 0.25,
            host_bytes: 32 * GIB
        })
    );
    assert_eq!(keep(0.375, |pool| pool.hosts = 1), Ok(()));
    assert_eq!(
        keep(0.5, |pool| pool.hosts = 1),
        Err(Unkept::Memory { possible: 0.37 })
    );
    assert_eq!(
        keep(0.25, |pool| pool.cpu_used = Some(0.9)),
        Err(Unkept::Cpus { possible: 0.1 })
    );
    // What shadows have already need not be free once more.
    let had = taken(16, 4, 0);
    assert_eq!(can_keep(&reserved(0.375), &pool(), had, 0.125), Ok(()));
}

#[test]
fn a_pool_of_one_host_has_no_n_plus_one() {
    let mut one = pool();
    one.hosts = 1;
    let now = room(&reserved(0.1), &one, Taken::default());
    assert_eq!(now.n_plus_one, NPlusOne::OneHost);
    assert_eq!(host_bytes(&one), None);
}

fn hold(operation: &str, memory_gib: u64) -> Hold {
    Hold {
        operation: operation.into(),
        pool: pool().id,
        vcpus: 2,
        memory_bytes: memory_gib * GIB,
        disk_bytes: 0,
    }
}

#[test]
fn shadows_get_what_is_reserved_and_no_more() {
    let mut ledger = Ledger::default();
    assert_eq!(
        ledger.keeps(&pool(), 32 * GIB),
        Ok(()),
        "nothing is reserved"
    );
    ledger.reserve(reserved(0.5));
    ledger.reserve(reserved(0.125));
    assert_eq!(ledger.keeps(&pool(), 16 * GIB), Ok(()));
    ledger.hold(hold("op-1", 10));
    assert_eq!(
        ledger.keeps(&pool(), 7 * GIB),
        Err(Shortfall::Reserved {
            needed: 7 * GIB,
            left: 6 * GIB,
            reserved: 16 * GIB
        })
    );
    assert_eq!(ledger.keeps(&pool(), 6 * GIB), Ok(()));
    ledger.release(&"op-1".into());
    assert_eq!(ledger.keeps(&pool(), 16 * GIB), Ok(()));
    assert_eq!(ledger.give_up(&pool().id).map(|was| was.share), Some(0.125));
    assert_eq!(ledger.give_up(&pool().id), None);
}

#[test]
fn a_lost_host_must_find_room() {
    let ledger = Ledger::default();
    assert_eq!(
        ledger.keeps(&pool(), 33 * GIB),
        Err(Shortfall::HostLoss {
            needed: 33 * GIB,
            free: 64 * GIB,
            host: 32 * GIB
        })
    );
    let mut one = pool();
    one.hosts = 1;
    assert_eq!(ledger.keeps(&one, 33 * GIB), Ok(()));
}

#[test]
fn it_ends_at_its_moment() {
    let mut ending = reserved(0.1);
    assert!(!ending.has_ended(Timestamp::from_secs(i64::from(u32::MAX))));
    ending.until = Some(Timestamp::from_secs(60));
    assert!(!ending.has_ended(Timestamp::from_secs(59)));
    assert!(ending.has_ended(Timestamp::from_secs(60)));
}
