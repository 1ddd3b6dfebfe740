//! Recovery points tried on the simulated fleet: what each kind of check catches, what a verdict does, and that an
//! engine which dies at any moment leaves no clone behind.

use std::time::Duration;

use shadowcast::{
    engine::{
        command::{Answer, Command},
        simulate::{Death, Died, Life, Simulation},
        snapshot::{OperationState, ShadowView},
    },
    hypervisor::PlatformError,
    hypervisor::simulated::{CloneFlaw, FaultKind, FaultRule, FleetSpec, Verb},
    policy::Settings,
    problem::Problem,
    shadow::{PlanKind, ProposalState, Reason},
    units::{OperationId, PoolId, ShadowId, Timestamp},
    validation::proof::{Conclusion, Proof},
};

/// 14:00 UTC on a Sunday; the fleet's stories count from its start, so any would do.
const START: Timestamp = Timestamp::from_secs(1_795_356_000);
const VM: &str = "checkout-api-07";

/// Every kind of check, each with what a sound clone of [`VM`] answers.
fn every_check() -> String {
    // What the simulated guest's files hold is the sum of their path.
    let sum = "2b2a0ab2e1e4e2d3c6d4a1ef8cb9e3d6f9b9a5e7d6c5b4a3928170f6e5d4c3b2";
    format!(
        r#"
        [validation]
        every_hours = 0
        boot_seconds = 60
        check_seconds = 5
        [[validation.check]]
        kind = "boots"
        [[validation.check]]
        kind = "agent"
        [[validation.check]]
        kind = "tcp"
        port = 8080
        [[validation.check]]
        kind = "http"
        port = 8080
        status = 200
        body = "all is well"
        [[validation.check]]
        kind = "command"
        argv = ["hostname"]
        expect = "{VM}"
        [[validation.check]]
        kind = "console"
        text = "{VM} ready"
        [[validation.check]]
        kind = "blocks"
        [[validation.check]]
        kind = "files"
        sha256 = {{ "/etc/app.conf" = "{sum}" }}
        "#
    )
    .replace(sum, &sha256_of("/etc/app.conf"))
}

fn sha256_of(text: &str) -> String {
    use sha2::Digest as _;
    hex::encode(sha2::Sha256::digest(text))
}

fn world(settings: &str) -> Simulation {
    let settings = Settings::parse(settings, "settings.toml").unwrap();
    Simulation::new(FleetSpec::demo(60, 7), settings, START).unwrap()
}

fn alive<T>(lived: Result<T, Died>) -> T {
    lived.unwrap_or_else(|Died| panic!("this engine was not told to die"))
}

fn create(life: &mut Life<'_>) -> Result<(), Died> {
    let proposal = life
        .await_proposal(|proposal| proposal.plan.vm_name == VM)?
        .expect("the fleet's story asks for a shadow");
    let reply = life.ask(Command::Approve {
        proposal: proposal.id.clone(),
        digest: proposal.digest.clone(),
        by: "operator".to_owned(),
    })?;
    assert!(matches!(reply, Ok(Answer::Started { .. })), "{reply:?}");
    assert!(life.rest()?, "an operation never ends");
    Ok(())
}

fn shadow(life: &mut Life<'_>) -> ShadowView {
    life.snapshot().shadows.first().expect("a shadow").clone()
}

/// Plans, approves and follows a validation.
fn validate(
    life: &mut Life<'_>,
    shadow: &ShadowId,
    point: Option<u64>,
) -> Result<Result<OperationId, Problem>, Died> {
    let shadow = shadow.clone();
    let proposal = match life.ask(Command::ShadowValidate { shadow, point })? {
        Ok(Answer::Proposal { proposal }) => proposal,
        Ok(other) => panic!("a plan was asked for: {other:?}"),
        Err(problem) => return Ok(Err(problem)),
    };
    assert_eq!(proposal.plan.kind, PlanKind::Validate);
    let reply = life.ask(Command::Approve {
        proposal: proposal.id.clone(),
        digest: proposal.digest.clone(),
        by: "operator".to_owned(),
    })?;
    let operation = match reply {
        Ok(Answer::Started { operation }) => operation,
        Ok(other) => panic!("an operation was asked for: {other:?}"),
        Err(problem) => return Ok(Err(problem)),
    };
    assert!(life.rest()?, "a validation never ends");
    Ok(Ok(operation))
}

fn proofs(life: &mut Life<'_>, shadow: &ShadowId) -> Vec<Proof> {
    let shadow = shadow.clone();
    match alive(life.ask(Command::Proofs { shadow })) {
        Ok(Answer::Proofs { proofs }) => proofs,
        other => panic!("proofs were asked for: {other:?}"),
    }
}

fn tried(life: &mut Life<'_>, point: Option<u64>) -> Proof {
    let shadow = shadow(life).id;
    let operation = alive(validate(life, &shadow, point)).unwrap();
    let all = proofs(life, &shadow);
    let proof = all.into_iter().find(|proof| proof.operation == operation);
    proof.expect("every validation leaves a proof")
}

fn clones_left(world: &Simulation) -> Vec<String> {
    let parts = ["-clone-", "-console-", "-merge-"];
    let left = world.fleet.leftovers(&world.engine);
    left.into_iter()
        .filter(|owned| {
            let made = owned.kind == "domain" && owned.name.starts_with("sc-");
            made || parts.iter().any(|part| owned.name.contains(part))
        })
        .map(|owned| owned.name)
        .collect()
}

#[test]
fn a_sound_point_passes_every_kind_of_check_and_is_marked() {
    let world = world(&every_check());
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    let proof = tried(&mut life, None);
    assert_eq!(proof.verdict, Some(Conclusion::Passed), "{proof:#?}");
    assert_eq!(proof.results.len(), 8);
    assert!(proof.console.contains("ready"), "{proof:#?}");
    let now = shadow(&mut life);
    let mark = now.last_proof.clone().expect("the shadow has a proof");
    assert!(mark.passed);
    let proven: Vec<u64> = (now.points.iter())
        .filter(|point| point.proof.as_ref() == Some(&mark))
        .map(|point| point.number)
        .collect();
    assert_eq!(proven, [proof.point]);
    assert_eq!(clones_left(&world), [""; 0]);
    assert_eq!(world.fleet.violations(), [""; 0]);
}

#[test]
fn each_kind_of_check_fails_the_clone_that_is_broken_that_way() {
    let world = world(&every_check());
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    for (flaw, caught) in [
        (CloneFlaw::NoAgent, &["agent", "command", "files"][..]),
        (CloneFlaw::ClosedPorts, &["tcp", "http"]),
        (CloneFlaw::BadStatus, &["http"]),
        (CloneFlaw::OtherPage, &["http"]),
        (CloneFlaw::CommandsFail, &["command"]),
        (CloneFlaw::SilentConsole, &["console"]),
        (CloneFlaw::ChangedFiles, &["files"]),
        (
            CloneFlaw::NeverBoots,
            &[
                "boots", "agent", "tcp", "http", "command", "console", "files",
            ],
        ),
        (
            CloneFlaw::EndsByItself,
            &[
                "boots", "agent", "tcp", "http", "command", "console", "files",
            ],
        ),
    ] {
        world.fleet.flaw_clones(Some(flaw));
        let proof = tried(&mut life, None);
        let failed: Vec<&str> = (proof.results.iter())
            .filter(|result| !result.passed)
            .map(|result| result.check.name())
            .collect();
        assert_eq!(failed, caught, "{flaw:?}: {proof:#?}");
        assert_eq!(proof.verdict, Some(Conclusion::Failed));
        assert!(!shadow(&mut life).last_proof.unwrap().passed);
        assert_eq!(clones_left(&world), [""; 0], "{flaw:?}");
    }
    world.fleet.flaw_clones(None);
    let now = shadow(&mut life);
    let layer = now.points.last().unwrap().layers[0].clone();
    world.fleet.damage_volume(&now.pool, &layer);
    let number = now.points.last().unwrap().number;
    let proof = tried(&mut life, Some(number));
    let failed: Vec<&str> = (proof.results.iter())
        .filter(|result| !result.passed)
        .map(|result| result.check.name())
        .collect();
    assert_eq!(failed, ["blocks"], "{proof:#?}");
}

#[test]
fn a_failed_proof_raises_an_alarm_and_a_proposal_and_a_passed_one_ends_both() {
    let world = world("[validation]\nevery_hours = 0\n");
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    world.fleet.flaw_clones(Some(CloneFlaw::BadStatus));
    let proof = tried(&mut life, None);
    assert!(
        proof.why.as_ref().unwrap().contains("HTTP 503"),
        "{proof:#?}"
    );
    // The VM rests for a while after its shadow was made.
    alive(life.run(Duration::from_secs(400)));
    let now = life.snapshot();
    let raised = (now.proposals.iter())
        .find(|proposal| {
            proposal.plan.kind == PlanKind::Validate && proposal.state == ProposalState::Open
        })
        .expect("a failed proof raises a proposal");
    assert!(
        matches!(&raised.need.reasons[0], Reason::ProofFailed { why, .. } if why.contains("503")),
        "{raised:#?}"
    );
    let alarm = |now: &shadowcast::engine::snapshot::Snapshot| {
        (now.alarms.iter()).any(|alarm| alarm.text.contains("did not pass"))
    };
    assert!(alarm(&now), "{:?}", now.alarms);

    world.fleet.flaw_clones(None);
    assert_eq!(tried(&mut life, None).verdict, Some(Conclusion::Passed));
    alive(life.run(Duration::from_mins(1)));
    let now = life.snapshot();
    assert!(!alarm(&now));
    let open = (now.proposals.iter()).any(|proposal| {
        proposal.plan.kind == PlanKind::Validate && proposal.state == ProposalState::Open
    });
    assert!(!open, "the need has passed");
}

#[test]
fn a_platform_that_fails_says_nothing_of_the_point() {
    let world = world("[validation]\nevery_hours = 0\n");
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    let refused = || PlatformError::Denied {
        what: "start VM".to_owned(),
    };
    world.fleet.fault(FaultRule::next(
        Verb::EnsureClone,
        FaultKind::FailMidway(refused()),
    ));
    let proof = tried(&mut life, None);
    assert_eq!(proof.verdict, Some(Conclusion::Inconclusive), "{proof:#?}");
    assert!(proof.why.unwrap().contains("no permission"));
    assert_eq!(shadow(&mut life).last_proof, None);
    assert_eq!(clones_left(&world), [""; 0]);
}

#[test]
fn replication_goes_on_beside_a_clone_and_its_point_is_kept() {
    // Boots for 2 of 3 minutes, then answers nothing: many cycles end meanwhile.
    let world = world(
        "[shadow]\nrpo_seconds = 10\nkeep_points = 2\nkeep_hourly = 0\nkeep_daily = 0\n\
         [validation]\nevery_hours = 0\nboot_seconds = 300\n[[validation.check]]\nkind = \"boots\"\n",
    );
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    alive(life.run(Duration::from_mins(3)));
    assert!(alive(life.rest()));
    let before = shadow(&mut life);
    assert!(
        before.points.len() < 12,
        "expired points are merged: {:?}",
        before.points.len()
    );
    let oldest = before.points.first().unwrap().number;
    world.fleet.flaw_clones(Some(CloneFlaw::NeverBoots));
    let proof = tried(&mut life, Some(oldest));
    assert_eq!(proof.point, oldest);
    assert!(!proof.results[0].seen.contains("NotFound"), "{proof:#?}");
    assert_eq!(world.fleet.violations(), [""; 0]);
}

#[test]
fn a_clone_lives_no_longer_than_it_may() {
    let world = world(
        "[validation]\nevery_hours = 0\nboot_seconds = 300\nlifetime_seconds = 30\n\
         [[validation.check]]\nkind = \"boots\"\n[[validation.check]]\nkind = \"agent\"\n",
    );
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    world.fleet.flaw_clones(Some(CloneFlaw::NeverBoots));
    let proof = tried(&mut life, None);
    let lived = proof.ended_at.unwrap().secs_since(proof.started_at);
    assert!((25..40).contains(&lived), "{lived} s: {proof:#?}");
    assert_eq!(clones_left(&world), [""; 0]);
}

#[test]
fn the_schedule_proves_by_itself_within_its_window_and_no_more_at_once_than_it_may() {
    let world = world("[validation]\nevery_hours = 1\nfrom_hour = 15\nuntil_hour = 17\n");
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    // It is 14 o'clock: due, but the window is closed.
    alive(life.run(Duration::from_mins(30)));
    assert!(shadow(&mut life).proofs.is_empty());
    alive(life.run(Duration::from_mins(45)));
    let now = shadow(&mut life);
    assert_eq!(now.proofs.len(), 1, "{:#?}", now.proofs);
    assert!(now.proofs[0].passed());
    assert_eq!(now.proofs[0].by, "the schedule");
    let due = now.next_proof_at.unwrap();
    assert_eq!(due, now.last_proof.unwrap().at.plus_secs(3600));
}

#[test]
fn a_pinned_point_outlives_the_ladder() {
    let world = world(
        "[shadow]\nrpo_seconds = 10\nkeep_points = 2\nkeep_hourly = 0\nkeep_daily = 0\n\
         [validation]\nevery_hours = 0\n",
    );
    let mut life = world.start(Death::Never).unwrap();
    alive(create(&mut life));
    // The shadow itself stands on its first points; a later one is kept by its pin alone.
    alive(life.run(Duration::from_mins(1)));
    assert!(alive(life.rest()));
    let first = shadow(&mut life);
    let number = first.points.last().unwrap().number;
    let pin = |pinned| Command::ShadowPin {
        shadow: first.id.clone(),
        point: number,
        pinned,
    };
    alive(life.ask(pin(true))).unwrap();
    alive(life.run(Duration::from_mins(5)));
    assert!(alive(life.rest()));
    let has =
        |life: &mut Life<'_>| (shadow(life).points.iter()).any(|point| point.number == number);
    assert!(has(&mut life));
    let proof = tried(&mut life, Some(number));
    assert_eq!(proof.verdict, Some(Conclusion::Passed), "{proof:#?}");
    alive(life.ask(pin(false))).unwrap();
    alive(life.run(Duration::from_mins(5)));
    assert!(!has(&mut life));
    assert!(alive(life.ask(pin(true))).is_err());
}

/// The engine dies before and after each effect of a validation; the next one comes to the same end.
#[test]
fn an_engine_that_dies_while_a_point_is_tried_leaves_no_clone() {
    let effects = {
        let world = world(&every_check());
        let mut life = world.start(Death::Never).unwrap();
        alive(create(&mut life));
        let before = life.effects;
        tried(&mut life, None);
        (before, life.effects)
    };
    assert!(effects.1 > effects.0 + 20, "{effects:?}");
    std::thread::scope(|scope| {
        for first in 1..=2 {
            scope.spawn(move || {
                for effect in (effects.0 + first..=effects.1).step_by(2) {
                    die_and_carry_on(Death::Before(effect));
                    die_and_carry_on(Death::After(effect));
                }
            });
        }
    });
}

fn die_and_carry_on(death: Death) {
    let at = format!("{death:?}");
    let world = world(&every_check());
    {
        let mut first = world.start(death).unwrap();
        if alive(create(&mut first).map(|()| true)) {
            let id = shadow(&mut first).id;
            if validate(&mut first, &id, None).is_ok() {
                return;
            }
        }
    }
    let mut second = world.start(Death::Never).unwrap();
    assert!(alive(second.rest()), "{at}: it never comes to rest");
    alive(second.run(Duration::from_secs(5)));
    assert!(alive(second.rest()), "{at}: it never comes to rest");
    let now = second.snapshot();
    for operation in &now.operations {
        assert_eq!(
            operation.state,
            OperationState::Done,
            "{at}: {operation:#?}"
        );
    }
    assert_eq!(clones_left(&world), [""; 0], "{at}");
    assert_eq!(world.fleet.violations(), [""; 0], "{at}");
    let id = now.shadows[0].id.clone();
    for proof in proofs(&mut second, &id) {
        assert_eq!(proof.verdict, Some(Conclusion::Passed), "{at}: {proof:#?}");
        assert_eq!(proof.results.len(), 8, "{at}");
    }
    let pool: PoolId = now.shadows[0].pool.clone();
    assert!(!pool.as_str().is_empty());
}
