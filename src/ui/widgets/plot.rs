//! What a chart needs besides a brush: scales, ticks, and lines thinned out without losing a peak.

use eframe::egui::{Pos2, Rect, pos2};

use crate::{metrics::Series, ui::format::Clock, units::Timestamp};

/// Maps moments and values to points of a rectangle.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    pub rect: Rect,
    pub from: Timestamp,
    pub to: Timestamp,
    pub top: f64,
}

impl Scale {
    pub fn x(&self, at: Timestamp) -> f32 {
        let part = (at.as_millis() - self.from.as_millis()) as f64
            / ((self.to.as_millis() - self.from.as_millis()).max(1)) as f64;
        self.rect.left() + self.rect.width() * part as f32
    }

    pub fn y(&self, value: f64) -> f32 {
        self.rect.bottom() - self.rect.height() * (value / self.top) as f32
    }

    pub fn at(&self, at: Timestamp, value: f64) -> Pos2 {
        pos2(self.x(at), self.y(value))
    }

    pub fn moment(&self, x: f32) -> Timestamp {
        let part = f64::from((x - self.rect.left()) / self.rect.width().max(1.0));
        let whole = (self.to.as_millis() - self.from.as_millis()) as f64;
        self.from.plus_millis((whole * part) as i64)
    }
}

/// Thins a series to at most four points per pixel column — first, least, most, last — and splits it at gaps, so that
/// every peak that an operator must see stays.
pub fn thin(series: &Series, scale: &Scale) -> Vec<Vec<Pos2>> {
    let mut lines: Vec<Vec<Pos2>> = Vec::new();
    let mut line: Vec<Pos2> = Vec::new();
    let mut column: Option<Column> = None;
    for (index, value) in series.values.iter().enumerate() {
        let at = series.at(index);
        if at < scale.from || at > scale.to {
            continue;
        }
        if !value.is_finite() {
            if let Some(column) = column.take() {
                column.put(&mut line);
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            continue;
        }
        let point = scale.at(at, f64::from(*value));
        let pixel = point.x.floor() as i32;
        match &mut column {
            Some(open) if open.pixel == pixel => open.add(point),
            _ => {
                if let Some(column) = column.replace(Column::new(pixel, point)) {
                    column.put(&mut line);
                }
            }
        }
    }
    if let Some(column) = column {
        column.put(&mut line);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

struct Column {
    pixel: i32,
    first: Pos2,
    least: Pos2,
    most: Pos2,
    last: Pos2,
}

impl Column {
    const fn new(pixel: i32, point: Pos2) -> Self {
        Self {
            pixel,
            first: point,
            least: point,
            most: point,
            last: point,
        }
    }

    fn add(&mut self, point: Pos2) {
        if point.y > self.least.y {
            self.least = point;
        }
        if point.y < self.most.y {
            self.most = point;
        }
        self.last = point;
    }

    fn put(self, line: &mut Vec<Pos2>) {
        let mut points = [self.first, self.least, self.most, self.last];
        points[1..3].sort_by(|a, b| a.x.total_cmp(&b.x));
        for point in points {
            if line.last() != Some(&point) {
                line.push(point);
            }
        }
    }
}

/// Values at which to draw a line across: 25, 50, 75, 100 % for ratios, round figures else.
pub fn value_ticks(top: f64, ratio: bool) -> Vec<f64> {
    let step = if ratio && top > 0.45 {
        0.25
    } else {
        let rough = top / 4.0;
        let magnitude = 10f64.powf(rough.max(1e-9).log10().floor());
        [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * magnitude)
            .find(|step| *step >= rough)
            .unwrap_or(rough)
    };
    (1..)
        .map(|index| step * f64::from(index))
        .take_while(|value| *value <= top * 0.999)
        .take(12)
        .collect()
}

/// Moments at which to write the time: whole hours (or days) of the clock, far enough apart.
pub fn time_ticks(scale: &Scale, clock: &Clock, least_pixels: f32) -> Vec<Timestamp> {
    let span = scale.to.secs_since(scale.from).max(1);
    let room = (scale.rect.width() / least_pixels).max(1.0);
    let step = [
        300, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800,
    ]
    .into_iter()
    .find(|step| span as f32 / *step as f32 <= room)
    .unwrap_or(604_800);
    let offset = clock.offset_seconds(scale.from);
    let first = (scale.from.as_secs() + offset).div_euclid(step) * step - offset;
    (0..)
        .map(|index| Timestamp::from_secs(first + index * step))
        .skip_while(|at| *at < scale.from)
        .take_while(|at| *at <= scale.to)
        .collect()
}

#[cfg(test)]
mod tests {
    use eframe::egui::{Rect, pos2, vec2};

    use super::*;

    fn scale(seconds: i64) -> Scale {
        Scale {
            rect: Rect::from_min_size(pos2(0.0, 0.0), vec2(100.0, 100.0)),
            from: Timestamp::from_secs(0),
            to: Timestamp::from_secs(seconds),
            top: 1.0,
        }
    }

    #[test]
    fn thinning_keeps_the_peak_and_the_gap() {
        let mut values = vec![0.2f32; 10_000];
        values[4321] = 0.97;
        values[7000] = f32::NAN;
        let series = Series {
            start: Timestamp::from_secs(0),
            step_seconds: 1,
            values,
        };
        let lines = thin(&series, &scale(10_000));
        assert_eq!(lines.len(), 2, "split at the gap");
        let points: Vec<_> = lines.iter().flatten().collect();
        assert!(points.len() <= 404, "{}", points.len());
        let highest = points.iter().map(|at| at.y).fold(f32::INFINITY, f32::min);
        assert!((highest - 3.0).abs() < 0.01, "{highest}");
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(value_ticks(1.12, true), [0.25, 0.5, 0.75, 1.0]);
        assert_eq!(value_ticks(90.0, false), [25.0, 50.0, 75.0]);
        let clock = Clock {
            zone: jiff::tz::TimeZone::UTC,
            now: Timestamp::from_secs(0),
        };
        let ticks = time_ticks(&scale(86_400), &clock, 12.0);
        assert!(
            ticks.iter().all(|at| at.as_secs() % 10_800 == 0),
            "{ticks:?}"
        );
    }
}
