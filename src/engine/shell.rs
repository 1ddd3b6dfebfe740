//! Performs the core's effects in their order: what must be on disk first is on disk first.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{mpsc::Sender, oneshot};

use super::{
    bring::{self, Errand, What},
    collect::{self, Collector},
    command::{Answer, Reply},
    core::{
        Action, Core, Document, Effect, EffectId, Fetch, Input, ReplyTo, SourceConfig, SourceRole,
    },
    librarian::{Keeper, Librarian, OwnHistory, Question, Round, Survey},
    perform::{Performer, Platform, coarse},
    send::Sending,
};
use crate::{
    hypervisor::{
        Claim, Control, Hypervisor,
        simulated::{Clock, Fleet},
    },
    policy::{HistoryStore, Sampling, Settings},
    problem::Problem,
    replication::Manifest,
    store::{
        StoreError,
        journal::{Journal, Kind},
        metrics::{Keeping, Metrics},
        settings::SettingsFile,
    },
    units::{ShadowId, SourceName},
    validation::Prober,
};

/// All that the core's effects act on.
pub struct Shell {
    pub claim: Claim,
    settings_file: SettingsFile,
    pub journal: Journal,
    pub metrics: Metrics,
    pub sampling: Sampling,
    pub clock: Arc<dyn Clock>,
    pub prober: Arc<dyn Prober>,
    pub fleet: Option<Fleet>,
    pub inputs: Sender<Input>,
    pub librarian: Librarian,
    errands: std::sync::mpsc::Sender<Errand>,
    /// The source that samples are sent to, where the settings name one.
    wanted_server: Option<SourceName>,
    /// Its address, once it is known.
    history_server: Option<String>,
    reads_from_server: bool,
    sending: Option<Sending>,
    platforms: BTreeMap<SourceName, Platform>,
    armed: BTreeSet<SourceName>,
    collectors: HashMap<SourceName, Collector>,
    running: HashMap<EffectId, Control>,
    /// For each replica, whose turn it is to write the manifest's copy.
    copies: HashMap<ShadowId, Arc<Turn>>,
    replies: HashMap<ReplyTo, oneshot::Sender<Reply>>,
    next_reply: u64,
}

/// Copies of one manifest, one at a time.
#[derive(Default)]
struct Turn {
    newest: AtomicU64,
    lock: Mutex<()>,
}

impl Shell {
    /// # Errors
    /// When the databases cannot be opened or there is no thread left.
    #[allow(clippy::too_many_arguments)] // the parts of a worker, each once
    pub fn new(
        claim: Claim,
        journal: Journal,
        folder: PathBuf,
        settings: &Settings,
        settings_file: SettingsFile,
        clock: Arc<dyn Clock>,
        prober: Arc<dyn Prober>,
        fleet: Option<Fleet>,
        inputs: Sender<Input>,
    ) -> Result<Self, StoreError> {
        let sampling = settings.sampling.clone();
        let keeping = Keeping {
            interval_seconds: sampling.interval_seconds,
            history: settings.history.clone(),
        };
        let metrics = Metrics::open(&folder, keeping.clone())?;
        let no_thread = |source| StoreError::File {
            path: folder.clone(),
            source,
        };
        let librarian = Librarian::start(
            folder.clone(),
            keeping.clone(),
            clock.clone(),
            inputs.clone(),
            fleet.is_none(),
        )
        .map_err(no_thread)?;
        let errands = bring::start(folder.clone(), keeping, clock.clone(), inputs.clone())
            .map_err(no_thread)?;
        Ok(Self {
            claim,
            settings_file,
            journal,
            metrics,
            sampling,
            clock,
            prober,
            fleet,
            inputs,
            librarian,
            errands,
            wanted_server: settings.sends_to().map(SourceName::new),
            history_server: None,
            reads_from_server: settings.history.store == HistoryStore::Prometheus,
            sending: None,
            platforms: BTreeMap::new(),
            armed: BTreeSet::new(),
            collectors: HashMap::new(),
            running: HashMap::new(),
            copies: HashMap::new(),
            replies: HashMap::new(),
            next_reply: 0,
        })
    }

    /// Keeps the place for an answer until the core gives it.
    pub fn expect_reply(&mut self, reply: oneshot::Sender<Reply>) -> ReplyTo {
        self.next_reply += 1;
        let to = ReplyTo(self.next_reply);
        self.replies.insert(to, reply);
        to
    }

    /// Takes one input through the core and performs what comes of it, to the end.
    pub fn take(&mut self, core: &mut Core, input: Input) {
        if let Input::Outcome { effect, .. } = &input {
            self.running.remove(effect);
        }
        let effects = core.apply(self.clock.now(), input);
        if let Err(error) = self.perform_all(effects) {
            // What could not be kept must not be acted on: the rest of the list is dropped.
            tracing::error!(%error, "the journal cannot be written; nothing more is changed");
            let why = error.to_string();
            for effect in core.apply(self.clock.now(), Input::StoreFailed { why }) {
                if let Effect::Reply { to, reply } = effect {
                    self.reply(to, reply);
                }
            }
            self.fail_open_replies(&error);
        }
    }

    fn perform_all(&mut self, effects: Vec<Effect>) -> Result<(), StoreError> {
        for effect in effects {
            match effect {
                Effect::Append(row) => self.journal.append(&row)?,
                Effect::Put(document) => self.put(document)?,
                Effect::Event(entry) => self.journal.add_event(entry.at, &entry)?,
                Effect::Do { effect, action } => self.start(effect, action),
                Effect::Cancel { effect } => {
                    if let Some(control) = self.running.get(&effect) {
                        control.cancel();
                    }
                }
                Effect::Reply { to, reply } => self.reply(to, reply),
                Effect::Fetch { to, fetch } => self.fetch(to, fetch),
                Effect::Watch(config) => self.watch(config),
                Effect::Unwatch(name) => {
                    self.collectors.remove(&name);
                    self.platforms.remove(&name);
                    self.armed.remove(&name);
                    if self.wanted_server.as_ref() == Some(&name) {
                        self.history_server = None;
                        self.sending = None;
                    }
                }
                Effect::Store(samples) => {
                    if let Some(sending) = &mut self.sending {
                        sending.send(&samples);
                    }
                    if let Err(error) = self.metrics.append(&samples) {
                        // Samples may be lost; operations never.
                        tracing::warn!(%error, "samples were not kept");
                    }
                }
                Effect::Forecast(jobs) => {
                    let jobs = jobs
                        .into_iter()
                        .map(|job| {
                            let own = self.own_history(&job.vm.source());
                            (job, own)
                        })
                        .collect();
                    if self.librarian.rounds.send(Round { jobs }).is_err() {
                        tracing::error!("the forecaster has ended");
                    }
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, document: Document) -> Result<(), StoreError> {
        match document {
            Document::Source(config) => {
                if config.armed {
                    self.armed.insert(config.name.clone());
                } else {
                    self.armed.remove(&config.name);
                }
                self.journal
                    .put(Kind::Source, config.name.as_str(), &config)
            }
            Document::SourceGone(name) => self.journal.delete(Kind::Source, name.as_str()),
            Document::Service(service) => {
                self.journal
                    .put(Kind::Service, service.name.as_str(), &service)
            }
            Document::ServiceGone(name) => self.journal.delete(Kind::Service, name.as_str()),
            Document::Proposal(proposal) => {
                self.journal
                    .put(Kind::Proposal, proposal.id.as_str(), &*proposal)
            }
            Document::Manifest(manifest) => {
                self.journal
                    .put(Kind::Manifest, manifest.shadow.as_str(), &*manifest)?;
                self.copy_manifest(*manifest);
                Ok(())
            }
            Document::ManifestGone(shadow) => self.journal.delete(Kind::Manifest, shadow.as_str()),
            Document::Proof(proof) => {
                self.journal
                    .put(Kind::Proof, proof.operation.as_str(), &*proof)
            }
            Document::ProofGone(operation) => self.journal.delete(Kind::Proof, operation.as_str()),
            Document::Event(event) => self.journal.put(Kind::Calendar, event.id.as_str(), &*event),
            Document::EventGone(id) => self.journal.delete(Kind::Calendar, id.as_str()),
            Document::Reserved(reserved) => {
                (self.journal).put(Kind::Reserved, reserved.pool.as_str(), &*reserved)
            }
            Document::ReservedGone(pool) => self.journal.delete(Kind::Reserved, pool.as_str()),
            Document::Frozen(frozen) => self.journal.put_frozen(frozen),
        }
    }

    /// The copy on the target follows each commit; it is for those who come without our database.
    fn copy_manifest(&mut self, manifest: Manifest) {
        if manifest.in_flight.is_some() || manifest.points.is_empty() || !manifest.active {
            return;
        }
        let performer = self.performer();
        let turn = self
            .copies
            .entry(manifest.shadow.clone())
            .or_default()
            .clone();
        let mine = turn.newest.fetch_add(1, Ordering::SeqCst) + 1;
        tokio::task::spawn_blocking(move || {
            // One after another, and only the newest: an older one must not come last.
            let _turn = turn.lock.lock().unwrap_or_else(PoisonError::into_inner);
            if turn.newest.load(Ordering::SeqCst) != mine {
                return;
            }
            if let Err(failure) = performer.copy_manifest(&manifest) {
                tracing::warn!(
                    why = failure.why,
                    "the manifest's copy on the target is old"
                );
            }
        });
    }

    fn performer(&self) -> Performer {
        Performer {
            claim: self.claim.clone(),
            platforms: self.platforms.clone(),
            armed: self.armed.clone(),
            prober: self.prober.clone(),
            clock: self.clock.clone(),
            settings: Some(self.settings_file.clone()),
        }
    }

    /// Gives the leases back, so that another console need not wait for them to go stale; waits no longer than `limit`.
    pub async fn release_leases(&self, limit: std::time::Duration) {
        let held: Vec<Arc<dyn Hypervisor>> = self
            .armed
            .iter()
            .filter_map(|name| match self.platforms.get(name) {
                Some(Platform::Hypervisor(slot)) => slot.get().cloned(),
                _ => None,
            })
            .collect();
        let mut released = tokio::task::JoinSet::new();
        for platform in held {
            let claim = self.claim.clone();
            released.spawn_blocking(move || {
                if let Err(error) = platform.release_lease(&claim) {
                    tracing::warn!(%error, "a lease is left to go stale");
                }
            });
        }
        let all = async { while released.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("leases are left to go stale: a host does not answer");
        }
    }

    fn start(&mut self, effect: EffectId, action: Action) {
        let performer = self.performer();
        let inputs = self.inputs.clone();
        let progress = inputs.clone();
        let control = Control::reporting(coarse(move |progress_now| {
            // A report that finds no room is followed by a newer one.
            let _ = progress.try_send(Input::Progress {
                effect,
                progress: progress_now,
            });
        }));
        self.running.insert(effect, control.clone());
        tokio::task::spawn_blocking(move || {
            let spooled = || {
                if inputs.blocking_send(Input::Spooled { effect }).is_err() {
                    tracing::debug!("the engine ended during a cycle");
                }
            };
            let result = performer.perform(&action, &control, &spooled);
            if inputs
                .blocking_send(Input::Outcome { effect, result })
                .is_err()
            {
                tracing::debug!("the engine ended before an outcome");
            }
        });
    }

    fn watch(&mut self, config: SourceConfig) {
        if config.armed {
            self.armed.insert(config.name.clone());
        }
        self.send_to(&config);
        let platform = self.platform(&config);
        self.platforms.insert(config.name.clone(), platform.clone());
        let name = config.name.clone();
        let started = collect::start(
            config,
            platform,
            self.claim.engine.clone(),
            self.sampling.clone(),
            self.inputs.clone(),
        );
        match started {
            Ok(collector) => {
                self.collectors.insert(name, collector);
            }
            Err(error) => tracing::error!(%error, %name, "no thread to read a source"),
        }
    }

    fn platform(&self, config: &SourceConfig) -> Platform {
        match config.kind {
            SourceRole::Balancer => {
                let slot = OnceLock::new();
                if let Some(fleet) = &self.fleet {
                    let _ = slot.set(fleet.director());
                }
                Platform::Balancer(Arc::new(slot))
            }
            SourceRole::History => Platform::History,
            SourceRole::Hypervisor(_) => {
                let slot: OnceLock<Arc<dyn Hypervisor>> = OnceLock::new();
                let simulated = self
                    .fleet
                    .as_ref()
                    .and_then(|fleet| fleet.hypervisor(&config.name));
                if let Some(platform) = simulated {
                    let _ = slot.set(platform);
                }
                Platform::Hypervisor(Arc::new(slot))
            }
        }
    }

    /// A simulated fleet is a function of its seed: its history is asked for, not kept.
    fn own_history(&self, source: &SourceName) -> OwnHistory {
        if self.fleet.is_none() {
            let uri = self.history_server.clone();
            return uri.filter(|_| self.reads_from_server).map(Keeper::Server);
        }
        match self.platforms.get(source) {
            Some(Platform::Hypervisor(slot)) => slot.get().cloned().map(Keeper::Platform),
            _ => None,
        }
    }

    /// A server that is to keep our samples was added or is back.
    fn send_to(&mut self, config: &SourceConfig) {
        if !config.is_history() || self.wanted_server.as_ref() != Some(&config.name) {
            return;
        }
        self.history_server = Some(config.uri.clone());
        match Sending::start(config.uri.clone()) {
            Ok(sending) => self.sending = Some(sending),
            Err(error) => tracing::error!(%error, "no thread to send samples"),
        }
    }

    fn fetch(&mut self, to: ReplyTo, fetch: Fetch) {
        let Some(reply) = self.replies.remove(&to) else {
            return;
        };
        let question = match fetch {
            Fetch::Detail {
                vm,
                metric,
                limit,
                past_seconds,
                horizon_seconds,
                version,
                events,
                kin,
            } => {
                let own = self.own_history(&vm.source());
                Question::Detail {
                    vm,
                    metric,
                    limit,
                    past_seconds,
                    horizon_seconds,
                    version,
                    events,
                    kin,
                    own,
                    reply,
                }
            }
            Fetch::EventReport { event, vms } => {
                let vms = vms
                    .into_iter()
                    .map(|(vm, name, events)| {
                        let own = self.own_history(&vm.source());
                        (vm, name, events, own)
                    })
                    .collect();
                Question::EventReport { event, vms, reply }
            }
            Fetch::History {
                vm,
                metric,
                from,
                to,
                step_seconds,
            } => {
                let own = self.own_history(&vm.source());
                Question::History {
                    vm,
                    metric,
                    from,
                    to,
                    step_seconds,
                    own,
                    reply,
                }
            }
            Fetch::Record { metric, vms, one } => {
                // Only one that is asked for by itself is read.
                let own = vms.first().and_then(|vm| self.own_history(&vm.source()));
                Question::Record {
                    metric,
                    vms,
                    one,
                    own,
                    reply,
                }
            }
            Fetch::Runway {
                of,
                metric,
                horizon_days,
                limit,
                members,
            } => {
                let members = members
                    .into_iter()
                    .map(|(vm, scale)| {
                        let own = self.own_history(&vm.source());
                        (vm, scale, own)
                    })
                    .collect();
                let survey = Survey {
                    of,
                    metric,
                    horizon_days,
                    limit,
                    members,
                    reply,
                };
                if self.librarian.surveys.send(survey).is_err() {
                    tracing::error!("the capacity thread has ended");
                }
                return;
            }
            Fetch::Import { known, unknown } => {
                return self.send_out(What::Import { known, unknown }, reply);
            }
            Fetch::Backfill {
                source,
                uri,
                wanted,
                only,
                vms,
            } => {
                let what = What::Backfill {
                    source,
                    uri,
                    wanted,
                    only,
                    vms,
                };
                return self.send_out(what, reply);
            }
            Fetch::Stats => return self.send_out(What::Stats, reply),
            Fetch::Verify => return self.send_out(What::Verify, reply),
            Fetch::Journal { operation } => {
                let rows = self
                    .journal
                    .rows_of(&operation)
                    .map(|rows| Answer::Journal { rows });
                let _ = reply.send(rows.map_err(|error| {
                    Problem::failed(
                        "The journal was not read.",
                        error.to_string(),
                        "Check that the data folder can be read.",
                    )
                }));
                return;
            }
        };
        if self.librarian.questions.send(question).is_err() {
            tracing::error!("the history thread has ended");
        }
    }

    fn send_out(&self, what: What, reply: oneshot::Sender<Reply>) {
        if self.errands.send(Errand { what, reply }).is_err() {
            tracing::error!("the thread that brings history has ended");
        }
    }

    fn reply(&mut self, to: ReplyTo, reply: Reply) {
        if let Some(waiting) = self.replies.remove(&to) {
            // A face that has gone misses nothing.
            let _ = waiting.send(reply);
        }
    }

    fn fail_open_replies(&mut self, error: &StoreError) {
        for (_, waiting) in self.replies.drain() {
            let _ = waiting.send(Err(Problem::failed(
                "The command was not carried out.",
                format!("The journal cannot be written: {error}"),
                "Mend that (space, permission) and start the engine again; VMs are untouched.",
            )));
        }
    }
}
