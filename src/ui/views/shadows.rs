//! Shadows: each with its method, objective, lags, bytes behind, traffic and state; the selected one at length.

use std::sync::Arc;

use eframe::egui::{Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2};

use egui_material_icons::icons;

use super::{empty, shadow_detail, shadow_proofs, shadow_side};
use crate::{
    engine::{
        command::{Command, Reply},
        snapshot::{ShadowState, ShadowView},
    },
    ui::{
        action::Action,
        app::part,
        format,
        pass::{Go, Pass},
        theme::{self, Tokens},
        widgets::{
            bars, button,
            status::{self, Tone},
            text,
        },
        words,
    },
    units::{ShadowId, printable},
};

const ROW: f32 = 41.0;
const HEAD: f32 = 34.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Which {
    #[default]
    All,
    Serving,
    InStep,
    NeedYou,
}

/// The share that was wanted for a serving shadow and is not read back yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub shadow: ShadowId,
    pub share: f64,
    pub sent: bool,
}

#[derive(Default)]
pub struct ShadowsView {
    which: Which,
    selected: Option<ShadowId>,
    pub wanted: Option<Wanted>,
}

impl ShadowsView {
    pub fn select(&mut self, shadow: ShadowId) {
        self.which = Which::All;
        self.selected = Some(shadow);
    }

    /// The draft of the split ends with the answer: from then on what is read back is shown.
    pub fn answered(&mut self, command: &Command, _reply: &Reply) {
        if matches!(command, Command::TrafficSet { .. }) {
            self.wanted = None;
        }
    }

    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        let now = Arc::clone(pass.now);
        if now.shadows.is_empty() {
            if !now.vms.is_empty() || !empty::loading(ui, body, pass) {
                empty::message(
                    ui,
                    body,
                    Tone::Ok,
                    "No shadow stands.",
                    "Approve a proposal under Now, or propose one for a VM under Fleet.",
                );
            }
            return;
        }
        let narrow = body.width() < 1300.0;
        let side = Rect::from_min_max(
            pos2(
                body.right() - if narrow { 300.0 } else { 316.0 },
                body.top(),
            ),
            body.max,
        );
        let main = Rect::from_min_max(body.min, pos2(side.left(), body.bottom()));
        let tools = Rect::from_min_size(main.min, vec2(main.width(), 56.0));
        self.tools(ui, tools, &now.shadows);
        text::hline(ui, main.left()..=main.right(), tools.bottom(), tokens.line);
        let shown: Vec<&ShadowView> = now
            .shadows
            .iter()
            .filter(|shadow| self.which.takes(shadow))
            .collect();
        self.keys(&shown, pass);
        let chosen = shown
            .iter()
            .find(|shadow| self.selected.as_ref() == Some(&shadow.id))
            .or_else(|| shown.first())
            .copied();
        self.selected = chosen.map(|shadow| shadow.id.clone());
        let rest = Rect::from_min_max(
            tools.left_bottom() + vec2(24.0, 16.0),
            main.max - vec2(24.0, 16.0),
        );
        if shown.is_empty() {
            empty::message(ui, rest, Tone::None, "No shadow is like that.", "");
        } else {
            let detail = if rest.height() > 640.0 { 340.0 } else { 272.0 };
            let most = HEAD + ROW * shown.len() as f32 + 8.0;
            let tall = most.min(rest.height() - detail - 16.0);
            let table = Rect::from_min_size(rest.min, vec2(rest.width(), tall));
            part(ui, "shadows", table, |ui| {
                self.table(ui, table, &shown, pass);
            });
            let below = Rect::from_min_max(pos2(rest.left(), table.bottom() + 16.0), rest.max);
            if let Some(shadow) = chosen {
                part(ui, "detail", below, |ui| {
                    shadow_detail::ui(ui, below, shadow, pass);
                });
            }
        }
        ui.painter().rect_filled(side, 0, tokens.panel);
        text::vline(ui, side.left(), side.top()..=side.bottom(), tokens.line);
        if let Some(shadow) = chosen {
            part(ui, "side", side, |ui| {
                shadow_side::ui(ui, side, shadow, &mut self.wanted, pass);
            });
        }
    }

    fn tools(&mut self, ui: &mut Ui, rect: Rect, shadows: &[ShadowView]) {
        let name = |which: Which, word: &str| {
            let count = shadows.iter().filter(|shadow| which.takes(shadow)).count();
            format!("{word} {count}")
        };
        let names = [
            (Which::All, name(Which::All, "All")),
            (Which::Serving, name(Which::Serving, "Serving")),
            (Which::InStep, name(Which::InStep, "In step")),
            (Which::NeedYou, name(Which::NeedYou, "Need you")),
        ];
        let choices = [
            (names[0].0, names[0].1.as_str()),
            (names[1].0, names[1].1.as_str()),
            (names[2].0, names[2].1.as_str()),
            (names[3].0, names[3].1.as_str()),
        ];
        button::segments(
            ui,
            pos2(rect.left() + 24.0, rect.center().y - 16.0),
            32.0,
            &choices,
            &mut self.which,
            true,
        );
    }

    fn keys(&mut self, shown: &[&ShadowView], pass: &mut Pass<'_>) {
        let step =
            i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
        let place = shown
            .iter()
            .position(|shadow| self.selected.as_ref() == Some(&shadow.id));
        if let Some(place) = place {
            let next = (place as i64 + step).clamp(0, shown.len() as i64 - 1) as usize;
            self.selected = Some(shown[next].id.clone());
            if pass.pressed(Action::Validate) && shadow_side::untried(shown[next], pass).is_none() {
                shadow_side::validate(shown[next], pass);
            }
            if pass.pressed(Action::Open) {
                pass.go.push(Go::OpenVm(shown[next].vm.clone()));
            }
        }
    }

    fn table(&mut self, ui: &mut Ui, rect: Rect, shown: &[&ShadowView], pass: &Pass<'_>) {
        let tokens = theme::of(ui);
        text::card(ui, rect);
        let head = Rect::from_min_size(rect.min, vec2(rect.width(), HEAD));
        for (cell, name, right) in columns(head)
            .into_iter()
            .zip(HEADS)
            .map(|(cell, head)| (cell, head.0, head.1))
        {
            let y = head.center().y;
            let font = theme::medium(12.0);
            if right {
                text::right(ui, cell.right(), y, name, font, tokens.dim);
            } else {
                text::left(ui, cell.left(), y, name, font, tokens.dim);
            }
        }
        text::hline(
            ui,
            rect.left() + 1.0..=rect.right() - 1.0,
            head.bottom(),
            tokens.line,
        );
        let list = Rect::from_min_max(
            head.left_bottom() + vec2(1.0, 1.0),
            rect.max - vec2(1.0, 4.0),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("rows").max_rect(list));
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show_rows(&mut child, ROW, shown.len(), |ui, range| {
                for shadow in &shown[range] {
                    let (row, _) = ui.allocate_exact_size(vec2(list.width(), ROW), Sense::hover());
                    let on = self.selected.as_ref() == Some(&shadow.id);
                    if line(ui, row, shadow, on, pass) {
                        self.selected = Some(shadow.id.clone());
                    }
                }
            });
    }
}

impl Which {
    fn takes(self, shadow: &ShadowView) -> bool {
        match self {
            Self::All => true,
            Self::Serving => shadow.traffic_share > 0.0,
            Self::InStep => shadow.state == ShadowState::Replicating,
            Self::NeedYou => matches!(tone(shadow), Tone::Critical | Tone::Risk),
        }
    }
}

/// Its newest proof speaks against it.
fn unproven(shadow: &ShadowView) -> bool {
    shadow.last_proof.as_ref().is_some_and(|mark| !mark.passed)
}

pub fn tone(shadow: &ShadowView) -> Tone {
    let broken = shadow.gate.as_ref().is_some_and(|gate| !gate.holds);
    let late = shadow
        .lag_seconds
        .is_some_and(|lag| lag > u64::from(shadow.rpo_seconds));
    match shadow.state {
        ShadowState::Stalled => Tone::Critical,
        _ if broken || unproven(shadow) => Tone::Risk,
        ShadowState::Creating => Tone::None,
        ShadowState::Promoted => Tone::Watch,
        ShadowState::Committed => Tone::Ok,
        ShadowState::Retiring => Tone::Watch,
        _ if late => Tone::Watch,
        ShadowState::Replicating | ShadowState::Serving => Tone::Ok,
    }
}

const HEADS: [(&str, bool); 8] = [
    ("VM and its shadow", false),
    ("Method", false),
    ("RPO", false),
    ("Newest cycles", false),
    ("Behind", true),
    ("Proof", false),
    ("Traffic on shadow", false),
    ("State", false),
];

/// Name, method, objective, cycles, bytes, proof, traffic, state.
fn columns(row: Rect) -> [Rect; 8] {
    let shares = [0.185, 0.105, 0.08, 0.10, 0.09, 0.095, 0.145, 0.20];
    let inside = Rect::from_min_max(
        pos2(row.left() + 36.0, row.top()),
        pos2(row.right() - 8.0, row.bottom()),
    );
    let mut x = inside.left();
    shares.map(|share| {
        let cell = Rect::from_min_size(
            pos2(x, row.top()),
            vec2(inside.width() * share - 14.0, row.height()),
        );
        x += inside.width() * share;
        cell
    })
}

fn line(ui: &mut Ui, row: Rect, shadow: &ShadowView, on: bool, pass: &Pass<'_>) -> bool {
    let tokens = theme::of(ui);
    let id = ui.scope_id().with(("shadow", shadow.id.as_str()));
    let response = ui.interact(row, id, Sense::click());
    let name = printable(&shadow.vm_name);
    let tone = tone(shadow);
    let (state, more, ink) = state_words(shadow, tone, tokens);
    response.widget_info(|| {
        WidgetInfo::selected(Role::Row, true, on, format!("Shadow of {name}, {state}"))
    });
    if on || response.hovered() {
        ui.painter()
            .rect_filled(row, 0, if on { tokens.selected } else { tokens.hover });
    }
    if on {
        ui.painter().rect_filled(
            Rect::from_min_size(row.min, vec2(3.0, row.height())),
            0,
            tokens.accent,
        );
    }
    text::hline(
        ui,
        row.left() + 16.0..=row.right() - 16.0,
        row.bottom() - 1.0,
        tokens.line,
    );
    status::paint(
        ui.painter(),
        pos2(row.left() + 20.0, row.center().y),
        12.0,
        tone,
        tokens,
    );
    let (upper, lower) = (row.top() + 12.5, row.top() + 29.0);
    let [vm, method, rpo, cycles, behind, proof, traffic, state_cell] = columns(row);
    two(
        ui,
        vm,
        (upper, lower),
        &name,
        &format!("in {}", words::pool(pass.now, &shadow.pool)),
        tokens.hi,
    );
    two(
        ui,
        method,
        (upper, lower),
        &printable(&shadow.method),
        &shadow.last_cycle_millis.map_or_else(
            || "no cycle yet".to_owned(),
            |millis| format!("{:.1} s a cycle", millis as f64 / 1000.0),
        ),
        tokens.text,
    );
    let late = shadow
        .lag_seconds
        .is_some_and(|lag| lag > u64::from(shadow.rpo_seconds));
    let achieved = shadow
        .lag_seconds
        .map_or_else(|| "none yet".to_owned(), |lag| format::span(lag as i64));
    text::fit(
        ui,
        rpo.left(),
        upper,
        rpo.width() + 8.0,
        &achieved,
        theme::mono_medium(12.0),
        if late { tokens.critical } else { tokens.hi },
    );
    text::fit(
        ui,
        rpo.left(),
        lower,
        rpo.width() + 8.0,
        &format!("of {}", format::span(i64::from(shadow.rpo_seconds))),
        theme::mono(11.5),
        tokens.dim,
    );
    let chart = Rect::from_min_max(
        pos2(cycles.left(), row.top() + 9.0),
        pos2(cycles.right(), row.bottom() - 9.0),
    );
    bars::lags(
        ui.painter(),
        chart,
        &shadow.recent_lags,
        shadow.rpo_seconds as f32,
        tokens,
    );
    let bytes = shadow
        .lag_bytes
        .map_or_else(|| "–".to_owned(), format::bytes);
    text::right(
        ui,
        behind.right(),
        row.center().y,
        &bytes,
        theme::mono(12.0),
        if late { tokens.critical } else { tokens.text },
    );
    proof_cell(ui, proof, shadow, pass);
    let percent = text::right(
        ui,
        traffic.right(),
        row.center().y,
        &format::percent(shadow.traffic_share),
        theme::mono(12.0),
        if shadow.traffic_share > 0.0 {
            tokens.hi
        } else {
            tokens.dim
        },
    );
    let bar = Rect::from_min_max(
        pos2(traffic.left(), row.center().y - 3.0),
        pos2(
            percent.rect.left().min(traffic.right() - 44.0) - 8.0,
            row.center().y + 3.0,
        ),
    );
    bars::split(ui.painter(), bar, shadow.traffic_share as f32, tokens);
    two(ui, state_cell, (upper, lower), &state, &more, ink);
    response.clicked()
}

/// The age of the newest proof, beside the objective that it is about.
fn proof_cell(ui: &mut Ui, cell: Rect, shadow: &ShadowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let passed = shadow.last_proof.as_ref().map(|mark| mark.passed);
    let (icon, ink) = if shadow.proving {
        (icons::ICON_PENDING.codepoint, tokens.cast)
    } else {
        shadow_proofs::verdict_icon(passed, tokens)
    };
    let y = cell.center().y;
    text::icon(ui.painter(), pos2(cell.left() + 7.0, y), icon, 15.0, ink);
    let (words, ink) = match &shadow.last_proof {
        _ if shadow.proving => ("proving".to_owned(), tokens.cast),
        None => ("not yet".to_owned(), tokens.dim),
        Some(mark) => (
            pass.clock.ago(mark.at),
            if mark.passed {
                tokens.text
            } else {
                tokens.critical
            },
        ),
    };
    let x = cell.left() + 20.0;
    let font = theme::mono(12.0);
    text::fit(ui, x, y, cell.right() - x + 6.0, &words, font, ink);
}

fn two(
    ui: &mut Ui,
    cell: Rect,
    (upper, lower): (f32, f32),
    first: &str,
    second: &str,
    ink: eframe::egui::Color32,
) {
    let tokens = theme::of(ui);
    text::fit(
        ui,
        cell.left(),
        upper,
        cell.width(),
        first,
        theme::medium(13.0),
        ink,
    );
    text::fit(
        ui,
        cell.left(),
        lower,
        cell.width(),
        second,
        theme::regular(12.0),
        tokens.dim,
    );
}

/// The state, what more there is to say, and the colour of the first.
fn state_words(
    shadow: &ShadowView,
    tone: Tone,
    tokens: &Tokens,
) -> (String, String, eframe::egui::Color32) {
    let mut state = words::shadow_state(shadow.state).to_owned();
    let mut more = match shadow.state {
        ShadowState::Replicating => "powered off, takes no traffic".to_owned(),
        ShadowState::Serving => shadow.serving_from.map_or_else(
            || "on its newest point".to_owned(),
            |point| format!("on point {point}"),
        ),
        ShadowState::Retiring => "is being removed".to_owned(),
        ShadowState::Promoted => "in its primary's place, not committed yet".to_owned(),
        ShadowState::Committed => "in its primary's place".to_owned(),
        ShadowState::Creating | ShadowState::Stalled => String::new(),
    };
    let mut ink = match tone {
        Tone::Ok if shadow.state == ShadowState::Serving => tokens.cast,
        Tone::Ok | Tone::None => tokens.hi,
        other => other.colour(tokens),
    };
    if shadow.state == ShadowState::Serving {
        state += &format!(" {}", format::percent(shadow.traffic_share));
    }
    if let Some(progress) = shadow.cycle_progress
        && progress.total_bytes > 0
        && shadow.state == ShadowState::Creating
    {
        let part = progress.done_bytes as f64 / progress.total_bytes as f64;
        state = format!("Seeding {}", format::percent(part));
        more = format!(
            "{} of {}",
            format::bytes(progress.done_bytes),
            format::bytes(progress.total_bytes)
        );
        ink = tokens.cast;
    }
    if let Some(breach) = shadow
        .gate
        .as_ref()
        .filter(|gate| !gate.holds)
        .and_then(|gate| gate.last_breach.as_ref())
    {
        more = printable(breach);
    }
    if let Some(stalled) = &shadow.stalled {
        more = printable(stalled);
    }
    (state, more, ink)
}
