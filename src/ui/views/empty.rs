//! What stands where there is nothing to show: why, and what happens next.

use eframe::egui::{Align2, Rect, Role, Sense, Ui, WidgetInfo, pos2};

use crate::ui::{
    action::Action,
    pass::Pass,
    theme,
    widgets::{
        status::{self, Tone},
        text,
    },
};

/// A calm message in the middle of `rect`.
pub fn message(ui: &mut Ui, rect: Rect, tone: Tone, what: &str, more: &str) {
    let tokens = theme::of(ui);
    let centre = pos2(rect.center().x, rect.top() + rect.height() * 0.42);
    status::paint(
        ui.painter(),
        centre - eframe::egui::vec2(0.0, 34.0),
        18.0,
        tone,
        tokens,
    );
    let width = (rect.width() - 48.0).clamp(80.0, 520.0);
    let mut y = centre.y - 14.0;
    for (words, font, ink, gap) in [
        (what, theme::semibold(17.0), tokens.hi, 10.0),
        (more, theme::regular(13.5), tokens.dim, 0.0),
    ] {
        if words.is_empty() {
            continue;
        }
        let mut job = eframe::egui::text::LayoutJob::simple(words.to_owned(), font, ink, width);
        job.halign = eframe::egui::Align::Center;
        let galley = ui.painter().layout_job(job);
        let size = galley.size();
        ui.painter().galley(pos2(centre.x, y), galley, ink);
        let place = Align2::CENTER_TOP.anchor_size(pos2(centre.x, y), size);
        let response = text::touch(ui, place, Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, words));
        y += size.y + gap;
    }
}

/// Where the fleet is not there yet: which source has not answered. Returns whether that is so.
pub fn loading(ui: &mut Ui, rect: Rect, pass: &Pass<'_>) -> bool {
    if !pass.now.vms.is_empty() {
        return false;
    }
    if pass.now.sources.is_empty() {
        message(
            ui,
            rect,
            Tone::None,
            "No source is connected.",
            &format!(
                "Connect a hypervisor under Sources ({}). Nothing is changed until you allow it.",
                Action::Sources.keys()
            ),
        );
        return true;
    }
    let silent: Vec<String> = pass
        .now
        .sources
        .iter()
        .filter(|source| source.last_ok.is_none())
        .map(|source| {
            let name = crate::units::printable(source.name.as_str());
            match &source.error {
                Some(error) => format!("{name}: {}", crate::units::printable(error)),
                None => format!("{name} has not answered yet"),
            }
        })
        .collect();
    if silent.is_empty() {
        message(
            ui,
            rect,
            Tone::None,
            "The sources have no VMs.",
            "As soon as one is defined there, it appears here.",
        );
    } else {
        message(
            ui,
            rect,
            Tone::None,
            "Waiting for the first answer.",
            &silent.join("\n"),
        );
    }
    true
}
