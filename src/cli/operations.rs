//! `operations`, `operation`, `cancel`, `resume`: the journal.

use clap::Args;

use super::{
    context::{Context, operator, unexpected},
    decide,
    follow::{self, Wanted},
    json::{self, OneOperationJson},
    names,
    output::{self, Listing, Text},
};
use crate::{
    engine::{
        command::{Answer, Command},
        snapshot::{OperationState, OperationView, Snapshot, StepState},
        thread::Session,
    },
    operation::JournalRow,
    problem::Problem,
    units::{OperationId, Timestamp},
};

/// List what was carried out, newest first
#[derive(Args)]
pub struct Operations {
    #[arg(long)]
    json: bool,
}

impl Operations {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::operations(&now));
        }
        let mut listing = Listing::new(&[
            "id", "kind", "vm", "state", ">step", "started", "ended", "why",
        ]);
        for view in &now.operations {
            listing.row([
                (&view.id).into(),
                output::word(&view.kind).into(),
                (&view.vm_name).into(),
                state_text(view),
                format!("{}/{}", view.step, view.steps.len()).into(),
                output::moment(view.started_at).into(),
                output::or_dash(view.ended_at.map(output::moment)).into(),
                view.why.as_deref().unwrap_or_default().into(),
            ]);
        }
        listing.show_or("No operation yet. `shadowcast proposals` shows what could be approved.")
    }
}

fn state_text(view: &OperationView) -> Text {
    let word = output::word(&view.state);
    match view.state {
        OperationState::Done => Text::good(word),
        OperationState::Parked | OperationState::Failed => Text::bad(word),
        OperationState::Undone => Text::warn(word),
        OperationState::Running | OperationState::Waiting if view.undoing => {
            Text::warn(format!("{word}, undoing"))
        }
        OperationState::Running | OperationState::Waiting => word.into(),
    }
}

/// Show one operation with its steps, or follow it to its end
#[derive(Args)]
pub struct OneOperation {
    id: String,
    /// Show progress until it has ended; exits with 0 only where it is done
    #[arg(long)]
    follow: bool,
    #[arg(long)]
    json: bool,
}

impl OneOperation {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let id = &names::operation(&now, &self.id)?.id;
        // What came of it is shown first, whatever the exit code says.
        let followed = if self.follow {
            follow::to_the_end(&session, id, Wanted::Done).map(drop)
        } else {
            Ok(())
        };
        let now = session.handle.snapshot();
        let view = names::operation(&now, id.as_str())?;
        let rows = journal(&session, &view.id)?;
        if self.json {
            output::json(&OneOperationJson::of(view, &rows))?;
        } else {
            show(view, &now)?;
        }
        followed
    }
}

fn journal(session: &Session, id: &OperationId) -> Result<Vec<JournalRow>, Problem> {
    match session.handle.ask(Command::Journal {
        operation: id.clone(),
    })? {
        Answer::Journal { rows } => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

fn show(view: &OperationView, now: &Snapshot) -> Result<(), Problem> {
    output::line(&format!(
        "{}: {} of {} by {}, {}, started {}",
        view.id,
        output::word(&view.kind),
        view.vm_name,
        view.by,
        output::word(&view.state),
        output::relative(view.started_at, now.at)
    ))?;
    if let Some(why) = &view.why {
        output::line(&format!("why: {why}"))?;
    }
    let mut listing = Listing::new(&[">", "step", "state", ">took", "note"]);
    for (index, step) in view.steps.iter().enumerate() {
        let word = output::word(&step.state);
        listing.row([
            (index + 1).into(),
            (&step.text).into(),
            match step.state {
                StepState::Done => Text::good(word),
                StepState::Failed => Text::bad(word),
                StepState::Undone => Text::warn(word),
                StepState::Pending | StepState::Running => word.into(),
            },
            took(step.started_at, step.ended_at).into(),
            (&step.note).into(),
        ]);
    }
    listing.show_or("It has no steps.")
}

fn took(started_at: Option<Timestamp>, ended_at: Option<Timestamp>) -> String {
    match (started_at, ended_at) {
        (Some(from), Some(to)) => format!("{:.1} s", (to.0 - from.0) as f64 / 1000.0),
        _ => String::new(),
    }
}

/// Stop an operation and undo what it has done
#[derive(Args)]
pub struct Cancel {
    id: String,
    /// Follow the undoing also where a running engine does it
    #[arg(long)]
    follow: bool,
}

impl Cancel {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let operation = names::operation(&now, &self.id)?.id.clone();
        match session.handle.ask(Command::OperationCancel {
            operation: operation.clone(),
            by: operator(),
        })? {
            Answer::Done { text } => output::line(&text)?,
            Answer::Started { .. } => {}
            other => return Err(unexpected(&other)),
        }
        if session.attached && !self.follow {
            return Ok(());
        }
        let ended = follow::to_the_end(&session, &operation, Wanted::Undone)?;
        output::line(&format!(
            "Operation {operation} is {}.",
            output::word(&ended.state)
        ))
    }
}

/// Go on with a parked operation
#[derive(Args)]
pub struct Resume {
    id: String,
    /// Follow to the end also where a running engine carries it out
    #[arg(long)]
    follow: bool,
    #[arg(long)]
    json: bool,
}

impl Resume {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let operation = names::operation(&now, &self.id)?.id.clone();
        let answer = session.handle.ask(Command::OperationResume {
            operation: operation.clone(),
            by: operator(),
        })?;
        if let Answer::Done { text } = &answer {
            output::note(text);
        }
        decide::after(
            &session,
            Answer::Started { operation },
            self.follow,
            self.json,
        )
    }
}
