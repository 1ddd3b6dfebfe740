//! Rules by which verbs fail, hang, or do their work and lose the reply.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{hypervisor::PlatformError, units::SourceName};

/// Every call that can be made to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    Examine,
    Inventory,
    Sample,
    History,
    Owned,
    Definition,
    EnsureIncrement,
    ReadSpool,
    EnsureIncrementFinished,
    EnsureIncrementAbsent,
    EnsureReplicationAbsent,
    EnsurePaused,
    EnsureFenced,
    EnsureUnfenced,
    EnsureLayer,
    EnsureFlattened,
    EnsureMerged,
    EnsureVolumesAbsent,
    EnsureManifest,
    EnsureManifestAbsent,
    EnsureShadow,
    EnsureOverlays,
    EnsurePower,
    EnsureShadowAbsent,
    EnsureClone,
    EnsureCloneAbsent,
    /// Its console, its agent, its ports.
    AskClone,
    LayerDigest,
    EnsureLease,
    ReleaseLease,
    ReadBalancer,
    EnsureServer,
    EnsureWeights,
    EnsureServerAbsent,
    Probe,
}

/// What happens in place of an undisturbed call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing has happened.
    FailBefore(PlatformError),
    /// Half of it has happened: a job that never ended, a volume that is cut short. Verbs that have no half fail before.
    FailMidway(PlatformError),
    /// It has happened, and the reply is lost.
    FailAfter(PlatformError),
    /// It takes so much longer.
    Hang { millis: u64 },
}

/// The `count` calls of `verb` after the first `skip` go wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultRule {
    /// `None`: on every source.
    pub source: Option<SourceName>,
    pub verb: Verb,
    pub skip: u32,
    pub count: u32,
    pub kind: FaultKind,
}

impl FaultRule {
    /// The next call of `verb` on any source.
    pub const fn next(verb: Verb, kind: FaultKind) -> Self {
        Self {
            source: None,
            verb,
            skip: 0,
            count: 1,
            kind,
        }
    }
}

/// The rules that are left, and how often each verb was called.
#[derive(Default)]
pub(super) struct Faults {
    rules: Vec<FaultRule>,
    calls: BTreeMap<(SourceName, Verb), u64>,
}

impl Faults {
    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn calls(&self, verb: Verb) -> u64 {
        self.calls
            .iter()
            .filter(|((_, called), _)| *called == verb)
            .map(|(_, count)| count)
            .sum()
    }

    /// Counts a call and says what goes wrong with it.
    pub(super) fn meet(&mut self, source: &SourceName, verb: Verb) -> Option<FaultKind> {
        *self.calls.entry((source.clone(), verb)).or_default() += 1;
        let at = self.rules.iter().position(|rule| {
            rule.verb == verb && rule.source.as_ref().is_none_or(|wanted| wanted == source)
        })?;
        let rule = &mut self.rules[at];
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.count = rule.count.saturating_sub(1);
        let kind = rule.kind.clone();
        if rule.count == 0 {
            self.rules.remove(at);
        }
        Some(kind)
    }
}
