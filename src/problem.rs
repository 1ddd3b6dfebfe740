//! What a person reads when something did not happen: what, why, and what to do now.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Decides the exit code of a verb and whether a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// It was tried and did not work.
    Failed,
    /// The words of the command are off.
    Usage,
    /// A rule forbids it: stale plan, policy, missing approval, read-only source.
    Refused,
    /// A platform could not be reached.
    Unreachable,
    /// An operation is parked and asks for an answer.
    NeedsAnswer,
}

impl ProblemKind {
    /// The exit code that scripts rely on.
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Refused => 3,
            Self::Unreachable => 4,
            Self::NeedsAnswer => 5,
        }
    }
}

/// An error for people, in three parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub kind: ProblemKind,
    /// What did not happen.
    pub what: String,
    pub why: String,
    /// What to do now.
    pub next: String,
}

impl Problem {
    pub fn new(
        kind: ProblemKind,
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            why: why.into(),
            next: next.into(),
        }
    }

    pub fn failed(
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self::new(ProblemKind::Failed, what, why, next)
    }

    pub fn usage(what: impl Into<String>, why: impl Into<String>, next: impl Into<String>) -> Self {
        Self::new(ProblemKind::Usage, what, why, next)
    }

    pub fn refused(
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self::new(ProblemKind::Refused, what, why, next)
    }

    pub fn unreachable(
        what: impl Into<String>,
        why: impl Into<String>,
        next: impl Into<String>,
    ) -> Self {
        Self::new(ProblemKind::Unreachable, what, why, next)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n  why: {}\n  now: {}",
            self.what, self.why, self.next
        )
    }
}

impl std::error::Error for Problem {}
