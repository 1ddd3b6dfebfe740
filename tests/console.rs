//! The whole console, driven by the names that assistive technology hears: what is pressed becomes the command that the
//! engine gets. The engine is a stand-in that writes commands down; each frame answers what was asked before it.

#[path = "support/sample/mod.rs"]
mod sample;

#[path = "console/capacity.rs"]
mod capacity;
#[path = "console/history.rs"]
mod history;
#[path = "console/promotion.rs"]
mod promotion;
#[path = "console/reserved.rs"]
mod reserved;
#[path = "console/settings.rs"]
mod settings;

use std::sync::Arc;

use eframe::egui::{self, Key, Modifiers, Theme, accesskit::Role, pos2, vec2};
use egui_kittest::{
    Harness, SnapshotOptions,
    kittest::{NodeT as _, Queryable as _},
};
use sample::StandIn;
use shadowcast::{
    calendar::{Event, Target, Window as Occurrence},
    engine::{
        command::{Answer, Command},
        snapshot::{EventView, OperationState, Snapshot},
    },
    problem::Problem,
    ui::{App, ThemeChoice, UiOptions},
    units::SourceName,
};

/// The window with its engine. `None` once the engine has gone.
struct Console {
    app: App,
    engine: Option<StandIn>,
}

impl eframe::App for Console {
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        if let Some(engine) = &mut self.engine {
            engine.answer();
        }
        eframe::App::ui(&mut self.app, ui, frame);
    }
}

type Window = Harness<'static, Console>;

fn open_as(snapshot: Snapshot, theme: Theme, size: [f32; 2]) -> Window {
    open_with(snapshot, theme, size, |_| {})
}

fn open_with(
    snapshot: Snapshot,
    theme: Theme,
    size: [f32; 2],
    change: impl FnOnce(&mut UiOptions),
) -> Window {
    let (handle, engine) = sample::stand_in(snapshot);
    let mut options = UiOptions {
        theme: match theme {
            Theme::Dark => ThemeChoice::Dark,
            Theme::Light => ThemeChoice::Light,
        },
        by: "mo".to_owned(),
        zone: jiff::tz::TimeZone::UTC,
        ..UiOptions::default()
    };
    change(&mut options);
    let mut window = Harness::builder()
        .with_size(size)
        .with_pixels_per_point(1.0)
        .with_max_steps(64)
        .with_theme(theme)
        .build_eframe(move |cc| Console {
            app: App::new(&cc.egui_ctx, handle, options),
            engine: Some(engine),
        });
    settle(&mut window);
    window
}

fn open(snapshot: Snapshot) -> Window {
    open_as(snapshot, Theme::Dark, [1440.0, 900.0])
}

fn fleet() -> Snapshot {
    sample::fleet(1_000)
}

/// Frames until every answer has come and nothing moves; checks the names of all widgets as well.
fn settle(window: &mut Window) {
    window.run_steps(4);
    window.run();
}

fn commands(window: &mut Window) -> Vec<Command> {
    settle(window);
    let engine = window.state_mut().engine.as_mut().expect("the engine runs");
    engine.answer();
    std::mem::take(&mut engine.commands)
}

fn publish(window: &mut Window, change: impl FnOnce(&mut Snapshot)) {
    let engine = window.state().engine.as_ref().expect("the engine runs");
    engine.publish(change);
    settle(window);
}

fn press(window: &mut Window, name: &str) {
    window.get_by_label(name).click();
    settle(window);
}

fn key(window: &mut Window, key: Key) {
    window.key_press(key);
    settle(window);
}

/// Types into the field of that name.
fn write(window: &mut Window, field: &str, text: &str) {
    window.get_by_label(field).focus();
    window.step();
    window.get_by_label(field).type_text(text);
    settle(window);
}

fn shows(window: &Window, words: &str) -> bool {
    window.query_all_by_label_contains(words).next().is_some()
}

/// What `?` types on a keyboard where it is a key of its own.
fn type_text(window: &mut Window, text: &str) {
    window.event(egui::Event::Text(text.to_owned()));
    settle(window);
}

#[test]
fn a_proposal_is_approved_by_mouse_with_the_digest_that_was_shown() {
    let mut window = open(fleet());
    press(&mut window, "Review and approve");
    assert!(shows(&window, "Approve shadow for checkout-api-07"));
    assert!(
        commands(&mut window).is_empty(),
        "nothing is sent before Approve"
    );
    press(&mut window, "Approve");
    let sent = commands(&mut window);
    let proposal = sample::proposal(
        "checkout-api-07",
        0.4,
        shadowcast::shadow::Urgency::Now,
        Some((11, 0.96)),
        "",
    );
    assert_eq!(
        sent,
        [Command::Approve {
            proposal: proposal.id,
            digest: sample::digest("checkout-api-07", 0.4),
            by: "mo".to_owned(),
        }]
    );
}

#[test]
fn a_proposal_is_approved_by_keys() {
    let mut window = open(fleet());
    key(&mut window, Key::J);
    key(&mut window, Key::A);
    assert!(shows(&window, "Approve shadow for ledger-db-02"));
    // Keys of the screen behind do nothing while the dialog is open.
    key(&mut window, Key::S);
    key(&mut window, Key::Num2);
    window.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::Approve { digest, .. }]
            if *digest == sample::digest("ledger-db-02", 0.0)),
        "{sent:?}"
    );
}

#[test]
fn escape_leaves_the_dialog_without_a_command() {
    let mut window = open(fleet());
    key(&mut window, Key::A);
    assert!(shows(&window, "Approve shadow for checkout-api-07"));
    key(&mut window, Key::Escape);
    assert!(!shows(&window, "Approve shadow for"));
    assert!(commands(&mut window).is_empty());
}

#[test]
fn a_plan_that_changes_under_the_dialog_cannot_be_approved() {
    let mut window = open(fleet());
    key(&mut window, Key::A);
    publish(&mut window, |now| {
        let changed = sample::adjusted(&now.proposals[0], 0.2);
        now.proposals[0] = Arc::new(changed);
    });
    assert!(shows(&window, "The plan has changed since this was opened"));
    assert!(
        window
            .get_by_label("Approve")
            .accesskit_node()
            .is_disabled()
    );
    window.key_press_modifiers(Modifiers::COMMAND, Key::Enter);
    assert!(commands(&mut window).is_empty());
}

#[test]
fn dragging_the_split_asks_for_a_new_plan_once_it_is_let_go() {
    let mut window = open(fleet());
    let rail = window
        .get_by_role_and_label(Role::Slider, "Traffic split")
        .rect();
    let at = |part: f32| pos2(rail.left() + rail.width() * part, rail.center().y);
    window.drag_at(at(0.6));
    window.step();
    for part in [0.65, 0.7, 0.75] {
        window.hover_at(at(part));
        window.step();
    }
    // Under the hand nothing is asked, but figures follow, and an approval has to wait.
    assert!(shows(&window, "25 %"));
    assert!(
        window
            .get_by_label("Review and approve")
            .accesskit_node()
            .is_disabled()
    );
    window.drop_at(at(0.75));
    let sent = commands(&mut window);
    let [Command::ProposalAdjust { share, .. }] = &sent[..] else {
        panic!("{sent:?}")
    };
    assert!((share - 0.25).abs() < 0.011, "{share}");
    // The stand-in has planned anew: what is approved now is that plan.
    let share = *share;
    press(&mut window, "Review and approve");
    press(&mut window, "Approve");
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::Approve { digest, .. }]
            if *digest == sample::digest("checkout-api-07", share)),
        "{sent:?}"
    );
}

#[test]
fn the_split_obeys_a_screen_reader_and_the_arrow_keys() {
    let mut window = open(fleet());
    window
        .get_by_role_and_label(Role::Slider, "Traffic split")
        .set_value_accesskit(30.0);
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::ProposalAdjust { share, .. }] if (share - 0.3).abs() < 1e-6),
        "{sent:?}"
    );
    window
        .get_by_role_and_label(Role::Slider, "Traffic split")
        .focus();
    settle(&mut window);
    window.key_press(Key::ArrowLeft);
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::ProposalAdjust { share, .. }] if (share - 0.31).abs() < 1e-6),
        "{sent:?}"
    );
}

#[test]
fn a_refused_split_goes_back_and_says_why() {
    let mut window = open(fleet());
    window.state_mut().engine.as_mut().unwrap().replies = vec![Err(Problem::refused(
        "The split was not changed.",
        "60 % is the most that the settings allow.",
        "Choose less.",
    ))];
    window
        .get_by_role_and_label(Role::Slider, "Traffic split")
        .set_value_accesskit(90.0);
    assert_eq!(commands(&mut window).len(), 1);
    assert!(shows(&window, "The split was not changed."));
    assert!(shows(&window, "60 % is the most that the settings allow."));
    let slider = window.get_by_role_and_label(Role::Slider, "Traffic split");
    assert_eq!(slider.accesskit_node().numeric_value(), Some(40.0));
}

#[test]
fn a_proposal_is_snoozed_and_rejected_with_a_reason() {
    let mut window = open(fleet());
    key(&mut window, Key::S);
    let sent = commands(&mut window);
    assert!(
        matches!(
            &sent[..],
            [Command::Snooze {
                for_seconds: 1800,
                ..
            }]
        ),
        "{sent:?}"
    );
    key(&mut window, Key::R);
    write(&mut window, "Reason", "maintenance");
    press(&mut window, "Reject the proposal");
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::Reject { why, by, .. }] if why == "maintenance" && by == "mo"),
        "{sent:?}"
    );
}

#[test]
fn live_traffic_moves_from_the_shadows_screen() {
    let mut window = open(fleet());
    key(&mut window, Key::Num4);
    window
        .get_by_label_contains("Shadow of cart-api-03")
        .click();
    settle(&mut window);
    let rail = window
        .get_by_role_and_label(Role::Slider, "Live traffic split")
        .rect();
    window.drag_at(pos2(rail.left() + rail.width() * 0.75, rail.center().y));
    window.step();
    window.drop_at(pos2(rail.left() + rail.width() * 0.5, rail.center().y));
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::TrafficSet { share, vm: Some(vm), .. }]
            if (share - 0.5).abs() < 0.011 && *vm == sample::vm_id("cart-api-03")),
        "{sent:?}"
    );
    press(&mut window, "Retire shadow");
    assert!(matches!(
        &commands(&mut window)[..],
        [Command::ShadowRetire { .. }]
    ));
}

#[test]
fn a_shadow_shows_its_proofs_and_its_newest_point_is_tried_by_button_and_by_key() {
    let mut window = open(fleet());
    key(&mut window, Key::Num4);
    window
        .get_by_label_contains("Shadow of catalog-api-02")
        .click();
    settle(&mut window);
    assert!(shows(&window, "3 of 4 passed"));
    assert!(shows(&window, "did not pass, by the schedule"));
    assert!(shows(&window, "HTTP 503 (within 30 s)"));
    assert!(shows(&window, "proven"));
    press(&mut window, "Validate now");
    key(&mut window, Key::V);
    let sent = commands(&mut window);
    assert!(
        matches!(
            &sent[..],
            [
                Command::ShadowValidate { point: None, shadow: first },
                Command::ShadowValidate { shadow: second, .. }
            ] if first == second
        ),
        "{sent:?}"
    );
    // A clone of this one runs already.
    window
        .get_by_label_contains("Shadow of auth-idp-02")
        .click();
    settle(&mut window);
    assert!(shows(&window, "a clone is being tried"));
    press(&mut window, "Validate now");
    assert!(commands(&mut window).is_empty());
}

#[test]
fn the_heatmap_selects_by_pointer_and_by_keys_and_opens_the_vm() {
    let mut window = open(fleet());
    key(&mut window, Key::Num2);
    let grid = window.get_by_role(Role::Grid).rect();
    // The first cell of the first pool: its busiest VM on its first host.
    let cell = grid.min + vec2(5.0, 37.0);
    window.hover_at(cell);
    window.step();
    window.drag_at(cell);
    window.drop_at(cell);
    settle(&mut window);
    let selected = |window: &Window| {
        window
            .get_by_role(Role::Grid)
            .accesskit_node()
            .label()
            .unwrap()
    };
    let first = selected(&window);
    assert!(first.contains("selected batch"), "{first}");
    key(&mut window, Key::ArrowRight);
    assert_ne!(selected(&window), first);
    key(&mut window, Key::ArrowLeft);
    assert_eq!(selected(&window), first);
    window.get_by_label("Open").click();
    settle(&mut window);
    assert!(shows(&window, "Coverage"));
    key(&mut window, Key::Escape);
    assert_eq!(
        selected(&window),
        first,
        "back on the fleet, with its selection"
    );
}

#[test]
fn the_fleet_filters_and_its_table_sorts() {
    let mut window = open(fleet());
    key(&mut window, Key::Num2);
    press(&mut window, "Table");
    press(&mut window, "Sort by VM");
    let first_row = |window: &Window| {
        let mut rows: Vec<_> = window
            .get_all_by_role(Role::Row)
            .map(|row| {
                (
                    row.rect().top() as i32,
                    row.accesskit_node().label().unwrap(),
                )
            })
            .collect();
        rows.sort();
        rows[0].1.clone()
    };
    assert!(
        first_row(&window).starts_with("auth-idp-02"),
        "{}",
        first_row(&window)
    );
    press(&mut window, "Sort by VM, rising");
    assert!(
        first_row(&window).starts_with("vdi02-"),
        "{}",
        first_row(&window)
    );
    key(&mut window, Key::Slash);
    write(&mut window, "Filter", "checkout pool:prod");
    assert_eq!(window.get_all_by_role(Role::Row).count(), 1);
    assert_eq!(first_row(&window), "checkout-api-07");
}

#[test]
fn a_shadow_is_proposed_by_hand_for_a_vm() {
    let mut window = open(fleet());
    key(&mut window, Key::Num2);
    window
        .get_by_role_and_label(Role::ListBoxOption, "vdi-broker-04")
        .click();
    settle(&mut window);
    key(&mut window, Key::P);
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::ShadowPropose { vm, share: None, .. }]
            if *vm == sample::vm_id("vdi-broker-04")),
        "{sent:?}"
    );
}

#[test]
fn a_vm_is_found_by_a_part_of_its_name() {
    let mut window = open(fleet());
    window.key_press_modifiers(Modifiers::COMMAND, Key::K);
    settle(&mut window);
    write(&mut window, "Name of a VM", "idp-0");
    assert!(shows(&window, "1 virtual machine"));
    key(&mut window, Key::Enter);
    assert!(shows(&window, "auth-idp-02"));
    assert!(shows(&window, "What happened"));
}

#[test]
fn the_first_source_is_added_read_only() {
    let mut window = open(sample::first_run());
    assert!(shows(&window, "Connect a source"));
    assert!(!shows(&window, "Time range"), "nothing to look at yet");
    assert!(
        window
            .get_by_label("Test and add")
            .accesskit_node()
            .is_disabled()
    );
    write(&mut window, "Address", "qemu+ssh://ops@kvm-01/system");
    press(&mut window, "Test and add");
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::SourceAdd { uri, name: None, .. }]
            if uri == "qemu+ssh://ops@kvm-01/system"),
        "{sent:?}"
    );
    assert!(shows(
        &window,
        "libvirt 9.0.0, QEMU 7.2.22, answers in 14 ms"
    ));
    assert!(shows(&window, "no guest agent in 4 VMs"));
}

#[test]
fn a_wrong_address_says_what_why_and_what_now() {
    let mut window = open(sample::first_run());
    window.state_mut().engine.as_mut().unwrap().replies = vec![Err(Problem::usage(
        "The source was not added.",
        "qemu+shs is no known kind of connection.",
        "Write qemu+ssh.",
    ))];
    write(&mut window, "Address", "qemu+shs://x");
    press(&mut window, "Test and add");
    assert_eq!(commands(&mut window).len(), 1);
    for words in [
        "The source was not added.",
        "qemu+shs is no known kind of connection.",
        "Write qemu+ssh.",
    ] {
        assert!(shows(&window, words), "{words}");
    }
}

#[test]
fn a_source_is_armed_and_removed_only_after_a_question() {
    let mut window = open(fleet());
    key(&mut window, Key::Num7);
    press(&mut window, "Arm kvm-edge");
    assert_eq!(
        commands(&mut window),
        [Command::SourceArm {
            name: SourceName::from("kvm-edge"),
            armed: true
        }]
    );
    press(&mut window, "Remove kvm-edge");
    assert!(commands(&mut window).is_empty());
    press(&mut window, "Remove the source");
    assert_eq!(
        commands(&mut window),
        [Command::SourceRemove {
            name: SourceName::from("kvm-edge")
        }]
    );
}

fn calendar() -> Vec<EventView> {
    let event = |id: &str, name: &str, in_hours: i64| {
        let starts = sample::NOW.plus_secs(in_hours * 3600);
        EventView {
            event: Event {
                id: id.into(),
                name: name.to_owned(),
                starts,
                lasts_seconds: 7200,
                rule: Some("FREQ=WEEKLY".to_owned()),
                zone: "UTC".to_owned(),
                ..Event::default()
            },
            next: Some(Occurrence {
                from: starts,
                to: starts.plus_secs(7200),
            }),
            vms: 12,
        }
    };
    vec![
        event("e-1", "Flash sale", 3),
        event("e-2", "Month's end", 60),
    ]
}

#[test]
fn an_event_is_typed_kept_left_out_and_removed() {
    let mut window = open(fleet());
    key(&mut window, Key::Num6);
    assert!(shows(&window, "Nothing is in the calendar."));
    press(&mut window, "Add an event");
    press(&mut window, "Keep the event");
    assert!(
        shows(&window, "its name needs"),
        "an empty name is refused at once"
    );
    assert!(commands(&mut window).is_empty());
    write(&mut window, "Event: Name", "Black Friday");
    write(&mut window, "Event: Affects", "service:shop");
    write(&mut window, "Event: Change of load, %", "40");
    press(&mut window, "Week");
    press(&mut window, "Keep the event");
    let sent = commands(&mut window);
    let [Command::EventPut { event }] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(event.name, "Black Friday");
    assert_eq!(event.rule.as_deref(), Some("FREQ=WEEKLY"));
    assert!((event.expected_factor.unwrap() - 1.4).abs() < 1e-9);
    assert_eq!(event.affects, [Target::Service("shop".to_owned())]);

    publish(&mut window, |now| now.calendar = Arc::new(calendar()));
    press(&mut window, "Cancel");
    window.get_by_label("Flash sale, in 3 h 00").click();
    settle(&mut window);
    assert!(
        matches!(&commands(&mut window)[..], [Command::EventReport { event }] if event.as_str() == "e-1")
    );
    press(&mut window, "Leave out of learning");
    press(&mut window, "Remove Flash sale");
    let sent = commands(&mut window);
    let put = sent
        .iter()
        .any(|one| matches!(one, Command::EventPut { event } if event.exclude));
    let removed = sent
        .iter()
        .any(|one| matches!(one, Command::EventRemove { event } if event.as_str() == "e-1"));
    assert!(put && removed, "{sent:?}");
}

#[test]
fn events_are_imported_from_the_file_that_is_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.csv");
    let table =
        "name,starts,ends\nSale,2026-11-24T09:00:00Z,2026-11-24T11:00:00Z\nWrong,now,then\n";
    std::fs::write(&file, table).unwrap();
    let (asked, wanted) = std::sync::mpsc::channel();
    let chosen = file.clone();
    let mut window = open_with(fleet(), Theme::Dark, [1440.0, 900.0], move |options| {
        options.files = Arc::new(move |wanted| {
            asked.send(wanted).unwrap();
            Some(chosen.clone())
        });
    });
    key(&mut window, Key::Num6);
    press(&mut window, "Import…");
    assert_eq!(wanted.recv().unwrap().endings, ["ics", "csv"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let sent = loop {
        let sent = commands(&mut window);
        if !sent.is_empty() {
            break sent;
        }
        assert!(std::time::Instant::now() < deadline, "nothing was imported");
    };
    assert!(
        matches!(&sent[..], [Command::EventsImport { events }] if events.len() == 1),
        "{sent:?}"
    );
    assert!(shows(&window, "Left out: line 3"));
}

#[test]
fn a_parked_operation_says_why_and_can_be_resumed_or_undone() {
    let mut window = open(fleet());
    press(&mut window, "Running 2");
    assert!(shows(&window, "lb-01 refuses the weight"));
    press(&mut window, "Resume");
    assert!(matches!(
        &commands(&mut window)[..],
        [Command::OperationResume { .. }]
    ));
    press(&mut window, "Undo");
    assert!(commands(&mut window).is_empty(), "it asks first");
    press(&mut window, "Undo it");
    assert!(matches!(
        &commands(&mut window)[..],
        [Command::OperationCancel { .. }]
    ));
}

#[test]
fn the_only_running_operation_is_undone_by_keys() {
    let mut snapshot = fleet();
    snapshot
        .operations
        .retain(|operation| operation.state != OperationState::Parked);
    let mut window = open(snapshot);
    key(&mut window, Key::Z);
    assert!(commands(&mut window).is_empty());
    key(&mut window, Key::Z);
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::OperationCancel { operation, .. }]
            if operation.as_str() == "op-7c1e90ab"),
        "{sent:?}"
    );
}

#[test]
fn without_an_engine_nothing_can_be_decided() {
    let mut window = open(fleet());
    window.state_mut().engine = None;
    settle(&mut window);
    assert!(shows(&window, "The engine has stopped."));
    assert!(shows(&window, "Worker stopped"));
    assert!(
        window
            .get_by_label("Review and approve")
            .accesskit_node()
            .is_disabled()
    );
    key(&mut window, Key::A);
    assert!(!shows(&window, "Approve shadow for"));
}

#[test]
fn frozen_automation_is_said_and_let_go_on() {
    let mut window = open(fleet());
    publish(&mut window, |now| now.frozen = true);
    assert!(shows(&window, "Automation is frozen."));
    press(&mut window, "Let it go on");
    assert_eq!(
        commands(&mut window),
        [Command::Freeze {
            frozen: false,
            by: "mo".to_owned()
        }]
    );
}

/// Changes one VM of the sample.
fn with_vm(
    now: &mut Snapshot,
    name: &str,
    change: impl FnOnce(&mut shadowcast::engine::snapshot::VmView),
) {
    let mut vms = now.vms.to_vec();
    let id = sample::vm_id(name);
    let view = vms.iter_mut().find(|view| view.vm.id == id).unwrap();
    change(view);
    now.vms = Arc::new(vms);
}

#[test]
fn old_data_turn_the_approval_off() {
    let mut window = open(fleet());
    publish(&mut window, |now| {
        with_vm(now, "checkout-api-07", |view| {
            view.sampled_at = Some(sample::NOW.plus_secs(-400));
        });
    });
    assert!(shows(&window, "Its newest sample is 6 min old"));
    key(&mut window, Key::A);
    assert!(!shows(&window, "Approve shadow for"));
}

#[test]
fn without_a_forecast_the_chart_says_what_is_missing() {
    let mut window = open(fleet());
    publish(&mut window, |now| {
        with_vm(now, "checkout-api-07", |view| {
            view.outlooks = Arc::default();
            view.detail_version += 1;
        });
    });
    assert!(shows(&window, "No forecast yet"));
    assert!(shows(&window, "3 h more of history needed."));
    assert!(!shows(&window, "forecast peak"), "no line is invented");
}

#[test]
fn an_empty_queue_says_what_comes_next() {
    let mut snapshot = fleet();
    snapshot.proposals.clear();
    let window = open(snapshot);
    assert!(shows(&window, "Nothing needs you."));
    assert!(shows(&window, "Next expected: checkout-api-07 at 14:43."));
}

#[test]
fn a_source_that_has_not_answered_is_named() {
    let mut snapshot = fleet();
    snapshot.vms = Arc::default();
    snapshot.proposals.clear();
    snapshot.sources.truncate(1);
    snapshot.sources[0].last_ok = None;
    let window = open(snapshot);
    assert!(shows(&window, "Waiting for the first answer."));
    assert!(shows(&window, "kvm-primary has not answered yet"));
}

#[test]
fn a_name_that_deceives_is_shown_escaped() {
    let mut snapshot = fleet();
    let first = Arc::make_mut(&mut snapshot.proposals[0]);
    first.plan.vm_name = "pay\u{202e}07-\u{7}evil <&\"'$(x)".to_owned();
    let window = open(snapshot);
    assert!(shows(&window, "pay\\u{202e}07-\\u{7}evil <&\"'$(x)"));
}

#[test]
fn every_action_is_in_the_list_of_keys() {
    let mut window = open(fleet());
    type_text(&mut window, "?");
    for action in shadowcast::ui::action::Action::ALL {
        assert!(shows(&window, action.tooltip()), "{action:?}");
    }
}

#[test]
fn an_idle_window_does_not_draw() {
    let mut window = open(fleet());
    settle(&mut window);
    let delay = window.output().viewport_output[&egui::ViewportId::ROOT].repaint_delay;
    assert!(delay.as_secs() >= 20, "{delay:?}");
}

#[test]
fn details_are_asked_for_once_a_version() {
    let mut window = open(fleet());
    settle(&mut window);
    let engine = window.state_mut().engine.as_mut().unwrap();
    let before = engine.details_asked;
    assert!(before > 0);
    window.run_steps(20);
    assert_eq!(
        window.state().engine.as_ref().unwrap().details_asked,
        before
    );
    publish(&mut window, |now| {
        with_vm(now, "checkout-api-07", |view| view.detail_version += 1);
    });
    assert_eq!(
        window.state().engine.as_ref().unwrap().details_asked,
        before + 1
    );
}

#[test]
fn answers_stay_in_the_list_behind_the_bell() {
    let mut window = open(fleet());
    window.state_mut().engine.as_mut().unwrap().replies = vec![Ok(Answer::Done {
        text: "Snoozed until 15:02.".to_owned(),
    })];
    key(&mut window, Key::S);
    assert!(shows(&window, "Snoozed until 15:02."));
    press(&mut window, "Dismiss notice");
    assert!(!shows(&window, "Snoozed until 15:02."));
    press(&mut window, "Notices, 1 new");
    assert!(shows(&window, "Snoozed until 15:02."));
}

/// Lavapipe and a graphics card round edges of glyphs differently; a wrong layout differs in thousands of pixels.
fn tolerant() -> SnapshotOptions {
    SnapshotOptions::new()
        .threshold(2.0)
        .max_failed_pixels(1500)
}

#[test]
fn now_fleet_and_shadows_look_as_they_did_in_the_dark() {
    look(Theme::Dark, "dark");
}

#[test]
fn now_fleet_and_shadows_look_as_they_did_in_the_light() {
    look(Theme::Light, "light");
}

fn look(theme: Theme, tag: &str) {
    let mut window = open_as(sample::fleet(10_000), theme, [1440.0, 900.0]);
    window.snapshot_options(format!("now_{tag}"), &tolerant());
    key(&mut window, Key::Num2);
    window.snapshot_options(format!("fleet_{tag}"), &tolerant());
    key(&mut window, Key::Num4);
    window
        .get_by_label_contains("Shadow of catalog-api-02")
        .click();
    settle(&mut window);
    window.snapshot_options(format!("shadows_{tag}"), &tolerant());
}
