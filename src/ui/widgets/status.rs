//! Status as a shape *and* a colour: disc, diamond, triangle, octagon with a bar, ring.

use eframe::egui::{Color32, Painter, Pos2, Shape, Stroke, pos2, vec2};

use crate::{health::HealthState, shadow::Urgency, ui::theme::Tokens};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Ok,
    Watch,
    Risk,
    Critical,
    /// No data, or not decided.
    None,
}

impl Tone {
    pub const fn of_health(state: HealthState) -> Self {
        match state {
            HealthState::Ok => Self::Ok,
            HealthState::Watch => Self::Watch,
            HealthState::Risk => Self::Risk,
            HealthState::Critical => Self::Critical,
            HealthState::Unknown => Self::None,
        }
    }

    pub const fn of_urgency(urgency: Urgency) -> Self {
        match urgency {
            Urgency::Now => Self::Critical,
            Urgency::Soon => Self::Risk,
            Urgency::Later => Self::Watch,
            Urgency::GiveBack => Self::Ok,
        }
    }

    pub const fn colour(self, tokens: &Tokens) -> Color32 {
        match self {
            Self::Ok => tokens.ok,
            Self::Watch => tokens.watch,
            Self::Risk => tokens.risk,
            Self::Critical => tokens.critical,
            Self::None => tokens.faint,
        }
    }

    /// The word that the shape stands for.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Watch => "watch",
            Self::Risk => "at risk",
            Self::Critical => "critical",
            Self::None => "no data",
        }
    }
}

/// Paints the shape about `size` points wide.
pub fn paint(painter: &Painter, centre: Pos2, size: f32, tone: Tone, tokens: &Tokens) {
    let colour = tone.colour(tokens);
    let r = size / 2.0;
    match tone {
        Tone::Ok => {
            painter.circle_filled(centre, r * 0.82, colour);
        }
        Tone::Watch => {
            painter.add(Shape::convex_polygon(
                vec![
                    centre - vec2(0.0, r),
                    centre + vec2(r, 0.0),
                    centre + vec2(0.0, r),
                    centre - vec2(r, 0.0),
                ],
                colour,
                Stroke::NONE,
            ));
        }
        Tone::Risk => {
            painter.add(Shape::convex_polygon(
                vec![
                    pos2(centre.x, centre.y - r),
                    pos2(centre.x + r * 1.05, centre.y + r * 0.82),
                    pos2(centre.x - r * 1.05, centre.y + r * 0.82),
                ],
                colour,
                Stroke::NONE,
            ));
        }
        Tone::Critical => {
            let r = r * 1.08;
            let corners = (0..8u8)
                .map(|corner| {
                    let angle = (f32::from(corner) + 0.5) * std::f32::consts::TAU / 8.0;
                    centre + vec2(angle.cos(), angle.sin()) * r
                })
                .collect();
            painter.add(Shape::convex_polygon(corners, colour, Stroke::NONE));
            let bar = Stroke::new((size * 0.16).max(1.5), tokens.card);
            painter.line_segment(
                [centre - vec2(0.0, r * 0.55), centre + vec2(0.0, r * 0.12)],
                bar,
            );
            painter.circle_filled(centre + vec2(0.0, r * 0.5), bar.width * 0.55, tokens.card);
        }
        Tone::None => {
            painter.circle_stroke(centre, r * 0.8, Stroke::new(1.5, colour));
        }
    }
}
