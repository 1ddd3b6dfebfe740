//! `freeze` and `thaw`: all automation at once.

use clap::Args;

use super::context::{Context, ask_and_say, operator};
use crate::{engine::command::Command, problem::Problem};

/// Stop all automation at once: cycles and operations, but not a gate's return to zero
#[derive(Args)]
pub struct Freeze;

/// Let automation go on
#[derive(Args)]
pub struct Thaw;

impl Freeze {
    pub fn run(context: &Context) -> Result<(), Problem> {
        set(context, true)
    }
}

impl Thaw {
    pub fn run(context: &Context) -> Result<(), Problem> {
        set(context, false)
    }
}

fn set(context: &Context, frozen: bool) -> Result<(), Problem> {
    let session = context.open()?;
    ask_and_say(
        &session.handle,
        Command::Freeze {
            frozen,
            by: operator(),
        },
    )
}
