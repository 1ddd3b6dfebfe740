//! `history stats` and `history verify`: what is kept, what it costs, and whether it is what was written.

use clap::Args;

use super::super::{
    context::{Context, unexpected},
    output::{self, Listing},
};
use crate::{
    engine::command::{Answer, Command, HistoryStats},
    problem::Problem,
};

/// Show what the history holds, how long it is kept, and what that costs
#[derive(Args)]
pub struct Stats {
    #[arg(long)]
    json: bool,
}

impl Stats {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let session = context.open()?;
        let stats = match session.handle.ask(Command::HistoryStats)? {
            Answer::HistoryStats { stats } => stats,
            other => return Err(unexpected(&other)),
        };
        if self.json {
            return output::json(&stats);
        }
        show(&stats)
    }
}

fn show(stats: &HistoryStats) -> Result<(), Problem> {
    let cost = stats.cost;
    let full = [
        cost.samples_bytes,
        cost.five_minutes_bytes,
        cost.hours_bytes,
    ];
    let mut listing = Listing::new(&[
        "kept",
        ">step",
        ">days",
        ">sealed",
        ">values",
        ">bytes/value",
        ">open",
        "from",
        ">when full",
    ]);
    for (tier, full) in stats.tiers.iter().zip(full) {
        listing.row([
            output::word(&tier.tier).into(),
            output::seconds(u64::from(tier.step_seconds)).into(),
            tier.keep_days.to_string().into(),
            output::bytes(tier.sealed_bytes).into(),
            tier.sealed_values.to_string().into(),
            output::or_dash(tier.bytes_per_value().map(|each| format!("{each:.2}"))).into(),
            output::bytes(tier.open_bytes).into(),
            output::or_dash(tier.oldest.map(output::moment)).into(),
            output::bytes(full).into(),
        ]);
    }
    listing.show()?;
    output::line(&format!(
        "{} of {} VMs in a file of {}; at most {}.",
        output::bytes(stats.used_bytes),
        stats.vms,
        output::bytes(stats.file_bytes),
        output::bytes(stats.max_bytes),
    ))?;
    let cap = if cost.is_capped {
        ": over the cap, so the oldest samples will go before their time. Raise history.max_gigabytes or keep less"
    } else {
        ""
    };
    output::line(&format!(
        "Kept as the settings say, these VMs come to {}{cap}.",
        output::bytes(cost.total_bytes)
    ))?;
    if stats.quarantined > 0 {
        output::note(format!(
            "! {} damaged rows are in quarantine; their values are gaps.",
            stats.quarantined
        ));
    }
    for name in &stats.set_aside {
        output::note(format!(
            "! {name} was damaged and moved aside; delete it when nobody wants to look at it."
        ));
    }
    Ok(())
}

/// Read every row of the history and check that it is what was written
#[derive(Args)]
pub struct Verify {
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let session = context.open()?;
        let waiting = output::spinner("reading every row");
        let answer = session.handle.ask(Command::HistoryVerify);
        waiting.finish_and_clear();
        let verified = match answer? {
            Answer::HistoryVerified { verified } => verified,
            other => return Err(unexpected(&other)),
        };
        if self.json {
            output::json(&verified)?;
        } else {
            output::line(&format!("{} rows were read.", verified.rows))?;
        }
        if verified.damaged == 0 && verified.findings.is_empty() {
            return Ok(());
        }
        let mut why = format!(
            "{} rows were damaged and are in quarantine now; their values are gaps.",
            verified.damaged
        );
        for finding in &verified.findings {
            why += &format!(" SQLite: {finding}.");
        }
        Err(Problem::failed(
            "The history is not whole.",
            why,
            "Check the disk. Bring what is missing again: `shadowcast history import` or `history backfill`.",
        ))
    }
}
