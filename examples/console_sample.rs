//! Opens the console on a made-up fleet, to look at it without an engine.
//! `cargo run --example console_sample -- [light] [first-run] [1280x720]`

#[path = "../tests/support/sample.rs"]
mod sample;

use shadowcast::{
    engine::thread::Session,
    ui::{ThemeChoice, UiOptions, run},
};

fn main() -> Result<(), shadowcast::problem::Problem> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    let snapshot = if has("first-run") {
        sample::first_run()
    } else {
        sample::fleet(10_000)
    };
    let (handle, engine) = sample::stand_in(snapshot);
    std::thread::spawn(move || engine.serve());
    run(
        Session {
            handle,
            attached: false,
        },
        UiOptions {
            theme: if has("light") {
                ThemeChoice::Light
            } else {
                ThemeChoice::Dark
            },
            zone: jiff::tz::TimeZone::UTC,
            size: if has("1280x720") {
                [1280.0, 720.0]
            } else {
                [1440.0, 900.0]
            },
            ..UiOptions::default()
        },
    )
}
