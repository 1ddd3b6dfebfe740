//! The connections that there are, with what each may do and how it answers.

use std::sync::Arc;

use eframe::egui::{Color32, Rect, Sense, Ui, pos2, vec2};
use egui_material_icons::icons;

use super::sources::{SourcesView, Tested, found};
use crate::{
    engine::{
        command::Command,
        snapshot::{SourceKind, SourceView},
    },
    inventory::Role,
    ui::{
        format,
        pass::Pass,
        theme::{self, Tokens},
        widgets::{
            button::{self, Button, Look},
            status::{self, Tone},
            text,
        },
    },
    units::printable,
};

const ROW: f32 = 66.0;

pub fn ui(ui: &mut Ui, view: &mut SourcesView, pass: &mut Pass<'_>) {
    let now = Arc::clone(pass.now);
    for source in &now.sources {
        row(ui, view, source, pass);
        ui.add_space(8.0);
    }
}

fn tone(source: &SourceView) -> Tone {
    match (&source.error, source.last_ok) {
        (Some(_), _) => Tone::Risk,
        (None, None) => Tone::None,
        (None, Some(_)) if !source.hung.is_empty() => Tone::Watch,
        (None, Some(_)) => Tone::Ok,
    }
}

fn row(ui: &mut Ui, view: &mut SourcesView, source: &SourceView, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let tested = view
        .listed
        .iter()
        .find(|(uri, _)| *uri == source.uri)
        .map(|(_, tested)| tested.clone());
    let extra = match &tested {
        Some(Tested::Found(examination)) => 26.0 * (examination.findings.len() + 1) as f32 + 12.0,
        Some(Tested::Failed(_)) => 90.0,
        Some(_) => 38.0,
        None => 0.0,
    };
    let removing = view.removing.as_ref() == Some(&source.name);
    let extra = extra + if removing { 48.0 } else { 0.0 };
    let (card, _) = ui.allocate_exact_size(vec2(ui.available_width(), ROW + extra), Sense::hover());
    text::card(ui, card);
    let head = Rect::from_min_size(card.min, vec2(card.width(), ROW));
    let (upper, lower) = (head.top() + 23.0, head.top() + 44.0);
    status::paint(
        ui.painter(),
        pos2(head.left() + 22.0, head.center().y),
        13.0,
        tone(source),
        tokens,
    );
    let mut right = controls(ui, head, view, source, pass);
    right -= 16.0;
    let left = head.left() + 44.0;
    let name = text::fit(
        ui,
        left,
        upper,
        (right - left) * 0.45,
        &printable(source.name.as_str()),
        theme::semibold(14.0),
        tokens.hi,
    );
    let what = match (&source.kind, source.role) {
        (SourceKind::Balancer, _) => "balancer".to_owned(),
        (SourceKind::History, _) => "keeps history".to_owned(),
        (SourceKind::Hypervisor, Role::Primary) => "hosts VMs".to_owned(),
        (SourceKind::Hypervisor, Role::Secondary) => "takes shadows".to_owned(),
        (SourceKind::Hypervisor, Role::Both) => "hosts VMs, takes shadows".to_owned(),
    };
    text::fit(
        ui,
        name.rect.right() + 12.0,
        upper,
        right - name.rect.right() - 12.0,
        &what,
        theme::regular(12.5),
        tokens.dim,
    );
    let (words, ink) = answer(source, pass, tokens);
    let uri = text::fit(
        ui,
        left,
        lower,
        (right - left) * 0.5,
        &printable(&source.uri),
        theme::mono(12.0),
        tokens.dim,
    );
    text::fit(
        ui,
        uri.rect.right() + 16.0,
        lower,
        right - uri.rect.right() - 16.0,
        &words,
        theme::regular(12.5),
        ink,
    );
    let mut below = head.bottom();
    if removing {
        confirm(ui, below, card, view, source, pass);
        below += 48.0;
    }
    if let Some(tested) = tested {
        text::hline(
            ui,
            card.left() + 1.0..=card.right() - 1.0,
            below,
            tokens.line,
        );
        found(
            ui,
            Rect::from_min_max(
                pos2(left - 8.0, below + 6.0),
                pos2(card.right() - 20.0, card.bottom()),
            ),
            &tested,
        );
    }
}

/// How it answers, and the colour of that.
fn answer(source: &SourceView, pass: &Pass<'_>, tokens: &Tokens) -> (String, Color32) {
    if let Some(error) = &source.error {
        let since = source.last_ok.map_or_else(String::new, |at| {
            format!("last answer {} ago: ", pass.clock.ago(at))
        });
        return (format!("{since}{}", printable(error)), tokens.risk);
    }
    if let Some(why) = &source.held_elsewhere {
        return (format!("not from here: {}", printable(why)), tokens.watch);
    }
    let Some(at) = source.last_ok else {
        return ("has not answered yet".to_owned(), tokens.dim);
    };
    let mut words = format!(
        "answered {} ago in {} ms",
        pass.clock.ago(at),
        source.last_millis
    );
    if source.kind == SourceKind::Hypervisor {
        words += &format!(", {}", format::plural(source.vms as usize, "VM", "VMs"));
    }
    if source.kind == SourceKind::History {
        words += &match source.last_backfill {
            Some(at) => format!(", last back-fill {} ago", pass.clock.ago(at)),
            None => ", nothing brought yet".to_owned(),
        };
    }
    if !source.hung.is_empty() {
        words += &format!(
            ", {} silent",
            format::plural(source.hung.len(), "VM is", "VMs are")
        );
        return (words, tokens.watch);
    }
    (words, tokens.dim)
}

/// The switch, the test and the bin; returns where they begin.
fn controls(
    ui: &mut Ui,
    head: Rect,
    view: &mut SourcesView,
    source: &SourceView,
    pass: &mut Pass<'_>,
) -> f32 {
    let tokens = theme::of(ui);
    let y = head.center().y;
    let name = printable(source.name.as_str());
    let bin = Rect::from_center_size(pos2(head.right() - 28.0, y), vec2(32.0, 32.0));
    if button::icon(
        ui,
        bin,
        icons::ICON_DELETE.codepoint,
        &format!("Remove {name}"),
    )
    .clicked()
    {
        view.removing = Some(source.name.clone());
    }
    let test = Rect::from_min_size(pos2(bin.left() - 70.0, y - 15.0), vec2(62.0, 30.0));
    if Button::new("Test", Look::Secondary)
        .named(&format!("Test {name}"))
        .put(ui, test)
        .clicked()
    {
        view.listed.retain(|(uri, _)| *uri != source.uri);
        view.listed.push((source.uri.clone(), Tested::Asked));
        pass.out.push(Command::SourceTest {
            uri: source.uri.clone(),
        });
    }
    let right = test.left() - 18.0;
    if source.kind == SourceKind::History {
        let only_read = text::right(ui, right, y, "only read", theme::medium(12.5), tokens.dim);
        return only_read.rect.left();
    }
    let id = ui.scope_id().with(("arm", source.name.as_str()));
    let flipped = button::switch(ui, id, right, y, source.armed, &format!("Arm {name}"));
    if flipped {
        pass.out.push(Command::SourceArm {
            name: source.name.clone(),
            armed: !source.armed,
        });
    }
    let (words, ink) = if source.armed {
        ("armed", tokens.hi)
    } else {
        ("read-only", tokens.dim)
    };
    text::right(ui, right - 46.0, y, words, theme::medium(12.5), ink)
        .rect
        .left()
}

/// Removing is asked about: it takes the source's VMs out of sight.
fn confirm(
    ui: &mut Ui,
    top: f32,
    card: Rect,
    view: &mut SourcesView,
    source: &SourceView,
    pass: &mut Pass<'_>,
) {
    let tokens = theme::of(ui);
    let y = top + 20.0;
    text::fit(
        ui,
        card.left() + 44.0,
        y,
        card.width() - 300.0,
        &format!(
            "Remove it? {} leave the console; nothing on the source is touched.",
            format::plural(source.vms as usize, "VM", "VMs")
        ),
        theme::regular(13.0),
        tokens.text,
    );
    let yes = Rect::from_min_size(pos2(card.right() - 110.0, y - 15.0), vec2(94.0, 30.0));
    let no = Rect::from_min_size(pos2(yes.left() - 94.0, y - 15.0), vec2(86.0, 30.0));
    if Button::new("Keep", Look::Secondary).put(ui, no).clicked() {
        view.removing = None;
    }
    if Button::new("Remove", Look::Danger)
        .named("Remove the source")
        .put(ui, yes)
        .clicked()
    {
        pass.out.push(Command::SourceRemove {
            name: source.name.clone(),
        });
        view.removing = None;
    }
}
