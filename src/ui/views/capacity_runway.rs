//! The runway of each pool: a table, what is full first on top, and the daily peaks of the one that is selected.

use std::sync::Arc;

use eframe::egui::{
    CornerRadius, Pos2, Rect, Role, ScrollArea, Sense, Ui, UiBuilder, WidgetInfo, pos2, vec2,
};

use super::empty;
use crate::{
    engine::snapshot::{RunwayOf, RunwayReport},
    inventory::Pool,
    metrics::Metric,
    ui::{
        action::Action,
        format,
        pass::Pass,
        reports::Report,
        theme::{self, Tokens},
        widgets::{
            bars, button, chart,
            peaks::{self, Peaks},
            status::{self, Tone},
            text,
        },
        words,
    },
    units::PoolId,
};

const ROW: f32 = 32.0;
const HEAD: f32 = 36.0;
const DAY_SECONDS: i64 = 86_400;

/// Between figures on the right of a column and what stands on the left of the next.
const GAP: f32 = 28.0;

/// With the part of the width, and whether figures stand on the right.
const COLUMNS: [(&str, f32, bool); 7] = [
    ("Pool", 0.19, false),
    ("VMs", 0.06, true),
    ("Peak of the day", 0.19, false),
    ("Capacity", 0.11, true),
    ("A week", 0.12, true),
    ("Full in", 0.14, true),
    ("Ahead", 0.19, false),
];

pub struct RunwayTab {
    days_ahead: usize,
    selected: Option<PoolId>,
}

impl Default for RunwayTab {
    fn default() -> Self {
        Self {
            days_ahead: 90,
            selected: None,
        }
    }
}

/// A pool and what is known of it.
struct Line<'a> {
    pool: &'a Pool,
    report: Report<RunwayReport>,
}

impl Line<'_> {
    /// What is full first stands first; what is not known stands last.
    fn rank(&self) -> (u8, i64, i64) {
        let Report::Known(report) = &self.report else {
            return (2, 0, 0);
        };
        let used = report
            .newest_peak()
            .zip(report.limit)
            .map_or(0.0, |(peak, limit)| f64::from(peak) / limit);
        let used = -(used * 1e6) as i64;
        match report.likely_full() {
            Some(at) => (0, at.as_secs(), used),
            None => (1, used, 0),
        }
    }
}

impl RunwayTab {
    pub fn spans(&mut self, ui: &mut Ui, at: Pos2) {
        let spans = [(30, "30 d"), (90, "90 d"), (366, "1 y")];
        button::segments(ui, at, 32.0, &spans, &mut self.days_ahead, true);
    }

    pub fn ui(&mut self, ui: &mut Ui, rect: Rect, metric: Metric, pass: &mut Pass<'_>) {
        let pools = Arc::clone(&pass.now.pools);
        if pools.is_empty() {
            let why = "The sources list no pool. As soon as one is there, it appears here.";
            empty::message(ui, rect, Tone::None, "There are no pools.", why);
            return;
        }
        let mut lines: Vec<Line<'_>> = pools
            .iter()
            .map(|pool| {
                let of = RunwayOf::Pool(pool.id.clone());
                let report = pass.reports.runway(of, metric, pass.now.at);
                Line { pool, report }
            })
            .collect();
        lines.sort_by(|left, right| {
            left.rank()
                .cmp(&right.rank())
                .then_with(|| left.pool.name.cmp(&right.pool.name))
        });
        let selected = self.select(&lines, pass);
        let table_tall = (HEAD + 10.0 + ROW * lines.len() as f32).min(rect.height() * 0.52);
        let chart_card = Rect::from_min_max(
            rect.min,
            pos2(rect.right(), rect.bottom() - table_tall - 16.0),
        );
        let table = Rect::from_min_max(pos2(rect.left(), chart_card.bottom() + 16.0), rect.max);
        self.chart(ui, chart_card, &lines[selected], metric, pass);
        self.table(ui, table, &lines, selected, pass);
    }

    /// The row that is selected, the first at first; moves it by keys.
    fn select(&mut self, lines: &[Line<'_>], pass: &Pass<'_>) -> usize {
        let place = |id: &PoolId| lines.iter().position(|line| line.pool.id == *id);
        let at = self.selected.as_ref().and_then(place);
        let step =
            i64::from(pass.pressed(Action::Next)) - i64::from(pass.pressed(Action::Previous));
        let moved = at.unwrap_or(0) as i64 + step;
        let next = moved.clamp(0, lines.len() as i64 - 1) as usize;
        if step != 0 {
            self.selected = Some(lines[next].pool.id.clone());
        }
        next
    }

    fn chart(&self, ui: &mut Ui, card: Rect, line: &Line<'_>, metric: Metric, pass: &Pass<'_>) {
        let tokens = theme::of(ui);
        text::card(ui, card);
        let y = card.top() + 24.0;
        let name = words::pool(pass.now, &line.pool.id);
        let name = text::left(
            ui,
            card.left() + 16.0,
            y,
            &name,
            theme::semibold(15.0),
            tokens.hi,
        );
        let remark = format!("{} in use together, daily peak", format::metric(metric));
        let remark = text::left(
            ui,
            name.rect.right() + 12.0,
            y,
            &remark,
            theme::regular(12.5),
            tokens.dim,
        );
        let place = Rect::from_min_max(card.min + vec2(16.0, 48.0), card.max - vec2(16.0, 10.0));
        match &line.report {
            Report::Waiting => empty::message(
                ui,
                place,
                Tone::None,
                "Adding up.",
                "Months of every VM of the pool are read once; that takes seconds.",
            ),
            Report::Failed(problem) => {
                empty::message(ui, place, Tone::Risk, &problem.what, &problem.why);
            }
            Report::Known(report) => {
                if let Err(why) = &report.runway {
                    let why = format!("{why}.");
                    empty::message(ui, place, Tone::None, "There is no runway yet.", &why);
                    return;
                }
                let left = chart::legend(ui, card.right() - 16.0, y, false, true);
                doubt(
                    ui,
                    remark.rect.right() + 16.0,
                    left - 12.0,
                    y,
                    report,
                    tokens,
                );
                let id = ui.scope_id().with("peaks");
                self.peaks(report, pass, false).ui(ui, id, place);
            }
        }
    }

    fn peaks<'a>(&self, report: &'a RunwayReport, pass: &'a Pass<'_>, small: bool) -> Peaks<'a> {
        Peaks {
            report,
            clock: pass.clock,
            days_ahead: self.days_ahead,
            small,
        }
    }

    fn table(
        &mut self,
        ui: &mut Ui,
        rect: Rect,
        lines: &[Line<'_>],
        selected: usize,
        pass: &Pass<'_>,
    ) {
        let tokens = theme::of(ui);
        text::card(ui, rect);
        let head = Rect::from_min_size(rect.min, vec2(rect.width(), HEAD));
        for ((name, _, right), cell) in COLUMNS.iter().zip(cells(head)) {
            let (y, font) = (cell.center().y, theme::medium(12.5));
            if *right {
                text::right(ui, cell.right(), y, name, font, tokens.dim);
            } else {
                let first = cell.left() < head.left() + GAP;
                let left = if first {
                    cell.left()
                } else {
                    inset(cell).left()
                };
                text::left(ui, left, y, name, font, tokens.dim);
            }
        }
        text::hline(
            ui,
            head.left() + 1.0..=head.right() - 1.0,
            head.bottom(),
            tokens.line,
        );
        let body = Rect::from_min_max(
            head.left_bottom() + vec2(1.0, 1.0),
            rect.max - vec2(1.0, 2.0),
        );
        let mut child = ui.new_child(UiBuilder::new().id_salt("pools").max_rect(body));
        ScrollArea::vertical()
            .auto_shrink([false, false])
            .show_rows(&mut child, ROW, lines.len(), |ui, range| {
                for index in range {
                    let line = &lines[index];
                    let (row, _) = ui.allocate_exact_size(vec2(body.width(), ROW), Sense::hover());
                    let id = ui.scope_id().with(("pool", line.pool.id.as_str()));
                    let response = ui.interact(row, id, Sense::click());
                    let on = index == selected;
                    let name = words::pool(pass.now, &line.pool.id);
                    let label = format!("{name}, {}", in_words(line));
                    response.widget_info(|| WidgetInfo::selected(Role::Row, true, on, &label));
                    if on || response.hovered() {
                        let fill = if on { tokens.selected } else { tokens.hover };
                        ui.painter().rect_filled(row, CornerRadius::ZERO, fill);
                    }
                    button::focus_ring(ui, &response.clone().with_new_rect(row.shrink(2.0)), 2);
                    self.row(ui, row, &name, line, pass);
                    if response.clicked() {
                        self.selected = Some(line.pool.id.clone());
                    }
                }
            });
    }

    fn row(&self, ui: &mut Ui, row: Rect, name: &str, line: &Line<'_>, pass: &Pass<'_>) {
        let tokens = theme::of(ui);
        let y = row.center().y;
        let place: Vec<Rect> = cells(row).collect();
        status::paint(
            ui.painter(),
            pos2(place[0].left() + 6.0, y),
            10.0,
            tone(line, pass),
            tokens,
        );
        text::fit(
            ui,
            place[0].left() + 22.0,
            y,
            place[0].width() - 34.0,
            name,
            theme::medium(13.0),
            tokens.hi,
        );
        let Report::Known(report) = &line.report else {
            let (words, ink) = match &line.report {
                Report::Failed(problem) => (problem.why.clone(), tokens.risk),
                _ => ("adding up …".to_owned(), tokens.dim),
            };
            let left = inset(place[2]).left();
            text::fit(
                ui,
                left,
                y,
                row.right() - left - 16.0,
                &words,
                theme::regular(12.5),
                ink,
            );
            return;
        };
        let mono = |ui: &mut Ui, cell: usize, words: &str, ink| {
            text::right(ui, place[cell].right(), y, words, theme::mono(12.0), ink);
        };
        mono(ui, 1, &format::count(report.vms as usize), tokens.text);
        let used = report
            .newest_peak()
            .zip(report.limit)
            .map(|(peak, limit)| peak / limit as f32);
        let bar = Rect::from_min_max(
            pos2(inset(place[2]).left(), y - 3.0),
            pos2(place[2].right() - 70.0, y + 3.0),
        );
        if let Some(used) = used {
            bars::share(ui.painter(), bar, used, None, tokens.heat(used), tokens);
            let words = format::percent(f64::from(used));
            let right = place[2].right() - 24.0;
            text::right(ui, right, y, &words, theme::mono(12.0), tokens.text);
        }
        let capacity = report
            .limit
            .map_or_else(|| "–".to_owned(), |limit| peaks::value(report, limit));
        mono(ui, 3, &capacity, tokens.text);
        match &report.runway {
            Ok(runway) => {
                mono(ui, 4, &a_week(report, runway.trend_a_day), tokens.text);
                let ink = tone(line, pass).colour(tokens);
                let ink = if report.likely_full().is_some() {
                    ink
                } else {
                    tokens.text
                };
                let full = full_in(report, pass);
                let cell = text::right(
                    ui,
                    place[5].right(),
                    y,
                    &full,
                    theme::mono_medium(12.0),
                    ink,
                );
                if let Some(words) = runway.words() {
                    cell.on_hover_text(words);
                }
                let small = inset(place[6]).shrink2(vec2(0.0, 6.0));
                let id = ui.scope_id().with(("ahead", line.pool.id.as_str()));
                self.peaks(report, pass, true).ui(ui, id, small);
            }
            Err(why) => {
                let left = place[4].left() + 16.0;
                text::fit(
                    ui,
                    left,
                    y,
                    row.right() - left - 16.0,
                    &why.to_string(),
                    theme::regular(12.5),
                    tokens.dim,
                );
            }
        }
    }
}

/// How far the runway is to be trusted, where there is room for it.
fn doubt(ui: &mut Ui, left: f32, right: f32, y: f32, report: &RunwayReport, tokens: &Tokens) {
    let Ok(runway) = &report.runway else {
        return;
    };
    let (words, ink) = match runway.accuracy {
        _ if runway.no_better_than_naive() => (
            "no better than \"as a week ago\": do not plan on it alone".to_owned(),
            tokens.risk,
        ),
        Some(accuracy) => (
            format!(
                "{} of the error of \"as a week ago\"",
                format::percent(accuracy.mase)
            ),
            tokens.dim,
        ),
        None => ("not judged yet".to_owned(), tokens.dim),
    };
    if right - left > 80.0 {
        text::fit(ui, left, y, right - left, &words, theme::regular(12.5), ink);
    }
}

/// A cell whose content stands on its left, after one whose figures stand on their right.
fn inset(cell: Rect) -> Rect {
    cell.with_min_x(cell.left() + GAP)
}

fn cells(row: Rect) -> impl Iterator<Item = Rect> {
    let inside = row.shrink2(vec2(16.0, 0.0));
    let mut x = inside.left();
    COLUMNS.into_iter().map(move |(_, share, _)| {
        let wide = inside.width() * share;
        let cell = Rect::from_min_size(pos2(x, row.top()), vec2(wide, row.height()));
        x = cell.right();
        cell
    })
}

/// In what it is measured in, with its sign.
fn a_week(report: &RunwayReport, trend_a_day: f64) -> String {
    let week = trend_a_day * 7.0;
    let sign = if week < 0.0 { "−" } else { "+" };
    match report.limit {
        Some(limit) => format!("{sign}{:.1} %", week.abs() / limit * 100.0),
        None => format!("{sign}{}", peaks::value(report, week.abs())),
    }
}

fn full_in(report: &RunwayReport, pass: &Pass<'_>) -> String {
    if report.limit.is_none() {
        return "no limit known".to_owned();
    }
    match report.likely_full() {
        None => "over 1 y".to_owned(),
        Some(at) => match at.secs_since(pass.now.at) / DAY_SECONDS {
            ..=0 => "full".to_owned(),
            1 => "1 day".to_owned(),
            days @ 2..=120 => format!("{days} days"),
            days => format!("{} months", (days as f64 / 30.4).round()),
        },
    }
}

fn tone(line: &Line<'_>, pass: &Pass<'_>) -> Tone {
    let Report::Known(report) = &line.report else {
        return Tone::None;
    };
    if report.runway.is_err() || report.limit.is_none() {
        return Tone::None;
    }
    match report.likely_full() {
        None => Tone::Ok,
        Some(at) => match at.secs_since(pass.now.at) / DAY_SECONDS {
            ..=30 => Tone::Critical,
            31..=60 => Tone::Risk,
            61..=120 => Tone::Watch,
            _ => Tone::Ok,
        },
    }
}

fn in_words(line: &Line<'_>) -> String {
    match &line.report {
        Report::Waiting => "adding up".to_owned(),
        Report::Failed(problem) => problem.what.clone(),
        Report::Known(report) => match &report.runway {
            Err(why) => why.to_string(),
            Ok(runway) => runway
                .words()
                .unwrap_or_else(|| "no limit is known".to_owned()),
        },
    }
}
