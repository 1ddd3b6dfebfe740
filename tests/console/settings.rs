//! The screen of settings: a figure, what it would do, and keeping it.

use super::*;

const FIGURE: &str = "health.threshold: Health under";

fn open_settings(theme: Theme, size: [f32; 2]) -> Window {
    let mut window = open_as(fleet(), theme, size);
    key(&mut window, Key::Num8);
    window
}

/// As a screen reader sets it.
fn set(window: &mut Window, figure: &str, value: f64) {
    window.get_by_label(figure).set_value_accesskit(value);
    settle(window);
}

#[test]
fn a_figure_shows_what_it_would_do_and_holds_only_when_it_is_kept() {
    let mut window = open_settings(Theme::Dark, [1440.0, 900.0]);
    let off =
        |window: &Window, name: &str| window.get_by_label(name).accesskit_node().is_disabled();
    assert!(off(&window, "Keep settings") && off(&window, "Discard"));
    set(&mut window, FIGURE, 75.0);
    assert!(shows(&window, "50 → 75"));
    assert!(shows(&window, "cart-api-03: 88, ok then 44, critical"));
    assert!(commands(&mut window).is_empty(), "nothing is kept yet");
    press(&mut window, "Keep settings");
    let sent = commands(&mut window);
    let [Command::SettingsSet { was, text, by }] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(was, shadowcast::policy::DEFAULT_TOML);
    assert!(text.contains("threshold = 75 "), "{text}");
    assert_eq!(by, "mo");
    assert!(off(&window, "Keep settings"), "it is kept");
}

#[test]
fn a_draft_is_discarded_and_a_refusal_keeps_it() {
    let mut window = open_settings(Theme::Dark, [1440.0, 900.0]);
    set(&mut window, FIGURE, 75.0);
    press(&mut window, "Discard");
    assert!(!shows(&window, "50 → 75"));
    set(&mut window, FIGURE, 76.0);
    window.state_mut().engine.as_mut().unwrap().replies = vec![Err(Problem::refused(
        "The settings were not changed.",
        "they were changed by somebody else meanwhile",
        "Look at them again.",
    ))];
    press(&mut window, "Keep settings");
    assert!(shows(&window, "changed by somebody else meanwhile"));
    assert!(shows(&window, "50 → 76"), "the draft is still there");
}

#[test]
fn a_figure_that_may_not_be_says_why() {
    let mut window = open_settings(Theme::Dark, [1440.0, 900.0]);
    set(&mut window, "health.states.watch_below: Watch under", 10.0);
    assert!(shows(&window, "health.states"), "the key is named");
    let keep = window.get_by_label("Keep settings");
    assert!(keep.accesskit_node().is_disabled());
}

fn look(theme: Theme, size: [f32; 2], tag: &str) {
    let mut window = open_settings(theme, size);
    set(&mut window, FIGURE, 75.0);
    window.snapshot_options(format!("settings_{tag}"), &tolerant());
}

#[test]
fn settings_look_as_they_did_in_the_dark() {
    look(Theme::Dark, [1440.0, 900.0], "dark");
}

#[test]
fn settings_look_as_they_did_in_the_light() {
    look(Theme::Light, [1280.0, 720.0], "light");
}
