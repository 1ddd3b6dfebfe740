//! Said against happened: of the hours that were said to cross with some probability, how many did.

use eframe::egui::{
    Align2, Id, Rect, Response, Role, Sense, Shape, Stroke, Ui, WidgetInfo, pos2, vec2,
};

use super::text;
use crate::{
    forecast::record::Worth,
    ui::{format, theme},
};

/// A dot for each band of probability, larger the more hours it stands for; on the line said and happened agree.
pub fn ui(ui: &mut Ui, id: Id, rect: Rect, worth: &Worth) -> Response {
    let tokens = theme::of(ui);
    let bands: Vec<(f64, f64, u32)> = worth.calibration().collect();
    let response = ui.interact(rect, id, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Image, true, in_words(&bands)));
    let side = (rect.width() - 44.0).min(rect.height() - 38.0).max(20.0);
    let plot = Rect::from_min_size(rect.min + vec2(40.0, 4.0), vec2(side, side));
    let at = |said: f64, happened: f64| {
        pos2(
            plot.left() + side * said as f32,
            plot.bottom() - side * happened as f32,
        )
    };
    let painter = ui.painter();
    for quarter in 0..=4 {
        let part = f64::from(quarter) * 0.25;
        let y = at(0.0, part).y;
        text::hline(ui, plot.left()..=plot.right(), y, tokens.line);
        text::paint(
            painter,
            pos2(plot.left() - 8.0, y),
            Align2::RIGHT_CENTER,
            &format!("{:.0}", part * 100.0),
            theme::regular(11.0),
            tokens.dim,
        );
        text::paint(
            painter,
            pos2(at(part, 0.0).x, plot.bottom() + 13.0),
            Align2::CENTER_CENTER,
            &format!("{:.0}", part * 100.0),
            theme::regular(11.0),
            tokens.dim,
        );
    }
    text::paint(
        painter,
        pos2(plot.center().x, plot.bottom() + 28.0),
        Align2::CENTER_CENTER,
        "said, % of an hour to cross",
        theme::regular(11.0),
        tokens.dim,
    );
    painter.extend(Shape::dashed_line(
        &[at(0.0, 0.0), at(1.0, 1.0)],
        Stroke::new(1.2, tokens.line2),
        5.0,
        4.0,
    ));
    let most = bands.iter().map(|(.., hours)| *hours).max().unwrap_or(1);
    let line = bands
        .iter()
        .map(|(said, happened, _)| at(*said, *happened))
        .collect();
    painter.line(line, Stroke::new(1.4, tokens.cast));
    let mut nearest: Option<(f32, String)> = None;
    for (said, happened, hours) in &bands {
        let dot = at(*said, *happened);
        // Hours differ by powers of ten: by their area the few would not be seen.
        let part = (f64::from(*hours).ln_1p() / f64::from(most).ln_1p()) as f32;
        painter.circle_filled(dot, 2.5 + 4.5 * part, tokens.cast);
        let Some(pointer) = response.hover_pos() else {
            continue;
        };
        let away = pointer.distance(dot);
        if nearest.as_ref().is_none_or(|(best, _)| away < *best) {
            nearest = Some((away, band_in_words(*said, *happened, *hours)));
        }
    }
    match nearest {
        Some((away, words)) if away < 24.0 => response.on_hover_text_at_pointer(words),
        _ => response,
    }
}

fn band_in_words(said: f64, happened: f64, hours: u32) -> String {
    format!(
        "said {}, happened {} of {} hours",
        format::percent(said),
        format::percent(happened),
        format::count(hours as usize)
    )
}

fn in_words(bands: &[(f64, f64, u32)]) -> String {
    let each: Vec<String> = bands
        .iter()
        .map(|(said, happened, hours)| band_in_words(*said, *happened, *hours))
        .collect();
    format!("Calibration: {}", each.join("; "))
}
