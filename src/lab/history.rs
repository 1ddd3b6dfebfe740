//! Two weeks of history of the lab's guests, from the same curve that the live load follows.

use std::io::Write;

use super::{layout::Layout, record::Record};
use crate::{metrics::Metric, problem::Problem, units::Timestamp};

const STEP_SECONDS: u32 = 300;
const STEPS: i64 = 14 * 288;

/// Writes `vm,metric,at,value` in steps of five minutes, up to the last whole step before `now`; returns the rows.
///
/// libvirt counts no traffic of user-mode networking, so `net` has neither a live value nor a history here.
///
/// # Errors
/// When there is no lab, or `out` cannot be written.
pub fn write_csv(layout: &Layout, out: impl Write, now: Timestamp) -> Result<u64, Problem> {
    let failed = |why: String| {
        Problem::failed(
            "The guests' history was not written.",
            why,
            "Start the lab with `shadowcast lab up`.",
        )
    };
    let record = Record::load(layout)?
        .ok_or_else(|| failed(format!("there is no lab in {}", layout.dir.display())))?;
    write_rows(&record, out, now).map_err(|error| failed(error.to_string()))
}

fn write_rows(record: &Record, out: impl Write, now: Timestamp) -> csv::Result<u64> {
    let mut table = csv::Writer::from_writer(out);
    table.write_record(["vm", "metric", "at", "value"])?;
    let end = now.floor_to(STEP_SECONDS);
    let mut rows = 0;
    for guest in &record.guests {
        let (Some(curve), Some(calibration)) = (record.curve(guest), guest.calibration) else {
            continue;
        };
        for step in (1..=STEPS).rev() {
            let at = end.plus_secs(-step * i64::from(STEP_SECONDS));
            let departure = 1.0 + 0.3 * curve.departure(at.as_secs());
            let cpu = curve.usual_cpu(at).max(calibration.idle_cpu);
            let values = [
                (Metric::Cpu, Some(cpu)),
                (
                    Metric::Memory,
                    calibration
                        .memory_used
                        .map(|used| (used * departure).min(1.0)),
                ),
                (
                    Metric::Disk,
                    Some(calibration.disk_bytes_per_second * departure),
                ),
            ];
            let moment = at.to_string();
            for (metric, value) in values {
                let Some(value) = value else { continue };
                let value = format!("{value:.5}");
                table.write_record([&guest.name, metric.name(), &moment, &value])?;
                rows += 1;
            }
        }
    }
    table.flush()?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{catalogue, load::usual_rate};

    #[test]
    fn history_and_live_load_are_one_curve() {
        let record = catalogue::calibrated(3);
        let now = Timestamp::parse("2026-11-18T15:02:11Z").unwrap();
        let mut bytes = Vec::new();
        let rows = write_rows(&record, &mut bytes, now).unwrap();
        assert_eq!(rows, 3 * 3 * 4032);
        let shop = record.members("shop").next().unwrap();
        let calibration = shop.calibration.unwrap();
        let mut table = csv::Reader::from_reader(&*bytes);
        let mut newest = None;
        for row in table.records().map(Result::unwrap) {
            if &row[0] != "shop-1" || &row[1] != "cpu" {
                continue;
            }
            let at = Timestamp::parse(&row[2]).unwrap();
            let live = calibration.idle_cpu
                + usual_rate(&record, "shop", at) * calibration.cpu_seconds_per_request;
            assert!((row[3].parse::<f64>().unwrap() - live).abs() < 1e-4, "{at}");
            newest = Some(at);
        }
        assert_eq!(newest, Timestamp::parse("2026-11-18T14:55:00Z"));
    }
}
