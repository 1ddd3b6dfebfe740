//! How much each contribution counts.

use serde::{Deserialize, Serialize};

/// Factors on the points of each contribution: 1 as described, 0 leaves it out.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    pub cpu: f64,
    pub memory: f64,
    pub disk: f64,
    pub net: f64,
    pub steal: f64,
    pub response: f64,
    pub errors: f64,
    pub forecast: f64,
    pub shadow: f64,
    pub coverage: f64,
}

impl Weights {
    /// More than this and one contribution says all.
    pub const MOST: f64 = 10.0;

    /// Each with its name in the settings.
    pub const fn named(&self) -> [(&'static str, f64); 10] {
        [
            ("cpu", self.cpu),
            ("memory", self.memory),
            ("disk", self.disk),
            ("net", self.net),
            ("steal", self.steal),
            ("response", self.response),
            ("errors", self.errors),
            ("forecast", self.forecast),
            ("shadow", self.shadow),
            ("coverage", self.coverage),
        ]
    }
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            cpu: 1.0,
            memory: 1.0,
            disk: 1.0,
            net: 1.0,
            steal: 1.0,
            response: 1.0,
            errors: 1.0,
            forecast: 1.0,
            shadow: 1.0,
            coverage: 1.0,
        }
    }
}
