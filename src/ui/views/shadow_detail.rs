//! A shadow's recovery points and how well replication keeps its objective.

use eframe::egui::{
    Align2, CornerRadius, Rect, Role, ScrollArea, Sense, Shape, Stroke, StrokeKind, Ui, UiBuilder,
    WidgetInfo, pos2, vec2,
};
use egui_material_icons::icons;

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
    list(ui, right.shrink2(vec2(16.0, 0.0)), shadow, pass);
}

fn title(ui: &mut Ui, rect: Rect, name: &str, remark: &str) {
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

/// The points as bars on a line of time; the height is what travelled.
fn points(ui: &mut Ui, rect: Rect, shadow: &ShadowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    let shipped: u64 = shadow.points.iter().map(|point| point.shipped_bytes).sum();
    let remark = match shadow.points.first() {
        Some(oldest) => format!(
            "{} kept, {} shipped for them, oldest {} ago",
            shadow.points.len(),
            format::bytes(shipped),
            pass.clock.ago(oldest.at)
        ),
        None => "none yet: the first copy is on its way".to_owned(),
    };
    title(ui, rect, "Recovery points", &remark);
    let area = Rect::from_min_max(
        pos2(rect.left(), rect.top() + 44.0),
        pos2(rect.right(), rect.bottom() - 30.0),
    );
    text::hline(ui, area.left()..=area.right(), area.bottom(), tokens.line);
    if shadow.points.is_empty() {
        return;
    }
    let most = shadow
        .points
        .iter()
        .map(|point| point.shipped_bytes)
        .max()
        .unwrap_or(1)
        .max(1);
    let count = shadow.points.len();
    let pitch = (area.width() / count as f32).min(90.0);
    let first = area.right() - pitch * count as f32;
    for (index, point) in shadow.points.iter().enumerate() {
        let x = first + pitch * (index as f32 + 0.5);
        let newest = index + 1 == count;
        bar(
            ui,
            area,
            x,
            point,
            most,
            shadow.serving_from == Some(point.number),
            newest,
            pass,
        );
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one bar of one row, nothing to group"
)]
fn bar(
    ui: &mut Ui,
    area: Rect,
    x: f32,
    point: &RecoveryPoint,
    most: u64,
    serves: bool,
    newest: bool,
    pass: &Pass<'_>,
) {
    let tokens = theme::of(ui);
    let part = point.shipped_bytes as f32 / most as f32;
    let tall = (area.height() - 18.0) * part.sqrt().max(0.08);
    let rect = Rect::from_min_max(
        pos2(x - 6.0, area.bottom() - tall),
        pos2(x + 6.0, area.bottom()),
    );
    let hit = Rect::from_min_max(pos2(x - 14.0, area.top()), pos2(x + 14.0, area.bottom()));
    let response = text::touch(ui, hit, Sense::hover());
    let kind = match point.consistent {
        Consistency::Crash => "as after a power cut",
        Consistency::FileSystem => "file systems frozen",
    };
    let words = format!(
        "Point {}, {}, {}, {}{}",
        point.number,
        pass.clock.hms(point.at),
        format::bytes(point.shipped_bytes),
        kind,
        if serves { ", serves" } else { "" }
    );
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, &words));
    let colour = if serves {
        tokens.accent
    } else if newest {
        tokens.cast
    } else {
        tokens.cast.gamma_multiply(0.55)
    };
    ui.painter()
        .rect_filled(rect, CornerRadius::same(2), colour);
    if serves {
        ui.painter().rect_stroke(
            rect.expand(3.0),
            CornerRadius::same(4),
            Stroke::new(1.5, tokens.hi),
            StrokeKind::Inside,
        );
    }
    if point.consistent == Consistency::FileSystem {
        text::icon(
            ui.painter(),
            pos2(x, rect.top() - 10.0),
            icons::ICON_CHECK_CIRCLE.codepoint,
            14.0,
            tokens.ok,
        );
    }
    text::paint(
        ui.painter(),
        pos2(x, area.bottom() + 14.0),
        Align2::CENTER_CENTER,
        &if newest {
            format!("{} ago", pass.clock.ago(point.at))
        } else {
            pass.clock.hm(point.at)
        },
        theme::regular(11.0),
        tokens.dim,
    );
    response.on_hover_text(words);
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

/// The points as a table, newest first.
fn list(ui: &mut Ui, rect: Rect, shadow: &ShadowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    title(ui, rect, "Newest points", "what a start would stand on");
    let area = Rect::from_min_max(
        pos2(rect.left(), rect.top() + 38.0),
        rect.max - vec2(0.0, 8.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("points").max_rect(area));
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(&mut child, |ui| {
            for point in shadow.points.iter().rev() {
                let (row, _) = ui.allocate_exact_size(vec2(rect.width(), 26.0), Sense::hover());
                let y = row.center().y;
                let at = |part: f32| row.left() + row.width() * part;
                text::left(
                    ui,
                    row.left(),
                    y,
                    &pass.clock.hms(point.at),
                    theme::mono(12.0),
                    tokens.hi,
                )
                .on_hover_text(pass.clock.full(point.at));
                text::left(
                    ui,
                    at(0.2),
                    y,
                    &format!("point {}", point.number),
                    theme::regular(12.5),
                    tokens.text,
                );
                let kind = match point.consistent {
                    Consistency::Crash => "power cut",
                    Consistency::FileSystem => "frozen",
                };
                text::fit(
                    ui,
                    at(0.42),
                    y,
                    row.width() * 0.2,
                    kind,
                    theme::regular(12.5),
                    tokens.dim,
                );
                text::fit(
                    ui,
                    at(0.62),
                    y,
                    row.width() * 0.2,
                    &match point.depth {
                        0 => "full copy".to_owned(),
                        depth => format!(
                            "on {}",
                            crate::ui::format::plural(depth as usize, "layer", "layers")
                        ),
                    },
                    theme::regular(12.5),
                    tokens.dim,
                );
                text::right(
                    ui,
                    row.right(),
                    y,
                    &format::bytes(point.shipped_bytes),
                    theme::mono(12.0),
                    tokens.text,
                );
            }
            if let Some(stalled) = &shadow.stalled {
                text::wrapped(ui, &printable(stalled), theme::regular(12.5), tokens.risk);
            }
        });
}
