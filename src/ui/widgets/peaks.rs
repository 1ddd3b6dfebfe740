//! Daily peaks: those measured, those to come with their likely range, the limit and the day on which it is reached.

use eframe::egui::{
    Align2, CornerRadius, Id, Mesh, Painter, Pos2, Rect, Response, Role, Sense, Shape, Stroke, Ui,
    WidgetInfo, pos2, vec2,
};

use super::{
    plot::{self, Scale},
    text,
};
use crate::{
    engine::snapshot::RunwayReport,
    forecast::{ForecastPoint, runway::Runway},
    metrics::Metric,
    ui::{
        format::{self, Clock},
        theme::{self, Tokens, radius},
    },
    units::Timestamp,
};

const DAY_SECONDS: i64 = 86_400;

/// A figure of a runway in its own unit: `412 vCPU`, `3.1 TiB`.
pub fn value(report: &RunwayReport, value: f64) -> String {
    match report.unit() {
        "vcpus" => format!("{value:.0} vCPU"),
        "bytes" => format::binary_bytes(value.max(0.0) as u64),
        _ => format::value(report.metric, value),
    }
}

/// What to draw.
pub struct Peaks<'a> {
    pub report: &'a RunwayReport,
    pub clock: &'a Clock,
    pub days_ahead: usize,
    /// Without axes, words and hovering, for a row of a table.
    pub small: bool,
}

impl Peaks<'_> {
    fn ahead(&self) -> &[ForecastPoint] {
        let peaks = self
            .report
            .runway
            .as_ref()
            .map_or(&[][..], |runway| &runway.peaks);
        &peaks[..peaks.len().min(self.days_ahead)]
    }

    /// As far back as ahead, but no further than is known and no less than two months.
    fn span(&self) -> (Timestamp, Timestamp) {
        let peaks = &self.report.peaks;
        let back = (self.days_ahead as i64).clamp(60, 180) * DAY_SECONDS;
        let to = peaks.end().plus_secs(self.days_ahead as i64 * DAY_SECONDS);
        (peaks.start.max(peaks.end().plus_secs(-back)), to)
    }

    fn top(&self) -> f64 {
        let (from, _) = self.span();
        let peaks = &self.report.peaks;
        let measured = peaks.values.iter().enumerate();
        let measured = measured
            .filter(|(index, value)| value.is_finite() && peaks.at(*index) >= from)
            .map(|(_, value)| *value);
        let seen = measured
            .chain(self.ahead().iter().map(|point| point.upper))
            .fold(0.0_f32, f32::max);
        // A range that has grown beyond all measure must not flatten the rest.
        let means = self.ahead().iter().map(|point| point.mean);
        let mean = means.fold(self.report.newest_peak().unwrap_or(0.0), f32::max);
        let limit = self.report.limit.unwrap_or(0.0);
        let most = limit.max(f64::from(mean) * 1.25);
        f64::from(seen).min(most * 1.15).max(limit * 1.06).max(1e-9) * 1.05
    }

    fn in_words(&self) -> String {
        let mut words = "Daily peaks".to_owned();
        if let Some(peak) = self.report.newest_peak() {
            words += &format!(", newest {}", value(self.report, f64::from(peak)));
        }
        if let Some(limit) = self.report.limit {
            words += &format!(", limit {}", value(self.report, limit));
        }
        match &self.report.runway {
            Ok(runway) => {
                if let Some(full) = runway.words() {
                    words += &format!(", {full}");
                }
            }
            Err(why) => words += &format!(", no runway: {why}"),
        }
        words
    }

    /// Draws the chart in `rect`.
    pub fn ui(&self, ui: &mut Ui, id: Id, rect: Rect) -> Response {
        let tokens = theme::of(ui);
        let (gutter, foot) = if self.small { (0.0, 0.0) } else { (72.0, 24.0) };
        let (from, to) = self.span();
        let scale = Scale {
            rect: Rect::from_min_max(
                pos2(rect.left() + gutter, rect.top()),
                pos2(rect.right(), rect.bottom() - foot),
            ),
            from,
            to,
            top: self.top(),
        };
        let response = ui.interact(rect, id, Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(Role::Image, true, self.in_words()));
        if !self.small {
            self.axes(ui, &scale, tokens);
        }
        let painter = ui.painter().with_clip_rect(scale.rect.expand(1.0));
        if !self.small {
            self.band(&painter, &scale, tokens);
        }
        self.limit(&painter, &scale, tokens);
        let ink = if self.small {
            tokens.dim
        } else {
            tokens.accent
        };
        for line in plot::thin(&self.report.peaks, &scale) {
            painter.line(line, Stroke::new(if self.small { 1.2 } else { 1.6 }, ink));
        }
        self.means(&painter, &scale, tokens);
        if !self.small {
            let now = scale.x(self.report.peaks.end());
            painter.vline(
                now.round() + 0.5,
                scale.rect.y_range(),
                Stroke::new(1.5, tokens.dim.gamma_multiply(0.8)),
            );
            self.callout(ui, &scale, tokens);
            self.under_pointer(&response, &scale);
        }
        response
    }

    fn axes(&self, ui: &Ui, scale: &Scale, tokens: &Tokens) {
        let painter = ui.painter();
        let now = scale.x(self.report.peaks.end());
        if !self.ahead().is_empty() {
            painter.rect_filled(
                Rect::from_min_max(pos2(now, scale.rect.top()), scale.rect.max),
                CornerRadius::ZERO,
                tokens.tint(tokens.cast, if tokens.dark { 0.05 } else { 0.06 }),
            );
        }
        let ratio = matches!(self.report.metric, Metric::Cpu | Metric::Memory)
            && self.report.unit() == "ratio";
        for tick in plot::value_ticks(scale.top, ratio) {
            let y = scale.y(tick);
            text::hline(ui, scale.rect.left()..=scale.rect.right(), y, tokens.line);
            text::paint(
                painter,
                pos2(scale.rect.left() - 8.0, y),
                Align2::RIGHT_CENTER,
                &value(self.report, tick),
                theme::regular(11.0),
                tokens.dim,
            );
        }
        let bottom = scale.rect.bottom();
        text::hline(
            ui,
            scale.rect.left()..=scale.rect.right(),
            bottom,
            tokens.line,
        );
        // Weeks, as many of them between two ticks as there is room for.
        let room = (scale.rect.width() / 78.0).max(1.0) as i64;
        let weeks = scale.to.secs_since(scale.from) / (7 * DAY_SECONDS);
        let every = (weeks / room + 1) * 7 * DAY_SECONDS;
        let mut at = scale.from.floor_to(DAY_SECONDS as u32).plus_secs(every / 2);
        while at < scale.to {
            text::paint(
                painter,
                pos2(scale.x(at), bottom + 15.0),
                Align2::CENTER_CENTER,
                &self.clock.day_of_year(at),
                theme::regular(11.0),
                tokens.dim,
            );
            at = at.plus_secs(every);
        }
    }

    fn band(&self, painter: &Painter, scale: &Scale, tokens: &Tokens) {
        let colour = tokens
            .cast
            .gamma_multiply(if tokens.dark { 0.24 } else { 0.22 });
        let mut mesh = Mesh::default();
        for (index, point) in self.ahead().iter().enumerate() {
            mesh.colored_vertex(scale.at(point.at, f64::from(point.upper)), colour);
            mesh.colored_vertex(scale.at(point.at, f64::from(point.lower)), colour);
            if index > 0 {
                let last = index as u32 * 2;
                mesh.add_triangle(last - 2, last - 1, last);
                mesh.add_triangle(last - 1, last, last + 1);
            }
        }
        painter.add(Shape::mesh(mesh));
    }

    fn limit(&self, painter: &Painter, scale: &Scale, tokens: &Tokens) {
        let Some(limit) = self.report.limit else {
            return;
        };
        let y = scale.y(limit).round() + 0.5;
        let (dash, gap) = if self.small { (3.0, 3.0) } else { (8.0, 5.0) };
        painter.extend(Shape::dashed_line(
            &[pos2(scale.rect.left(), y), pos2(scale.rect.right(), y)],
            Stroke::new(1.2, tokens.critical.gamma_multiply(0.9)),
            dash,
            gap,
        ));
        if !self.small {
            text::paint(
                painter,
                pos2(scale.rect.left() + 6.0, y - 4.0),
                Align2::LEFT_BOTTOM,
                &format!("limit {}", value(self.report, limit)),
                theme::medium(11.5),
                tokens.critical,
            );
        }
    }

    fn means(&self, painter: &Painter, scale: &Scale, tokens: &Tokens) {
        let line: Vec<Pos2> = self
            .ahead()
            .iter()
            .map(|point| scale.at(point.at, f64::from(point.mean)))
            .collect();
        if line.len() < 2 {
            return;
        }
        if self.small {
            painter.circle_filled(line[0], 2.0, tokens.hi);
            painter.line(line, Stroke::new(1.4, tokens.cast));
        } else {
            painter.extend(Shape::dashed_line(
                &line,
                Stroke::new(1.8, tokens.cast),
                7.0,
                4.0,
            ));
        }
    }

    /// When it is full, at the day on which it is.
    fn callout(&self, ui: &Ui, scale: &Scale, tokens: &Tokens) {
        let (Some(limit), Some(at)) = (self.report.limit, self.report.likely_full()) else {
            return;
        };
        let words = self.report.runway.as_ref().ok().and_then(Runway::words);
        let Some(words) = words.filter(|_| at <= scale.to) else {
            return;
        };
        let painter = ui.painter();
        let dot = scale.at(at, limit);
        let galley = painter.layout_no_wrap(words, theme::semibold(12.5), tokens.hi);
        let size = galley.size() + vec2(18.0, 10.0);
        let left = (dot.x - size.x - 16.0).clamp(
            scale.rect.left() + 4.0,
            (scale.rect.right() - size.x - 4.0).max(scale.rect.left() + 4.0),
        );
        // Below the limit where that leaves no room above it.
        let above = dot.y - size.y - 14.0;
        let top = if above > scale.rect.top() {
            above
        } else {
            dot.y + 14.0
        };
        let card = Rect::from_min_size(pos2(left, top), size);
        painter.line_segment(
            [card.center_bottom().lerp(card.center(), 0.3), dot],
            Stroke::new(1.0, tokens.critical),
        );
        painter.rect(
            card,
            CornerRadius::same(radius::CHIP),
            tokens.tint(tokens.critical, if tokens.dark { 0.22 } else { 0.12 }),
            Stroke::new(1.0, tokens.critical),
            eframe::egui::StrokeKind::Inside,
        );
        painter.galley(text::snap(card.min + vec2(9.0, 5.0)), galley, tokens.hi);
        painter.circle_filled(dot, 4.5, tokens.critical);
    }

    fn under_pointer(&self, response: &Response, scale: &Scale) {
        let Some(pointer) = response.hover_pos() else {
            return;
        };
        let at = scale.moment(pointer.x);
        let shown = |wanted: f32| value(self.report, f64::from(wanted));
        let peaks = &self.report.peaks;
        let words = if at < peaks.end() {
            let index = at.secs_since(peaks.start).div_euclid(DAY_SECONDS);
            let peak = usize::try_from(index)
                .ok()
                .and_then(|index| peaks.values.get(index))
                .filter(|peak| peak.is_finite());
            peak.map_or_else(|| "not measured".to_owned(), |peak| shown(*peak))
        } else {
            let day = at.secs_since(peaks.end()).div_euclid(DAY_SECONDS);
            let point = usize::try_from(day)
                .ok()
                .and_then(|day| self.ahead().get(day));
            let Some(point) = point else { return };
            format!(
                "{}, likely {} to {}",
                shown(point.mean),
                shown(point.lower),
                shown(point.upper)
            )
        };
        response
            .clone()
            .on_hover_text_at_pointer(format!("{}: {words}", self.clock.short_day(at)));
    }
}
