//! `pools`: where VMs and shadows can be placed.

use clap::Args;

use super::{
    context::Context,
    json,
    output::{self, Listing},
};
use crate::{inventory::Storage, problem::Problem};

/// List the pools with what is free in them
#[derive(Args)]
pub struct Pools {
    #[arg(long)]
    json: bool,
}

impl Pools {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&json::pools(&now));
        }
        let mut listing = Listing::new(&[
            "id",
            "role",
            ">hosts",
            ">cpus",
            ">cpu used",
            ">contention",
            ">memory",
            ">free",
            "storage free",
        ]);
        for pool in now.pools.iter() {
            listing.row([
                (&pool.id).into(),
                output::word(&pool.role).into(),
                pool.hosts.into(),
                pool.cpus.into(),
                output::or_dash(pool.cpu_used.map(output::percent)).into(),
                output::or_dash(pool.contention.map(output::percent)).into(),
                output::bytes(pool.memory_bytes).into(),
                output::bytes(pool.memory_free_bytes).into(),
                storage_text(&pool.storage).into(),
            ]);
        }
        listing.show_or("No pools. Connect a platform: `shadowcast source add URI`.")
    }
}

fn storage_text(storage: &[Storage]) -> String {
    let parts: Vec<String> = (storage.iter())
        .map(|one| format!("{} {}", one.name, output::bytes(one.available_bytes)))
        .collect();
    parts.join(", ")
}
