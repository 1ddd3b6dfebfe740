//! The fleet as a field of cells: one block a pool, one row a host, busiest VM first. The cells are one mesh that is
//! built anew only on new data, another filter or another size; the pointer finds its cell by arithmetic.

use std::sync::Arc;

use eframe::egui::{
    Color32, CornerRadius, Id, Key, Mesh, Pos2, Rect, Response, Role, Sense, Shape, Stroke,
    StrokeKind, Ui, Vec2, WidgetInfo, pos2, vec2,
};

use super::{
    status::{self, Tone},
    text,
};
use crate::{
    engine::snapshot::VmView,
    metrics::Metric,
    ui::{
        format,
        theme::{self, Tokens},
    },
    units::{PoolId, VmId, printable},
};

mod build;
mod key;

pub use key::{histogram, ramp};

const HEAD: f32 = 32.0;

const GAP: Vec2 = vec2(26.0, 22.0);

/// What the colour of a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    PeakAhead,
    LoadNow,
    Health,
}

impl Colour {
    /// 0..=1, more is worse; `None` without data.
    pub fn value(self, vm: &VmView) -> Option<f32> {
        match self {
            Self::PeakAhead => vm
                .outlook(Metric::Cpu)
                .map(|outlook| outlook.peak)
                .or(vm.values[Metric::Cpu.index()]),
            Self::LoadNow => vm.values[Metric::Cpu.index()],
            Self::Health => vm
                .health
                .score
                .map(|score| 1.0 - f32::from(score.min(100)) / 100.0),
        }
    }

    /// The figure as it is written beside a cell.
    pub fn figure(self, value: f32) -> String {
        match self {
            Self::PeakAhead | Self::LoadNow => format::percent(f64::from(value)),
            Self::Health => format!("{:.0}", (1.0 - value) * 100.0),
        }
    }
}

/// One pool.
struct Block {
    name: String,
    cells: Rect,
    /// Positions in `Built::order` where each row begins, and the end of the last one.
    rows: Vec<usize>,
    crossing: usize,
    mean: Option<f32>,
    worst: Tone,
}

struct BuiltFor {
    vms: Arc<Vec<VmView>>,
    shown: Arc<Vec<u32>>,
    size: Vec2,
    colour: Colour,
    dark: bool,
}

struct Built {
    key: BuiltFor,
    pitch: Vec2,
    height: f32,
    blocks: Vec<Block>,
    /// Indices into the VMs, in the order of the cells.
    order: Vec<u32>,
    mesh: Arc<Mesh>,
}

/// Keeps what was built last.
#[derive(Default)]
pub struct Heatmap(Option<Built>);

/// What the pointer or the keys did.
#[derive(Default)]
pub struct Touched {
    pub hovered: Option<(usize, Rect)>,
    pub selected: Option<usize>,
    pub opened: bool,
}

/// What to show.
pub struct Field<'a> {
    pub vms: &'a Arc<Vec<VmView>>,
    /// Indices of the VMs that pass the filter.
    pub shown: &'a Arc<Vec<u32>>,
    pub colour: Colour,
    pub selected: Option<&'a VmId>,
    pub pool_name: &'a dyn Fn(&PoolId) -> String,
}

impl Heatmap {
    /// Height that the field needs at this width, given the height that there is.
    pub fn height(&mut self, field: &Field<'_>, room: Vec2, tokens: &Tokens) -> f32 {
        let fits = self.0.as_ref().is_some_and(|built| {
            Arc::ptr_eq(&built.key.vms, field.vms)
                && Arc::ptr_eq(&built.key.shown, field.shown)
                && built.key.size == room
                && built.key.colour == field.colour
                && built.key.dark == tokens.dark
        });
        if !fits {
            self.0 = Some(build::build(field, room, tokens));
        }
        self.0.as_ref().map_or(0.0, |built| built.height)
    }

    /// Draws the field with its corner at `at`; [`Heatmap::height`] comes first.
    pub fn ui(&mut self, ui: &mut Ui, id: Id, at: Pos2, field: &Field<'_>) -> Touched {
        let mut touched = Touched::default();
        let Some(built) = &self.0 else {
            return touched;
        };
        let tokens = theme::of(ui);
        let area = Rect::from_min_size(at, vec2(built.key.size.x, built.height));
        let response = ui.interact(area, id, Sense::click());
        response.widget_info(|| WidgetInfo::labeled(Role::Grid, true, built.in_words(field)));
        let offset = at.to_vec2();
        let mut mesh = Mesh::clone(&built.mesh);
        mesh.translate(offset);
        ui.painter().add(Shape::mesh(mesh));
        for block in &built.blocks {
            head(ui, block, offset, tokens);
        }
        let selected = field
            .selected
            .and_then(|id| built.position_of(field.vms, id));
        if let Some(rect) = selected.and_then(|position| built.cell(position)) {
            let around = rect.translate(offset).expand(3.0);
            ui.painter().rect(
                around,
                CornerRadius::same(3),
                Color32::TRANSPARENT,
                Stroke::new(2.0, tokens.hi),
                StrokeKind::Inside,
            );
        }
        if let Some(pointer) = response.hover_pos()
            && let Some(position) = built.hit(pointer - offset)
        {
            let index = built.order[position] as usize;
            if let Some(rect) = built.cell(position) {
                touched.hovered = Some((index, rect.translate(offset)));
            }
            if response.clicked() || response.double_clicked() {
                touched.selected = Some(index);
                touched.opened = response.double_clicked();
                response.request_focus();
            }
        }
        if response.has_focus()
            && let Some(position) = built.by_key(ui, &response, selected)
        {
            touched.selected = Some(built.order[position] as usize);
        }
        touched
    }
}

impl Built {
    fn in_words(&self, field: &Field<'_>) -> String {
        let crossing: usize = self.blocks.iter().map(|block| block.crossing).sum();
        let mut words = format!(
            "Heatmap of {}, {} forecast to cross a limit",
            format::plural(self.order.len(), "VM", "VMs"),
            crossing
        );
        if let Some(vm) = field
            .selected
            .and_then(|id| field.vms.iter().find(|view| view.vm.id == *id))
        {
            words += &format!(", selected {}", printable(&vm.vm.name));
        }
        words
    }

    fn position_of(&self, vms: &[VmView], id: &VmId) -> Option<usize> {
        let index = vms.binary_search_by(|view| view.vm.id.cmp(id)).ok()? as u32;
        self.order.iter().position(|other| *other == index)
    }

    fn place(&self, position: usize) -> Option<(&Block, usize, usize)> {
        let block = self.blocks.iter().find(|block| {
            block.rows.first().is_some_and(|first| *first <= position)
                && block.rows.last().is_some_and(|end| position < *end)
        })?;
        let row = block.rows.partition_point(|start| *start <= position) - 1;
        Some((block, row, position - block.rows[row]))
    }

    fn cell(&self, position: usize) -> Option<Rect> {
        let (block, row, column) = self.place(position)?;
        Some(Rect::from_min_size(
            block.cells.min + vec2(column as f32, row as f32) * self.pitch,
            self.pitch - Vec2::splat(1.0),
        ))
    }

    fn hit(&self, at: Pos2) -> Option<usize> {
        let block = self.blocks.iter().find(|block| block.cells.contains(at))?;
        let inside = (at - block.cells.min) / self.pitch;
        let (row, column) = (inside.y as usize, inside.x as usize);
        let start = *block.rows.get(row)?;
        let end = *block.rows.get(row + 1)?;
        (start + column < end).then_some(start + column)
    }

    fn by_key(&self, ui: &Ui, response: &Response, selected: Option<usize>) -> Option<usize> {
        ui.memory_mut(|memory| {
            memory.set_focus_lock_filter(
                response.id,
                eframe::egui::EventFilter {
                    horizontal_arrows: true,
                    vertical_arrows: true,
                    ..Default::default()
                },
            );
        });
        let (dx, dy) = ui.input(|input| {
            let presses = |key| input.num_presses(key) as i64;
            (
                presses(Key::ArrowRight) - presses(Key::ArrowLeft),
                presses(Key::ArrowDown) - presses(Key::ArrowUp),
            )
        });
        if (dx, dy) == (0, 0) || self.order.is_empty() {
            return None;
        }
        let Some(position) = selected else {
            return Some(0);
        };
        let last = self.order.len() as i64 - 1;
        if dy == 0 {
            return Some((position as i64 + dx).clamp(0, last) as usize);
        }
        let (block, row, column) = self.place(position)?;
        let row = (row as i64 + dy).clamp(0, block.rows.len() as i64 - 2) as usize;
        Some((block.rows[row] + column).min(block.rows[row + 1] - 1))
    }
}

fn head(ui: &mut Ui, block: &Block, offset: Vec2, tokens: &Tokens) {
    let rect = block.cells.translate(offset);
    let y = rect.top() - HEAD + 10.0;
    let painter = ui.painter();
    status::paint(
        painter,
        pos2(rect.left() + 5.0, y),
        10.0,
        block.worst,
        tokens,
    );
    let right = if let Some(mean) = block.mean {
        text::right(
            ui,
            rect.right(),
            y,
            &format::percent(f64::from(mean)),
            theme::mono_medium(12.0),
            tokens.hi,
        )
        .rect
        .left()
            - 12.0
    } else {
        rect.right()
    };
    let right = if block.crossing > 0 {
        text::right(
            ui,
            right,
            y,
            &format!("{} cross", block.crossing),
            theme::medium(12.0),
            block.worst.colour(tokens),
        )
        .rect
        .left()
            - 8.0
    } else {
        right
    };
    let count = block.rows.last().unwrap_or(&0) - block.rows.first().unwrap_or(&0);
    let count = format::count(count);
    let room = right - rect.left() - 17.0;
    let need = text::width(ui, &block.name, theme::semibold(13.0));
    let name = text::fit(
        ui,
        rect.left() + 17.0,
        y,
        (room - 8.0).max(20.0),
        &block.name,
        theme::semibold(13.0),
        tokens.hi,
    );
    // The count gives way before the name does.
    if need + 14.0 + text::width(ui, &count, theme::regular(12.0)) < room {
        text::left(
            ui,
            name.rect.right() + 6.0,
            y,
            &count,
            theme::regular(12.0),
            tokens.dim,
        );
    }
    let rail = Rect::from_min_size(pos2(rect.left(), y + 13.0), vec2(rect.width(), 3.0));
    let painter = ui.painter();
    painter.rect_filled(rail, 1, tokens.line);
    if let Some(mean) = block.mean {
        let full = Rect::from_min_size(rail.min, vec2(rail.width() * mean.clamp(0.0, 1.0), 3.0));
        painter.rect_filled(full, 1, tokens.heat(mean));
    }
}
