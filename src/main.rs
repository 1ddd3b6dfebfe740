//! Chooses the face: a verb of the command line, or the console.

use std::process::ExitCode;

use shadowcast::{
    cli,
    ui::{self, UiOptions},
};

fn main() -> ExitCode {
    cli::run(|session| ui::run(session, UiOptions::default()))
}
