//! The events that act on a VM, as bands behind its lines.

use eframe::egui::{Align2, CornerRadius, Painter, Rect, Stroke, pos2};

use super::{super::plot::Scale, super::text, Chart};
use crate::{
    ui::theme::{self, Tokens},
    units::printable,
};

impl Chart<'_> {
    pub(super) fn events(&self, painter: &Painter, scale: &Scale, tokens: &Tokens) {
        for mark in &self.detail.events {
            for window in &mark.windows {
                if window.to <= self.from || window.from >= self.to {
                    continue;
                }
                let (left, right) = (
                    scale.x(window.from.max(self.from)),
                    scale.x(window.to.min(self.to)),
                );
                let band = Rect::from_min_max(
                    pos2(left, scale.rect.top()),
                    pos2(right.max(left + 2.0), scale.rect.bottom()),
                );
                painter.rect_filled(
                    band,
                    CornerRadius::ZERO,
                    tokens.tint(tokens.watch, if tokens.dark { 0.09 } else { 0.12 }),
                );
                painter.vline(
                    left.round() + 0.5,
                    band.y_range(),
                    Stroke::new(1.0, tokens.watch.gamma_multiply(0.5)),
                );
                if self.small {
                    continue;
                }
                let name = printable(&mark.name);
                let change = mark
                    .learned
                    .as_ref()
                    .filter(|_| window.to > self.clock.now)
                    .map(|learned| format!("{:+.0} %", (learned.factor - 1.0) * 100.0));
                // The most of it that the band has room for.
                let wordings = match change {
                    Some(change) => vec![format!("{name} {change}"), change],
                    None => vec![name],
                };
                let fits = |words: &String| {
                    let font = theme::medium(11.0);
                    let galley = painter.layout_no_wrap(words.clone(), font, tokens.watch);
                    galley.size().x + 10.0 <= band.width()
                };
                let Some(words) = wordings.into_iter().find(fits) else {
                    continue;
                };
                text::paint(
                    painter,
                    pos2(left + 5.0, scale.rect.bottom() - 5.0),
                    Align2::LEFT_BOTTOM,
                    &words,
                    theme::medium(11.0),
                    tokens.watch,
                );
            }
        }
    }

    /// Those ahead, for somebody who does not see them.
    pub(super) fn events_in_words(&self) -> String {
        let mut words = String::new();
        for mark in &self.detail.events {
            let ahead = mark
                .windows
                .iter()
                .find(|window| window.to > self.clock.now && window.from < self.to);
            if let Some(window) = ahead {
                words += &format!(
                    ", {} at {}",
                    printable(&mark.name),
                    self.clock.near(window.from)
                );
            }
        }
        words
    }
}
