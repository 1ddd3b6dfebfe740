//! The frame loop: takes the newest snapshot, draws it, sends what was asked.

use std::sync::Arc;

use eframe::egui::{self, Context, Rect, Theme, ThemePreference, Ui, UiBuilder, pos2};
use jiff::tz::TimeZone;

use super::{
    action::{self, Action},
    details::Details,
    facts::Facts,
    find::Find,
    foot::Foot,
    format::Clock,
    keys,
    notices::{Asked, Notices},
    pass::{Go, Pass, Range, Screen},
    reports::Reports,
    shell, theme,
    top::Top,
    undo,
    views::{
        calendar::CalendarView, capacity::CapacityView, fleet::FleetView, now::NowView,
        settings::SettingsView, shadows::ShadowsView, sources::SourcesView, timeline::TimelineView,
        vm::VmPage,
    },
    widgets::{chart::Lines, status::Tone},
    window::{ThemeChoice, UiOptions},
};
use crate::{
    engine::{
        command::{Answer, Command, Reply},
        handle::Handle,
        snapshot::Snapshot,
    },
    problem::Problem,
    shadow::ProposalState,
    units::{OperationId, VmId},
};

/// A snapshot this old says that the engine hangs.
const SILENT_SECONDS: f64 = 90.0;

pub struct App {
    handle: Handle,
    by: String,
    zone: TimeZone,
    /// `None` until one was chosen: then where the first thing to do is.
    screen: Option<Screen>,
    /// The VM whose page is open, over the screen that it was opened from.
    page: Option<VmPage>,
    range: Range,
    facts: Facts,
    details: Details,
    reports: Reports,
    lines: Lines,
    asked: Asked,
    notices: Notices,
    find: Find,
    keys_open: bool,
    /// The operation that is asked about before it is undone.
    undoing: Option<OperationId>,
    attached: bool,
    now_view: NowView,
    fleet: FleetView,
    capacity: CapacityView,
    shadows: ShadowsView,
    timeline: TimelineView,
    calendar: CalendarView,
    sources: SourcesView,
    settings: SettingsView,
    /// The newest snapshot's version and when it came, by the window's own clock.
    heard: (u64, f64),
    newest_sample: Option<i64>,
    sampled_of: Option<Arc<Vec<crate::engine::snapshot::VmView>>>,
}

impl App {
    pub fn new(ctx: &Context, handle: Handle, options: UiOptions) -> Self {
        theme::install(ctx);
        ctx.set_theme(match options.theme {
            ThemeChoice::Dark => ThemePreference::Dark,
            ThemeChoice::Light => ThemePreference::Light,
            ThemeChoice::System => ThemePreference::System,
        });
        Self {
            handle,
            by: options.by,
            zone: options.zone,
            screen: None,
            page: None,
            range: Range::default(),
            facts: Facts::default(),
            details: Details::default(),
            reports: Reports::default(),
            lines: Lines::default(),
            asked: Asked::default(),
            notices: Notices::default(),
            find: Find::default(),
            keys_open: false,
            undoing: None,
            attached: options.attached,
            now_view: NowView::default(),
            fleet: FleetView::default(),
            capacity: CapacityView::default(),
            shadows: ShadowsView::default(),
            timeline: TimelineView::default(),
            calendar: CalendarView::new(Arc::clone(&options.files)),
            sources: SourcesView::new(options.files),
            settings: SettingsView::default(),
            heard: (0, 0.0),
            newest_sample: None,
            sampled_of: None,
        }
    }

    /// Draws one frame.
    pub fn frame(&mut self, ui: &mut Ui) {
        let now = self.handle.snapshot();
        let ctx = ui.ctx().clone();
        let time = ctx.input(|input| input.time);
        if self.heard.0 != now.version || time < self.heard.1 {
            self.heard = (now.version, time);
        }
        self.facts.update(&now);
        self.sample_age(&now);
        let clock = Clock {
            zone: self.zone.clone(),
            now: now.at,
        };
        for (command, reply) in self.asked.poll() {
            self.answered(&command, &reply, &now, time);
        }
        let mut out = Vec::new();
        let mut go = Vec::new();
        let keys = self.keys(&ctx, &now, &mut out, &mut go);
        self.paint(ui, &now, &clock, &keys, &mut out, &mut go);
        undo::dialog(&ctx, &mut self.undoing, &now, &self.by, &mut out);
        self.find.ui(&ctx, &now, &self.facts, &clock, &mut go);
        keys::overlay(&ctx, &mut self.keys_open);
        self.notices.toasts(&ctx);
        for wish in go {
            self.go(wish);
        }
        let facts = [self.details.take_wanted(), self.reports.take_wanted()];
        for command in facts.into_iter().flatten().chain(out) {
            self.asked.send(&self.handle, command);
        }
        self.asked.repaint_when_answered(&ctx);
        // The clock and the watch over a silent engine need no more than this.
        ctx.request_repaint_after_secs(30.0);
    }

    /// The age of the newest sample, looked for only in a new set of VMs.
    fn sample_age(&mut self, now: &Arc<Snapshot>) {
        let same = self
            .sampled_of
            .as_ref()
            .is_some_and(|vms| Arc::ptr_eq(vms, &now.vms));
        if !same {
            self.sampled_of = Some(Arc::clone(&now.vms));
            self.newest_sample = now
                .vms
                .iter()
                .filter_map(|view| view.sampled_at)
                .max()
                .map(crate::units::Timestamp::as_millis);
        }
    }

    /// The actions for the views. A dialog takes the keys for itself; those of the whole window are carried out here.
    fn keys(
        &mut self,
        ctx: &Context,
        now: &Arc<Snapshot>,
        out: &mut Vec<Command>,
        go: &mut Vec<Go>,
    ) -> Vec<Action> {
        if self.keys_open || self.find.is_open() || self.undoing.is_some() {
            return Vec::new();
        }
        let mut pressed = action::pressed(ctx);
        if self.now_view.asks() {
            pressed.retain(|action| matches!(action, Action::Confirm | Action::Close));
            return pressed;
        }
        self.global_keys(&pressed, now, out, ctx, go);
        pressed
    }

    fn global_keys(
        &mut self,
        pressed: &[Action],
        now: &Arc<Snapshot>,
        out: &mut Vec<Command>,
        ctx: &Context,
        go: &mut Vec<Go>,
    ) {
        for action in pressed {
            match action {
                Action::Find => self.find.open(),
                Action::Keys => self.keys_open = true,
                Action::Theme => toggle_theme(ctx),
                Action::Undo => {
                    // What is selected; or the only one that runs; among several, choosing comes first.
                    let mut running = now.operations.iter().filter(|it| undo::can(it));
                    let selected = self.now_view.selected_operation();
                    let chosen = selected
                        .and_then(|id| now.operations.iter().find(|it| it.id == *id))
                        .filter(|it| undo::can(it));
                    match (chosen, running.next(), running.next()) {
                        (Some(it), ..) | (None, Some(it), None) => go.push(Go::Undo(it.id.clone())),
                        (None, Some(_), Some(_)) => go.push(Go::To(Screen::Timeline)),
                        (None, None, _) => {}
                    }
                }
                Action::Freeze => out.push(Command::Freeze {
                    frozen: !now.frozen,
                    by: self.by.clone(),
                }),
                Action::Close => {
                    let focused = ctx.memory(egui::Memory::focused);
                    if let Some(id) = focused {
                        ctx.memory_mut(|memory| memory.surrender_focus(id));
                    } else if self.page.is_some() {
                        go.push(Go::Back);
                    }
                }
                _ => {
                    if let Some(screen) = Screen::ALL
                        .into_iter()
                        .find(|screen| screen.action() == *action)
                    {
                        go.push(Go::To(screen));
                    }
                }
            }
        }
    }

    fn paint(
        &mut self,
        ui: &mut Ui,
        now: &Arc<Snapshot>,
        clock: &Clock,
        keys: &[Action],
        out: &mut Vec<Command>,
        go: &mut Vec<Go>,
    ) {
        let whole = ui.max_rect();
        ui.painter().rect_filled(whole, 0, theme::of(ui).bg);
        let top = Rect::from_min_max(whole.min, pos2(whole.right(), whole.top() + shell::TOP));
        let foot = Rect::from_min_max(pos2(whole.left(), whole.bottom() - shell::FOOT), whole.max);
        let nav = Rect::from_min_max(
            top.left_bottom(),
            pos2(whole.left() + shell::NAV, foot.top()),
        );
        let mut body = Rect::from_min_max(nav.right_top(), foot.right_top());
        let first_run = now.sources.is_empty() && !now.demo;
        let screen = self.screen.unwrap_or(if first_run {
            Screen::Sources
        } else {
            Screen::Now
        });
        part(ui, "top", top, |ui| {
            self.top(ui, top, now, clock, screen, first_run);
        });
        let decisions = now
            .proposals
            .iter()
            .filter(|proposal| proposal.state == ProposalState::Open)
            .count();
        part(ui, "nav", nav, |ui| {
            if let Some(screen) = shell::nav(ui, nav, screen, decisions) {
                go.push(Go::To(screen));
            }
        });
        let alive = self.handle.alive();
        let silent = ui.input(|input| input.time) - self.heard.1 > SILENT_SECONDS;
        let blocked = self.banners(ui, &mut body, now, alive, silent, out);
        part(ui, "foot", foot, |ui| {
            let foot_view = Foot {
                now,
                clock,
                alive,
                reporting: self.facts.reporting,
                newest_sample: self
                    .newest_sample
                    .map(|at| (now.at.as_millis() - at).max(0) / 1000),
            };
            if foot_view.ui(ui, foot) {
                self.keys_open = true;
            }
        });
        let mut pass = Pass {
            now,
            facts: &self.facts,
            clock,
            range: self.range,
            by: &self.by,
            keys,
            blocked: blocked.as_deref(),
            details: &mut self.details,
            reports: &mut self.reports,
            lines: &mut self.lines,
            out,
            go,
        };
        let name = format!("{screen:?}");
        part(ui, &name, body, |ui| {
            if let Some(page) = &mut self.page {
                page.ui(ui, body, &mut pass);
                return;
            }
            match screen {
                Screen::Now => self.now_view.ui(ui, body, &mut pass),
                Screen::Fleet => self.fleet.ui(ui, body, &mut pass),
                Screen::Capacity => self.capacity.ui(ui, body, &mut pass),
                Screen::Shadows => self.shadows.ui(ui, body, &mut pass),
                Screen::Timeline => self.timeline.ui(ui, body, &mut pass),
                Screen::Events => self.calendar.ui(ui, body, &mut pass),
                Screen::Sources => self.sources.ui(ui, body, &mut pass),
                Screen::Settings => self.settings.ui(ui, body, &mut pass),
            }
        });
    }

    fn top(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        now: &Arc<Snapshot>,
        clock: &Clock,
        screen: Screen,
        first_run: bool,
    ) {
        let title = if self.page.is_some() {
            "VM"
        } else {
            screen.action().text()
        };
        let bar = Top {
            now,
            clock,
            title,
            range: (!first_run).then_some(self.range),
            attached: self.attached,
        };
        let (pressed, bell) = bar.ui(ui, rect);
        self.notices.bell(ui, bell, clock);
        if pressed.find {
            self.find.open();
        }
        if pressed.theme {
            toggle_theme(ui.ctx());
        }
        if let Some(range) = pressed.range {
            self.range = range;
        }
    }

    /// Banners take their room off the body. Returns why nothing can be decided, where that is so.
    fn banners(
        &mut self,
        ui: &mut Ui,
        body: &mut Rect,
        now: &Arc<Snapshot>,
        alive: bool,
        silent: bool,
        out: &mut Vec<Command>,
    ) -> Option<String> {
        let mut room = |ui: &mut Ui, name: &str, tone, what: &str, effect: &str| {
            let rect = Rect::from_min_max(body.min, pos2(body.right(), body.top() + 38.0));
            body.min.y = rect.bottom();
            part(ui, name, rect, |ui| {
                shell::banner(ui, rect, tone, what, effect);
            });
            rect
        };
        let mut blocked = None;
        if !alive {
            room(
                ui,
                "lost",
                Tone::Critical,
                "The engine has stopped.",
                "What is shown is the last that was known. Start Shadowcast again: what had begun is resumed or undone.",
            );
            blocked = Some("The engine has stopped.".to_owned());
        } else if silent {
            room(
                ui,
                "silent",
                Tone::Risk,
                "The engine is silent.",
                "Nothing new has come for over a minute.",
            );
        }
        if now.frozen {
            let rect = room(
                ui,
                "frozen",
                Tone::Watch,
                "Automation is frozen.",
                "Replication cycles and new operations wait; a breached gate still returns traffic to the original.",
            );
            part(ui, "thaw", rect, |ui| {
                let spot = Rect::from_min_max(
                    pos2(rect.right() - 130.0, rect.top() + 5.0),
                    pos2(rect.right() - 20.0, rect.bottom() - 6.0),
                );
                let thaw = super::widgets::button::Button::new(
                    "Let it go on",
                    super::widgets::button::Look::Secondary,
                );
                if thaw.put(ui, spot).clicked() {
                    out.push(Command::Freeze {
                        frozen: false,
                        by: self.by.clone(),
                    });
                }
            });
            blocked.get_or_insert_with(|| "Automation is frozen.".to_owned());
        }
        blocked
    }

    fn answered(&mut self, command: &Command, reply: &Reply, now: &Arc<Snapshot>, time: f64) {
        if self.details.answered(command, reply) || self.reports.answered(command, reply) {
            return;
        }
        self.now_view.answered(command, reply);
        self.shadows.answered(command, reply);
        self.sources.answered(command, reply);
        self.calendar.answered(command, reply);
        self.settings.answered(command, reply);
        self.notices.answered(command, reply, now.at, time);
        match (command, reply) {
            (Command::ShadowPropose { .. }, Ok(Answer::Proposal { proposal })) => {
                self.go(Go::Proposal(proposal.id.clone()));
            }
            (
                Command::ShadowRetire { .. }
                | Command::ShadowValidate { .. }
                | Command::TrafficSet { .. },
                Ok(Answer::Proposal { proposal }),
            ) => self.go(Go::Proposal(proposal.id.clone())),
            (
                Command::ShadowPromote { .. }
                | Command::ShadowCommit { .. }
                | Command::ShadowRollback { .. },
                Ok(Answer::Proposal { proposal }),
            ) => {
                self.go(Go::Proposal(proposal.id.clone()));
                self.now_view.review(proposal);
            }
            _ => {}
        }
    }

    /// Says a problem that arose outside of any command.
    pub fn report(&mut self, problem: &Problem, time: f64) {
        let at = self.handle.snapshot().at;
        self.notices.bad(problem, at, time);
    }

    fn go(&mut self, wish: Go) {
        match wish {
            Go::To(screen) => {
                self.screen = Some(screen);
                self.page = None;
            }
            Go::OpenVm(vm) => self.page = Some(VmPage::new(vm)),
            Go::Back => self.page = None,
            Go::SelectVm(vm) => self.select(vm),
            Go::Undo(operation) => self.undoing = Some(operation),
            Go::Proposal(proposal) => {
                self.screen = Some(Screen::Now);
                self.page = None;
                self.now_view.select(proposal);
            }
            Go::Operation(operation) => {
                self.screen = Some(Screen::Timeline);
                self.page = None;
                self.timeline.select(operation);
            }
            Go::Shadow(shadow) => {
                self.screen = Some(Screen::Shadows);
                self.page = None;
                self.shadows.select(shadow);
            }
        }
    }

    fn select(&mut self, vm: VmId) {
        self.screen = Some(Screen::Fleet);
        self.page = None;
        self.fleet.select(vm);
    }
}

impl eframe::App for App {
    fn ui(&mut self, ui: &mut Ui, _frame: &mut eframe::Frame) {
        self.frame(ui);
    }

    fn clear_color(&self, visuals: &egui::Visuals) -> [f32; 4] {
        visuals.panel_fill.to_normalized_gamma_f32()
    }
}

/// A part of the window with ids of its own, cut at its edges.
pub fn part(ui: &mut Ui, name: &str, rect: Rect, add: impl FnOnce(&mut Ui)) {
    let mut child = ui.new_child(UiBuilder::new().id_salt(name.to_owned()).max_rect(rect));
    child.set_clip_rect(rect.intersect(ui.clip_rect()));
    add(&mut child);
}

fn toggle_theme(ctx: &Context) {
    let next = match ctx.theme() {
        Theme::Dark => ThemePreference::Light,
        Theme::Light => ThemePreference::Dark,
    };
    ctx.set_theme(next);
}
