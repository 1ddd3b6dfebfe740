//! The forecast chart: measured, forecast with its likely range, the limit, the moment it is crossed, and what the
//! proposal would change.

use std::{collections::HashMap, sync::Arc};

use eframe::egui::{
    Align2, CornerRadius, Id, Mesh, Pos2, Rect, Response, Role, Sense, Shape, Stroke, Ui,
    WidgetInfo, pos2, vec2,
};

use super::{
    plot::{self, Scale},
    text,
};
use crate::{
    engine::snapshot::VmDetail,
    forecast::ForecastPoint,
    metrics::Metric,
    ui::{
        format::{self, Clock},
        theme::{self, Tokens},
    },
    units::Timestamp,
};

mod callouts;
mod events;

/// What a proposal would make of the forecast.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct IfApproved {
    /// The peak then over the peak now.
    pub factor: f64,
    /// When the change would begin to act, and when it would be complete.
    pub from: Timestamp,
    pub until: Timestamp,
}

/// What to draw, and how much of it.
pub struct Chart<'a> {
    pub detail: &'a Arc<VmDetail>,
    pub clock: &'a Clock,
    pub from: Timestamp,
    pub to: Timestamp,
    pub if_approved: Option<IfApproved>,
    /// Since when nothing new was measured.
    pub stale_since: Option<Timestamp>,
    /// Without callouts and hovering, for a small chart.
    pub small: bool,
}

/// Thinned lines of the charts on screen, kept until data, range or size change.
#[derive(Default)]
pub struct Lines(HashMap<Id, Kept>);

struct Kept {
    of: Arc<VmDetail>,
    rect: Rect,
    span: (Timestamp, Timestamp),
    top: f64,
    lines: Vec<Vec<Pos2>>,
}

impl Lines {
    fn get(&mut self, id: Id, detail: &Arc<VmDetail>, scale: &Scale) -> &[Vec<Pos2>] {
        let fits = self.0.get(&id).is_some_and(|kept| {
            Arc::ptr_eq(&kept.of, detail)
                && kept.rect == scale.rect
                && kept.span == (scale.from, scale.to)
                && kept.top.to_bits() == scale.top.to_bits()
        });
        if !fits {
            self.0.insert(
                id,
                Kept {
                    of: Arc::clone(detail),
                    rect: scale.rect,
                    span: (scale.from, scale.to),
                    top: scale.top,
                    lines: plot::thin(&detail.measured, scale),
                },
            );
        }
        &self.0[&id].lines
    }
}

impl Chart<'_> {
    fn ratio(&self) -> bool {
        matches!(self.detail.metric, Metric::Cpu | Metric::Memory)
    }

    fn points(&self) -> &[ForecastPoint] {
        self.detail
            .forecast
            .as_ref()
            .map_or(&[], |forecast| &forecast.points)
    }

    /// The points that lie in the span, ahead of now.
    fn ahead(&self) -> impl Iterator<Item = &ForecastPoint> {
        let (from, to) = (self.clock.now, self.to);
        self.points()
            .iter()
            .filter(move |point| point.at >= from && point.at <= to)
    }

    fn peak(&self) -> Option<&ForecastPoint> {
        self.ahead().max_by(|a, b| a.mean.total_cmp(&b.mean))
    }

    /// The highest value that has to be seen.
    fn top(&self) -> f64 {
        if self.ratio() {
            return 1.12;
        }
        let seen = self
            .detail
            .measured
            .values
            .iter()
            .copied()
            .filter(|value| value.is_finite())
            .chain(self.ahead().map(|point| point.upper))
            .fold(0.0_f32, f32::max);
        f64::from(seen)
            .max(self.detail.limit.unwrap_or(0.0))
            .max(1.0)
            * 1.12
    }

    /// Draws the chart in `rect`.
    pub fn ui(&self, ui: &mut Ui, id: Id, rect: Rect, lines: &mut Lines) -> Response {
        let tokens = theme::of(ui);
        let gutter = match (self.small, self.ratio()) {
            (true, _) => 0.0,
            (false, true) => 38.0,
            (false, false) => 66.0,
        };
        let foot = if self.small { 18.0 } else { 24.0 };
        let scale = Scale {
            rect: Rect::from_min_max(
                pos2(rect.left() + gutter, rect.top()),
                pos2(rect.right(), rect.bottom() - foot),
            ),
            from: self.from,
            to: self.to,
            top: self.top(),
        };
        let response = ui.interact(rect, id, Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, self.in_words()));
        self.axes(ui, &scale, tokens);
        let painter = ui.painter().with_clip_rect(scale.rect.expand(1.0));
        self.events(&painter, &scale, tokens);
        self.band(&painter, &scale, tokens);
        self.limit(&painter, &scale, tokens);
        for line in lines.get(id, self.detail, &scale) {
            painter.line(line.clone(), Stroke::new(1.6, tokens.accent));
        }
        self.stale(&painter, &scale, tokens);
        self.forecast(&painter, &scale, tokens);
        let now = scale.x(self.clock.now);
        painter.vline(
            now.round() + 0.5,
            scale.rect.y_range(),
            Stroke::new(1.5, tokens.dim.gamma_multiply(0.8)),
        );
        if !self.small {
            self.callouts(ui, &scale, tokens);
            self.under_pointer(ui, &response, &scale, tokens);
        }
        response
    }

    /// The chart for somebody who does not see it.
    fn in_words(&self) -> String {
        let metric = format::metric(self.detail.metric);
        let mut words = format!("{metric} chart");
        if let Some(peak) = self.peak() {
            words += &format!(
                ", forecast peak {} at {}",
                format::value(self.detail.metric, f64::from(peak.mean)),
                self.clock.near(peak.at)
            );
        }
        if let Some(limit) = self.detail.limit {
            words += &format!(", limit {}", format::value(self.detail.metric, limit));
        }
        match &self.detail.forecast {
            Ok(forecast) => {
                if let Some(at) = forecast.crosses_at {
                    words += &format!(", crosses at {}", self.clock.near(at));
                }
            }
            Err(reason) => words += &format!(", no forecast: {reason}"),
        }
        words + &self.events_in_words()
    }

    fn axes(&self, ui: &Ui, scale: &Scale, tokens: &Tokens) {
        let painter = ui.painter();
        let now = scale
            .x(self.clock.now)
            .clamp(scale.rect.left(), scale.rect.right());
        if !self.points().is_empty() {
            painter.rect_filled(
                Rect::from_min_max(pos2(now, scale.rect.top()), scale.rect.max),
                CornerRadius::ZERO,
                tokens.tint(tokens.cast, if tokens.dark { 0.05 } else { 0.06 }),
            );
        }
        if self.small {
            for (at, align) in [
                (self.from, Align2::LEFT_BOTTOM),
                (self.to, Align2::RIGHT_BOTTOM),
            ] {
                let x = scale.x(at);
                text::paint(
                    painter,
                    pos2(x, scale.rect.bottom() + 18.0),
                    align,
                    &self.clock.hm(at),
                    theme::regular(11.0),
                    tokens.dim,
                );
            }
            text::paint(
                painter,
                pos2(now, scale.rect.bottom() + 18.0),
                Align2::CENTER_BOTTOM,
                "now",
                theme::regular(11.0),
                tokens.dim,
            );
            return;
        }
        for value in plot::value_ticks(scale.top, self.ratio()) {
            let y = scale.y(value);
            text::hline(ui, scale.rect.left()..=scale.rect.right(), y, tokens.line);
            let words = if self.ratio() {
                format!("{:.0}", value * 100.0)
            } else {
                format::rate(value)
            };
            text::paint(
                painter,
                pos2(scale.rect.left() - 8.0, y),
                Align2::RIGHT_CENTER,
                &words,
                theme::regular(11.0),
                tokens.dim,
            );
        }
        text::hline(
            ui,
            scale.rect.left()..=scale.rect.right(),
            scale.rect.bottom(),
            tokens.line,
        );
        let days = scale.to.secs_since(scale.from) > 3 * 86_400;
        for at in plot::time_ticks(scale, self.clock, 74.0) {
            let words = if days {
                self.clock.near(at)
            } else {
                self.clock.hm(at)
            };
            let half = 18.0;
            let x = scale
                .x(at)
                .clamp(scale.rect.left() - 8.0 + half, scale.rect.right() - half);
            text::paint(
                painter,
                pos2(x, scale.rect.bottom() + 15.0),
                Align2::CENTER_CENTER,
                &words,
                theme::regular(11.0),
                tokens.dim,
            );
        }
    }

    fn band(&self, painter: &eframe::egui::Painter, scale: &Scale, tokens: &Tokens) {
        let colour = tokens
            .cast
            .gamma_multiply(if tokens.dark { 0.24 } else { 0.22 });
        let mut mesh = Mesh::default();
        let mut edges = (Vec::new(), Vec::new());
        for (index, point) in self.ahead().enumerate() {
            let upper = scale.at(point.at, f64::from(point.upper));
            let lower = scale.at(point.at, f64::from(point.lower.max(0.0)));
            mesh.colored_vertex(upper, colour);
            mesh.colored_vertex(lower, colour);
            edges.0.push(upper);
            edges.1.push(lower);
            if index > 0 {
                let last = index as u32 * 2;
                mesh.add_triangle(last - 2, last - 1, last);
                mesh.add_triangle(last - 1, last, last + 1);
            }
        }
        if edges.0.len() < 2 {
            return;
        }
        painter.add(Shape::mesh(mesh));
        // A mesh has hard edges; a thin line of its own colour softens them.
        for edge in [edges.0, edges.1] {
            painter.line(edge, Stroke::new(1.0, colour));
        }
    }

    fn limit(&self, painter: &eframe::egui::Painter, scale: &Scale, tokens: &Tokens) {
        let Some(limit) = self.detail.limit else {
            return;
        };
        let y = scale.y(limit).round() + 0.5;
        painter.extend(Shape::dashed_line(
            &[pos2(scale.rect.left(), y), pos2(scale.rect.right(), y)],
            Stroke::new(1.2, tokens.critical.gamma_multiply(0.9)),
            if self.small { 3.0 } else { 8.0 },
            if self.small { 3.0 } else { 5.0 },
        ));
    }

    fn stale(&self, painter: &eframe::egui::Painter, scale: &Scale, tokens: &Tokens) {
        let Some(since) = self.stale_since else {
            return;
        };
        let from = scale.x(since).clamp(scale.rect.left(), scale.rect.right());
        painter.rect_filled(
            Rect::from_min_max(pos2(from, scale.rect.top()), scale.rect.max),
            CornerRadius::ZERO,
            tokens.card.gamma_multiply(0.6),
        );
    }

    fn forecast(&self, painter: &eframe::egui::Painter, scale: &Scale, tokens: &Tokens) {
        let mean: Vec<Pos2> = self
            .ahead()
            .map(|point| scale.at(point.at, f64::from(point.mean)))
            .collect();
        if mean.len() > 1 {
            let stroke = Stroke::new(1.8, tokens.cast);
            if self.small {
                painter.line(mean, stroke);
            } else {
                painter.extend(Shape::dashed_line(&mean, stroke, 7.0, 4.0));
            }
        }
        if let Some(change) = self.if_approved {
            let line: Vec<Pos2> = self
                .ahead()
                .map(|point| scale.at(point.at, Self::changed(point, change)))
                .collect();
            painter.extend(Shape::dotted_line(&line, tokens.ok, 5.0, 1.6));
        }
    }

    fn changed(point: &ForecastPoint, change: IfApproved) -> f64 {
        let whole = change.until.secs_since(change.from).max(1) as f64;
        let done = (point.at.secs_since(change.from) as f64 / whole).clamp(0.0, 1.0);
        f64::from(point.mean) * (1.0 - (1.0 - change.factor) * done)
    }
}

/// The key to the lines, its right edge at `right`; returns its left edge.
pub fn legend(ui: &Ui, right: f32, y: f32, if_approved: bool, forecast: bool) -> f32 {
    let tokens = theme::of(ui);
    let painter = ui.painter();
    let mut x = right;
    let mut entry = |words: &str, mark: &dyn Fn(Rect)| {
        let words = text::paint(
            painter,
            pos2(x, y),
            Align2::RIGHT_CENTER,
            words,
            theme::regular(12.0),
            tokens.dim,
        );
        mark(Rect::from_center_size(
            pos2(words.left() - 16.0, y),
            vec2(18.0, 10.0),
        ));
        x = words.left() - 42.0;
    };
    if if_approved {
        entry("if approved", &|rect| {
            painter.extend(Shape::dotted_line(
                &[rect.left_center(), rect.right_center()],
                tokens.ok,
                4.0,
                1.5,
            ));
        });
    }
    if forecast {
        entry("likely range", &|rect| {
            painter.rect_filled(
                rect,
                CornerRadius::same(2),
                tokens.tint(tokens.cast, if tokens.dark { 0.4 } else { 0.35 }),
            );
        });
        entry("forecast", &|rect| {
            painter.extend(Shape::dashed_line(
                &[rect.left_center(), rect.right_center()],
                Stroke::new(2.0, tokens.cast),
                5.0,
                3.0,
            ));
        });
    }
    entry("measured", &|rect| {
        painter.line_segment(
            [rect.left_center(), rect.right_center()],
            Stroke::new(2.0, tokens.accent),
        );
    });
    x
}
