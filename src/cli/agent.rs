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
        let options = context.options()?;
        output::note(format!("engine on {}", options.data_dir.display()));
        thread::serve(options)
    }
}
