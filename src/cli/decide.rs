//! `approve`, `reject`, `snooze`: what becomes of a proposal.

use clap::Args;

use super::{
    context::{Context, ask_and_say, operator, settle, unexpected},
    follow::{self, Wanted},
    json::OperationJson,
    output, parse,
};
use crate::{
    engine::{
        command::{Answer, Command},
        thread::Session,
    },
    problem::Problem,
    units::{Digest, OperationId, ProposalId},
};

/// Approve the exact plan that has this digest, and carry it out
///
/// Without a running engine the command runs one itself until the operation has ended.
#[derive(Args)]
pub struct Approve {
    #[arg(value_name = "ID")]
    proposal: String,
    /// The plan's digest, as `proposal ID` shows it
    #[arg(long)]
    digest: String,
    /// Follow to the end also where a running engine carries it out
    #[arg(long)]
    follow: bool,
    /// Print the operation as JSON once it is not followed any more
    #[arg(long)]
    json: bool,
}

impl Approve {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, _) = context.settled()?;
        let command = Command::Approve {
            proposal: ProposalId::new(self.proposal.trim()),
            digest: Digest::new(self.digest.trim()),
            by: operator(),
        };
        let answer = session.handle.ask(command)?;
        after(&session, answer, self.follow, self.json)
    }
}

/// What came of a command that may have started an operation: says so, and follows it where that is due.
pub fn after(session: &Session, answer: Answer, follow: bool, json: bool) -> Result<(), Problem> {
    match answer {
        Answer::Done { text } => output::line(&text),
        Answer::Started { operation } => started(session, &operation, follow, json),
        other => Err(unexpected(&other)),
    }
}

fn started(
    session: &Session,
    operation: &OperationId,
    follow: bool,
    json: bool,
) -> Result<(), Problem> {
    if !json {
        output::line(&format!("Operation {operation} has started."))?;
    }
    if session.attached && !follow {
        output::note(format!(
            "The running engine carries it out; `shadowcast operation {operation} --follow` follows it."
        ));
        if json {
            output::json(&serde_json::json!({ "id": operation }))?;
        }
        return Ok(());
    }
    let ended = follow::to_the_end(session, operation, Wanted::Done)?;
    if json {
        output::json(&OperationJson::from(&ended))
    } else {
        output::line(&format!("Operation {operation} is done."))
    }
}

/// Turn a proposal down
#[derive(Args)]
pub struct Reject {
    #[arg(value_name = "ID")]
    proposal: String,
    /// The reason, for the journal
    #[arg(long)]
    why: String,
}

impl Reject {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let session = context.open()?;
        settle(&session.handle)?;
        let command = Command::Reject {
            proposal: ProposalId::new(self.proposal.trim()),
            by: operator(),
            why: self.why.clone(),
        };
        ask_and_say(&session.handle, command)
    }
}

/// Hide a proposal for a while
#[derive(Args)]
pub struct Snooze {
    #[arg(value_name = "ID")]
    proposal: String,
    /// For how long, for example 2h
    #[arg(long = "for", value_name = "TIME", value_parser = parse::seconds)]
    for_seconds: u32,
}

impl Snooze {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let session = context.open()?;
        settle(&session.handle)?;
        let command = Command::Snooze {
            proposal: ProposalId::new(self.proposal.trim()),
            for_seconds: self.for_seconds,
        };
        ask_and_say(&session.handle, command)
    }
}
