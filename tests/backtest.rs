//! Past forecasts judged: through the verb on generated traces with known answers, and on recorded load where it is.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use flate2::{Compression, write::GzEncoder};
use shadowcast::{
    forecast::{
        Model,
        backtest::{Case, Tally, known_at, roll},
    },
    metrics::Series,
    telemetry::traces,
    units::Timestamp,
};
use tempfile::TempDir;

const DAY: usize = 288;
const DAYS: usize = 16;
/// 10:00 of the fifteenth day.
const ORIGIN: usize = 14 * DAY + 120;

/// Idle but for a burst of 15 minutes at noon.
fn burst(step: usize) -> f64 {
    let noise = (step * 7919 % 101) as f64 / 100.0;
    if (144..147).contains(&(step % DAY)) {
        80.0 + noise
    } else {
        10.0 + noise
    }
}

/// The same day over and over.
fn repeating(step: usize) -> f64 {
    let turn = (step % DAY) as f64 / DAY as f64 * std::f64::consts::TAU;
    50.0 - 30.0 * turn.cos()
}

/// Two VMs; one says nothing for its last day. `future` is added to all that comes after the origin.
fn load(future: f64) -> String {
    let mut text = String::from("vm,k,cpu_pct,mem_pct\n");
    for step in 0..DAYS * DAY {
        let later = if step > ORIGIN { future } else { 0.0 };
        let (busy, calm) = (burst(step) + later, repeating(step) + later);
        writeln!(text, "web,{step},{busy:.3},{calm:.4}").unwrap();
        if step <= ORIGIN - DAY {
            writeln!(text, "gone,{step},{calm:.4},").unwrap();
        }
    }
    text
}

fn packed(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

struct Run {
    folder: TempDir,
}

struct Done {
    code: Option<i32>,
    told: String,
    rows: HashMap<(String, usize), Vec<String>>,
}

impl Run {
    fn new(load: &[u8], origins: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("vm_load.csv.gz"), load).unwrap();
        fs::write(folder.path().join("origins.csv"), origins).unwrap();
        Self { folder }
    }

    fn backtest(&self, more: &[&str]) -> Done {
        let path = |name: &str| self.folder.path().join(name);
        let done = Command::new(env!("CARGO_BIN_EXE_shadowcast"))
            .arg("backtest")
            .args([Path::new("--input"), self.folder.path()])
            .args([Path::new("--origins"), &path("origins.csv")])
            .args([Path::new("--output"), &path("out.csv")])
            .args(more)
            .env_clear()
            .env("HOME", self.folder.path())
            .output()
            .unwrap();
        let written = fs::read_to_string(path("out.csv")).unwrap_or_default();
        let rows = written.lines().skip(1).map(|line| {
            let fields: Vec<String> = line.split(',').map(str::to_owned).collect();
            ((fields[0].clone(), fields[2].parse().unwrap()), fields)
        });
        Done {
            code: done.status.code(),
            told: String::from_utf8_lossy(&done.stderr).into_owned(),
            rows: rows.collect(),
        }
    }
}

impl Done {
    #[track_caller]
    fn number(&self, series: &str, step: usize, column: usize) -> f64 {
        self.rows[&(series.to_owned(), step)][column]
            .parse()
            .unwrap()
    }
}

const ORIGINS: &str = "series,origin,h,thr_p95,thr_cap\n\
    web:cpu_pct,4152,288,50.0,\n\
    web:mem_pct,4152,12,70.0,80.0\n\
    gone:cpu_pct,4152,288,50.0,80.0\n\
    gone:mem_pct,4152,12,,\n";

#[test]
fn every_origin_gets_finite_rows_and_known_answers() {
    assert_eq!(ORIGIN, 4152);
    let done = Run::new(&packed(&load(0.0)), ORIGINS).backtest(&[]);
    assert_eq!(done.code, Some(0), "{}", done.told);
    assert_eq!(done.rows.len(), 288 + 12 + 288 + 12);
    for fields in done.rows.values() {
        let [mean, lower, upper] = [3, 4, 5].map(|field| fields[field].parse::<f64>().unwrap());
        assert!(0.0 <= lower && lower <= mean && mean <= upper && upper.is_finite());
        for said in fields[6..].iter().filter(|said| !said.is_empty()) {
            assert!((0.0..=1.0).contains(&said.parse::<f64>().unwrap()));
        }
    }
    // The repeating day is found to within a hundredth of its range.
    for step in 1..=12 {
        let off = done.number("web:mem_pct", step, 3) - repeating(ORIGIN + step);
        assert!(off.abs() < 0.6, "{step}: {off}");
    }
    // The burst comes 24 steps on: in the second hour's last step and the third hour; hardly in any other.
    let likely: Vec<f64> = (0..24)
        .map(|hour| done.number("web:cpu_pct", hour * 12 + 1, 8))
        .collect();
    assert!(likely[1] > 0.5 && likely[2] > 0.5, "{likely:?}");
    assert!(likely[4..].iter().all(|said| *said < 0.25), "{likely:?}");
    // A threshold that was not given has no probability.
    assert_eq!(done.rows[&("web:cpu_pct".to_owned(), 1)][7], "");
    for told in [
        "mix 2",
        "last value 2",
        "silent 1",
        "no history 1",
        "CPU for",
    ] {
        assert!(done.told.contains(told), "{told} is not in: {}", done.told);
    }
}

#[test]
fn what_comes_after_the_origin_changes_nothing() {
    let run = |future: f64, model: &str| {
        Run::new(&packed(&load(future)), ORIGINS)
            .backtest(&["--model", model])
            .rows
    };
    for model in ["mix", "select"] {
        assert_eq!(run(0.0, model), run(17.0, model), "{model}");
    }
    assert_ne!(run(0.0, "mix"), run(0.0, "day-naive"));
}

#[test]
fn bad_files_are_refused_with_what_why_and_what_now() {
    let good = packed("vm,k,cpu\na,0,1\n");
    let cases = [
        (
            packed("vm,k,cpu\na,0,hot\n"),
            "series,origin,h\n",
            "Line 2: `hot` is no cpu",
        ),
        (
            b"no gzip, but long enough".to_vec(),
            "series,origin,h\n",
            "gzip",
        ),
        (
            good.clone(),
            "series,origin,h\nb:cpu,0,12\n",
            "no trace is called b:cpu",
        ),
        (good.clone(), "series,origin\n", "there is no column `h`"),
        (good, "series,origin,h\na:cpu,5,12\n", "end at step 0"),
    ];
    for (load, origins, why) in cases {
        let done = Run::new(&load, origins).backtest(&[]);
        assert_eq!(done.code, Some(2), "{why}: {}", done.told);
        assert!(done.told.contains(why), "{why} is not in: {}", done.told);
        assert!(done.told.contains("was not taken"), "{}", done.told);
    }
    let run = Run::new(&packed("vm,k,cpu\na,0,1\n"), "series,origin,h\n");
    assert_eq!(run.backtest(&["--model", "crystal"]).code, Some(2));
    fs::create_dir(run.folder.path().join("out.csv")).unwrap();
    let done = run.backtest(&[]);
    assert_eq!(done.code, Some(1));
    assert!(done.told.contains("were not written"), "{}", done.told);
}

fn series(days: usize, value: impl Fn(usize) -> f64) -> Series {
    Series {
        start: Timestamp::from_secs(0),
        step_seconds: 300,
        values: (0..days * DAY).map(|step| value(step) as f32).collect(),
    }
}

#[test]
fn rolling_origins_have_known_answers() {
    // Each day is one over the day before: day naive is wrong by exactly its own unit, and never inside.
    let rising = series(12, |step| (step / DAY) as f64 + repeating(step));
    let naive = roll(Model::DayNaive.forecaster(), &rising, 9 * DAY, 48, 12, None);
    assert!(
        (naive.mase().unwrap() - 1.0).abs() < 0.02,
        "{:?}",
        naive.mase()
    );
    // The live model must see such a level.
    let live = roll(Model::LIVE.forecaster(), &rising, 9 * DAY, 48, 12, None);
    assert!(live.mase().unwrap() < 0.8, "{:?}", live.mase());

    // Bursts at the same hour every day are all told in time, and nothing else is called.
    let bursts = series(14, burst);
    let told = roll(
        Model::LIVE.forecaster(),
        &bursts,
        10 * DAY + 84,
        288,
        72,
        Some(50.0),
    );
    let (share, lead_seconds) = told.told_in_time().unwrap();
    assert!((share - 1.0).abs() < 1e-9, "{share}");
    assert_eq!(lead_seconds, 60 * 300);
    assert!(told.false_alarms_per_day().unwrap() < 0.1);
}

/// Where recorded load may lie beside the repository.
fn recorded() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/dev");
    let named = std::env::var_os("SHADOWCAST_TRACES").map(PathBuf::from);
    let folder = named.unwrap_or(beside);
    folder.join("origins.csv").exists().then_some(folder)
}

#[test]
fn recorded_load_is_forecast_within_the_bars() {
    let Some(folder) = recorded() else {
        println!("SKIPPED backtest on real traces: no data");
        return;
    };
    let traces = traces::read(&folder).unwrap();
    let origins = traces::read_origins(&folder.join("origins.csv"), &traces).unwrap();
    let mut parts: HashMap<&str, Tally> = HashMap::new();
    let every = (origins.len() / 200).max(1);
    for origin in origins.iter().step_by(every) {
        let trace = &traces[&origin.series];
        let known = known_at(trace, origin.index);
        let predicted = Model::LIVE.forecaster().predict(&known, 12).unwrap();
        let case = Case {
            known: &known,
            truth: &trace.values[origin.index + 1..origin.index + 13],
            limit: origin.limits[0],
        };
        let part = parts.entry(&origin.series).or_default();
        part.add(&case, &predicted);
    }
    let mut errors: Vec<f64> = parts.values().filter_map(Tally::mase).collect();
    errors.sort_by(f64::total_cmp);
    let median = errors[errors.len() / 2];
    let mut whole = Tally::default();
    for part in parts.values() {
        whole.merge(part);
    }
    // Wider than the bars: this is every fifteenth of the moments that the figures in the documents are of.
    assert!(median < 0.35, "{median}");
    let coverage = whole.coverage().unwrap();
    assert!((0.92..0.985).contains(&coverage), "{coverage}");
    let precision = whole.onset_precision().unwrap();
    assert!(precision > 0.6, "{precision}");
}
