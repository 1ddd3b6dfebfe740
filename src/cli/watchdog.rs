//! `watchdog thaw`: the engine's helper process that thaws a guest should the engine die while it is frozen.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::{hypervisor::libvirt, problem::Problem};

/// Started by the engine, never by hand
#[derive(Subcommand)]
pub enum Watchdog {
    Thaw(Thaw),
}

/// Thaw a guest's file systems unless told in time that it is done
#[derive(Args)]
pub struct Thaw {
    #[arg(long)]
    uri: String,
    #[arg(long)]
    uuid: String,
    /// In seconds
    #[arg(long, value_parser = seconds)]
    after: Duration,
}

impl Watchdog {
    pub fn run(&self) -> Result<(), Problem> {
        let Self::Thaw(verb) = self;
        libvirt::run_watchdog(&verb.uri, &verb.uuid, verb.after).map_err(|error| {
            Problem::failed(
                "The guest was not thawed.",
                error.to_string(),
                format!(
                    "Thaw it by hand: virsh -c {} domfsthaw {}",
                    verb.uri, verb.uuid
                ),
            )
        })
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .map(Duration::from_secs)
        .map_err(|_| "a whole number of seconds".to_owned())
}
