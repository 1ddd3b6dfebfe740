//! Which values the settings may have, and where in the file one stands that they may not.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{HistoryStore, Settings, position};
use crate::{health::Weights, metrics::Metric, problem::Problem, units::printable};

const RATIO: &str = "a ratio from 0 to 1";

/// A part of a key: the name in a table, or the place in a list.
pub(super) type Key<'a> = &'a str;

/// A settings file, as errors speak of it.
pub(super) struct File<'a> {
    text: &'a str,
    name: &'a str,
}

impl File<'_> {
    pub(super) fn out_of_range(
        &self,
        key: &[Key],
        value: &dyn std::fmt::Display,
        range: &str,
    ) -> Problem {
        // A default that no longer fits what else was set has no place of its own.
        let place = place(self.text, key).map_or_else(String::new, |(line, column)| {
            format!("line {line}, column {column}: ")
        });
        Problem::usage(
            format!(
                "The settings in {} were not read; nothing was changed.",
                self.name
            ),
            format!("{place}{} is {value}, and must be {range}", shown(key)),
            "Correct that value in the file and start again.",
        )
    }

    pub(super) fn within(
        &self,
        key: &[Key],
        value: f64,
        least: f64,
        most: f64,
    ) -> Result<(), Problem> {
        if (least..=most).contains(&value) {
            return Ok(());
        }
        let range = if most.is_finite() {
            format!("{least} to {most}")
        } else {
            format!("at least {least}")
        };
        Err(self.out_of_range(key, &value, &range))
    }
}

fn shown(key: &[&str]) -> String {
    let parts: Vec<String> = key
        .iter()
        .map(|part| {
            let bare = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if !part.is_empty() && part.chars().all(bare) {
                (*part).to_owned()
            } else {
                format!("\"{}\"", printable(part))
            }
        })
        .collect();
    parts.join(".")
}

/// Line and column of the value at `key`.
fn place(text: &str, key: &[Key]) -> Option<(usize, usize)> {
    let document = DeTable::parse(text).ok()?;
    let (first, parts) = key.split_first()?;
    let mut value = in_table(document.get_ref(), first)?;
    for part in parts {
        value = match value.get_ref() {
            DeValue::Table(table) => in_table(table, part)?,
            DeValue::Array(list) => list.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(position(text, value.span().start))
}

fn in_table<'a, 'i>(table: &'a DeTable<'i>, part: Key) -> Option<&'a Spanned<DeValue<'i>>> {
    let (_, value) = table.iter().find(|(name, _)| name.get_ref() == part)?;
    Some(value)
}

impl Settings {
    pub(super) fn check(&self, text: &str, name: &str) -> Result<(), Problem> {
        let file = File { text, name };
        self.check_ratios(&file)?;
        self.check_counts(&file)?;
        self.check_health(&file)?;
        self.check_validation(&file)?;
        self.check_types(&file)?;
        for metric in self.prometheus.queries.keys() {
            if Metric::from_name(metric).is_none() {
                let names = Metric::ALL.map(Metric::name).join(", ");
                return Err(file.out_of_range(
                    &["prometheus", "queries", metric],
                    &"of no metric",
                    &format!("of one of {names}"),
                ));
            }
        }
        let sends = self.prometheus.send || self.history.store == HistoryStore::Prometheus;
        if sends && self.prometheus.source.is_none() {
            return Err(file.out_of_range(
                &["prometheus", "source"],
                &"missing",
                "the name of the source that samples go to",
            ));
        }
        let hours = self.forecast.horizon_hours;
        file.within(
            &["forecast", "horizon_hours"],
            f64::from(hours),
            1.0,
            14.0 * 24.0,
        )?;
        let key = ["history", "max_gigabytes"];
        let gigabytes = self.history.max_gigabytes;
        if !gigabytes.is_finite() {
            return Err(file.out_of_range(&key, &gigabytes, "at least 0.1"));
        }
        file.within(&key, gigabytes, 0.1, f64::INFINITY)
    }

    fn check_ratios(&self, file: &File) -> Result<(), Problem> {
        let ratios = [
            (
                ["forecast", "min_probability"],
                self.forecast.min_probability,
            ),
            (["health", "error_ratio"], self.health.error_ratio),
            (["health", "steal"], self.health.steal),
            (["shadow", "margin"], self.shadow.margin),
            (["shadow", "max_share"], self.shadow.max_share),
            (["shadow", "pool_headroom"], self.shadow.pool_headroom),
            (["shadow", "seed_max_cpu"], self.shadow.seed_max_cpu),
            (["gate", "error_ratio"], self.gate.error_ratio),
        ];
        for (key, value) in ratios {
            if !(0.0..=1.0).contains(&value) {
                return Err(file.out_of_range(&key, &value, RATIO));
            }
        }
        let fleet = std::iter::once((vec!["limits"], &self.limits));
        let own = self
            .vm
            .iter()
            .map(|(vm, limits)| (vec!["vm", vm.as_str()], limits));
        for (table, limits) in fleet.chain(own) {
            for (key, value) in [("cpu", limits.cpu), ("memory", limits.memory)] {
                let Some(value) = value else { continue };
                if !(0.0..=1.0).contains(&value) {
                    let key: Vec<&str> = table.iter().copied().chain([key]).collect();
                    return Err(file.out_of_range(&key, &value, RATIO));
                }
            }
        }
        Ok(())
    }

    fn check_counts(&self, file: &File) -> Result<(), Problem> {
        let sampling = &self.sampling;
        let at_least_one = [
            (["sampling", "interval_seconds"], sampling.interval_seconds),
            (
                ["sampling", "inventory_seconds"],
                sampling.inventory_seconds,
            ),
            (["sampling", "deadline_seconds"], sampling.deadline_seconds),
            (["history", "samples_days"], self.history.samples_days),
            (
                ["history", "five_minutes_days"],
                self.history.five_minutes_days,
            ),
            (["history", "hours_days"], self.history.hours_days),
            (["forecast", "horizon_hours"], self.forecast.horizon_hours),
            (
                ["forecast", "refresh_seconds"],
                self.forecast.refresh_seconds,
            ),
            (["shadow", "rpo_seconds"], self.shadow.rpo_seconds),
            (["shadow", "keep_points"], self.shadow.keep_points),
            (["shadow", "max_chain"], self.shadow.max_chain),
            (["gate", "window_seconds"], self.gate.window_seconds),
            (
                ["promotion", "commit_window_seconds"],
                self.promotion.commit_window_seconds,
            ),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                return Err(file.out_of_range(&key, &value, "at least 1"));
            }
        }
        Ok(())
    }

    fn check_validation(&self, file: &File) -> Result<(), Problem> {
        let validation = &self.validation;
        for (key, value, least, most) in [
            ("at_once", validation.at_once, 1, 64),
            ("from_hour", validation.from_hour, 0, 23),
            ("until_hour", validation.until_hour, 0, 23),
            ("boot_seconds", validation.boot_seconds, 1, 3600),
            ("check_seconds", validation.check_seconds, 1, 3600),
            ("lifetime_seconds", validation.lifetime_seconds, 10, 86_400),
        ] {
            let key = ["validation", key];
            file.within(&key, f64::from(value), f64::from(least), f64::from(most))?;
        }
        for (number, check) in validation.check.iter().enumerate() {
            if let Err(why) = check.check() {
                return Err(file.out_of_range(
                    &["validation", "check"],
                    &format!("wrong: number {} {why}", number + 1),
                    "what docs/validation.md says of its kind",
                ));
            }
        }
        Ok(())
    }

    fn check_health(&self, file: &File) -> Result<(), Problem> {
        let health = &self.health;
        file.within(
            &["health", "threshold"],
            f64::from(health.threshold),
            0.0,
            100.0,
        )?;
        for (key, value, least) in [
            ("response_millis", health.response_millis, 1.0),
            ("slow_factor", health.slow_factor, 1.0),
            ("slow_floor_millis", health.slow_floor_millis, 0.0),
        ] {
            file.within(&["health", key], value, least, 1e9)?;
        }
        for (key, value) in health.weights.named() {
            file.within(&["health", "weights", key], value, 0.0, Weights::MOST)?;
        }
        let states = &health.states;
        // With the margin on top, a hundred must still be good enough for the best state.
        let most = 100_u8.saturating_sub(states.margin);
        for (key, value, most) in [
            ("watch_below", states.watch_below, most),
            ("risk_below", states.risk_below, states.watch_below),
            ("critical_below", states.critical_below, states.risk_below),
        ] {
            let key = ["health", "states", key];
            file.within(&key, f64::from(value), 0.0, f64::from(most))?;
        }
        Ok(())
    }
}
