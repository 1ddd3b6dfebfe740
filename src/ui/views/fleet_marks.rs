//! What explains the heatmap: the histogram over its ramp, the marks of the cells, and a VM in a glance.

use eframe::egui::{Id, LayerId, Order, Rect, Stroke, StrokeKind, Ui, Vec2, pos2, vec2};

use super::fleet_filter::Filtered;
use crate::{
    engine::snapshot::VmView,
    metrics::Metric,
    ui::{
        format,
        pass::Pass,
        theme::{self, Tokens, radius},
        widgets::{
            bars,
            heatmap::{self, Colour},
            spark,
            status::{self, Tone},
            text,
        },
    },
    units::printable,
};

/// The histogram over its ramp, and what the marks of the cells mean.
pub(super) fn legend(ui: &mut Ui, rect: Rect, filtered: &Filtered, tokens: &Tokens) {
    let wide = (rect.width() * 0.3).min(320.0);
    let bars_at = Rect::from_min_size(
        pos2(rect.left() + 24.0, rect.top() + 14.0),
        vec2(wide, 26.0),
    );
    let limit = 0.85;
    bars::columns(ui.painter(), bars_at, &filtered.bins, |bin| {
        if filtered.colour != Colour::Health && bin as f32 / 50.0 >= limit {
            tokens.critical
        } else {
            tokens.line2
        }
    });
    let ramp = Rect::from_min_size(bars_at.left_bottom() + vec2(0.0, 2.0), vec2(wide, 8.0));
    heatmap::ramp(ui, ramp);
    let figures = if filtered.colour == Colour::Health {
        ["100", "75", "50", "25", "0"]
    } else {
        ["0", "25", "50", "75", "100 %"]
    };
    for (index, words) in figures.into_iter().enumerate() {
        let x = ramp.left() + wide * index as f32 / 4.0;
        let anchor = match index {
            0 => eframe::egui::Align2::LEFT_CENTER,
            4 => eframe::egui::Align2::RIGHT_CENTER,
            _ => eframe::egui::Align2::CENTER_CENTER,
        };
        text::paint(
            ui.painter(),
            pos2(x, ramp.bottom() + 9.0),
            anchor,
            words,
            theme::regular(11.0),
            tokens.dim,
        );
    }
    if filtered.colour != Colour::Health {
        ui.painter().vline(
            ramp.left() + wide * limit,
            bars_at.top()..=ramp.bottom(),
            Stroke::new(2.0, tokens.critical),
        );
    }
    let y = ramp.center().y - 4.0;
    let mut x = ramp.right() + 36.0;
    let mut entry = |ui: &mut Ui, count: usize, words: &str, mark: &dyn Fn(Rect)| {
        let number = format::count(count);
        let need = 18.0
            + text::width(ui, &number, theme::mono(12.5))
            + 7.0
            + text::width(ui, words, theme::regular(12.5));
        if x + need > rect.right() - 24.0 {
            return;
        }
        mark(Rect::from_center_size(pos2(x + 5.0, y), Vec2::splat(9.0)));
        let number = text::left(ui, x + 18.0, y, &number, theme::mono(12.5), tokens.text);
        let label = text::left(
            ui,
            number.rect.right() + 7.0,
            y,
            words,
            theme::regular(12.5),
            tokens.dim,
        );
        x = label.rect.right() + 24.0;
    };
    let painter = ui.painter().clone();
    entry(ui, filtered.crossing, "cross a limit", &|cell| {
        painter.rect_filled(cell, 1, tokens.critical);
        painter.rect_filled(
            Rect::from_center_size(cell.center(), vec2(2.0, 5.0)),
            0,
            if tokens.dark { tokens.bg } else { tokens.card },
        );
    });
    entry(ui, filtered.shadows, "have a shadow", &|cell| {
        painter.rect_filled(cell.shrink(1.0), 0, tokens.heat(0.4));
        painter.rect_stroke(
            cell.expand(2.0),
            2,
            Stroke::new(1.5, tokens.cast),
            StrokeKind::Inside,
        );
    });
    entry(ui, filtered.silent, "no data", &|cell| {
        painter.rect_stroke(cell, 0, Stroke::new(1.0, tokens.faint), StrokeKind::Inside);
    });
    let words = "One row is one host, busiest VM first";
    if x + text::width(ui, words, theme::regular(12.5)) < rect.right() - 24.0 {
        text::right(
            ui,
            rect.right() - 24.0,
            y,
            words,
            theme::regular(12.5),
            tokens.dim,
        );
    }
}

/// A VM in a glance, beside its cell.
pub(super) fn hover_card(
    ui: &Ui,
    bounds: Rect,
    cell: Rect,
    view: &VmView,
    pass: &Pass<'_>,
    tokens: &Tokens,
) {
    let size = vec2(252.0, 122.0);
    let left = if cell.right() + size.x + 16.0 < bounds.right() {
        cell.right() + 12.0
    } else {
        cell.left() - size.x - 12.0
    };
    let top = (cell.top() - 20.0).clamp(bounds.top() + 4.0, bounds.bottom() - size.y - 8.0);
    let rect = Rect::from_min_size(pos2(left, top), size);
    let painter = ui
        .ctx()
        .layer_painter(LayerId::new(Order::Tooltip, Id::unique("hover card")));
    painter.add(ui.visuals().popup_shadow.as_shape(rect, radius::CARD));
    painter.rect(
        rect,
        radius::CARD,
        tokens.raised,
        Stroke::new(1.0, tokens.line2),
        StrokeKind::Inside,
    );
    let y = rect.top() + 22.0;
    status::paint(
        &painter,
        pos2(rect.left() + 20.0, y),
        12.0,
        Tone::of_health(view.health.state),
        tokens,
    );
    let cut = |words: &str, most: usize| {
        let words = printable(words);
        if words.chars().count() > most {
            let kept: String = words.chars().take(most - 1).collect();
            format!("{kept}…")
        } else {
            words
        }
    };
    text::paint(
        &painter,
        pos2(rect.left() + 34.0, y),
        eframe::egui::Align2::LEFT_CENTER,
        &cut(&view.vm.name, 18),
        theme::semibold(13.5),
        tokens.hi,
    );
    text::paint(
        &painter,
        pos2(rect.right() - 14.0, y),
        eframe::egui::Align2::RIGHT_CENTER,
        &cut(&view.vm.host, 13),
        theme::regular(12.0),
        tokens.dim,
    );
    let outlook = view.outlook(Metric::Cpu);
    let limit = outlook.and_then(|outlook| outlook.limit).unwrap_or(0.85);
    let line = Rect::from_min_max(
        pos2(rect.left() + 14.0, rect.top() + 40.0),
        pos2(rect.right() - 14.0, rect.top() + 86.0),
    );
    spark::paint(&painter, line, &view.spark, limit, tokens, false);
    let y = rect.bottom() - 20.0;
    let now = view.values[Metric::Cpu.index()];
    let over = view.first_crossing().is_some();
    let mut x = rect.left() + 14.0;
    if let Some(outlook) = outlook {
        let ink = if over { tokens.critical } else { tokens.cast };
        x = text::paint(
            &painter,
            pos2(x, y),
            eframe::egui::Align2::LEFT_CENTER,
            &format::percent(f64::from(outlook.peak)),
            theme::mono_medium(13.0),
            ink,
        )
        .right()
            + 6.0;
        x = text::paint(
            &painter,
            pos2(x, y),
            eframe::egui::Align2::LEFT_CENTER,
            &format!("at {},", pass.clock.near(outlook.peak_at)),
            theme::regular(12.5),
            tokens.text,
        )
        .right()
            + 5.0;
    }
    let words = now.map_or_else(
        || "no data".to_owned(),
        |now| format!("now {}", format::percent(f64::from(now))),
    );
    text::paint(
        &painter,
        pos2(x, y),
        eframe::egui::Align2::LEFT_CENTER,
        &words,
        theme::regular(12.5),
        tokens.text,
    );
    text::key_cap_on(&painter, tokens, rect.right() - 12.0, y, "Enter");
}
