//! The documents that scripts rely on: stable names, RFC 3339 UTC, ratios 0..=1, bytes and milliseconds as integers.
//!
//! The snapshot may change its form; these may only gain fields.

use std::sync::Arc;

use serde::Serialize;

use crate::{
    engine::snapshot::{ShadowView, Snapshot},
    validation::proof::Proof,
};

mod capacity;
mod change;
mod fleet;
mod replay;
mod reservation;
#[cfg(test)]
mod tests;
mod together;
mod types;

pub use capacity::{ForecastRecordJson, OneRecordJson, RunwayJson};
pub use change::{
    OneOperationJson, OperationJson, PointsJson, ProofJson, ProposalJson, ServiceJson, ShadowJson,
    TrafficJson, state_word,
};
pub use fleet::{ForecastJson, HealthJson, HistoryJson, OneVmJson, PoolJson, SourceJson, VmJson};
pub use replay::{ReplayJson, ReplaySummary, ReplaysJson};
pub use reservation::reservations;
pub use together::{ContributionJson, TogetherJson};
pub use types::{ProfileJson, TypeJson, TypesJson};

/// Under the listing's own name, so that a document can gain fields beside the list.
macro_rules! listing {
    ($document:ident, $field:ident: $item:ty) => {
        #[derive(Serialize)]
        pub struct $document<'a> {
            pub $field: Vec<$item>,
        }
    };
}

listing!(Sources, sources: SourceJson<'a>);
listing!(Pools, pools: PoolJson<'a>);
listing!(Vms, vms: VmJson<'a>);
listing!(Healths, health: HealthJson<'a>);
listing!(Proposals, proposals: ProposalJson<'a>);
listing!(Operations, operations: OperationJson<'a>);
listing!(Shadows, shadows: ShadowJson<'a>);
listing!(Proofs, proofs: ProofJson<'a>);
listing!(Services, services: ServiceJson<'a>);
listing!(Traffics, services: TrafficJson<'a>);

/// The lists of a snapshot, in its order.
pub fn sources(now: &Snapshot) -> Sources<'_> {
    Sources {
        sources: now.sources.iter().map(SourceJson::from).collect(),
    }
}

pub fn pools(now: &Snapshot) -> Pools<'_> {
    Pools {
        pools: now.pools.iter().map(PoolJson::from).collect(),
    }
}

pub fn vms(now: &Snapshot) -> Vms<'_> {
    Vms {
        vms: now.vms.iter().map(VmJson::from).collect(),
    }
}

pub fn proposals(now: &Snapshot) -> Proposals<'_> {
    Proposals {
        proposals: (now.proposals.iter())
            .map(Arc::as_ref)
            .map(ProposalJson::from)
            .collect(),
    }
}

pub fn operations(now: &Snapshot) -> Operations<'_> {
    Operations {
        operations: now.operations.iter().map(OperationJson::from).collect(),
    }
}

pub fn shadows(now: &Snapshot) -> Shadows<'_> {
    Shadows {
        shadows: now.shadows.iter().map(ShadowJson::from).collect(),
    }
}

pub fn points(view: &ShadowView) -> PointsJson<'_> {
    PointsJson::from(view)
}

pub fn proofs(proofs: &[Proof]) -> Proofs<'_> {
    Proofs {
        proofs: proofs.iter().map(ProofJson::from).collect(),
    }
}

pub fn services(now: &Snapshot) -> Services<'_> {
    Services {
        services: now.services.iter().map(ServiceJson::from).collect(),
    }
}

pub fn traffic(now: &Snapshot) -> Traffics<'_> {
    Traffics {
        services: now.services.iter().map(TrafficJson::from).collect(),
    }
}
