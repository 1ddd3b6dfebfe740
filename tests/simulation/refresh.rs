//! A serving shadow is taken to a newer point: what it wrote goes, its share comes back, whatever dies on the way.

use shadowcast::{
    engine::snapshot::ShadowView,
    hypervisor::{
        PlatformError,
        simulated::{FaultKind, FaultRule, Verb},
    },
};

use super::*;

/// Until points newer than the one that it stands on are there.
fn serve_a_while(life: &mut Life<'_>) -> Result<(), Died> {
    create(life)?;
    life.run(Duration::from_secs(150))?;
    assert!(life.rest()?, "cycles never rest");
    Ok(())
}

fn shadow(life: &mut Life<'_>) -> ShadowView {
    life.snapshot().shadows.first().expect("it stands").clone()
}

fn plan(life: &mut Life<'_>, point: Option<u64>) -> Result<Result<Answer, Problem>, Died> {
    let shadow = shadow(life).id;
    life.ask(Command::ShadowRefresh { shadow, point })
}

fn refresh(life: &mut Life<'_>) -> Result<(), Died> {
    let reply = plan(life, None)?;
    let Ok(Answer::Proposal { proposal }) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(proposal.plan.kind, PlanKind::Refresh);
    let said = &proposal.plan.cost[0];
    assert!(said.contains("is discarded"), "{said}");
    let reply = life.ask(Command::Approve {
        proposal: proposal.id.clone(),
        digest: proposal.digest.clone(),
        by: "operator".to_owned(),
    })?;
    assert!(matches!(reply, Ok(Answer::Started { .. })), "{reply:?}");
    assert!(life.rest()?, "a refresh never ends");
    // The share is read back from the balancer, which is asked each second.
    life.run(Duration::from_secs(3))
}

fn newest(view: &ShadowView) -> u64 {
    view.points.last().expect("points").number
}

fn ended(life: &mut Life<'_>, state: OperationState) -> bool {
    let operations = life.snapshot().operations;
    let mut refreshes = (operations.iter()).filter(|known| known.kind == PlanKind::Refresh);
    refreshes.next().is_some_and(|known| known.state == state)
}

#[test]
fn a_refresh_takes_it_to_the_newest_point_and_gives_its_share_back() {
    let world = world();
    let mut life = world.start(Death::Never).unwrap();
    alive(serve_a_while(&mut life));
    let before = shadow(&mut life);
    let wanted = newest(&before);
    assert!(before.serving_from < Some(wanted), "{before:?}");
    let unknown = alive(plan(&mut life, Some(9_999))).unwrap_err();
    assert!(unknown.why.contains("no such recovery point"), "{unknown}");
    let same = alive(plan(&mut life, before.serving_from)).unwrap_err();
    assert!(same.why.contains("already"), "{same}");

    alive(refresh(&mut life));
    assert!(ended(&mut life, OperationState::Done));
    let after = shadow(&mut life);
    assert_eq!(after.serving_from, Some(wanted));
    assert!(before.traffic_share > 0.0);
    assert!((after.traffic_share - before.traffic_share).abs() < 1e-9);
    alive(retire(&mut life)).unwrap();
    assert_eq!(world.fleet.leftovers(&world.engine), [], "old overlays too");
    assert_eq!(world.fleet.violations(), [""; 0]);
}

#[test]
fn a_refresh_that_fails_lets_it_serve_as_before() {
    let world = world();
    let mut life = world.start(Death::Never).unwrap();
    alive(serve_a_while(&mut life));
    let before = shadow(&mut life);
    let error = PlatformError::NoSpace {
        place: "the pool".to_owned(),
    };
    world.fleet.fault(FaultRule::next(
        Verb::EnsureOverlays,
        FaultKind::FailBefore(error),
    ));
    alive(refresh(&mut life));
    assert!(ended(&mut life, OperationState::Undone));
    let after = shadow(&mut life);
    assert_eq!(after.serving_from, before.serving_from);
    assert!((after.traffic_share - before.traffic_share).abs() < 1e-9);
    alive(retire(&mut life)).unwrap();
    assert_eq!(world.fleet.leftovers(&world.engine), []);
    assert_eq!(world.fleet.violations(), [""; 0]);
}

#[test]
fn an_engine_that_dies_during_a_refresh_is_carried_on_by_the_next() {
    let (from, to) = {
        let world = world();
        let mut life = world.start(Death::Never).unwrap();
        alive(serve_a_while(&mut life));
        let from = life.effects;
        alive(refresh(&mut life));
        (from, life.effects)
    };
    assert!(to > from + 10, "{from} {to}");
    for death in (from + 1..=to).flat_map(|n| [Death::Before(n), Death::After(n)]) {
        die_in_refresh(death);
    }
}

fn die_in_refresh(death: Death) {
    let at = format!("{death:?}");
    let world = world();
    {
        let mut first = world.start(death).unwrap();
        if serve_a_while(&mut first)
            .and_then(|()| refresh(&mut first))
            .is_ok()
        {
            return;
        }
    }
    let mut second = world.start(Death::Never).unwrap();
    assert!(alive(second.rest()), "{at}: it never comes to rest");
    alive(second.run(Duration::from_secs(5)));
    assert!(alive(second.rest()), "{at}: cycles never rest");
    check_consistent(&world, &second.snapshot(), &at);
    let view = shadow(&mut second);
    assert!(view.serving_from.is_some(), "{at}: {view:?}");
    assert!(view.traffic_share > 0.0, "{at}: {view:?}");
    if let Err(problem) = alive(retire(&mut second)) {
        panic!("{at}: {problem}");
    }
    assert_eq!(world.fleet.leftovers(&world.engine), [], "{at}");
    assert_eq!(world.fleet.violations(), [""; 0], "{at}");
}
