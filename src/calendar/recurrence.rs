//! When an event happens: its rule in its own zone, so that summer time does not move it.

use jiff::tz::TimeZone;
use rrule::{RRuleSet, Tz};

use super::{Event, Window};
use crate::units::Timestamp;

/// More occurrences than this are not looked at: a rule of every second would never end.
const MAX_WINDOWS: u16 = 2000;

/// The event's rule; `None` where it happens once.
///
/// # Errors
/// Says what of rule or zone cannot be read.
pub(super) fn rule(event: &Event) -> Result<Option<RRuleSet>, String> {
    let zone = zone(event)?;
    let Some(rule) = &event.rule else {
        return Ok(None);
    };
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "=;,+-: ".contains(letter);
    if !rule.chars().all(plain) {
        return Err("its rule holds letters that no RRULE has".to_owned());
    }
    let starts = jiff::Timestamp::from_millisecond(event.starts.as_millis())
        .map_err(|error| error.to_string())?
        .to_zoned(zone);
    let starts = starts.strftime("%Y%m%dT%H%M%S");
    let begin = if event.zone.is_empty() || event.zone == "UTC" {
        format!("DTSTART:{starts}Z")
    } else {
        format!("DTSTART;TZID={}:{starts}", event.zone)
    };
    let rule = rule.trim().trim_start_matches("RRULE:");
    format!("{begin}\nRRULE:{rule}")
        .parse()
        .map(Some)
        .map_err(|error| format!("its rule `{rule}` cannot be read: {error}"))
}

fn zone(event: &Event) -> Result<TimeZone, String> {
    if event.zone.is_empty() {
        return Ok(TimeZone::UTC);
    }
    TimeZone::get(&event.zone).map_err(|_| format!("`{}` is not a time zone", event.zone))
}

/// What overlaps `from..to`; nothing of an event that cannot be read, which is refused before it is kept.
pub(super) fn windows(event: &Event, from: Timestamp, to: Timestamp) -> Vec<Window> {
    let lasts = i64::from(event.lasts_seconds);
    let window = |starts: Timestamp| Window {
        from: starts,
        to: starts.plus_secs(lasts),
    };
    let overlaps = |window: &Window| window.to > from && window.from < to;
    match rule(event) {
        Err(_) => Vec::new(),
        Ok(None) => Some(window(event.starts))
            .filter(overlaps)
            .into_iter()
            .collect(),
        Ok(Some(set)) => {
            let moment = |at: Timestamp| {
                chrono::DateTime::from_timestamp_millis(at.as_millis())
                    .map(|utc| utc.with_timezone(&Tz::UTC))
            };
            let (Some(after), Some(before)) = (moment(from.plus_secs(-lasts)), moment(to)) else {
                return Vec::new();
            };
            let found = set.after(after).before(before).all(MAX_WINDOWS).dates;
            found
                .into_iter()
                .map(|at| window(Timestamp(at.timestamp_millis())))
                .filter(overlaps)
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn ten_in_the_morning_stays_ten_in_the_morning() {
        let event = Event {
            starts: at("2026-03-24T09:00:00Z"),
            lasts_seconds: 7200,
            rule: Some("FREQ=WEEKLY;BYDAY=TU".to_owned()),
            zone: "Europe/Berlin".to_owned(),
            ..Event::default()
        };
        let windows = event.windows(at("2026-03-20T00:00:00Z"), at("2026-04-08T00:00:00Z"));
        let begins: Vec<String> = windows.iter().map(|one| one.from.to_string()).collect();
        // Summer time begins on the 29th.
        assert_eq!(
            begins,
            [
                "2026-03-24T09:00:00Z",
                "2026-03-31T08:00:00Z",
                "2026-04-07T08:00:00Z"
            ]
        );
        assert_eq!(windows[0].to, at("2026-03-24T11:00:00Z"));
    }

    #[test]
    fn one_that_has_begun_counts_and_one_that_is_over_does_not() {
        let event = Event {
            starts: at("2026-03-24T09:00:00Z"),
            lasts_seconds: 3600,
            ..Event::default()
        };
        let day_end = at("2026-03-25T00:00:00Z");
        assert_eq!(event.windows(at("2026-03-24T09:30:00Z"), day_end).len(), 1);
        assert_eq!(event.windows(at("2026-03-24T10:00:00Z"), day_end).len(), 0);
        let daily = Event {
            rule: Some("FREQ=DAILY;COUNT=3".to_owned()),
            ..event
        };
        let all = daily.windows(at("2026-03-24T09:30:00Z"), at("2026-05-01T00:00:00Z"));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_rule_without_end_is_cut_off() {
        let event = Event {
            starts: at("2026-03-24T09:00:00Z"),
            lasts_seconds: 60,
            rule: Some("FREQ=MINUTELY".to_owned()),
            ..Event::default()
        };
        let all = event.windows(at("2026-03-24T09:00:00Z"), at("2026-06-24T09:00:00Z"));
        assert!(all.len() <= usize::from(MAX_WINDOWS));
    }
}
