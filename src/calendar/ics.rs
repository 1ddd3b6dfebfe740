//! iCalendar files (RFC 5545): what other calendars export, taken as events, and ours written for them.

use icalendar::{Calendar, CalendarDateTime, Component, DatePerhapsTime, Event as IcsEvent};
use jiff::{ToSpan as _, civil, tz::TimeZone};
use sha2::{Digest as _, Sha256};

use super::{Event, EventKind, Target};
use crate::units::{EventId, Timestamp};

const OWN_ID: &str = "X-SHADOWCAST-ID";
const AFFECTS: &str = "X-SHADOWCAST-AFFECTS";
const FACTOR: &str = "X-SHADOWCAST-FACTOR";
const EXCLUDE: &str = "X-SHADOWCAST-EXCLUDE";

/// No calendar of people is larger.
pub const MAX_BYTES: usize = 4 << 20;

/// What a file came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    pub events: Vec<Event>,
    /// What was left out, and why.
    pub refused: Vec<String>,
}

/// Reads a file; `zone` is that of times which name none.
///
/// # Errors
/// When it is no calendar at all.
pub fn read(text: &str, zone: &str) -> Result<Read, String> {
    if text.len() > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    let calendar: Calendar = text.parse().map_err(|_| {
        "it is no whole iCalendar, from BEGIN:VCALENDAR to END:VCALENDAR".to_owned()
    })?;
    let mut found = Read::default();
    for one in calendar
        .components
        .iter()
        .filter_map(|part| part.as_event())
    {
        let name = one.get_summary().unwrap_or("(without a name)").to_owned();
        match event(one, zone).and_then(|event| event.check().map(|()| event)) {
            Ok(event) => found.events.push(event),
            Err(why) => found.refused.push(format!("{name}: {why}")),
        }
    }
    if found.events.is_empty() && found.refused.is_empty() {
        return Err("it holds no events".to_owned());
    }
    Ok(found)
}

fn event(one: &IcsEvent, zone: &str) -> Result<Event, String> {
    let begin = one.get_start().ok_or("it has no DTSTART")?;
    let (starts, own_zone) = moment(&begin, zone)?;
    let lasts_seconds = match (one.get_end(), one.property_value("DURATION")) {
        (Some(end), _) => moment(&end, zone)?.0.secs_since(starts),
        (None, Some(duration)) => duration
            .parse::<jiff::SignedDuration>()
            .map_err(|_| format!("its DURATION `{duration}` cannot be read"))?
            .as_secs(),
        // A day without an end is that day.
        (None, None) if matches!(begin, DatePerhapsTime::Date(_)) => 86_400,
        (None, None) => return Err("it has neither DTEND nor DURATION".to_owned()),
    };
    let categories = one.multi_properties().get("CATEGORIES");
    let kind = categories
        .into_iter()
        .flatten()
        .flat_map(|property| property.value().split(','))
        .find_map(|word| EventKind::from_name(&word.trim().to_ascii_lowercase()));
    let name = one.get_summary().unwrap_or_default().to_owned();
    // What we wrote ourselves is the same event again, with what other calendars have no word for.
    let own = one
        .property_value(OWN_ID)
        .filter(|id| id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    let affects = one
        .property_value(AFFECTS)
        .unwrap_or_default()
        .split(';')
        .filter(|target| !target.is_empty())
        .map(Target::parse)
        .collect::<Result<_, _>>()?;
    let expected_factor = one
        .property_value(FACTOR)
        .map(|text| {
            text.parse::<f64>()
                .map_err(|_| format!("its {FACTOR} `{text}` is no number"))
        })
        .transpose()?;
    Ok(Event {
        id: own.map_or_else(|| id(one.get_uid().unwrap_or(&name), starts), EventId::from),
        affects,
        expected_factor,
        exclude: one.property_value(EXCLUDE) == Some("TRUE"),
        name,
        kind: kind.unwrap_or_default(),
        starts,
        lasts_seconds: u32::try_from(lasts_seconds)
            .map_err(|_| "it ends before it begins, or after years".to_owned())?,
        rule: one.property_value("RRULE").map(str::to_owned),
        zone: own_zone,
    })
}

/// The same UID is the same event however often its file is imported.
fn id(uid: &str, starts: Timestamp) -> EventId {
    let digest = Sha256::digest(format!("{uid}\n{}", starts.as_millis()));
    EventId(format!("e-{}", &hex::encode(digest)[..8]))
}

fn moment(at: &DatePerhapsTime, zone: &str) -> Result<(Timestamp, String), String> {
    let civil = |at: chrono::NaiveDateTime| {
        at.format("%Y-%m-%dT%H:%M:%S")
            .to_string()
            .parse::<civil::DateTime>()
            .map_err(|error| error.to_string())
    };
    let (at, zone) = match at {
        DatePerhapsTime::DateTime(CalendarDateTime::Utc(at)) => {
            return Ok((Timestamp(at.timestamp_millis()), "UTC".to_owned()));
        }
        DatePerhapsTime::DateTime(CalendarDateTime::Floating(at)) => (civil(*at)?, zone),
        DatePerhapsTime::DateTime(CalendarDateTime::WithTimezone { date_time, tzid }) => {
            (civil(*date_time)?, tzid.as_str())
        }
        DatePerhapsTime::Date(date) => (civil(date.and_time(chrono::NaiveTime::MIN))?, zone),
    };
    let tz = TimeZone::get(zone).map_err(|_| format!("`{zone}` is not a time zone"))?;
    let zoned = at.to_zoned(tz).map_err(|error| error.to_string())?;
    Ok((
        Timestamp(zoned.timestamp().as_millisecond()),
        zone.to_owned(),
    ))
}

/// Writes events for other calendars; what those have no word for stands in properties of our own.
pub fn write(events: &[Event]) -> String {
    let mut calendar = Calendar::new();
    for event in events {
        let mut one = IcsEvent::new();
        one.uid(event.id.as_str())
            .summary(&event.name)
            .add_multi_property("CATEGORIES", event.kind.name());
        let zone = if event.zone.is_empty() {
            "UTC"
        } else {
            &event.zone
        };
        let local = |at: Timestamp| {
            let tz = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
            jiff::Timestamp::from_millisecond(at.as_millis())
                .map(|at| at.to_zoned(tz).strftime("%Y%m%dT%H%M%S").to_string())
        };
        let ends = event.starts.plus_secs(i64::from(event.lasts_seconds));
        for (name, at) in [("DTSTART", event.starts), ("DTEND", ends)] {
            let Ok(text) = local(at) else { continue };
            if zone == "UTC" {
                one.add_property(name, format!("{text}Z"));
            } else {
                one.append_property(
                    icalendar::Property::new(name, text)
                        .add_parameter("TZID", zone)
                        .done(),
                );
            }
        }
        if let Some(rule) = &event.rule {
            one.add_property("RRULE", rule);
        }
        one.add_property(OWN_ID, event.id.as_str());
        if !event.affects.is_empty() {
            let targets: Vec<String> = event.affects.iter().map(Target::to_string).collect();
            one.add_property(AFFECTS, targets.join(";"));
        }
        if let Some(factor) = event.expected_factor {
            one.add_property(FACTOR, factor.to_string());
        }
        if event.exclude {
            one.add_property(EXCLUDE, "TRUE");
        }
        calendar.push(one.done());
    }
    calendar.to_string()
}

/// The years around a moment for which holidays are brought: last year's, to learn from, to the next one's.
pub fn years_around(now: Timestamp) -> std::ops::RangeInclusive<i16> {
    let at = jiff::Timestamp::from_millisecond(now.as_millis())
        .map(|at| at.to_zoned(TimeZone::UTC).date())
        .unwrap_or_default();
    let year = |years: i32| at.saturating_add(years.years()).year();
    year(-1)..=year(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:test\r\n\
BEGIN:VEVENT\r\nUID:one@example.net\r\nDTSTAMP:20260101T000000Z\r\nDTSTART;TZID=Europe/Berlin:20261127T100000\r\n\
DTEND;TZID=Europe/Berlin:20261127T220000\r\nRRULE:FREQ=YEARLY\r\nSUMMARY:Black Friday\r\nCATEGORIES:SALE\r\nEND:VEVENT\r\n\
BEGIN:VEVENT\r\nUID:two@example.net\r\nDTSTAMP:20260101T000000Z\r\nDTSTART;VALUE=DATE:20261224\r\nSUMMARY:Closed\r\nEND:VEVENT\r\n\
BEGIN:VEVENT\r\nUID:three@example.net\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20261201T030000Z\r\nDURATION:PT90M\r\nSUMMARY:Backup\r\nEND:VEVENT\r\n\
BEGIN:VEVENT\r\nUID:four@example.net\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20261201T030000Z\r\nDTEND:20261201T020000Z\r\nSUMMARY:Backwards\r\nEND:VEVENT\r\n\
END:VCALENDAR\r\n";

    #[test]
    fn events_come_with_zone_rule_and_length_and_what_cannot_be_is_named() {
        let read = read(FILE, "Europe/Berlin").unwrap();
        let [friday, closed, backup] = &read.events[..] else {
            panic!("{read:#?}");
        };
        assert_eq!(friday.name, "Black Friday");
        assert_eq!(friday.kind, EventKind::Sale);
        assert_eq!(friday.starts.to_string(), "2026-11-27T09:00:00Z");
        assert_eq!(friday.lasts_seconds, 12 * 3600);
        assert_eq!(friday.rule.as_deref(), Some("FREQ=YEARLY"));
        assert_eq!(friday.zone, "Europe/Berlin");
        assert_eq!(closed.starts.to_string(), "2026-12-23T23:00:00Z");
        assert_eq!(closed.lasts_seconds, 86_400);
        assert_eq!((backup.lasts_seconds, backup.zone.as_str()), (5400, "UTC"));
        assert_eq!(read.refused.len(), 1);
        assert!(read.refused[0].starts_with("Backwards: "), "{read:?}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut before = read(FILE, "Europe/Berlin").unwrap().events;
        before[0].affects = vec![
            Target::Service("shop".to_owned()),
            Target::InstanceType("2 vCPU, 4 GiB".to_owned()),
        ];
        before[0].expected_factor = Some(1.8);
        before[1].exclude = true;
        let after = read(&write(&before), "UTC").unwrap();
        assert_eq!(after.refused, [""; 0]);
        assert_eq!(after.events, before, "nothing of it is lost");
    }

    #[test]
    fn what_is_no_calendar_is_refused() {
        for text in ["", "hello", "BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"] {
            assert!(read(text, "UTC").is_err(), "{text:?}");
        }
    }
}
