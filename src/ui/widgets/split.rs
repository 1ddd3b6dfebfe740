//! The slider that moves traffic: what stays with the original on its left, what goes to the shadow on its right.

use eframe::egui::{
    CornerRadius, EventFilter, Id, Key, Rect, Response, Role, Sense, Stroke, Ui, WidgetInfo,
    accesskit::{Action, ActionData},
    pos2, vec2,
};

use super::button;
use crate::ui::theme;

const STEP: f64 = 0.01;

/// What happened to the slider in this pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    No,
    /// Under the hand: nothing is decided yet.
    Dragging,
    /// Let go of, or stepped by key: this is what is wanted.
    Settled,
}

/// Draws the slider over the width of the flow. `share` is the shadow's, 0..=1.
pub fn slider(ui: &mut Ui, id: Id, name: &str, share: &mut f64, on: bool) -> (Response, Moved) {
    let tokens = theme::of(ui);
    let (area, _) = ui.allocate_exact_size(vec2(ui.available_width(), 34.0), Sense::hover());
    let sense = if on {
        Sense::click_and_drag()
    } else {
        Sense::hover()
    };
    let grip = Rect::from_min_size(area.min, vec2(area.width(), 24.0));
    let response = ui.interact(grip, id, sense);
    let rail = Rect::from_center_size(grip.center(), vec2(grip.width(), 6.0));
    let mut moved = Moved::No;
    if on {
        moved = by_pointer(&response, rail, share);
        if moved == Moved::No && by_key(ui, &response, share) {
            moved = Moved::Settled;
        }
    }
    let value = (*share * 100.0).round();
    response.widget_info(|| WidgetInfo::slider(on, value, name));
    ui.ctx().accesskit_node_builder(id, |node| {
        debug_assert_eq!(node.role(), Role::Slider);
        node.set_min_numeric_value(0.0);
        node.set_max_numeric_value(100.0);
        node.set_numeric_value_step(STEP * 100.0);
        if on {
            node.add_action(Action::SetValue);
            node.add_action(Action::Increment);
            node.add_action(Action::Decrement);
        }
    });

    let x = rail.left() + rail.width() * (1.0 - *share as f32);
    let painter = ui.painter();
    let corner = CornerRadius::same(3);
    let (original, shadow) = if on {
        (tokens.accent, tokens.cast)
    } else {
        (tokens.line2, tokens.line2)
    };
    painter.rect_filled(
        Rect::from_min_max(rail.min, pos2(x, rail.bottom())),
        corner,
        original,
    );
    painter.rect_filled(
        Rect::from_min_max(pos2(x, rail.top()), rail.max),
        corner,
        shadow,
    );
    for tick in 0..=10u8 {
        let at = rail.left() + 1.0 + (rail.width() - 2.0) * f32::from(tick) / 10.0;
        painter.vline(
            at,
            area.bottom() - 6.0..=area.bottom() - 2.0,
            Stroke::new(1.0, tokens.line2),
        );
    }
    let hot = response.hovered() || response.dragged() || response.has_focus();
    let knob = pos2(
        x.clamp(rail.left() + 9.0, rail.right() - 9.0),
        rail.center().y,
    );
    if hot && on {
        painter.circle_filled(knob, 14.0, tokens.accent.gamma_multiply(0.25));
    }
    painter.circle(
        knob,
        10.0,
        if on { tokens.hi } else { tokens.faint },
        Stroke::new(1.5, tokens.card),
    );
    button::focus_ring(ui, &response, 6);
    (response, moved)
}

fn by_pointer(response: &Response, rail: Rect, share: &mut f64) -> Moved {
    if let Some(at) = response.interact_pointer_pos()
        && (response.dragged() || response.clicked() || response.drag_stopped())
    {
        let part = 1.0 - f64::from(((at.x - rail.left()) / rail.width()).clamp(0.0, 1.0));
        *share = (part / STEP).round() * STEP;
        if response.dragged() && !response.drag_stopped() {
            return Moved::Dragging;
        }
        return Moved::Settled;
    }
    Moved::No
}

fn by_key(ui: &Ui, response: &Response, share: &mut f64) -> bool {
    let before = *share;
    let mut steps = 0.0;
    if response.has_focus() {
        ui.memory_mut(|memory| {
            memory.set_focus_lock_filter(
                response.id,
                EventFilter {
                    horizontal_arrows: true,
                    ..EventFilter::default()
                },
            );
        });
        // An arrow moves the knob the way it points: right is back to the original.
        steps += ui.input(|input| {
            input.num_presses(Key::ArrowLeft) as f64 - input.num_presses(Key::ArrowRight) as f64
        });
    }
    let mut wanted = None;
    ui.input(|input| {
        steps += input.num_accesskit_action_requests(response.id, Action::Increment) as f64
            - input.num_accesskit_action_requests(response.id, Action::Decrement) as f64;
        for request in input.accesskit_action_requests(response.id, Action::SetValue) {
            if let Some(ActionData::NumericValue(value)) = request.data {
                wanted = Some(value / 100.0);
            }
        }
    });
    if let Some(value) = wanted {
        *share = value;
    }
    *share = (*share + steps * STEP).clamp(0.0, 1.0);
    (*share - before).abs() > STEP / 2.0
}
