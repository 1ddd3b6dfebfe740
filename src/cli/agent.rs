//! `agent`: the engine without a window.

use clap::Args;

use super::{context::Context, output};
use crate::{engine::thread, problem::Problem};

/// Run the engine without a window; a console started beside it attaches to it
///
/// Replication, gates and proposals go on while it runs. Ends on Ctrl-C or SIGTERM; what is under way is resumed or
/// undone at the next start.
#[derive(Args)]
pub struct Agent;

impl Agent {
    pub fn run(context: &Context) -> Result<(), Problem> {
        output::note(format!(
            "The engine runs on {}.",
            context.data_dir().display()
        ));
        thread::serve(&context.options)
    }
}
