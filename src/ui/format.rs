//! Numbers, sizes and times as people read them.

use jiff::tz::TimeZone;

use crate::{metrics::Metric, units::Timestamp};

/// `85 %`.
pub fn percent(ratio: f64) -> String {
    format!("{:.0} %", ratio * 100.0)
}

/// `0.08 %` where a whole percent would say nothing.
pub fn fine_percent(ratio: f64) -> String {
    if ratio > 0.0 && ratio < 0.01 {
        format!("{:.2} %", ratio * 100.0)
    } else {
        format!("{:.1} %", ratio * 100.0)
    }
}

/// `10,000`.
pub fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Memory and the like, in powers of 1024: `64 GiB`.
pub fn binary_bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1024.0, ["B", "KiB", "MiB", "GiB", "TiB"])
}

/// Traffic and disk, in powers of 1000: `1.9 GB`.
pub fn bytes(bytes: u64) -> String {
    scaled(bytes as f64, 1000.0, ["B", "kB", "MB", "GB", "TB"])
}

/// `12 MB/s`.
pub fn rate(bytes_per_sec: f64) -> String {
    format!(
        "{}/s",
        scaled(bytes_per_sec, 1000.0, ["B", "kB", "MB", "GB", "TB"])
    )
}

fn scaled(value: f64, base: f64, units: [&str; 5]) -> String {
    let mut value = value;
    let mut unit = 0;
    while value >= base * 0.9995 && unit < 4 {
        value /= base;
        unit += 1;
    }
    let whole = unit == 0 || value >= 99.95 || (value - value.round()).abs() < 0.05;
    if whole {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// A length of time, two units at most: `11 min`, `1 h 05`, `3 d 4 h`.
pub fn span(seconds: i64) -> String {
    let seconds = seconds.abs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {:02}", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// A value of a metric in its own unit: `85 %`, `12 MB/s`, `182 ms`.
pub fn value(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Cpu | Metric::Memory | Metric::Steal => percent(value),
        Metric::Errors => fine_percent(value),
        Metric::Disk | Metric::Net => rate(value),
        Metric::Response => format!("{value:.0} ms"),
        Metric::Requests => format!("{value:.0}/s"),
    }
}

/// The word for a metric.
pub const fn metric(metric: Metric) -> &'static str {
    match metric {
        Metric::Cpu => "CPU",
        Metric::Memory => "Memory",
        Metric::Disk => "Disk",
        Metric::Net => "Network",
        Metric::Steal => "Steal",
        Metric::Response => "Response",
        Metric::Errors => "Errors",
        Metric::Requests => "Requests",
    }
}

/// `1 VM`, `3 VMs`.
pub fn plural(number: usize, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Turns moments into wall-clock words, relative to the newest snapshot.
#[derive(Clone, Debug)]
pub struct Clock {
    pub zone: TimeZone,
    pub now: Timestamp,
}

impl Clock {
    fn zoned(&self, at: Timestamp) -> Option<jiff::Zoned> {
        jiff::Timestamp::from_millisecond(at.as_millis())
            .ok()
            .map(|at| at.to_zoned(self.zone.clone()))
    }

    fn with(&self, at: Timestamp, pattern: &str) -> String {
        self.zoned(at)
            .map_or_else(|| at.to_string(), |at| at.strftime(pattern).to_string())
    }

    /// `14:32`.
    pub fn hm(&self, at: Timestamp) -> String {
        self.with(at, "%H:%M")
    }

    /// `14:32:08`.
    pub fn hms(&self, at: Timestamp) -> String {
        self.with(at, "%H:%M:%S")
    }

    /// `14:32` within a day from now, else with the weekday or the date.
    pub fn near(&self, at: Timestamp) -> String {
        let away = at.secs_since(self.now).abs();
        if away < 20 * 3600 {
            self.hm(at)
        } else if away < 6 * 86_400 {
            self.with(at, "%a %H:%M")
        } else {
            self.with(at, "%d %b %H:%M")
        }
    }

    /// The whole moment, for hovering.
    pub fn full(&self, at: Timestamp) -> String {
        self.with(at, "%a %d %b %Y %H:%M:%S %Z")
    }

    /// `Sunday 22 November`.
    pub fn day(&self, at: Timestamp) -> String {
        self.with(at, "%A %d %B")
    }

    /// `Sun 22 Nov`.
    pub fn short_day(&self, at: Timestamp) -> String {
        self.with(at, "%a %-d %b")
    }

    /// `22 Nov`, with the year where it is another one.
    pub fn day_of_year(&self, at: Timestamp) -> String {
        let year = |at| self.with(at, "%Y");
        let same_year = year(at) == year(self.now);
        self.with(at, if same_year { "%-d %b" } else { "%-d %b %Y" })
    }

    /// `4 s`: how long ago.
    pub fn ago(&self, at: Timestamp) -> String {
        span(self.now.secs_since(at).max(0))
    }

    /// Seconds that this zone is ahead of UTC at a moment.
    pub fn offset_seconds(&self, at: Timestamp) -> i64 {
        self.zoned(at)
            .map_or(0, |at| i64::from(at.offset().seconds()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_read_as_people_write_them() {
        assert_eq!(binary_bytes(64 << 30), "64 GiB");
        assert_eq!(binary_bytes(1536 << 20), "1.5 GiB");
        assert_eq!(bytes(1_900_000_000), "1.9 GB");
        assert_eq!(bytes(999_999), "1 MB");
        assert_eq!(span(65 * 60), "1 h 05");
        assert_eq!(span(100_000), "1 d 3 h");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(100), "100");
    }

    #[test]
    fn a_far_moment_says_its_day() {
        let now = Timestamp::from_secs(1_795_357_928);
        let clock = Clock {
            zone: TimeZone::UTC,
            now,
        };
        assert_eq!(clock.near(now), "14:32");
        assert_eq!(clock.near(now.plus_secs(86_400)), "Mon 14:32");
    }
}
