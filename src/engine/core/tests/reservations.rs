//! What is kept for shadows: set, respected, ended, and there again after a start.

use super::*;
use crate::{
    problem::{Problem, ProblemKind},
    reservation::NPlusOne,
};

fn reserve(share: f64, until: Option<Timestamp>) -> Command {
    Command::Reserve {
        pool: pool("b").id,
        share,
        until,
        by: "ann".to_owned(),
    }
}

fn propose(pool: Option<PoolId>) -> Command {
    Command::ShadowPropose {
        vm: vm().id,
        pool,
        rpo_seconds: None,
        share: None,
    }
}

fn said(reply: Option<Reply>) -> String {
    match reply {
        Some(Ok(Answer::Done { text })) => text,
        other => panic!("{other:?}"),
    }
}

fn refused(reply: Option<Reply>) -> Problem {
    match reply {
        Some(Err(problem)) => problem,
        other => panic!("{other:?}"),
    }
}

impl Fleet {
    /// What is to be kept of it.
    fn documents(&mut self, command: Command) -> Vec<Document> {
        let at = self.now();
        let to = ReplyTo(1);
        let effects = self.core.apply(at, Input::Command { to, command });
        let kept = effects.into_iter().filter_map(|effect| match effect {
            Effect::Put(document) => Some(document),
            _ => None,
        });
        kept.collect()
    }

    fn reservations(&mut self) -> Vec<crate::engine::snapshot::ReservationView> {
        let at = self.now();
        self.core.snapshot(at).reservations
    }

    fn change_pool(&mut self, change: impl FnOnce(&mut Pool)) {
        change(self.core.pools.get_mut(&pool("b").id).unwrap());
    }
}

#[test]
fn a_part_of_a_pool_is_kept_shown_and_released() {
    let mut fleet = Fleet::new();
    let (reply, to_do) = fleet.ask(reserve(0.25, None));
    assert_eq!(
        said(reply),
        "25 % of host reserved for shadows by ann: 16 GiB of memory and 4.0 CPUs, of which 16 GiB and 4.0 stand \
         idle; the pool has one host, so that N+1 cannot be had"
    );
    assert!(to_do.is_empty(), "a soft reservation touches no platform");
    let [view] = &fleet.reservations()[..] else {
        panic!("one is shown");
    };
    let room = view.room.unwrap();
    assert_eq!((room.idle_bytes, room.taken_bytes), (16 * GIB, 0));
    assert_eq!(room.n_plus_one, NPlusOne::OneHost);
    assert!(view.users.is_empty());

    let pool = pool("b").id;
    let by = "mo".to_owned();
    let release = || Command::ReserveRelease {
        pool: pool.clone(),
        by: by.clone(),
    };
    assert!(said(fleet.ask(release()).0).contains("released by mo"));
    assert_eq!(fleet.reservations(), []);
    let problem = refused(fleet.ask(release()).0);
    assert_eq!(problem.kind, ProblemKind::Failed);
}

#[test]
fn what_is_not_there_is_not_reserved() {
    let mut fleet = Fleet::new();
    // 60 of 64 GiB are free, and 6.4 stay headroom.
    let problem = refused(fleet.ask(reserve(0.9, None)).0);
    assert_eq!(problem.kind, ProblemKind::Refused);
    assert_eq!(problem.next, "At most 83 % can be kept there now.");
    fleet.change_pool(|pool| pool.hosts = 2);
    let problem = refused(fleet.ask(reserve(0.5, None)).0);
    assert!(problem.why.contains("lose one of its 2 hosts"), "{problem}");
    assert_eq!(problem.next, "At most 43 % can be kept there now.");
    assert!(said(fleet.ask(reserve(0.43, None)).0).contains("43 %"));
    for share in [0.0, -0.1, 1.1, f64::NAN] {
        let problem = refused(fleet.ask(reserve(share, None)).0);
        assert_eq!(problem.kind, ProblemKind::Usage, "{share}");
    }
    let over = fleet.now();
    let problem = refused(fleet.ask(reserve(0.1, Some(over))).0);
    assert_eq!(problem.kind, ProblemKind::Usage);
    fleet.change_pool(|pool| pool.role = Role::Primary);
    let problem = refused(fleet.ask(reserve(0.1, None)).0);
    assert!(problem.why.contains("primaries only"), "{problem}");
    let kept = fleet.reservations()[0].reserved.share;
    assert!((kept - 0.43).abs() < 1e-9, "the last that held: {kept}");
}

#[test]
fn a_shadow_gets_what_is_reserved_and_no_more() {
    let mut fleet = Fleet::new();
    fleet.step(false, 1.0);
    // 1 % of 64 GiB is less than the VM's 1 GiB.
    said(fleet.ask(reserve(0.01, None)).0);
    let problem = refused(fleet.ask(propose(None)).0);
    let wanted = "left of 655.4 MiB that are reserved for shadows";
    assert!(problem.why.contains(wanted), "{problem}");
    said(fleet.ask(reserve(0.1, None)).0);
    let (reply, _) = fleet.ask(propose(None));
    let Some(Ok(Answer::Proposal { proposal })) = reply else {
        panic!("{reply:?}");
    };
    let placed = proposal.placement.as_ref().unwrap();
    assert!(placed.why.contains("room is reserved"), "{}", placed.why);
    let says = |wanted: &str| {
        proposal
            .checks
            .iter()
            .any(|check| check.text.contains(wanted))
    };
    assert!(
        says("Takes 1 GiB of 6.4 GiB that are reserved"),
        "{:?}",
        proposal.checks
    );

    // The plan stands; what it relies on no longer does.
    assert_eq!(
        fleet.core.unmet(&proposal.plan, Timestamp(0)).len(),
        2,
        "both are read-only"
    );
    said(fleet.ask(reserve(0.01, None)).0);
    let unmet = fleet.core.unmet(&proposal.plan, Timestamp(0));
    assert!(unmet.iter().any(|why| why.contains(wanted)), "{unmet:?}");
}

#[test]
fn what_a_shadow_took_is_no_longer_idle_and_what_others_took_is_an_alarm() {
    let mut fleet = Fleet::new();
    said(fleet.ask(reserve(0.25, None)).0);
    fleet.core.ledger.hold(crate::reservation::Hold {
        operation: "op-1".into(),
        pool: pool("b").id,
        vcpus: 2,
        memory_bytes: 12 * GIB,
        disk_bytes: 0,
    });
    let room = fleet.reservations()[0].room.unwrap();
    assert_eq!((room.taken_bytes, room.idle_bytes), (12 * GIB, 4 * GIB));
    let at = fleet.now();
    assert_eq!(fleet.core.snapshot(at).alarms, []);
    fleet.change_pool(|pool| pool.memory_free_bytes = GIB);
    let alarms = fleet.core.snapshot(at).alarms;
    assert_eq!(
        alarms[0].text,
        "3 GiB of what is reserved for shadows in host is in use by others"
    );
}

#[test]
fn a_reservation_survives_a_start_and_ends_at_its_moment() {
    let mut fleet = Fleet::new();
    let until = fleet.now().plus_secs(25);
    let documents = fleet.documents(reserve(0.1, Some(until)));
    let [Document::Reserved(reserved)] = &documents[..] else {
        panic!("{documents:?}");
    };
    let kept = Kept {
        reserved: vec![(**reserved).clone()],
        ..Kept::default()
    };
    fleet.core = Core::new("e".into(), Settings::default(), false, 1, kept);
    let [view] = &fleet.reservations()[..] else {
        panic!("one is kept");
    };
    assert_eq!(
        (view.reserved.share, view.room),
        (0.1, None),
        "no pool is read yet"
    );
    fleet.second += 24;
    fleet.put(Input::Tick);
    assert_eq!(fleet.reservations().len(), 1);
    fleet.second += 1;
    fleet.put(Input::Tick);
    assert_eq!(fleet.reservations(), []);
    assert_eq!(fleet.told.last().unwrap(), "Reservation in b/host ended");
}
