//! What a view gets for one pass, and what it can ask for.

use std::sync::Arc;

use super::{
    action::Action, details::Details, facts::Facts, format::Clock, reports::Reports,
    widgets::chart::Lines,
};
use crate::{
    engine::{
        command::Command,
        snapshot::{Snapshot, VmDetail, VmView},
    },
    metrics::Metric,
    units::{OperationId, ProposalId, ShadowId, VmId},
};

/// The screens of the navigation, and the page of one VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Screen {
    #[default]
    Now,
    Fleet,
    Capacity,
    Shadows,
    Timeline,
    Events,
    Sources,
    Settings,
}

impl Screen {
    pub const ALL: [Self; 8] = [
        Self::Now,
        Self::Fleet,
        Self::Capacity,
        Self::Shadows,
        Self::Timeline,
        Self::Events,
        Self::Sources,
        Self::Settings,
    ];

    pub const fn action(self) -> Action {
        match self {
            Self::Now => Action::Now,
            Self::Fleet => Action::Fleet,
            Self::Capacity => Action::Capacity,
            Self::Shadows => Action::Shadows,
            Self::Timeline => Action::Timeline,
            Self::Events => Action::Events,
            Self::Sources => Action::Sources,
            Self::Settings => Action::Settings,
        }
    }
}

/// Where a view wants to lead.
#[derive(Clone, Debug, PartialEq)]
pub enum Go {
    To(Screen),
    /// The VM's page, or back from it.
    OpenVm(VmId),
    Back,
    SelectVm(VmId),
    Proposal(ProposalId),
    Operation(OperationId),
    /// Ask whether an operation is to be undone.
    Undo(OperationId),
    Shadow(ShadowId),
}

/// How far back the charts look; one for all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Range {
    Hour,
    SixHours,
    #[default]
    HalfDay,
    Day,
    Week,
}

impl Range {
    pub const ALL: [Self; 5] = [
        Self::Hour,
        Self::SixHours,
        Self::HalfDay,
        Self::Day,
        Self::Week,
    ];

    pub const fn seconds(self) -> u32 {
        match self {
            Self::Hour => 3600,
            Self::SixHours => 6 * 3600,
            Self::HalfDay => 12 * 3600,
            Self::Day => 24 * 3600,
            Self::Week => 7 * 24 * 3600,
        }
    }

    pub const fn text(self) -> &'static str {
        match self {
            Self::Hour => "Last 1 h",
            Self::SixHours => "Last 6 h",
            Self::HalfDay => "Last 12 h",
            Self::Day => "Last 24 h",
            Self::Week => "Last 7 d",
        }
    }

    /// As far ahead as back, but no farther than forecasts look.
    pub fn horizon_seconds(self, now: &Snapshot) -> u32 {
        self.seconds().min(now.horizon_seconds.max(3600))
    }
}

/// One pass over the window: what is known, what was pressed, what is asked.
pub struct Pass<'a> {
    pub now: &'a Arc<Snapshot>,
    pub facts: &'a Facts,
    pub clock: &'a Clock,
    pub range: Range,
    pub by: &'a str,
    pub keys: &'a [Action],
    /// Why nothing can be decided now; `None` while the engine is well.
    pub blocked: Option<&'a str>,
    pub details: &'a mut Details,
    pub reports: &'a mut Reports,
    pub lines: &'a mut Lines,
    pub out: &'a mut Vec<Command>,
    pub go: &'a mut Vec<Go>,
}

impl Pass<'_> {
    pub fn pressed(&self, action: Action) -> bool {
        self.keys.contains(&action)
    }

    /// The history and forecast of a VM in the range of the window; the one before while the newest is on its way.
    pub fn detail(&mut self, view: &VmView, metric: Metric) -> Option<Arc<VmDetail>> {
        let horizon = self.range.horizon_seconds(self.now);
        self.details.want(
            &view.vm.id,
            metric,
            (self.range.seconds(), horizon),
            view.detail_version,
        )
    }
}
