//! What happened, newest first.

use std::sync::Arc;

use eframe::egui::{
    CornerRadius, Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};
use egui_material_icons::icons;

use crate::{
    engine::snapshot::{TimelineEntry, TimelineKind},
    ui::{
        pass::{Go, Pass},
        theme::{self, Tokens, radius},
        widgets::text,
    },
    units::printable,
};

/// What happened, newest first. Kinds have icons of their own, so that they are not taken for a status.
pub(super) fn events(ui: &mut Ui, rect: Rect, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let head = Rect::from_min_size(rect.min, vec2(rect.width(), 56.0));
    text::left(
        ui,
        rect.left() + 20.0,
        head.center().y,
        "What happened",
        theme::semibold(15.0),
        tokens.hi,
    );
    text::hline(
        ui,
        rect.left() + 1.0..=rect.right(),
        head.bottom(),
        tokens.line,
    );
    let entries = Arc::clone(&pass.now.timeline);
    let list = Rect::from_min_max(
        head.left_bottom() + vec2(20.0, 8.0),
        rect.max - vec2(16.0, 0.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("list").max_rect(list));
    if entries.is_empty() {
        text::wrapped(&mut child, "Nothing yet.", theme::regular(13.0), tokens.dim);
    }
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show_rows(&mut child, 46.0, entries.len(), |ui, range| {
            for entry in &entries[range] {
                event(ui, entry, pass);
            }
        });
}

pub fn event(ui: &mut Ui, entry: &TimelineEntry, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 46.0), Sense::hover());
    let leads = entry.operation.is_some() || entry.vm.is_some();
    let words = printable(&entry.text);
    let response = text::touch(
        ui,
        row,
        if leads {
            Sense::click()
        } else {
            Sense::hover()
        },
    );
    response.widget_info(|| {
        WidgetInfo::labeled(if leads { Role::Link } else { Role::Label }, true, &words)
    });
    if leads && response.hovered() {
        ui.painter().rect_filled(
            row.expand2(vec2(8.0, 0.0)),
            CornerRadius::same(radius::CONTROL),
            tokens.hover,
        );
    }
    let y = row.top() + 14.0;
    text::left(
        ui,
        row.left(),
        y,
        &pass.clock.near(entry.at),
        theme::mono(11.5),
        tokens.dim,
    )
    .on_hover_text(pass.clock.full(entry.at));
    let wide = if pass.now.at.secs_since(entry.at) < 20 * 3600 {
        44.0
    } else {
        78.0
    };
    let (icon, ink) = kind(entry, tokens);
    text::icon(
        ui.painter(),
        pos2(row.left() + wide + 10.0, y),
        icon,
        17.0,
        ink,
    );
    let left = row.left() + wide + 28.0;
    let mut job = eframe::egui::text::LayoutJob::simple(
        words.clone(),
        theme::regular(13.0),
        if entry.bad { tokens.risk } else { tokens.text },
        row.right() - left,
    );
    job.wrap.max_rows = 2;
    let galley = ui.painter().layout_job(job);
    let elided = galley.elided;
    ui.painter()
        .galley(text::snap(pos2(left, row.top() + 6.0)), galley, tokens.text);
    if response.clicked() {
        if let Some(operation) = &entry.operation {
            pass.go.push(Go::Operation(operation.clone()));
        } else if let Some(vm) = &entry.vm {
            pass.go.push(Go::OpenVm(vm.clone()));
        }
    }
    if elided {
        response.on_hover_text(words);
    }
}

pub(super) fn kind(
    entry: &TimelineEntry,
    tokens: &Tokens,
) -> (&'static str, eframe::egui::Color32) {
    let (icon, ink) = match entry.kind {
        TimelineKind::Proposal => (icons::ICON_LIGHTBULB, tokens.accent),
        TimelineKind::Decision => (icons::ICON_GAVEL, tokens.text),
        TimelineKind::Operation => (icons::ICON_ACCOUNT_TREE, tokens.cast),
        TimelineKind::Replication => (icons::ICON_SYNC, tokens.cast),
        TimelineKind::Traffic => (icons::ICON_SWAP_HORIZ, tokens.accent),
        TimelineKind::Source => (icons::ICON_LAN, tokens.dim),
        TimelineKind::Engine => (icons::ICON_DNS, tokens.dim),
    };
    (icon.codepoint, if entry.bad { tokens.risk } else { ink })
}
