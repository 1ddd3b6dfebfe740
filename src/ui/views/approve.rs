//! The dialogs that decide: what changes, what runs, and for how long the offer stands; and turning it down.

use eframe::egui::{
    Align2, Context, CornerRadius, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind, Ui,
    UiBuilder, WidgetInfo, pos2,
    text::{LayoutJob, TextFormat},
    vec2,
};
use egui_material_icons::icons;

use super::{changes::differences, promotion};
use crate::{
    engine::snapshot::Snapshot,
    shadow::{Plan, PlanKind, Proposal},
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
    /// The VM's name as far as it was typed, where that is asked for.
    typed: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Open,
    Closed,
    Approved,
}

impl Approval {
    pub fn new(proposal: &Proposal) -> Self {
        Self {
            proposal: proposal.id.clone(),
            digest: proposal.digest.clone(),
            typed: String::new(),
        }
    }

    pub fn ui(&mut self, ctx: &Context, proposal: &Proposal, pass: &Pass<'_>) -> Verdict {
        let stale = proposal.digest != self.digest;
        let off = if stale {
            Some("The plan has changed since this was opened. Close it and read the new one.")
        } else {
            pass.blocked
                .or_else(|| promotion::why_not(proposal, &self.typed))
        };
        let mut verdict = Verdict::Open;
        if pass.pressed(Action::Confirm) && off.is_none() {
            verdict = Verdict::Approved;
        }
        if pass.pressed(Action::Close) {
            verdict = Verdict::Closed;
        }
        let answer = keys::dialog(ctx, "approve").show(ctx, |ui| {
            ui.set_width(WIDE);
            head(ui, proposal, pass.by);
            let room = ui.ctx().content_rect().height() - 260.0;
            ScrollArea::vertical()
                .max_height(room.max(160.0))
                .show(ui, |ui| {
                    promotion::preflight(ui, proposal);
                    // Which side serves is said by the steps; peaks are not what this is about.
                    if !promotion::asks_for_the_name(proposal.plan.kind) {
                        changes(ui, proposal, pass.now);
                    }
                    commands(ui, &proposal.plan);
                    undo(ui, &proposal.plan);
                });
            if promotion::asks_for_the_name(proposal.plan.kind) {
                promotion::name_field(ui, proposal, &mut self.typed);
            }
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

pub(super) fn row(ui: &mut Ui, height: f32) -> Rect {
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
        PlanKind::Refresh => format!("Approve refreshing the shadow of {name}"),
        PlanKind::Retire => format!("Approve retiring the shadow of {name}"),
        PlanKind::Promote => format!("Promote the shadow of {name}"),
        PlanKind::Commit => format!("Commit the promotion for {name}"),
        PlanKind::Rollback => format!("Roll back to {name}"),
        PlanKind::Guard => format!("Keep {name} off"),
        PlanKind::Validate => format!("Approve validating the shadow of {name}"),
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
    let wide = WIDE - 2.0 * INSET - 56.0;
    let galleys: Vec<_> = lines
        .iter()
        .map(|(verb, rest)| {
            let mut job = LayoutJob::default();
            job.append(
                verb,
                0.0,
                TextFormat::simple(theme::mono_medium(12.0), tokens.cast),
            );
            job.append(
                rest,
                8.0,
                TextFormat::simple(theme::mono(12.0), tokens.text),
            );
            job.wrap.max_width = wide;
            ui.painter().layout_job(job)
        })
        .collect();
    let tall: f32 = galleys.iter().map(|galley| galley.size().y + 6.0).sum();
    let area = row(ui, tall + 12.0);
    ui.painter().rect(
        area,
        CornerRadius::same(radius::CONTROL),
        if tokens.dark { tokens.bg } else { tokens.panel },
        Stroke::new(1.0, tokens.line),
        StrokeKind::Inside,
    );
    let mut y = area.top() + 9.0;
    for (index, (galley, (verb, rest))) in galleys.into_iter().zip(&lines).enumerate() {
        let rect = Rect::from_min_size(pos2(area.left() + 40.0, y), galley.size());
        text::paint(
            ui.painter(),
            pos2(area.left() + 28.0, y),
            Align2::RIGHT_TOP,
            &(index + 1).to_string(),
            theme::mono(12.0),
            tokens.dim,
        );
        y = rect.bottom() + 6.0;
        ui.painter()
            .galley(text::snap(rect.min), galley, tokens.text);
        let response = text::touch(ui, rect, Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, format!("{verb} {rest}")));
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
