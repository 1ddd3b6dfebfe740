//! Engines that die before and after every effect of creating and retiring a shadow, on the simulated fleet.

#[path = "simulation/refresh.rs"]
mod refresh;

use std::time::Duration;

use shadowcast::{
    engine::{
        command::{Answer, Command},
        simulate::{Death, Died, Life, Simulation},
        snapshot::{OperationState, Snapshot},
    },
    hypervisor::simulated::FleetSpec,
    policy::Settings,
    problem::Problem,
    shadow::PlanKind,
    units::{ProposalId, ShadowId, Timestamp},
};

/// 14:00 UTC on a Sunday; the fleet's stories count from its start, so any would do.
const START: Timestamp = Timestamp::from_secs(1_795_356_000);
const VM: &str = "checkout-api-07";

fn world() -> Simulation {
    let settings = Settings::default();
    Simulation::new(FleetSpec::demo(60, 7), settings, START).unwrap()
}

/// Creates a shadow that serves, as an operator does: waits for the fleet's own proposal and approves it.
fn create(life: &mut Life<'_>) -> Result<(), Died> {
    let proposal = life
        .await_proposal(|proposal| proposal.plan.vm_name == VM)?
        .expect("the fleet's story asks for a shadow");
    assert!(proposal.sizing.share > 0.0, "{proposal:?}");
    let reply = life.ask(Command::Approve {
        proposal: proposal.id.clone(),
        digest: proposal.digest.clone(),
        by: "operator".to_owned(),
    })?;
    assert!(matches!(reply, Ok(Answer::Started { .. })), "{reply:?}");
    assert!(life.rest()?, "an operation never ends");
    Ok(())
}

fn retire(life: &mut Life<'_>) -> Result<Result<(), Problem>, Died> {
    let Some(shadow) = life
        .snapshot()
        .shadows
        .first()
        .map(|shadow| shadow.id.clone())
    else {
        return Ok(Ok(()));
    };
    match plan_retirement(life, &shadow)? {
        Err(problem) => Ok(Err(problem)),
        Ok((id, digest)) => {
            let by = "operator".to_owned();
            let reply = life.ask(Command::Approve {
                proposal: id,
                digest,
                by,
            })?;
            if let Err(problem) = reply {
                return Ok(Err(problem));
            }
            assert!(life.rest()?, "a retirement never ends");
            Ok(Ok(()))
        }
    }
}

fn plan_retirement(
    life: &mut Life<'_>,
    shadow: &ShadowId,
) -> Result<Result<(ProposalId, shadowcast::units::Digest), Problem>, Died> {
    let reply = life.ask(Command::ShadowRetire {
        shadow: shadow.clone(),
    })?;
    Ok(match reply {
        Ok(Answer::Proposal { proposal }) => Ok((proposal.id.clone(), proposal.digest.clone())),
        Ok(other) => panic!("a plan was asked for: {other:?}"),
        Err(problem) => Err(problem),
    })
}

fn alive<T>(lived: Result<T, Died>) -> T {
    lived.unwrap_or_else(|Died| panic!("this engine was not told to die"))
}

/// Every operation has ended or asks; what stands on the platforms is what the engine says stands.
fn check_consistent(world: &Simulation, now: &Snapshot, at: &str) {
    for operation in &now.operations {
        assert!(
            matches!(
                operation.state,
                OperationState::Done | OperationState::Undone | OperationState::Parked
            ),
            "{at}: {} is {:?}",
            operation.id,
            operation.state
        );
    }
    let creates = now
        .operations
        .iter()
        .filter(|operation| {
            operation.kind == PlanKind::Create && operation.state == OperationState::Done
        })
        .count();
    assert!(creates <= 1, "{at}: the shadow was made {creates} times");
    if now.shadows.is_empty() {
        assert_eq!(
            world.fleet.leftovers(&world.engine),
            [],
            "{at}: something was left over"
        );
    }
}

/// How many effects a whole undisturbed life of a shadow has: until it serves, until it is gone.
fn undisturbed() -> (u32, u32) {
    let world = world();
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    let created = life.effects;
    // The share is read back from the balancer, which is asked each second.
    alive(life.run(Duration::from_secs(3)));
    let now = life.snapshot();
    let shadow = now.shadows.first().expect("the shadow stands");
    assert!(shadow.traffic_share > 0.0, "{shadow:?}");
    alive(retire(&mut life)).unwrap();
    assert_eq!(world.fleet.leftovers(&world.engine), []);
    (created, life.effects)
}

#[test]
fn a_shadow_lives_and_goes_without_a_trace() {
    let (created, gone) = undisturbed();
    assert!(created > 20 && gone > created, "{created} {gone}");
}

#[test]
fn an_engine_that_dies_anywhere_is_carried_on_by_the_next() {
    let (_, effects) = undisturbed();
    // Each death is a world of its own: half of them on each of two threads.
    std::thread::scope(|scope| {
        for first in 1..=2 {
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
    {
        let mut first = world.start(death).unwrap();
        let lived = create(&mut first).and_then(|()| retire(&mut first).map(drop));
        if lived.is_ok() {
            // The clock differs a little from run to run of other plans; nothing died, nothing to show.
            return;
        }
    }
    let mut second = world.start(Death::Never).unwrap();
    assert!(
        alive(second.rest()),
        "{at}: the next engine never comes to rest"
    );
    alive(second.run(Duration::from_secs(90)));
    assert!(alive(second.rest()), "{at}: cycles never rest");
    let now = second.snapshot();
    check_consistent(&world, &now, &at);
    let parked = now
        .operations
        .iter()
        .any(|operation| operation.state == OperationState::Parked);
    assert!(!parked, "{at}: parked although every platform answers");
    if let Err(problem) = alive(retire(&mut second)) {
        panic!("{at}: {problem}");
    }
    assert_eq!(
        world.fleet.leftovers(&world.engine),
        [],
        "{at}: something was left over"
    );
}
