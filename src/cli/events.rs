//! `events list|show|add|import|holidays|export|remove`: the calendar, and what its entries do to the load.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, Subcommand};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::{
    context::{Context, ask_and_say, unexpected},
    output::{self, Listing},
    parse,
};
use crate::{
    calendar::{Event, EventKind, Target, holidays, ics, table},
    engine::{
        command::{Answer, Command},
        handle::Handle,
        snapshot::{EventReport, EventView, Snapshot},
    },
    problem::Problem,
    units::{EventId, Timestamp, printable},
};

/// The engine shows a new entry a moment after it has kept it.
const SHOWN_WITHIN: Duration = Duration::from_secs(2);

/// What is known to come: sales, campaigns, maintenance, holidays; and what it does to the load
#[derive(Subcommand)]
pub enum Events {
    List(List),
    Show(Show),
    Add(Add),
    Import(Import),
    Holidays(Holidays),
    Export(Export),
    Remove(Remove),
}

impl Events {
    pub fn run(&self, context: &Context) -> Result<(), Problem> {
        match self {
            Self::List(verb) => verb.run(context),
            Self::Show(verb) => verb.run(context),
            Self::Add(verb) => verb.run(context),
            Self::Import(verb) => verb.run(context),
            Self::Holidays(verb) => verb.run(context),
            Self::Export(_) => Export::run(context),
            Self::Remove(verb) => verb.run(context),
        }
    }
}

/// Show the calendar, what is next first
#[derive(Args)]
pub struct List {
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Listed<'a> {
    events: &'a [EventView],
}

impl List {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        if self.json {
            return output::json(&Listed {
                events: &now.calendar,
            });
        }
        let mut listing = Listing::new(&[
            "id", "event", "kind", "next", "lasts", "repeats", ">vms", "expected",
        ]);
        for view in now.calendar.iter() {
            let event = &view.event;
            let next = view.next.map(|next| {
                if next.from <= now.at {
                    "now".to_owned()
                } else {
                    output::moment(next.from)
                }
            });
            listing.row([
                event.id.as_str().into(),
                event.name.as_str().into(),
                event.kind.name().into(),
                output::or_dash(next).into(),
                output::seconds(u64::from(event.lasts_seconds)).into(),
                event.rule.as_deref().unwrap_or("once").into(),
                view.vms.into(),
                expected(event).into(),
            ]);
        }
        listing.show_or("The calendar is empty. Add what you know of: `shadowcast events add`.")
    }
}

fn expected(event: &Event) -> String {
    match (event.exclude, event.expected_factor) {
        (true, _) => "left out".to_owned(),
        (false, Some(factor)) => percent(factor),
        (false, None) => "learned".to_owned(),
    }
}

/// A factor as a change: 1.5 is `+50 %`.
fn percent(factor: f64) -> String {
    format!("{:+.0} %", (factor - 1.0) * 100.0)
}

/// Show what an event did to those whom it affects, and what is expected of the next one
#[derive(Args)]
pub struct Show {
    /// By id or name
    event: String,
    #[arg(long)]
    json: bool,
}

impl Show {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let id = find(&now, &self.event, "No event was shown.")?
            .event
            .id
            .clone();
        let report = match session.handle.ask(Command::EventReport { event: id })? {
            Answer::EventReport { report } => report,
            other => return Err(unexpected(&other)),
        };
        if self.json {
            return output::json(&*report);
        }
        show(&report)
    }
}

fn show(report: &EventReport) -> Result<(), Problem> {
    let mut listing = Listing::new(&[
        "vm",
        "occurrence",
        "said before",
        "happened",
        ">error without",
        ">error with",
    ]);
    for vm in &report.vms {
        for outcome in &vm.outcomes {
            let error = |value: f64| output::value(report.metric, value);
            listing.row([
                vm.vm_name.as_str().into(),
                output::moment(outcome.window.from).into(),
                percent(outcome.expected_factor).into(),
                percent(outcome.actual_factor).into(),
                error(outcome.error_without).into(),
                error(outcome.error_with).into(),
            ]);
        }
    }
    listing.show_or("It has not happened yet, or nobody whom it affects was measured then.")?;
    for vm in &report.vms {
        if let Some(learned) = &vm.learned {
            output::line(&format!(
                "{}: the next is expected to change {} by {} ({} to {}), from {} occurrence(s)",
                printable(&vm.vm_name),
                report.metric.name(),
                percent(learned.factor),
                percent(learned.lower),
                percent(learned.upper),
                learned.occurrences
            ))?;
        }
    }
    Ok(())
}

fn find<'a>(now: &'a Snapshot, word: &str, what: &str) -> Result<&'a EventView, Problem> {
    let word = word.trim();
    let mut found = now
        .calendar
        .iter()
        .filter(|view| view.event.id.as_str() == word || view.event.name == word);
    match (found.next(), found.next()) {
        (Some(view), None) => Ok(view),
        (None, _) => Err(Problem::usage(
            what,
            format!("there is no event {}", printable(word)),
            "`shadowcast events list` shows them.",
        )),
        (Some(_), Some(_)) => Err(Problem::usage(
            what,
            format!("several events are called {}", printable(word)),
            "Name it by its id; `shadowcast events list` shows them.",
        )),
    }
}

/// Put something that you know of into the calendar
#[derive(Args)]
pub struct Add {
    name: String,
    /// When it begins: RFC 3339, or local time in its zone such as 2026-11-27T10:00
    #[arg(long, value_name = "TIME")]
    starts: String,
    /// For how long, such as 2h or 90min
    #[arg(long = "for", value_name = "TIME", value_parser = parse::seconds)]
    lasts_seconds: u32,
    /// sale, campaign, maintenance, holiday, batch or other
    #[arg(long, default_value = "other", value_parser = kind)]
    kind: EventKind,
    /// How it repeats, as in RFC 5545: FREQ=WEEKLY;BYDAY=TU
    #[arg(long, value_name = "RRULE")]
    repeats: Option<String>,
    /// The time zone in which it repeats [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Whom it affects: vm:NAME, type:NAME, service:NAME or pool:NAME; everybody where left out
    #[arg(long, value_name = "TARGET", value_parser = Target::parse)]
    affects: Vec<Target>,
    /// What you expect of it: 1.5 is half as much again; learned where left out
    #[arg(long, value_name = "FACTOR", allow_negative_numbers = true)]
    factor: Option<f64>,
    /// Leave its occurrences out of what is learned
    #[arg(long)]
    exclude: bool,
}

fn kind(word: &str) -> Result<EventKind, String> {
    EventKind::from_name(word).ok_or_else(|| {
        let known: Vec<&str> = EventKind::ALL.into_iter().map(EventKind::name).collect();
        format!("one of {}", known.join(", "))
    })
}

impl Add {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let zone = self.zone.clone().unwrap_or_else(own_zone);
        let starts = moment(&self.starts, &zone)?;
        let (session, _now) = context.settled()?;
        let event = Event {
            id: EventId::default(),
            name: self.name.clone(),
            kind: self.kind,
            starts,
            lasts_seconds: self.lasts_seconds,
            rule: self.repeats.clone(),
            zone,
            affects: self.affects.clone(),
            expected_factor: self.factor,
            exclude: self.exclude,
        };
        match session.handle.ask(Command::EventPut {
            event: Box::new(event),
        })? {
            Answer::Event { event } => {
                output::line(&format!(
                    "{} is in the calendar as {}.",
                    printable(&event.name),
                    event.id
                ))?;
                warn_if_nobody(&session.handle, &event.id);
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    }
}

/// A name that nobody has is easily typed.
fn warn_if_nobody(handle: &Handle, id: &EventId) {
    let entry = |now: &Snapshot| {
        let mut views = now.calendar.iter();
        views.find(|view| view.event.id == *id).map(|view| view.vms)
    };
    let known = handle.wait_for(SHOWN_WITHIN, |now| entry(now).is_some());
    if known.and_then(|now| entry(&now)) == Some(0) {
        output::note("No VM is known now that it affects; it stands for those to come.");
    }
}

fn own_zone() -> String {
    TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

fn moment(text: &str, zone: &str) -> Result<Timestamp, Problem> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(at);
    }
    let local = text
        .parse::<jiff::civil::DateTime>()
        .and_then(|at| at.in_tz(zone));
    local
        .map(|at| Timestamp(at.timestamp().as_millisecond()))
        .map_err(|error| {
            Problem::usage(
                "The event was not kept.",
                format!(
                    "`{}` is no moment in {}: {error}",
                    printable(text),
                    printable(zone)
                ),
                "Write it as 2026-11-27T10:00 or 2026-11-27T09:00:00Z.",
            )
        })
}

/// Bring events from a file: iCalendar (.ics), or CSV with the columns name, starts, ends, kind, rule, zone, affects,
/// factor, exclude
#[derive(Args)]
pub struct Import {
    file: PathBuf,
    /// The time zone of times that name none [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// Only say what would be taken
    #[arg(long)]
    preview: bool,
}

impl Import {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let zone = self.zone.clone().unwrap_or_else(own_zone);
        let text = read_text(&self.file)?;
        let is_ics = text.trim_start().starts_with("BEGIN:VCALENDAR");
        let read = if is_ics {
            ics::read(&text, &zone)
        } else {
            table::read(&text, &zone)
        };
        let read = read.map_err(|why| {
            Problem::usage(
                "No event was imported.",
                format!("{}: {why}", self.file.display()),
                "Give an iCalendar file, or CSV as `events import --help` describes.",
            )
        })?;
        for refused in &read.refused {
            output::note(format!("left out: {}", printable(refused)));
        }
        if read.events.is_empty() {
            return Err(Problem::usage(
                "No event was imported.",
                format!("{}: nothing of it could be taken", self.file.display()),
                "Correct what is named above.",
            ));
        }
        if self.preview {
            let mut listing = Listing::new(&["event", "kind", "begins", "lasts", "repeats"]);
            for event in &read.events {
                listing.row([
                    event.name.as_str().into(),
                    event.kind.name().into(),
                    output::moment(event.starts).into(),
                    output::seconds(u64::from(event.lasts_seconds)).into(),
                    event.rule.as_deref().unwrap_or("once").into(),
                ]);
            }
            return listing.show_or("Nothing of it would be taken.");
        }
        let session = context.open()?;
        ask_and_say(
            &session.handle,
            Command::EventsImport {
                events: read.events,
            },
        )
    }
}

fn read_text(file: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| {
        // One byte more than is taken shows that there is more.
        file.take(ics::MAX_BYTES as u64 + 1)
            .read_to_string(&mut text)
    });
    read.map(|_| text).map_err(|error| {
        Problem::usage(
            "No event was imported.",
            format!("{}: {error}", file.display()),
            "Name a file of text that can be read.",
        )
    })
}

/// Put a country's public holidays of last year, this and the next into the calendar
#[derive(Args)]
pub struct Holidays {
    /// For example Germany or New Zealand
    country: String,
    /// The time zone of its days [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
}

impl Holidays {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let zone = self.zone.clone().unwrap_or_else(own_zone);
        let now = Timestamp(jiff::Timestamp::now().as_millisecond());
        let events = holidays::of(&self.country, ics::years_around(now), &zone).map_err(|why| {
            Problem::usage(
                "No holiday was added.",
                why,
                "Name a country that is known, and a zone such as Europe/Berlin.",
            )
        })?;
        let session = context.open()?;
        ask_and_say(&session.handle, Command::EventsImport { events })
    }
}

/// Write the calendar as iCalendar to stdout
#[derive(Args)]
pub struct Export {}

impl Export {
    fn run(context: &Context) -> Result<(), Problem> {
        let (_session, now) = context.settled()?;
        let events: Vec<Event> = now.calendar.iter().map(|view| view.event.clone()).collect();
        output::write(&ics::write(&events))
    }
}

/// Take an event out of the calendar
#[derive(Args)]
pub struct Remove {
    /// By id or name
    event: String,
}

impl Remove {
    fn run(&self, context: &Context) -> Result<(), Problem> {
        let (session, now) = context.settled()?;
        let event = find(&now, &self.event, "The event was not removed.")?
            .event
            .id
            .clone();
        ask_and_say(&session.handle, Command::EventRemove { event })
    }
}
