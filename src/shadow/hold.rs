//! Raised only when a need has held, withdrawn only when it has been gone for a while.

use super::Urgency;
use crate::units::Timestamp;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldPolicy {
    /// A need must stand for this long, unless it is [`Urgency::Now`].
    pub raise_after_seconds: u32,
    /// And be gone for this long.
    pub withdraw_after_seconds: u32,
}

impl Default for HoldPolicy {
    fn default() -> Self {
        Self {
            raise_after_seconds: 30,
            withdraw_after_seconds: 120,
        }
    }
}

/// Since when a VM's need stands, or is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    since: Option<Timestamp>,
    gone_since: Option<Timestamp>,
    /// It was there at the first look: it has not just come up, and a console that was opened shows it.
    found: bool,
}

impl Held {
    /// Takes whether the need is there now. A moment in which nothing is known must not be put here.
    #[must_use]
    pub fn after(self, needed: bool, at: Timestamp) -> Self {
        if needed {
            Self {
                since: self.since.or(Some(at)),
                gone_since: None,
                found: self.found || self == Self::default(),
            }
        } else {
            Self {
                since: None,
                gone_since: self.gone_since.or(Some(at)),
                found: false,
            }
        }
    }

    /// Whether what is needed may be proposed.
    pub fn may_raise(self, urgency: Urgency, at: Timestamp, policy: HoldPolicy) -> bool {
        match urgency {
            // Waiting costs what little time there is; giving back has held for hours by itself.
            Urgency::Now | Urgency::GiveBack => true,
            Urgency::Soon | Urgency::Later => self.since.is_some_and(|since| {
                self.found || at.secs_since(since) >= i64::from(policy.raise_after_seconds)
            }),
        }
    }

    /// Whether what was proposed may be withdrawn.
    pub fn may_withdraw(self, at: Timestamp, policy: HoldPolicy) -> bool {
        self.gone_since
            .is_some_and(|gone| at.secs_since(gone) >= i64::from(policy.withdraw_after_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: HoldPolicy = HoldPolicy {
        raise_after_seconds: 30,
        withdraw_after_seconds: 120,
    };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    #[test]
    fn a_need_holds_before_it_is_raised_unless_it_is_now() {
        let held = Held::default().after(false, at(-10)).after(true, at(0));
        let held = held.after(true, at(29));
        assert!(!held.may_raise(Urgency::Soon, at(29), POLICY));
        assert!(held.may_raise(Urgency::Now, at(29), POLICY));
        assert!(held.may_raise(Urgency::Later, at(30), POLICY));
    }

    #[test]
    fn a_need_that_flickers_is_neither_raised_nor_withdrawn() {
        let mut held = Held::default().after(false, at(-20));
        for second in (0..3600).step_by(20) {
            held = held.after(second % 40 == 0, at(second));
            assert!(
                !held.may_raise(Urgency::Soon, at(second), POLICY),
                "{second}"
            );
            assert!(!held.may_withdraw(at(second), POLICY), "{second}");
        }
    }

    #[test]
    fn what_is_there_at_the_first_look_is_raised_at_once() {
        let held = Held::default().after(true, at(0));
        assert!(held.may_raise(Urgency::Later, at(0), POLICY));
        let again = held.after(false, at(10)).after(true, at(20));
        assert!(!again.may_raise(Urgency::Later, at(20), POLICY));
    }

    #[test]
    fn a_need_that_has_passed_is_withdrawn_after_a_while() {
        let held = Held::default().after(true, at(0)).after(false, at(100));
        assert!(!held.after(false, at(219)).may_withdraw(at(219), POLICY));
        assert!(held.after(false, at(220)).may_withdraw(at(220), POLICY));
    }
}
