//! What forecasts were worth, and how long capacities last.

use super::*;

#[test]
fn past_forecasts_are_judged_and_the_record_outlives_the_engine() {
    let machine = Machine::with_test_driver();
    let before = machine.run(["accuracy", "test", "--json"]).exits(0).json();
    assert_eq!(before["metric"], "cpu");
    assert_eq!(before["record"]["origins"], 0, "{before}");
    assert!(before["record"]["no_better_than_naive"].is_null());
    let said = machine.run(["accuracy", "test"]).exits(0);
    assert!(
        said.stdout.contains("nothing to judge by"),
        "{}",
        said.stdout
    );

    machine
        .run_with_input(["history", "import", "-"], &two_weeks())
        .exits(0);
    // One forecast after the import finds that there is history now; the record follows.
    let judged = machine.run(["accuracy", "test", "--json"]).exits(0).json();
    let record = &judged["record"];
    has_fields(
        record,
        &[
            "vm",
            "vm_name",
            "from",
            "to",
            "refused",
            "mase_1h",
            "coverage_1h",
            "coverage_24h",
            "alarms",
            "false_alarms_per_vm_day",
            "crossings",
            "told",
            "median_lead_seconds",
        ],
    );
    assert!(record["origins"].as_u64() >= Some(8), "{judged}");
    let mase = record["mase_24h"].as_f64().expect("it was judged");
    assert!(mase > 0.0 && mase < 2.0, "{judged}");
    assert_eq!(record["calibration"][0]["happened"], 0.0, "{judged}");
    // Each verb runs an engine of its own.
    let fleet = machine.run(["accuracy", "--json"]).exits(0).json();
    has_fields(&fleet, &["metric", "made_at", "total", "waiting", "vms"]);
    assert_eq!(fleet["waiting"], 0, "{fleet}");
    let kept = fleet["vms"][0]["origins"].as_u64();
    assert!(kept >= record["origins"].as_u64(), "{fleet}");
    assert_eq!(fleet["total"]["origins"].as_u64(), kept, "{fleet}");
    let table = machine.run(["accuracy"]).exits(0);
    assert!(table.stdout.contains("all together"), "{}", table.stdout);
    let one = machine.run(["accuracy", "test"]).exits(0);
    assert!(one.stdout.contains("24 h ahead: MASE"), "{}", one.stdout);
    machine
        .run(["accuracy", "--metric", "disk"])
        .explains(2, "no record is kept of disk");
}

/// Hourly means of `days` up to now, whose peaks rise by a percent a day to 70 %.
fn rising(days: i64) -> String {
    let now = jiff::Timestamp::now().as_second() / 3600 * 3600;
    let mut csv = String::from("vm,metric,at,value\n");
    for hour in (1..=days * 24).rev() {
        let at = now - hour * 3600;
        // Between two moments an import draws a line: three of them make two whole hours.
        let noon = if (11..=13).contains(&(at / 3600 % 24)) {
            0.2
        } else {
            0.0
        };
        let noise = f64::from((hour * 7919 % 100) as i32) / 10_000.0;
        let value = 0.5 - hour as f64 / 24.0 * 0.004 + noon + noise;
        csv += &format!("test,cpu,{at},{value:.4}\n");
    }
    csv
}

#[test]
fn a_runway_says_when_a_limit_is_reached_or_what_is_missing() {
    let machine = Machine::with_test_driver();
    let none = machine.run(["runway", "test", "--json"]).exits(0).json();
    assert_eq!(none["not_ready"], "no history", "{none}");
    machine
        .run_with_input(["history", "import", "-"], &two_weeks())
        .exits(0);
    let short = machine.run(["runway", "test"]).exits(0);
    assert!(
        short.stdout.contains("days more of history needed"),
        "{}",
        short.stdout
    );

    let machine = Machine::with_test_driver();
    machine
        .run_with_input(["history", "import", "-"], &rising(60))
        .exits(0);
    let found = machine.run(["runway", "test", "--json"]).exits(0).json();
    has_fields(&found, &["metric", "unit", "made_at", "accuracy", "peaks"]);
    assert_eq!(found["limit"], 0.85, "{found}");
    assert_eq!(found["no_better_than_naive"], false, "{found}");
    let trend = found["trend_a_day"].as_f64().expect("a trend");
    assert!((trend - 0.004).abs() < 0.0005, "{found}");
    for moment in ["earliest", "likely", "latest"] {
        assert!(found["full"][moment].is_string(), "{found}");
    }
    assert_eq!(found["peaks"].as_array().map(Vec::len), Some(366));
    let said = machine.run(["runway", "test"]).exits(0);
    assert!(
        said.stdout.contains("limit 85.0 %: full "),
        "{}",
        said.stdout
    );
    assert!(said.stdout.contains(", between "), "{}", said.stdout);

    // Its pool has the capacity of its host, which one VM does not fill.
    let vm = machine.run(["vm", "test", "--json"]).exits(0).json();
    let pool = vm["pool"].as_str().expect("a pool");
    let sum = machine
        .run(["runway", "--pool", pool, "--json"])
        .exits(0)
        .json();
    assert_eq!((&sum["pool"], &sum["vms"]), (&vm["pool"], &1.into()));
    assert_eq!(sum["unit"], "vcpus");
    let pools = machine.run(["pools", "--json"]).exits(0).json();
    assert_eq!(
        sum["limit"].as_f64(),
        pools["pools"][0]["cpus"].as_f64(),
        "{sum}"
    );
    let peak = sum["peak"].as_f64().expect("a peak");
    let vcpus = vm["vcpus"].as_f64().expect("a number");
    assert!((peak / vcpus - 0.69).abs() < 0.03, "{peak} of {vcpus}");
    let all = machine.run(["runway", "--json"]).exits(0).json();
    assert_eq!(all["runways"][0]["pool"], vm["pool"], "{all}");
    let size = vm["instance_type"].as_str().expect("a size");
    let of_type = machine
        .run(["runway", "--type", size, "--json"])
        .exits(0)
        .json();
    assert!(of_type["limit"].is_null() && of_type["full"].is_null());
    machine
        .run(["runway", "--type", "none-of-these"])
        .explains(2, "none-of-these");
    machine.run(["runway", "test", "--days", "0"]).exits(2);
}
