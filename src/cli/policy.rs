//! `policy show`: the settings in force.

use std::io::ErrorKind;

use clap::{Args, Subcommand};

use super::{context::Context, output};
use crate::{policy::Settings, problem::Problem};

/// Thresholds, limits, gates and intervals
#[derive(Subcommand)]
pub enum Policy {
    Show(Show),
}

/// Show the settings in force, with the file's name on stderr
#[derive(Args)]
pub struct Show {
    #[arg(long)]
    json: bool,
}

impl Policy {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::Show(verb) => verb.run(context),
        }
    }
}

impl Show {
    /// Needs no engine: the file is all there is.
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (settings, told) = read(context)?;
        output::note(told);
        if self.json {
            return output::json(&settings);
        }
        let text = toml::to_string(&settings).map_err(|error| {
            Problem::failed(
                "The settings were not shown.",
                error.to_string(),
                "Ask for them with --json.",
            )
        })?;
        output::write(&text)
    }
}

/// The settings in force, and where they come from.
pub(super) fn read(context: &Context) -> Result<(Settings, String), Problem> {
    let file = &context.options()?.settings_file;
    let name = file.display().to_string();
    match std::fs::read_to_string(file) {
        Ok(text) => Ok((Settings::parse(&text, &name)?, format!("from {name}"))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok((
            Settings::default(),
            format!("defaults; {name} is not there yet"),
        )),
        Err(error) => Err(Problem::failed(
            format!("The settings in {name} were not read."),
            error.to_string(),
            "Make the file readable, or name another with --config.",
        )),
    }
}
