//! The screen of capacities: runways of pools, and what forecasts were worth.

use super::*;
use shadowcast::{engine::snapshot::ForecastRecord, forecast::record::Worth, metrics::Metric};

/// Whoever sits at 1440 x 900, and whoever has less.
const SIZES: [[f32; 2]; 2] = [[1440.0, 900.0], [1280.0, 720.0]];

fn labels(window: &Window, role: Role) -> Vec<String> {
    window
        .query_all_by_role(role)
        .filter_map(|node| node.accesskit_node().label())
        .collect()
}

/// Runways come one after another.
fn settle_all(window: &mut Window) {
    for _ in 0..20 {
        settle(window);
    }
}

fn open_capacity(theme: Theme, size: [f32; 2], vms: usize) -> Window {
    let mut window = open_as(sample::fleet(vms), theme, size);
    key(&mut window, Key::Num3);
    settle_all(&mut window);
    window
}

#[test]
fn pools_stand_by_when_they_are_full_and_the_chart_follows_the_selection() {
    let mut window = open_capacity(Theme::Dark, SIZES[0], 1_000);
    assert!(commands(&mut window).is_empty(), "only facts are asked for");
    let rows = labels(&window, Role::Row);
    assert!(rows.len() >= 12, "{rows:?}");
    let full = |row: &String| row.contains(", full ");
    let first_without = rows.iter().position(|row| !full(row)).unwrap();
    assert!(first_without > 0, "{rows:?}");
    assert!(!rows[first_without..].iter().any(full), "{rows:?}");
    assert!(
        rows.iter().any(|row| row.contains("history needed")),
        "{rows:?}"
    );
    let chart = |window: &Window| {
        let images = labels(window, Role::Image);
        images
            .into_iter()
            .find(|name| name.starts_with("Daily peaks"))
            .unwrap()
    };
    let before = chart(&window);
    key(&mut window, Key::J);
    assert_ne!(chart(&window), before);
    key(&mut window, Key::K);
    assert_eq!(chart(&window), before);
    press(&mut window, "Memory");
    settle_all(&mut window);
    assert!(chart(&window).contains("TiB"), "{}", chart(&window));
}

#[test]
fn the_record_is_sorted_and_leads_to_a_vm() {
    let mut window = open_capacity(Theme::Dark, SIZES[0], 1_000);
    press(&mut window, "Forecast record");
    assert!(commands(&mut window).is_empty(), "only facts are asked for");
    assert!(shows(&window, "Calibration: said 2 %, happened 2 % of"));
    assert!(shows(&window, "VMs to come"));
    let first = |window: &Window| labels(window, Role::Row)[0].clone();
    let worst = first(&window);
    assert!(worst.contains("no better than naive"), "{worst}");
    press(&mut window, "Sort by Of naive, falling");
    let best = first(&window);
    assert!(!best.contains("no better than naive"), "{best}");
    window.query_all_by_role(Role::Row).next().unwrap().click();
    settle_all(&mut window);
    assert!(shows(&window, "Record, MASE 1 h · 24 h"));
    assert!(shows(&window, "56 judged since 7 Nov"));
    window.snapshot_options("vm_record_dark", &tolerant());
    assert!(shows(&window, "Runway"));
}

#[test]
fn the_record_is_walked_by_keys() {
    let mut window = open_capacity(Theme::Dark, SIZES[0], 1_000);
    press(&mut window, "Forecast record");
    let second = labels(&window, Role::Row)[1].clone();
    key(&mut window, Key::J);
    key(&mut window, Key::J);
    key(&mut window, Key::Enter);
    let name = second.split(',').next().unwrap().to_owned();
    assert!(shows(&window, "Record, MASE"));
    assert!(shows(&window, &name), "{name}");
}

#[test]
fn a_record_that_is_empty_or_refused_says_so() {
    let mut window = open(fleet());
    let engine = window.state_mut().engine.as_mut().unwrap();
    engine.record = Some(Ok(ForecastRecord {
        metric: Metric::Cpu,
        at: sample::NOW,
        total: Worth::default(),
        vms: Vec::new(),
        waiting: 1_000,
    }));
    key(&mut window, Key::Num3);
    press(&mut window, "Forecast record");
    assert!(shows(&window, "No forecast has been judged yet."));
    let mut window = open(fleet());
    let engine = window.state_mut().engine.as_mut().unwrap();
    engine.record = Some(Err(Problem::failed("The record was not read.", "b", "c")));
    key(&mut window, Key::Num3);
    press(&mut window, "Forecast record");
    assert!(shows(&window, "The record was not read."));
}

#[test]
fn without_pools_there_is_no_runway() {
    let mut snapshot = fleet();
    snapshot.pools = Arc::default();
    let mut window = open(snapshot);
    key(&mut window, Key::Num3);
    assert!(shows(&window, "There are no pools."));
    let mut window = open(Snapshot::default());
    key(&mut window, Key::Num3);
    assert!(shows(&window, "No source is connected."));
}

#[test]
fn capacity_looks_as_it_did_in_the_dark() {
    look_at(Theme::Dark, "dark", SIZES[0]);
}

#[test]
fn capacity_looks_as_it_did_in_the_light() {
    look_at(Theme::Light, "light", SIZES[1]);
}

fn look_at(theme: Theme, tag: &str, size: [f32; 2]) {
    let mut window = open_capacity(theme, size, 10_000);
    window.snapshot_options(format!("capacity_{tag}"), &tolerant());
    press(&mut window, "Forecast record");
    window.snapshot_options(format!("forecast_record_{tag}"), &tolerant());
}
