//! Events from a table: CSV with a header, one event a row.

use super::{Event, EventKind, Target, ics::Read};
use crate::units::{EventId, Timestamp};

/// The columns; the first three are needed.
pub const COLUMNS: [&str; 9] = [
    "name", "starts", "ends", "kind", "rule", "zone", "affects", "factor", "exclude",
];

/// Reads a table. Rows that cannot be are named with their line; `zone` is that of times that name none.
///
/// # Errors
/// When the header lacks a needed column or has an unknown one, or the text is no CSV.
pub fn read(text: &str, zone: &str) -> Result<Read, String> {
    let mut reader = csv::ReaderBuilder::new()
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let header = reader.headers().map_err(|error| error.to_string())?.clone();
    for column in &header {
        if !COLUMNS.contains(&column) {
            return Err(format!(
                "line 1: there is no column `{column}`; the columns are {}",
                COLUMNS.join(", ")
            ));
        }
    }
    for needed in &COLUMNS[..3] {
        if !header.iter().any(|column| column == *needed) {
            return Err(format!("line 1: the column `{needed}` is missing"));
        }
    }
    let mut found = Read::default();
    for row in reader.records() {
        let row = row.map_err(|error| error.to_string())?;
        let line = row.position().map_or(0, csv::Position::line);
        let cell = |name: &str| {
            let index = header.iter().position(|column| column == name)?;
            row.get(index).filter(|cell| !cell.is_empty())
        };
        match event(cell, zone).and_then(|event| event.check().map(|()| event)) {
            Ok(event) => found.events.push(event),
            Err(why) => found.refused.push(format!("line {line}: {why}")),
        }
    }
    Ok(found)
}

fn event<'a>(cell: impl Fn(&str) -> Option<&'a str>, zone: &str) -> Result<Event, String> {
    let zone = cell("zone").unwrap_or(zone);
    let moment = |name: &str| {
        let text = cell(name).ok_or_else(|| format!("`{name}` is empty"))?;
        let local = || {
            let at = text.parse::<jiff::civil::DateTime>().ok()?;
            let at = at.in_tz(zone).ok()?;
            Some(Timestamp(at.timestamp().as_millisecond()))
        };
        Timestamp::parse(text).or_else(local).ok_or_else(|| {
            format!("`{name}` is no time such as 2026-11-27T10:00 or 2026-11-27T09:00:00Z: {text}")
        })
    };
    let (starts, ends) = (moment("starts")?, moment("ends")?);
    let name = cell("name").unwrap_or_default().to_owned();
    let affects = cell("affects")
        .unwrap_or_default()
        .split(';')
        .filter(|target| !target.trim().is_empty())
        .map(|target| Target::parse(target.trim()))
        .collect::<Result<_, _>>()?;
    let expected_factor = cell("factor")
        .map(|text| {
            text.parse::<f64>()
                .map_err(|_| format!("`factor` is no number: {text}"))
        })
        .transpose()?;
    let exclude = match cell("exclude") {
        None | Some("no" | "false") => false,
        Some("yes" | "true") => true,
        Some(other) => return Err(format!("`exclude` is yes or no, not {other}")),
    };
    let kind = match cell("kind") {
        None => EventKind::Other,
        Some(text) => {
            EventKind::from_name(text).ok_or_else(|| format!("`{text}` is not a kind of event"))?
        }
    };
    Ok(Event {
        // Taken anew from the engine.
        id: EventId::default(),
        name,
        kind,
        starts,
        lasts_seconds: u32::try_from(ends.secs_since(starts))
            .map_err(|_| "it ends before it begins".to_owned())?,
        rule: cell("rule").map(str::to_owned),
        zone: zone.to_owned(),
        affects,
        expected_factor,
        exclude,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_event_and_a_wrong_one_is_named_by_its_line() {
        let text = "name,starts,ends,kind,rule,affects,factor\n\
                    Newsletter,2026-11-24T09:00:00Z,2026-11-24T11:00:00Z,campaign,FREQ=WEEKLY,service:shop;vm:web-1,1.4\n\
                    Wrong,tomorrow,2026-11-24T11:00:00Z,,,,\n\
                    Twice,2026-11-24T09:00:00Z,2026-11-24T11:00:00Z,,,,a lot\n";
        let read = read(text, "UTC").unwrap();
        assert_eq!(read.events.len(), 1);
        assert_eq!(read.events[0].affects.len(), 2);
        assert_eq!(read.events[0].expected_factor, Some(1.4));
        assert_eq!(read.events[0].lasts_seconds, 7200);
        assert!(read.refused[0].starts_with("line 3: `starts`"), "{read:?}");
        assert!(read.refused[1].starts_with("line 4: `factor`"), "{read:?}");
        let local = "name,starts,ends,zone\nSale,2026-11-24T10:00,2026-11-24T11:00,Europe/Berlin\n";
        let local = super::read(local, "UTC").unwrap();
        assert_eq!(local.events[0].starts.to_string(), "2026-11-24T09:00:00Z");
        assert!(
            super::read("name,when\n", "UTC")
                .unwrap_err()
                .contains("`when`")
        );
        assert!(
            super::read("name,starts\n", "UTC")
                .unwrap_err()
                .contains("`ends`")
        );
    }
}
