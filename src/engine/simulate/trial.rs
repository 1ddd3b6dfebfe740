//! Hours of a fleet's life with faults and an operator who approves whatever is proposed; then the faults stop, the
//! world must come to rest, and everything that must never be is looked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Death, Died, Life, Simulation};
use crate::{
    engine::{
        command::Command,
        snapshot::{OperationState, Snapshot},
    },
    hypervisor::{
        PlatformError,
        simulated::{Clock as _, FaultKind, FaultRule, FleetSpec, Verb},
    },
    policy::Settings,
    replication::Manifest,
    shadow::{Proposal, ProposalState},
    store::{StoreError, journal::Kind},
    units::{ProposalId, SourceName, Timestamp},
    validation::proof::Proof,
};

/// How often the operator and the faults look in.
const ROUND: Duration = Duration::from_mins(1);
/// Rounds between two faults, on average.
const ROUNDS_PER_FAULT: u32 = 4;
/// Effects after which an engine that is to die does so at the latest.
const LONGEST_LIFE: u32 = 300;
/// Who approves, and resumes what has parked.
const OPERATOR: &str = "simulated operator";
/// How long the world has to come to rest once nothing disturbs it any more.
const TO_REST: Duration = Duration::from_mins(30);

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The engine's process ends before or after any of its effects.
    EngineDeath,
    /// A call fails and has done nothing.
    FailedCall,
    /// A call stops halfway: a job that never ends, a volume that is cut short.
    HalfCall,
    /// A call has done its work and the reply is lost.
    LostReply,
    /// A call takes 20 s longer.
    SlowCall,
    /// A source or the balancer does not answer for some minutes.
    Outage,
    /// As after a crash of a VM's process.
    LostBitmaps,
    /// A pool has no room left for some minutes.
    FullPool,
}

impl Fault {
    pub const ALL: [Self; 8] = [
        Self::EngineDeath,
        Self::FailedCall,
        Self::HalfCall,
        Self::LostReply,
        Self::SlowCall,
        Self::Outage,
        Self::LostBitmaps,
        Self::FullPool,
    ];
}

/// What to run.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialSpec {
    pub vms: u32,
    pub hours: u32,
    pub seed: u64,
    pub faults: Vec<Fault>,
    pub start: Timestamp,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Figures {
    pub samples_in: u64,
    pub samples_out: u64,
    pub proposals: u64,
    pub operations: Ended,
    /// Points that passed or did not, of those whose evidence is kept.
    pub proofs: u64,
    pub faults: BTreeMap<Fault, u32>,
    /// What must never be, and was; in the order in which it was found.
    pub violations: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ended {
    pub done: u64,
    pub undone: u64,
    pub parked: u64,
}

/// Verbs whose failure an engine must cope with.
const DISTURBED: [Verb; 18] = [
    Verb::EnsureIncrement,
    Verb::ReadSpool,
    Verb::EnsureIncrementFinished,
    Verb::EnsureLayer,
    Verb::EnsureFlattened,
    Verb::EnsureMerged,
    Verb::EnsureVolumesAbsent,
    Verb::EnsureShadow,
    Verb::EnsureOverlays,
    Verb::EnsurePower,
    Verb::EnsureShadowAbsent,
    Verb::EnsureClone,
    Verb::EnsureCloneAbsent,
    Verb::AskClone,
    Verb::LayerDigest,
    Verb::EnsureServer,
    Verb::EnsureWeights,
    Verb::EnsureServerAbsent,
];

/// Runs it. The same spec gives the same figures.
///
/// # Errors
/// When SQLite fails.
pub fn run(spec: &TrialSpec, settings: Settings) -> Result<Figures, StoreError> {
    let world = Simulation::new(FleetSpec::demo(spec.vms, spec.seed), settings, spec.start)?;
    let mut trial = Trial {
        spec,
        world: &world,
        random: fastrand::Rng::with_seed(spec.seed),
        figures: Figures::default(),
        seen: BTreeSet::new(),
        recoveries: Vec::new(),
        planned: None,
    };
    let end = spec.start.plus_secs(i64::from(spec.hours) * 3600);
    let mut life = world.start(trial.death())?;
    while world.clock.now() < end {
        if trial.round(&mut life).is_err() {
            trial.count(Fault::EngineDeath);
            trial.bury(&life);
            life = world.start(trial.death())?;
        }
    }
    trial.bury(&life);
    trial.settle()?;
    Ok(trial.figures)
}

struct Trial<'a> {
    spec: &'a TrialSpec,
    world: &'a Simulation,
    random: fastrand::Rng,
    figures: Figures,
    seen: BTreeSet<ProposalId>,
    /// What ends by itself, and when.
    recoveries: Vec<(Timestamp, Recovery)>,
    /// The next fault, drawn before its time has come.
    planned: Option<(u32, Fault)>,
}

enum Recovery {
    Reachable(SourceName),
    Room(crate::units::PoolId),
}

impl Trial<'_> {
    fn count(&mut self, fault: Fault) {
        *self.figures.faults.entry(fault).or_default() += 1;
    }

    fn death(&mut self) -> Death {
        if !self.spec.faults.contains(&Fault::EngineDeath) {
            return Death::Never;
        }
        let effect = self.random.u32(1..=LONGEST_LIFE);
        if self.random.bool() {
            Death::Before(effect)
        } else {
            Death::After(effect)
        }
    }

    fn bury(&mut self, life: &Life<'_>) {
        self.figures.samples_in += life.samples_in;
        self.figures.samples_out += life.samples_out;
    }

    fn round(&mut self, life: &mut Life<'_>) -> Result<(), Died> {
        self.recover(false);
        self.disturb(&life.snapshot());
        life.run(ROUND)?;
        let now = life.snapshot();
        self.seen
            .extend(now.proposals.iter().map(|proposal| proposal.id.clone()));
        let open = |proposal: &&Arc<Proposal>| proposal.state == ProposalState::Open;
        // One decision a round, the most urgent first, as a person would. A refusal is an answer as well.
        if let Some(proposal) = now.proposals.iter().find(open) {
            let _refused = life.ask(Command::Approve {
                proposal: proposal.id.clone(),
                digest: proposal.digest.clone(),
                by: OPERATOR.to_owned(),
            })?;
        }
        self.figures.proposals = self.seen.len() as u64;
        Ok(())
    }

    fn recover(&mut self, all: bool) {
        let now = self.world.clock.now();
        let (over, still) = std::mem::take(&mut self.recoveries)
            .into_iter()
            .partition(|(at, _)| all || *at <= now);
        self.recoveries = still;
        let over: Vec<(Timestamp, Recovery)> = over;
        for (_, recovery) in over {
            match recovery {
                Recovery::Reachable(source) => self.world.fleet.set_unreachable(&source, None),
                Recovery::Room(pool) => self.world.fleet.set_free_space(&pool, None),
            }
        }
    }

    fn disturb(&mut self, now: &Snapshot) {
        let others: Vec<Fault> = self
            .spec
            .faults
            .iter()
            .copied()
            .filter(|fault| *fault != Fault::EngineDeath)
            .collect();
        let (left, fault) = match self.planned.take() {
            Some(planned) => planned,
            None => match self.random.choice(&others) {
                Some(fault) => (self.random.u32(0..2 * ROUNDS_PER_FAULT), *fault),
                None => return,
            },
        };
        if left > 0 {
            self.planned = Some((left - 1, fault));
            return;
        }
        if self.inflict(fault, now) {
            self.count(fault);
        }
    }

    /// Whether there was anything to hit.
    fn inflict(&mut self, fault: Fault, now: &Snapshot) -> bool {
        let fleet = &self.world.fleet;
        let until =
            |random: &mut fastrand::Rng| self.world.clock.now().plus_secs(random.i64(60..=300));
        let failed = || PlatformError::Failed {
            what: "simulated".to_owned(),
            message: "told to fail".to_owned(),
        };
        let kind = match fault {
            Fault::EngineDeath => return false,
            Fault::FailedCall => FaultKind::FailBefore(failed()),
            Fault::HalfCall => FaultKind::FailMidway(failed()),
            Fault::LostReply => FaultKind::FailAfter(PlatformError::Timeout {
                what: "simulated".to_owned(),
                seconds: 60,
            }),
            Fault::SlowCall => FaultKind::Hang { millis: 20_000 },
            Fault::Outage => {
                let mut names: Vec<SourceName> =
                    fleet.sources().into_iter().map(|(name, _)| name).collect();
                names.push(fleet.director_name());
                let name = names.swap_remove(self.random.usize(..names.len()));
                fleet.set_unreachable(&name, Some("simulated outage"));
                let at = until(&mut self.random);
                self.recoveries.push((at, Recovery::Reachable(name)));
                return true;
            }
            Fault::LostBitmaps => {
                let Some(shadow) = self.random.choice(&now.shadows) else {
                    return false;
                };
                fleet.lose_bitmaps(&shadow.vm);
                return true;
            }
            Fault::FullPool => {
                let Some(shadow) = self.random.choice(&now.shadows) else {
                    return false;
                };
                fleet.set_free_space(&shadow.pool, Some(0));
                let at = until(&mut self.random);
                self.recoveries
                    .push((at, Recovery::Room(shadow.pool.clone())));
                return true;
            }
        };
        let verb = DISTURBED[self.random.usize(..DISTURBED.len())];
        fleet.fault(FaultRule::next(verb, kind));
        true
    }

    /// Nothing disturbs any more: everything must end, and what stands must be what the engine says.
    fn settle(&mut self) -> Result<(), StoreError> {
        self.recover(true);
        self.world.fleet.clear_faults();
        let mut life = self.world.start(Death::Never)?;
        let mut rested = life.run(TO_REST).and_then(|()| life.rest());
        // What parked while a host was away waits for somebody to say that it is back.
        let parked: Vec<_> = (life.snapshot().operations.into_iter())
            .filter(|operation| operation.state == OperationState::Parked)
            .map(|operation| operation.id)
            .collect();
        for operation in parked {
            let by = OPERATOR.to_owned();
            let resumed = life.ask(Command::OperationResume { operation, by });
            if matches!(resumed, Ok(Err(_))) {
                self.violation("a parked operation cannot be resumed");
            }
            rested = life.run(TO_REST).and_then(|()| life.rest());
        }
        self.bury(&life);
        let now = life.snapshot();
        if rested != Ok(true) {
            self.violation("the engine never comes to rest");
        }
        for violation in self.world.fleet.violations() {
            self.violation(violation);
        }
        for operation in &now.operations {
            let ended = &mut self.figures.operations;
            match operation.state {
                OperationState::Done => ended.done += 1,
                OperationState::Undone => ended.undone += 1,
                OperationState::Parked => ended.parked += 1,
                _ => {
                    let text = format!("operation {} has not ended", operation.id);
                    self.violation(text);
                }
            }
        }
        let concluded = |proof: &&Proof| proof.concluded();
        self.figures.proofs = (self.world.journal.all::<Proof>(Kind::Proof)?.iter())
            .filter(concluded)
            .count() as u64;
        self.look_at_shadows(&now)
    }

    fn look_at_shadows(&mut self, now: &Snapshot) -> Result<(), StoreError> {
        let fleet = &self.world.fleet;
        let mut found = Vec::new();
        let vms: BTreeSet<_> = now.shadows.iter().map(|shadow| &shadow.vm).collect();
        if vms.len() < now.shadows.len() {
            found.push("a VM has two shadows".to_owned());
        }
        if now.shadows.is_empty() {
            let left = fleet.leftovers(&self.world.engine);
            found.extend(
                left.iter()
                    .map(|owned| format!("left over: {} {}", owned.kind, owned.name)),
            );
        }
        for manifest in self.world.journal.all::<Manifest>(Kind::Manifest)? {
            for point in &manifest.points {
                match fleet.compare_point(&manifest, point) {
                    Ok(compared) if compared.identical() => {}
                    Ok(compared) => found.push(format!(
                        "point {} of {}: {} of {} blocks differ from the primary",
                        point.number,
                        manifest.vm,
                        compared.differing.len(),
                        compared.blocks
                    )),
                    Err(error) => found.push(format!(
                        "point {} of {}: {error}",
                        point.number, manifest.vm
                    )),
                }
            }
        }
        // Nothing is being tried or merged at rest.
        let helpers = ["-clone-", "-console-", "-merge-"];
        found.extend(
            fleet
                .leftovers(&self.world.engine)
                .iter()
                .filter(|owned| {
                    let made = owned.kind == "domain" && owned.name.starts_with("sc-");
                    made || helpers.iter().any(|part| owned.name.contains(part))
                })
                .map(|owned| format!("left over: {} {}", owned.kind, owned.name)),
        );
        for text in found {
            self.violation(text);
        }
        Ok(())
    }

    fn violation(&mut self, text: impl Into<String>) {
        self.figures.violations.push(text.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_secs(1_795_356_000);

    fn trial(faults: &[Fault], seed: u64) -> Figures {
        let spec = TrialSpec {
            vms: 45,
            hours: 1,
            seed,
            faults: faults.to_vec(),
            start: START,
        };
        let mut settings = Settings::default();
        // Forecasts are most of the work, and change little within the hour.
        settings.forecast.refresh_seconds = 3600;
        run(&spec, settings).unwrap()
    }

    #[test]
    fn an_hour_without_faults_makes_shadows_and_breaks_nothing() {
        let figures = trial(&[], 7);
        assert_eq!(figures.violations, [""; 0]);
        assert!(figures.operations.done > 0, "{figures:?}");
        assert_eq!(figures.operations.parked, 0, "{figures:?}");
        assert!(figures.proofs > 0, "{figures:?}");
        // The first reading of a VM has no rate yet.
        assert!(
            figures.samples_out > figures.samples_in * 9 / 10,
            "{figures:?}"
        );
        assert_eq!(trial(&[], 7), figures, "the same seed, the same figures");
    }

    #[test]
    fn an_hour_of_every_fault_breaks_nothing() {
        let figures = trial(&Fault::ALL, 7);
        assert_eq!(figures.violations, [""; 0], "{figures:?}");
        assert!(figures.faults.len() > 3, "{figures:?}");
    }
}
