//! Beside the settings: what the drafts would change.

use eframe::egui::{Rect, ScrollArea, Sense, Ui, UiBuilder, pos2, vec2};

use super::{Preview, SettingsView};
use crate::{
    engine::{
        command::Command,
        preview::{SettingsPreview, Verdict, VmPreview},
    },
    ui::{
        pass::{Go, Pass},
        theme,
        widgets::{
            button::{Button, Look},
            status::{self, Tone},
            text,
        },
    },
    units::printable,
};

/// VMs that are listed; the rest is counted.
const LISTED: usize = 60;

impl SettingsView {
    pub(super) fn side(&mut self, ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
        let foot = 62.0;
        let inside = Rect::from_min_max(
            rect.min + vec2(20.0, 16.0),
            pos2(rect.right() - 20.0, rect.bottom() - foot),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("effect").max_rect(inside));
        self.effect(&mut child, pass);
        let row = Rect::from_min_max(
            pos2(inside.left(), rect.bottom() - foot + 10.0),
            pos2(inside.right(), rect.bottom() - 14.0),
        );
        text::hline(
            ui,
            rect.left() + 1.0..=rect.right(),
            row.top() - 10.0,
            theme::of(ui).line,
        );
        self.buttons(ui, row, pass);
    }

    fn effect(&self, ui: &mut Ui, pass: &mut Pass<'_>) {
        let tokens = theme::of(ui);
        text::wrapped(ui, "What this changes", theme::semibold(15.0), tokens.hi);
        ui.add_space(8.0);
        if let Some(wrong) = &self.wrong {
            text::wrapped(ui, &printable(wrong), theme::regular(13.0), tokens.critical);
            ui.add_space(10.0);
        }
        match &self.preview {
            Preview::There { preview, .. } => found(ui, preview, pass),
            Preview::Asked { .. } | Preview::Due => {
                let words = "It is being worked out.";
                text::wrapped(ui, words, theme::regular(13.0), tokens.dim);
            }
            Preview::None if self.wrong.is_some() => {}
            Preview::None => {
                let words = "Nothing yet. Drag a figure, or click it and type: what that does to scores, states and \
                             proposals shows here, and holds only once you keep it.";
                text::wrapped(ui, words, theme::regular(13.0), tokens.dim);
            }
        }
    }

    fn buttons(&mut self, ui: &mut Ui, row: Rect, pass: &mut Pass<'_>) {
        let keep = Rect::from_min_max(pos2(row.right() - 168.0, row.top()), row.max);
        let discard = Rect::from_min_max(
            pos2(keep.left() - 110.0, row.top()),
            pos2(keep.left() - 10.0, row.bottom()),
        );
        let why = match &self.preview {
            Preview::There { .. } => pass.blocked,
            _ => Some("Nothing is drafted that could be kept."),
        };
        let pressed = Button::new("Keep settings", Look::Primary)
            .off(why)
            .put(ui, keep)
            .clicked();
        if pressed && let (Preview::There { text, .. }, Some(kept)) = (&self.preview, &self.kept) {
            pass.out.push(Command::SettingsSet {
                was: kept.text.clone(),
                text: text.clone(),
                by: pass.by.to_owned(),
            });
        }
        let why = (self.drafts.is_empty()).then_some("Nothing is drafted.");
        if Button::new("Discard", Look::Secondary)
            .off(why)
            .put(ui, discard)
            .clicked()
        {
            self.drafts.clear();
            self.preview = Preview::None;
            self.wrong = None;
        }
    }
}

fn found(ui: &mut Ui, preview: &SettingsPreview, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    for one in &preview.changed {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "unset".to_owned());
        let figures = format!("{} → {}", value(&one.before), value(&one.after));
        text::pair(
            ui,
            &printable(&one.key),
            &printable(&figures),
            tokens.accent,
        );
    }
    text::rule(ui, 8.0, 8.0);
    let counts = format!("{} → {}", preview.needs_before, preview.needs_after);
    text::pair(ui, "VMs that need a shadow", &counts, tokens.hi);
    for count in &preview.states {
        if count.before == 0 && count.after == 0 {
            continue;
        }
        let counts = format!("{} → {}", count.before, count.after);
        let ink = if count.before == count.after {
            tokens.dim
        } else {
            tokens.hi
        };
        text::pair(ui, Tone::of_health(count.state).word(), &counts, ink);
    }
    if preview.forecasts_follow {
        ui.add_space(6.0);
        let words = "Forecasts are held against the new limits in their next round.";
        text::wrapped(ui, words, theme::regular(12.5), tokens.dim);
    }
    text::rule(ui, 8.0, 8.0);
    if preview.vms.is_empty() {
        let words = "No VM's score or need changes with it.";
        text::wrapped(ui, words, theme::regular(13.0), tokens.dim);
        return;
    }
    let more = preview.vms.len().saturating_sub(LISTED);
    let remark = if more > 0 {
        format!("and {more} more")
    } else {
        String::new()
    };
    text::heading(ui, "VMs with another score or need", &remark);
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show_rows(ui, 44.0, preview.vms.len().min(LISTED), |ui, range| {
            for vm in &preview.vms[range] {
                changed(ui, vm, pass);
            }
        });
}

/// A VM with its two scores.
fn changed(ui: &mut Ui, vm: &VmPreview, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 44.0), Sense::hover());
    let response = text::touch(ui, row, Sense::click());
    let name = printable(&vm.name);
    let said = format!(
        "{name}: {} then {}",
        words_of(vm.before),
        words_of(vm.after)
    );
    response
        .widget_info(|| eframe::egui::WidgetInfo::labeled(eframe::egui::Role::Link, true, &said));
    if response.hovered() {
        ui.painter()
            .rect_filled(row, theme::radius::CONTROL, tokens.hover);
    }
    let y = row.top() + 14.0;
    let x = row.right() - 6.0;
    let figure = |verdict: Verdict| {
        verdict
            .score
            .map_or_else(|| "–".to_owned(), |score| score.to_string())
    };
    let scores = format!("{} → {}", figure(vm.before), figure(vm.after));
    let right = text::right(ui, x, y, &scores, theme::mono(12.0), tokens.hi);
    status::paint(
        ui.painter(),
        pos2(row.left() + 10.0, y),
        10.0,
        Tone::of_health(vm.after.state),
        tokens,
    );
    let left = row.left() + 24.0;
    text::fit(
        ui,
        left,
        y,
        right.rect.left() - left - 8.0,
        &name,
        theme::medium(13.0),
        tokens.text,
    );
    let need = match (vm.before.needs_shadow, vm.after.needs_shadow) {
        (false, true) => "would need a shadow",
        (true, false) => "would need none any more",
        (true, true) => "needs a shadow either way",
        (false, false) => "needs no shadow",
    };
    text::left(
        ui,
        left,
        row.top() + 32.0,
        need,
        theme::regular(12.0),
        tokens.dim,
    );
    if response.clicked() {
        pass.go.push(Go::OpenVm(vm.vm.clone()));
    }
}

fn words_of(verdict: Verdict) -> String {
    let state = Tone::of_health(verdict.state).word();
    match verdict.score {
        Some(score) => format!("{score}, {state}"),
        None => state.to_owned(),
    }
}
