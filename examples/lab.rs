//! The lab by itself: `cargo run --example lab -- up|status|surge FACTOR|history|down [--dir DIR]`.

use std::{env, io, path::PathBuf, process::ExitCode};

use shadowcast::{
    lab::{self, LabOptions},
    problem::Problem,
    units::Timestamp,
};

fn main() -> ExitCode {
    let mut words: Vec<String> = env::args().skip(1).collect();
    // The load generator is started as `lab load --dir DIR`.
    if words.first().is_some_and(|word| word == "lab") {
        words.remove(0);
    }
    let dir = words
        .iter()
        .position(|word| word == "--dir")
        .and_then(|index| words.get(index + 1))
        .map_or_else(lab::default_dir, PathBuf::from);
    match run(&words, dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::from(problem.kind.exit_code())
        }
    }
}

fn run(words: &[String], dir: PathBuf) -> Result<(), Problem> {
    let verb = words.first().map_or("", String::as_str);
    let usage = |why: String| {
        Problem::usage(
            "Nothing was done.",
            why,
            "up|status|surge FACTOR|history|load|down",
        )
    };
    match verb {
        "up" => {
            let mut options = LabOptions::new(dir).map_err(|error| usage(error.to_string()))?;
            options.old_disk = words.iter().any(|word| word == "--old-disk");
            let status = lab::up(&options, &|step| eprintln!("{step}"))?;
            print_json(&status)
        }
        "status" => print_json(&lab::status(&dir)?),
        "surge" => {
            let factor = words
                .get(1)
                .and_then(|word| word.parse().ok())
                .unwrap_or(lab::DEFAULT_SURGE);
            lab::surge(&dir, factor, None)
        }
        "history" => {
            let now = Timestamp(jiff::Timestamp::now().as_millisecond());
            lab::history_csv(&dir, io::stdout().lock(), now).map(drop)
        }
        "load" => lab::run_load(&dir),
        "down" => lab::down(&dir),
        other => Err(usage(format!("{other:?} is no verb."))),
    }
}

fn print_json(status: &lab::LabStatus) -> Result<(), Problem> {
    let text = serde_json::to_string_pretty(status).map_err(|error| {
        Problem::failed(
            "The status was not printed.",
            error.to_string(),
            "Report this.",
        )
    })?;
    println!("{text}");
    Ok(())
}
