//! One event: when, whom, what the next is expected to do and what came of those before.

use eframe::egui::{Rect, Sense, Ui, vec2};

use super::calendar::{CalendarView, change, repeats};
use crate::{
    engine::{
        command::Command,
        snapshot::{EventReport, EventView, Snapshot, VmUplift},
    },
    ui::{
        format,
        pass::Pass,
        theme,
        widgets::{
            button::{Button, Look},
            text,
        },
    },
    units::printable,
};

/// Occurrences that are shown of each VM, the newest.
const OCCURRENCES: usize = 6;

pub fn ui(ui: &mut Ui, view: &mut CalendarView, now: &Snapshot, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    if let Some(remark) = &view.remark {
        text::wrapped(ui, remark, theme::regular(13.0), tokens.watch);
        ui.add_space(14.0);
    }
    let chosen = view.selected.as_ref();
    let Some(event) = now
        .calendar
        .iter()
        .find(|known| Some(&known.event.id) == chosen)
    else {
        text::wrapped(
            ui,
            "Models know a day and a week. They do not know of your sale on Friday: say so here.",
            theme::regular(13.5),
            tokens.dim,
        );
        return;
    };
    let id = &event.event.id;
    if !view.reports.contains_key(id) && pass.blocked.is_none() {
        view.reports.insert(id.clone(), None);
        pass.out.push(Command::EventReport { event: id.clone() });
    }
    facts(ui, event, pass);
    match view.reports.get(id) {
        Some(Some(Ok(report))) => learned(ui, report, pass),
        Some(Some(Err(why))) => {
            text::heading(ui, "What it does", "");
            text::wrapped(ui, &printable(why), theme::regular(13.0), tokens.risk);
        }
        _ => {
            text::heading(ui, "What it does", "");
            text::wrapped(
                ui,
                "History is being read.",
                theme::regular(13.0),
                tokens.dim,
            );
        }
    }
    ui.add_space(18.0);
    let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::hover());
    let half = (row.width() - 10.0) / 2.0;
    let exclude = Rect::from_min_size(row.min, vec2(half, 34.0));
    let words = if event.event.exclude {
        "Learn from it again"
    } else {
        "Leave out of learning"
    };
    if Button::new(words, Look::Secondary)
        .off(pass.blocked)
        .put(ui, exclude)
        .clicked()
    {
        let mut changed = event.event.clone();
        changed.exclude = !changed.exclude;
        pass.out.push(Command::EventPut {
            event: Box::new(changed),
        });
    }
    let remove = Rect::from_min_size(row.min + vec2(half + 10.0, 0.0), vec2(half, 34.0));
    if Button::new("Remove", Look::Danger)
        .off(pass.blocked)
        .named(&format!("Remove {}", printable(&event.event.name)))
        .put(ui, remove)
        .clicked()
    {
        pass.out.push(Command::EventRemove { event: id.clone() });
        view.selected = None;
    }
}

fn facts(ui: &mut Ui, view: &EventView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let event = &view.event;
    text::wrapped(
        ui,
        &printable(&event.name),
        theme::semibold(18.0),
        tokens.hi,
    );
    ui.add_space(10.0);
    let next = view.next.map_or_else(
        || "over".to_owned(),
        |next| {
            format!(
                "{} to {}",
                pass.clock.full(next.from),
                pass.clock.hm(next.to)
            )
        },
    );
    text::pair(ui, "Next", &next, tokens.text);
    text::pair(
        ui,
        "Lasts",
        &format::span(i64::from(event.lasts_seconds)),
        tokens.text,
    );
    text::pair(ui, "Repeats", &repeats(event.rule.as_deref()), tokens.text);
    text::pair(ui, "Kind", event.kind.name(), tokens.text);
    let whom: Vec<String> = event
        .affects
        .iter()
        .map(|target| printable(&target.to_string()))
        .collect();
    let whom = if whom.is_empty() {
        "everybody".to_owned()
    } else {
        whom.join(", ")
    };
    text::pair(ui, "Affects", &whom, tokens.text);
    let expected = event
        .expected_factor
        .map_or_else(|| "nothing, until it is learned".to_owned(), change);
    text::pair(ui, "Planner expects", &expected, tokens.text);
    ui.add_space(12.0);
}

fn learned(ui: &mut Ui, report: &EventReport, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let metric = format::metric(report.metric);
    text::heading(ui, "What it does", metric);
    if report.vms.is_empty() {
        text::wrapped(
            ui,
            "It affects no VM that runs.",
            theme::regular(13.0),
            tokens.dim,
        );
        return;
    }
    for vm in &report.vms {
        one(ui, report, vm, pass);
    }
}

fn one(ui: &mut Ui, report: &EventReport, vm: &VmUplift, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let (head, _) = ui.allocate_exact_size(vec2(ui.available_width(), 30.0), Sense::hover());
    let y = head.center().y;
    let words = match &vm.learned {
        None => "nothing is learned".to_owned(),
        Some(learned) => format!(
            "next {}, likely {} to {}",
            change(learned.factor),
            change(learned.lower),
            change(learned.upper)
        ),
    };
    let right = text::right(
        ui,
        head.right(),
        y,
        &words,
        theme::medium(12.5),
        tokens.cast,
    );
    text::fit(
        ui,
        head.left(),
        y,
        right.rect.left() - head.left() - 10.0,
        &printable(&vm.vm_name),
        theme::semibold(13.0),
        tokens.hi,
    );
    if vm.outcomes.is_empty() {
        text::wrapped(
            ui,
            "It has not happened yet while this VM was measured.",
            theme::regular(12.5),
            tokens.dim,
        );
    }
    for outcome in vm.outcomes.iter().rev().take(OCCURRENCES) {
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 24.0), Sense::hover());
        let y = row.center().y;
        let better = outcome.error_with < outcome.error_without;
        let error = format!(
            "off by {}, {} without",
            format::value(report.metric, outcome.error_with),
            format::value(report.metric, outcome.error_without)
        );
        let right = text::right(
            ui,
            row.right(),
            y,
            &error,
            theme::regular(12.0),
            if better { tokens.ok } else { tokens.dim },
        );
        text::fit(
            ui,
            row.left(),
            y,
            right.rect.left() - row.left() - 8.0,
            &format!(
                "{}  said {}, was {}",
                pass.clock.short_day(outcome.window.from),
                change(outcome.expected_factor),
                change(outcome.actual_factor)
            ),
            theme::regular(12.5),
            tokens.text,
        );
    }
    text::rule(ui, 6.0, 6.0);
}
