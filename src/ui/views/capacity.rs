//! How long each pool lasts, what is kept in it for shadows, and what forecasts were worth.

use eframe::egui::{Rect, Ui, pos2, vec2};

use super::{
    capacity_record::RecordTab, capacity_reserved::ReservedTab, capacity_runway::RunwayTab, empty,
};
use crate::{
    metrics::Metric,
    ui::{
        app::part,
        pass::Pass,
        theme,
        widgets::{button, text},
    },
};

const BAR: f32 = 56.0;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Tab {
    #[default]
    Runway,
    Reserved,
    Record,
}

pub struct CapacityView {
    tab: Tab,
    metric: Metric,
    runway: RunwayTab,
    reserved: ReservedTab,
    record: RecordTab,
}

impl Default for CapacityView {
    fn default() -> Self {
        Self {
            tab: Tab::default(),
            metric: Metric::Cpu,
            runway: RunwayTab::default(),
            reserved: ReservedTab::default(),
            record: RecordTab::default(),
        }
    }
}

impl CapacityView {
    pub fn ui(&mut self, ui: &mut Ui, body: Rect, pass: &mut Pass<'_>) {
        if empty::loading(ui, body, pass) {
            return;
        }
        let tokens = theme::of(ui);
        let bar = Rect::from_min_size(body.min, vec2(body.width(), BAR));
        let below = Rect::from_min_max(
            bar.left_bottom() + vec2(24.0, 18.0),
            body.max - vec2(24.0, 20.0),
        );
        text::hline(ui, bar.left()..=bar.right(), bar.bottom(), tokens.line);
        part(ui, "bar", bar, |ui| {
            let at = |x: f32| pos2(x, bar.center().y - 16.0);
            let tabs = [
                (Tab::Runway, "Runway"),
                (Tab::Reserved, "Reserved"),
                (Tab::Record, "Forecast record"),
            ];
            let left = bar.left() + 24.0;
            let right = button::segments(ui, at(left), 32.0, &tabs, &mut self.tab, true);
            if self.tab == Tab::Reserved {
                return;
            }
            let metrics = [(Metric::Cpu, "CPU"), (Metric::Memory, "Memory")];
            let right =
                button::segments(ui, at(right + 16.0), 32.0, &metrics, &mut self.metric, true);
            if self.tab == Tab::Runway {
                self.runway.spans(ui, at(right + 16.0));
            }
        });
        match self.tab {
            Tab::Runway => part(ui, "runway", below, |ui| {
                self.runway.ui(ui, below, self.metric, pass);
            }),
            Tab::Reserved => part(ui, "reserved", below, |ui| {
                self.reserved.ui(ui, below, pass);
            }),
            Tab::Record => part(ui, "record", below, |ui| {
                self.record.ui(ui, below, self.metric, pass);
            }),
        }
    }
}
