//! Weights that make a share, and the share that weights make.
//!
//! A share is the shadow's part of *its primary's* traffic. Primary and shadow together keep the weight that the
//! primary had, so the other servers of the backend keep their part.

use crate::units::Weight;

/// Coarser steps than this are worth a word to the operator.
pub const COARSE: f64 = 0.05;

/// The pair of weights that sums to `base` and comes nearest to `share` (0..=1; what lies outside is clipped).
///
/// A `base` of 0 counts as 1, so that no pair is ever 0/0.
pub fn weights(base: Weight, share: f64) -> (Weight, Weight) {
    let base = base.min(Weight::MAX).0.max(1);
    let share = if share.is_nan() {
        0.0
    } else {
        share.clamp(0.0, 1.0)
    };
    let shadow = (f64::from(base) * share).round() as u16;
    (Weight(base - shadow), Weight(shadow))
}

/// The shadow's part of its primary's traffic, 0..=1; 0 where both take none.
pub fn share_of(primary: Weight, shadow: Weight) -> f64 {
    let sum = f64::from(primary.0) + f64::from(shadow.0);
    if sum == 0.0 {
        0.0
    } else {
        f64::from(shadow.0) / sum
    }
}

/// The step between two shares that `base` can express: 0.01 for a weight of 100.
pub fn granularity(base: Weight) -> f64 {
    1.0 / f64::from(base.0.max(1))
}

/// A sentence for the operator where a weight of `base` splits only roughly.
pub fn coarseness(base: Weight) -> Option<String> {
    let step = granularity(base);
    (step > COARSE).then(|| {
        format!(
            "The primary's weight of {} moves traffic only in steps of {:.0} %; give the backend's servers larger \
             weights for a finer split.",
            base.0,
            step * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_quarter_of_a_hundred_is_twenty_five() {
        assert_eq!(weights(Weight(100), 0.25), (Weight(75), Weight(25)));
        assert_eq!(weights(Weight(256), 1.0), (Weight(0), Weight(256)));
        assert_eq!(weights(Weight(7), 0.0), (Weight(7), Weight(0)));
        assert_eq!(weights(Weight(7), f64::NAN), (Weight(7), Weight(0)));
    }

    #[test]
    fn a_coarse_weight_is_named() {
        assert!(coarseness(Weight(1)).is_some_and(|text| text.contains("100 %")));
        assert_eq!(coarseness(Weight(20)), None);
    }

    proptest! {
        #[test]
        fn the_pair_keeps_the_base_and_comes_as_near_as_it_can(base in 1_u16..=256, share in 0.0_f64..=1.0) {
            let (primary, shadow) = weights(Weight(base), share);
            prop_assert_eq!(primary.0 + shadow.0, base);
            prop_assert!((share_of(primary, shadow) - share).abs() <= granularity(Weight(base)) / 2.0 + 1e-9);
        }

        #[test]
        fn there_is_never_no_weight_at_all(base in 0_u16..=u16::MAX, share in prop::num::f64::ANY) {
            let (primary, shadow) = weights(Weight(base), share);
            prop_assert!(primary.0 + shadow.0 > 0);
            prop_assert!(primary <= Weight::MAX && shadow <= Weight::MAX);
        }
    }
}
