//! History from a file: shown before it is taken.

use super::*;

fn open_import(table: &str) -> Window {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("load.csv");
    std::fs::write(&file, table).unwrap();
    let mut window = open_with(fleet(), Theme::Dark, [1440.0, 1400.0], move |options| {
        options.files = Arc::new(move |_| {
            // The folder lives as long as the window may ask.
            Some(folder.path().join("load.csv"))
        });
    });
    key(&mut window, Key::Num7);
    press(&mut window, "Import history…");
    window
}

/// Frames until the file has been read on its thread.
fn await_words(window: &mut Window, words: &str) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !shows(window, words) {
        assert!(std::time::Instant::now() < deadline, "never: {words}");
        settle(window);
    }
}

#[test]
fn a_file_is_shown_before_it_is_taken() {
    let mut window = open_import(
        "vm,metric,at,value\n\
         checkout-api-07,cpu,2026-11-20T10:00:00Z,0.4\n\
         checkout-api-07,cpu,2026-11-20T10:05:00Z,0.5\n\
         nobody-9,cpu,2026-11-20T10:00:00Z,0.5\n\
         checkout-api-07,cpu,then,0.5\n",
    );
    await_words(&mut window, "3 samples in 2 series of 2 VMs");
    assert!(shows(&window, "no VM is called so: nobody-9"));
    assert!(shows(&window, "cannot be read: line 5"));
    assert!(commands(&mut window).is_empty(), "nothing is taken yet");
    window.state_mut().engine.as_mut().unwrap().replies = vec![Ok(Answer::Imported {
        series: 1,
        samples: 2,
        unknown_vms: vec!["nobody-9".to_owned()],
    })];
    press(&mut window, "Take it in");
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::HistoryImport { rows }] if rows.len() == 2),
        "{sent:?}"
    );
    assert!(shows(&window, "2 samples in 1 series taken from load.csv"));
}

#[test]
fn a_file_that_is_no_history_says_why_and_changes_nothing() {
    let mut window = open_import("this,is\nno,history\n");
    await_words(&mut window, "The history in load.csv was not imported");
    assert!(commands(&mut window).is_empty());
    assert!(
        !window
            .get_by_label("Import history…")
            .accesskit_node()
            .is_disabled(),
        "another can be chosen"
    );
}
