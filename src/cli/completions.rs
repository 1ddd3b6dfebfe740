//! `completions` and `man`: made from the same definitions as the verbs themselves.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, output};
use crate::problem::Problem;

/// Print completions for a shell
#[derive(Args)]
pub struct Completions {
    shell: Shell,
}

impl Completions {
    pub fn run(&self) -> Result<(), Problem> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "shadowcast", &mut script);
        output::write(&String::from_utf8_lossy(&script))
    }
}

/// Print the manual page, or write the pages of all verbs
#[derive(Args)]
pub struct Man {
    /// Write one page for each verb into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    pub fn run(&self) -> Result<(), Problem> {
        let not_written = |error: std::io::Error| {
            Problem::failed(
                "The manual was not written.",
                error.to_string(),
                "Give a folder that can be written to.",
            )
        };
        if let Some(dir) = &self.dir {
            std::fs::create_dir_all(dir).map_err(not_written)?;
            return clap_mangen::generate_to(Cli::command(), dir).map_err(not_written);
        }
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut page)
            .map_err(not_written)?;
        output::write(&String::from_utf8_lossy(&page))
    }
}
