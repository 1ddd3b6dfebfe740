//! Which VMs of the fleet are shown.

use std::sync::Arc;

use crate::{
    engine::snapshot::{Snapshot, VmView},
    health::HealthState,
    ui::{widgets::heatmap::Colour, words},
};

/// The VMs that pass the filter, worked out anew only for other words or VMs.
pub(super) struct Filtered {
    pub(super) of: Arc<Vec<VmView>>,
    pub(super) typed: String,
    pub(super) shown: Arc<Vec<u32>>,
    pub(super) bins: [u32; 50],
    pub(super) colour: Colour,
    pub(super) shadows: usize,
    pub(super) crossing: usize,
    pub(super) silent: usize,
}

/// A filter as it is typed: words of the name, `pool:…`, `health:…`.
pub(super) struct Wanted {
    names: Vec<String>,
    pools: Vec<String>,
    health: Vec<String>,
}

impl Wanted {
    pub(super) fn parse(typed: &str) -> Self {
        let mut wanted = Self {
            names: Vec::new(),
            pools: Vec::new(),
            health: Vec::new(),
        };
        for word in typed.to_lowercase().split_whitespace() {
            if let Some(pool) = word.strip_prefix("pool:") {
                wanted.pools.push(pool.to_owned());
            } else if let Some(health) = word.strip_prefix("health:") {
                wanted.health.push(health.to_owned());
            } else {
                wanted.names.push(word.to_owned());
            }
        }
        wanted
    }

    pub(super) fn takes(&self, view: &VmView, now: &Snapshot) -> bool {
        let name = view.vm.name.to_lowercase();
        let health = match view.health.state {
            HealthState::Ok => "ok",
            HealthState::Watch => "watch",
            HealthState::Risk => "risk",
            HealthState::Critical => "critical",
            HealthState::Unknown => "unknown",
        };
        self.names.iter().all(|word| name.contains(word))
            && (self.health.is_empty()
                || self
                    .health
                    .iter()
                    .any(|word| health.starts_with(word.as_str())))
            && (self.pools.is_empty() || {
                let pool = words::pool(now, &view.vm.pool).to_lowercase();
                self.pools.iter().any(|word| pool.contains(word))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_takes_names_pools_and_health() {
        let wanted = Wanted::parse("Api pool:Prod  health:risk");
        assert_eq!(wanted.names, ["api"]);
        assert_eq!(wanted.pools, ["prod"]);
        assert_eq!(wanted.health, ["risk"]);
    }
}
