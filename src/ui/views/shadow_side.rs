//! Beside the shadows: the selected one's traffic with its slider, its gate, and what can be done with it.

use eframe::egui::{Id, Rect, ScrollArea, Sense, Ui, UiBuilder, pos2, vec2};
use egui_material_icons::icons;

use super::{promotion, proposal_split::split_figures, shadows::Wanted};
use crate::{
    engine::{
        command::Command,
        snapshot::{GateView, ServiceView, ShadowState, ShadowView},
    },
    ui::{
        action::Action,
        format,
        pass::{Go, Pass},
        theme,
        widgets::{
            bars,
            button::{Button, Look},
            split::{self, Moved},
            status, text,
        },
        words,
    },
    units::printable,
};

pub fn ui(
    ui: &mut Ui,
    rect: Rect,
    shadow: &ShadowView,
    wanted: &mut Option<Wanted>,
    pass: &mut Pass<'_>,
) {
    let inside = Rect::from_min_max(
        rect.min + vec2(20.0, 0.0),
        pos2(rect.right() - 20.0, rect.bottom() - 142.0),
    );
    let mut child = ui.new_child(UiBuilder::new().id_salt("particulars").max_rect(inside));
    ScrollArea::vertical()
        .auto_shrink([false, false])
        .show(&mut child, |ui| {
            head(ui, shadow, pass);
            text::rule(ui, 12.0, 8.0);
            if let Some(view) = &shadow.promotion {
                promotion::window(ui, view, pass);
                text::rule(ui, 12.0, 8.0);
            }
            traffic(ui, shadow, wanted, pass);
            if let Some(gate) = shadow.gate.as_ref().filter(|_| shadow.promotion.is_none()) {
                text::rule(ui, 12.0, 8.0);
                gates(ui, gate, shadow);
            }
            text::rule(ui, 12.0, 8.0);
            held(ui, shadow, pass);
            ui.add_space(12.0);
        });
    let foot = Rect::from_min_max(
        pos2(inside.left(), inside.bottom()),
        pos2(inside.right(), rect.bottom()),
    );
    text::hline(
        ui,
        rect.left() + 1.0..=rect.right(),
        foot.top(),
        theme::of(ui).line,
    );
    buttons(ui, foot, shadow, pass);
}

fn head(ui: &mut Ui, shadow: &ShadowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    ui.add_space(14.0);
    let (title, _) = ui.allocate_exact_size(vec2(ui.available_width(), 26.0), Sense::hover());
    let y = title.center().y;
    status::paint(
        ui.painter(),
        pos2(title.left() + 6.0, y),
        12.0,
        super::shadows::tone(shadow),
        tokens,
    );
    let id = text::right(
        ui,
        title.right(),
        y,
        shadow.id.as_str(),
        theme::mono(11.5),
        tokens.dim,
    );
    text::fit(
        ui,
        title.left() + 20.0,
        y,
        id.rect.left() - title.left() - 28.0,
        &printable(&shadow.name),
        theme::semibold(15.5),
        tokens.hi,
    );
    text::wrapped(
        ui,
        &format!(
            "shadow of {}, in {}",
            printable(&shadow.vm_name),
            words::pool(pass.now, &shadow.pool)
        ),
        theme::regular(12.5),
        tokens.dim,
    );
    if let Some(stalled) = &shadow.stalled {
        ui.add_space(6.0);
        text::wrapped(
            ui,
            &printable(stalled),
            theme::medium(12.5),
            tokens.critical,
        );
    }
}

fn service<'a>(shadow: &ShadowView, pass: &Pass<'a>) -> Option<&'a ServiceView> {
    let name = shadow.service.as_ref()?;
    pass.now
        .services
        .iter()
        .find(|view| view.service.name == *name)
}

fn traffic(ui: &mut Ui, shadow: &ShadowView, wanted: &mut Option<Wanted>, pass: &mut Pass<'_>) {
    let tokens = theme::of(ui);
    let Some(name) = shadow.service.clone() else {
        text::heading(ui, "Traffic", "no service mapped");
        text::wrapped(
            ui,
            "Nothing stands behind a balancer for this VM, so its shadow only replicates.",
            theme::regular(12.5),
            tokens.dim,
        );
        return;
    };
    let backend = service(shadow, pass).map_or_else(
        || printable(name.as_str()),
        |view| printable(&view.service.backend),
    );
    text::heading(ui, "Traffic", &backend);
    let drafted = wanted
        .as_ref()
        .filter(|wanted| wanted.shadow == shadow.id)
        .map(|wanted| wanted.share);
    let mut share = drafted.unwrap_or(shadow.wanted_share);
    let runs = matches!(shadow.state, ShadowState::Serving | ShadowState::Stalled);
    split_figures(ui, share);
    ui.add_space(4.0);
    let on = runs && pass.blocked.is_none();
    let id = Id::unique(("live split", shadow.id.as_str()));
    let (_, moved) = split::slider(ui, id, "Live traffic split", &mut share, on);
    if moved != Moved::No {
        *wanted = Some(Wanted {
            shadow: shadow.id.clone(),
            share,
            sent: moved == Moved::Settled,
        });
    }
    if moved == Moved::Settled {
        pass.out.push(Command::TrafficSet {
            service: name,
            vm: Some(shadow.vm.clone()),
            share,
            by: pass.by.to_owned(),
        });
    }
    let (words, ink) = if drafted.is_some() && moved != Moved::Dragging {
        ("Weights are being set and read back.", tokens.cast)
    } else if shadow.promotion.is_some() {
        (
            "It stands in its primary's place and takes all of it.",
            tokens.dim,
        )
    } else if !runs {
        ("It is powered off. A proposal starts it first.", tokens.dim)
    } else if (shadow.wanted_share - shadow.traffic_share).abs() > 0.005 {
        ("The balancer is on its way to this.", tokens.watch)
    } else {
        (
            "Moves at once; a breach of the gate returns it to 0.",
            tokens.dim,
        )
    };
    text::wrapped(ui, words, theme::regular(12.5), ink);
    if let Some(view) = service(shadow, pass) {
        ui.add_space(4.0);
        if let Some(requests) = view.requests_per_second {
            text::pair(ui, "Requests", &format!("{requests:.0}/s"), tokens.hi);
        }
        if view.sticky {
            text::wrapped(
                ui,
                "Sessions stick to their server, so the share is approached slowly.",
                theme::regular(12.5),
                tokens.watch,
            );
        }
        if let Some(error) = &view.error {
            text::wrapped(ui, &printable(error), theme::regular(12.5), tokens.critical);
        }
    }
}

fn gates(ui: &mut Ui, gate: &GateView, shadow: &ShadowView) {
    let tokens = theme::of(ui);
    text::heading(ui, "Gate", "any breach returns traffic to 0");
    let late = shadow
        .lag_seconds
        .map(|lag| (lag as f64, f64::from(shadow.rpo_seconds)));
    let rows = [
        (
            "Errors",
            gate.error_ratio.map(|value| (value, gate.error_limit)),
            (|value: f64| format::fine_percent(value)) as fn(f64) -> String,
        ),
        (
            "Response",
            gate.response_millis
                .map(|value| (value, gate.response_limit_millis)),
            |value| format!("{value:.0} ms"),
        ),
        ("Lag", late, |value| format::span(value as i64)),
    ];
    for (name, value, figure) in rows {
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 25.0), Sense::hover());
        let y = row.center().y;
        let Some((value, limit)) = value else {
            text::left(
                ui,
                row.left() + 22.0,
                y,
                name,
                theme::regular(13.0),
                tokens.dim,
            );
            text::right(
                ui,
                row.right(),
                y,
                "not enough requests",
                theme::regular(12.5),
                tokens.dim,
            );
            continue;
        };
        let holds = value <= limit;
        let (icon, ink) = if holds {
            (icons::ICON_CHECK_CIRCLE, tokens.ok)
        } else {
            (icons::ICON_CANCEL, tokens.critical)
        };
        text::icon(
            ui.painter(),
            pos2(row.left() + 8.0, y),
            icon.codepoint,
            16.0,
            ink,
        );
        let label = text::left(
            ui,
            row.left() + 22.0,
            y,
            name,
            theme::medium(13.0),
            tokens.hi,
        );
        text::left(
            ui,
            label.rect.right() + 7.0,
            y,
            &format!("under {}", figure(limit)),
            theme::regular(12.0),
            tokens.dim,
        );
        text::right(
            ui,
            row.right(),
            y,
            &figure(value),
            theme::mono_medium(12.0),
            tokens.hi,
        );
        let bar = Rect::from_min_max(
            pos2(row.right() - 118.0, y - 2.5),
            pos2(row.right() - 58.0, y + 2.5),
        );
        if label.rect.right() + 92.0 < bar.left() {
            bars::share(
                ui.painter(),
                bar,
                (value / limit.max(1e-9)) as f32 * 0.85,
                Some(0.85),
                ink,
                tokens,
            );
        }
    }
    if let Some(breach) = &gate.last_breach {
        ui.add_space(4.0);
        text::wrapped(
            ui,
            &format!("Last breach: {}", printable(breach)),
            theme::regular(12.5),
            tokens.risk,
        );
    }
}

fn held(ui: &mut Ui, shadow: &ShadowView, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    text::heading(ui, "Holds", &words::pool(pass.now, &shadow.pool));
    text::pair(ui, "vCPU", &shadow.vcpus.to_string(), tokens.hi);
    text::pair(
        ui,
        "Memory",
        &format::binary_bytes(shadow.memory_bytes),
        tokens.hi,
    );
    let lag = shadow.lag_seconds.map_or_else(
        || "all since the start".to_owned(),
        |lag| format::span(lag as i64),
    );
    if shadow.promotion.is_none() {
        text::pair(ui, "Lost if started now", &lag, tokens.hi);
    }
}

/// Why nothing can be done with the shadow now.
fn why_not<'a>(shadow: &ShadowView, pass: &Pass<'a>) -> Option<&'a str> {
    let leaving = shadow.state == ShadowState::Retiring;
    pass.blocked
        .or(leaving.then_some("It is being retired already."))
}

/// Why none of its points can be tried now.
pub fn untried<'a>(shadow: &ShadowView, pass: &Pass<'a>) -> Option<&'a str> {
    let proving = shadow.proving.then_some("A clone of it is being tried.");
    let none = shadow.points.is_empty();
    why_not(shadow, pass)
        .or(proving)
        .or(none.then_some("No recovery point is complete yet."))
}

/// Asks for the plan that tries the newest point.
pub fn validate(shadow: &ShadowView, pass: &mut Pass<'_>) {
    pass.out.push(Command::ShadowValidate {
        shadow: shadow.id.clone(),
        point: None,
    });
}

fn buttons(ui: &mut Ui, foot: Rect, shadow: &ShadowView, pass: &mut Pass<'_>) {
    if shadow.promotion.is_some() {
        return promotion::buttons(ui, foot, shadow, pass);
    }
    let off = why_not(shadow, pass);
    let promote = Rect::from_min_size(foot.min + vec2(0.0, 12.0), vec2(foot.width(), 36.0));
    let early = (shadow.state == ShadowState::Creating).then_some("It is not complete yet.");
    promotion::promote_button(ui, promote, shadow, off.or(early), pass);
    let half = (foot.width() - 8.0) / 2.0;
    let at = |column: f32, row: f32| {
        let place = foot.min + vec2((half + 8.0) * column, 56.0 + 40.0 * row);
        Rect::from_min_size(place, vec2(half, 32.0))
    };
    let mut button = Button::action(Action::Validate, Look::Secondary).off(untried(shadow, pass));
    button.tooltip = Some(Action::Validate.tooltip());
    if button.put(ui, at(0.0, 0.0)).clicked() {
        validate(shadow, pass);
    }
    let mut button = Button::new("Take a point", Look::Secondary).off(off);
    button.tooltip = Some("Starts a replication cycle now, out of turn");
    if button.put(ui, at(1.0, 0.0)).clicked() {
        pass.out.push(Command::ShadowSync {
            shadow: shadow.id.clone(),
        });
    }
    if Button::new("Open the VM", Look::Secondary)
        .put(ui, at(0.0, 1.0))
        .clicked()
    {
        pass.go.push(Go::OpenVm(shadow.vm.clone()));
    }
    let mut button = Button::new("Retire shadow", Look::Danger).off(off);
    button.tooltip =
        Some("Works out the plan that drains and removes it; nothing runs before you approve it");
    if button.put(ui, at(1.0, 1.0)).clicked() {
        pass.out.push(Command::ShadowRetire {
            shadow: shadow.id.clone(),
        });
    }
}
