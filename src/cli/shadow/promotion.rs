//! `shadow promote|commit|rollback`: a shadow takes its primary's place, stays there, or gives it back.

use clap::Args;

use super::Consent;
use crate::{
    cli::{
        context::{Context, unexpected},
        names,
    },
    engine::command::{Answer, Command},
    problem::Problem,
    units::ShadowId,
};

/// Plan that a shadow takes its primary's place, show what stands against it, and carry it out
///
/// The primary is paused, its last writes are brought over, it is powered off and seen off; only then does the shadow
/// start. Within the commit window `shadow rollback` brings the primary back.
#[derive(Args)]
pub struct Promote {
    /// VM by name or id, or its shadow
    vm: String,
    /// An older recovery point than the newest; what was written after it is lost
    #[arg(long, value_name = "ID")]
    point: Option<u64>,
    /// Your word, in a sentence, that a primary whose source cannot be reached is off
    #[arg(long, value_name = "HOW YOU KNOW")]
    attest_fenced: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

impl Promote {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let command = |shadow| Command::ShadowPromote {
            shadow,
            point: self.point,
            attest_fenced: self.attest_fenced.clone(),
        };
        plan_and_carry_out(context, &self.vm, &self.consent, command)
    }
}

/// Plan that a promotion stays, and carry it out: after it there is no rollback
#[derive(Args)]
pub struct Commit {
    /// VM by name or id, or its shadow
    vm: String,
    #[command(flatten)]
    consent: Consent,
}

impl Commit {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let command = |shadow| Command::ShadowCommit { shadow };
        plan_and_carry_out(context, &self.vm, &self.consent, command)
    }
}

/// Plan that the primary comes back, show what the promoted VM accepted and would lose, and carry it out
#[derive(Args)]
pub struct Rollback {
    /// VM by name or id, or its shadow
    vm: String,
    #[command(flatten)]
    consent: Consent,
}

impl Rollback {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let command = |shadow| Command::ShadowRollback { shadow };
        plan_and_carry_out(context, &self.vm, &self.consent, command)
    }
}

fn plan_and_carry_out(
    context: &Context,
    vm: &str,
    consent: &Consent,
    command: impl FnOnce(ShadowId) -> Command,
) -> Result<(), Problem> {
    let (session, now) = context.settled()?;
    let shadow = names::shadow(&now, vm)?.id.clone();
    match session.handle.ask(command(shadow))? {
        Answer::Proposal { proposal } => consent.carry_out(&session, &proposal),
        other => Err(unexpected(&other)),
    }
}
