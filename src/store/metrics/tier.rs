//! The three resolutions, and how time is cut into steps, blocks and windows.

use serde::{Deserialize, Serialize};

/// The step of the finer roll-ups, and of everything that is forecast.
pub const STEP_SECONDS: u32 = 300;
const HOUR_SECONDS: u32 = 3600;

/// A resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// As measured, on the steps of the sampling interval.
    Samples,
    /// Mean, least, most and count of 5 minutes.
    FiveMinutes,
    /// The same of an hour.
    Hours,
}

impl Tier {
    pub const ALL: [Self; 3] = [Self::Samples, Self::FiveMinutes, Self::Hours];
    pub const ROLLED: [Self; 2] = [Self::FiveMinutes, Self::Hours];

    pub const fn block_table(self) -> &'static str {
        match self {
            Self::Samples => "sample_block",
            Self::FiveMinutes => "five_minute_block",
            Self::Hours => "hour_block",
        }
    }

    pub const fn chunk_table(self) -> &'static str {
        match self {
            Self::Samples => "sample_chunk",
            Self::FiveMinutes => "five_minute_chunk",
            Self::Hours => "hour_chunk",
        }
    }

    /// What one block spans: a roll-up's step, or the samples under one.
    pub const fn block_seconds(self) -> u32 {
        match self {
            Self::Samples | Self::FiveMinutes => STEP_SECONDS,
            Self::Hours => HOUR_SECONDS,
        }
    }

    /// What one chunk spans.
    pub const fn window_seconds(self) -> u32 {
        match self {
            Self::Samples | Self::FiveMinutes => 86_400,
            Self::Hours => 30 * 86_400,
        }
    }

    /// Seconds from one value to the next; samples have the step of the sampling interval.
    pub const fn step_seconds(self, sample_step_seconds: u32) -> u32 {
        match self {
            Self::Samples => sample_step_seconds,
            Self::FiveMinutes => STEP_SECONDS,
            Self::Hours => HOUR_SECONDS,
        }
    }

    /// One for samples; mean, distance to the least, distance to the most, and count for roll-ups.
    pub const fn columns(self) -> usize {
        match self {
            Self::Samples => 1,
            Self::FiveMinutes | Self::Hours => 4,
        }
    }

    /// The start of the window that holds `seconds`.
    pub const fn window_of(self, seconds: i64) -> i64 {
        let window = self.window_seconds() as i64;
        seconds.div_euclid(window) * window
    }
}

/// The longest step that fits the roll-ups' step and is not longer than the sampling interval.
pub fn sample_step(interval_seconds: u32) -> u32 {
    (1..=interval_seconds.clamp(1, STEP_SECONDS))
        .rev()
        .find(|step| STEP_SECONDS.is_multiple_of(*step))
        .unwrap_or(1)
}

/// VMs whose open values lie in one block.
pub const LANES: u32 = 32;

/// The number of a VM in the file, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmNumber(pub u32);

impl VmNumber {
    pub const fn group(self) -> u32 {
        self.0 / LANES
    }

    pub const fn lane(self) -> usize {
        (self.0 % LANES) as usize
    }
}

/// `group << 32 | minute`: all open values of a few VMs lie together, and are read in one go.
pub fn block_key(group: u32, start_seconds: i64) -> i64 {
    (i64::from(group) << 32) | minute(start_seconds)
}

/// `minute << 32 | series`: sealing writes, and pruning deletes, at one place of the tree. The other way round each of
/// 80,000 chunks would dirty a page of its own; reading a series is a few look-ups either way.
pub fn chunk_key(window_start_seconds: i64, vm: VmNumber, metric: usize) -> i64 {
    (minute(window_start_seconds) << 32) | i64::from(vm.0 << 4) | metric as i64
}

/// The first key of a window.
pub fn window_key(window_start_seconds: i64) -> i64 {
    minute(window_start_seconds) << 32
}

pub const fn window_start(key: i64) -> i64 {
    (key >> 32) * 60
}

pub const fn block_start(key: i64) -> i64 {
    (key & 0xffff_ffff) * 60
}

/// Times before 1970 or after 6053 do not come here: [`in_range`] keeps them out.
const fn minute(seconds: i64) -> i64 {
    seconds.div_euclid(60)
}

/// Whether a moment can be kept: between 1970 and 2200.
pub const fn in_range(seconds: i64) -> bool {
    0 <= seconds && seconds < 7_258_118_400
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_interval_has_a_step_that_fits() {
        for (interval, step) in [
            (0, 1),
            (1, 1),
            (7, 6),
            (10, 10),
            (45, 30),
            (60, 60),
            (900, 300),
        ] {
            assert_eq!(sample_step(interval), step);
        }
    }

    #[test]
    fn keys_say_where_they_come_from() {
        let key = chunk_key(1_795_305_600, VmNumber(100_000), 7);
        assert_eq!(window_start(key), 1_795_305_600);
        assert!(key >= window_key(1_795_305_600) && key < window_key(1_795_305_660));
        assert_eq!(block_start(block_key(9, 1_795_305_900)), 1_795_305_900);
    }
}
