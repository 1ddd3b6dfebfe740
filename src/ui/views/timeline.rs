//! Timeline: the operations with their steps, and what happened, newest first.

use std::sync::Arc;

use eframe::egui::{Rect, ScrollArea, Sense, Ui, UiBuilder, pos2, vec2};

use super::empty;
use super::{events, operation_card};
use crate::{
    engine::{
        command::Command,
        snapshot::{OperationState, OperationView},
    },
    ui::{
        action::Action,
        app::part,
        pass::Pass,
        theme,
        widgets::{
            button::{self, Button, Look},
            status::Tone,
            text,
        },
    },
    units::OperationId,
};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Which {
    #[default]
    All,
    Open,
    Ended,
}

#[derive(Default)]
pub struct TimelineView {
    which: Which,
    selected: Option<OperationId>,
}

impl TimelineView {
    pub fn select(&mut self, operation: OperationId) {
        self.which = Which::All;
        self.selected = Some(operation);
    }

    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        let side = Rect::from_min_max(
            pos2(
                body.right() - (body.width() * 0.32).clamp(340.0, 440.0),
                body.top(),
            ),
            body.max,
        );
        let main = Rect::from_min_max(body.min, pos2(side.left(), body.bottom()));
        let tools = Rect::from_min_size(main.min, vec2(main.width(), 56.0));
        self.tools(ui, tools, pass);
        text::hline(ui, main.left()..=main.right(), tools.bottom(), tokens.line);
        let list = Rect::from_min_max(
            tools.left_bottom() + vec2(24.0, 1.0),
            main.max - vec2(24.0, 0.0),
        );
        part(ui, "operations", list, |ui| self.operations(ui, list, pass));
        ui.painter().rect_filled(side, 0, tokens.panel);
        text::vline(ui, side.left(), side.top()..=side.bottom(), tokens.line);
        part(ui, "events", side, |ui| events::events(ui, side, pass));
    }

    fn tools(&mut self, ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
        let count = |which: Which| {
            pass.now
                .operations
                .iter()
                .filter(|operation| which.takes(operation))
                .count()
        };
        let names = [
            format!("All {}", count(Which::All)),
            format!("Open {}", count(Which::Open)),
            format!("Ended {}", count(Which::Ended)),
        ];
        button::segments(
            ui,
            pos2(rect.left() + 24.0, rect.center().y - 16.0),
            32.0,
            &[
                (Which::All, names[0].as_str()),
                (Which::Open, names[1].as_str()),
                (Which::Ended, names[2].as_str()),
            ],
            &mut self.which,
            true,
        );
        let frozen = pass.now.frozen;
        let mut freeze = Button::action(Action::Freeze, Look::Secondary);
        if frozen {
            freeze.text = "Let it go on";
        }
        let spot = Rect::from_min_size(
            pos2(rect.right() - 24.0 - 158.0, rect.center().y - 16.0),
            vec2(158.0, 32.0),
        );
        if freeze.put(ui, spot).clicked() {
            pass.out.push(Command::Freeze {
                frozen: !frozen,
                by: pass.by.to_owned(),
            });
        }
    }

    fn operations(&mut self, ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
        let now = Arc::clone(pass.now);
        let shown: Vec<&OperationView> = now
            .operations
            .iter()
            .filter(|operation| self.which.takes(operation))
            .collect();
        if shown.is_empty() {
            empty::message(
                ui,
                rect,
                Tone::None,
                "No operation yet.",
                "What you approve runs as an operation; its steps stay here.",
            );
            return;
        }
        self.keys(&shown, pass);
        let mut child = ui.new_child(UiBuilder::new().id_salt("list").max_rect(rect));
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show(&mut child, |ui| {
                let mut day = None;
                for operation in shown {
                    let today = pass.clock.day(operation.started_at);
                    if day.as_ref() != Some(&today) {
                        heading(ui, &today, operation, pass);
                        day = Some(today);
                    }
                    let open = self.selected.as_ref() == Some(&operation.id);
                    if operation_card::card(ui, operation, open, pass) {
                        self.selected = (!open).then(|| operation.id.clone());
                    }
                    ui.add_space(8.0);
                }
                ui.add_space(20.0);
            });
    }

    fn keys(&mut self, shown: &[&OperationView], pass: &mut Pass<'_>) {
        if self.selected.is_none() {
            // What needs an answer, or else what runs, stands open.
            let open = |states: &[OperationState]| {
                shown
                    .iter()
                    .find(|operation| states.contains(&operation.state))
                    .map(|operation| operation.id.clone())
            };
            if pass.pressed(Action::Next) {
                self.selected = open(&[OperationState::Parked])
                    .or_else(|| open(&[OperationState::Running]))
                    .or_else(|| shown.first().map(|operation| operation.id.clone()));
            }
            return;
        }
        let step =
            i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
        let place = shown
            .iter()
            .position(|operation| self.selected.as_ref() == Some(&operation.id));
        if let Some(place) = place.filter(|_| step != 0) {
            let next = (place as i64 + step).clamp(0, shown.len() as i64 - 1) as usize;
            self.selected = Some(shown[next].id.clone());
        }
    }
}

impl Which {
    fn takes(self, operation: &OperationView) -> bool {
        let ended = matches!(
            operation.state,
            OperationState::Done | OperationState::Undone
        );
        match self {
            Self::All => true,
            Self::Open => !ended,
            Self::Ended => ended,
        }
    }
}

fn heading(ui: &mut Ui, day: &str, operation: &OperationView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let words = if pass.clock.day(pass.now.at) == day {
        "Today"
    } else {
        day
    };
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 40.0), Sense::hover());
    text::left(
        ui,
        row.left() + 4.0,
        row.center().y + 4.0,
        words,
        theme::medium(12.5),
        tokens.dim,
    )
    .on_hover_text(pass.clock.full(operation.started_at));
}
