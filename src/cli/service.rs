//! `service map|list|remove`, `services`: which VM stands behind which balancer server.

use clap::{Args, Subcommand};

use super::{
    context::{Context, ask_and_say, settle},
    json,
    output::{self, Listing},
    parse::{self, Member},
};
use crate::{
    engine::command::Command,
    inventory::{Service as Mapped, ServiceKind},
    problem::Problem,
    units::{ServiceName, SourceName},
};

/// Which VM stands behind which balancer server
#[derive(Subcommand)]
pub enum Service {
    Map(Map),
    List(List),
    Remove(Remove),
}

impl Service {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Map(verb) => verb.run(context),
            Self::List(verb) => verb.run(context),
            Self::Remove(verb) => verb.run(context),
        }
    }
}

/// Say which VMs serve a service, and what its traffic allows
#[derive(Args)]
pub struct Map {
    name: String,
    /// VM by name or id, and its server at the balancer
    #[arg(required = true, value_name = "VM=BACKEND/SERVER", value_parser = parse::member)]
    members: Vec<Member>,
    #[command(flatten)]
    kind: Kind,
    /// The balancer's source; may be left out where there is one
    #[arg(long, alias = "director", value_name = "SOURCE")]
    balancer: Option<String>,
    /// The TCP port inside the guest
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// The guest's own static address with prefix, for example 192.0.2.10/24
    #[arg(long, value_name = "ADDRESS/PREFIX")]
    address: Option<String>,
    /// The path that a healthy service answers
    #[arg(long, default_value = "/", value_name = "PATH")]
    probe: String,
    /// With --read-only: the balancer's map that leads GET and HEAD to the backend, as its configuration names it
    #[arg(long = "method-map", value_name = "FILE", requires = "read_only")]
    methods: Option<String>,
    /// Let shadows open connections outward
    #[arg(long)]
    outbound: bool,
}

/// What the service's traffic allows.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Kind {
    /// A clone may answer any request
    #[arg(long)]
    stateless: bool,
    /// A clone may answer GET and HEAD; the balancer must route by method, see --method-map
    #[arg(long)]
    read_only: bool,
    /// A clone may not answer: its shadows replicate and stay off
    #[arg(long)]
    stateful: bool,
}

impl Kind {
    const fn chosen(&self) -> ServiceKind {
        if self.stateless {
            ServiceKind::Stateless
        } else if self.read_only {
            ServiceKind::ReadOnly
        } else {
            ServiceKind::Stateful
        }
    }
}

impl Map {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let backend = self.backend()?.to_owned();
        let session = context.open()?;
        settle(&session.handle)?;
        ask_and_say(
            &session.handle,
            Command::ServiceMap {
                name: ServiceName::new(&*self.name),
                kind: self.kind.chosen(),
                director: self.balancer.as_deref().map(SourceName::from),
                backend,
                members: (self.members.iter())
                    .map(|member| (member.vm.clone(), member.server.clone()))
                    .collect(),
                guest_port: self.port,
                guest_address: self.address.clone(),
                probe_path: self.probe.clone(),
                outbound_allowed: self.outbound,
                method_map: self.methods.clone(),
            },
        )
    }

    fn backend(&self) -> Result<&str, Problem> {
        let mut backends: Vec<&str> = (self.members.iter())
            .map(|member| member.backend.as_str())
            .collect();
        backends.sort_unstable();
        backends.dedup();
        match backends[..] {
            [backend] => Ok(backend),
            _ => Err(Problem::usage(
                "The service was not mapped.",
                format!(
                    "Its members stand in several backends: {}.",
                    backends.join(", ")
                ),
                "Map one service for each backend.",
            )),
        }
    }
}

/// List the services
#[derive(Args)]
pub struct List {
    #[arg(long)]
    json: bool,
}

impl List {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::services(&now));
        }
        let mut listing = Listing::new(&[
            "name", "kind", "balancer", "backend", "members", ">port", "probe", "outward", "limits",
        ]);
        for view in &now.services {
            let service = &view.service;
            let outward = if service.outbound_allowed {
                "allowed"
            } else {
                "denied"
            };
            let limits = match (&view.error, view.sticky) {
                (Some(error), _) => error.as_str(),
                (None, true) => "sticky sessions: a share moves only new ones",
                (None, false) if service.method_map.is_some() => "GET and HEAD only",
                (None, false) if service.kind == ServiceKind::ReadOnly => {
                    "not routed by method: no copy serves"
                }
                (None, false) => "",
            };
            listing.row([
                (&service.name).into(),
                output::word(&service.kind).into(),
                (&service.director).into(),
                (&service.backend).into(),
                members_text(service).into(),
                service.guest_port.into(),
                (&service.probe_path).into(),
                outward.into(),
                limits.into(),
            ]);
        }
        listing.show_or(
            "No services. Map one: `shadowcast service map NAME VM=BACKEND/SERVER --stateless`.",
        )
    }
}

fn members_text(service: &Mapped) -> String {
    let members: Vec<String> = (service.members.iter())
        .map(|member| format!("{}={}", member.vm, member.server))
        .collect();
    members.join(", ")
}

/// Forget a service; its balancer is not touched
#[derive(Args)]
pub struct Remove {
    name: String,
}

impl Remove {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let session = context.open()?;
        ask_and_say(
            &session.handle,
            Command::ServiceRemove {
                name: ServiceName::new(&*self.name),
            },
        )
    }
}
