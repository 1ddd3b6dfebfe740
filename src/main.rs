use std::process::ExitCode;

use shadowcast::{cli, engine::thread::Session, hypervisor::libvirt, problem::Problem, ui};

fn main() -> ExitCode {
    // Not for people: a frozen guest's watchdog is this program, started by the engine.
    if let Some(outcome) = libvirt::watchdog_verb(std::env::args().skip(1)) {
        return match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    cli::run(window)
}

fn window(session: Session) -> Result<(), Problem> {
    ui::run(session, ui::UiOptions::default())
}
