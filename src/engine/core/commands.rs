//! What a face asks for.

use super::{Action, Core, Document, Effect, Fetch, Pending, ReplyTo};
use crate::{
    engine::{
        command::{Answer, Command, ImportedSeries, Reply},
        snapshot::TimelineKind,
    },
    inventory::{Service, ServiceMember},
    problem::Problem,
    units::{ShadowId, SourceName, Timestamp, VmId, printable},
};

/// Forecasts are made no further ahead; every step of it costs.
const MAX_HORIZON_DAYS: u32 = 14;
const MAX_HORIZON_SECONDS: u32 = MAX_HORIZON_DAYS * 86_400;

impl Core {
    pub(super) fn command(
        &mut self,
        at: Timestamp,
        to: ReplyTo,
        command: Command,
        out: &mut Vec<Effect>,
    ) {
        let reply: Reply = match command {
            Command::SourceAdd { uri, name, role } => {
                return self.add_source(to, uri, name, role, out);
            }
            Command::SourceTest { uri } => {
                let known = self.sources.get(&SourceName::new(uri.trim()));
                let (name, uri) = match known {
                    Some(source) => (source.config.name.clone(), source.config.uri.clone()),
                    None => (self.name_for(uri.trim()), uri.trim().to_owned()),
                };
                let action = Action::Examine { name, uri };
                self.perform(Pending::TestSource { to }, action, out);
                return;
            }
            Command::SourceArm { name, armed } => {
                return self.arm_source(at, to, &name, armed, out);
            }
            Command::SourceRemove { name } => self.remove_source(at, &name, out),
            mapping @ Command::ServiceMap { .. } => match self.checked_service(mapping) {
                Ok(service) => match service.method_map.clone() {
                    Some(map) => return self.look_for_methods(to, service, map, out),
                    None => Ok(self.keep_service(at, service, out)),
                },
                Err(problem) => Err(problem),
            },
            Command::ServiceRemove { name } => self.remove_service(at, &name, out),
            Command::EventPut { event } => self.put_event(at, *event, out),
            Command::EventsImport { events } => self.import_events(at, events, out),
            Command::EventRemove { event } => self.remove_event(at, &event, out),
            Command::EventReport { event } => match self.report_of(at, &event) {
                Ok(fetch) => {
                    out.push(Effect::Fetch { to, fetch });
                    return;
                }
                Err(problem) => Err(problem),
            },
            Command::HistoryImport { rows } => return self.import(to, rows, out),
            Command::HistoryBackfill {
                source,
                since_seconds,
                vms,
                metrics,
                query,
            } => {
                let query = query.as_deref();
                return self.backfill(to, &source, since_seconds, &vms, &metrics, query, out);
            }
            Command::HistoryStats => {
                out.push(Effect::Fetch {
                    to,
                    fetch: Fetch::Stats,
                });
                return;
            }
            Command::HistoryVerify => {
                out.push(Effect::Fetch {
                    to,
                    fetch: Fetch::Verify,
                });
                return;
            }
            Command::ShadowPropose {
                vm,
                pool,
                rpo_seconds,
                share,
            } => self.propose_by_hand(at, &vm, pool, rpo_seconds, share, out),
            Command::ShadowRetire { shadow } => self.propose_retire(at, &shadow, out),
            Command::ShadowPromote {
                shadow,
                point,
                attest_fenced,
            } => self.propose_promote(at, &shadow, point, attest_fenced.as_deref(), out),
            Command::ShadowCommit { shadow } => self.propose_commit(at, &shadow, out),
            Command::ShadowRollback { shadow } => self.propose_rollback(at, &shadow, out),
            Command::ShadowValidate { shadow, point } => {
                self.propose_validate(at, &shadow, point, out)
            }
            Command::ShadowPin {
                shadow,
                point,
                pinned,
            } => self.pin(at, &shadow, point, pinned, out),
            Command::Proofs { shadow } => self.evidence(&shadow),
            Command::ShadowRefresh { shadow, point } => {
                self.propose_refresh(at, &shadow, point, out)
            }
            Command::DryRun { of } => return self.dry_run(at, to, *of, out),
            Command::ShadowSync { shadow } => self.sync_now(at, &shadow, out),
            Command::ProposalAdjust { proposal, share } => self.adjust(at, &proposal, share, out),
            Command::Approve {
                proposal,
                digest,
                by,
            } => {
                return self.approve(at, to, &proposal, &digest, by, out);
            }
            Command::Reject { proposal, by, why } => self.reject(at, &proposal, by, why, out),
            Command::Snooze {
                proposal,
                for_seconds,
            } => self.snooze(at, &proposal, for_seconds, out),
            Command::TrafficSet {
                service,
                vm,
                share,
                by,
            } => self.traffic_set(at, &service, vm.as_ref(), share, by, out),
            Command::OperationCancel { operation, by } => self
                .cancel(at, &operation, by, out)
                .map(|()| Answer::Started { operation }),
            Command::OperationResume { operation, by } => self
                .resume(at, &operation, by, out)
                .map(|()| Answer::Started { operation }),
            Command::Reserve {
                pool,
                share,
                until,
                by,
            } => self.reserve(at, &pool, share, until, by, out),
            Command::ReserveRelease { pool, by } => self.release_reservation(at, &pool, &by, out),
            Command::Freeze { frozen, by } => self.freeze(at, frozen, &by, out),
            Command::Settings => Ok(Answer::Settings {
                file: self.settings_file.name.clone(),
                text: self.settings_file.text.clone(),
            }),
            Command::SettingsPreview { text } => self.preview_settings(at, &text),
            Command::SettingsSet { was, text, by } => match self.check_settings(&was, &text) {
                Ok(settings) => {
                    let pending = Pending::Settings {
                        to,
                        text: text.clone(),
                        settings: Box::new(settings),
                        by,
                    };
                    self.perform(pending, Action::KeepSettings { was, text }, out);
                    return;
                }
                Err(problem) => Err(problem),
            },
            Command::VmDetail {
                vm,
                metric,
                past_seconds,
                horizon_seconds,
            } => match self.vms.get(&vm) {
                None => Err(no_vm("The VM was not shown.", &vm)),
                Some(_) if horizon_seconds > MAX_HORIZON_SECONDS => Err(Problem::usage(
                    "The VM was not shown.",
                    format!("nothing is forecast further ahead than {MAX_HORIZON_DAYS} days"),
                    format!("Ask for at most {MAX_HORIZON_DAYS} days."),
                )),
                Some(record) => {
                    let fetch = Fetch::Detail {
                        limit: self.limit(&vm, metric),
                        events: self.acting_on(at, &record.vm),
                        kin: self.kin_of(&record.vm),
                        version: record.detail_version,
                        vm,
                        metric,
                        past_seconds,
                        horizon_seconds,
                    };
                    out.push(Effect::Fetch { to, fetch });
                    return;
                }
            },
            Command::History {
                vm,
                metric,
                from,
                to: until,
                step_seconds,
            } => {
                if self.vms.contains_key(&vm) {
                    let fetch = Fetch::History {
                        vm,
                        metric,
                        from,
                        to: until,
                        step_seconds,
                    };
                    out.push(Effect::Fetch { to, fetch });
                    return;
                }
                Err(no_vm("No history was read.", &vm))
            }
            Command::ForecastRecord { vm, metric } => match self.record_of(at, vm, metric) {
                Ok(fetch) => {
                    out.push(Effect::Fetch { to, fetch });
                    return;
                }
                Err(problem) => Err(problem),
            },
            Command::Runway {
                of,
                metric,
                horizon_days,
            } => match self.runway_of(of, metric, horizon_days) {
                Ok(fetch) => {
                    out.push(Effect::Fetch { to, fetch });
                    return;
                }
                Err(problem) => Err(problem),
            },
            Command::Proposal { proposal } => match self.proposals.get(&proposal) {
                Some(found) => Ok(Answer::Proposal {
                    proposal: found.clone(),
                }),
                None => Err(super::proposals::no_proposal(
                    "The proposal was not shown.",
                    &proposal,
                )),
            },
            Command::Journal { operation } => {
                if self.operations.contains_key(&operation) {
                    out.push(Effect::Fetch {
                        to,
                        fetch: Fetch::Journal { operation },
                    });
                    return;
                }
                Err(Problem::failed(
                    "The journal was not shown.",
                    format!("there is no operation {operation}"),
                    "See `shadowcast operations`.",
                ))
            }
            Command::Settle => {
                self.settling.push(to);
                return;
            }
        };
        out.push(Effect::Reply { to, reply });
    }

    /// Answers `Settle` once every source was heard and the fleet has been forecast and decided on.
    pub(super) fn settle(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        if self.settling.is_empty() {
            return;
        }
        let heard = self.sources.values().all(|source| {
            source.heard
                && (source.sampled >= 2 || source.error.is_some() || !source.config.is_hypervisor())
        });
        let forecast = self.vms.is_empty() || self.forecast.rounds > 0;
        if heard && forecast {
            self.decide(at, out);
            for to in std::mem::take(&mut self.settling) {
                let reply = Ok(Answer::Done {
                    text: "Every source was read.".to_owned(),
                });
                out.push(Effect::Reply { to, reply });
            }
        }
    }

    /// The service as it would be kept, where nothing speaks against it.
    fn checked_service(&self, mapping: Command) -> Result<Service, Problem> {
        let what = "The service was not mapped.";
        let Command::ServiceMap {
            name,
            kind,
            director,
            backend,
            members,
            guest_port,
            guest_address,
            probe_path,
            outbound_allowed,
            method_map,
        } = mapping
        else {
            return Err(super::unexpected_outcome(what));
        };
        let director = self.director_for(what, director)?;
        let mut mapped = Vec::with_capacity(members.len());
        for (vm, server) in members {
            let vm = self.find_vm(what, &vm)?;
            if self.stats(&director, &backend, &server).is_none() {
                return Err(Problem::failed(
                    what,
                    format!(
                        "{director} has no server {}/{}",
                        printable(&backend),
                        printable(&server)
                    ),
                    "`shadowcast traffic show` lists the backends and servers that it has.",
                ));
            }
            if let Some(other) = self.service_of(&vm).filter(|service| service.name != name) {
                return Err(Problem::refused(
                    what,
                    format!(
                        "{} carries the service {} already",
                        self.vm_name(&vm),
                        other.name
                    ),
                    "Remove that mapping first: `shadowcast service remove`.",
                ));
            }
            mapped.push(ServiceMember { vm, server });
        }
        if mapped.is_empty() {
            return Err(Problem::usage(
                what,
                "no VM was named",
                "Name at least one VM=backend/server.",
            ));
        }
        let valid = name
            .0
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        if name.0.is_empty() || name.0.len() > 64 || !valid {
            return Err(Problem::usage(
                what,
                format!("{:?} is not a name for a service", printable(&name.0)),
                "Use letters, digits, '-', '_' and '.', at most 64.",
            ));
        }
        let service = Service {
            name,
            kind,
            director,
            backend,
            members: mapped,
            guest_port,
            guest_address,
            probe_path,
            outbound_allowed,
            method_map,
        };
        Self::check_method_map(&service)?;
        Ok(service)
    }

    pub(super) fn keep_service(
        &mut self,
        at: Timestamp,
        service: Service,
        out: &mut Vec<Effect>,
    ) -> Answer {
        let name = service.name.clone();
        out.push(Effect::Put(Document::Service(service.clone())));
        let text = format!("Service {name} mapped");
        self.services.insert(name, service);
        self.event(
            at,
            TimelineKind::Traffic,
            text.clone(),
            None,
            None,
            false,
            out,
        );
        Answer::Done { text }
    }

    fn director_for(&self, what: &str, named: Option<SourceName>) -> Result<SourceName, Problem> {
        let balancers: Vec<&SourceName> = self
            .sources
            .values()
            .filter(|source| source.config.is_balancer())
            .map(|source| &source.config.name)
            .collect();
        match (named, balancers.as_slice()) {
            (Some(name), known) if known.contains(&&name) => Ok(name),
            (Some(name), _) => Err(Problem::failed(
                what,
                format!("{name} is not a balancer that was added"),
                "Add it: `shadowcast source add haproxy+unix:///path/to/socket`.",
            )),
            (None, [one]) => Ok((*one).clone()),
            (None, []) => Err(Problem::failed(
                what,
                "no balancer was added",
                "Add it: `shadowcast source add haproxy+unix:///path/to/socket`.",
            )),
            (None, _) => Err(Problem::usage(
                what,
                "there are several balancers",
                "Name one with --director.",
            )),
        }
    }

    fn remove_service(
        &mut self,
        at: Timestamp,
        name: &crate::units::ServiceName,
        out: &mut Vec<Effect>,
    ) -> Reply {
        let what = "The mapping was not removed.";
        if !self.services.contains_key(name) {
            return Err(Problem::failed(
                what,
                format!("there is no service named {name}"),
                "`shadowcast service list` shows the names.",
            ));
        }
        let used = self.shadows.values().find(|shadow| {
            shadow
                .share
                .as_ref()
                .is_some_and(|share| share.service == *name)
        });
        if let Some(shadow) = used {
            return Err(Problem::refused(
                what,
                format!("the shadow of {} takes its traffic", shadow.vm_name),
                "Retire that shadow first.",
            ));
        }
        self.services.remove(name);
        out.push(Effect::Put(Document::ServiceGone(name.clone())));
        let text = format!("Mapping of {name} removed");
        self.event(
            at,
            TimelineKind::Traffic,
            text.clone(),
            None,
            None,
            false,
            out,
        );
        Ok(Answer::Done { text })
    }

    /// A VM by its id or its name.
    pub(super) fn find_vm(&self, what: &str, text: &str) -> Result<VmId, Problem> {
        let id = VmId::new(text);
        if self.vms.contains_key(&id) {
            return Ok(id);
        }
        let named: Vec<&VmId> = self
            .vms
            .iter()
            .filter(|(_, record)| record.vm.name == text)
            .map(|(id, _)| id)
            .collect();
        match named.as_slice() {
            [one] => Ok((*one).clone()),
            [] => Err(no_vm(what, &id)),
            several => {
                let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
                Err(Problem::usage(
                    what,
                    format!(
                        "several VMs are named {}: {}",
                        printable(text),
                        ids.join(", ")
                    ),
                    "Give the id of the one that you mean.",
                ))
            }
        }
    }

    fn import(&mut self, to: ReplyTo, rows: Vec<ImportedSeries>, out: &mut Vec<Effect>) {
        let mut known = Vec::new();
        let mut unknown = Vec::new();
        for row in rows {
            match self.find_vm("", &row.vm) {
                Ok(vm) => known.push((vm, row)),
                Err(_) if unknown.contains(&row.vm) => {}
                Err(_) => unknown.push(row.vm),
            }
        }
        if known.is_empty() {
            let names: Vec<String> = unknown.iter().take(5).map(|name| printable(name)).collect();
            let why = if names.is_empty() {
                "the file holds no values".to_owned()
            } else {
                format!("no VM is named {}", names.join(", "))
            };
            let reply = Err(Problem::failed(
                "No history was imported.",
                why,
                "Add the source that has these VMs first; `shadowcast vms` shows the names.",
            ));
            out.push(Effect::Reply { to, reply });
            return;
        }
        out.push(Effect::Fetch {
            to,
            fetch: Fetch::Import { known, unknown },
        });
    }

    fn sync_now(&mut self, at: Timestamp, shadow: &ShadowId, out: &mut Vec<Effect>) -> Reply {
        let what = "No point was taken.";
        let Some(manifest) = self.manifests.get(shadow) else {
            return Err(Problem::failed(
                what,
                format!("there is no shadow {shadow}"),
                "`shadowcast shadow list` shows them.",
            ));
        };
        self.check_not_promoted(what, shadow)?;
        if !manifest.active {
            return Err(Problem::refused(
                what,
                "the shadow is being made or retired",
                "Wait for its operation.",
            ));
        }
        let sources = [manifest.vm.source(), manifest.target_pool.source()];
        self.check_may_act(what, sources.iter())?;
        self.replicas.entry(shadow.clone()).or_default().sync_now = true;
        self.run_cycles(at, out);
        Ok(Answer::Done {
            text: format!("A point of {shadow} is being taken."),
        })
    }

    /// Lets the command propose, and forgets what it proposed; only its answer leaves.
    fn dry_run(&mut self, at: Timestamp, to: ReplyTo, of: Command, out: &mut Vec<Effect>) {
        if !matches!(
            of,
            Command::ShadowPropose { .. }
                | Command::ShadowRetire { .. }
                | Command::ShadowRefresh { .. }
                | Command::ShadowValidate { .. }
        ) {
            let reply = Err(Problem::usage(
                "Nothing was planned.",
                "only what proposes a plan can be tried",
                "Ask for a shadow to be created, validated, refreshed or retired.",
            ));
            out.push(Effect::Reply { to, reply });
            return;
        }
        let proposals = self.proposals.clone();
        let mut proposed = Vec::new();
        self.command(at, to, of, &mut proposed);
        self.proposals = proposals;
        let is_answer = |effect: &Effect| matches!(effect, Effect::Reply { .. });
        out.extend(proposed.into_iter().filter(is_answer));
    }

    fn freeze(&mut self, at: Timestamp, frozen: bool, by: &str, out: &mut Vec<Effect>) -> Reply {
        if let (false, Some(why)) = (frozen, &self.store_failed) {
            return Err(Problem::refused(
                "Automation stays stopped.",
                format!("the journal cannot be written: {why}"),
                "Mend that (space, permission) and start the engine again.",
            ));
        }
        self.frozen = frozen;
        out.push(Effect::Put(Document::Frozen(frozen)));
        let text = if frozen {
            format!("Automation stopped by {by}; gates still return traffic")
        } else {
            format!("Automation goes on, by {by}")
        };
        self.event(
            at,
            TimelineKind::Engine,
            text.clone(),
            None,
            None,
            false,
            out,
        );
        Ok(Answer::Done { text })
    }

    /// Nothing is changed while frozen, broken or read-only.
    pub(super) fn check_may_act<'a>(
        &self,
        what: &str,
        sources: impl IntoIterator<Item = &'a SourceName>,
    ) -> Result<(), Problem> {
        if let Some(why) = &self.store_failed {
            return Err(Problem::refused(
                what,
                format!("the journal cannot be written: {why}"),
                "Mend that (space, permission) and start the engine again.",
            ));
        }
        if self.frozen {
            return Err(Problem::refused(
                what,
                "automation is stopped",
                "Let it go on: `shadowcast thaw`.",
            ));
        }
        for name in sources {
            let Some(source) = self.sources.get(name) else {
                return Err(super::sources::no_source(what, name));
            };
            if !source.config.armed {
                return Err(Problem::refused(
                    what,
                    format!("{name} is read-only"),
                    format!("Let it be changed: `shadowcast source arm {name}`."),
                ));
            }
        }
        Ok(())
    }
}

pub(super) fn no_vm(what: &str, vm: &VmId) -> Problem {
    Problem::failed(
        what,
        format!("there is no VM {}", printable(vm.as_str())),
        "`shadowcast vms` shows names and ids.",
    )
}
