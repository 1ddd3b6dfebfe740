use std::process::ExitCode;

use shadowcast::{cli, engine::thread::Session, problem::Problem};

fn main() -> ExitCode {
    cli::run(window)
}

fn window(_session: Session) -> Result<(), Problem> {
    Err(Problem::failed(
        "The console was not opened.",
        "this build has no window",
        "Use a verb; `shadowcast --help` lists them.",
    ))
}
