//! A new event, typed by hand.

use eframe::egui::{Rect, Sense, Ui, pos2, vec2};

use super::calendar::zone;
use crate::{
    calendar::{Event, EventKind, Target},
    engine::command::Command,
    ui::{
        pass::Pass,
        theme,
        widgets::{
            button::{self, Button, Look},
            field::text_field,
            text,
        },
    },
    units::{EventId, Timestamp},
};

/// Recurrences that need no knowledge of RFC 5545; any other comes by file or command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Repeats {
    #[default]
    Once,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Repeats {
    const fn rule(self) -> Option<&'static str> {
        match self {
            Self::Once => None,
            Self::Daily => Some("FREQ=DAILY"),
            Self::Weekly => Some("FREQ=WEEKLY"),
            Self::Monthly => Some("FREQ=MONTHLY"),
            Self::Yearly => Some("FREQ=YEARLY"),
        }
    }
}

pub struct Draft {
    name: String,
    starts: String,
    lasts: String,
    affects: String,
    percent: String,
    kind: EventKind,
    repeats: Repeats,
    /// Why it was not taken.
    pub wrong: Option<String>,
}

impl Draft {
    pub fn new(pass: &Pass<'_>) -> Self {
        let hour = 3600 * 1000;
        let next = Timestamp((pass.now.at.as_millis() / hour + 1) * hour);
        let starts = jiff::Timestamp::from_millisecond(next.as_millis())
            .map(|at| {
                let local = at.to_zoned(pass.clock.zone.clone());
                local.strftime("%Y-%m-%d %H:%M").to_string()
            })
            .unwrap_or_default();
        Self {
            name: String::new(),
            starts,
            lasts: "2h".to_owned(),
            affects: String::new(),
            percent: String::new(),
            kind: EventKind::default(),
            repeats: Repeats::default(),
            wrong: None,
        }
    }

    /// Returns whether it was given up.
    pub fn ui(&mut self, ui: &mut Ui, pass: &mut Pass<'_>) -> bool {
        let tokens = theme::of(ui);
        text::wrapped(ui, "A new event", theme::semibold(18.0), tokens.hi);
        ui.add_space(12.0);
        field(ui, "Name", &mut self.name, "Black Friday");
        field(ui, "Begins", &mut self.starts, "2026-11-27 10:00");
        field(ui, "Lasts", &mut self.lasts, "2h, 90min, 1day");
        choice(
            ui,
            "Repeats",
            &[
                (Repeats::Once, "Once"),
                (Repeats::Daily, "Day"),
                (Repeats::Weekly, "Week"),
                (Repeats::Monthly, "Month"),
                (Repeats::Yearly, "Year"),
            ],
            &mut self.repeats,
        );
        choice(
            ui,
            "Kind",
            &[
                (EventKind::Sale, "Sale"),
                (EventKind::Campaign, "Campaign"),
                (EventKind::Maintenance, "Maint."),
                (EventKind::Batch, "Batch"),
                (EventKind::Other, "Other"),
            ],
            &mut self.kind,
        );
        field(
            ui,
            "Affects",
            &mut self.affects,
            "everybody, or service:shop; vm:web-1",
        );
        field(
            ui,
            "Change of load, %",
            &mut self.percent,
            "learned, or for example 40",
        );
        if let Some(wrong) = &self.wrong {
            text::wrapped(ui, wrong, theme::regular(13.0), tokens.critical);
            ui.add_space(10.0);
        }
        let (row, _) = ui.allocate_exact_size(vec2(ui.available_width(), 38.0), Sense::hover());
        let keep = Rect::from_min_size(pos2(row.right() - 150.0, row.top()), vec2(150.0, 38.0));
        let cancel = Rect::from_min_size(pos2(keep.left() - 110.0, row.top()), vec2(100.0, 38.0));
        if Button::new("Keep the event", Look::Primary)
            .off(pass.blocked)
            .put(ui, keep)
            .clicked()
        {
            match self.event(pass) {
                Ok(event) => {
                    self.wrong = None;
                    pass.out.push(Command::EventPut {
                        event: Box::new(event),
                    });
                }
                Err(wrong) => self.wrong = Some(wrong),
            }
        }
        Button::new("Cancel", Look::Secondary)
            .put(ui, cancel)
            .clicked()
    }

    fn event(&self, pass: &Pass<'_>) -> Result<Event, String> {
        let starts = self.starts.trim().replace(' ', "T");
        let starts = starts
            .parse::<jiff::civil::DateTime>()
            .and_then(|at| at.to_zoned(pass.clock.zone.clone()))
            .map_err(|_| {
                format!(
                    "`{}` is no moment such as 2026-11-27 10:00.",
                    self.starts.trim()
                )
            })?;
        let lasts = humantime::parse_duration(self.lasts.trim())
            .map_err(|_| format!("`{}` is no length such as 2h or 90min.", self.lasts.trim()))?;
        let affects = self
            .affects
            .split(';')
            .map(str::trim)
            .filter(|target| !target.is_empty() && *target != "everybody")
            .map(Target::parse)
            .collect::<Result<_, _>>()?;
        let percent = self.percent.trim().trim_end_matches('%').trim();
        let expected_factor = if percent.is_empty() {
            None
        } else {
            let percent: f64 = percent
                .parse()
                .map_err(|_| format!("`{percent}` is no number of percent."))?;
            Some(1.0 + percent / 100.0)
        };
        let event = Event {
            id: EventId::default(),
            name: self.name.trim().to_owned(),
            kind: self.kind,
            starts: Timestamp(starts.timestamp().as_millisecond()),
            lasts_seconds: u32::try_from(lasts.as_secs()).unwrap_or(u32::MAX),
            rule: self.repeats.rule().map(str::to_owned),
            zone: zone(pass).to_owned(),
            affects,
            expected_factor,
            exclude: false,
        };
        event.check()?;
        Ok(event)
    }
}

fn field(ui: &mut Ui, name: &str, value: &mut String, hint: &str) {
    let tokens = theme::of(ui);
    text::wrapped(ui, name, theme::medium(12.5), tokens.dim);
    ui.add_space(4.0);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 36.0), Sense::hover());
    // The words above it are a label of their own.
    text_field(ui, rect, value, &format!("Event: {name}"), hint);
    ui.add_space(12.0);
}

fn choice<T: Copy + PartialEq>(ui: &mut Ui, name: &str, all: &[(T, &str)], chosen: &mut T) {
    let tokens = theme::of(ui);
    text::wrapped(ui, name, theme::medium(12.5), tokens.dim);
    ui.add_space(4.0);
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 32.0), Sense::hover());
    button::segments(ui, rect.min, 32.0, all, chosen, true);
    ui.add_space(12.0);
}
