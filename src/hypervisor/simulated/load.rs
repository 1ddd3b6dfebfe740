//! Load as a pure function of seed, VM, metric and time.
//!
//! A curve has a value at each knot, every five minutes of UTC, and is linear between knots; on top lies a flicker
//! whose integral over any whole 20 s is zero. So the integral over any span is known in closed form, and what
//! counters show, what history says and what a gauge reads are one and the same function.

use crate::{hypervisor::simulated::scenario::DayShape, metrics::Series, units::Timestamp};

/// Seconds between two knots.
pub(super) const KNOT_SECONDS: i64 = 300;
const KNOT_MILLIS: i64 = KNOT_SECONDS * 1000;
const KNOTS_A_DAY: i64 = 288;
const KNOTS_AN_HOUR: i64 = 12;
const DAY_SECONDS: i64 = 86_400;
/// The flicker goes up for one half and down as far for the other.
const FLICKER_MILLIS: i64 = 20_000;

/// A day in 288 steps, 0..=1, and what each weekday (Monday first) makes of it.
pub(super) struct Shape {
    day: [f32; KNOTS_A_DAY as usize],
    week: [f32; 7],
}

impl Shape {
    pub(super) fn all() -> [Self; 5] {
        [
            DayShape::Office,
            DayShape::Evening,
            DayShape::Logon,
            DayShape::Night,
            DayShape::Flat,
        ]
        .map(Self::new)
    }

    fn new(shape: DayShape) -> Self {
        let bump = |hour: f32, at: f32, width: f32| {
            // The nearest way round the clock.
            let away = (hour - at + 36.0).rem_euclid(24.0) - 12.0;
            (-(away / width).powi(2)).exp()
        };
        let mut day = [0.0; KNOTS_A_DAY as usize];
        for (step, value) in day.iter_mut().enumerate() {
            let hour = step as f32 / KNOTS_AN_HOUR as f32;
            *value = match shape {
                DayShape::Office => {
                    0.08 + 0.85 * bump(hour, 10.5, 2.2) + 0.75 * bump(hour, 15.0, 2.4)
                }
                DayShape::Evening => {
                    0.15 + 0.5 * bump(hour, 13.0, 4.5) + 0.75 * bump(hour, 20.0, 2.8)
                }
                DayShape::Logon => {
                    0.05 + 0.8 * bump(hour, 8.6, 0.9)
                        + 0.55 * bump(hour, 11.5, 2.6)
                        + 0.5 * bump(hour, 15.5, 2.2)
                }
                DayShape::Night => 0.05 + 0.9 * bump(hour, 2.0, 1.3) + 0.5 * bump(hour, 4.2, 1.0),
                DayShape::Flat => 0.6 + 0.3 * bump(hour, 14.0, 6.0),
            };
        }
        let highest = day.iter().fold(f32::MIN, |a, b| a.max(*b));
        for value in &mut day {
            *value /= highest;
        }
        let week = match shape {
            DayShape::Office => [1.0, 0.98, 0.97, 0.96, 0.88, 0.35, 0.3],
            DayShape::Evening => [0.86, 0.86, 0.88, 0.9, 0.95, 1.0, 0.98],
            DayShape::Logon => [1.0, 0.97, 0.96, 0.95, 0.85, 0.2, 0.16],
            DayShape::Night => [1.0, 0.95, 0.95, 0.95, 0.95, 0.9, 0.8],
            DayShape::Flat => [1.0; 7],
        };
        Self { day, week }
    }
}

/// Pressure that returns every day at the same time, a little more each day; see [`Surge::target`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Surge {
    /// When it passes `limit` on the day that the fleet starts.
    pub crosses_at_secs: i64,
    pub limit: f32,
    pub peak: f32,
    /// Added to the peak with each day.
    pub growth_a_day: f32,
}

/// Minutes from the crossing, and how far the load has then gone from its limit to its peak.
const SURGE_ABOVE: [(f32, f32); 5] = [
    (0.0, 0.0),
    (10.0, 0.5),
    (40.0, 0.75),
    (200.0, 1.0),
    (290.0, 0.9),
];
const SURGE_RISE_MINUTES: f32 = 150.0;
const SURGE_END_MINUTES: f32 = 640.0;

impl Surge {
    /// What the surge makes of the load `usual` at a time.
    fn target(&self, usual: f32, at_secs: i64) -> f32 {
        let since = at_secs - self.crosses_at_secs;
        let day = (since + DAY_SECONDS / 2).div_euclid(DAY_SECONDS);
        let minutes = (since - day * DAY_SECONDS) as f32 / 60.0;
        if !(-SURGE_RISE_MINUTES..SURGE_END_MINUTES).contains(&minutes) {
            return usual;
        }
        let grown = self.growth_a_day * day.clamp(-20, 5) as f32;
        let limit = (self.limit + grown).max(usual);
        let peak = (self.peak + grown).min(0.98).max(limit);
        if minutes < 0.0 {
            return usual + (limit - usual) * (1.0 + minutes / SURGE_RISE_MINUTES);
        }
        for pair in SURGE_ABOVE.windows(2) {
            let ((from, low), (to, high)) = (pair[0], pair[1]);
            if minutes < to {
                let part = low + (high - low) * (minutes - from) / (to - from);
                return limit + (peak - limit) * part;
            }
        }
        let (from, part) = SURGE_ABOVE[SURGE_ABOVE.len() - 1];
        let last = limit + (peak - limit) * part;
        last + (usual - last) * (minutes - from) / (SURGE_END_MINUTES - from)
    }
}

/// Load that comes back every few days, for a while, and follows no daily course.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Promotion {
    pub first_secs: i64,
    pub lasts_secs: i64,
    pub every_secs: i64,
    pub factor: f32,
}

impl Promotion {
    fn factor_at(&self, at_secs: i64) -> f32 {
        let since = (at_secs - self.first_secs).rem_euclid(self.every_secs.max(1));
        if since < self.lasts_secs {
            self.factor
        } else {
            1.0
        }
    }
}

/// One metric of one VM.
pub(super) struct Curve<'a> {
    pub shape: &'a Shape,
    pub seed: u64,
    /// Steps by which this VM is ahead of its shape.
    pub phase: i64,
    /// At the quietest and at the busiest of a usual day.
    pub low: f32,
    pub high: f32,
    /// How far noise goes from that.
    pub noise: f32,
    pub flicker: f32,
    /// The part by which it grows in a year.
    pub growth_a_year: f32,
    /// When growth is as `low` and `high` say.
    pub origin_secs: i64,
    /// Never outside.
    pub bounds: (f32, f32),
    pub surge: Option<Surge>,
    pub promotion: Option<Promotion>,
    /// Values are multiplied by this at the very end.
    pub scale: f32,
}

impl Curve<'_> {
    /// The value at one moment.
    pub(super) fn value(&self, at: Timestamp) -> f64 {
        let mut walk = Walk::new(self);
        let knot = at.as_millis().div_euclid(KNOT_MILLIS);
        let part = at.as_millis().rem_euclid(KNOT_MILLIS) as f64 / KNOT_MILLIS as f64;
        let (from, to) = (f64::from(walk.knot(knot)), f64::from(walk.knot(knot + 1)));
        let value = from + (to - from) * part + f64::from(self.flicker_at(at));
        value * f64::from(self.scale)
    }

    /// The integral over `from..to` in value-seconds; zero for an empty span.
    pub(super) fn integral(&self, from: Timestamp, to: Timestamp) -> f64 {
        let (from, to) = (from.as_millis(), to.as_millis());
        if to <= from {
            return 0.0;
        }
        let mut walk = Walk::new(self);
        let mut index = from.div_euclid(KNOT_MILLIS);
        let mut left = f64::from(walk.knot(index));
        let mut sum = 0.0;
        while index * KNOT_MILLIS < to {
            let right = f64::from(walk.knot(index + 1));
            let start = index * KNOT_MILLIS;
            let begin = (from - start).max(0) as f64 / KNOT_MILLIS as f64;
            let end = (to - start).min(KNOT_MILLIS) as f64 / KNOT_MILLIS as f64;
            let middle = left + (right - left) * f64::midpoint(begin, end);
            sum += middle * (end - begin) * KNOT_SECONDS as f64;
            left = right;
            index += 1;
        }
        sum += self.flicker_sum(to) - self.flicker_sum(from);
        sum * f64::from(self.scale)
    }

    /// Means over steps of `step_seconds` from `from` until before `to`.
    pub(super) fn history(&self, from: Timestamp, to: Timestamp, step_seconds: u32) -> Series {
        let mut series = empty_series(from, to, step_seconds);
        let start = series.start;
        let knots = i64::from(step_seconds) / KNOT_SECONDS;
        let aligned =
            i64::from(step_seconds) % KNOT_SECONDS == 0 && start.as_secs() % KNOT_SECONDS == 0;
        if aligned {
            // The flicker cancels out in every step.
            let mut walk = Walk::new(self);
            let mut index = start.as_secs() / KNOT_SECONDS;
            let mut left = walk.knot(index);
            let part = self.scale / knots as f32;
            for value in &mut series.values {
                let mut sum = 0.0;
                for _ in 0..knots {
                    index += 1;
                    let right = walk.knot(index);
                    sum += f32::midpoint(left, right);
                    left = right;
                }
                *value = sum * part;
            }
        } else {
            for (step, value) in series.values.iter_mut().enumerate() {
                let begin = start.plus_secs(step as i64 * i64::from(step_seconds));
                let end = begin.plus_secs(i64::from(step_seconds));
                *value = (self.integral(begin, end) / f64::from(step_seconds)) as f32;
            }
        }
        series
    }

    fn flicker_of(&self, pair: i64) -> f32 {
        self.flicker * signed(mix(self.seed ^ 0xf11c, pair))
    }

    fn flicker_at(&self, at: Timestamp) -> f32 {
        let pair = at.as_millis().div_euclid(FLICKER_MILLIS);
        let first = at.as_millis().rem_euclid(FLICKER_MILLIS) < FLICKER_MILLIS / 2;
        if first {
            self.flicker_of(pair)
        } else {
            -self.flicker_of(pair)
        }
    }

    /// Value-seconds since the start of the pair, before `scale`.
    fn flicker_sum(&self, millis: i64) -> f64 {
        let pair = millis.div_euclid(FLICKER_MILLIS);
        let inside = millis.rem_euclid(FLICKER_MILLIS);
        let reached = inside.min(FLICKER_MILLIS - inside);
        f64::from(self.flicker_of(pair)) * reached as f64 / 1000.0
    }
}

/// Computes knots in order; keeps what neighbours share.
struct Walk<'c, 'a> {
    curve: &'c Curve<'a>,
    day: i64,
    hour: i64,
    /// Level drift at the start of this day and of the next.
    drift: (f32, f32),
    slow: (f32, f32),
    weekday: f32,
    growth: f32,
    event: Event,
}

/// An hour or two of unusual load.
#[derive(Clone, Copy, Default)]
struct Event {
    from: i64,
    to: i64,
    height: f32,
}

impl<'c, 'a> Walk<'c, 'a> {
    fn new(curve: &'c Curve<'a>) -> Self {
        Self {
            curve,
            day: i64::MIN,
            hour: i64::MIN,
            drift: (0.0, 0.0),
            slow: (0.0, 0.0),
            weekday: 1.0,
            growth: 1.0,
            event: Event::default(),
        }
    }

    fn knot(&mut self, index: i64) -> f32 {
        let curve = self.curve;
        let day = index.div_euclid(KNOTS_A_DAY);
        let step = index.rem_euclid(KNOTS_A_DAY);
        if day != self.day {
            self.enter_day(day);
        }
        let hour = index.div_euclid(KNOTS_AN_HOUR);
        if hour != self.hour {
            self.hour = hour;
            self.slow = (
                signed(mix(curve.seed ^ 0x51_0e, hour)),
                signed(mix(curve.seed ^ 0x51_0e, hour + 1)),
            );
        }
        let shape = curve.shape.day[((step + curve.phase).rem_euclid(KNOTS_A_DAY)) as usize];
        let usual = curve.low + (curve.high - curve.low) * shape * self.weekday;
        let through_day = step as f32 / KNOTS_A_DAY as f32;
        let through_hour = step.rem_euclid(KNOTS_AN_HOUR) as f32 / KNOTS_AN_HOUR as f32;
        let drift = self.drift.0 + (self.drift.1 - self.drift.0) * through_day;
        let slow = self.slow.0 + (self.slow.1 - self.slow.0) * through_hour;
        let white = signed(mix(curve.seed, index));
        let noise = curve.noise * (0.7 * drift + 0.6 * slow + 0.5 * white);
        let promoted = curve
            .promotion
            .map_or(1.0, |promotion| promotion.factor_at(index * KNOT_SECONDS));
        let mut value = usual * self.growth * promoted + noise;
        if (self.event.from..self.event.to).contains(&step) {
            value += self.event.height;
        }
        value = value.clamp(curve.bounds.0, curve.bounds.1);
        if let Some(surge) = &curve.surge {
            // A surge may pass the usual bounds, noise and all.
            let quiet = curve.noise * 0.1 * (slow + white);
            value = (surge.target(value, index * KNOT_SECONDS) + quiet).clamp(0.02, 0.985);
        }
        value
    }

    fn enter_day(&mut self, day: i64) {
        let curve = self.curve;
        self.day = day;
        self.drift = (
            signed(mix(curve.seed ^ 0xd41f, day)),
            signed(mix(curve.seed ^ 0xd41f, day + 1)),
        );
        // A surge returns on every day alike, so its VM knows no weekend. 1970-01-01 was a Thursday.
        self.weekday = match curve.surge {
            Some(_) => 1.0,
            None => curve.shape.week[(day + 3).rem_euclid(7) as usize],
        };
        let years = (day * DAY_SECONDS - curve.origin_secs) as f32 / (365.0 * DAY_SECONDS as f32);
        self.growth = 1.0 + curve.growth_a_year * years.clamp(-1.0, 3.0);
        let draw = mix(curve.seed ^ 0xe7e7, day);
        // About one day in thirty.
        self.event = if curve.surge.is_none() && draw.is_multiple_of(30) {
            let from = ((draw >> 8) % KNOTS_A_DAY as u64) as i64;
            let room = curve.bounds.1 - curve.high;
            Event {
                from,
                to: from + 12 + ((draw >> 24) % 18) as i64,
                height: room.max(0.0) * 0.5,
            }
        } else {
            Event::default()
        };
    }
}

/// The steps from that which holds `from` until before `to`, all gaps.
pub(super) fn empty_series(from: Timestamp, to: Timestamp, step_seconds: u32) -> Series {
    let start = from.floor_to(step_seconds);
    let span = (to.as_millis() - start.as_millis()).max(0) as u64;
    let steps = span.div_ceil(u64::from(step_seconds) * 1000) as usize;
    Series {
        start,
        step_seconds,
        values: vec![f32::NAN; steps],
    }
}

/// A hash of two numbers (splitmix64's finaliser).
pub(super) fn mix(seed: u64, number: i64) -> u64 {
    let mut x = seed.wrapping_add((number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// A hash as -1..1.
fn signed(hash: u64) -> f32 {
    (hash >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

/// A hash as 0..1.
pub(super) fn unit(hash: u64) -> f32 {
    (hash >> 40) as f32 / (1u32 << 24) as f32
}
