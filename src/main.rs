use std::process::ExitCode;

use shadowcast::{cli, engine::thread::Session, problem::Problem, ui};

fn main() -> ExitCode {
    cli::run(window)
}

fn window(session: Session) -> Result<(), Problem> {
    ui::run(session, ui::UiOptions::default())
}
