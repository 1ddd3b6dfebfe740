//! Follows an operation until it has ended, with its progress on stderr.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use indicatif::{ProgressBar, ProgressStyle};

use super::output;
use crate::{
    engine::{
        handle::Handle,
        snapshot::{OperationState, OperationView, StepState},
        thread::Session,
    },
    problem::{Problem, ProblemKind},
    shadow::PlanKind,
    units::{OperationId, printable},
};

/// How soon an interrupt or the engine's end is noticed while there is no news.
const PAUSE: Duration = Duration::from_millis(250);

const fn has_ended(state: OperationState) -> bool {
    match state {
        OperationState::Running | OperationState::Waiting => false,
        OperationState::Done
        | OperationState::Undone
        | OperationState::Parked
        | OperationState::Failed => true,
    }
}

/// What a verb waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Done,
    /// After a cancel, being undone is what was asked for.
    Undone,
}

/// Follows to the end; anything but the wanted end is a problem with the exit code that scripts rely on.
pub fn to_the_end(
    session: &Session,
    id: &OperationId,
    wanted: Wanted,
) -> Result<OperationView, Problem> {
    let interrupt = Interrupt::listen()?;
    let mut shown = Shown::new();
    let mut last: Option<OperationView> = None;
    let ended = loop {
        let news = session.handle.wait_for(PAUSE, |now| {
            let found = now.operations.iter().find(|view| view.id == *id);
            found.is_some() && found != last.as_ref()
        });
        if let Some(view) =
            news.and_then(|now| (now.operations.iter()).find(|view| view.id == *id).cloned())
        {
            shown.update(&view);
            if has_ended(view.state) {
                break view;
            }
            last = Some(view);
        }
        if interrupt.came() {
            shown.clear();
            return Err(left(session, id));
        }
        if !session.handle.alive() {
            shown.clear();
            return Err(engine_gone(id));
        }
    };
    shown.clear();
    if session_ends_replication(session, &ended) {
        output::note(
            "Replication goes on only while an engine runs: start `shadowcast agent` or the console.",
        );
    }
    verdict(ended, wanted)
}

fn session_ends_replication(session: &Session, view: &OperationView) -> bool {
    let begins = matches!(view.kind, PlanKind::Create | PlanKind::Traffic);
    !session.attached && begins && view.state == OperationState::Done
}

fn verdict(view: OperationView, wanted: Wanted) -> Result<OperationView, Problem> {
    let why = || {
        view.why
            .clone()
            .unwrap_or_else(|| "No reason was recorded.".to_owned())
    };
    let id = &view.id;
    match view.state {
        OperationState::Undone if wanted == Wanted::Undone => Ok(view),
        OperationState::Done | OperationState::Running | OperationState::Waiting => Ok(view),
        OperationState::Undone => Err(Problem::failed(
            format!("Operation {id} did not reach its end; what it had done was undone."),
            why(),
            format!(
                "`shadowcast operation {id}` shows each step. Remove the cause and propose again."
            ),
        )),
        OperationState::Failed => Err(Problem::failed(
            format!("Operation {id} failed."),
            why(),
            format!("`shadowcast operation {id}` shows each step."),
        )),
        OperationState::Parked => Err(Problem::new(
            ProblemKind::NeedsAnswer,
            format!("Operation {id} is parked; what it still holds was left as it is."),
            why(),
            format!("Remove the cause, then `shadowcast resume {id}`."),
        )),
    }
}

fn left(session: &Session, id: &OperationId) -> Problem {
    if session.attached {
        Problem::failed(
            format!("Operation {id} was not followed to its end."),
            "You stopped following it; the running engine goes on with it.",
            format!(
                "`shadowcast operation {id} --follow` follows it, `shadowcast cancel {id}` undoes it."
            ),
        )
    } else {
        Problem::failed(
            format!("Operation {id} has not ended."),
            "You stopped this command, and the engine ran inside it.",
            format!(
                "It is resumed at the next start, for example by `shadowcast operation {id} --follow`."
            ),
        )
    }
}

fn engine_gone(id: &OperationId) -> Problem {
    Problem::failed(
        format!("Operation {id} has not ended."),
        "The engine has stopped.",
        format!(
            "Start it again: it resumes or undoes the operation. `shadowcast operation {id} --follow` follows it."
        ),
    )
}

/// Waits for the newest snapshot to satisfy `wanted`; `None` on an interrupt or the engine's end.
pub fn until(
    handle: &Handle,
    mut wanted: impl FnMut(&crate::engine::snapshot::Snapshot) -> bool,
) -> Result<Option<Arc<crate::engine::snapshot::Snapshot>>, Problem> {
    let interrupt = Interrupt::listen()?;
    loop {
        if let Some(now) = handle.wait_for(PAUSE, &mut wanted) {
            return Ok(Some(now));
        }
        if interrupt.came() || !handle.alive() {
            return Ok(None);
        }
    }
}

/// What is on stderr: a bar on a terminal, a line for each step's change elsewhere.
struct Shown {
    bar: ProgressBar,
    states: Vec<StepState>,
}

impl Shown {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        bar.set_style(
            ProgressStyle::with_template(
                "{prefix} {wide_bar} {binary_bytes}/{binary_total_bytes} {msg}",
            )
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        Self {
            bar,
            states: Vec::new(),
        }
    }

    fn update(&mut self, view: &OperationView) {
        let count = view.steps.len();
        for (index, step) in view.steps.iter().enumerate() {
            let before = self.states.get(index).copied();
            if before == Some(step.state) || step.state == StepState::Pending {
                continue;
            }
            let word = output::word(&step.state);
            let mut line = format!("[{}/{count}] {word}: {}", index + 1, step.text);
            if !step.note.is_empty() {
                line = format!("{line} ({})", step.note);
            }
            self.say(&line);
        }
        self.states = view.steps.iter().map(|step| step.state).collect();
        if let Some(progress) = view.progress {
            self.bar.set_length(progress.total_bytes);
            self.bar.set_position(progress.done_bytes);
            self.bar
                .set_prefix(format!("[{}/{count}]", (view.step + 1).min(count)));
            self.bar
                .set_message(printable(view.why.as_deref().unwrap_or_default()));
        }
    }

    /// Above the bar where there is one.
    fn say(&self, line: &str) {
        self.bar.suspend(|| output::note(line));
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

/// Ctrl-C, noted instead of ending the process at once, so that the engine inside can close its databases.
struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn listen() -> Result<Self, Problem> {
        let came = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&came);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| no_interrupt(&error))?;
        std::thread::Builder::new()
            .name("interrupt".to_owned())
            .spawn(move || {
                // Where signals cannot be heard, Ctrl-C ends the process as it would without us.
                if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                    seen.store(true, Ordering::Relaxed);
                }
            })
            .map_err(|error| no_interrupt(&error))?;
        Ok(Self(came))
    }

    fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

fn no_interrupt(error: &std::io::Error) -> Problem {
    Problem::failed(
        "The operation is not followed here; the engine has it in its journal.",
        error.to_string(),
        "`shadowcast operations` shows how it goes.",
    )
}
