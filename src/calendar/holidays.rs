//! Public holidays of a country as events of one day each.

use holidays_rs::{Calendar, Country};

use super::{Event, EventKind};
use crate::units::{EventId, Timestamp};

/// The countries that are known, in order.
pub fn countries() -> Vec<String> {
    let mut names: Vec<String> = Country::ALL
        .iter()
        .map(|country| name_of(*country))
        .collect();
    names.sort_unstable();
    names
}

/// `New Zealand` of the variant `NewZealand`.
fn name_of(country: Country) -> String {
    let mut name = String::new();
    for letter in format!("{country:?}").chars() {
        if letter.is_uppercase() && !name.is_empty() {
            name.push(' ');
        }
        name.push(letter);
    }
    name
}

fn letters(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase()
}

/// The holidays of `country` in these years, each from midnight to midnight in `zone`.
///
/// # Errors
/// Where country or zone is not known.
pub fn of(
    country: &str,
    years: std::ops::RangeInclusive<i16>,
    zone: &str,
) -> Result<Vec<Event>, String> {
    let found = Country::ALL
        .iter()
        .find(|known| letters(&name_of(**known)) == letters(country))
        .ok_or_else(|| {
            format!(
                "no holidays are known of `{country}`; known are {}",
                countries().join(", ")
            )
        })?;
    let wanted = name_of(*found);
    let calendar = Calendar::new(*found);
    let mut events = Vec::new();
    for year in years {
        for (date, name) in calendar.holidays_in(i32::from(year)) {
            let day = jiff::civil::date(date.year as i16, date.month as i8, date.day as i8);
            let begin = day
                .in_tz(zone)
                .map_err(|_| format!("`{zone}` is not a time zone"))?;
            let end = day
                .tomorrow()
                .and_then(|next| next.in_tz(zone))
                .map_err(|error| error.to_string())?;
            let starts = Timestamp(begin.timestamp().as_millisecond());
            events.push(Event {
                id: EventId(format!(
                    "holiday-{}-{day}-{}",
                    letters(&wanted),
                    letters(name)
                )),
                name: format!("{name}, {wanted}"),
                kind: EventKind::Holiday,
                starts,
                lasts_seconds: (end.timestamp().as_second() - starts.as_secs()) as u32,
                zone: zone.to_owned(),
                ..Event::default()
            });
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn christmas_is_a_day_in_its_own_zone() {
        let events = of("germany", 2026..=2027, "Europe/Berlin").unwrap();
        let christmas: Vec<&Event> = events
            .iter()
            .filter(|event| event.starts.to_string() == "2026-12-24T23:00:00Z")
            .collect();
        assert_eq!(christmas.len(), 1, "{events:#?}");
        assert_eq!(christmas[0].lasts_seconds, 86_400);
        assert!(events.iter().all(|event| event.check().is_ok()));
        assert!(
            of("xx", 2026..=2026, "UTC")
                .unwrap_err()
                .contains("Germany")
        );
        assert!(of("germany", 2026..=2026, "Nowhere").is_err());
    }
}
