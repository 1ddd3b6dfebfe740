//! The window beside a real engine: what is brought into a history changes the forecast that its chart shows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use eframe::egui::{self, Key, Modifiers};
use egui_kittest::{
    Harness,
    kittest::{NodeT as _, Queryable as _},
};
use shadowcast::{
    calendar::{Event, Target},
    engine::{
        OpenOptions,
        command::Command,
        thread::{self, Session},
    },
    inventory::Role,
    metrics::{Metric, Series},
    telemetry::ImportedSeries,
    ui::{App, UiOptions},
    units::Timestamp,
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_mins(1);
const DAY: usize = 288;

struct Window(App);

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut egui::Ui, frame: &mut eframe::Frame) {
        eframe::App::ui(&mut self.0, ui, frame);
    }
}

/// An engine with libvirt's own test driver, and the window on it at the page of its one VM.
struct Desk {
    session: Session,
    window: Harness<'static, Window>,
    _folder: TempDir,
}

impl Desk {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let session = thread::open(&OpenOptions {
            data_dir: folder.path().join("data"),
            settings_file: folder.path().join("settings.toml"),
            demo: None,
        })
        .unwrap();
        let add = Command::SourceAdd {
            uri: "test:///default".to_owned(),
            name: Some("t".into()),
            role: Role::Both,
        };
        session.handle.ask(add).unwrap();
        let found = |now: &shadowcast::engine::snapshot::Snapshot| !now.vms.is_empty();
        session.handle.wait_for(LIMIT, found).expect("its VM");
        let handle = session.handle.clone();
        let mut window = Harness::builder()
            .with_size([1440.0, 900.0])
            .with_pixels_per_point(1.0)
            .build_eframe(move |cc| {
                let options = UiOptions {
                    zone: jiff::tz::TimeZone::UTC,
                    ..UiOptions::default()
                };
                Window(App::new(&cc.egui_ctx, handle, options))
            });
        window.run_steps(4);
        window.key_press_modifiers(Modifiers::COMMAND, Key::K);
        window.run_steps(4);
        let field = window.get_by_label("Name of a VM");
        field.focus();
        window.step();
        window.get_by_label("Name of a VM").type_text("test");
        window.run_steps(4);
        window.key_press(Key::Enter);
        Self {
            session,
            window,
            _folder: folder,
        }
    }

    /// What the chart says of itself, once that is as `wanted`: answers come when they come.
    fn chart(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let since = Instant::now();
        loop {
            self.window.run_steps(2);
            let chart = self.window.query_by_label_contains("CPU chart");
            let words = chart.and_then(|node| node.accesskit_node().label());
            match words {
                Some(words) if wanted(&words) => return words,
                words => assert!(since.elapsed() < LIMIT, "the chart says {words:?}"),
            }
            std::thread::yield_now();
        }
    }

    fn bring(&self, series: Series) {
        let rows = vec![ImportedSeries {
            vm: "test".to_owned(),
            metric: Metric::Cpu,
            series,
        }];
        let answer = self.session.handle.ask(Command::HistoryImport { rows });
        answer.unwrap();
    }
}

/// Two weeks up to now that swing between 20 and 40 % every three hours: there always is a peak ahead.
fn two_weeks() -> Series {
    let now = Timestamp::from_secs(jiff::Timestamp::now().as_second()).floor_to(300);
    let mut random = fastrand::Rng::with_seed(5);
    let values = (0..14 * DAY).map(|step| {
        let angle = step as f32 / 36.0 * std::f32::consts::TAU;
        0.3 - 0.1 * angle.cos() + (random.f32() - 0.5) * 0.01
    });
    Series {
        start: now.plus_secs(-14 * 86_400),
        step_seconds: 300,
        values: values.collect(),
    }
}

/// The highest mean ahead in percent, as the chart words it.
fn peak(words: &str) -> Option<f64> {
    let rest = words.split("forecast peak ").nth(1)?;
    rest.split_whitespace()
        .next()?
        .trim_end_matches('%')
        .parse()
        .ok()
}

fn near(wanted: f64) -> impl Fn(&str) -> bool {
    move |words| peak(words).is_some_and(|peak| (peak - wanted).abs() <= 4.0)
}

#[test]
fn an_import_an_outlier_an_event_and_a_new_level_change_what_the_chart_forecasts_as_they_should() {
    let mut desk = Desk::open();
    desk.window.run_steps(4);
    assert!(desk.window.query_by_label_contains("CPU chart").is_none());

    // Two weeks with a wild hour in them, a day before what comes now: the next hour is not like it.
    let mut wild = two_weeks();
    let from = wild.values.len() - DAY;
    wild.values[from..from + 12].fill(0.99);
    desk.bring(wild);
    let words = desk.chart(near(40.0));
    assert!(!words.contains("crosses"), "{words}");

    // What a planner expects of the next hours does change it.
    let event = Event {
        name: "Sale".to_owned(),
        starts: Timestamp::from_secs(jiff::Timestamp::now().as_second()),
        lasts_seconds: 12 * 3600,
        zone: "UTC".to_owned(),
        affects: vec![Target::Vm("test".to_owned())],
        expected_factor: Some(2.0),
        ..Event::default()
    };
    desk.session
        .handle
        .ask(Command::EventPut {
            event: Box::new(event),
        })
        .unwrap();
    desk.chart(near(80.0));
    let events = desk.session.handle.snapshot().calendar.clone();
    let id = Arc::clone(&events)[0].event.id.clone();
    desk.session
        .handle
        .ask(Command::EventRemove { event: id })
        .unwrap();
    desk.chart(near(40.0));

    // A day and a half on a higher level is no outlier.
    let mut higher = two_weeks();
    let from = higher.values.len() - DAY * 3 / 2;
    for value in &mut higher.values[from..] {
        *value += 0.3;
    }
    desk.bring(higher);
    desk.chart(near(70.0));
}
