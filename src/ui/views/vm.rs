use crate::{ui::pass::Pass, units::*};
use eframe::egui::{Rect, Ui};
pub struct VmPage(VmId);
impl VmPage {
    pub fn new(v: VmId) -> Self {
        Self(v)
    }
    pub fn ui(&mut self, _ui: &mut Ui, _body: Rect, _pass: &mut Pass<'_>) {
        let _ = &self.0;
    }
}
