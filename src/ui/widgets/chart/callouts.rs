//! The words in the chart: now, the limit, the peaks, the crossing, and what stands under the pointer.

use eframe::egui::{
    Align2, Color32, CornerRadius, Pos2, Rect, Response, Stroke, StrokeKind, Ui, pos2, vec2,
};

use super::super::{plot::Scale, text};
use crate::ui::{
    format,
    theme::{self, Tokens},
};

use super::{Chart, IfApproved};

impl Chart<'_> {
    pub(super) fn callouts(&self, ui: &Ui, scale: &Scale, tokens: &Tokens) {
        let painter = ui.painter();
        let metric = self.detail.metric;
        if let Some(limit) = self.detail.limit {
            text::paint(
                painter,
                pos2(scale.rect.left() + 6.0, scale.y(limit) - 4.0),
                Align2::LEFT_BOTTOM,
                &format!("limit {}", format::value(metric, limit)),
                theme::medium(11.5),
                tokens.critical,
            );
        }
        let now = scale.x(self.clock.now);
        boxed(
            painter,
            scale.rect,
            Align2::RIGHT_TOP,
            pos2(now - 5.0, scale.rect.top() + 2.0),
            &format!("now {}", self.clock.hm(self.clock.now)),
            (tokens.hi, tokens.raised, Color32::TRANSPARENT),
        );
        let Some(peak) = self.peak() else {
            return;
        };
        let at = scale.at(peak.at, f64::from(peak.mean));
        painter.circle(at, 4.5, tokens.card, Stroke::new(2.0, tokens.cast));
        let words = format!("peak {}", format::value(metric, f64::from(peak.mean)));
        let half = text::paint(
            painter,
            pos2(-1000.0, -1000.0),
            Align2::LEFT_TOP,
            &words,
            theme::medium(11.5),
            tokens.cast,
        )
        .width()
            / 2.0;
        let x = at.x.clamp(
            now + half + 6.0,
            (scale.rect.right() - half - 6.0).max(now + half + 7.0),
        );
        text::paint(
            painter,
            pos2(x, (at.y - 9.0).max(scale.rect.top() + 14.0)),
            Align2::CENTER_BOTTOM,
            &words,
            theme::medium(11.5),
            tokens.cast,
        );
        let crossing = self.crossing_callout(painter, scale, tokens);
        if let Some(change) = self.if_approved {
            self.approved_callout(painter, scale, change, crossing, tokens);
        }
    }

    fn approved_callout(
        &self,
        painter: &eframe::egui::Painter,
        scale: &Scale,
        change: IfApproved,
        taken: Option<Rect>,
        tokens: &Tokens,
    ) {
        // The height before the change has taken effect is not its merit.
        let Some((point, value)) = self
            .ahead()
            .filter(|point| point.at >= change.until)
            .map(|point| (point, Self::changed(point, change)))
            .max_by(|a, b| a.1.total_cmp(&b.1))
        else {
            return;
        };
        let words = format!(
            "peak {} if approved",
            format::value(self.detail.metric, value)
        );
        let galley = painter.layout_no_wrap(words, theme::medium(11.5), tokens.ok);
        let half = galley.size().x / 2.0 + 4.0;
        let now = scale.x(self.clock.now);
        let x = scale.x(point.at).clamp(
            now + half + 4.0,
            (scale.rect.right() - half).max(now + half + 5.0),
        );
        // Below the lowest dot that the words lie over.
        let lowest = self
            .ahead()
            .filter(|other| (scale.x(other.at) - x).abs() <= half)
            .filter(|other| other.at >= change.until)
            .map(|other| scale.y(Self::changed(other, change)))
            .fold(scale.y(value), f32::max);
        let size = galley.size();
        let mut place = Rect::from_min_size(pos2(x - size.x / 2.0, lowest + 6.0), size);
        if let Some(taken) = taken.filter(|taken| taken.expand(3.0).intersects(place)) {
            place = place.translate(vec2(0.0, taken.bottom() + 4.0 - place.top()));
        }
        let over = (place.bottom() + 2.0 - scale.rect.bottom()).max(0.0);
        painter.galley(text::snap(place.min - vec2(0.0, over)), galley, tokens.ok);
    }

    /// Returns the place that its words take.
    fn crossing_callout(
        &self,
        painter: &eframe::egui::Painter,
        scale: &Scale,
        tokens: &Tokens,
    ) -> Option<Rect> {
        let limit = self.detail.limit?;
        let forecast = self.detail.forecast.as_ref().ok()?;
        let crosses = forecast.crosses_at.filter(|at| *at <= self.to)?;
        let at = scale.at(crosses.max(self.clock.now), limit);
        let words = format!("crosses at {}", self.clock.near(crosses));
        let near_right = at.x + 150.0 > scale.rect.right();
        let corner = if near_right {
            pos2(at.x - 20.0, at.y + 16.0)
        } else {
            pos2(at.x + 20.0, at.y + 16.0)
        };
        painter.line_segment([at, corner], Stroke::new(1.2, tokens.critical));
        let place = boxed(
            painter,
            scale.rect,
            if near_right {
                Align2::RIGHT_TOP
            } else {
                Align2::LEFT_TOP
            },
            corner,
            &words,
            (
                tokens.hi,
                tokens.tint(tokens.critical, if tokens.dark { 0.22 } else { 0.12 }),
                tokens.critical,
            ),
        );
        painter.circle(at, 5.0, tokens.critical, Stroke::new(1.0, tokens.card));
        Some(place)
    }

    /// What stands under the pointer: the moment, and its value.
    pub(super) fn under_pointer(
        &self,
        ui: &Ui,
        response: &Response,
        scale: &Scale,
        tokens: &Tokens,
    ) {
        let Some(hover) = response.hover_pos().filter(|at| scale.rect.contains(*at)) else {
            return;
        };
        let at = scale.moment(hover.x);
        let metric = self.detail.metric;
        let series = &self.detail.measured;
        let step = i64::from(series.step_seconds.max(1));
        let index = at.secs_since(series.start) / step;
        let measured = usize::try_from(index)
            .ok()
            .and_then(|index| series.values.get(index))
            .filter(|value| value.is_finite());
        let words = if at <= self.clock.now {
            measured.map_or_else(
                || "not measured".to_owned(),
                |value| format::value(metric, f64::from(*value)),
            )
        } else if let Some(point) = self
            .ahead()
            .min_by_key(|point| point.at.secs_since(at).abs())
        {
            format!(
                "{}, likely {} to {}",
                format::value(metric, f64::from(point.mean)),
                format::value(metric, f64::from(point.lower.max(0.0))),
                format::value(metric, f64::from(point.upper))
            )
        } else {
            return;
        };
        let painter = ui.painter();
        painter.vline(
            hover.x,
            scale.rect.y_range(),
            Stroke::new(1.0, tokens.line2),
        );
        let right = hover.x > scale.rect.center().x;
        boxed(
            painter,
            scale.rect,
            if right {
                Align2::RIGHT_BOTTOM
            } else {
                Align2::LEFT_BOTTOM
            },
            pos2(
                hover.x + if right { -8.0 } else { 8.0 },
                scale.rect.bottom() - 8.0,
            ),
            &format!("{}  {words}", self.clock.near(at)),
            (tokens.hi, tokens.raised, tokens.line2),
        );
    }
}

/// Text in a box that stays inside `bounds`.
fn boxed(
    painter: &eframe::egui::Painter,
    bounds: Rect,
    anchor: Align2,
    at: Pos2,
    words: &str,
    (ink, fill, edge): (Color32, Color32, Color32),
) -> Rect {
    let galley = painter.layout_no_wrap(words.to_owned(), theme::medium(12.0), ink);
    let mut rect = anchor.anchor_size(at, galley.size() + vec2(14.0, 8.0));
    let shift = (bounds.left() - rect.left()).max(0.0) - (rect.right() - bounds.right()).max(0.0);
    rect = rect.translate(vec2(shift, 0.0));
    painter.rect(
        rect,
        CornerRadius::same(theme::radius::CHIP),
        fill,
        Stroke::new(1.0, edge),
        StrokeKind::Inside,
    );
    painter.galley(text::snap(rect.center() - galley.size() / 2.0), galley, ink);
    rect
}
