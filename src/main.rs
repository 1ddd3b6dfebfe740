//! Until the command line stands: only the lab's load generator, which a lab starts as `lab load --dir DIR`.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["lab", "load", "--dir", dir] => match shadowcast::lab::run_load(Path::new(dir)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problem) => {
                eprintln!("{problem}");
                ExitCode::FAILURE
            }
        },
        _ => ExitCode::from(2),
    }
}
