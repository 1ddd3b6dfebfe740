//! What trying a shadow's points has shown: one line a proof, one column a check, the evidence on hover.

use eframe::egui::{Color32, Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2};
use egui_material_icons::icons;

use super::shadow_detail::title;
use crate::{
    engine::snapshot::ShadowView,
    ui::{
        format,
        pass::Pass,
        theme::{self, Tokens},
        widgets::text,
    },
    validation::{
        check::{Check, CheckResult},
        proof::{Conclusion, Proof},
    },
};

const ROW: f32 = 29.0;
/// What stands before the checks: the verdict, when, and which point.
const WHEN: f32 = 136.0;
/// A check's column is no narrower.
const LEAST: f32 = 62.0;
const MOST_CHECKS: usize = 6;

/// The shape and colour of a verdict.
pub fn verdict_icon(passed: Option<bool>, tokens: &Tokens) -> (&'static str, Color32) {
    match passed {
        Some(true) => (icons::ICON_CHECK_CIRCLE.codepoint, tokens.ok),
        Some(false) => (icons::ICON_CANCEL.codepoint, tokens.critical),
        None => (icons::ICON_RADIO_BUTTON_UNCHECKED.codepoint, tokens.faint),
    }
}

pub fn ui(ui: &mut Ui, rect: Rect, shadow: &ShadowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    title(ui, rect, "Proofs", &remark(shadow, pass));
    let Some(newest) = shadow.proofs.first() else {
        return;
    };
    let area = Rect::from_min_max(
        pos2(rect.left(), rect.top() + 40.0),
        rect.max - vec2(0.0, 6.0),
    );
    let room = ((area.width() - WHEN) / LEAST) as usize;
    let shown = newest.results.len().min(room).min(MOST_CHECKS);
    let columns = Columns::new(&newest.results[..shown], area.width() - WHEN);
    let head = area.top() + 8.0;
    let font = || theme::medium(12.0);
    text::left(ui, area.left(), head, "When", font(), tokens.dim);
    for (index, result) in newest.results.iter().take(shown).enumerate() {
        let name = heading(&result.check);
        let (x, wide) = columns.0[index];
        let x = area.left() + WHEN + x;
        text::fit(ui, x, head, wide, name, font(), tokens.dim);
    }
    let list = Rect::from_min_max(pos2(area.left(), head + 12.0), area.max);
    let mut child = ui.new_child(UiBuilder::new().id_salt("proofs").max_rect(list));
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(&mut child, |ui| {
            for proof in &shadow.proofs {
                let (row, _) = ui.allocate_exact_size(vec2(list.width(), ROW), Sense::hover());
                text::hline(ui, row.left()..=row.right(), row.top(), tokens.line);
                line(ui, row, proof, &columns, pass);
            }
        });
}

/// Where each check's column begins, and how wide its text may be.
struct Columns(Vec<(f32, f32)>);

impl Columns {
    fn new(results: &[CheckResult], width: f32) -> Self {
        // A page's status and time take more than a word.
        let share = |result: &CheckResult| match result.check {
            Check::Http { .. } => 2.0,
            _ => 1.0,
        };
        let all: f32 = results.iter().map(share).sum();
        let mut x = 0.0;
        let columns = results.iter().map(|result| {
            let wide = width * share(result) / all.max(1.0);
            let column = (x, wide - 8.0);
            x += wide;
            column
        });
        Self(columns.collect())
    }
}

fn remark(shadow: &ShadowView, pass: &Pass<'_>) -> String {
    let concluded = shadow.proofs.iter().filter(|proof| proof.concluded());
    let passed = shadow.proofs.iter().filter(|proof| proof.passed()).count();
    let next = shadow.next_proof_at.map_or_else(
        || "by hand only".to_owned(),
        |at| {
            if at <= pass.clock.now {
                "next is due".to_owned()
            } else {
                format!("next {}", pass.clock.near(at))
            }
        },
    );
    if shadow.proving {
        return "a clone is being tried".to_owned();
    }
    match concluded.count() {
        0 => format!("not tried yet, {next}"),
        count => format!("{passed} of {count} passed, {next}"),
    }
}

const fn heading(check: &Check) -> &'static str {
    match check {
        Check::Boots => "Boot",
        Check::Agent => "Agent",
        Check::Tcp { .. } => "Port",
        Check::Http { .. } => "Health",
        Check::Command { .. } => "Command",
        Check::Console { .. } => "Console",
        Check::Blocks => "Blocks",
        Check::Files { .. } => "Files",
    }
}

/// A passed check in a word; of one that did not, what was seen.
fn cell_text(result: &CheckResult) -> String {
    if !result.passed {
        let seen = result.seen.trim_start_matches("HTTP ");
        // How long it was waited for stands in the evidence.
        return seen.split(" (within").next().unwrap_or(seen).to_owned();
    }
    match &result.check {
        Check::Boots => format::span((result.millis / 1000).max(1) as i64),
        Check::Agent => "up".to_owned(),
        Check::Tcp { .. } => "open".to_owned(),
        Check::Http { .. } => format!(
            "{} in {} ms",
            result.seen.trim_start_matches("HTTP "),
            result.millis
        ),
        Check::Command { .. } | Check::Console { .. } => "as wanted".to_owned(),
        Check::Blocks | Check::Files { .. } => "equal".to_owned(),
    }
}

fn line(ui: &mut Ui, row: Rect, proof: &Proof, columns: &Columns, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let y = row.center().y;
    let at = proof.ended_at.unwrap_or(proof.started_at);
    let passed = proof.concluded().then(|| proof.passed());
    let (icon, ink) = verdict_icon(passed, tokens);
    text::icon(ui.painter(), pos2(row.left() + 8.0, y), icon, 15.0, ink);
    let when = text::left(
        ui,
        row.left() + 22.0,
        y,
        &pass.clock.near(at),
        theme::mono(12.0),
        tokens.hi,
    );
    text::fit(
        ui,
        when.rect.right() + 8.0,
        y,
        row.left() + WHEN - when.rect.right() - 14.0,
        &format!("#{}", proof.point),
        theme::regular(12.0),
        tokens.dim,
    );
    if proof.concluded() || proof.verdict.is_none() {
        for (result, (x, wide)) in proof.results.iter().zip(&columns.0) {
            text::fit(
                ui,
                row.left() + WHEN + x,
                y,
                *wide,
                &cell_text(result),
                theme::mono(12.0),
                if result.passed {
                    tokens.text
                } else {
                    tokens.critical
                },
            );
        }
    } else {
        let why = proof.why.as_deref().unwrap_or("not tried to the end");
        text::fit(
            ui,
            row.left() + WHEN,
            y,
            row.width() - WHEN,
            why,
            theme::regular(12.5),
            tokens.dim,
        );
    }
    let words = evidence(proof);
    let response = text::touch(ui, row, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &words));
    response.on_hover_text(words);
}

/// All that was seen, for the hand that rests on it and for those who listen.
fn evidence(proof: &Proof) -> String {
    let verdict = match proof.verdict {
        None => "is being tried",
        Some(Conclusion::Passed) => "passed",
        Some(Conclusion::Failed) => "did not pass",
        Some(Conclusion::Inconclusive) => "could not be tried to the end",
    };
    let mut words = format!("Point {} {verdict}, by {}", proof.point, proof.by);
    for result in &proof.results {
        let mark = if result.passed { "✓" } else { "✗" };
        words.push_str(&format!(
            "\n{mark} {}: {} ({:.1} s)",
            result.check,
            result.seen,
            result.millis as f64 / 1000.0
        ));
    }
    let end: Vec<&str> = proof.console.lines().rev().take(6).collect();
    if !end.is_empty() {
        words.push_str("\nThe end of its console:");
        for line in end.into_iter().rev() {
            words.push('\n');
            words.push_str(line);
        }
    }
    words
}
