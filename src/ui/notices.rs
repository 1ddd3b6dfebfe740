//! Answers that are on their way, and what came of them: a toast for a while, an entry in a list for good.

use std::{
    sync::Arc,
    task::{Wake, Waker},
};

use eframe::egui::{
    Align2, Area, Context, CornerRadius, Frame, Id, Margin, Order, Popup, PopupCloseBehavior, Rect,
    Response, Role, ScrollArea, Sense, Stroke, Ui, Vec2, WidgetInfo, pos2, vec2,
};
use egui_material_icons::icons;

use super::{
    format::{self, Clock},
    theme,
    widgets::{button, status, status::Tone, text},
};
use crate::{
    engine::{
        command::{Answer, Command, Reply},
        handle::{Handle, Pending},
    },
    problem::Problem,
    units::{Timestamp, printable},
};

const SHOWN_SECONDS: f64 = 6.0;
const PROBLEM_SECONDS: f64 = 14.0;
const KEPT: usize = 50;

#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub at: Timestamp,
    pub tone: Tone,
    pub what: String,
    /// Why, and what to do now; empty for good news.
    pub more: String,
    until: f64,
    /// Tells equal notices apart.
    number: u64,
}

struct Repaint(Context);

impl Wake for Repaint {
    fn wake(self: Arc<Self>) {
        self.0.request_repaint();
    }
}

/// Commands that were sent and are not answered yet.
#[derive(Default)]
pub struct Asked(Vec<(Command, Pending)>);

impl Asked {
    pub fn send(&mut self, handle: &Handle, command: Command) {
        let pending = handle.send(command.clone());
        self.0.push((command, pending));
    }

    /// The answers that have come.
    pub fn poll(&mut self) -> Vec<(Command, Reply)> {
        let mut answers = Vec::new();
        for (command, mut pending) in std::mem::take(&mut self.0) {
            match pending.poll() {
                Some(reply) => answers.push((command, reply)),
                None => self.0.push((command, pending)),
            }
        }
        answers
    }

    /// Draws a frame when an answer comes; until then none is needed for its sake.
    pub fn repaint_when_answered(&mut self, ctx: &Context) {
        if self.0.is_empty() {
            return;
        }
        let waker = Waker::from(Arc::new(Repaint(ctx.clone())));
        for (_, pending) in &mut self.0 {
            pending.wake_when_there(&waker);
        }
    }

    /// Whether an answer to such a command is still on its way.
    pub fn waits_for(&self, such: impl Fn(&Command) -> bool) -> bool {
        self.0.iter().any(|(command, _)| such(command))
    }
}

/// Toasts and the list behind the bell.
#[derive(Default)]
pub struct Notices {
    list: Vec<Notice>,
    unread: usize,
    count: u64,
}

impl Notices {
    /// What a command came to, where an operator wants to hear of it.
    pub fn answered(&mut self, command: &Command, reply: &Reply, at: Timestamp, time: f64) {
        match reply {
            Ok(Answer::Done { text }) => self.good(printable(text), at, time),
            Ok(Answer::Started { operation }) => {
                let words = match command {
                    Command::OperationCancel { .. } => format!("Undoing {operation}."),
                    Command::OperationResume { .. } => format!("Resumed {operation}."),
                    Command::TrafficSet { share, .. } => {
                        format!("Moving {} of the traffic.", format::percent(*share))
                    }
                    _ => format!("Started {operation}."),
                };
                self.good(words, at, time);
            }
            Ok(Answer::Proposal { .. }) if matches!(command, Command::ShadowPropose { .. }) => {
                self.good("A proposal stands under Now.".to_owned(), at, time);
            }
            Ok(_) => {}
            Err(_)
                if matches!(
                    command,
                    Command::VmDetail { .. }
                        | Command::EventReport { .. }
                        | Command::SettingsPreview { .. }
                ) => {}
            Err(problem) => self.bad(problem, at, time),
        }
    }

    fn good(&mut self, what: String, at: Timestamp, time: f64) {
        self.push(Notice {
            at,
            tone: Tone::Ok,
            what,
            more: String::new(),
            until: time + SHOWN_SECONDS,
            number: 0,
        });
    }

    pub fn bad(&mut self, problem: &Problem, at: Timestamp, time: f64) {
        self.push(Notice {
            at,
            tone: Tone::Risk,
            what: printable(&problem.what),
            more: format!("{} {}", printable(&problem.why), printable(&problem.next)),
            until: time + PROBLEM_SECONDS,
            number: 0,
        });
    }

    fn push(&mut self, mut notice: Notice) {
        self.count += 1;
        notice.number = self.count;
        self.list.insert(0, notice);
        self.list.truncate(KEPT);
        self.unread += 1;
    }

    pub fn list(&self) -> &[Notice] {
        &self.list
    }

    /// The toasts, at the bottom in the middle: over no button that decides.
    pub fn toasts(&mut self, ctx: &Context) {
        let time = ctx.input(|input| input.time);
        let showing: Vec<usize> = (0..self.list.len())
            .filter(|index| self.list[*index].until > time)
            .take(4)
            .collect();
        let Some(next) = showing
            .iter()
            .map(|index| self.list[*index].until)
            .min_by(f64::total_cmp)
        else {
            return;
        };
        ctx.request_repaint_after_secs((next - time) as f32 + 0.05);
        let mut closed = None;
        Area::new(Id::unique("toasts"))
            .order(Order::Foreground)
            .anchor(Align2::CENTER_BOTTOM, vec2(0.0, -44.0))
            .show(ctx, |ui| {
                for index in showing.iter().rev() {
                    if toast(ui, &self.list[*index]) {
                        closed = Some(*index);
                    }
                    ui.add_space(8.0);
                }
            });
        if let Some(index) = closed {
            self.list[index].until = 0.0;
        }
    }

    /// The bell in the top bar, with its list.
    pub fn bell(&mut self, ui: &mut Ui, rect: Rect, clock: &Clock) {
        let tokens = theme::of(ui);
        let name = if self.unread == 0 {
            "Notices".to_owned()
        } else {
            format!("Notices, {} new", self.unread)
        };
        let response = button::icon(ui, rect, icons::ICON_NOTIFICATIONS.codepoint, &name);
        if self.unread > 0 {
            ui.painter()
                .circle_filled(rect.right_top() + vec2(-7.0, 7.0), 4.0, tokens.critical);
        }
        if response.clicked() {
            self.unread = 0;
        }
        Popup::menu(&response)
            .close_behavior(PopupCloseBehavior::CloseOnClickOutside)
            .width(360.0)
            .show(|ui| {
                ui.set_max_width(360.0);
                ui.add_space(4.0);
                if self.list.is_empty() {
                    text::wrapped(ui, "No notices yet.", theme::regular(13.0), tokens.dim);
                }
                ScrollArea::vertical().max_height(420.0).show(ui, |ui| {
                    for notice in &self.list {
                        entry(ui, notice, Some(clock));
                        ui.add_space(10.0);
                    }
                });
            });
    }
}

fn toast(ui: &mut Ui, notice: &Notice) -> bool {
    let tokens = theme::of(ui);
    let response: Response = Frame::new()
        .fill(tokens.raised)
        .stroke(Stroke::new(1.0, tokens.line2))
        .corner_radius(CornerRadius::same(theme::radius::CARD))
        .inner_margin(Margin::symmetric(14, 12))
        .shadow(ui.visuals().popup_shadow)
        .show(ui, |ui| {
            ui.set_width(330.0);
            entry(ui, notice, None);
        })
        .response;
    let cross = Rect::from_center_size(
        pos2(response.rect.right() - 16.0, response.rect.top() + 19.0),
        Vec2::splat(22.0),
    );
    let close = ui.interact(
        cross,
        ui.scope_id().with(("close", notice.number)),
        Sense::click(),
    );
    close.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Dismiss notice"));
    text::icon(
        ui.painter(),
        cross.center(),
        icons::ICON_CLOSE.codepoint,
        15.0,
        if close.hovered() {
            tokens.hi
        } else {
            tokens.dim
        },
    );
    close.clicked()
}

fn entry(ui: &mut Ui, notice: &Notice, clock: Option<&Clock>) {
    let tokens = theme::of(ui);
    let left = ui.cursor().left();
    let top = ui.cursor().top();
    status::paint(
        ui.painter(),
        pos2(left + 6.0, top + 8.0),
        11.0,
        notice.tone,
        tokens,
    );
    let inset = if clock.is_some() { 70.0 } else { 24.0 };
    if let Some(clock) = clock {
        text::right(
            ui,
            ui.max_rect().right(),
            top + 8.0,
            &clock.near(notice.at),
            theme::mono(11.0),
            tokens.dim,
        );
    }
    let width = ui.available_width() - 22.0 - inset;
    ui.horizontal_top(|ui| {
        ui.add_space(22.0);
        ui.vertical(|ui| {
            ui.set_max_width(width);
            text::wrapped(ui, &notice.what, theme::medium(13.0), tokens.hi);
            if !notice.more.is_empty() {
                ui.add_space(3.0);
                text::wrapped(ui, &notice.more, theme::regular(12.5), tokens.dim);
            }
        });
    });
}
