//! What a roll-up keeps of the values under it.

use super::cell::{Cell, GAP, to_cell, to_value};
use crate::metrics::Metric;

/// Mean, least, most and number of some values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rolled {
    pub mean: f64,
    pub least: f64,
    pub most: f64,
    /// 0: nothing is known, and the rest says nothing.
    pub count: u32,
}

impl Rolled {
    pub const fn one(value: f64) -> Self {
        Self {
            mean: value,
            least: value,
            most: value,
            count: 1,
        }
    }

    /// Both together; the mean weighs by count.
    pub fn add(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let count = self.count.saturating_add(other.count);
        self.mean += (other.mean - self.mean) * f64::from(other.count) / f64::from(count);
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
        self.count = count;
    }

    /// Mean, distance down to the least, distance up to the most, count.
    pub fn to_cells(self, metric: Metric) -> [Cell; 4] {
        let mean = to_cell(metric, self.mean);
        if self.count == 0 || mean == GAP {
            return [GAP; 4];
        }
        let least = to_cell(metric, self.least).min(mean);
        let most = match to_cell(metric, self.most) {
            GAP => mean,
            most => most.max(mean),
        };
        [mean, mean - least, most - mean, self.count.min(GAP - 1)]
    }

    pub fn from_cells(metric: Metric, cells: [Cell; 4]) -> Self {
        let [mean, below, above, count] = cells;
        if mean == GAP {
            return Self::default();
        }
        Self {
            mean: to_value(metric, mean),
            least: to_value(metric, mean.saturating_sub(below)),
            most: to_value(metric, mean.saturating_add(above).min(GAP - 1)),
            count: count.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_in_parts_is_what_is_added_at_once() {
        let mut left = Rolled::default();
        let mut right = Rolled::default();
        for value in [0.1, 0.5, 0.3] {
            left.add(&Rolled::one(value));
        }
        for value in [0.9, 0.7] {
            right.add(&Rolled::one(value));
        }
        left.add(&right);
        assert!((left.mean - 0.5).abs() < 1e-12);
        assert_eq!((left.least, left.most, left.count), (0.1, 0.9, 5));
        let back = Rolled::from_cells(Metric::Cpu, left.to_cells(Metric::Cpu));
        assert_eq!(
            (back.mean, back.least, back.most, back.count),
            (0.5, 0.1, 0.9, 5)
        );
        assert_eq!(Rolled::default().to_cells(Metric::Cpu), [GAP; 4]);
    }
}
