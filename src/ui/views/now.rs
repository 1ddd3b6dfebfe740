//! Now: what needs a decision. The queue on the left, the evidence in the middle, the proposal on the right.

use std::sync::Arc;

use eframe::egui::{Rect, Ui, pos2};

use super::operation_side;
use super::{
    approve::{Approval, Verdict},
    empty, now_centre, now_kpi,
    now_proposal::{self, Asked},
    now_queue::{self, Tab},
};
use crate::{
    engine::{
        command::{Answer, Command, Reply},
        snapshot::{OperationView, Snapshot},
    },
    metrics::Metric,
    shadow::{Proposal, ProposalState},
    ui::{
        action::Action,
        app::part,
        pass::{Go, Pass},
        theme,
        widgets::{status::Tone, text},
    },
    units::{Digest, OperationId, ProposalId},
};

pub const SNOOZE_SECONDS: u32 = 1800;

/// What is selected in the queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Selected {
    #[default]
    First,
    Proposal(ProposalId),
    Operation(OperationId),
}

/// The share that an operator wants for a proposal, until the engine has worked out the plan for it.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitDraft {
    pub proposal: ProposalId,
    pub share: f64,
    /// The plan that the engine made for it; the draft ends once the snapshot has it.
    pub planned: Option<Digest>,
}

#[derive(Default)]
pub struct NowView {
    pub tab: Tab,
    pub selected: Selected,
    /// What is selected was only just announced and may not be in the snapshot yet.
    pub awaited: bool,
    pub metric: Option<Metric>,
    pub split: Option<SplitDraft>,
    pub approval: Option<Approval>,
    /// A plan that was asked for and that snapshots may not have yet.
    pub asked: Option<Arc<Proposal>>,
    /// The reason that is being typed for a rejection.
    pub rejecting: Option<(ProposalId, String)>,
}

/// What the middle and the right show.
pub enum Item<'a> {
    Proposal(&'a Arc<Proposal>),
    Operation(&'a OperationView),
}

impl NowView {
    pub fn select(&mut self, proposal: ProposalId) {
        self.tab = Tab::Decide;
        self.selected = Selected::Proposal(proposal);
        self.awaited = true;
    }

    /// Opens the dialog on a plan that was just asked for; the next snapshot has it too.
    pub fn review(&mut self, proposal: &Arc<Proposal>) {
        self.approval = Some(Approval::new(proposal));
        self.asked = Some(Arc::clone(proposal));
    }

    pub const fn selected_operation(&self) -> Option<&OperationId> {
        match &self.selected {
            Selected::Operation(id) => Some(id),
            Selected::First | Selected::Proposal(_) => None,
        }
    }

    /// A dialog is open: keys are its own.
    pub const fn asks(&self) -> bool {
        self.approval.is_some() || self.rejecting.is_some()
    }

    /// The draft of the split is over when the engine has answered; its proposal has the new share by then, or a
    /// notice says why not.
    pub fn answered(&mut self, command: &Command, reply: &Reply) {
        match (command, reply) {
            (Command::ProposalAdjust { proposal, share }, reply) => {
                let Some(draft) = &mut self.split else { return };
                // A newer position of the slider has its own answer on the way.
                if draft.proposal != *proposal || (draft.share - share).abs() > 1e-9 {
                    return;
                }
                match reply {
                    Ok(Answer::Proposal { proposal }) => {
                        draft.planned = Some(proposal.digest.clone());
                    }
                    _ => self.split = None,
                }
            }
            (Command::Approve { .. }, Ok(Answer::Started { operation })) => {
                self.tab = Tab::Running;
                self.selected = Selected::Operation(operation.clone());
                self.awaited = true;
            }
            _ => {}
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        let now = Arc::clone(pass.now);
        self.end_draft(&now);
        let kpi = Rect::from_min_max(body.min, pos2(body.right(), body.top() + 84.0));
        part(ui, "kpi", kpi, |ui| now_kpi::ui(ui, kpi, pass));
        let narrow = body.width() < 1300.0;
        let (queue, side) = if narrow {
            (300.0, 300.0)
        } else {
            (352.0, 316.0)
        };
        let queue = Rect::from_min_max(kpi.left_bottom(), pos2(body.left() + queue, body.bottom()));
        ui.painter().rect_filled(queue, 0, tokens.panel);
        text::vline(
            ui,
            queue.right() - 1.0,
            queue.top()..=queue.bottom(),
            tokens.line,
        );
        let rest = Rect::from_min_max(queue.right_top(), body.max);
        if now.vms.is_empty() {
            empty::loading(ui, rest, pass);
            return;
        }
        part(ui, "queue", queue, |ui| {
            now_queue::ui(ui, queue, self, pass);
        });
        let side = Rect::from_min_max(pos2(rest.right() - side, rest.top()), rest.max);
        let centre = Rect::from_min_max(rest.min, pos2(side.left(), rest.bottom()));
        match now_queue::selected(self, &now) {
            None => {
                let (what, more) = nothing(&now, pass, self.tab);
                empty::message(ui, rest, Tone::Ok, &what, &more);
            }
            Some(item) => {
                ui.painter().rect_filled(side, 0, tokens.panel);
                text::vline(ui, side.left(), side.top()..=side.bottom(), tokens.line);
                part(ui, "centre", centre, |ui| {
                    now_centre::ui(ui, centre, self, &item, pass);
                });
                part(ui, "side", side, |ui| match &item {
                    Item::Proposal(proposal) => {
                        let asked = now_proposal::proposal(ui, side, self, proposal, pass);
                        self.decide(proposal, asked, pass);
                    }
                    Item::Operation(operation) => {
                        operation_side::operation(ui, side, operation, pass);
                    }
                });
            }
        }
        self.dialog(ui, &now, pass);
    }

    fn end_draft(&mut self, now: &Snapshot) {
        let Some(draft) = &self.split else { return };
        let stands = now
            .proposals
            .iter()
            .find(|proposal| proposal.id == draft.proposal);
        let over = stands.is_none_or(|proposal| {
            draft.planned.as_ref() == Some(&proposal.digest)
                || !matches!(
                    proposal.state,
                    ProposalState::Open | ProposalState::Snoozed { .. }
                )
        });
        if over {
            self.split = None;
        }
    }

    /// Keys and buttons come to the same.
    fn decide(&mut self, proposal: &Arc<Proposal>, asked: Asked, pass: &mut Pass<'_>) {
        let open = !self.asks();
        let undecided = matches!(
            proposal.state,
            ProposalState::Open | ProposalState::Snoozed { .. }
        );
        if !open || !undecided {
            return;
        }
        let may = now_proposal::why_not(self, proposal, pass).is_none();
        if (asked.approve || pass.pressed(Action::Approve)) && may {
            self.approval = Some(Approval::new(proposal));
        }
        if asked.snooze || pass.pressed(Action::Snooze) {
            pass.out.push(Command::Snooze {
                proposal: proposal.id.clone(),
                for_seconds: SNOOZE_SECONDS,
            });
        }
        if asked.reject || pass.pressed(Action::Reject) {
            self.rejecting = Some((proposal.id.clone(), String::new()));
        }
        if pass.pressed(Action::Open) {
            pass.go.push(Go::OpenVm(proposal.need.vm.clone()));
        }
    }

    fn dialog(&mut self, ui: &mut Ui, now: &Arc<Snapshot>, pass: &mut Pass<'_>) {
        let asked = self.asked.clone();
        let find = |id: &ProposalId| {
            let mut known = now.proposals.iter().chain(&asked);
            known.find(|proposal| proposal.id == *id)
        };
        if let Some(approval) = &mut self.approval {
            let Some(proposal) = find(&approval.proposal) else {
                self.approval = None;
                return;
            };
            match approval.ui(ui.ctx(), proposal, pass) {
                Verdict::Open => {}
                Verdict::Closed => self.approval = None,
                Verdict::Approved => {
                    pass.out.push(Command::Approve {
                        proposal: proposal.id.clone(),
                        digest: approval.digest.clone(),
                        by: pass.by.to_owned(),
                    });
                    self.approval = None;
                }
            }
        }
        if let Some((id, why)) = &mut self.rejecting {
            let Some(proposal) = find(id) else {
                self.rejecting = None;
                return;
            };
            match super::reject::reject(ui.ctx(), proposal, why, pass) {
                Verdict::Open => {}
                Verdict::Closed => self.rejecting = None,
                Verdict::Approved => {
                    pass.out.push(Command::Reject {
                        proposal: proposal.id.clone(),
                        by: pass.by.to_owned(),
                        why: why.trim().to_owned(),
                    });
                    self.rejecting = None;
                }
            }
        }
    }
}

/// What stands in the middle when the list is empty.
fn nothing(now: &Snapshot, pass: &Pass<'_>, tab: Tab) -> (String, String) {
    match tab {
        Tab::Waiting => (
            "Nothing is snoozed.".to_owned(),
            "What you snooze waits here until its time.".to_owned(),
        ),
        Tab::Running => (
            "No operation is running.".to_owned(),
            "What you approve runs here, step by step.".to_owned(),
        ),
        Tab::Done => (
            "Nothing was decided yet.".to_owned(),
            "Approved, rejected and finished work stays here.".to_owned(),
        ),
        Tab::Decide => {
            if now.forecasts_pending > 0 && pass.facts.crossing.is_empty() {
                let more = format!(
                    "{} forecasts are still being made. Until they are, this list is not complete.",
                    crate::ui::format::count(now.forecasts_pending as usize)
                );
                return ("Looking ahead.".to_owned(), more);
            }
            let more = if let Some(next) = pass.facts.crossing.first() {
                let view = &now.vms[*next as usize];
                let at = view
                    .first_crossing()
                    .and_then(|outlook| outlook.crosses_at)
                    .map_or_else(String::new, |at| pass.clock.near(at));
                format!(
                    "Next expected: {} at {at}.",
                    crate::units::printable(&view.vm.name)
                )
            } else {
                format!(
                    "No limit is forecast to be crossed in the next {} h.",
                    now.horizon_seconds / 3600
                )
            };
            ("Nothing needs you.".to_owned(), more)
        }
    }
}
