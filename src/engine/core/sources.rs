//! Connections: adding, testing, arming, removing.

use serde::{Deserialize, Serialize};

use super::{Action, Core, Document, Effect, Failure, Outcome, Pending, ReplyTo, SourceRole};
use crate::{
    engine::{command::Answer, snapshot::TimelineKind},
    hypervisor::ErrorKind,
    inventory::Role,
    problem::{Problem, ProblemKind},
    units::{SourceName, Timestamp, VmId, printable},
};

/// How often a console says that it lives; a quarter of the time after which others would take over.
const KEEP_LEASE_SECONDS: i64 = 15;

const NOT_ARMED: &str = "The source was not armed.";
const NOT_DISARMED: &str = "The source was not disarmed.";

/// What the address of a server that only keeps history begins with.
const PROMETHEUS: &str = "prometheus+";

/// A source as it was added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceConfig {
    pub name: SourceName,
    pub uri: String,
    pub kind: SourceRole,
    /// Acting is switched on.
    pub armed: bool,
    /// When a back-fill from it ended last.
    #[serde(default)]
    pub last_backfill: Option<Timestamp>,
}

/// A source and how it does.
#[derive(Clone, Debug)]
pub struct Source {
    pub config: SourceConfig,
    pub last_ok: Option<Timestamp>,
    pub error: Option<String>,
    pub error_since: Option<Timestamp>,
    pub hung: Vec<VmId>,
    pub last_millis: u64,
    /// Inventory (or the balancer's statistics) came at least once, or failed at least once.
    pub heard: bool,
    /// Rounds of samples that came; two make rates.
    pub sampled: u32,
    /// Why another console may change it and this one may not.
    pub held_elsewhere: Option<String>,
    pub lease_asked: Option<Timestamp>,
}

impl Source {
    pub fn new(config: SourceConfig) -> Self {
        Self {
            config,
            last_ok: None,
            error: None,
            error_since: None,
            hung: Vec::new(),
            last_millis: 0,
            heard: false,
            sampled: 0,
            held_elsewhere: None,
            lease_asked: None,
        }
    }
}

impl SourceConfig {
    pub fn is_balancer(&self) -> bool {
        self.kind == SourceRole::Balancer
    }

    pub fn is_history(&self) -> bool {
        self.kind == SourceRole::History
    }

    pub fn is_hypervisor(&self) -> bool {
        matches!(self.kind, SourceRole::Hypervisor(_))
    }

    pub fn role(&self) -> Role {
        match self.kind {
            SourceRole::Hypervisor(role) => role,
            SourceRole::Balancer | SourceRole::History => Role::Both,
        }
    }
}

impl Core {
    pub(super) fn add_source(
        &mut self,
        to: ReplyTo,
        uri: String,
        name: Option<SourceName>,
        role: Role,
        out: &mut Vec<Effect>,
    ) {
        let what = "The source was not added.";
        let uri = uri.trim().to_owned();
        let kind = if uri.starts_with("haproxy+") {
            SourceRole::Balancer
        } else if uri.starts_with(PROMETHEUS) {
            SourceRole::History
        } else {
            SourceRole::Hypervisor(role)
        };
        let name = name.unwrap_or_else(|| self.name_for(&uri));
        if let Err(problem) = self.check_name(what, &name, &uri) {
            out.push(Effect::Reply {
                to,
                reply: Err(problem),
            });
            return;
        }
        let config = SourceConfig {
            name,
            uri: uri.clone(),
            kind,
            armed: false,
            last_backfill: None,
        };
        let action = Action::Examine {
            name: config.name.clone(),
            uri,
        };
        self.perform(Pending::AddSource { to, config }, action, out);
    }

    fn check_name(&self, what: &str, name: &SourceName, uri: &str) -> Result<(), Problem> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.0.is_empty() || name.0.len() > 64 || !name.0.chars().all(allowed) {
            return Err(Problem::usage(
                what,
                format!("{:?} is not a name for a source", printable(&name.0)),
                "Use letters, digits, '-', '_' and '.', at most 64.",
            ));
        }
        if self.sources.contains_key(name) {
            return Err(Problem::refused(
                what,
                format!("there is a source named {name} already"),
                "Choose another with --name, or remove that one first.",
            ));
        }
        if let Some(other) = self
            .sources
            .values()
            .find(|source| source.config.uri == uri)
        {
            return Err(Problem::refused(
                what,
                format!("{} has the same address", other.config.name),
                "Use that one; `shadowcast source list` shows it.",
            ));
        }
        Ok(())
    }

    /// `qemu+ssh://ops@kvm-01.example.net/system` becomes `kvm-01.example.net`.
    pub(super) fn name_for(&self, uri: &str) -> SourceName {
        let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host.rsplit('@').next().unwrap_or_default();
        let host: String = host
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        let base = match host.trim_matches('-') {
            "" if uri.starts_with("haproxy") => "balancer",
            "" if uri.starts_with(PROMETHEUS) => "prometheus",
            "" => "local",
            host => host,
        };
        let mut name = SourceName::new(base);
        let mut number = 2;
        while self.sources.contains_key(&name) {
            name = SourceName(format!("{base}-{number}"));
            number += 1;
        }
        name
    }

    pub(super) fn source_examined(
        &mut self,
        at: Timestamp,
        to: ReplyTo,
        config: SourceConfig,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let what = "The source was not added.";
        let reply = match result {
            Ok(Outcome::Examined(examination)) => {
                match self.check_name(what, &config.name, &config.uri) {
                    Err(problem) => Err(problem),
                    Ok(()) => {
                        let text = format!(
                            "Source {} added, read-only: {}, answered in {} ms",
                            config.name, examination.platform, examination.millis
                        );
                        self.sources
                            .insert(config.name.clone(), Source::new(config.clone()));
                        out.push(Effect::Put(Document::Source(config.clone())));
                        out.push(Effect::Watch(config));
                        self.event(
                            at,
                            TimelineKind::Source,
                            text.clone(),
                            None,
                            None,
                            false,
                            out,
                        );
                        Ok(Answer::Done { text })
                    }
                }
            }
            Ok(_) => Err(super::unexpected_outcome(what)),
            Err(failure) => Err(unusable(what, &failure)),
        };
        out.push(Effect::Reply { to, reply });
    }

    /// Arming takes the host's lease first: a host that another console changes stays read-only here.
    pub(super) fn arm_source(
        &mut self,
        at: Timestamp,
        to: ReplyTo,
        name: &SourceName,
        armed: bool,
        out: &mut Vec<Effect>,
    ) {
        let what = if armed { NOT_ARMED } else { NOT_DISARMED };
        let Some(source) = self.sources.get(name) else {
            let reply = Err(no_source(what, name));
            out.push(Effect::Reply { to, reply });
            return;
        };
        let source_name = name.clone();
        if source.config.is_history() {
            let reply = Self::never_armed(what, name);
            out.push(Effect::Reply { to, reply });
            return;
        }
        if armed && !source.config.is_balancer() {
            let action = Action::Lease {
                source: source_name.clone(),
                uri: source.config.uri.clone(),
            };
            let pending = Pending::Arm {
                to,
                source: source_name,
            };
            self.perform(pending, action, out);
            return;
        }
        if !source.config.is_balancer() && source.config.armed {
            let action = Action::ReleaseLease {
                source: source_name.clone(),
            };
            let pending = Pending::Lease {
                source: source_name,
            };
            self.perform(pending, action, out);
        }
        let reply = self.set_armed(at, name, armed, out);
        out.push(Effect::Reply { to, reply });
    }

    /// The lease was asked for, in order to arm.
    pub(super) fn armed(
        &mut self,
        at: Timestamp,
        to: ReplyTo,
        name: &SourceName,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let reply = match result {
            Err(failure) if failure.kind == ErrorKind::Refused => Err(Problem::refused(
                NOT_ARMED,
                failure.why,
                "Work at that console, or close it and arm here.",
            )),
            // A host that does not answer is asked for its lease before its first change.
            Ok(_) | Err(_) => self.set_armed(at, name, true, out),
        };
        out.push(Effect::Reply { to, reply });
    }

    fn set_armed(
        &mut self,
        at: Timestamp,
        name: &SourceName,
        armed: bool,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Problem> {
        let what = if armed { NOT_ARMED } else { NOT_DISARMED };
        let source = self
            .sources
            .get_mut(name)
            .ok_or_else(|| no_source(what, name))?;
        source.config.armed = armed;
        source.held_elsewhere = None;
        source.lease_asked = armed.then_some(at);
        out.push(Effect::Put(Document::Source(source.config.clone())));
        let text = if armed {
            format!("{name} is armed: approved plans may change it")
        } else {
            format!("{name} is read-only again")
        };
        self.event(
            at,
            TimelineKind::Source,
            text.clone(),
            None,
            None,
            false,
            out,
        );
        Ok(Answer::Done { text })
    }

    /// Says to the armed hosts, now and then, that this console lives.
    pub(super) fn keep_leases(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        let due: Vec<SourceName> = self
            .sources
            .values()
            .filter(|source| source.config.armed && !source.config.is_balancer() && source.heard)
            .filter(|source| {
                let asked = source.lease_asked;
                asked.is_none_or(|asked| at.secs_since(asked) >= KEEP_LEASE_SECONDS)
            })
            .map(|source| source.config.name.clone())
            .collect();
        for source in due {
            let Some(known) = self.sources.get_mut(&source) else {
                continue;
            };
            known.lease_asked = Some(at);
            let action = Action::Lease {
                source: source.clone(),
                uri: known.config.uri.clone(),
            };
            self.perform(Pending::Lease { source }, action, out);
        }
    }

    /// Whether the host is still ours to change; that it cannot be reached is told by its readings.
    pub(super) fn lease_ended(
        &mut self,
        at: Timestamp,
        name: &SourceName,
        result: Result<Outcome, Failure>,
        out: &mut Vec<Effect>,
    ) {
        let Some(source) = self.sources.get_mut(name) else {
            return;
        };
        let elsewhere = match result {
            Ok(_) => None,
            Err(failure) if failure.kind == ErrorKind::Refused => Some(failure.why),
            Err(_) => return,
        };
        let news = match (&source.held_elsewhere, &elsewhere) {
            (None, Some(why)) => Some((format!("{name} cannot be changed from here: {why}"), true)),
            (Some(_), None) => Some((format!("{name} can be changed from here again"), false)),
            _ => None,
        };
        source.held_elsewhere = elsewhere;
        if let Some((text, bad)) = news {
            self.event(at, TimelineKind::Source, text, None, None, bad, out);
        }
    }

    pub(super) fn remove_source(
        &mut self,
        at: Timestamp,
        name: &SourceName,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Problem> {
        let what = "The source was not removed.";
        if !self.sources.contains_key(name) {
            return Err(no_source(what, name));
        }
        let used = self.shadows.values().find(|shadow| {
            shadow.vm.source() == *name
                || shadow
                    .hold
                    .as_ref()
                    .is_some_and(|hold| hold.pool.source() == *name)
                || shadow
                    .server
                    .as_ref()
                    .is_some_and(|(director, _)| director == name)
        });
        if let Some(shadow) = used {
            return Err(Problem::refused(
                what,
                format!("the shadow of {} needs it", shadow.vm_name),
                format!("Retire it first: `shadowcast shadow retire {}`.", shadow.id),
            ));
        }
        self.sources.remove(name);
        self.vms.retain(|id, _| id.source() != *name);
        self.pools.retain(|id, _| id.source() != *name);
        self.balancers.remove(name);
        self.drop_reservations_of(name, out);
        let services: Vec<_> = self
            .services
            .values()
            .filter(|service| service.director == *name)
            .map(|service| service.name.clone())
            .collect();
        for service in services {
            self.services.remove(&service);
            out.push(Effect::Put(Document::ServiceGone(service)));
        }
        let stale: Vec<_> = self
            .proposals
            .values()
            .filter(|proposal| proposal.plan.vm.source() == *name)
            .map(|proposal| proposal.id.clone())
            .collect();
        for proposal in stale {
            self.make_stale(&proposal, "its source was removed", out);
        }
        self.views.vms = None;
        out.push(Effect::Put(Document::SourceGone(name.clone())));
        out.push(Effect::Unwatch(name.clone()));
        let text = format!("Source {name} removed");
        self.event(
            at,
            TimelineKind::Source,
            text.clone(),
            None,
            None,
            false,
            out,
        );
        Ok(Answer::Done { text })
    }

    /// Notes how a source answered; events only when that changes.
    pub(super) fn source_answered(
        &mut self,
        at: Timestamp,
        name: &SourceName,
        error: Option<String>,
        millis: u64,
        out: &mut Vec<Effect>,
    ) {
        let Some(source) = self.sources.get_mut(name) else {
            return;
        };
        source.heard = true;
        source.last_millis = millis;
        let news = match (&source.error, &error) {
            (None, Some(why)) => {
                source.error_since = Some(at);
                Some((format!("{name} does not answer: {why}"), true))
            }
            (Some(_), None) => Some((format!("{name} answers again"), false)),
            _ => None,
        };
        if error.is_none() {
            source.last_ok = Some(at);
        }
        source.error = error;
        if let Some((text, bad)) = news {
            self.event(at, TimelineKind::Source, text, None, None, bad, out);
        }
    }
}

pub(super) fn no_source(what: &str, name: &SourceName) -> Problem {
    Problem::failed(
        what,
        format!("there is no source named {}", printable(&name.0)),
        "`shadowcast source list` shows the names.",
    )
}

/// A source that could not be opened or asked.
pub(super) fn unusable(what: &str, failure: &Failure) -> Problem {
    let (kind, next) = match failure.kind {
        ErrorKind::Lost | ErrorKind::Transient => (
            ProblemKind::Unreachable,
            "Check that the host runs, that its libvirt daemon, balancer or Prometheus listens, and that the address is right.",
        ),
        ErrorKind::Refused | ErrorKind::Unsupported => (
            ProblemKind::Usage,
            "Correct the address, or give this user the permission that is named.",
        ),
    };
    Problem::new(kind, what, failure.why.clone(), next)
}
