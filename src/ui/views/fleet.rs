use crate::{
    engine::command::{Command, Reply},
    ui::pass::Pass,
    units::*,
};
use eframe::egui::{Rect, Ui};
#[derive(Default)]
pub struct FleetView;
impl FleetView {
    pub fn ui(&mut self, _ui: &mut Ui, _body: Rect, _pass: &mut Pass<'_>) {}
    pub fn answered(&mut self, _c: &Command, _r: &Reply) {}
}
impl FleetView {
    pub fn select(&mut self, _v: VmId) {}
}
