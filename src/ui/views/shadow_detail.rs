//! A shadow's recovery points, how well replication keeps its objective, and what trying its points has shown.

use eframe::egui::{
    Align2, CornerRadius, Rect, Role, Sense, Shape, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2,
};
use egui_material_icons::icons;

use super::shadow_proofs;
use crate::{
    engine::snapshot::ShadowView,
    replication::{Consistency, RecoveryPoint},
    ui::{format, pass::Pass, theme, widgets::text},
    units::printable,
};

pub fn ui(ui: &mut Ui, rect: Rect, shadow: &ShadowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    text::card(ui, rect);
    let half = (rect.height() * 0.46).round();
    let upper = Rect::from_min_size(rect.min, vec2(rect.width(), half));
    let lower = Rect::from_min_max(upper.left_bottom(), rect.max);
    points(ui, upper.shrink2(vec2(16.0, 0.0)), shadow, pass);
    text::hline(
        ui,
        rect.left() + 1.0..=rect.right() - 1.0,
        lower.top(),
        tokens.line,
    );
    let middle = (lower.left() + lower.width() * 0.5).round();
    let left = Rect::from_min_max(lower.min, pos2(middle, lower.bottom()));
    let right = Rect::from_min_max(pos2(middle, lower.top()), lower.max);
    text::vline(ui, middle, lower.top()..=lower.bottom() - 1.0, tokens.line);
    lags(ui, left.shrink2(vec2(16.0, 0.0)), shadow);
    shadow_proofs::ui(ui, right.shrink2(vec2(16.0, 0.0)), shadow, pass);
}

pub(super) fn title(ui: &mut Ui, rect: Rect, name: &str, remark: &str) {
    let tokens = theme::of(ui);
    let y = rect.top() + 21.0;
    let name = text::left(ui, rect.left(), y, name, theme::medium(13.0), tokens.hi);
    text::fit(
        ui,
        name.rect.right() + 10.0,
        y,
        rect.right() - name.rect.right() - 10.0,
        remark,
        theme::regular(12.5),
        tokens.dim,
    );
}

/// The points as bars, oldest first; the height is what they take.
fn points(ui: &mut Ui, rect: Rect, shadow: &ShadowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let remark = match shadow.points.first() {
        Some(oldest) => format!(
            "{} kept, {}, oldest {} ago",
            shadow.points.len(),
            format::bytes(shadow.stored_bytes),
            pass.clock.ago(oldest.at)
        ),
        None => "none yet: the first copy is on its way".to_owned(),
    };
    title(ui, rect, "Recovery points", &remark);
    if let Some(stalled) = &shadow.stalled {
        let y = rect.top() + 40.0;
        let font = theme::regular(12.5);
        let words = printable(stalled);
        text::fit(ui, rect.left(), y, rect.width(), &words, font, tokens.risk);
    } else if rect.width() > 560.0 {
        legend(ui, rect);
    }
    let area = Rect::from_min_max(
        pos2(rect.left(), rect.top() + 58.0),
        pos2(rect.right(), rect.bottom() - 28.0),
    );
    text::hline(ui, area.left()..=area.right(), area.bottom(), tokens.line);
    let most = shadow.points.iter().map(|point| point.stored_bytes).max();
    let Some(most) = most.map(|most| most.max(1)) else {
        return;
    };
    let count = shadow.points.len();
    let pitch = (area.width() / count as f32).min(64.0);
    let first = area.right() - pitch * count as f32;
    // From the newest on: a label that would run into the one after it is left out.
    let mut free = f32::INFINITY;
    for (index, point) in shadow.points.iter().enumerate().rev() {
        let x = first + pitch * (index as f32 + 0.5);
        let bar = Bar {
            point,
            part: (point.stored_bytes as f32 / most as f32).sqrt(),
            serves: shadow.serving_from == Some(point.number),
            newest: index + 1 == count,
            half: (pitch * 0.28).clamp(2.0, 7.0),
        };
        bar.ui(ui, area, x, pass);
        let label = bar.label(pass);
        let wide = text::width(ui, &label, theme::regular(11.0)) / 2.0;
        let middle = x.min(area.right() - wide);
        if middle + wide + 8.0 <= free {
            free = middle - wide;
            text::paint(
                ui.painter(),
                pos2(middle, area.bottom() + 13.0),
                Align2::CENTER_CENTER,
                &label,
                theme::regular(11.0),
                tokens.dim,
            );
        }
    }
}

fn legend(ui: &mut Ui, rect: Rect) {
    let tokens = theme::of(ui);
    let y = rect.top() + 21.0;
    let mut x = rect.right();
    for (words, icon, ink) in [
        ("pinned", icons::ICON_KEEP.codepoint, tokens.watch),
        ("proven", icons::ICON_CHECK_CIRCLE.codepoint, tokens.ok),
        ("height is size", "", tokens.dim),
    ] {
        let shown = text::right(ui, x, y, words, theme::regular(12.0), tokens.dim);
        x = shown.rect.left() - 10.0;
        if !icon.is_empty() {
            text::icon(ui.painter(), pos2(x, y), icon, 13.0, ink);
            x -= 18.0;
        }
    }
}

/// One point among the others.
struct Bar<'a> {
    point: &'a RecoveryPoint,
    /// 0..=1 of the height.
    part: f32,
    serves: bool,
    newest: bool,
    half: f32,
}

impl Bar<'_> {
    fn label(&self, pass: &Pass<'_>) -> String {
        let at = self.point.at;
        if self.newest {
            format!("{} ago", pass.clock.ago(at))
        } else if pass.clock.now.secs_since(at) > 20 * 3600 {
            pass.clock.short_day(at)
        } else {
            pass.clock.hm(at)
        }
    }

    fn words(&self, pass: &Pass<'_>) -> String {
        let point = self.point;
        let mut words = format!(
            "Point {}, {}, {}, {}",
            point.number,
            pass.clock.full(point.at),
            format::bytes(point.stored_bytes),
            match point.consistent {
                Consistency::Crash => "as after a power cut",
                Consistency::FileSystem => "file systems frozen",
            }
        );
        match &point.proof {
            None => {}
            Some(mark) if mark.passed => {
                words += &format!(", proven {}", pass.clock.near(mark.at));
            }
            Some(mark) => words += &format!(", did not pass {}", pass.clock.near(mark.at)),
        }
        if point.pinned {
            words += ", pinned";
        }
        if self.serves {
            words += ", serves";
        }
        words
    }

    fn ui(&self, ui: &mut Ui, area: Rect, x: f32, pass: &Pass<'_>) {
        let tokens = theme::of(ui);
        let tall = (area.height() - 20.0) * self.part.max(0.06);
        let rect = Rect::from_min_max(
            pos2(x - self.half, area.bottom() - tall),
            pos2(x + self.half, area.bottom()),
        );
        let hit = Rect::from_min_max(
            pos2(x - self.half - 4.0, area.top()),
            pos2(x + self.half + 4.0, area.bottom()),
        );
        let response = text::touch(ui, hit, Sense::hover());
        let words = self.words(pass);
        response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &words));
        let colour = if self.serves {
            tokens.accent
        } else if self.newest {
            tokens.cast
        } else {
            tokens.cast.gamma_multiply(0.55)
        };
        ui.painter()
            .rect_filled(rect, CornerRadius::same(2), colour);
        if self.serves {
            ui.painter().rect_stroke(
                rect.expand(3.0),
                CornerRadius::same(4),
                Stroke::new(1.5, tokens.hi),
                StrokeKind::Inside,
            );
        }
        let mut y = rect.top() - 10.0;
        if let Some(mark) = &self.point.proof {
            let (icon, ink) = shadow_proofs::verdict_icon(Some(mark.passed), tokens);
            text::icon(ui.painter(), pos2(x, y), icon, 13.0, ink);
            y -= 14.0;
        }
        if self.point.pinned {
            let icon = icons::ICON_KEEP.codepoint;
            text::icon(ui.painter(), pos2(x, y), icon, 13.0, tokens.watch);
        }
        response.on_hover_text(words);
    }
}

/// Lag at the end of each cycle against the objective.
fn lags(ui: &mut Ui, rect: Rect, shadow: &ShadowView) {
    let tokens = theme::of(ui);
    let missed = shadow
        .recent_lags
        .iter()
        .filter(|lag| **lag > shadow.rpo_seconds as f32)
        .count();
    title(
        ui,
        rect,
        "Replication lag",
        &if shadow.recent_lags.is_empty() {
            "no cycle has ended yet".to_owned()
        } else {
            format!(
                "{} of {} cycles over the objective",
                missed,
                shadow.recent_lags.len()
            )
        },
    );
    let area = Rect::from_min_max(
        pos2(rect.left() + 40.0, rect.top() + 44.0),
        pos2(rect.right(), rect.bottom() - 16.0),
    );
    let objective = shadow.rpo_seconds as f32;
    let top = shadow
        .recent_lags
        .iter()
        .copied()
        .fold(objective * 1.3, f32::max)
        * 1.1;
    let y = |lag: f32| area.bottom() - area.height() * (lag / top).clamp(0.0, 1.0);
    text::hline(ui, area.left()..=area.right(), area.bottom(), tokens.line);
    let level = y(objective).round() + 0.5;
    ui.painter().extend(Shape::dashed_line(
        &[pos2(area.left(), level), pos2(area.right(), level)],
        Stroke::new(1.0, tokens.dim),
        4.0,
        4.0,
    ));
    for (value, words) in [
        (objective, format::span(i64::from(shadow.rpo_seconds))),
        (0.0, "0".to_owned()),
    ] {
        text::paint(
            ui.painter(),
            pos2(area.left() - 6.0, y(value)),
            Align2::RIGHT_CENTER,
            &words,
            theme::regular(11.0),
            tokens.dim,
        );
    }
    let count = shadow.recent_lags.len();
    if count < 2 {
        return;
    }
    let points: Vec<_> = shadow
        .recent_lags
        .iter()
        .enumerate()
        .map(|(index, lag)| {
            pos2(
                area.left() + area.width() * index as f32 / (count - 1) as f32,
                y(*lag),
            )
        })
        .collect();
    ui.painter().line(points, Stroke::new(1.6, tokens.cast));
    let worst = shadow
        .recent_lags
        .iter()
        .copied()
        .enumerate()
        .max_by(|a, b| a.1.total_cmp(&b.1));
    if let Some((index, lag)) = worst.filter(|(_, lag)| *lag > objective) {
        let at = pos2(
            area.left() + area.width() * index as f32 / (count - 1) as f32,
            y(lag),
        );
        ui.painter().circle_filled(at, 3.5, tokens.watch);
        text::paint(
            ui.painter(),
            pos2((at.x - 8.0).max(area.left() + 40.0), at.y),
            Align2::RIGHT_CENTER,
            &format::span(lag as i64),
            theme::medium(11.5),
            tokens.watch,
        );
    }
}
