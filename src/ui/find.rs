//! Finding a VM by a part of its name.

use std::sync::Arc;

use eframe::egui::{
    Context, CornerRadius, FontSelection, Frame, Key, Margin, Rect, Role, Sense, TextEdit,
    WidgetInfo, pos2, vec2,
};
use egui_material_icons::icons;

use super::{
    facts::Facts,
    format::{self, Clock},
    keys,
    pass::Go,
    theme::{self, radius},
    widgets::{
        heatmap::Colour,
        status::{self, Tone},
        text,
    },
    words,
};
use crate::{
    engine::snapshot::{Snapshot, VmView},
    units::printable,
};

const SHOWN: usize = 9;

/// The dialog while it is open, with what was typed.
#[derive(Default)]
pub struct Find {
    open: bool,
    typed: String,
    chosen: usize,
    found: Option<Found>,
}

/// What a search came to, with what it was made from.
struct Found {
    vms: Arc<Vec<VmView>>,
    words: String,
    best: Vec<u32>,
    total: usize,
}

impl Find {
    pub fn open(&mut self) {
        self.open = true;
        self.typed.clear();
        self.chosen = 0;
    }

    pub const fn is_open(&self) -> bool {
        self.open
    }

    /// The indices that match, best first, and how many there are; searched anew only for other words or VMs.
    fn search(&mut self, now: &Snapshot, facts: &Facts) -> (Vec<u32>, usize) {
        let wanted = self.typed.trim().to_lowercase();
        if let Some(found) = &self.found
            && Arc::ptr_eq(&found.vms, &now.vms)
            && found.words == wanted
        {
            return (found.best.clone(), found.total);
        }
        let mut total = 0;
        let best: Vec<u32> = if wanted.is_empty() {
            total = facts.crossing.len();
            facts.crossing.iter().copied().take(SHOWN).collect()
        } else {
            let mut ranked: Vec<(usize, u32)> = Vec::new();
            for (index, view) in now.vms.iter().enumerate() {
                if let Some(place) = view.vm.name.to_lowercase().find(&wanted) {
                    total += 1;
                    ranked.push((place, index as u32));
                }
            }
            ranked.sort_by(|a, b| {
                a.0.cmp(&b.0).then_with(|| {
                    let name = |index: u32| &now.vms[index as usize].vm.name;
                    name(a.1).cmp(name(b.1))
                })
            });
            ranked.into_iter().take(SHOWN).map(|(_, at)| at).collect()
        };
        self.found = Some(Found {
            vms: Arc::clone(&now.vms),
            words: wanted,
            best: best.clone(),
            total,
        });
        (best, total)
    }

    /// Shows the dialog while it is open.
    pub fn ui(
        &mut self,
        ctx: &Context,
        now: &Snapshot,
        facts: &Facts,
        clock: &Clock,
        go: &mut Vec<Go>,
    ) {
        if !self.open {
            return;
        }
        let (up, down, enter) = ctx.input_mut(|input| {
            let mut press = |key| input.consume_key(eframe::egui::Modifiers::NONE, key);
            (
                press(Key::ArrowUp),
                press(Key::ArrowDown),
                press(Key::Enter),
            )
        });
        let (found, total) = self.search(now, facts);
        if down {
            self.chosen += 1;
        }
        if up {
            self.chosen = self.chosen.saturating_sub(1);
        }
        self.chosen = self.chosen.min(found.len().saturating_sub(1));
        let mut opened = enter.then(|| found.get(self.chosen).copied()).flatten();
        let answer = keys::dialog(ctx, "find").show(ctx, |ui| {
            let tokens = theme::of(ui);
            ui.set_width(660.0);
            let (head, _) = ui.allocate_exact_size(vec2(660.0, 56.0), Sense::hover());
            let y = head.center().y;
            text::icon(
                ui.painter(),
                pos2(head.left() + 28.0, y),
                icons::ICON_SEARCH.codepoint,
                20.0,
                tokens.dim,
            );
            text::key_cap(ui, head.right() - 20.0, y, "Esc", false);
            let field = TextEdit::singleline(&mut self.typed)
                .hint_text("Find a VM")
                .font(FontSelection::FontId(theme::regular(16.0)))
                .frame(Frame::NONE)
                .margin(Margin::ZERO)
                .align(eframe::egui::Align2::LEFT_CENTER)
                .desired_width(head.width() - 140.0);
            let rect = Rect::from_min_max(
                pos2(head.left() + 50.0, y - 12.0),
                pos2(head.right() - 80.0, y + 12.0),
            );
            let response = ui.place(rect, field).accessible_name("Name of a VM");
            if response.changed() {
                self.chosen = 0;
            }
            response.request_focus();
            text::hline(ui, head.left()..=head.right(), head.bottom(), tokens.line);
            let heading = match (self.typed.trim().is_empty(), total) {
                (true, 0) => "Type a part of a name".to_owned(),
                (true, _) => "Next to cross".to_owned(),
                (false, 0) => "No VM is called so".to_owned(),
                (false, _) => format::plural(total, "virtual machine", "virtual machines"),
            };
            let (rect, _) = ui.allocate_exact_size(vec2(660.0, 36.0), Sense::hover());
            text::left(
                ui,
                rect.left() + 20.0,
                rect.center().y + 2.0,
                &heading,
                theme::regular(12.5),
                tokens.dim,
            );
            for (place, index) in found.iter().enumerate() {
                let view = &now.vms[*index as usize];
                if row(ui, now, view, clock, place == self.chosen) {
                    opened = Some(*index);
                }
            }
            ui.add_space(12.0);
        });
        if let Some(index) = opened {
            go.push(Go::OpenVm(now.vms[index as usize].vm.id.clone()));
            self.open = false;
        } else if answer.should_close() {
            self.open = false;
        }
    }
}

fn row(
    ui: &mut eframe::egui::Ui,
    now: &Snapshot,
    view: &VmView,
    clock: &Clock,
    chosen: bool,
) -> bool {
    let tokens = theme::of(ui);
    let (rect, _) = ui.allocate_exact_size(vec2(660.0, 38.0), Sense::hover());
    let rect = rect.shrink2(vec2(8.0, 0.0));
    let id = ui.scope_id().with(("found", view.vm.id.as_str()));
    let response = ui.interact(rect, id, Sense::click());
    let name = printable(&view.vm.name);
    response.widget_info(|| {
        WidgetInfo::selected(Role::ListBoxOption, true, chosen, format!("Open {name}"))
    });
    if chosen || response.hovered() {
        ui.painter().rect_filled(
            rect,
            CornerRadius::same(radius::CONTROL),
            if chosen {
                tokens.selected
            } else {
                tokens.raised
            },
        );
    }
    let y = rect.center().y;
    status::paint(
        ui.painter(),
        pos2(rect.left() + 20.0, y),
        11.0,
        Tone::of_health(view.health.state),
        tokens,
    );
    let name = text::fit(
        ui,
        rect.left() + 42.0,
        y,
        300.0,
        &name,
        theme::medium(13.5),
        tokens.hi,
    );
    let ahead = view
        .first_crossing()
        .and_then(|outlook| outlook.crosses_at)
        .map(|at| format!("crosses {}", clock.near(at)))
        .or_else(|| {
            Colour::PeakAhead
                .value(view)
                .map(|peak| format!("peak {}", format::percent(f64::from(peak))))
        })
        .unwrap_or_else(|| "no data".to_owned());
    text::fit(
        ui,
        name.rect.right() + 12.0,
        y,
        rect.right() - name.rect.right() - 90.0,
        &format!("{}, {ahead}", words::pool(now, &view.vm.pool)),
        theme::regular(12.5),
        tokens.dim,
    );
    if chosen {
        text::key_cap(ui, rect.right() - 12.0, y, "Enter", false);
    }
    response.clicked()
}
