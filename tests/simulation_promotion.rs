//! A shadow takes its primary's place and gives it back, on the simulated fleet: engines that die before and after every
//! effect, verbs that fail, sources that are gone, primaries that come back. Never do both sides run.

use std::{sync::Arc, time::Duration};

use shadowcast::{
    engine::{
        command::{Answer, Command},
        simulate::{Death, Died, Life, Simulation},
        snapshot::{OperationState, ShadowState, ShadowView, Snapshot},
    },
    hypervisor::{
        PlatformError,
        simulated::{Clock as _, FaultKind, FaultRule, FleetSpec, Verb},
    },
    inventory::PowerState,
    policy::{AtExpiry, Settings},
    problem::Problem,
    shadow::{CheckOutcome, PlanKind, Proposal},
    units::{Timestamp, VmId},
};

const START: Timestamp = Timestamp::from_secs(1_795_356_000);
const VM: &str = "checkout-api-07";

fn world_with(settings: Settings) -> Simulation {
    Simulation::new(FleetSpec::demo(60, 7), settings, START).unwrap()
}

fn world() -> Simulation {
    let mut settings = Settings::default();
    // Nothing else is to be proposed, and forecasts are most of the work.
    settings.forecast.min_probability = 1.0;
    settings.forecast.refresh_seconds = 86_400;
    settings.health.threshold = 0;
    world_with(settings)
}

fn alive<T>(lived: Result<T, Died>) -> T {
    lived.unwrap_or_else(|Died| panic!("this engine was not told to die"))
}

fn proposed(reply: Result<Answer, Problem>) -> Result<Arc<Proposal>, Problem> {
    match reply? {
        Answer::Proposal { proposal } => Ok(proposal),
        other => panic!("a plan was asked for: {other:?}"),
    }
}

/// Asks for a plan, approves it and waits for its end.
fn carry_out(life: &mut Life<'_>, command: Command) -> Result<Result<(), Problem>, Died> {
    let proposal = match proposed(life.ask(command)?) {
        Ok(proposal) => proposal,
        Err(problem) => return Ok(Err(problem)),
    };
    let reply = life.ask(Command::Approve {
        proposal: proposal.id.clone(),
        digest: proposal.digest.clone(),
        by: "operator".to_owned(),
    })?;
    if let Err(problem) = reply {
        return Ok(Err(problem));
    }
    assert!(life.rest()?, "an operation never ends");
    Ok(Ok(()))
}

/// A shadow that replicates, by an engine that is not told to die.
fn create(world: &Simulation, share: f64) {
    let mut life = world.start(Death::Never).unwrap();
    alive(life.run(Duration::from_secs(30)));
    let command = Command::ShadowPropose {
        vm: VmId::new(VM),
        pool: None,
        rpo_seconds: None,
        share: Some(share),
    };
    alive(carry_out(&mut life, command)).unwrap();
    // Some cycles: the points that the shadow was defined on are not the newest any more.
    alive(life.run(Duration::from_secs(130)));
    assert!(alive(life.rest()));
}

fn the_shadow(now: &Snapshot) -> &ShadowView {
    now.shadows.first().expect("the shadow stands")
}

fn promote(life: &mut Life<'_>) -> Result<Result<(), Problem>, Died> {
    let shadow = the_shadow(&life.snapshot()).id.clone();
    carry_out(
        life,
        Command::ShadowPromote {
            shadow,
            point: None,
            attest_fenced: None,
        },
    )
}

fn roll_back(life: &mut Life<'_>) -> Result<Result<(), Problem>, Died> {
    let shadow = the_shadow(&life.snapshot()).id.clone();
    carry_out(life, Command::ShadowRollback { shadow })
}

fn retire(life: &mut Life<'_>) {
    let shadow = the_shadow(&life.snapshot()).id.clone();
    alive(carry_out(life, Command::ShadowRetire { shadow })).unwrap();
}

/// The newest inventory and balancer readings are in.
fn look(life: &mut Life<'_>) -> Snapshot {
    alive(life.run(Duration::from_secs(40)));
    assert!(alive(life.rest()));
    life.snapshot()
}

fn shadow_runs(world: &Simulation, now: &Snapshot) -> bool {
    let name = the_shadow(now).name.clone();
    let found = now.vms.iter().find(|view| view.vm.name == name);
    let _ = world;
    found.is_some_and(|view| view.vm.state == PowerState::Running)
}

fn weights(now: &Snapshot) -> (u16, Option<u16>) {
    let primary = vm_id(now);
    let service = (now.services.iter())
        .find(|service| {
            service
                .service
                .members
                .iter()
                .any(|member| member.vm == primary)
        })
        .expect("the VM serves");
    let primary = (service.servers.iter())
        .find(|server| server.vm.as_ref() == Some(&primary))
        .unwrap();
    let shadow = service.servers.iter().find(|server| server.vm.is_none());
    (primary.weight.0, shadow.map(|server| server.weight.0))
}

fn vm_id(now: &Snapshot) -> VmId {
    let found = now.vms.iter().find(|view| view.vm.name == VM);
    found.expect("the VM is known").vm.id.clone()
}

/// What the promoted VM started from is what the primary's disks hold, since they stand still.
fn assert_nothing_was_lost(world: &Simulation, now: &Snapshot) {
    let shadow = the_shadow(now);
    let point = shadow.points.last().expect("a point");
    for (layer, disk) in point.layers.iter().zip(["vda", "vdb"]) {
        let compared = world
            .fleet
            .compare(&shadow.vm, disk, world.clock.now(), &shadow.pool, layer)
            .unwrap();
        assert!(compared.identical(), "{disk}: {compared:?}");
    }
}

fn assert_promoted(world: &Simulation, now: &Snapshot, at: &str) {
    assert_eq!(world.fleet.power_of(&vm_id(now)), PowerState::Off, "{at}");
    assert!(
        shadow_runs(world, now),
        "{at}: the promoted VM does not run"
    );
    let (primary, shadow) = weights(now);
    assert_eq!((primary, shadow), (0, Some(100)), "{at}");
    assert_nothing_was_lost(world, now);
}

fn assert_as_before(world: &Simulation, now: &Snapshot, at: &str) {
    assert_eq!(
        world.fleet.power_of(&vm_id(now)),
        PowerState::Running,
        "{at}"
    );
    assert!(!shadow_runs(world, now), "{at}: the shadow runs as well");
    assert_eq!(weights(now).0, 100, "{at}");
    let marks: Vec<_> = (world.fleet.leftovers(&world.engine).into_iter())
        .filter(|owned| owned.kind == "mark")
        .collect();
    assert_eq!(marks, [], "{at}: the primary still bears the mark");
}

#[test]
fn a_shadow_is_promoted_rolled_back_and_retired() {
    let world = world();
    create(&world, 0.0);
    let mut life = world.start(Death::Never).unwrap();
    look(&mut life);
    alive(promote(&mut life)).unwrap();
    let now = look(&mut life);
    assert_promoted(&world, &now, "promoted");
    let shadow = the_shadow(&now);
    assert_eq!(shadow.state, ShadowState::Promoted);
    let window = shadow.promotion.as_ref().unwrap();
    assert_eq!(window.until.secs_since(window.at), 1800);

    // What would take it for a shadow is refused.
    let id = shadow.id.clone();
    let points = shadow.points.len();
    for command in [
        Command::ShadowRetire { shadow: id.clone() },
        Command::ShadowSync { shadow: id.clone() },
    ] {
        let refused = alive(life.ask(command)).unwrap_err();
        assert!(refused.why.contains("primary's place"), "{refused:?}");
    }
    alive(life.run(Duration::from_mins(5)));
    let now = life.snapshot();
    assert_eq!(
        the_shadow(&now).points.len(),
        points,
        "nothing is replicated"
    );

    let plan = proposed(alive(life.ask(Command::ShadowRollback { shadow: id }))).unwrap();
    assert!(
        plan.plan.cost[0].contains("is lost"),
        "{:?}",
        plan.plan.cost
    );
    alive(roll_back(&mut life)).unwrap();
    let now = look(&mut life);
    assert_as_before(&world, &now, "rolled back");
    alive(life.run(Duration::from_mins(3)));
    let now = life.snapshot();
    assert_eq!(the_shadow(&now).state, ShadowState::Replicating);
    assert!(
        the_shadow(&now).points.last().unwrap().depth > 0,
        "increments go on"
    );
    retire(&mut life);
    assert_eq!(world.fleet.leftovers(&world.engine), []);
    assert_eq!(world.fleet.violations(), [""; 0]);
}

#[test]
fn a_serving_shadow_is_promoted_too_and_its_own_writes_go_no_further() {
    let world = world();
    create(&world, 0.2);
    let mut life = world.start(Death::Never).unwrap();
    assert!(weights(&look(&mut life)).1.is_some());
    alive(promote(&mut life)).unwrap();
    let now = look(&mut life);
    assert_promoted(&world, &now, "promoted");
    alive(roll_back(&mut life)).unwrap();
    let now = look(&mut life);
    assert_as_before(&world, &now, "rolled back");
    retire(&mut life);
    assert_eq!(world.fleet.leftovers(&world.engine), []);
    assert_eq!(world.fleet.violations(), [""; 0]);
}

#[test]
fn an_engine_that_dies_anywhere_never_leaves_both_sides_running() {
    let (before, effects) = {
        let world = world();
        create(&world, 0.0);
        let mut life = world.start(Death::Never).unwrap();
        look(&mut life);
        let before = life.effects;
        alive(promote(&mut life)).unwrap();
        alive(roll_back(&mut life)).unwrap();
        (before, life.effects)
    };
    assert!(effects > before + 40, "{before} {effects}");
    std::thread::scope(|scope| {
        // Each death is a world of its own: half of them on each of two threads.
        for first in [before, before + 1] {
            scope.spawn(move || {
                for n in (first..=effects).step_by(2) {
                    die_and_carry_on(Death::Before(n));
                    die_and_carry_on(Death::After(n));
                }
            });
        }
    });
}

fn die_and_carry_on(death: Death) {
    let at = format!("{death:?}");
    let world = world();
    create(&world, 0.0);
    {
        let mut first = world.start(death).unwrap();
        let lived = first
            .run(Duration::from_secs(40))
            .and_then(|()| first.rest().map(drop))
            .and_then(|()| promote(&mut first).map(drop))
            .and_then(|()| roll_back(&mut first).map(drop));
        if lived.is_ok() {
            return;
        }
    }
    let mut second = world.start(Death::Never).unwrap();
    assert!(alive(second.rest()), "{at}: the next engine never rests");
    let now = look(&mut second);
    assert_eq!(world.fleet.violations(), [""; 0], "{at}");
    let newest = (now.operations.iter())
        .find(|operation| matches!(operation.kind, PlanKind::Promote | PlanKind::Rollback))
        .map(|operation| (operation.kind, operation.state));
    match newest {
        None
        | Some(
            (PlanKind::Promote, OperationState::Undone)
            | (PlanKind::Rollback, OperationState::Done),
        ) => assert_as_before(&world, &now, &at),
        Some(
            (PlanKind::Promote, OperationState::Done)
            | (PlanKind::Rollback, OperationState::Undone),
        ) => {
            assert_promoted(&world, &now, &at);
            alive(roll_back(&mut second)).unwrap_or_else(|problem| panic!("{at}: {problem}"));
        }
        other => panic!("{at}: {other:?}"),
    }
    retire(&mut second);
    assert_eq!(world.fleet.leftovers(&world.engine), [], "{at}");
    assert_eq!(world.fleet.violations(), [""; 0], "{at}");
}

#[test]
fn a_verb_that_fails_leaves_one_side_serving() {
    let failed = || PlatformError::Changed {
        what: "simulated".to_owned(),
        why: "told to fail".to_owned(),
    };
    for verb in [
        Verb::EnsurePaused,
        Verb::EnsureIncrement,
        Verb::EnsureLayer,
        Verb::EnsureFenced,
        Verb::EnsureShadow,
        Verb::EnsurePower,
        Verb::EnsureServer,
        Verb::EnsureWeights,
    ] {
        for kind in [
            FaultKind::FailBefore(failed()),
            FaultKind::FailMidway(failed()),
            FaultKind::FailAfter(failed()),
        ] {
            let at = format!("{verb:?} {kind:?}");
            let world = world();
            create(&world, 0.0);
            let mut life = world.start(Death::Never).unwrap();
            look(&mut life);
            world.fleet.fault(FaultRule::next(verb, kind));
            alive(promote(&mut life)).unwrap();
            let now = look(&mut life);
            let operation = &now.operations[0];
            match operation.state {
                OperationState::Done => assert_promoted(&world, &now, &at),
                OperationState::Undone => assert_as_before(&world, &now, &at),
                // Past the point of no return it asks, and goes on.
                OperationState::Parked => {
                    assert_eq!(verb, Verb::EnsureWeights, "{at}: {:?}", operation.why);
                    assert_eq!(world.fleet.power_of(&vm_id(&now)), PowerState::Off, "{at}");
                    let resumed = alive(life.ask(Command::OperationResume {
                        operation: operation.id.clone(),
                        by: "operator".to_owned(),
                    }));
                    assert!(resumed.is_ok(), "{at}: {resumed:?}");
                    assert_promoted(&world, &look(&mut life), &at);
                }
                other => panic!("{at}: {other:?}, {:?}", operation.why),
            }
            assert_eq!(world.fleet.violations(), [""; 0], "{at}");
        }
    }
}

#[test]
fn lost_contact_alone_never_promotes_and_a_word_does_with_what_is_lost_recorded() {
    let world = world();
    create(&world, 0.0);
    let mut life = world.start(Death::Never).unwrap();
    let now = look(&mut life);
    let (vm, shadow) = (vm_id(&now), the_shadow(&now).id.clone());
    // While it answers no word is needed, and none is taken.
    let said = Some("The host's power is cut, seen at the rack.".to_owned());
    let attested = |attest_fenced| Command::ShadowPromote {
        shadow: shadow.clone(),
        point: None,
        attest_fenced,
    };
    assert!(alive(carry_out(&mut life, attested(said.clone()))).is_err());

    world
        .fleet
        .set_unreachable(&vm.source(), Some("no route to host"));
    alive(life.run(Duration::from_mins(2)));
    let plan = proposed(alive(life.ask(attested(None)))).unwrap();
    assert!(
        plan.checks
            .iter()
            .any(|check| check.outcome == CheckOutcome::Blocks)
    );
    assert!(alive(carry_out(&mut life, attested(None))).is_err());
    assert_eq!(
        world.fleet.power_of(&vm),
        PowerState::Running,
        "nobody touched it"
    );

    let plan = proposed(alive(life.ask(attested(said.clone())))).unwrap();
    assert!(
        plan.plan.cost[0].contains("is lost"),
        "{:?}",
        plan.plan.cost
    );
    alive(carry_out(&mut life, attested(said.clone()))).unwrap();
    alive(life.run(Duration::from_secs(40)));
    let now = life.snapshot();
    let promotion = the_shadow(&now).promotion.clone().unwrap();
    assert_eq!(promotion.attestation, said);
    assert!(promotion.lost_seconds.unwrap() >= 120, "{promotion:?}");
    assert_eq!(weights(&now), (0, Some(100)));
    assert_eq!(
        world.fleet.power_of(&vm),
        PowerState::Running,
        "out of reach"
    );

    // Its host is back, and it runs: it is stopped at first contact, and that is said.
    world.fleet.set_unreachable(&vm.source(), None);
    let now = look(&mut life);
    assert_eq!(world.fleet.power_of(&vm), PowerState::Off);
    assert!(shadow_runs(&world, &now));
    assert!(
        now.timeline
            .iter()
            .any(|entry| entry.bad && entry.text.contains("stands in its place"))
    );
    assert_eq!(world.fleet.violations(), [""; 0]);
}

#[test]
fn a_primary_that_somebody_starts_is_stopped_again() {
    let world = world();
    create(&world, 0.0);
    let mut life = world.start(Death::Never).unwrap();
    look(&mut life);
    alive(promote(&mut life)).unwrap();
    let now = look(&mut life);
    let vm = vm_id(&now);
    for _ in 0..2 {
        world.fleet.set_power(&vm, PowerState::Running);
        alive(life.run(Duration::from_mins(2)));
        assert!(alive(life.rest()));
        assert_eq!(world.fleet.power_of(&vm), PowerState::Off);
    }
    let now = life.snapshot();
    let guarded = (now.operations.iter()).filter(|operation| operation.kind == PlanKind::Guard);
    assert!(guarded.count() >= 2);
}

#[test]
fn a_window_that_ends_asks_and_rolls_nothing_back() {
    for at_expiry in [AtExpiry::Ask, AtExpiry::Commit] {
        let mut settings = world().settings;
        settings.promotion.commit_window_seconds = 300;
        settings.promotion.at_expiry = at_expiry;
        let world = world_with(settings);
        create(&world, 0.0);
        let mut life = world.start(Death::Never).unwrap();
        look(&mut life);
        alive(promote(&mut life)).unwrap();
        alive(life.run(Duration::from_mins(12)));
        let now = look(&mut life);
        assert_promoted(&world, &now, "after the window");
        let shadow = the_shadow(&now).clone();
        let asks = now
            .alarms
            .iter()
            .any(|alarm| alarm.text.contains("commit window"));
        if at_expiry == AtExpiry::Commit {
            assert_eq!(shadow.state, ShadowState::Committed);
            let refused = alive(roll_back(&mut life)).unwrap_err();
            assert!(refused.why.contains("committed"), "{refused:?}");
            assert!(!asks);
        } else {
            assert_eq!(shadow.state, ShadowState::Promoted);
            assert!(asks, "{:?}", now.alarms);
            assert!(
                now.proposals
                    .iter()
                    .any(|proposal| proposal.plan.kind == PlanKind::Commit)
            );
            let command = Command::ShadowCommit { shadow: shadow.id };
            alive(carry_out(&mut life, command)).unwrap();
            assert_eq!(the_shadow(&life.snapshot()).state, ShadowState::Committed);
        }
    }
}
