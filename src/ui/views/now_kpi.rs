//! The strip of figures over Now.

use eframe::egui::{Color32, Pos2, Rect, Ui, pos2, vec2};

use crate::{
    engine::snapshot::ShadowState,
    shadow::{ProposalState, Urgency},
    ui::{
        facts::SLOTS,
        format,
        pass::Pass,
        theme::{self, Tokens},
        widgets::{
            bars,
            status::{self, Tone},
            text,
        },
        words,
    },
};

/// Shares of the width: decisions, health, crossings, shadows, spare.
const SHARES: [f32; 5] = [0.212, 0.280, 0.192, 0.146, 0.170];

pub fn ui(ui: &mut Ui, rect: Rect, pass: &Pass<'_>) {
    let tokens = theme::of(ui);
    ui.painter().rect_filled(rect, 0, tokens.bg);
    text::hline(
        ui,
        rect.left()..=rect.right(),
        rect.bottom() - 1.0,
        tokens.line,
    );
    let mut x = rect.left();
    for (index, share) in SHARES.into_iter().enumerate() {
        let cell = Rect::from_min_size(
            pos2(x, rect.top()),
            vec2(rect.width() * share, rect.height() - 1.0),
        );
        x = cell.right();
        if index > 0 {
            text::vline(
                ui,
                cell.left(),
                cell.top() + 16.0..=cell.bottom() - 16.0,
                tokens.line,
            );
        }
        let inside = cell.shrink2(vec2(20.0, 0.0));
        match index {
            0 => decisions(ui, inside, pass, tokens),
            1 => health(ui, inside, pass, tokens),
            2 => crossings(ui, inside, pass, tokens),
            3 => shadows(ui, inside, pass, tokens),
            _ => spare(ui, inside, pass, tokens),
        }
    }
}

fn label(ui: &mut Ui, cell: Rect, words: &str, tokens: &Tokens) {
    text::fit(
        ui,
        cell.left(),
        cell.top() + 22.0,
        cell.width(),
        words,
        theme::regular(12.5),
        tokens.dim,
    );
}

fn figure(ui: &mut Ui, cell: Rect, words: &str, tokens: &Tokens) -> f32 {
    text::left(
        ui,
        cell.left(),
        cell.top() + 52.0,
        words,
        theme::semibold(28.0),
        tokens.hi,
    )
    .rect
    .right()
}

/// A short line beside a figure, with the shape of its status where it has one.
fn aside(ui: &mut Ui, at: Pos2, right: f32, tone: Option<Tone>, words: &str, ink: Color32) {
    let tokens = theme::of(ui);
    let room = right - at.x;
    if room < 30.0 {
        return;
    }
    let font = if tone.is_some() {
        theme::medium(12.5)
    } else {
        theme::regular(12.5)
    };
    let mut x = at.x;
    if let Some(tone) = tone {
        status::paint(ui.painter(), pos2(x + 5.0, at.y), 11.0, tone, tokens);
        x += 17.0;
    }
    text::fit(ui, x, at.y, right - x, words, font, ink);
}

fn decisions(ui: &mut Ui, cell: Rect, pass: &Pass<'_>, tokens: &Tokens) {
    label(ui, cell, "Needs a decision", tokens);
    let open: Vec<_> = pass
        .now
        .proposals
        .iter()
        .filter(|proposal| proposal.state == ProposalState::Open)
        .collect();
    let x = figure(ui, cell, &open.len().to_string(), tokens) + 14.0;
    let urgent = open
        .iter()
        .filter(|proposal| proposal.need.urgency == Urgency::Now)
        .count();
    let (tone, words) = match (open.len(), urgent) {
        (0, _) => (Tone::Ok, "nothing waits".to_owned()),
        (_, 0) => (Tone::Ok, "none within 30 min".to_owned()),
        (_, urgent) => (
            Tone::Critical,
            format!(
                "{urgent} {} within 30 min",
                if urgent == 1 { "crosses" } else { "cross" }
            ),
        ),
    };
    aside(
        ui,
        pos2(x, cell.top() + 42.0),
        cell.right(),
        Some(tone),
        &words,
        tone.colour(tokens),
    );
    if let Some(oldest) = open.iter().map(|proposal| proposal.created_at).min() {
        aside(
            ui,
            pos2(x + 17.0, cell.top() + 60.0),
            cell.right(),
            None,
            &format!("oldest has waited {}", pass.clock.ago(oldest)),
            tokens.dim,
        );
    }
}

fn health(ui: &mut Ui, cell: Rect, pass: &Pass<'_>, tokens: &Tokens) {
    let facts = pass.facts;
    label(
        ui,
        cell,
        &format!("Fleet health, {} VMs", format::count(pass.now.vms.len())),
        tokens,
    );
    let parts = [
        (facts.ok, Tone::Ok, "ok"),
        (facts.watch, Tone::Watch, "watch"),
        (facts.risk, Tone::Risk, "risk"),
        (facts.critical, Tone::Critical, "crit"),
        (facts.unknown, Tone::None, "no data"),
    ];
    let bar = Rect::from_min_size(
        pos2(cell.left(), cell.top() + 36.0),
        vec2(cell.width(), 8.0),
    );
    bars::stacked(
        ui.painter(),
        bar,
        &parts.map(|(count, tone, _)| (count, tone.colour(tokens))),
    );
    let mut x = cell.left();
    let y = cell.top() + 61.0;
    let wide: f32 = parts
        .iter()
        .map(|(count, _, word)| {
            let count = format::count(*count as usize);
            text::width(ui, &count, theme::mono(12.0))
                + text::width(ui, word, theme::regular(12.0))
                + 32.0
        })
        .sum();
    // The words go first; the shapes say the same.
    let narrow = wide - 13.0 > cell.width();
    for (count, tone, word) in parts {
        if narrow && count == 0 {
            continue;
        }
        if x > cell.right() - 24.0 {
            break;
        }
        status::paint(ui.painter(), pos2(x + 4.5, y), 9.0, tone, tokens);
        let number = text::left(
            ui,
            x + 14.0,
            y,
            &format::count(count as usize),
            theme::mono(12.0),
            tokens.text,
        )
        .on_hover_text(tone.word());
        x = number.rect.right();
        if !narrow {
            x = text::left(ui, x + 5.0, y, word, theme::regular(12.0), tokens.dim)
                .rect
                .right();
        }
        x += 13.0;
    }
}

fn crossings(ui: &mut Ui, cell: Rect, pass: &Pass<'_>, tokens: &Tokens) {
    let hours = pass.now.horizon_seconds.div_ceil(3600);
    label(
        ui,
        cell,
        &format!("To cross a limit, next {hours} h"),
        tokens,
    );
    let count = pass.facts.crossing.len();
    let right = figure(ui, cell, &format::count(count), tokens);
    let word = text::left(
        ui,
        right + 8.0,
        cell.top() + 56.0,
        if count == 1 { "VM" } else { "VMs" },
        theme::regular(13.0),
        tokens.dim,
    );
    let room = cell.right() - word.rect.right() - 16.0;
    if room > 50.0 {
        let chart = Rect::from_min_max(
            pos2(cell.right() - room.min(142.0), cell.top() + 36.0),
            pos2(cell.right(), cell.top() + 66.0),
        );
        let slot = pass.now.horizon_seconds as usize / SLOTS;
        bars::columns(ui.painter(), chart, &pass.facts.slots, |index| {
            match index * slot {
                0..1800 => tokens.critical,
                1800..14_400 => tokens.risk,
                _ => tokens.cast.gamma_multiply(0.75),
            }
        });
    }
}

fn shadows(ui: &mut Ui, cell: Rect, pass: &Pass<'_>, tokens: &Tokens) {
    label(ui, cell, "Shadows", tokens);
    let shadows = &pass.now.shadows;
    let x = figure(ui, cell, &shadows.len().to_string(), tokens) + 16.0;
    let serving = shadows
        .iter()
        .filter(|shadow| shadow.traffic_share > 0.0)
        .count();
    let stalled = shadows
        .iter()
        .filter(|shadow| shadow.state == ShadowState::Stalled)
        .count();
    let in_step = shadows
        .iter()
        .filter(|shadow| shadow.state == ShadowState::Replicating)
        .count();
    let (words, ink) = if stalled > 0 {
        (format!("{stalled} stalled"), tokens.critical)
    } else {
        (format!("{in_step} in step"), tokens.cast)
    };
    let top = pos2(x, cell.top() + 42.0);
    aside(ui, top, cell.right(), None, &words, ink);
    aside(
        ui,
        pos2(x, cell.top() + 60.0),
        cell.right(),
        None,
        &format!("{serving} taking traffic"),
        tokens.dim,
    );
}

fn spare(ui: &mut Ui, cell: Rect, pass: &Pass<'_>, tokens: &Tokens) {
    label(ui, cell, "Spare memory for shadows", tokens);
    let pools: Vec<_> = pass
        .now
        .pools
        .iter()
        .filter(|pool| pool.role.takes_shadows() && pool.memory_bytes > 0)
        .collect();
    if pools.is_empty() {
        let x = figure(ui, cell, "0 %", tokens) + 14.0;
        aside(
            ui,
            pos2(x, cell.top() + 52.0),
            cell.right(),
            None,
            "no pool takes shadows",
            tokens.dim,
        );
        return;
    }
    let free: u64 = pools.iter().map(|pool| pool.memory_free_bytes).sum();
    let all: u64 = pools.iter().map(|pool| pool.memory_bytes).sum();
    let x = figure(ui, cell, &format::percent(free as f64 / all as f64), tokens) + 14.0;
    let part =
        |pool: &crate::inventory::Pool| pool.memory_free_bytes as f64 / pool.memory_bytes as f64;
    let Some(tightest) = pools.iter().min_by(|a, b| part(a).total_cmp(&part(b))) else {
        return;
    };
    let share = part(tightest);
    let tone = match share {
        ..0.05 => Tone::Risk,
        ..0.15 => Tone::Watch,
        _ => Tone::Ok,
    };
    aside(
        ui,
        pos2(x, cell.top() + 42.0),
        cell.right(),
        Some(tone),
        &format!("least {}", format::percent(share)),
        tone.colour(tokens),
    );
    aside(
        ui,
        pos2(x + 17.0, cell.top() + 60.0),
        cell.right(),
        None,
        &format!("in {}", words::pool(pass.now, &tightest.id)),
        tokens.dim,
    );
}
