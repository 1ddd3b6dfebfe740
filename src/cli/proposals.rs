//! `proposals`, `proposal`: open recommendations, and one in full: evidence, plan, cost, digest.

use clap::Args;

use super::{
    context::Context,
    json::{self, ProposalJson},
    names,
    output::{self, Listing, Text},
};
use crate::{
    problem::Problem,
    shadow::{CheckOutcome, Proposal, ProposalState, Urgency, plan},
    units::Timestamp,
};

/// List what asks for a decision, most urgent first
#[derive(Args)]
pub struct Proposals {
    /// Also those that have been decided, have expired or no longer fit
    #[arg(long)]
    all: bool,
    #[arg(long)]
    json: bool,
}

impl Proposals {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::proposals(&now));
        }
        let mut listing = Listing::new(&[
            "id", "urgency", "vm", "kind", ">share", "state", "crosses", "why",
        ]);
        let waits = |state: &ProposalState| {
            matches!(state, ProposalState::Open | ProposalState::Snoozed { .. })
        };
        let shown = now.proposals.iter();
        for proposal in shown.filter(|proposal| self.all || waits(&proposal.state)) {
            let need = &proposal.need;
            let crosses = need.crosses_at.map(|at| output::relative(at, now.at));
            listing.row([
                (&proposal.id).into(),
                urgency_text(need.urgency),
                (&proposal.plan.vm_name).into(),
                output::word(&proposal.plan.kind).into(),
                output::percent(proposal.sizing.share).into(),
                json::state_word(&proposal.state).into(),
                output::or_dash(crosses).into(),
                (&proposal.why).into(),
            ]);
        }
        listing.show_or("Nothing needs a decision now.")
    }
}

fn urgency_text(urgency: Urgency) -> Text {
    let word = output::word(&urgency);
    match urgency {
        Urgency::Now => Text::bad(word),
        Urgency::Soon => Text::warn(word),
        Urgency::Later => word.into(),
        Urgency::GiveBack => "give back".into(),
    }
}

/// Show one proposal: why, which pool, the exact plan with its digest, what it costs, what undoes it
#[derive(Args)]
pub struct OneProposal {
    id: String,
    #[arg(long)]
    json: bool,
}

impl OneProposal {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        let proposal = names::proposal(&now, &self.id)?;
        if self.json {
            return output::json(&ProposalJson::from(&**proposal));
        }
        show(proposal, now.at)?;
        if proposal.state == ProposalState::Open {
            output::note(format!(
                "shadowcast approve {} --digest {}",
                proposal.id, proposal.digest
            ));
        }
        Ok(())
    }
}

/// Everything that an operator signs, for people.
pub fn show(proposal: &Proposal, now: Timestamp) -> Result<(), Problem> {
    let plan = &proposal.plan;
    output::line(&format!(
        "{}: {} {} ({}), expires {}",
        proposal.id,
        output::word(&plan.kind),
        plan.vm_name,
        json::state_word(&proposal.state),
        output::relative(proposal.expires_at, now)
    ))?;
    output::line(&format!("why: {}", proposal.why))?;
    if let Some(at) = proposal.need.crosses_at {
        let sure = (proposal.need.probability).map_or_else(String::new, |probability| {
            format!(", probability {}", output::percent(probability))
        });
        output::line(&format!(
            "crosses: {} ({}){sure}",
            output::moment(at),
            output::relative(at, now)
        ))?;
    }
    // A plan that ends a shadow sizes none.
    if proposal.sizing.vcpus > 0 {
        output::line(&format!(
            "shadow: {} vCPU, {} memory, {} of the VM's traffic",
            proposal.sizing.vcpus,
            output::bytes(proposal.sizing.memory_bytes),
            output::percent(proposal.sizing.share)
        ))?;
    }
    placement(proposal)?;
    checks(proposal)?;
    steps(proposal)?;
    for cost in &plan.cost {
        output::line(&format!("cost: {cost}"))?;
    }
    output::line(&format!(
        "takes about {}",
        output::seconds(u64::from(plan.estimate_seconds))
    ))?;
    output::line(&format!("undo: {}", plan.undo))?;
    output::line(&format!("digest: {}", proposal.digest))
}

fn placement(proposal: &Proposal) -> Result<(), Problem> {
    let Some(placement) = &proposal.placement else {
        return Ok(());
    };
    output::line(&format!("pool: {}, {}", placement.pool, placement.why))?;
    for rejected in &placement.rejected {
        output::line(&format!("  not {}: {}", rejected.pool, rejected.why))?;
    }
    Ok(())
}

fn checks(proposal: &Proposal) -> Result<(), Problem> {
    let mut listing = Listing::new(&["check", ""]);
    for check in &proposal.checks {
        let word = output::word(&check.outcome);
        listing.row([
            match check.outcome {
                CheckOutcome::Passed => Text::good(word),
                CheckOutcome::Note => Text::warn(word),
                CheckOutcome::Blocks => Text::bad(word),
            },
            (&check.text).into(),
        ]);
    }
    if listing.is_empty() {
        return Ok(());
    }
    listing.show()
}

fn steps(proposal: &Proposal) -> Result<(), Problem> {
    output::line("plan:")?;
    for (index, step) in proposal.plan.steps.iter().enumerate() {
        output::line(&format!("{:>4}  {}", index + 1, plan::describe(step)))?;
        output::line(&format!("        {}", plan::command_text(step)))?;
    }
    Ok(())
}
