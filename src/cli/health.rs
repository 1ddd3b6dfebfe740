//! `health [VM]`: the score with its contributions.

use clap::Args;

use super::{
    context::Context,
    json::{HealthJson, Healths},
    names,
    output::{self, Listing},
};
use crate::{
    engine::snapshot::{Snapshot, VmView},
    problem::Problem,
};

/// Show health scores, worst first, or one VM's score with what it is made of
#[derive(Args)]
pub struct Health {
    /// VM by name or id
    vm: Option<String>,
    #[arg(long)]
    json: bool,
}

impl Health {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        match (&self.vm, self.json) {
            (Some(word), true) => output::json(&HealthJson::from(names::vm(&now, word)?)),
            (Some(word), false) => one(names::vm(&now, word)?),
            (None, true) => output::json(&Healths {
                health: worst_first(&now).into_iter().map(Into::into).collect(),
            }),
            (None, false) => all(&now),
        }
    }
}

/// Unknown scores come last: they ask for nothing yet.
fn worst_first(now: &Snapshot) -> Vec<&VmView> {
    let mut views: Vec<&VmView> = now.vms.iter().collect();
    views.sort_by_key(|view| {
        let score = view.health.score;
        (score.is_none(), score)
    });
    views
}

fn one(view: &VmView) -> Result<(), Problem> {
    let health = &view.health;
    output::line(&format!(
        "{}: {} ({})",
        view.vm.name,
        output::or_dash(health.score),
        output::word(&health.state)
    ))?;
    let mut listing = Listing::new(&["contribution", ">points", "why"]);
    for contribution in &health.contributions {
        listing.row([
            (&contribution.name).into(),
            format!("−{}", contribution.points).into(),
            (&contribution.why).into(),
        ]);
    }
    listing.show_or("Nothing takes points away.")
}

fn all(now: &Snapshot) -> Result<(), Problem> {
    let mut listing = Listing::new(&["vm", ">score", "state", "most of it"]);
    for view in worst_first(now) {
        let health = &view.health;
        let worst = (health.contributions.iter())
            .max_by_key(|contribution| contribution.points)
            .map(|contribution| format!("{}: {}", contribution.name, contribution.why));
        listing.row([
            (&view.vm.name).into(),
            output::health_text(health.state, output::or_dash(health.score)),
            output::word(&health.state).into(),
            worst.unwrap_or_default().into(),
        ]);
    }
    listing.show_or("No VMs. Connect a platform: `shadowcast source add URI`.")
}
