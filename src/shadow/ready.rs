//! How long a shadow takes on this fleet until it can help, from the operations that made the ones before.

/// Until enough have been made to tell.
pub const UNKNOWN_SECONDS: u32 = 600;
/// Fewer tell nothing.
const LEAST: usize = 3;
/// Older ones tell of other disks and other links.
const NEWEST: usize = 20;
/// On top of the median: a quarter, and at least a minute.
const MARGIN: f64 = 0.25;
const LEAST_MARGIN_SECONDS: f64 = 60.0;

/// Median of the newest durations (seconds, newest first) and a margin on it.
pub fn ready_seconds(newest_first: impl IntoIterator<Item = u32>) -> u32 {
    let mut seconds: Vec<u32> = newest_first.into_iter().take(NEWEST).collect();
    if seconds.len() < LEAST {
        return UNKNOWN_SECONDS;
    }
    let middle = seconds.len() / 2;
    let median = f64::from(*seconds.select_nth_unstable(middle).1);
    (median + (median * MARGIN).max(LEAST_MARGIN_SECONDS)).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_with_a_margin_once_three_were_made() {
        assert_eq!(ready_seconds([30, 40]), UNKNOWN_SECONDS);
        assert_eq!(ready_seconds([30, 40, 35]), 95);
        assert_eq!(ready_seconds([800, 90_000, 800, 790]), 1000);
    }

    #[test]
    fn only_the_newest_count() {
        let slow_once = std::iter::repeat_n(100, NEWEST).chain(std::iter::repeat_n(9000, 500));
        assert_eq!(ready_seconds(slow_once), 160);
    }
}
