//! What an approval changes, before and after.

use eframe::egui::{Color32, Ui};

use crate::{
    engine::snapshot::Snapshot,
    shadow::{Proposal, Step},
    ui::{format, theme, words},
    units::printable,
};

/// One line of what changes.
pub(super) struct Change {
    pub(super) what: String,
    pub(super) of: String,
    pub(super) now: String,
    pub(super) after: String,
    pub(super) ink: Color32,
}

/// What is different afterwards, as far as the plan says.
pub(super) fn differences(proposal: &Proposal, now: &Snapshot, ui: &Ui) -> Vec<Change> {
    let tokens = theme::of(ui);
    let mut changes = Vec::new();
    if let Some(share) = words::share_step(&proposal.plan) {
        // A ramp has several steps: before it is what the first one finds.
        let before = words::share_before(&proposal.plan);
        let backend = printable(&share.backend);
        changes.push(Change {
            what: "Traffic on the original".to_owned(),
            of: backend.clone(),
            now: format::percent(1.0 - before),
            after: format::percent(1.0 - share.share),
            ink: tokens.accent,
        });
        changes.push(Change {
            what: "Traffic on the shadow".to_owned(),
            of: backend,
            now: format::percent(before),
            after: format::percent(share.share),
            ink: tokens.cast,
        });
    }
    let holds = proposal.plan.steps.iter().filter_map(|step| match step {
        Step::Reserve { hold } => Some((hold, 1.0)),
        Step::Release { hold } => Some((hold, -1.0)),
        _ => None,
    });
    for (hold, sign) in holds {
        let Some(pool) = now.pools.iter().find(|pool| pool.id == hold.pool) else {
            continue;
        };
        let name = printable(&pool.name);
        let all = pool.memory_bytes.max(1) as f64;
        let used = pool.memory_bytes.saturating_sub(pool.memory_free_bytes) as f64;
        changes.push(Change {
            what: "Memory in use".to_owned(),
            of: name,
            now: format::percent(used / all),
            after: format::percent((used + sign * hold.memory_bytes as f64) / all),
            ink: tokens.hi,
        });
        let planned = proposal.placement.as_ref().map(|place| &place.storage);
        if let Some(storage) = pool
            .storage
            .iter()
            .find(|storage| planned.is_none_or(|planned| storage.name == *planned))
        {
            let all = storage.capacity_bytes.max(1) as f64;
            let used = storage
                .capacity_bytes
                .saturating_sub(storage.available_bytes) as f64;
            changes.push(Change {
                what: "Space in use".to_owned(),
                of: printable(&storage.name),
                now: format::percent(used / all),
                after: format::percent((used + sign * hold.disk_bytes as f64) / all),
                ink: tokens.hi,
            });
        }
    }
    let sizing = proposal.sizing;
    if sizing.share > 0.0 {
        let metric = words::metric(proposal);
        changes.push(Change {
            what: format!("{} peak ahead", format::metric(metric)),
            of: printable(&proposal.plan.vm_name),
            now: format::value(metric, sizing.peak_no_action),
            after: format::value(metric, sizing.peak_primary),
            ink: tokens.ok,
        });
    }
    changes
}
