//! Settings: thresholds, limits, gates and intervals, from one commented TOML file.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    health::{StateBounds, Weights},
    problem::Problem,
    replication::ladder::Ladder,
};

mod check;
pub mod edit;
mod judging;
pub mod types;
pub mod validation;

use types::TypeRule;

/// Everything that an operator can set. `Settings::default()` and `DEFAULT_TOML` say the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub sampling: Sampling,
    pub history: HistorySettings,
    pub prometheus: PrometheusSettings,
    pub forecast: ForecastSettings,
    #[serde(deserialize_with = "fleet_limits")]
    pub limits: Limits,
    pub health: HealthSettings,
    pub shadow: ShadowSettings,
    pub gate: GateSettings,
    pub promotion: PromotionSettings,
    pub validation: ValidationSettings,
    pub approval: ApprovalSettings,
    /// The first that fits names a VM's type.
    pub types: Vec<TypeRule>,
    /// By VM name.
    pub vm: BTreeMap<String, Limits>,
}

pub use validation::ValidationSettings;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    pub interval_seconds: u32,
    pub inventory_seconds: u32,
    /// A host's statistics call that takes longer counts as hung.
    pub deadline_seconds: u32,
}

/// How long what was measured is kept, by resolution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HistorySettings {
    pub store: HistoryStore,
    pub samples_days: u32,
    pub five_minutes_days: u32,
    pub hours_days: u32,
    /// Above this the oldest go first, the finest before the coarser.
    pub max_gigabytes: f64,
}

/// Where screens and forecasts read history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryStore {
    #[default]
    Own,
    /// The server that `prometheus.source` names; samples go there too.
    Prometheus,
}

/// The server that samples go to, and what is asked of Prometheus in place of the usual queries, by metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusSettings {
    /// The name of a source.
    pub source: Option<String>,
    /// Samples go to `source` by remote write.
    pub send: bool,
    pub queries: BTreeMap<String, String>,
}

impl HistorySettings {
    pub fn max_bytes(&self) -> u64 {
        (self.max_gigabytes * 1e9) as u64
    }
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            store: HistoryStore::Own,
            samples_days: 2,
            five_minutes_days: 90,
            hours_days: 3 * 365,
            max_gigabytes: 20.0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForecastSettings {
    pub horizon_hours: u32,
    pub refresh_seconds: u32,
    /// A crossing is proposed only at or above this probability, 0..=1.
    pub min_probability: f64,
    /// A proposal comes at most this long before it would be too late to begin.
    pub decision_minutes: u32,
    /// A need that is not urgent must stand for this long before it is proposed.
    pub raise_after_seconds: u32,
    /// And be gone for this long before the proposal is withdrawn.
    pub withdraw_after_seconds: u32,
}

/// Above these a VM is over capacity. `None`: no limit is known, and no crossing is claimed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// 0..=1 of the VM's vCPUs.
    pub cpu: Option<f64>,
    /// 0..=1 of the VM's memory.
    pub memory: Option<f64>,
    pub disk_bytes_per_sec: Option<f64>,
    pub net_bytes_per_sec: Option<f64>,
}

impl Limits {
    const fn of_fleet() -> Self {
        Self {
            cpu: Some(0.85),
            memory: Some(0.9),
            disk_bytes_per_sec: None,
            net_bytes_per_sec: None,
        }
    }
}

/// Where the file names one of the fleet's limits, the others keep their defaults.
fn fleet_limits<'de, D: Deserializer<'de>>(from: D) -> Result<Limits, D::Error> {
    let named = Limits::deserialize(from)?;
    let others = Limits::of_fleet();
    Ok(Limits {
        cpu: named.cpu.or(others.cpu),
        memory: named.memory.or(others.memory),
        ..named
    })
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// A score under this asks for a shadow.
    pub threshold: u8,
    pub response_millis: f64,
    /// So many times its own normal is slow for a service.
    pub slow_factor: f64,
    /// Faster than this is never slow.
    pub slow_floor_millis: f64,
    /// 0..=1.
    pub error_ratio: f64,
    /// 0..=1.
    pub steal: f64,
    pub weights: Weights,
    pub states: StateBounds,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowSettings {
    pub rpo_seconds: u32,
    /// The primary's p95 is brought this far under its limit, 0..=1.
    pub margin: f64,
    pub max_share: f64,
    /// The newest recovery points, so many, are kept.
    pub keep_points: u32,
    /// And the newest of each hour, for so many hours.
    pub keep_hourly: u32,
    /// And the newest of each day, for so many days.
    pub keep_daily: u32,
    /// Layers under the newest point before the chain is flattened.
    pub max_chain: u32,
    /// 0..=1 of a pool's memory that stays free after placement.
    pub pool_headroom: f64,
    /// 0..=1 of the primary's CPU above which a seed waits.
    pub seed_max_cpu: f64,
    /// Seconds that a seed waits for the load to fall before it goes on all the same.
    pub seed_wait_seconds: u32,
    pub freeze_filesystems: bool,
    pub answer_timeout_seconds: u32,
    /// The forecast must be under the limit for this long before a shadow is given back.
    pub give_back_after_seconds: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateSettings {
    /// 0..=1 of the shadow's requests.
    pub error_ratio: f64,
    pub response_millis: f64,
    pub window_seconds: u32,
    /// Fewer requests in the window say nothing.
    pub min_requests: u32,
}

/// How long a promotion can be taken back, and what comes then.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PromotionSettings {
    pub commit_window_seconds: u32,
    pub at_expiry: AtExpiry,
    /// A primary that came back is asked to shut down, and its power is cut after this.
    pub stop_grace_seconds: u32,
}

/// What happens when a commit window ends. It is never rolled back by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AtExpiry {
    #[default]
    Ask,
    Commit,
}

impl Default for PromotionSettings {
    fn default() -> Self {
        Self {
            commit_window_seconds: 1800,
            at_expiry: AtExpiry::Ask,
            stop_grace_seconds: 20,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalSettings {
    pub lifetime_seconds: u32,
    /// Older samples than this: no approval.
    pub max_data_age_seconds: u32,
    pub proposal_lifetime_seconds: u32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            interval_seconds: 10,
            inventory_seconds: 30,
            deadline_seconds: 8,
        }
    }
}

impl Default for ForecastSettings {
    fn default() -> Self {
        Self {
            horizon_hours: 12,
            refresh_seconds: 300,
            min_probability: 0.5,
            decision_minutes: 720,
            raise_after_seconds: 30,
            withdraw_after_seconds: 120,
        }
    }
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            threshold: 50,
            response_millis: 500.0,
            slow_factor: 3.0,
            slow_floor_millis: 100.0,
            error_ratio: 0.01,
            steal: 0.1,
            weights: Weights::default(),
            states: StateBounds::default(),
        }
    }
}

impl Default for ShadowSettings {
    fn default() -> Self {
        Self {
            rpo_seconds: 60,
            margin: 0.1,
            max_share: 0.6,
            keep_points: 8,
            keep_hourly: 12,
            keep_daily: 7,
            max_chain: 48,
            pool_headroom: 0.1,
            seed_max_cpu: 0.9,
            seed_wait_seconds: 120,
            freeze_filesystems: false,
            answer_timeout_seconds: 120,
            give_back_after_seconds: 7200,
        }
    }
}

impl Default for GateSettings {
    fn default() -> Self {
        Self {
            error_ratio: 0.02,
            response_millis: 1000.0,
            window_seconds: 10,
            min_requests: 20,
        }
    }
}

impl Default for ApprovalSettings {
    fn default() -> Self {
        Self {
            lifetime_seconds: 600,
            max_data_age_seconds: 120,
            proposal_lifetime_seconds: 1800,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sampling: Sampling::default(),
            history: HistorySettings::default(),
            prometheus: PrometheusSettings::default(),
            forecast: ForecastSettings::default(),
            limits: Limits::of_fleet(),
            health: HealthSettings::default(),
            shadow: ShadowSettings::default(),
            gate: GateSettings::default(),
            promotion: PromotionSettings::default(),
            validation: ValidationSettings::default(),
            approval: ApprovalSettings::default(),
            types: Vec::new(),
            vm: BTreeMap::new(),
        }
    }
}

/// The settings file as it is first written: every key with its unit and default.
pub const DEFAULT_TOML: &str = include_str!("policy_default.toml");

impl Settings {
    /// Reads a settings file; `name` is how errors call it.
    ///
    /// # Errors
    /// Says line and column of what cannot be read, and which value is out of its range.
    pub fn parse(text: &str, name: &str) -> Result<Self, Problem> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = error
                .span()
                .map_or((1, 1), |span| position(text, span.start));
            Problem::usage(
                format!("The settings in {name} were not read; nothing was changed."),
                format!("line {line}, column {column}: {}", error.message()),
                "Correct that place in the file and start again.",
            )
        })?;
        settings.check(text, name)?;
        Ok(settings)
    }

    /// The recovery points that are kept.
    pub fn ladder(&self) -> Ladder {
        Ladder {
            last: self.shadow.keep_points,
            hourly: self.shadow.keep_hourly,
            daily: self.shadow.keep_daily,
        }
    }

    /// The source that samples are sent to.
    pub fn sends_to(&self) -> Option<&str> {
        let sends = self.prometheus.send || self.history.store == HistoryStore::Prometheus;
        self.prometheus.source.as_deref().filter(|_| sends)
    }

    /// The limits of one VM: its own where set, else the fleet's.
    pub fn limits_of(&self, vm_name: &str) -> Limits {
        let own = self.vm.get(vm_name).cloned().unwrap_or_default();
        Limits {
            cpu: own.cpu.or(self.limits.cpu),
            memory: own.memory.or(self.limits.memory),
            disk_bytes_per_sec: own.disk_bytes_per_sec.or(self.limits.disk_bytes_per_sec),
            net_bytes_per_sec: own.net_bytes_per_sec.or(self.limits.net_bytes_per_sec),
        }
    }
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text[..offset.min(text.len())];
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_file_says_what_the_defaults_are() {
        assert_eq!(
            Settings::parse(DEFAULT_TOML, "settings.toml").unwrap(),
            Settings::default()
        );
    }

    #[test]
    fn a_broken_file_names_line_and_column() {
        let problem =
            Settings::parse("[sampling]\ninterval_seconds = x\n", "settings.toml").unwrap_err();
        assert!(
            problem.why.starts_with("line 2, column 20"),
            "{}",
            problem.why
        );
    }

    #[test]
    fn one_limit_in_the_file_leaves_the_other_as_it_was() {
        let settings = Settings::parse("[limits]\ncpu = 0.7\n", "s").unwrap();
        assert_eq!(settings.limits.cpu, Some(0.7));
        assert_eq!(settings.limits.memory, Some(0.9));
    }

    #[test]
    fn an_unknown_key_and_a_value_out_of_range_are_refused() {
        assert!(
            Settings::parse("[sampling]\nintervall = 3\n", "s")
                .unwrap_err()
                .why
                .contains("intervall")
        );
        let problem = Settings::parse("[vm.\"web 1\"]\ncpu = 85\n", "s").unwrap_err();
        assert!(
            problem.why.contains("vm.\"web 1\".cpu is 85"),
            "{}",
            problem.why
        );
    }

    #[test]
    fn a_value_out_of_its_range_is_named_with_its_place() {
        for (text, why) in [
            (
                "[health]\nthreshold = 50\n[health.weights]\ncpu = 11.0\n",
                "line 4, column 7: health.weights.cpu is 11",
            ),
            (
                "[health]\nweights = { memory = -1.0 }\n",
                "line 2, column 22: health.weights.memory is -1",
            ),
            (
                "[health.states]\nrisk_below = 90\n",
                "line 2, column 14: health.states.risk_below is 90",
            ),
            (
                "[health.states]\nwatch_below = 99\n",
                "line 2, column 15: health.states.watch_below is 99",
            ),
            (
                "[health]\nslow_factor = 0.5\n",
                "line 2, column 15: health.slow_factor is 0.5",
            ),
            (
                "[health]\nthreshold = 101\n",
                "line 2, column 13: health.threshold is 101",
            ),
            (
                "[vm.\"web 1\"]\ncpu = nan\n",
                "line 2, column 7: vm.\"web 1\".cpu is NaN",
            ),
        ] {
            let problem = Settings::parse(text, "s").unwrap_err();
            assert!(problem.why.starts_with(why), "{} / {why}", problem.why);
        }
    }
}
