//! `traffic show|set`: the split of live traffic between primaries and shadows.

use clap::{Args, Subcommand};

use super::{
    context::{Context, operator},
    decide, json, names,
    output::{self, Listing, Text},
    parse,
};
use crate::{engine::command::Command, problem::Problem, units::ServiceName};

/// The split of live traffic
#[derive(Subcommand)]
pub enum Traffic {
    Show(Show),
    Set(Set),
}

impl Traffic {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Show(verb) => verb.run(context),
            Self::Set(verb) => verb.run(context),
        }
    }
}

/// Show the weights as the balancer has them, with errors and response times
#[derive(Args)]
pub struct Show {
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::traffic(&now));
        }
        let mut listing = Listing::new(&[
            "service",
            "server",
            "vm",
            "side",
            ">weight",
            "state",
            ">requests",
            ">errors",
            ">response",
        ]);
        for view in &now.services {
            if let Some(error) = &view.error {
                output::note(format!("! {}: {error}", view.service.name));
            }
            for server in &view.servers {
                let vm = (server.vm.as_ref()).map(|id| match now.vm(id) {
                    Some(known) => known.vm.name.clone(),
                    None => id.to_string(),
                });
                listing.row([
                    (&view.service.name).into(),
                    (&server.server).into(),
                    output::or_dash(vm).into(),
                    if server.is_shadow {
                        "shadow"
                    } else {
                        "primary"
                    }
                    .into(),
                    server.weight.0.into(),
                    if server.up {
                        Text::good("up")
                    } else {
                        Text::bad("down")
                    },
                    per_second(server.requests_per_second).into(),
                    per_second(server.errors_per_second).into(),
                    output::or_dash(
                        server
                            .response_millis
                            .map(|millis| format!("{millis:.1} ms")),
                    )
                    .into(),
                ]);
            }
        }
        listing.show_or(
            "No services. Map one: `shadowcast service map NAME VM=BACKEND/SERVER --stateless`.",
        )?;
        for view in &now.services {
            output::line(&format!(
                "{}: {} on the shadow",
                view.service.name,
                output::percent(view.shadow_share)
            ))?;
        }
        Ok(())
    }
}

fn per_second(count: Option<f64>) -> String {
    output::or_dash(count.map(|count| format!("{count:.1} /s")))
}

/// Move a part of a VM's traffic to its shadow, or back, at once
#[derive(Args)]
pub struct Set {
    service: String,
    /// The shadow's part of its VM's traffic, for example 25%
    #[arg(long, value_name = "SHARE", value_parser = parse::share)]
    shadow: f64,
    /// Which VM's traffic, where several have a shadow
    #[arg(long)]
    vm: Option<String>,
}

impl Set {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let vm = (self.vm.as_deref())
            .map(|word| names::vm(&now, word).map(|view| view.vm.id.clone()))
            .transpose()?;
        let answer = session.handle.ask(Command::TrafficSet {
            service: ServiceName::new(&*self.service),
            vm,
            share: self.shadow,
            by: operator(),
        })?;
        decide::after(&session, answer, false, false)
    }
}
