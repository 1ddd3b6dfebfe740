//! Which settings can be changed in the window: what each is called, means, and may be.

/// How a figure is shown and turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 0..=1 in the file, percent on the screen.
    Percent,
    Points,
    Times,
    Millis,
    Seconds,
    Minutes,
    Hours,
    Count,
}

impl Unit {
    /// What is shown, over what stands in the file.
    pub const fn scale(self) -> f64 {
        match self {
            Self::Percent => 100.0,
            _ => 1.0,
        }
    }

    pub const fn suffix(self) -> &'static str {
        match self {
            Self::Percent => " %",
            Self::Points => " points",
            Self::Times => "×",
            Self::Millis => " ms",
            Self::Seconds => " s",
            Self::Minutes => " min",
            Self::Hours => " h",
            Self::Count => "",
        }
    }

    /// Whole numbers in the file.
    pub const fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Points | Self::Seconds | Self::Minutes | Self::Hours | Self::Count
        )
    }
}

pub struct Row {
    /// As in the file.
    pub key: &'static str,
    pub name: &'static str,
    pub means: &'static str,
    pub unit: Unit,
    /// On the screen, in its unit.
    pub least: f64,
    pub most: f64,
}

pub struct Group {
    pub name: &'static str,
    pub means: &'static str,
    pub rows: &'static [Row],
}

const fn row(
    key: &'static str,
    name: &'static str,
    means: &'static str,
    unit: Unit,
    least: f64,
    most: f64,
) -> Row {
    Row {
        key,
        name,
        means,
        unit,
        least,
        most,
    }
}

const DAY_SECONDS: f64 = 86_400.0;

pub const GROUPS: [Group; 7] = [
    Group {
        name: "Limits",
        means: "Above these a VM is over capacity. One VM's own limits stand in the file, under its name.",
        rows: &[
            row(
                "limits.cpu",
                "CPU",
                "of a VM's vCPUs",
                Unit::Percent,
                1.0,
                100.0,
            ),
            row(
                "limits.memory",
                "Memory",
                "of a VM's memory",
                Unit::Percent,
                1.0,
                100.0,
            ),
        ],
    },
    Group {
        name: "When a shadow is proposed",
        means: "A forecast over its limit, or a health score that is too low.",
        rows: &[
            row(
                "forecast.min_probability",
                "Likely enough",
                "a crossing less likely is not proposed",
                Unit::Percent,
                0.0,
                100.0,
            ),
            row(
                "health.threshold",
                "Health under",
                "a lower score asks for a shadow",
                Unit::Points,
                0.0,
                100.0,
            ),
            row(
                "forecast.horizon_hours",
                "Looks ahead",
                "how far the fleet is forecast",
                Unit::Hours,
                1.0,
                336.0,
            ),
            row(
                "forecast.decision_minutes",
                "Time to decide",
                "proposed at most this long before it would be too late",
                Unit::Minutes,
                0.0,
                20_160.0,
            ),
            row(
                "forecast.raise_after_seconds",
                "Must stand for",
                "a need that is not urgent, before it is proposed",
                Unit::Seconds,
                0.0,
                3600.0,
            ),
            row(
                "forecast.withdraw_after_seconds",
                "Must be gone for",
                "before its proposal is withdrawn",
                Unit::Seconds,
                0.0,
                DAY_SECONDS,
            ),
        ],
    },
    Group {
        name: "What is healthy",
        means: "Bounds of a service and of the host below it.",
        rows: &[
            row(
                "health.response_millis",
                "Response time",
                "the objective at the balancer",
                Unit::Millis,
                1.0,
                60_000.0,
            ),
            row(
                "health.slow_factor",
                "Slow",
                "so many times a service's own normal",
                Unit::Times,
                1.0,
                100.0,
            ),
            row(
                "health.error_ratio",
                "Errors",
                "of its answers",
                Unit::Percent,
                0.0,
                100.0,
            ),
            row(
                "health.steal",
                "Steal",
                "time that the host takes away",
                Unit::Percent,
                0.0,
                100.0,
            ),
            row(
                "health.states.watch_below",
                "Watch under",
                "a score",
                Unit::Points,
                1.0,
                100.0,
            ),
            row(
                "health.states.risk_below",
                "Risk under",
                "a score",
                Unit::Points,
                1.0,
                100.0,
            ),
            row(
                "health.states.critical_below",
                "Critical under",
                "a score",
                Unit::Points,
                1.0,
                100.0,
            ),
        ],
    },
    Group {
        name: "What counts how much",
        means: "Factors on the points that each takes from 100: 1 as it is meant, 0 leaves it out.",
        rows: &[
            row(
                "health.weights.cpu",
                "CPU",
                "near or over its limit",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.memory",
                "Memory",
                "near or over its limit",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.disk",
                "Disk",
                "near or over its limit",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.net",
                "Network",
                "near or over its limit",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.steal",
                "Steal",
                "the host takes time away",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.response",
                "Response time",
                "over the objective or its own normal",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.errors",
                "Errors",
                "over the bound",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.forecast",
                "Forecast",
                "a likely crossing, the nearer the more",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.shadow",
                "Shadow",
                "behind its objective",
                Unit::Times,
                0.0,
                10.0,
            ),
            row(
                "health.weights.coverage",
                "Coverage",
                "gaps in what was measured",
                Unit::Times,
                0.0,
                10.0,
            ),
        ],
    },
    Group {
        name: "Shadows",
        means: "What a new plan starts from; shadows that stand keep theirs.",
        rows: &[
            row(
                "shadow.rpo_seconds",
                "Behind at most",
                "the objective of a new shadow (RPO)",
                Unit::Seconds,
                5.0,
                DAY_SECONDS,
            ),
            row(
                "shadow.max_share",
                "Share at most",
                "of the VM's traffic that a proposal may move",
                Unit::Percent,
                1.0,
                100.0,
            ),
            row(
                "shadow.margin",
                "Margin",
                "the original is brought this far under its limit",
                Unit::Percent,
                0.0,
                90.0,
            ),
            row(
                "shadow.pool_headroom",
                "Pool headroom",
                "of a pool's memory that stays free",
                Unit::Percent,
                0.0,
                90.0,
            ),
            row(
                "shadow.give_back_after_seconds",
                "Give back after",
                "the forecast is under the limit for so long",
                Unit::Seconds,
                0.0,
                7.0 * DAY_SECONDS,
            ),
        ],
    },
    Group {
        name: "Gate of a traffic move",
        means: "When one is broken the share goes back to zero by itself.",
        rows: &[
            row(
                "gate.error_ratio",
                "Errors",
                "of the shadow's answers",
                Unit::Percent,
                0.0,
                100.0,
            ),
            row(
                "gate.response_millis",
                "Response time",
                "of the shadow",
                Unit::Millis,
                1.0,
                60_000.0,
            ),
            row(
                "gate.window_seconds",
                "Window",
                "over which it is judged",
                Unit::Seconds,
                1.0,
                3600.0,
            ),
            row(
                "gate.min_requests",
                "Requests at least",
                "fewer in the window say nothing",
                Unit::Count,
                1.0,
                100_000.0,
            ),
        ],
    },
    Group {
        name: "Approvals",
        means: "",
        rows: &[
            row(
                "approval.lifetime_seconds",
                "Valid for",
                "then it is void if nothing has begun",
                Unit::Seconds,
                10.0,
                DAY_SECONDS,
            ),
            row(
                "approval.max_data_age_seconds",
                "Data at most",
                "older samples: no approval",
                Unit::Seconds,
                5.0,
                3600.0,
            ),
            row(
                "approval.proposal_lifetime_seconds",
                "Proposals last",
                "then they are made anew if the need stands",
                Unit::Seconds,
                60.0,
                DAY_SECONDS,
            ),
        ],
    },
];

/// Every row.
pub fn all() -> impl Iterator<Item = &'static Row> {
    GROUPS.iter().flat_map(|group| group.rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{Settings, edit},
        ui::views::settings::figure,
    };

    #[test]
    fn every_row_is_a_setting_and_its_ends_are_allowed() {
        let defaults = toml::Value::try_from(Settings::default()).unwrap();
        for row in all() {
            let value = figure(&defaults, row).unwrap_or_else(|| panic!("{} is none", row.key));
            assert!(
                (row.least..=row.most).contains(&value),
                "{} is {value}",
                row.key
            );
            // The bounds of states depend on each other; of the rest both ends must do by themselves.
            if row.key.starts_with("health.states") {
                continue;
            }
            for end in [row.least, row.most] {
                let change = super::super::change(row, end);
                edit::edit("", "s", &[change])
                    .unwrap_or_else(|problem| panic!("{} at {end}: {}", row.key, problem.why));
            }
        }
    }
}
