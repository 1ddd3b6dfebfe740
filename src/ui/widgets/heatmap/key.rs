//! The key to the colours.

use eframe::egui::{Mesh, Rect, Shape, Ui, pos2};

use super::Colour;
use crate::{engine::snapshot::VmView, ui::theme};

/// The figure under the histogram: how many VMs lie in each fiftieth of the range.
pub fn histogram(vms: &[VmView], shown: &[u32], colour: Colour) -> [u32; 50] {
    let mut bins = [0; 50];
    for index in shown {
        if let Some(value) = colour.value(&vms[*index as usize]) {
            bins[((value.clamp(0.0, 1.0) * 50.0) as usize).min(49)] += 1;
        }
    }
    bins
}

/// The ramp as a strip.
pub fn ramp(ui: &Ui, rect: Rect) {
    let tokens = theme::of(ui);
    let mut mesh = Mesh::default();
    let parts = 48;
    for part in 0..=parts {
        let share = part as f32 / parts as f32;
        let x = rect.left() + rect.width() * share;
        let colour = tokens.heat(share);
        mesh.colored_vertex(pos2(x, rect.top()), colour);
        mesh.colored_vertex(pos2(x, rect.bottom()), colour);
        if part > 0 {
            let last = part as u32 * 2;
            mesh.add_triangle(last - 2, last - 1, last);
            mesh.add_triangle(last - 1, last, last + 1);
        }
    }
    ui.painter().add(Shape::mesh(mesh));
}
