//! The dialogs that decide: what changes, what runs, and for how long the offer stands; and turning it down.

use eframe::egui::{
    Align2, Color32, Context, CornerRadius, FontSelection, Frame, Id, Margin, Modal, Rect,
    ScrollArea, Sense, Stroke, StrokeKind, TextEdit, Ui, UiBuilder, pos2, vec2,
};
use egui_material_icons::icons;

use crate::{
    engine::snapshot::Snapshot,
    shadow::{Plan, PlanKind, Proposal, Step},
    ui::{
        action::Action,
        format, keys,
        pass::Pass,
        theme::{self, radius},
        widgets::{
            button::{self, Button, Look},
            text,
        },
        words,
    },
    units::{Digest, ProposalId, printable},
};

const WIDE: f32 = 680.0;
const INSET: f32 = 28.0;

/// What is being approved: the digest that was read when the dialog opened, so that nothing else can be signed.
#[derive(Clone, Debug)]
pub struct Approval {
    pub proposal: ProposalId,
    pub digest: Digest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Open,
    Closed,
    Approved,
}

/// One line of what changes.
struct Change {
    what: String,
    of: String,
    now: String,
    after: String,
    ink: Color32,
}

impl Approval {
    pub fn new(proposal: &Proposal) -> Self {
        Self {
            proposal: proposal.id.clone(),
            digest: proposal.digest.clone(),
        }
    }

    pub fn ui(&self, ctx: &Context, proposal: &Proposal, pass: &Pass<'_>) -> Verdict {
        let stale = proposal.digest != self.digest;
        let off = if stale {
            Some("The plan has changed since this was opened. Close it and read the new one.")
        } else {
            pass.blocked
        };
        let mut verdict = Verdict::Open;
        if pass.pressed(Action::Confirm) && off.is_none() {
            verdict = Verdict::Approved;
        }
        if pass.pressed(Action::Close) {
            verdict = Verdict::Closed;
        }
        let answer = modal(ctx, "approve").show(ctx, |ui| {
            ui.set_width(WIDE);
            head(ui, proposal, pass.by);
            let room = ui.ctx().content_rect().height() - 260.0;
            ScrollArea::vertical()
                .max_height(room.max(160.0))
                .show(ui, |ui| {
                    changes(ui, proposal, pass.now);
                    commands(ui, &proposal.plan);
                    undo(ui, &proposal.plan);
                });
            buttons(ui, proposal, off, pass)
        });
        if verdict == Verdict::Open {
            verdict = answer.inner;
        }
        if verdict == Verdict::Open && answer.backdrop_response.clicked() {
            verdict = Verdict::Closed;
        }
        verdict
    }
}

fn modal(ctx: &Context, id: &str) -> Modal {
    keys::dialog(ctx, id)
}

fn row(ui: &mut Ui, height: f32) -> Rect {
    let (rect, _) = ui.allocate_exact_size(vec2(WIDE, height), Sense::hover());
    rect.shrink2(vec2(INSET, 0.0))
}

fn head(ui: &mut Ui, proposal: &Proposal, by: &str) {
    let tokens = theme::of(ui);
    ui.add_space(20.0);
    let title = row(ui, 30.0);
    let name = printable(&proposal.plan.vm_name);
    let words = match proposal.plan.kind {
        PlanKind::Create => format!("Approve shadow for {name}"),
        PlanKind::Traffic => format!("Approve traffic for {name}"),
        PlanKind::Retire => format!("Approve retiring the shadow of {name}"),
    };
    text::fit(
        ui,
        title.left(),
        title.center().y,
        title.width() - 110.0,
        &words,
        theme::semibold(18.0),
        tokens.hi,
    );
    text::right(
        ui,
        title.right(),
        title.center().y,
        proposal.id.as_str(),
        theme::mono(12.0),
        tokens.dim,
    );
    let line = row(ui, 22.0);
    text::left(
        ui,
        line.left(),
        line.center().y,
        &format!(
            "Signed as {}. Exactly these steps run, checked once more on fresh data.",
            printable(by)
        ),
        theme::regular(13.0),
        tokens.dim,
    );
    ui.add_space(12.0);
}

/// What is different afterwards, as far as the plan says.
fn differences(proposal: &Proposal, now: &Snapshot, ui: &Ui) -> Vec<Change> {
    let tokens = theme::of(ui);
    let mut changes = Vec::new();
    if let Some(share) = words::share_step(&proposal.plan) {
        let backend = printable(&share.backend);
        changes.push(Change {
            what: "Traffic on the original".to_owned(),
            of: backend.clone(),
            now: format::percent(1.0 - share.previous_share),
            after: format::percent(1.0 - share.share),
            ink: tokens.accent,
        });
        changes.push(Change {
            what: "Traffic on the shadow".to_owned(),
            of: backend,
            now: format::percent(share.previous_share),
            after: format::percent(share.share),
            ink: tokens.cast,
        });
    }
    let holds = proposal.plan.steps.iter().filter_map(|step| match step {
        Step::Reserve { hold } => Some((hold, 1.0)),
        Step::Release { hold } => Some((hold, -1.0)),
        _ => None,
    });
    for (hold, sign) in holds {
        let Some(pool) = now.pools.iter().find(|pool| pool.id == hold.pool) else {
            continue;
        };
        let name = printable(&pool.name);
        let all = pool.memory_bytes.max(1) as f64;
        let used = pool.memory_bytes.saturating_sub(pool.memory_free_bytes) as f64;
        changes.push(Change {
            what: "Memory in use".to_owned(),
            of: name,
            now: format::percent(used / all),
            after: format::percent((used + sign * hold.memory_bytes as f64) / all),
            ink: tokens.hi,
        });
        let planned = proposal.placement.as_ref().map(|place| &place.storage);
        if let Some(storage) = pool
            .storage
            .iter()
            .find(|storage| planned.is_none_or(|planned| storage.name == *planned))
        {
            let all = storage.capacity_bytes.max(1) as f64;
            let used = storage
                .capacity_bytes
                .saturating_sub(storage.available_bytes) as f64;
            changes.push(Change {
                what: "Space in use".to_owned(),
                of: printable(&storage.name),
                now: format::percent(used / all),
                after: format::percent((used + sign * hold.disk_bytes as f64) / all),
                ink: tokens.hi,
            });
        }
    }
    let sizing = proposal.sizing;
    if sizing.share > 0.0 {
        let metric = words::metric(proposal);
        changes.push(Change {
            what: format!("{} peak ahead", format::metric(metric)),
            of: printable(&proposal.plan.vm_name),
            now: format::value(metric, sizing.peak_no_action),
            after: format::value(metric, sizing.peak_primary),
            ink: tokens.ok,
        });
    }
    changes
}

fn changes(ui: &mut Ui, proposal: &Proposal, now: &Snapshot) {
    let tokens = theme::of(ui);
    let changes = differences(proposal, now, ui);
    if changes.is_empty() {
        return;
    }
    let title = row(ui, 26.0);
    let middle = title.left() + 446.0;
    text::left(
        ui,
        title.left(),
        title.center().y,
        "What changes",
        theme::medium(12.5),
        tokens.text,
    );
    for (x, words) in [(middle, "now"), (title.right(), "after")] {
        text::right(
            ui,
            x,
            title.center().y,
            words,
            theme::regular(12.5),
            tokens.dim,
        );
    }
    text::hline(
        ui,
        title.left()..=title.right(),
        title.bottom(),
        tokens.line2,
    );
    for change in changes {
        let line = row(ui, 32.0);
        let y = line.center().y;
        let what = text::left(
            ui,
            line.left(),
            y,
            &change.what,
            theme::medium(13.0),
            tokens.hi,
        );
        text::fit(
            ui,
            what.rect.right() + 10.0,
            y,
            middle - 90.0 - what.rect.right(),
            &change.of,
            theme::regular(12.5),
            tokens.dim,
        );
        text::right(ui, middle, y, &change.now, theme::mono(13.0), tokens.dim);
        text::icon(
            ui.painter(),
            pos2(middle + 92.0, y),
            icons::ICON_ARROW_FORWARD.codepoint,
            15.0,
            tokens.dim,
        );
        text::right(
            ui,
            line.right(),
            y,
            &change.after,
            theme::mono_medium(13.0),
            change.ink,
        );
        text::hline(ui, line.left()..=line.right(), line.bottom(), tokens.line);
    }
    ui.add_space(12.0);
}

fn commands(ui: &mut Ui, plan: &Plan) {
    let tokens = theme::of(ui);
    let title = row(ui, 26.0);
    text::left(
        ui,
        title.left(),
        title.center().y,
        "Commands, in order",
        theme::medium(12.5),
        tokens.text,
    );
    let lines: Vec<_> = plan.steps.iter().map(words::command).collect();
    if button::link(
        ui,
        pos2(title.right(), title.center().y),
        Align2::RIGHT_CENTER,
        "Copy",
    )
    .clicked()
    {
        let all: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(index, (verb, rest))| format!("{} {verb} {rest}", index + 1))
            .collect();
        ui.ctx().copy_text(all.join("\n"));
    }
    let pitch = 22.0;
    let area = row(ui, pitch * lines.len() as f32 + 16.0);
    ui.painter().rect(
        area,
        CornerRadius::same(radius::CONTROL),
        if tokens.dark { tokens.bg } else { tokens.panel },
        Stroke::new(1.0, tokens.line),
        StrokeKind::Inside,
    );
    for (index, (verb, rest)) in lines.iter().enumerate() {
        let y = area.top() + 8.0 + pitch * (index as f32 + 0.5);
        text::right(
            ui,
            area.left() + 28.0,
            y,
            &(index + 1).to_string(),
            theme::mono(12.0),
            tokens.dim,
        );
        let verb = text::left(
            ui,
            area.left() + 40.0,
            y,
            verb,
            theme::mono_medium(12.0),
            tokens.cast,
        );
        text::fit(
            ui,
            verb.rect.right() + 10.0,
            y,
            area.right() - verb.rect.right() - 22.0,
            rest,
            theme::mono(12.0),
            tokens.text,
        );
    }
    ui.add_space(12.0);
}

fn undo(ui: &mut Ui, plan: &Plan) {
    let tokens = theme::of(ui);
    let line = row(ui, 26.0);
    text::icon(
        ui.painter(),
        pos2(line.left() + 8.0, line.center().y),
        icons::ICON_UNDO.codepoint,
        16.0,
        tokens.ok,
    );
    text::fit(
        ui,
        line.left() + 24.0,
        line.center().y,
        line.width() - 24.0,
        &printable(&plan.undo),
        theme::regular(13.0),
        tokens.text,
    );
    ui.add_space(10.0);
}

fn buttons(ui: &mut Ui, proposal: &Proposal, off: Option<&str>, pass: &Pass<'_>) -> Verdict {
    let tokens = theme::of(ui);
    let (foot, _) = ui.allocate_exact_size(vec2(WIDE, 76.0), Sense::hover());
    text::hline(ui, foot.left()..=foot.right(), foot.top(), tokens.line);
    let y = foot.center().y;
    let main = Rect::from_min_size(
        pos2(foot.right() - INSET - 190.0, y - 19.0),
        vec2(190.0, 38.0),
    );
    let cancel = Rect::from_min_size(
        pos2(main.left() - 10.0 - 104.0, y - 19.0),
        vec2(104.0, 38.0),
    );
    let left = proposal.expires_at.secs_since(pass.now.at);
    let (words, ink) = off.map_or_else(
        || {
            (
                if left > 0 {
                    format!("The offer stands for {} more.", format::span(left))
                } else {
                    "The offer has expired; it is refused if approved now.".to_owned()
                },
                tokens.dim,
            )
        },
        |why| (why.to_owned(), tokens.risk),
    );
    let place = Rect::from_min_max(
        pos2(foot.left() + INSET, y - 18.0),
        pos2(cancel.left() - 14.0, y + 20.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("expires").max_rect(place).layout(
        eframe::egui::Layout::left_to_right(eframe::egui::Align::Center),
    ));
    text::wrapped(&mut child, &words, theme::regular(12.5), ink);
    let mut verdict = Verdict::Open;
    let mut close = Button::new("Cancel", Look::Secondary);
    close.keys = Some(Action::Close.keys());
    if close.put(ui, cancel).clicked() {
        verdict = Verdict::Closed;
    }
    if Button::action(Action::Confirm, Look::Primary)
        .off(off)
        .put(ui, main)
        .clicked()
    {
        verdict = Verdict::Approved;
    }
    verdict
}

/// Turning a proposal down, with the reason for the record.
pub fn reject(ctx: &Context, proposal: &Proposal, why: &mut String, pass: &Pass<'_>) -> Verdict {
    let mut verdict = Verdict::Open;
    if pass.pressed(Action::Confirm) {
        verdict = Verdict::Approved;
    }
    if pass.pressed(Action::Close) {
        verdict = Verdict::Closed;
    }
    let answer = modal(ctx, "reject").show(ctx, |ui| {
        let tokens = theme::of(ui);
        let wide = 460.0;
        ui.set_width(wide);
        ui.add_space(20.0);
        let line = |ui: &mut Ui, height: f32| {
            let (rect, _) = ui.allocate_exact_size(vec2(wide, height), Sense::hover());
            rect.shrink2(vec2(INSET, 0.0))
        };
        let title = line(ui, 30.0);
        text::fit(
            ui,
            title.left(),
            title.center().y,
            title.width(),
            &format!("Reject for {}", printable(&proposal.plan.vm_name)),
            theme::semibold(17.0),
            tokens.hi,
        );
        let label = line(ui, 30.0);
        text::left(
            ui,
            label.left(),
            label.center().y,
            "Why? It is kept with the decision.",
            theme::regular(13.0),
            tokens.dim,
        );
        let field = line(ui, 38.0);
        let response = text_field(ui, field, why, "Reason", "for example: planned maintenance");
        if !response.has_focus() && ui.memory(|memory| memory.focused().is_none()) {
            response.request_focus();
        }
        ui.add_space(18.0);
        let foot = line(ui, 54.0);
        let main = Rect::from_min_size(pos2(foot.right() - 170.0, foot.top()), vec2(170.0, 36.0));
        let cancel = Rect::from_min_size(pos2(main.left() - 114.0, foot.top()), vec2(104.0, 36.0));
        let mut pressed = Verdict::Open;
        let mut close = Button::new("Cancel", Look::Secondary);
        close.keys = Some(Action::Close.keys());
        if close.put(ui, cancel).clicked() {
            pressed = Verdict::Closed;
        }
        let mut confirm = Button::new("Reject", Look::Primary).named("Reject the proposal");
        confirm.keys = Some(Action::Confirm.keys());
        if confirm.put(ui, main).clicked() {
            pressed = Verdict::Approved;
        }
        pressed
    });
    if verdict == Verdict::Open {
        verdict = answer.inner;
    }
    if verdict == Verdict::Open && answer.backdrop_response.clicked() {
        verdict = Verdict::Closed;
    }
    verdict
}

/// A text field with the frame of a control.
pub fn text_field(
    ui: &mut Ui,
    rect: Rect,
    value: &mut String,
    name: &str,
    hint: &str,
) -> eframe::egui::Response {
    let tokens = theme::of(ui);
    let id = Id::unique(("field", name));
    let focused = ui.memory(|memory| memory.has_focus(id));
    ui.painter().rect(
        rect,
        CornerRadius::same(radius::CONTROL),
        if tokens.dark { tokens.bg } else { tokens.card },
        Stroke::new(
            if focused { 2.0 } else { 1.0 },
            if focused { tokens.accent } else { tokens.line2 },
        ),
        StrokeKind::Inside,
    );
    let edit = TextEdit::singleline(value)
        .id(id)
        .hint_text(hint.to_owned())
        .font(FontSelection::FontId(theme::mono(13.5)))
        .text_color(tokens.hi)
        .frame(Frame::NONE)
        .margin(Margin::ZERO)
        .desired_width(rect.width() - 24.0);
    let inside = Rect::from_center_size(rect.center(), vec2(rect.width() - 24.0, 20.0));
    ui.place(inside, edit).accessible_name(name)
}
