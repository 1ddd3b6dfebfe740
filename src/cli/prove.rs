//! `shadow points|pin|unpin|validate|proofs`: what a shadow could be started from, and whether that would boot.

use clap::Args;

use super::{
    ask,
    context::{Context, ask_and_say, operator, unexpected},
    follow,
    json::{self, ProofJson, ProposalJson},
    names,
    output::{self, Listing, Text},
    proposals,
};
use crate::{
    engine::{
        command::{Answer, Command},
        snapshot::ShadowView,
        thread::Session,
    },
    problem::Problem,
    replication::RecoveryPoint,
    shadow::Proposal,
    units::{OperationId, ShadowId},
    validation::proof::{Conclusion, Proof},
};

/// List a shadow's recovery points with what they take and whether they are proven
#[derive(Args)]
pub struct Points {
    /// Shadow by id or name, or its VM
    shadow: String,
    #[arg(long)]
    json: bool,
}

impl Points {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        let view = names::shadow(&now, &self.shadow)?;
        if self.json {
            return output::json(&json::points(view));
        }
        let mut listing = points_listing();
        for point in view.points.iter().rev() {
            listing.row([
                point.number.into(),
                output::moment(point.at).into(),
                output::relative(point.at, now.at).into(),
                output::word(&point.consistent).into(),
                output::bytes(point.stored_bytes).into(),
                proof_text(point, now.at),
                marks(view, point).into(),
            ]);
        }
        listing.show_or("No recovery point is complete yet.")?;
        if view.points.is_empty() {
            return Ok(());
        }
        output::line(&format!(
            "{} points take {} in {}.",
            view.points.len(),
            output::bytes(view.stored_bytes),
            view.pool
        ))
    }
}

pub fn points_listing() -> Listing {
    Listing::new(&[">point", "at", "age", "consistent", ">takes", "proof", ""])
}

pub fn proof_text(point: &RecoveryPoint, now: crate::units::Timestamp) -> Text {
    match &point.proof {
        None => output::UNKNOWN.into(),
        Some(mark) if mark.passed => {
            Text::good(format!("passed {}", output::relative(mark.at, now)))
        }
        Some(mark) => Text::bad(format!("FAILED {}", output::relative(mark.at, now))),
    }
}

pub fn marks(view: &ShadowView, point: &RecoveryPoint) -> String {
    let mut marks = Vec::new();
    if point.pinned {
        marks.push("pinned");
    }
    if view.serving_from == Some(point.number) {
        marks.push("serving");
    }
    marks.join(", ")
}

/// Keep a recovery point whatever the settings say of its age
#[derive(Args)]
pub struct Pin {
    /// Shadow by id or name, or its VM
    shadow: String,
    point: u64,
}

/// Let a pinned recovery point expire as others do
#[derive(Args)]
pub struct Unpin {
    /// Shadow by id or name, or its VM
    shadow: String,
    point: u64,
}

impl Pin {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        pin(context, &self.shadow, self.point, true)
    }
}

impl Unpin {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        pin(context, &self.shadow, self.point, false)
    }
}

fn pin(context: &Context, shadow: &str, point: u64, pinned: bool) -> Result<(), Problem> {
    let (session, now) = context.settled()?;
    let shadow = names::shadow(&now, shadow)?.id.clone();
    let command = Command::ShadowPin {
        shadow,
        point,
        pinned,
    };
    ask_and_say(&session.handle, command)
}

/// Try a recovery point: boot a clone of it on an isolated network, put its checks to it, and keep what was seen
#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one flag of the command line"
)]
pub struct Validate {
    /// Shadow by id or name, or its VM
    shadow: String,
    /// The point to try; the newest where it is left out
    #[arg(long)]
    point: Option<u64>,
    /// Approve the printed plan without asking
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Print the plan and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Follow to the verdict also where a running engine carries it out
    #[arg(long)]
    follow: bool,
    /// Print the proof as JSON (of a dry run, the plan)
    #[arg(long)]
    json: bool,
}

impl Validate {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let shadow = names::shadow(&now, &self.shadow)?.id.clone();
        let command = Command::ShadowValidate {
            shadow,
            point: self.point,
        };
        // One that is only to be looked at is not kept.
        let command = if self.dry_run {
            Command::DryRun {
                of: Box::new(command),
            }
        } else {
            command
        };
        let proposal = match session.handle.ask(command)? {
            Answer::Proposal { proposal } => proposal,
            other => return Err(unexpected(&other)),
        };
        if self.dry_run && self.json {
            return output::json(&ProposalJson::from(&*proposal));
        }
        if !self.json {
            proposals::show(&proposal, session.handle.snapshot().at)?;
        }
        if self.dry_run {
            return Ok(());
        }
        let without = || {
            format!(
                "Approve it: `shadowcast approve {} --digest {}`, or give --yes.",
                proposal.id, proposal.digest
            )
        };
        if !self.yes && !ask::yes("Carry out this plan?", without)? {
            output::note("Nothing was changed.");
            return Ok(());
        }
        self.approve(&session, &proposal)
    }

    fn approve(&self, session: &Session, proposal: &Proposal) -> Result<(), Problem> {
        let answer = session.handle.ask(Command::Approve {
            proposal: proposal.id.clone(),
            digest: proposal.digest.clone(),
            by: operator(),
        })?;
        let Answer::Started { operation } = answer else {
            return Err(unexpected(&answer));
        };
        if session.attached && !self.follow {
            if self.json {
                return output::json(&serde_json::json!({ "id": operation }));
            }
            output::line(&format!("Operation {operation} has started."))?;
            output::note(format!(
                "The running engine carries it out; `shadowcast shadow proofs {}` shows its verdict.",
                self.shadow
            ));
            return Ok(());
        }
        follow::to_the_end(session, &operation, follow::Wanted::Done)?;
        let proof = proof_of(session, &proposal.plan.shadow, &operation)?;
        if self.json {
            output::json(&ProofJson::from(&proof))?;
        } else {
            show(&proof)?;
        }
        verdict(&proof, &self.shadow)
    }
}

fn proof_of(
    session: &Session,
    shadow: &ShadowId,
    operation: &OperationId,
) -> Result<Proof, Problem> {
    let proofs = proofs(session, shadow)?;
    proofs
        .into_iter()
        .find(|proof| proof.operation == *operation)
        .ok_or_else(|| {
            Problem::failed(
                "The proof cannot be shown.",
                format!("operation {operation} has left none"),
                format!("`shadowcast operation {operation}` shows each step."),
            )
        })
}

fn proofs(session: &Session, shadow: &ShadowId) -> Result<Vec<Proof>, Problem> {
    let shadow = shadow.clone();
    match session.handle.ask(Command::Proofs { shadow })? {
        Answer::Proofs { proofs } => Ok(proofs),
        other => Err(unexpected(&other)),
    }
}

/// A point that did not pass is a failure, for scripts too.
fn verdict(proof: &Proof, shadow: &str) -> Result<(), Problem> {
    let why = proof.why.clone().unwrap_or_default();
    match proof.verdict {
        Some(Conclusion::Passed) => Ok(()),
        Some(Conclusion::Failed) => Err(Problem::failed(
            format!("Point {} did not pass.", proof.point),
            why,
            format!(
                "See what was seen: `shadowcast shadow proofs {shadow}`; take another point: `shadowcast shadow sync {shadow}`."
            ),
        )),
        Some(Conclusion::Inconclusive) | None => Err(Problem::failed(
            format!("Point {} was not tried to the end.", proof.point),
            why,
            "Try again when that is mended.",
        )),
    }
}

fn show(proof: &Proof) -> Result<(), Problem> {
    let verdict = proof
        .verdict
        .map_or_else(|| "is being tried".to_owned(), |word| output::word(&word));
    output::line(&format!(
        "point {} of {}: {verdict} ({}, by {})",
        proof.point,
        output::moment(proof.point_at),
        proof.operation,
        proof.by
    ))?;
    if let Some(why) = proof
        .why
        .as_ref()
        .filter(|_| proof.verdict == Some(Conclusion::Inconclusive))
    {
        output::line(&format!("  {why}"))?;
    }
    for result in &proof.results {
        output::line(&format!(
            "  {} {}: {} ({:.1} s)",
            if result.passed { "passed" } else { "FAILED" },
            result.check,
            result.seen,
            result.millis as f64 / 1000.0
        ))?;
    }
    Ok(())
}

/// Show what the validations of a shadow found, newest first
#[derive(Args)]
pub struct Proofs {
    /// Shadow by id or name, or its VM
    shadow: String,
    /// What the newest clone wrote to its console, too
    #[arg(long, conflicts_with = "json")]
    console: bool,
    #[arg(long)]
    json: bool,
}

impl Proofs {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let shadow = names::shadow(&now, &self.shadow)?.id.clone();
        let proofs = proofs(&session, &shadow)?;
        if self.json {
            return output::json(&json::proofs(&proofs));
        }
        if proofs.is_empty() {
            return output::line(&format!(
                "No proof yet. `shadowcast shadow validate {}` tries the newest point.",
                self.shadow
            ));
        }
        for proof in &proofs {
            show(proof)?;
        }
        match proofs.first().filter(|_| self.console) {
            Some(proof) if proof.console.is_empty() => output::line("Nothing on the console."),
            Some(proof) => {
                output::line("")?;
                output::line(&proof.console)
            }
            None => Ok(()),
        }
    }
}
