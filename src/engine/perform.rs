//! Carries one action out against the platforms. Blocking; called on a thread of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use super::core::{Action, Failure, Outcome};
use crate::{
    hypervisor::{
        self, Claim, Control, ErrorKind, Examination, Finding, Hypervisor, simulated::Clock,
    },
    replication::{IncrementSpec, Manifest, Progress, cycle::Shipped, digest::Digested},
    shadow::{ShadowSpec, ShareSpec, Step},
    store::settings::SettingsFile,
    telemetry::prometheus::client::{self, Prometheus},
    traffic::{ServerSpec, TrafficDirector, haproxy::HaproxyDirector, split},
    units::{SourceName, VmId},
    validation::{Probe, Prober},
};

mod clone;
mod promotion;

/// Between two looks at something that is waited for.
const POLL_MILLIS: u64 = 200;
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that is there once its collector has made it.
#[derive(Clone)]
pub enum Platform {
    Hypervisor(Arc<OnceLock<Arc<dyn Hypervisor>>>),
    Balancer(Arc<OnceLock<Arc<dyn TrafficDirector>>>),
    /// Is asked over HTTP; nothing stays open.
    History,
}

/// All that an action may need.
#[derive(Clone)]
pub struct Performer {
    /// What this engine says to the hosts that it changes.
    pub claim: Claim,
    pub platforms: BTreeMap<SourceName, Platform>,
    /// Only these may be changed.
    pub armed: BTreeSet<SourceName>,
    pub prober: Arc<dyn Prober>,
    pub clock: Arc<dyn Clock>,
    /// `None`: there is no file, and settings last as long as the engine.
    pub settings: Option<SettingsFile>,
}

impl Performer {
    /// Does it. `spooled` is called when the increment of a cycle is complete on its source.
    ///
    /// # Errors
    /// What the platform said, and whether trying again can help.
    pub fn perform(
        &self,
        action: &Action,
        control: &Control,
        spooled: &dyn Fn(),
    ) -> Result<Outcome, Failure> {
        match action {
            Action::Step(step) => match &**step {
                Step::RemoveClone { clone } => {
                    let console = self.remove_clone(clone)?;
                    Ok(Outcome::CloneGone { console })
                }
                step => self.step(step).map(|note| Outcome::Done { note }),
            },
            Action::CheckClone {
                clone,
                check,
                timeout_seconds,
                layers,
            } => self
                .check_clone(clone, check, *timeout_seconds, layers, control)
                .map(Outcome::Checked),
            Action::Undo(step) => self.undo(step).map(|()| done()),
            Action::Cycle { spec, resume } => self
                .cycle(spec, *resume, control, spooled)
                .map(Outcome::Shipped),
            Action::Flatten { manifest } => self.flatten(manifest, control).map(|()| done()),
            Action::Merge { merge } => {
                let target = self.hypervisor(&merge.pool.source())?;
                let stored_bytes = target.ensure_merged(merge, control)?;
                Ok(Outcome::Merged { stored_bytes })
            }
            Action::DropVolumes { manifest, volumes } => {
                let target = self.hypervisor(&manifest.target_pool.source())?;
                target.ensure_volumes_absent(
                    &manifest.owner,
                    &manifest.target_pool,
                    &manifest.target_storage,
                    volumes,
                )?;
                Ok(done())
            }
            Action::RemoveReplica { manifest } => self.remove_replica(manifest).map(|()| done()),
            Action::Repair { server, share } => {
                self.repair(server.as_ref(), share).map(|()| done())
            }
            Action::Examine { name, uri } => self.examine(name, uri).map(Outcome::Examined),
            Action::CheckMethods {
                director,
                map,
                backend,
            } => {
                self.balancer(director)?.check_methods(map, backend)?;
                Ok(done())
            }
            Action::Lease { source, uri } => {
                // A source that was only just added may not be connected yet.
                let platform = match self.observe(source) {
                    Ok(platform) => platform,
                    Err(_) => hypervisor::connect(source, uri, &self.claim.engine)?,
                };
                platform.ensure_lease(&self.claim)?;
                Ok(done())
            }
            Action::ReleaseLease { source } => {
                self.observe(source)?.release_lease(&self.claim)?;
                Ok(done())
            }
            Action::Refresh { sources } => {
                let mut fresh = Vec::with_capacity(sources.len());
                for name in sources {
                    fresh.push((name.clone(), self.observe(name)?.inventory()?));
                }
                Ok(Outcome::Refreshed(fresh))
            }
            Action::KeepSettings { was, text } => {
                if let Some(file) = &self.settings {
                    file.keep(was, text).map_err(|error| Failure {
                        kind: ErrorKind::Refused,
                        why: error.to_string(),
                        checkpoint_lost: false,
                    })?;
                }
                Ok(done())
            }
        }
    }

    /// A platform that is only read.
    fn observe(&self, name: &SourceName) -> Result<Arc<dyn Hypervisor>, Failure> {
        match self.platforms.get(name) {
            Some(Platform::Hypervisor(slot)) => {
                slot.get().cloned().ok_or_else(|| not_connected(name))
            }
            _ => Err(not_connected(name)),
        }
    }

    /// A platform that may be changed.
    fn hypervisor(&self, name: &SourceName) -> Result<Arc<dyn Hypervisor>, Failure> {
        self.check_armed(name)?;
        let platform = self.observe(name)?;
        platform.ensure_lease(&self.claim)?;
        Ok(platform)
    }

    /// A balancer that may be changed.
    fn director(&self, name: &SourceName) -> Result<Arc<dyn TrafficDirector>, Failure> {
        self.check_armed(name)?;
        self.balancer(name)
    }

    /// A balancer that is only read.
    fn balancer(&self, name: &SourceName) -> Result<Arc<dyn TrafficDirector>, Failure> {
        match self.platforms.get(name) {
            Some(Platform::Balancer(slot)) => {
                slot.get().cloned().ok_or_else(|| not_connected(name))
            }
            _ => Err(not_connected(name)),
        }
    }

    fn check_armed(&self, name: &SourceName) -> Result<(), Failure> {
        if self.armed.contains(name) {
            return Ok(());
        }
        let why = format!("{name} is read-only; arm it first");
        Err(Failure {
            kind: ErrorKind::Refused,
            why,
            checkpoint_lost: false,
        })
    }

    fn step(&self, step: &Step) -> Result<String, Failure> {
        match step {
            Step::Reserve { .. } | Step::Release { .. } => {}
            Step::StartClone { clone } => self.start_clone(clone)?,
            Step::Replicate { .. }
            | Step::RemoveReplica { .. }
            | Step::CheckClone { .. }
            | Step::RemoveClone { .. } => {
                let why = "the step is an action of its own".to_owned();
                return Err(Failure {
                    kind: ErrorKind::Refused,
                    why,
                    checkpoint_lost: false,
                });
            }
            Step::DefineShadow { spec, .. } => self.define(spec)?,
            Step::StartShadow { source, uuid, .. } => self.power(source, uuid, true, 0)?,
            Step::AwaitAnswer {
                address,
                port,
                path,
                timeout_seconds,
                ..
            } => {
                return self.await_answer(address, *port, path, *timeout_seconds);
            }
            Step::AddServer { director, server } => {
                self.director(director)?.ensure_server(server)?;
            }
            Step::AwaitServer {
                director,
                backend,
                server,
                timeout_seconds,
            } => {
                self.await_server(director, backend, server, *timeout_seconds)?;
            }
            Step::SetShare(share) => self.share(share, share.share)?,
            Step::AwaitDrained {
                director,
                backend,
                server,
                timeout_seconds,
            } => {
                return self.await_drained(director, backend, server, *timeout_seconds);
            }
            Step::RemoveServer {
                director,
                backend,
                server,
            } => {
                self.director(director)?
                    .ensure_server_absent(backend, server)?;
            }
            Step::StopShadow {
                source,
                uuid,
                grace_seconds,
                ..
            } => {
                self.power(source, uuid, false, *grace_seconds)?;
            }
            Step::Refresh { from, spec, .. } => self.swap(from, spec)?,
            Step::RemoveShadow { spec } => {
                self.hypervisor(&spec.pool.source())?
                    .ensure_shadow_absent(spec)?;
            }
            Step::Promotion(step) => return self.promotion(step),
        }
        Ok(String::new())
    }

    fn undo(&self, step: &Step) -> Result<(), Failure> {
        match step {
            Step::DefineShadow { spec, .. } => {
                self.hypervisor(&spec.pool.source())?
                    .ensure_shadow_absent(spec)?;
            }
            Step::StartShadow { source, uuid, .. } => self.power(source, uuid, false, 5)?,
            Step::StartClone { clone } => self
                .hypervisor(&clone.spec.pool.source())?
                .ensure_clone_absent(clone)?,
            Step::AddServer { director, server } => {
                self.director(director)?
                    .ensure_server_absent(&server.backend, &server.server)?;
            }
            Step::SetShare(share) => self.share(share, share.previous_share)?,
            Step::Refresh { from, spec, .. } => self.swap(spec, from)?,
            // On the overlays that it stopped on.
            Step::StopShadow { source, uuid, .. } => self.power(source, uuid, true, 0)?,
            Step::Promotion(step) => self.undo_promotion(step)?,
            // The others change nothing that is not undone by the step that they belong to.
            _ => {}
        }
        Ok(())
    }

    /// Takes the powered off shadow from one set of overlays to another, which are fresh.
    fn swap(&self, from: &ShadowSpec, to: &ShadowSpec) -> Result<(), Failure> {
        self.hypervisor(&from.pool.source())?
            .ensure_shadow_absent(from)?;
        self.define(to)
    }

    fn define(&self, spec: &ShadowSpec) -> Result<(), Failure> {
        let target = self.hypervisor(&spec.pool.source())?;
        let model = match self.model(spec) {
            Ok(model) => model,
            // A primary that cannot be reached: what was made after it stands on the target.
            Err(failure) if failure.kind == ErrorKind::Lost => {
                target.definition(&VmId::of(&spec.pool.source(), &spec.uuid))?
            }
            Err(failure) => return Err(failure),
        };
        target.ensure_shadow(spec, &model)?;
        target.ensure_overlays(spec)?;
        Ok(())
    }

    fn model(&self, spec: &ShadowSpec) -> Result<String, Failure> {
        Ok(self.observe(&spec.of.source())?.definition(&spec.of)?)
    }

    fn power(&self, source: &SourceName, uuid: &str, on: bool, grace: u32) -> Result<(), Failure> {
        let owner = crate::inventory::Owner {
            engine: self.claim.engine.clone(),
            operation: crate::units::OperationId::default(),
        };
        Ok(self
            .hypervisor(source)?
            .ensure_power(&owner, uuid, on, grace)?)
    }

    fn share(&self, spec: &ShareSpec, share: f64) -> Result<(), Failure> {
        let (primary, shadow) = split::weights(spec.base_weight, share);
        let weights = [
            (spec.primary_server.clone(), primary),
            (spec.shadow_server.clone(), shadow),
        ];
        let director = self.director(&spec.director)?;
        if share > 0.0
            && let Some(map) = &spec.method_map
        {
            // Before the first request can come: nothing that writes may lead to where the shadow stands.
            director.ensure_methods(map, &spec.backend)?;
        }
        Ok(director.ensure_weights(&spec.backend, &weights)?)
    }

    fn repair(&self, server: Option<&ServerSpec>, share: &ShareSpec) -> Result<(), Failure> {
        if let Some(server) = server {
            self.director(&share.director)?.ensure_server(server)?;
        }
        self.share(share, share.share)
    }

    /// One point in time from source to target; idempotent by the names in `spec`.
    fn cycle(
        &self,
        spec: &IncrementSpec,
        resume: bool,
        control: &Control,
        spooled: &dyn Fn(),
    ) -> Result<Shipped, Failure> {
        let source = self.hypervisor(&spec.vm.source())?;
        let target = self.hypervisor(&spec.target_pool.source())?;
        let at = match source.ensure_increment(spec, resume, control) {
            Ok(at) => at,
            Err(error) => {
                // Nothing half-made stays; that this may fail too changes nothing about why.
                if let Err(left) = source.ensure_increment_absent(spec) {
                    tracing::warn!(%left, "remains of an increment stay until the next cycle");
                }
                return Err(error.into());
            }
        };
        spooled();
        let mut shipped_bytes = 0;
        let mut digests = Vec::with_capacity(spec.disks.len());
        for disk in 0..spec.disks.len() {
            let mut spool = Digested::new(source.read_spool(spec, disk)?);
            shipped_bytes += target.ensure_layer(spec, disk, &mut spool, control)?;
            digests.push(spool.finish());
        }
        let shipped = Shipped {
            at,
            complete_at: self.clock.now(),
            shipped_bytes,
            digests,
        };
        // Reading took its time. Whoever took over meanwhile counts on the parent checkpoint.
        source.ensure_lease(&self.claim)?;
        // The layers are complete. What lies on the source goes now; the manifest's copy follows the commit.
        source.ensure_increment_finished(spec)?;
        Ok(shipped)
    }

    fn flatten(&self, manifest: &Manifest, control: &Control) -> Result<(), Failure> {
        let target = self.hypervisor(&manifest.target_pool.source())?;
        for (layer, flat) in manifest.flat_volumes() {
            target.ensure_flattened(
                &manifest.target_pool,
                &manifest.target_storage,
                &layer,
                &flat,
                control,
            )?;
        }
        Ok(())
    }

    fn remove_replica(&self, manifest: &Manifest) -> Result<(), Failure> {
        let source = self.hypervisor(&manifest.vm.source())?;
        source.ensure_replication_absent(&manifest.vm, &manifest.owner)?;
        let target = self.hypervisor(&manifest.target_pool.source())?;
        target.ensure_volumes_absent(
            &manifest.owner,
            &manifest.target_pool,
            &manifest.target_storage,
            &manifest.volumes(),
        )?;
        Ok(target.ensure_manifest_absent(manifest)?)
    }

    /// Keeps the manifest's copy on the target up to date; best effort, since ours is the one that counts.
    ///
    /// # Errors
    /// When the target cannot be reached or is full.
    pub fn copy_manifest(&self, manifest: &Manifest) -> Result<(), Failure> {
        Ok(self
            .hypervisor(&manifest.target_pool.source())?
            .ensure_manifest(manifest)?)
    }

    fn await_answer(
        &self,
        address: &str,
        port: u16,
        path: &str,
        timeout_seconds: u32,
    ) -> Result<String, Failure> {
        let probe = Probe::Http {
            address: address.to_owned(),
            port,
            path: path.to_owned(),
        };
        let mut seen = "nothing".to_owned();
        let answered = self.poll(timeout_seconds, || {
            let verdict = self.prober.probe(&probe, PROBE_TIMEOUT);
            seen = verdict.seen;
            Ok(verdict.passed)
        })?;
        match answered {
            Some(after) => Ok(format!("{seen} after {:.0} s", after.as_secs_f64())),
            None => Err(timeout(format!(
                "{address}:{port}{path} did not answer within {timeout_seconds} s; last seen: {seen}"
            ))),
        }
    }

    fn await_server(
        &self,
        director: &SourceName,
        backend: &str,
        server: &str,
        timeout_seconds: u32,
    ) -> Result<(), Failure> {
        let balancer = self.director(director)?;
        let mut seen = "not there".to_owned();
        let up = self.poll(timeout_seconds, || {
            let reading = balancer.read()?;
            let found = reading
                .servers
                .into_iter()
                .find(|s| s.backend == backend && s.server == server);
            Ok(found.is_some_and(|stats| {
                seen = stats.status;
                stats.up
            }))
        })?;
        up.map(drop).ok_or_else(|| {
            timeout(format!(
                "{backend}/{server} was not up within {timeout_seconds} s: {seen}"
            ))
        })
    }

    /// Requests that never end do not keep a shadow: after the deadline it goes on, and says so.
    fn await_drained(
        &self,
        director: &SourceName,
        backend: &str,
        server: &str,
        timeout_seconds: u32,
    ) -> Result<String, Failure> {
        let balancer = self.director(director)?;
        let mut sessions = 0;
        let drained = self.poll(timeout_seconds, || {
            let reading = balancer.read()?;
            let found = reading
                .servers
                .into_iter()
                .find(|s| s.backend == backend && s.server == server);
            sessions = found.map_or(0, |stats| stats.sessions_now);
            Ok(sessions == 0)
        })?;
        Ok(match drained {
            Some(_) => "no request left".to_owned(),
            None => format!("{sessions} requests were still open after {timeout_seconds} s"),
        })
    }

    /// Looks until it is so; `None` when the time is over.
    fn poll(
        &self,
        timeout_seconds: u32,
        mut so: impl FnMut() -> Result<bool, Failure>,
    ) -> Result<Option<Duration>, Failure> {
        let started = self.clock.now();
        let deadline = started.plus_secs(i64::from(timeout_seconds));
        loop {
            if so()? {
                let millis = self.clock.now().as_millis() - started.as_millis();
                return Ok(Some(Duration::from_millis(millis.max(0) as u64)));
            }
            if self.clock.now() >= deadline {
                return Ok(None);
            }
            self.clock.sleep(POLL_MILLIS);
        }
    }

    fn examine(&self, name: &SourceName, uri: &str) -> Result<Examination, Failure> {
        let started = Instant::now();
        if uri.starts_with("haproxy+") {
            let lines = HaproxyDirector::connect(uri)?.examine()?;
            let mut lines = lines.into_iter();
            return Ok(Examination {
                platform: lines.next().unwrap_or_default(),
                findings: lines
                    .map(|text| Finding {
                        works: true,
                        needed: false,
                        text,
                    })
                    .collect(),
                millis: started.elapsed().as_millis() as u64,
            });
        }
        if uri.starts_with(client::SCHEME) {
            let version = Prometheus::at(uri).and_then(|server| server.version())?;
            return Ok(Examination {
                platform: format!("Prometheus API, {version}"),
                findings: vec![Finding {
                    works: true,
                    needed: false,
                    text: format!(
                        "history can be brought from it: shadowcast history backfill {name}"
                    ),
                }],
                millis: started.elapsed().as_millis() as u64,
            });
        }
        let connection = hypervisor::connect(name, uri, &self.claim.engine)?;
        Ok(connection.examine()?)
    }
}

fn done() -> Outcome {
    Outcome::Done {
        note: String::new(),
    }
}

fn not_connected(name: &SourceName) -> Failure {
    Failure {
        kind: ErrorKind::Lost,
        why: format!("{name} is not connected"),
        checkpoint_lost: false,
    }
}

fn timeout(why: String) -> Failure {
    Failure {
        kind: ErrorKind::Refused,
        why,
        checkpoint_lost: false,
    }
}

/// A report of progress that does not flood: one for each percent.
pub fn coarse(
    report: impl Fn(Progress) + Send + Sync + 'static,
) -> impl Fn(Progress) + Send + Sync {
    let last = std::sync::atomic::AtomicU64::new(u64::MAX);
    move |progress: Progress| {
        let percent = (progress.done_bytes * 100)
            .checked_div(progress.total_bytes)
            .unwrap_or(0);
        if last.swap(percent, std::sync::atomic::Ordering::Relaxed) != percent {
            report(progress);
        }
    }
}
