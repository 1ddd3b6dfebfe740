//! The calendar: adding, changing and removing what is known to come, and whom each entry acts on.

use std::{cmp::Reverse, sync::Arc};

use super::{Core, Document, Effect, Fetch};
use crate::{
    calendar::{Affecting, Event},
    engine::{
        command::Answer,
        snapshot::{EventView, TimelineKind},
    },
    inventory::{PowerState, Vm},
    metrics::Metric,
    problem::Problem,
    units::{EventId, ServiceName, Timestamp, printable},
};

/// How far back occurrences are looked for; further back those that were too few lately to learn from.
const BACK_SECONDS: i64 = 56 * 86_400;
const LONG_BACK_SECONDS: i64 = 400 * 86_400;
const ENOUGH_OCCURRENCES: usize = 6;
/// How far ahead forecasts go.
const AHEAD_SECONDS: i64 = 14 * 86_400;
const YEAR_SECONDS: i64 = 366 * 86_400;
/// What is next changes with time, but not within seconds.
const VIEW_SECONDS: i64 = 30;
const MAX_EVENTS: usize = 5000;
/// An answer is made while somebody waits for it.
const REPORTED_VMS: usize = 12;

impl Core {
    pub(super) fn put_event(
        &mut self,
        at: Timestamp,
        event: Event,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Problem> {
        let what = "The event was not kept.";
        let is_new = event.id.as_str().is_empty();
        let event = self.checked(what, event)?;
        let same = |known: &&Event| known.name == event.name && known.starts == event.starts;
        if let (true, Some(known)) = (is_new, self.calendar.values().find(same)) {
            return Err(Problem::refused(
                what,
                format!(
                    "{} is in the calendar at that time already, as {}",
                    printable(&known.name),
                    known.id
                ),
                "Give it another name or time, or remove that one first.",
            ));
        }
        let text = format!("Event {} is in the calendar", printable(&event.name));
        self.keep_event(event.clone(), out);
        self.calendar_changed(at, text, out);
        Ok(Answer::Event {
            event: Box::new(event),
        })
    }

    pub(super) fn import_events(
        &mut self,
        at: Timestamp,
        events: Vec<Event>,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Problem> {
        let what = "No event was kept.";
        let mut taken = Vec::with_capacity(events.len());
        for mut event in events {
            // A table has no ids: the same name at the same time is the same event.
            let known = self
                .calendar
                .values()
                .find(|known| known.name == event.name && known.starts == event.starts);
            if let (true, Some(known)) = (event.id.as_str().is_empty(), known) {
                event.id = known.id.clone();
            }
            taken.push(self.checked(what, event)?);
        }
        let new = taken
            .iter()
            .filter(|event| !self.calendar.contains_key(&event.id));
        if self.calendar.len() + new.count() > MAX_EVENTS {
            return Err(Problem::refused(
                what,
                format!("the calendar would have more than {MAX_EVENTS} entries"),
                "Remove some, or import a shorter file.",
            ));
        }
        let text = format!("{} events imported", taken.len());
        for event in taken {
            self.keep_event(event, out);
        }
        self.calendar_changed(at, text.clone(), out);
        Ok(Answer::Done { text })
    }

    pub(super) fn remove_event(
        &mut self,
        at: Timestamp,
        id: &EventId,
        out: &mut Vec<Effect>,
    ) -> Result<Answer, Problem> {
        let event = self
            .calendar
            .remove(id)
            .ok_or_else(|| no_event("The event was not removed.", id))?;
        out.push(Effect::Put(Document::EventGone(id.clone())));
        let text = format!("Event {} is out of the calendar", printable(&event.name));
        self.calendar_changed(at, text.clone(), out);
        Ok(Answer::Done { text })
    }

    /// The event with an id, once it is sound.
    fn checked(&mut self, what: &str, mut event: Event) -> Result<Event, Problem> {
        event.check().map_err(|why| {
            Problem::usage(
                what,
                format!("{}: {why}", printable(&event.name)),
                "Correct it and try again.",
            )
        })?;
        if event.id.as_str().is_empty() {
            event.id = EventId(format!("e-{}", self.short_id()));
        }
        Ok(event)
    }

    fn keep_event(&mut self, event: Event, out: &mut Vec<Effect>) {
        out.push(Effect::Put(Document::Event(Box::new(event.clone()))));
        self.calendar.insert(event.id.clone(), event);
    }

    fn calendar_changed(&mut self, at: Timestamp, text: String, out: &mut Vec<Effect>) {
        self.views.calendar = None;
        self.forecast.wanted = true;
        for record in self.vms.values_mut() {
            record.detail_version += 1;
        }
        self.views.vms = None;
        self.event(at, TimelineKind::Source, text, None, None, false, out);
    }

    /// What happens around now, each with its occurrences.
    pub(super) fn calendar_around(&self, at: Timestamp) -> Vec<(&Event, Affecting)> {
        let (from, to) = (at.plus_secs(-BACK_SECONDS), at.plus_secs(AHEAD_SECONDS));
        self.calendar
            .values()
            .filter_map(|event| {
                let mut affecting = Affecting::of(event, from, to)?;
                let past = affecting.windows.iter().filter(|window| window.to <= at);
                let missing = ENOUGH_OCCURRENCES.saturating_sub(past.count());
                if missing > 0 {
                    let mut earlier = event.windows(at.plus_secs(-LONG_BACK_SECONDS), from);
                    earlier.retain(|window| window.to <= from);
                    earlier.drain(..earlier.len().saturating_sub(missing));
                    affecting.windows.splice(0..0, earlier);
                }
                Some((event, affecting))
            })
            .collect()
    }

    /// Those of them that act on `vm`.
    pub(super) fn of_calendar(&self, calendar: &[(&Event, Affecting)], vm: &Vm) -> Vec<Affecting> {
        if calendar.is_empty() {
            return Vec::new();
        }
        let services = self.services_of(vm);
        calendar
            .iter()
            .filter(|(event, _)| event.affects(vm, &services))
            .map(|(_, affecting)| affecting.clone())
            .collect()
    }

    pub(super) fn acting_on(&self, at: Timestamp, vm: &Vm) -> Vec<Affecting> {
        self.of_calendar(&self.calendar_around(at), vm)
    }

    fn services_of(&self, vm: &Vm) -> Vec<&ServiceName> {
        self.services
            .values()
            .filter(|service| service.members.iter().any(|member| member.vm == vm.id))
            .map(|service| &service.name)
            .collect()
    }

    /// The busiest VMs that the event affects, with everything that acts on them.
    pub(super) fn report_of(&self, at: Timestamp, id: &EventId) -> Result<Fetch, Problem> {
        let event = self
            .calendar
            .get(id)
            .ok_or_else(|| no_event("Nothing was learned.", id))?;
        let calendar = self.calendar_around(at);
        let mut affected: Vec<_> = self
            .vms
            .values()
            .filter(|record| record.vm.state == PowerState::Running && record.vm.owner.is_none())
            .filter(|record| event.affects(&record.vm, &self.services_of(&record.vm)))
            .collect();
        affected.sort_by_cached_key(|record| {
            let cpu = record.sample.as_ref().and_then(|s| s.get(Metric::Cpu));
            Reverse((f64::from(cpu.unwrap_or(0.0)) * 1e6) as i64)
        });
        let vms = affected
            .into_iter()
            .take(REPORTED_VMS)
            .map(|record| {
                let events = self.of_calendar(&calendar, &record.vm);
                (record.vm.id.clone(), record.vm.name.clone(), events)
            })
            .collect();
        Ok(Fetch::EventReport {
            event: id.clone(),
            vms,
        })
    }

    pub(super) fn calendar_views(&mut self, at: Timestamp) -> Arc<Vec<EventView>> {
        if let Some((made, vms, views)) = &self.views.calendar
            && *vms == self.vms.len()
            && at.secs_since(*made) < VIEW_SECONDS
        {
            return views.clone();
        }
        let mut views: Vec<EventView> = self
            .calendar
            .values()
            .map(|event| EventView {
                event: event.clone(),
                next: event
                    .windows(at, at.plus_secs(YEAR_SECONDS))
                    .into_iter()
                    .next(),
                vms: self
                    .vms
                    .values()
                    .filter(|record| event.affects(&record.vm, &self.services_of(&record.vm)))
                    .count() as u32,
            })
            .collect();
        views.sort_by_key(|view| {
            (
                view.next.map_or(i64::MAX, |next| next.from.as_millis()),
                Reverse(view.event.starts),
            )
        });
        let views = Arc::new(views);
        self.views.calendar = Some((at, self.vms.len(), views.clone()));
        views
    }
}

fn no_event(what: &str, id: &EventId) -> Problem {
    Problem::failed(
        what,
        format!("there is no event {}", printable(id.as_str())),
        "`shadowcast events list` shows them.",
    )
}
