//! The whole engine in virtual time on the simulated fleet: the live core, the live performer, a real journal.
//!
//! Everything runs on one thread in an order that the seed fixes, so a run can be repeated bit for bit. An engine
//! can be made to die before or after any of its effects; what it kept is all that its successor gets.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use super::{
    command::{Answer, Command, Reply},
    core::{
        Action, Core, Document, Effect, EffectId, FleetOutlook, ForecastJob, Input, Kept, ReplyTo,
        Sampled, SourceConfig, SourceRole,
    },
    perform::{Performer, Platform},
    snapshot::Snapshot,
};
use crate::{
    forecast::{self, Model, Predicted},
    hypervisor::{
        Claim, Control,
        simulated::{Clock as _, Fleet, FleetSpec, VirtualClock},
    },
    metrics::{Metric, Sample, Series, rates::RateTracker},
    policy::Settings,
    shadow::{Proposal, ProposalState},
    store::{
        StoreError,
        journal::{Journal, Kind},
    },
    units::{EngineId, SourceName, Timestamp},
};

pub mod trial;

const TICK_MILLIS: u64 = 1000;
const HISTORY_SECONDS: i64 = 14 * 86_400;
const STEP_SECONDS: u32 = 300;
/// Inputs after which a simulation that has not come to rest never will.
const MAX_INPUTS: u32 = 200_000;

/// Start, steps ahead and a hash of the values.
type Asked = (Timestamp, usize, u64);

/// Worlds of one seed ask for the same forecasts after every death; what was forecast once is remembered.
static FORECASTS: Mutex<BTreeMap<Asked, Option<Predicted>>> = Mutex::new(BTreeMap::new());
const MOST_REMEMBERED: usize = 4096;

fn remembered(series: &Series, steps: usize) -> Option<Predicted> {
    let mut hasher = DefaultHasher::new();
    for value in &series.values {
        value.to_bits().hash(&mut hasher);
    }
    let asked = (series.start, steps, hasher.finish());
    let forecasts = || FORECASTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = forecasts().get(&asked) {
        return known.clone();
    }
    let predicted = Model::LIVE.forecaster().predict(series, steps).ok();
    let mut known = forecasts();
    if known.len() >= MOST_REMEMBERED {
        known.clear();
    }
    known.insert(asked, predicted.clone());
    predicted
}

/// Where an engine dies: at its n-th effect of those that leave a trace, before or after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    Never,
    Before(u32),
    After(u32),
}

/// The engine died where it was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Died;

/// One world: the fleet and what engines keep outlive each engine.
pub struct Simulation {
    pub fleet: Fleet,
    pub clock: Arc<VirtualClock>,
    pub engine: EngineId,
    pub settings: Settings,
    journal: Journal,
    seed: u64,
}

/// One engine in the world, from its start to its death.
pub struct Life<'a> {
    world: &'a Simulation,
    core: Core,
    performer: Performer,
    sources: Vec<SourceConfig>,
    trackers: BTreeMap<SourceName, RateTracker>,
    inbox: VecDeque<Input>,
    replies: BTreeMap<ReplyTo, Reply>,
    next_reply: u64,
    death: Death,
    /// Effects that left a trace so far.
    pub effects: u32,
    /// Readings that the platforms gave, and samples with a value that came of them.
    pub samples_in: u64,
    pub samples_out: u64,
    next_inventory: Timestamp,
    next_sample: Timestamp,
}

impl Simulation {
    /// # Errors
    /// When SQLite fails.
    pub fn new(spec: FleetSpec, settings: Settings, start: Timestamp) -> Result<Self, StoreError> {
        let seed = spec.seed;
        let clock = Arc::new(VirtualClock::new(start));
        let fleet = Fleet::new(spec, clock.clone());
        Ok(Self {
            fleet,
            clock,
            engine: EngineId::new(format!("{seed:016x}{seed:016x}")),
            settings,
            journal: Journal::in_memory()?,
            seed,
        })
    }

    /// Starts an engine on what earlier ones kept.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub fn start(&self, death: Death) -> Result<Life<'_>, StoreError> {
        // The connections of the engine before went with it.
        self.fleet.cut_connections();
        let sources = self.sources();
        let kept = Kept {
            frozen: self.journal.frozen()?,
            sources: sources.clone(),
            services: self.fleet.services(),
            proposals: self.journal.all(Kind::Proposal)?,
            manifests: self.journal.all(Kind::Manifest)?,
            proofs: self.journal.all(Kind::Proof)?,
            calendar: self.journal.all(Kind::Calendar)?,
            reserved: self.journal.all(Kind::Reserved)?,
            rows: self.journal.rows()?,
            ..Kept::default()
        };
        // Each life draws other names, as another process would.
        let seed = self.seed ^ self.clock.now().0 as u64;
        let core = Core::new(self.engine.clone(), self.settings.clone(), true, seed, kept);
        let platforms = sources
            .iter()
            .map(|config| (config.name.clone(), self.platform(config)));
        let performer = Performer {
            claim: Claim {
                engine: self.engine.clone(),
                console: "simulation".to_owned(),
                stale: Duration::from_mins(1),
            },
            platforms: platforms.collect(),
            armed: sources.iter().map(|config| config.name.clone()).collect(),
            prober: self.fleet.prober(),
            clock: self.clock.clone(),
            settings: None,
        };
        let now = self.clock.now();
        Ok(Life {
            world: self,
            core,
            performer,
            sources,
            trackers: BTreeMap::new(),
            inbox: VecDeque::from([Input::Started]),
            replies: BTreeMap::new(),
            next_reply: 0,
            death,
            effects: 0,
            samples_in: 0,
            samples_out: 0,
            next_inventory: now,
            next_sample: now,
        })
    }

    fn sources(&self) -> Vec<SourceConfig> {
        let config = |name: SourceName, kind| SourceConfig {
            uri: format!("simulated://{name}"),
            name,
            kind,
            armed: true,
            last_backfill: None,
        };
        let mut sources: Vec<SourceConfig> = self
            .fleet
            .sources()
            .into_iter()
            .map(|(name, role)| config(name, SourceRole::Hypervisor(role)))
            .collect();
        sources.push(config(self.fleet.director_name(), SourceRole::Balancer));
        sources
    }

    fn platform(&self, config: &SourceConfig) -> Platform {
        match self.fleet.hypervisor(&config.name) {
            Some(platform) => Platform::Hypervisor(Arc::new(OnceLock::from(platform))),
            None => Platform::Balancer(Arc::new(OnceLock::from(self.fleet.director()))),
        }
    }
}

impl Life<'_> {
    /// Asks, and runs until the answer is there.
    ///
    /// # Errors
    /// When the engine dies first.
    pub fn ask(&mut self, command: Command) -> Result<Reply, Died> {
        self.next_reply += 1;
        let to = ReplyTo(self.next_reply);
        self.inbox.push_back(Input::Command { to, command });
        for _ in 0..MAX_INPUTS {
            if let Some(reply) = self.replies.remove(&to) {
                return Ok(reply);
            }
            self.step()?;
        }
        Ok(Err(crate::problem::Problem::failed(
            "Nothing was answered.",
            "no end in sight",
            "",
        )))
    }

    /// Runs for so long in virtual time.
    ///
    /// # Errors
    /// When the engine dies first.
    pub fn run(&mut self, time: Duration) -> Result<(), Died> {
        let end = self.world.clock.now().plus_millis(time.as_millis() as i64);
        while self.world.clock.now() < end {
            self.step()?;
        }
        Ok(())
    }

    /// Runs until no operation goes on by itself; false when that never comes.
    ///
    /// # Errors
    /// When the engine dies first.
    pub fn rest(&mut self) -> Result<bool, Died> {
        for _ in 0..MAX_INPUTS {
            if self.inbox.is_empty() && !self.core.is_busy() {
                return Ok(true);
            }
            self.step()?;
        }
        Ok(false)
    }

    pub fn snapshot(&mut self) -> Snapshot {
        self.core.snapshot(self.world.clock.now())
    }

    /// The next input; when there is none, time passes and brings readings and a tick.
    fn step(&mut self) -> Result<(), Died> {
        if let Some(input) = self.inbox.pop_front() {
            return self.take(input);
        }
        self.world.clock.advance(TICK_MILLIS);
        self.read_sources();
        self.inbox.push_back(Input::Tick);
        Ok(())
    }

    fn read_sources(&mut self) {
        let now = self.world.clock.now();
        let sampling = &self.world.settings.sampling;
        let inventory_due = now >= self.next_inventory;
        let sample_due = now >= self.next_sample;
        if inventory_due {
            self.next_inventory = now.plus_secs(i64::from(sampling.inventory_seconds));
        }
        if sample_due {
            self.next_sample = now.plus_secs(i64::from(sampling.interval_seconds));
        }
        for config in &self.sources {
            let source = config.name.clone();
            let Some(platform) = self.world.fleet.hypervisor(&source) else {
                let result = self.world.fleet.director().read();
                self.inbox.push_back(Input::Traffic {
                    source,
                    result,
                    millis: 0,
                });
                continue;
            };
            if inventory_due {
                let result = platform.inventory();
                self.inbox.push_back(Input::Inventory {
                    source: source.clone(),
                    result,
                    millis: 0,
                });
            }
            if sample_due {
                let tracker = self
                    .trackers
                    .entry(source.clone())
                    .or_insert_with(|| RateTracker::new(sampling.interval_seconds));
                let read = platform.sample();
                self.samples_in += read
                    .as_ref()
                    .map_or(0, |readings| readings.readings.len() as u64);
                let result = read.map(|readings| Sampled {
                    samples: readings
                        .readings
                        .into_iter()
                        .map(|one| tracker.take(one))
                        .collect(),
                    hung: readings.hung,
                });
                if let Ok(sampled) = &result {
                    let measured = |sample: &&Sample| sample.values.iter().any(Option::is_some);
                    self.samples_out += sampled.samples.iter().filter(measured).count() as u64;
                }
                self.inbox.push_back(Input::Samples {
                    source,
                    result,
                    millis: 0,
                });
            }
        }
    }

    fn take(&mut self, input: Input) -> Result<(), Died> {
        for effect in self.core.apply(self.world.clock.now(), input) {
            // A lease that is kept leaves nothing that the next engine does not find as it was.
            let traced = match &effect {
                Effect::Do { action, .. } => !matches!(action, Action::Lease { .. }),
                Effect::Append(_) | Effect::Put(Document::Manifest(_) | Document::Proof(_)) => true,
                _ => false,
            };
            if !traced {
                self.perform(effect);
                continue;
            }
            self.effects += 1;
            if self.death == Death::Before(self.effects) {
                return Err(Died);
            }
            self.perform(effect);
            if self.death == Death::After(self.effects) {
                return Err(Died);
            }
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Append(row) => self.keep(|journal| journal.append(&row)),
            Effect::Put(document) => self.put(document),
            Effect::Do { effect, action } => self.act(effect, &action),
            Effect::Reply { to, reply } => {
                self.replies.insert(to, reply);
            }
            Effect::Fetch { to, .. } => {
                let answer = Answer::Done {
                    text: "not asked for in simulations".to_owned(),
                };
                self.replies.insert(to, Ok(answer));
            }
            Effect::Forecast(jobs) => {
                let batch = jobs.iter().map(|job| self.outlook(job)).collect();
                self.inbox.push_back(Input::Outlooks { batch, pending: 0 });
            }
            // Nothing runs beside this thread, samples are a function of the seed, and sources are read in step.
            Effect::Event(_)
            | Effect::Cancel { .. }
            | Effect::Watch(_)
            | Effect::Unwatch(_)
            | Effect::Store(_) => {}
        }
    }

    fn act(&mut self, effect: EffectId, action: &Action) {
        let mut spooled = false;
        let result = {
            let spooled = std::cell::Cell::new(false);
            let result = self
                .performer
                .perform(action, &Control::default(), &|| spooled.set(true));
            (result, spooled.get())
        };
        spooled |= result.1;
        if spooled {
            self.inbox.push_back(Input::Spooled { effect });
        }
        self.inbox.push_back(Input::Outcome {
            effect,
            result: result.0,
        });
    }

    fn put(&mut self, document: Document) {
        self.keep(|journal| match document {
            Document::Proposal(proposal) => {
                journal.put(Kind::Proposal, proposal.id.as_str(), &*proposal)
            }
            Document::Manifest(manifest) => {
                journal.put(Kind::Manifest, manifest.shadow.as_str(), &*manifest)
            }
            Document::ManifestGone(shadow) => journal.delete(Kind::Manifest, shadow.as_str()),
            Document::Proof(proof) => journal.put(Kind::Proof, proof.operation.as_str(), &*proof),
            Document::ProofGone(operation) => journal.delete(Kind::Proof, operation.as_str()),
            Document::Event(event) => journal.put(Kind::Calendar, event.id.as_str(), &*event),
            Document::EventGone(id) => journal.delete(Kind::Calendar, id.as_str()),
            Document::Reserved(reserved) => {
                journal.put(Kind::Reserved, reserved.pool.as_str(), &*reserved)
            }
            Document::ReservedGone(pool) => journal.delete(Kind::Reserved, pool.as_str()),
            Document::Frozen(frozen) => journal.put_frozen(frozen),
            Document::Source(_)
            | Document::SourceGone(_)
            | Document::Service(_)
            | Document::ServiceGone(_) => Ok(()),
        });
    }

    fn keep(&mut self, write: impl FnOnce(&Journal) -> Result<(), StoreError>) {
        if let Err(error) = write(&self.world.journal) {
            self.inbox.push_back(Input::StoreFailed {
                why: error.to_string(),
            });
        }
    }

    fn outlook(&self, job: &ForecastJob) -> FleetOutlook {
        let now = self.world.clock.now();
        let mut found = FleetOutlook {
            vm: job.vm.clone(),
            outlooks: Vec::new(),
            spark: Vec::new(),
            coverage: 0.0,
        };
        let Some(platform) = self.world.fleet.hypervisor(&job.vm.source()) else {
            return found;
        };
        let steps = (job.horizon_seconds / STEP_SECONDS) as usize;
        for (metric, limit) in [
            (Metric::Cpu, job.limits.cpu),
            (Metric::Memory, job.limits.memory),
        ] {
            let from = now.plus_secs(-HISTORY_SECONDS);
            let history = platform.history(&job.vm, metric, from, now, STEP_SECONDS);
            let Ok(Some(series)) = history else { continue };
            found.coverage = series.coverage();
            if let Some(predicted) = remembered(&series, steps) {
                let vm = job.vm.clone();
                let made = forecast::assemble(vm, metric, limit, now, STEP_SECONDS, predicted);
                found.outlooks.push(forecast::outlook(&made));
            }
        }
        found
    }

    /// The most urgent open proposal, once there is one.
    ///
    /// # Errors
    /// When the engine dies first.
    pub fn await_proposal(
        &mut self,
        wanted: impl Fn(&Proposal) -> bool,
    ) -> Result<Option<Arc<Proposal>>, Died> {
        for _ in 0..MAX_INPUTS {
            self.step()?;
            if !self.inbox.is_empty() {
                continue;
            }
            let found = self
                .core
                .snapshot(self.world.clock.now())
                .proposals
                .into_iter()
                .find(|proposal| proposal.state == ProposalState::Open && wanted(proposal));
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
