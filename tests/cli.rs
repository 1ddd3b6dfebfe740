//! Output and exit codes of the real program, each test on a data folder of its own.
//!
//! No engine runs beside it, so every call runs one itself until it is done.

#[path = "cli/capacity.rs"]
mod capacity;

use std::{
    ffi::OsStr,
    fs,
    io::Write,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// One operator's machine: folders of its own, no colours, a known name.
struct Machine {
    home: TempDir,
}

struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Machine {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn command<S: AsRef<OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shadowcast"));
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("USER", "ana")
            .env("SHADOWCAST_DATA_DIR", self.path("data"))
            .env("SHADOWCAST_CONFIG", self.path("settings.toml"))
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run<const N: usize>(&self, words: [&str; N]) -> Done {
        Done::from(self.command(words).output().expect("the program starts"))
    }

    #[track_caller]
    fn run_with_input<const N: usize>(&self, words: [&str; N], input: &str) -> Done {
        let mut child = self
            .command(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut stdin = child.stdin.take().expect("a pipe was asked for");
        // A program that refuses early closes the pipe; its answer says why.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Done::from(child.wait_with_output().expect("the program ends"))
    }

    /// With libvirt's own test driver, whose one VM runs in this very process.
    #[track_caller]
    fn with_test_driver() -> Self {
        let machine = Self::new();
        machine
            .run(["source", "add", "test:///default", "--name", "t"])
            .exits(0);
        machine
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }
}

impl Done {
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }

    /// An error for people: what did not happen, why, what to do now.
    #[track_caller]
    fn explains(self, code: i32, part: &str) -> Self {
        let done = self.exits(code);
        let stderr = &done.stderr;
        assert!(stderr.contains("error: "), "{stderr}");
        assert!(stderr.contains("\n  why: "), "{stderr}");
        assert!(stderr.contains("\n  now: "), "{stderr}");
        assert!(stderr.contains(part), "{part:?} is missing in:\n{stderr}");
        done
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error} in:\n{}", self.stdout))
    }
}

#[track_caller]
fn has_fields(object: &Value, names: &[&str]) {
    for name in names {
        assert!(
            object.get(name).is_some(),
            "{name} is missing in {object:#}"
        );
    }
}

#[test]
fn usage_errors_exit_with_2() {
    let machine = Machine::new();
    let unknown = machine.run(["frobnicate"]).exits(2);
    assert!(unknown.stderr.contains("frobnicate"), "{}", unknown.stderr);
    machine.run(["vm"]).exits(2);
    machine.run(["approve", "p-1"]).exits(2);
    machine
        .run(["traffic", "set", "shop", "--shadow", "25"])
        .exits(2);
    machine.run(["snooze", "p-1", "--for", "soon"]).exits(2);
    machine
        .run(["service", "map", "shop", "web-1=web/w1"])
        .exits(2);
    machine
        .run(["forecast", "web-1", "--metric", "luck"])
        .exits(2);
    assert!(
        !machine.path("data").exists(),
        "words that are off must not start an engine"
    );
}

#[test]
fn help_and_version_exit_with_0_and_list_only_what_is_built() {
    let machine = Machine::new();
    let help = machine.run(["--help"]).exits(0);
    for verb in [
        "vms", "approve", "traffic", "shadow", "lab", "agent", "backtest", "events", "simulate",
    ] {
        assert!(help.stdout.contains(&format!("\n  {verb} ")), "{verb}");
    }
    for verb in ["whatif", "report", "audit", "load"] {
        assert!(!help.stdout.contains(&format!("\n  {verb} ")), "{verb}");
    }
    let version = machine.run(["--version"]).exits(0);
    assert!(
        version.stdout.starts_with("shadowcast "),
        "{}",
        version.stdout
    );
}

#[test]
fn completions_and_manual_need_no_home() {
    let machine = Machine::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = Done::from(
            machine
                .command(["completions", shell])
                .env_remove("HOME")
                .env_remove("SHADOWCAST_DATA_DIR")
                .output()
                .expect("the program starts"),
        )
        .exits(0);
        assert!(script.stdout.contains("proposals"), "{shell}");
    }
    let page = machine.run(["man"]).exits(0);
    assert!(page.stdout.contains(".TH shadowcast 1"), "{}", page.stdout);
}

#[test]
fn an_address_of_no_known_kind_is_a_usage_error() {
    let machine = Machine::new();
    machine
        .run(["source", "add", "ftp://example.test/"])
        .explains(2, "ftp://example.test/");
    let list = machine.run(["source", "list", "--json"]).exits(0).json();
    assert_eq!(list["sources"], Value::Array(Vec::new()));
}

#[test]
fn a_platform_that_does_not_answer_exits_with_4() {
    let machine = Machine::new();
    let socket = machine.path("nobody.sock");
    let uri = format!("qemu:///session?socket={}", socket.display());
    machine
        .run(["source", "add", &uri, "--name", "gone"])
        .explains(4, "nobody.sock");
    machine.run(["source", "test", &uri]).explains(4, "");
    let balancer = format!("haproxy+unix://{}", socket.display());
    machine.run(["source", "test", &balancer]).explains(4, "");
}

#[test]
fn a_new_source_is_read_only_until_armed() {
    let machine = Machine::with_test_driver();
    let list = machine.run(["source", "list", "--json"]).exits(0).json();
    let source = &list["sources"][0];
    has_fields(
        source,
        &[
            "name", "uri", "kind", "role", "armed", "last_ok", "error", "vms",
        ],
    );
    assert_eq!(source["name"], "t");
    assert_eq!(source["uri"], "test:///default");
    assert_eq!(source["armed"], false);
    assert_eq!(source["role"], "both");
    assert_eq!(source["error"], Value::Null);

    machine.run(["source", "arm", "t"]).exits(0);
    let list = machine.run(["source", "list", "--json"]).exits(0).json();
    assert_eq!(list["sources"][0]["armed"], true);

    machine.run(["source", "disarm", "t"]).exits(0);
    let list = machine.run(["source", "list", "--json"]).exits(0).json();
    assert_eq!(list["sources"][0]["armed"], false);

    machine.run(["source", "remove", "t"]).exits(0);
    let list = machine.run(["source", "list", "--json"]).exits(0).json();
    assert_eq!(list["sources"], Value::Array(Vec::new()));
}

#[test]
fn a_source_that_is_not_there_is_named() {
    let machine = Machine::new();
    let done = machine.run(["source", "arm", "nowhere"]);
    assert_ne!(done.code, 0);
    assert!(done.stderr.contains("nowhere"), "{}", done.stderr);
    assert!(done.stderr.contains("\n  now: "), "{}", done.stderr);
}

#[test]
fn the_same_name_twice_is_refused() {
    let machine = Machine::with_test_driver();
    let again = machine.run(["source", "add", "test:///default", "--name", "t"]);
    assert_ne!(again.code, 0, "{}", again.stdout);
    let list = machine.run(["source", "list", "--json"]).exits(0).json();
    assert_eq!(list["sources"].as_array().map(Vec::len), Some(1));
}

#[test]
fn vms_come_from_the_platform_in_the_stable_shape() {
    let machine = Machine::with_test_driver();
    let all = machine.run(["vms", "--json"]).exits(0).json();
    let vms = all["vms"].as_array().expect("a list of VMs");
    assert_eq!(vms.len(), 1, "{all:#}");
    let vm = &vms[0];
    has_fields(
        vm,
        &[
            "id",
            "name",
            "source",
            "pool",
            "state",
            "instance_type",
            "vcpus",
            "memory_bytes",
            "cpu",
            "memory",
            "health",
            "sampled_at",
            "shadow",
        ],
    );
    assert_eq!(vm["name"], "test");
    assert_eq!(vm["source"], "t");
    assert_eq!(vm["state"], "running");
    assert!(vm["memory_bytes"].is_u64(), "{vm:#}");
    assert!(
        vm["id"].as_str().is_some_and(|id| id.starts_with("t/")),
        "{vm:#}"
    );

    let table = machine.run(["vms"]).exits(0);
    assert!(table.stdout.contains("test"), "{}", table.stdout);
    assert!(
        !table.stdout.contains('\u{1b}'),
        "no colours where nobody looks: {:?}",
        table.stdout
    );

    let one = machine.run(["vm", "test", "--json"]).exits(0).json();
    assert_eq!(one["id"], vm["id"]);
    let health = machine.run(["health", "test", "--json"]).exits(0).json();
    has_fields(&health, &["vm", "score", "state", "contributions"]);
}

#[test]
fn a_rule_of_the_settings_names_a_type_and_is_shown_with_it() {
    let machine = Machine::with_test_driver();
    let types = |machine: &Machine| {
        let found = machine.run(["types", "--json"]).exits(0).json();
        found["types"].as_array().expect("a list of types").clone()
    };
    let by_size = types(&machine);
    assert_eq!(by_size.len(), 1, "{by_size:?}");
    assert_eq!(by_size[0]["name"], "2 vCPU, 2 GiB");
    assert!(by_size[0]["rule"].is_null() && by_size[0]["profile"].is_null());
    let rules =
        "[[types]]\nname = \"web\"\nvm = \"web*\"\n[[types]]\nname = \"trial\"\nvm = \"te?t\"\n";
    fs::write(machine.path("settings.toml"), rules).expect("the settings can be written");
    let by_rule = types(&machine);
    assert_eq!(by_rule[0]["name"], "trial");
    assert_eq!(
        (&by_rule[0]["rule"], &by_rule[0]["vms"]),
        (&2.into(), &1.into())
    );
    assert_eq!(by_rule[0]["vcpus"], 2);
    let vms = machine.run(["vms", "--json"]).exits(0).json();
    assert_eq!(vms["vms"][0]["instance_type"], "trial");
    let shown = machine.run(["vm", "test"]).exits(0).stdout;
    assert!(
        shown.contains("trial") && shown.contains("2 vCPU, 2 GiB"),
        "{shown}"
    );
}

#[test]
fn a_vm_that_is_not_there_is_told_with_close_names() {
    let machine = Machine::with_test_driver();
    let done = machine.run(["vm", "tset"]).explains(1, "`tset`");
    assert!(
        done.stderr.contains("Did you mean test?"),
        "{}",
        done.stderr
    );
}

#[test]
fn a_forecast_without_history_is_never_invented() {
    let machine = Machine::with_test_driver();
    let done = machine
        .run(["forecast", "test", "--json"])
        .explains(1, "history");
    assert_eq!(done.stdout, "");
}

/// A daily course of the test driver's VM, two weeks of it up to now.
fn two_weeks() -> String {
    let now = jiff::Timestamp::now().as_second() / 300 * 300;
    let mut csv = String::from("vm,metric,at,value\n");
    for step in (1..=14 * 288).rev() {
        let at = now - step * 300;
        let angle = (at % 86_400) as f64 / 86_400.0 * std::f64::consts::TAU;
        // A little noise: a curve without any is forecast without an interval.
        let noise = f64::from((step * 7919 % 100) as i32) / 5000.0;
        csv += &format!("test,cpu,{at},{:.4}\n", 0.25 - 0.1 * angle.cos() + noise);
    }
    csv
}

fn means(forecast: &Value) -> Vec<(String, f64)> {
    let points = forecast["points"].as_array().expect("points");
    points
        .iter()
        .map(|point| {
            let at = point["at"].as_str().expect("a time").to_owned();
            (at, point["mean"].as_f64().expect("a number"))
        })
        .collect()
}

#[test]
fn an_import_and_an_event_change_the_forecast() {
    let machine = Machine::with_test_driver();
    machine
        .run_with_input(["history", "import", "-"], &two_weeks())
        .exits(0);
    let forecast = || machine.run(["forecast", "test", "--json"]).exits(0).json();
    let before = means(&forecast());
    let now = jiff::Timestamp::now();
    let begins = now.as_second() / 300 * 300 + 3 * 3600;
    let starts = jiff::Timestamp::from_second(begins)
        .expect("a moment")
        .to_string();
    let added = machine
        .run([
            "events",
            "add",
            "Sale",
            "--starts",
            &starts,
            "--for",
            "1h",
            "--factor",
            "2",
            "--affects",
            "vm:test",
        ])
        .exits(0);
    assert!(
        added.stdout.contains("Sale is in the calendar as e-"),
        "{}",
        added.stdout
    );
    let after = means(&forecast());
    let ends = jiff::Timestamp::from_second(begins + 3600)
        .expect("a moment")
        .to_string();
    let mut doubled = 0;
    for (at, mean) in &after {
        let Some((_, usual)) = before.iter().find(|(other, _)| other == at) else {
            continue;
        };
        let factor = if *at >= starts && *at < ends {
            2.0
        } else {
            1.0
        };
        // Between the two forecasts a step may have passed, which moves them a little.
        assert!(
            (mean / usual - factor).abs() < 0.2,
            "{at}: {usual} became {mean}"
        );
        doubled += u32::from(factor > 1.0);
    }
    assert_eq!(doubled, 12, "an hour of five minutes");

    let listed = machine.run(["events", "list", "--json"]).exits(0).json();
    assert_eq!(listed["events"][0]["event"]["name"], "Sale");
    assert_eq!(listed["events"][0]["vms"], 1);
    machine.run(["events", "remove", "Sale"]).exits(0);
    let gone = means(&forecast());
    assert!(gone.iter().all(|(_, mean)| *mean < 0.45), "{gone:?}");
}

#[test]
fn events_come_from_files_and_what_is_wrong_with_them_is_said() {
    let machine = Machine::new();
    let table = "name,starts,ends,kind,factor\n\
                 Newsletter,2026-11-24T09:00:00Z,2026-11-24T11:00:00Z,campaign,1.4\n\
                 Wrong,tomorrow,2026-11-24T11:00:00Z,,\n";
    fs::write(machine.path("events.csv"), table).expect("a file is written");
    let file = machine.path("events.csv").display().to_string();
    let taken = machine.run(["events", "import", &file]).exits(0);
    assert!(
        taken.stderr.contains("line 3: `starts`"),
        "{}",
        taken.stderr
    );
    assert!(
        taken.stdout.contains("1 events imported"),
        "{}",
        taken.stdout
    );
    // Once more changes nothing: it is the same event.
    machine.run(["events", "import", &file]).exits(0);
    let listed = machine.run(["events", "list", "--json"]).exits(0).json();
    assert_eq!(listed["events"].as_array().map(Vec::len), Some(1));

    let calendar = machine.run(["events", "export"]).exits(0).stdout;
    assert!(calendar.contains("SUMMARY:Newsletter"), "{calendar}");
    machine
        .run(["events", "holidays", "Germany", "--zone", "Europe/Berlin"])
        .exits(0);
    let listed = machine.run(["events", "list", "--json"]).exits(0).json();
    assert!(listed["events"].as_array().map_or(0, Vec::len) > 20);

    fs::write(machine.path("events.csv"), "what,when\n").expect("a file is written");
    machine
        .run(["events", "import", &file])
        .explains(2, "no column `what`");
    machine
        .run(["events", "holidays", "Atlantis"])
        .explains(2, "Germany");
    machine
        .run([
            "events",
            "add",
            "x",
            "--starts",
            "2026-11-24T09:00:00Z",
            "--for",
            "1h",
            "--repeats",
            "FREQ=SOMETIMES",
        ])
        .explains(2, "FREQ=SOMETIMES");
    machine
        .run(["events", "remove", "nothing"])
        .explains(2, "no event nothing");
}

#[test]
fn broken_settings_name_line_and_column() {
    let machine = Machine::new();
    fs::write(
        machine.path("settings.toml"),
        "[sampling]\ninterval_seconds = x\n",
    )
    .expect("the settings can be written");
    machine.run(["vms"]).explains(2, "line 2, column 20");
    machine
        .run(["policy", "show"])
        .explains(2, "line 2, column 20");
}

#[test]
fn the_settings_are_written_with_their_defaults_and_shown() {
    let machine = Machine::new();
    machine.run(["vms"]).exits(0);
    let written = fs::read_to_string(machine.path("settings.toml")).expect("written at first use");
    assert!(written.contains("interval_seconds"), "{written}");
    let shown = machine.run(["policy", "show", "--json"]).exits(0).json();
    assert_eq!(shown["health"]["threshold"], 50);
}

#[test]
fn decisions_on_what_is_not_there_are_refused_with_a_reason() {
    let machine = Machine::new();
    let digest = "0".repeat(64);
    let approve = machine.run(["approve", "p-00000000", "--digest", &digest]);
    assert_ne!(approve.code, 0);
    assert!(approve.stderr.contains("p-00000000"), "{}", approve.stderr);
    machine
        .run(["operation", "op-00000000"])
        .explains(1, "op-00000000");
    machine
        .run(["cancel", "op-00000000"])
        .explains(1, "op-00000000");
    machine
        .run(["shadow", "retire", "s-00000000"])
        .explains(1, "s-00000000");
}

#[test]
fn empty_listings_are_empty_documents() {
    let machine = Machine::new();
    for (words, list) in [
        (&["pools", "--json"][..], "pools"),
        (&["services", "--json"], "services"),
        (&["service", "list", "--json"], "services"),
        (&["proposals", "--json"], "proposals"),
        (&["operations", "--json"], "operations"),
        (&["shadow", "list", "--json"], "shadows"),
        (&["traffic", "show", "--json"], "services"),
        (&["health", "--json"], "health"),
    ] {
        let output = machine.command(words).output().expect("the program starts");
        let document = Done::from(output).exits(0).json();
        assert_eq!(document[list], Value::Array(Vec::new()), "{words:?}");
    }
}

#[test]
fn history_comes_from_csv_and_goes_back_to_it() {
    let machine = Machine::with_test_driver();
    let now = jiff::Timestamp::now().as_second() / 300 * 300;
    let rows: Vec<String> = (1..=12)
        .map(|step| format!("test,cpu,{},0.{step:02}", now - step * 300))
        .collect();
    let csv = format!(
        "vm,metric,at,value\n{}\nghost,cpu,{now},0.5\n",
        rows.join("\n")
    );
    let taken = machine
        .run_with_input(["history", "import", "-"], &csv)
        .exits(0);
    assert!(taken.stdout.contains("12 samples"), "{}", taken.stdout);
    assert!(taken.stderr.contains("ghost"), "{}", taken.stderr);

    let back = machine
        .run(["history", "test", "--since", "2h", "--format", "csv"])
        .exits(0);
    let mut table = csv::Reader::from_reader(back.stdout.as_bytes());
    let values: Vec<f64> = table
        .records()
        .filter_map(|row| row.expect("a row").get(3)?.parse().ok())
        .collect();
    assert!(
        values.iter().any(|value| (value - 0.12).abs() < 1e-6),
        "{}",
        back.stdout
    );
    let document = machine.run(["history", "test", "--json"]).exits(0).json();
    has_fields(
        &document,
        &["vm", "metric", "unit", "step_seconds", "points"],
    );
}

#[test]
fn a_preview_takes_nothing_and_says_what_would_be_taken() {
    let machine = Machine::with_test_driver();
    let start = jiff::Timestamp::now().as_second() - 7200;
    let mut csv = String::from("vm,at,cpu,net\n");
    for step in 0..60 {
        csv += &format!("test,{},0.25,{}\n", start + step * 60, step * 1000);
    }
    csv += &format!("test,{},high,\nghost,{start},0.5,\n", start + 3600);
    let preview = machine.run_with_input(["history", "import", "-", "--preview", "--json"], &csv);
    assert_eq!(
        preview.code, 2,
        "a bad row keeps the file out: {}",
        preview.stderr
    );
    let report = preview.json();
    assert_eq!(report["bad_row_count"], 1);
    assert!(
        report["bad_rows"][0]
            .as_str()
            .is_some_and(|row| row.contains("line 62, column 3")),
        "{report}"
    );
    assert_eq!(report["unmatched"][0], "ghost");
    let series = report["series"].as_array().expect("series");
    let cpu = series
        .iter()
        .find(|one| one["named"] == "test" && one["metric"] == "cpu")
        .expect("the VM's cpu");
    assert_eq!(cpu["spacing_seconds"], 60);
    assert_eq!(cpu["samples"], 60);

    let export = ["history", "export", "--metric", "net", "--since", "3h"];
    let nothing = machine.run(export).exits(0);
    assert_eq!(nothing.stdout, "", "nothing was taken");
    machine
        .run_with_input(["history", "import", "-"], &csv)
        .explains(2, "line 62, column 3");
    let skipped = machine
        .run_with_input(["history", "import", "-", "--skip-bad"], &csv)
        .exits(0);
    assert!(
        skipped.stderr.contains("line 62, column 3"),
        "{}",
        skipped.stderr
    );
    let export = machine.run(export).exits(0);
    let rows: Vec<&str> = export.stdout.lines().collect();
    assert_eq!(rows[0], "vm,metric,at,value");
    assert!(
        (12..=14).contains(&rows.len()),
        "an hour of 5 minutes: {rows:?}"
    );

    let stats = machine.run(["history", "stats", "--json"]).exits(0).json();
    has_fields(
        &stats,
        &[
            "tiers",
            "vms",
            "used_bytes",
            "max_bytes",
            "cost",
            "quarantined",
        ],
    );
    assert!(
        stats["tiers"][1]["sealed_values"]
            .as_u64()
            .expect("a count")
            >= 24
    );
    machine.run(["history", "stats"]).exits(0);
    let verified = machine.run(["history", "verify", "--json"]).exits(0).json();
    assert_eq!(verified["damaged"], 0);
}

#[test]
fn a_replay_tells_what_would_have_been_proposed_and_how_it_came_out() {
    let machine = Machine::with_test_driver();
    let now = jiff::Timestamp::now().as_second() / 300 * 300;
    // Two hours over the limit every day, which last began six hours ago.
    let rows: Vec<String> = (1..=9 * 288_i32)
        .map(|step| {
            let over = (4 * 12..6 * 12).contains(&(step % 288));
            let load = if over { 0.95 } else { 0.3 } + f64::from(step % 7) * 0.002;
            format!("test,cpu,{},{load}", now - i64::from(step) * 300)
        })
        .collect();
    let csv = format!("vm,metric,at,value\n{}\n", rows.join("\n"));
    machine
        .run_with_input(["history", "import", "-"], &csv)
        .exits(0);
    let found = machine
        .run([
            "replay", "--vm", "test", "--from", "20h", "--to", "5h", "--step", "1h", "--json",
        ])
        .exits(0)
        .json();
    has_fields(&found, &["from", "to", "step_seconds", "summary", "vms"]);
    assert_eq!(found["summary"]["crossings"], 1, "{found}");
    assert_eq!(found["summary"]["missed"], 0, "{found}");
    let proposal = &found["vms"][0]["proposals"][0];
    assert_eq!(proposal["result"], "crossed", "{found}");
    let lead = proposal["lead_seconds"].as_i64().expect("a lead");
    assert!(lead > 3600, "{found}");

    machine
        .run(["replay", "--from", "1h", "--to", "2h"])
        .exits(2);

    // The same history as the sum of its pool, in vCPUs.
    let vm = machine.run(["vm", "test", "--json"]).exits(0).json();
    let pool = vm["pool"].as_str().expect("a pool");
    let sum = machine
        .run(["forecast", "--pool", pool, "--json"])
        .exits(0)
        .json();
    assert_eq!(sum["unit"], "vcpus");
    assert_eq!(sum["points"].as_array().map(Vec::len), Some(288));
    let highest = sum["points"].as_array().into_iter().flatten();
    let highest = highest.filter_map(|point| point["mean"].as_f64());
    let highest = highest.fold(0.0, f64::max);
    let vcpus = vm["vcpus"].as_f64().expect("a number");
    assert!(
        (0.8 * vcpus..=1.05 * vcpus).contains(&highest),
        "{highest} of {vcpus}"
    );
    let brought = sum["contributions"][0]["at_peak"].as_f64().expect("one VM");
    assert!((brought - highest).abs() < 0.01, "{brought} of {highest}");
    machine
        .run(["forecast", "--type", "none-of-these"])
        .exits(2);
    machine.run(["forecast"]).exits(2);
}

#[test]
fn broken_csv_names_line_and_column() {
    let machine = Machine::new();
    fs::write(
        machine.path("bad.csv"),
        "vm,metric,at,value\nweb-1,cpu,2026-11-22T14:30:00Z,0.5\nweb-1,cpu,2026-11-22T14:35:00Z,high\n",
    )
    .expect("the file can be written");
    let file = machine.path("bad.csv");
    let file = file.to_str().expect("a UTF-8 path");
    machine
        .run(["history", "import", file])
        .explains(2, "line 3, column 4");
    machine
        .run_with_input(["history", "import", "-"], "vm,metric,at\n")
        .explains(2, "line 1");
    machine
        .run(["history", "import", "/nowhere.csv"])
        .explains(2, "/nowhere.csv");
    assert!(!machine.path("data").exists(), "nothing was taken");
}

/// A real HAProxy with one server, on a socket of its own.
struct Balancer {
    child: Child,
    uri: String,
}

impl Balancer {
    fn start(machine: &Machine) -> Self {
        let socket = machine.path("haproxy.sock");
        let config = format!(
            "global\n stats socket {} mode 600 level admin\ndefaults\n mode http\n timeout connect 1s\n \
             timeout client 1s\n timeout server 1s\nbackend web\n balance roundrobin\n server w1 127.0.0.1:9 weight 100\n",
            socket.display()
        );
        let file = machine.path("haproxy.cfg");
        fs::write(&file, config).expect("the configuration can be written");
        let child = Command::new("haproxy")
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("haproxy is installed");
        let balancer = Self {
            child,
            uri: format!("haproxy+unix://{}", socket.display()),
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "HAProxy does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        balancer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended by itself; either way none is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn traffic_is_shown_and_a_read_only_balancer_is_never_changed() {
    let machine = Machine::with_test_driver();
    let balancer = Balancer::start(&machine);
    machine
        .run(["source", "add", &balancer.uri, "--name", "lb"])
        .exits(0);
    let unknown = machine.run([
        "service",
        "map",
        "shop",
        "test=nowhere/w1",
        "--stateless",
        "--balancer",
        "lb",
    ]);
    unknown.explains(1, "nowhere/w1");
    machine
        .run(["service", "map", "shop", "test=web/w1", "--stateless"])
        .exits(0);
    let traffic = machine.run(["traffic", "show", "--json"]).exits(0).json();
    let shop = &traffic["services"][0];
    has_fields(
        shop,
        &[
            "name",
            "primary_weight",
            "shadow_weight",
            "shadow_share",
            "errors_per_second",
            "response_millis",
        ],
    );
    assert_eq!(shop["primary_weight"], 100);
    assert_eq!(shop["shadow_weight"], 0);

    machine
        .run(["traffic", "set", "shop", "--shadow", "25%"])
        .explains(3, "");
    let after = machine.run(["traffic", "show", "--json"]).exits(0).json();
    assert_eq!(after["services"][0]["primary_weight"], 100);
    machine
        .run(["traffic", "set", "nothing", "--shadow", "25%"])
        .explains(1, "nothing");
    machine.run(["service", "remove", "shop"]).exits(0);
}

#[test]
fn a_shadow_by_hand_is_refused_while_its_platform_is_read_only() {
    let machine = Machine::with_test_driver();
    let done = machine.run(["shadow", "create", "test", "--yes"]).exits(3);
    assert!(done.stderr.contains("\n  now: "), "{}", done.stderr);
    let operations = machine.run(["operations", "--json"]).exits(0).json();
    assert_eq!(operations["operations"], Value::Array(Vec::new()));
}

/// The engine without a window on the simulated fleet, in which something needs a decision. Verbs attach to it.
struct Agent<'a> {
    machine: &'a Machine,
    child: Child,
}

const DEMO: [&str; 5] = ["--demo", "--vms", "60", "--seed", "1"];

impl<'a> Agent<'a> {
    fn start(machine: &'a Machine) -> Self {
        let child = machine
            .command(DEMO.iter().chain(&["agent"]))
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let agent = Self { machine, child };
        let socket = machine.path("data/demo/engine.sock");
        let deadline = Instant::now() + Duration::from_mins(1);
        while UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "the engine does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        agent
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Done {
        let words = DEMO.iter().chain(words);
        Done::from(
            (self.machine.command(words))
                .output()
                .expect("the program starts"),
        )
    }

    fn operations(&self) -> Value {
        self.run(&["operations", "--json"]).exits(0).json()["operations"].clone()
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        // It may have ended by itself; either way none is left.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const PROPOSAL: [&str; 12] = [
    "id",
    "kind",
    "vm",
    "digest",
    "urgency",
    "crosses_at",
    "probability",
    "why",
    "pool",
    "rejected_pools",
    "plan",
    "expires_at",
];
const OPERATION: [&str; 9] = [
    "id",
    "kind",
    "vm",
    "state",
    "step",
    "steps",
    "started_at",
    "ended_at",
    "why",
];
const SHADOW: [&str; 11] = [
    "vm",
    "name",
    "pool",
    "state",
    "method",
    "rpo_seconds",
    "lag_seconds",
    "lag_bytes",
    "points",
    "last_proof",
    "traffic_share",
];

#[test]
fn a_stale_digest_is_refused_and_nothing_starts() {
    let machine = Machine::new();
    let agent = Agent::start(&machine);
    let proposals = agent.run(&["proposals", "--json"]).exits(0).json();
    let first = &proposals["proposals"][0];
    has_fields(first, &PROPOSAL);
    let id = first["id"].as_str().expect("an id");
    let stale = "0".repeat(64);
    agent
        .run(&["approve", id, "--digest", &stale])
        .explains(3, "digest");
    assert_eq!(agent.operations(), Value::Array(Vec::new()));

    let shown = agent.run(&["proposal", id]).exits(0);
    let digest = first["digest"].as_str().expect("a digest");
    assert!(shown.stdout.contains(digest), "{}", shown.stdout);
    agent
        .run(&["snooze", id, "--for", "30days"])
        .explains(2, "7 days");
    agent.run(&["reject", id, "--why", "not today"]).exits(0);
    let after = agent.run(&["proposal", id, "--json"]).exits(0).json();
    assert_eq!(after["state"], "rejected");
    assert_eq!(after["decided_by"], "ana");
    agent
        .run(&["approve", id, "--digest", digest])
        .explains(3, "rejected");
    assert!(
        !machine.path("data/journal.db").exists(),
        "the demo keeps to a folder of its own"
    );
}

#[test]
fn a_shadow_by_hand_is_planned_approved_followed_and_retired() {
    let machine = Machine::new();
    let agent = Agent::start(&machine);
    let vms = agent.run(&["vms", "--json"]).exits(0).json();
    // The smallest VM has the smallest disk, which is copied in the fleet's real time.
    let vm = (vms["vms"].as_array().into_iter().flatten())
        .filter(|vm| vm["state"] == "running" && vm["shadow"].is_null())
        .min_by_key(|vm| vm["memory_bytes"].as_u64())
        .and_then(|vm| vm["id"].as_str())
        .expect("a running VM without a shadow");
    let create = ["shadow", "create", vm, "--share", "0%"];
    let dry = agent
        .run(&[&create[..], &["--dry-run", "--json"]].concat())
        .exits(0)
        .json();
    assert_eq!(dry["kind"], "create");
    assert_eq!(dry["vm"], vm);
    assert_eq!(agent.operations(), Value::Array(Vec::new()), "only printed");
    // Nobody can say yes without a terminal.
    agent.run(&create).explains(3, "approve");
    assert_eq!(agent.operations(), Value::Array(Vec::new()));

    let created = agent
        .run(&[&create[..], &["--yes", "--follow"]].concat())
        .exits(0);
    assert!(created.stdout.contains("is done"), "{}", created.stdout);
    assert!(created.stderr.contains("done: "), "{}", created.stderr);
    let operations = agent.operations();
    has_fields(&operations[0], &OPERATION);
    assert_eq!(operations[0]["state"], "done");
    assert_eq!(operations[0]["step"], operations[0]["steps"]);
    let id = operations[0]["id"].as_str().expect("an id");
    let one = agent.run(&["operation", id, "--json"]).exits(0).json();
    assert_eq!(one["journal"][0]["entry"]["entry"], "opened");

    let shadows = agent.run(&["shadow", "list", "--json"]).exits(0).json();
    let shadow = &shadows["shadows"][0];
    has_fields(shadow, &SHADOW);
    assert_eq!(shadow["vm"], vm);
    assert_eq!(shadow["state"], "replicating");
    has_fields(
        &shadow["points"][0],
        &["id", "at", "consistent", "proven_at"],
    );
    assert_eq!(shadow["last_proof"], Value::Null);
    a_point_is_proven_and_pinned(&agent, vm);

    agent
        .run(&["shadow", "retire", vm, "--yes", "--follow"])
        .exits(0);
    let shadows = agent.run(&["shadow", "list", "--json"]).exits(0).json();
    assert_eq!(shadows["shadows"], Value::Array(Vec::new()));
}

fn a_point_is_proven_and_pinned(agent: &Agent, vm: &str) {
    let validate = ["shadow", "validate", vm];
    let dry = agent
        .run(&[&validate[..], &["--dry-run", "--json"]].concat())
        .exits(0)
        .json();
    assert_eq!(dry["kind"], "validate");
    let steps = dry["plan"]["steps"].as_array().expect("steps");
    assert_eq!(steps.last().expect("a step")["step"], "remove_clone");
    agent.run(&validate).explains(3, "approve");
    let proof = agent
        .run(&[&validate[..], &["--yes", "--follow", "--json"]].concat())
        .exits(0)
        .json();
    assert_eq!(proof["passed"], true, "{proof:#}");
    assert_eq!(proof["checks"][0]["kind"], "boots", "{proof:#}");
    let proofs = agent
        .run(&["shadow", "proofs", vm, "--json"])
        .exits(0)
        .json();
    assert_eq!(proofs["proofs"][0]["id"], proof["id"]);
    let said = agent.run(&["shadow", "proofs", vm]).exits(0);
    assert!(said.stdout.contains("passed"), "{}", said.stdout);

    let point = proof["point"].to_string();
    agent.run(&["shadow", "pin", vm, &point]).exits(0);
    let points = agent
        .run(&["shadow", "points", vm, "--json"])
        .exits(0)
        .json();
    let pinned = (points["points"].as_array().into_iter().flatten())
        .find(|row| row["id"] == proof["point"])
        .expect("the point that was tried");
    assert_eq!(pinned["pinned"], true);
    assert!(pinned["proven_at"].is_string(), "{pinned:#}");
    agent.run(&["shadow", "unpin", vm, &point]).exits(0);
    agent
        .run(&["shadow", "pin", vm, "999999"])
        .explains(1, "no point 999999");
    let shadows = agent.run(&["shadow", "list", "--json"]).exits(0).json();
    assert_eq!(shadows["shadows"][0]["last_proof"]["passed"], true);
}

#[test]
fn freeze_is_kept_and_thaw_lifts_it() {
    let machine = Machine::new();
    machine.run(["freeze"]).exits(0);
    let listing = machine.run(["vms"]).exits(0);
    assert!(listing.stderr.contains("frozen"), "{}", listing.stderr);
    machine.run(["thaw"]).exits(0);
    let listing = machine.run(["vms"]).exits(0);
    assert!(!listing.stderr.contains("frozen"), "{}", listing.stderr);
}

#[test]
fn a_lab_that_is_not_there_is_an_empty_status() {
    let machine = Machine::new();
    let dir = machine.path("lab");
    let dir = dir.to_str().expect("a UTF-8 path");
    let status = machine
        .run(["lab", "status", "--json", "--dir", dir])
        .exits(0)
        .json();
    has_fields(
        &status,
        &["hosts", "guests", "service_url", "haproxy_socket"],
    );
    machine
        .run(["lab", "surge", "--dir", dir])
        .explains(1, "No lab");
    machine.run(["lab", "down", "--dir", dir]).exits(0);
}
