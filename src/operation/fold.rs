//! Entries to state, and what comes next.

use super::{Approval, Entry, JournalRow, Outcome};
use crate::{
    shadow::{Plan, PlanKind},
    units::{OperationId, Timestamp},
};

/// One operation as its journal tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub id: OperationId,
    pub plan: Plan,
    pub approval: Approval,
    pub steps: Vec<StepRecord>,
    pub phase: Phase,
    pub opened_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// The newest reason for a failure, a cancellation or a parking.
    pub why: Option<String>,
    /// The next row's number.
    pub next_seq: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Forward,
    Unwinding,
    Parked { unwinding: bool },
    Ended(Outcome),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepRecord {
    pub mark: Mark,
    pub note: String,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mark {
    #[default]
    Pending,
    /// Started and not known to have ended: after a crash, in doubt.
    Started,
    Done,
    Failed,
    Undoing,
    Undone,
}

/// What an operation wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Start(usize),
    Undo(usize),
    Close(Outcome),
    /// Parked or ended.
    Nothing,
}

impl Operation {
    /// An operation from its first row; `None` when that row does not open one.
    pub fn open(row: &JournalRow) -> Option<Self> {
        let Entry::Opened { plan, approval } = &row.entry else {
            return None;
        };
        Some(Self {
            id: row.operation.clone(),
            steps: vec![StepRecord::default(); plan.steps.len()],
            plan: (**plan).clone(),
            approval: approval.clone(),
            phase: Phase::Forward,
            opened_at: row.at,
            ended_at: None,
            why: None,
            next_seq: row.seq + 1,
        })
    }

    /// Takes one more row. Rows that name a step out of range are ignored: the journal is ours, but it may be damaged.
    pub fn apply(&mut self, row: &JournalRow) {
        self.next_seq = row.seq + 1;
        match &row.entry {
            Entry::Opened { .. } => {}
            Entry::StepStarted { step } => self.mark(*step, Mark::Started, row.at),
            Entry::StepDone { step, note } => {
                self.mark(*step, Mark::Done, row.at);
                if let Some(record) = self.steps.get_mut(*step) {
                    record.note.clone_from(note);
                }
            }
            Entry::StepFailed { step, why } => {
                self.mark(*step, Mark::Failed, row.at);
                if let Some(record) = self.steps.get_mut(*step) {
                    record.note.clone_from(why);
                }
                self.why = Some(why.clone());
                self.turn_back();
            }
            Entry::CancelRequested { by } => {
                self.why = Some(format!("cancelled by {by}"));
                self.turn_back();
            }
            Entry::UndoStarted { step } => self.mark(*step, Mark::Undoing, row.at),
            Entry::UndoDone { step } => self.mark(*step, Mark::Undone, row.at),
            Entry::UndoFailed { why, .. } => self.why = Some(why.clone()),
            Entry::Parked { why } => {
                self.why = Some(why.clone());
                self.phase = Phase::Parked {
                    unwinding: self.phase == Phase::Unwinding,
                };
            }
            Entry::Resumed { .. } => {
                if let Phase::Parked { unwinding } = self.phase {
                    self.phase = if unwinding {
                        Phase::Unwinding
                    } else {
                        Phase::Forward
                    };
                }
            }
            Entry::Closed { outcome } => {
                self.phase = Phase::Ended(*outcome);
                self.ended_at = Some(row.at);
            }
        }
    }

    /// Whether it goes back to where it began when a step fails. Removals only go forward: what is gone is gone. So
    /// does a promotion once its VM has been given traffic: what it accepted would be lost.
    pub fn unwinds(&self) -> bool {
        let past_return = self
            .plan
            .steps
            .iter()
            .zip(&self.steps)
            .any(|(step, record)| step.is_point_of_no_return() && record.mark != Mark::Pending);
        !past_return && self.plan.kind != PlanKind::Retire
    }

    fn turn_back(&mut self) {
        if self.unwinds() && self.phase == Phase::Forward {
            self.phase = Phase::Unwinding;
        }
    }

    fn mark(&mut self, step: usize, mark: Mark, at: Timestamp) {
        let Some(record) = self.steps.get_mut(step) else {
            return;
        };
        record.mark = mark;
        match mark {
            Mark::Started => {
                record.started_at.get_or_insert(at);
            }
            Mark::Done | Mark::Failed | Mark::Undone => record.ended_at = Some(at),
            Mark::Pending | Mark::Undoing => {}
        }
    }

    /// What comes next; starting a step that is `Started` again is how doubt after a crash is resolved.
    pub fn next(&self) -> Next {
        match self.phase {
            Phase::Forward => self
                .steps
                .iter()
                .position(|step| step.mark != Mark::Done)
                .map_or(Next::Close(Outcome::Done), Next::Start),
            Phase::Unwinding => self
                .steps
                .iter()
                .rposition(|step| !matches!(step.mark, Mark::Pending | Mark::Undone))
                .map_or(Next::Close(Outcome::Undone), Next::Undo),
            Phase::Parked { .. } | Phase::Ended(_) => Next::Nothing,
        }
    }

    pub fn ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Steps that are done.
    pub fn done_steps(&self) -> usize {
        self.steps
            .iter()
            .filter(|step| step.mark == Mark::Done)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inventory::Owner,
        shadow::Step,
        units::{Digest, PoolId, ShadowId, VmId},
    };

    fn opened(kind: PlanKind, steps: usize) -> Operation {
        let hold = crate::reservation::Hold {
            operation: OperationId::new("op-1"),
            pool: PoolId::new("b/b"),
            vcpus: 1,
            memory_bytes: 1,
            disk_bytes: 1,
        };
        let plan = Plan {
            kind,
            vm: VmId::new("a/1"),
            vm_name: "web".to_owned(),
            shadow: ShadowId::new("s-1"),
            owner: Owner {
                engine: "e".into(),
                operation: "op-1".into(),
            },
            made_at: Timestamp(0),
            preconditions: Vec::new(),
            steps: vec![Step::Reserve { hold }; steps],
            cost: Vec::new(),
            undo: String::new(),
            estimate_seconds: 1,
        };
        let approval = Approval {
            proposal: None,
            digest: Digest::new("d"),
            by: "me".to_owned(),
            at: Timestamp(0),
            until: Timestamp(1),
        };
        Operation::open(&row(
            0,
            Entry::Opened {
                plan: Box::new(plan),
                approval,
            },
        ))
        .unwrap()
    }

    fn row(seq: u32, entry: Entry) -> JournalRow {
        JournalRow {
            operation: "op-1".into(),
            seq,
            at: Timestamp(i64::from(seq)),
            entry,
        }
    }

    #[test]
    fn a_failed_step_is_undone_as_well_and_the_last_goes_first() {
        let mut operation = opened(PlanKind::Create, 3);
        let rows = [
            Entry::StepStarted { step: 0 },
            Entry::StepDone {
                step: 0,
                note: String::new(),
            },
            Entry::StepStarted { step: 1 },
            Entry::StepFailed {
                step: 1,
                why: "no".to_owned(),
            },
        ];
        for (seq, entry) in rows.into_iter().enumerate() {
            operation.apply(&row(seq as u32 + 1, entry));
        }
        assert_eq!(operation.next(), Next::Undo(1));
        operation.apply(&row(5, Entry::UndoDone { step: 1 }));
        assert_eq!(operation.next(), Next::Undo(0));
        operation.apply(&row(6, Entry::UndoDone { step: 0 }));
        assert_eq!(operation.next(), Next::Close(Outcome::Undone));
    }

    #[test]
    fn a_step_in_doubt_is_started_again() {
        let mut operation = opened(PlanKind::Create, 2);
        operation.apply(&row(1, Entry::StepStarted { step: 0 }));
        assert_eq!(operation.next(), Next::Start(0));
    }

    #[test]
    fn a_removal_never_turns_back() {
        let mut operation = opened(PlanKind::Retire, 2);
        operation.apply(&row(1, Entry::StepStarted { step: 0 }));
        operation.apply(&row(
            2,
            Entry::StepFailed {
                step: 0,
                why: "gone".to_owned(),
            },
        ));
        assert_eq!(operation.next(), Next::Start(0));
        operation.apply(&row(
            3,
            Entry::Parked {
                why: "gone".to_owned(),
            },
        ));
        assert_eq!(operation.next(), Next::Nothing);
        operation.apply(&row(
            4,
            Entry::Resumed {
                by: "me".to_owned(),
            },
        ));
        assert_eq!(operation.next(), Next::Start(0));
    }
}
