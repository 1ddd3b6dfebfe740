//! The fleet as a field of cells: one block a pool, one row a host, busiest VM first. The cells are one mesh that is
//! built anew only on new data, another filter or another size; the pointer finds its cell by arithmetic.

use std::{collections::BTreeMap, sync::Arc};

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
    health::HealthState,
    metrics::Metric,
    ui::{
        format,
        theme::{self, Tokens},
    },
    units::{PoolId, VmId, printable},
};

const HEAD: f32 = 32.0;
const GAP: Vec2 = vec2(26.0, 22.0);
/// Cell pitches that are tried, in whole pixels, largest first.
const PITCHES: [f32; 13] = [
    28.0, 24.0, 20.0, 17.0, 14.0, 12.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0,
];

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
            self.0 = Some(build(field, room, tokens));
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
    let name = text::fit(
        ui,
        rect.left() + 17.0,
        y,
        (right - rect.left() - 50.0).max(20.0),
        &block.name,
        theme::semibold(13.0),
        tokens.hi,
    );
    let count = block.rows.last().unwrap_or(&0) - block.rows.first().unwrap_or(&0);
    if right - name.rect.right() > 34.0 {
        text::left(
            ui,
            name.rect.right() + 6.0,
            y,
            &format::count(count),
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

/// The VMs of one pool by host, each host busiest first.
type Hosts<'a> = BTreeMap<&'a str, Vec<(u32, Option<f32>)>>;

fn build(field: &Field<'_>, room: Vec2, tokens: &Tokens) -> Built {
    let mut pools: BTreeMap<String, Hosts<'_>> = BTreeMap::new();
    let mut names: BTreeMap<&PoolId, String> = BTreeMap::new();
    for index in field.shown.iter() {
        let view = &field.vms[*index as usize];
        let name = names
            .entry(&view.vm.pool)
            .or_insert_with(|| printable(&(field.pool_name)(&view.vm.pool)));
        pools
            .entry(name.clone())
            .or_default()
            .entry(&view.vm.host)
            .or_default()
            .push((*index, field.colour.value(view)));
    }
    for hosts in pools.values_mut() {
        for row in hosts.values_mut() {
            row.sort_unstable_by(|a, b| {
                b.1.unwrap_or(-1.0)
                    .total_cmp(&a.1.unwrap_or(-1.0))
                    .then(a.0.cmp(&b.0))
            });
        }
    }
    let (columns, pitch) = fit(&pools, room);
    let width = ((room.x - GAP.x * (columns - 1) as f32) / columns as f32).floor();
    let per_row = ((width + 1.0) / pitch.x).floor().max(1.0) as usize;
    let mut built = Built {
        key: BuiltFor {
            vms: Arc::clone(field.vms),
            shown: Arc::clone(field.shown),
            size: room,
            colour: field.colour,
            dark: tokens.dark,
        },
        pitch,
        height: 0.0,
        blocks: Vec::with_capacity(pools.len()),
        order: Vec::with_capacity(field.shown.len()),
        mesh: Arc::default(),
    };
    let mut y = 0.0;
    for (index, (name, hosts)) in pools.into_iter().enumerate() {
        let column = index % columns;
        if column == 0 && index > 0 {
            y = built.height + GAP.y;
        }
        let left = (width + GAP.x) * column as f32;
        let block = block(
            &mut built,
            field,
            name,
            hosts,
            pos2(left, y + HEAD),
            per_row,
            width,
        );
        built.height = built.height.max(block.cells.bottom());
        built.blocks.push(block);
    }
    built.mesh = Arc::new(mesh(&built, field, tokens));
    built
}

/// Block columns and cell pitch with which everything fits, cells as large as can be.
fn fit(pools: &BTreeMap<String, Hosts<'_>>, room: Vec2) -> (usize, Vec2) {
    let most = ((room.x + GAP.x) / (170.0 + GAP.x)).floor().max(1.0) as usize;
    let most = most.clamp(1, pools.len().clamp(1, 4));
    for pitch in PITCHES {
        for columns in (1..=most).rev() {
            let width = (room.x - GAP.x * (columns - 1) as f32) / columns as f32;
            let per_row = ((width + 1.0) / pitch).floor().max(1.0) as usize;
            let rows: Vec<usize> = pools
                .values()
                .map(|hosts| hosts.values().map(|row| row.len().div_ceil(per_row)).sum())
                .collect();
            let fits = |tall: f32| {
                let total: f32 = rows
                    .chunks(columns)
                    .map(|line| {
                        let most = line.iter().copied().max().unwrap_or(0);
                        HEAD + most as f32 * tall + GAP.y
                    })
                    .sum();
                total - GAP.y <= room.y
            };
            if fits(pitch) {
                // A little taller where there is room: rows read better then.
                let tall = if fits(pitch + 1.0) {
                    pitch + 1.0
                } else {
                    pitch
                };
                return (columns, vec2(pitch, tall));
            }
        }
    }
    (most, vec2(6.0, 6.0))
}

fn block(
    built: &mut Built,
    field: &Field<'_>,
    name: String,
    hosts: Hosts<'_>,
    at: Pos2,
    per_row: usize,
    width: f32,
) -> Block {
    let mut rows = Vec::new();
    let (mut crossing, mut sum, mut known) = (0, 0.0, 0u32);
    let mut worst = HealthState::Ok;
    for row in hosts.into_values() {
        for line in row.chunks(per_row) {
            rows.push(built.order.len());
            for (index, value) in line {
                built.order.push(*index);
                let view = &field.vms[*index as usize];
                if let Some(value) = value {
                    sum += value;
                    known += 1;
                }
                crossing += usize::from(view.first_crossing().is_some());
                if view.health.state != HealthState::Unknown {
                    worst = worst.max(view.health.state);
                }
            }
        }
    }
    let height = rows.len() as f32 * built.pitch.y;
    rows.push(built.order.len());
    // A pool is only as bad as what it is forecast to do: single bad VMs show as cells.
    let share = crossing as f32 / (known.max(1)) as f32;
    let worst = match (crossing, worst) {
        (0, _) => Tone::Ok,
        (_, HealthState::Critical) if share > 0.02 => Tone::Critical,
        _ => Tone::Risk,
    };
    Block {
        name,
        cells: Rect::from_min_size(at, vec2(width, height)),
        rows,
        crossing,
        mean: (known > 0).then(|| {
            let mean = sum / known as f32;
            if field.colour == Colour::Health {
                1.0 - mean
            } else {
                mean
            }
        }),
        worst,
    }
}

fn mesh(built: &Built, field: &Field<'_>, tokens: &Tokens) -> Mesh {
    let mut mesh = Mesh::default();
    mesh.reserve_vertices(built.order.len() * 5);
    mesh.reserve_triangles(built.order.len() * 3);
    let side = built.pitch - Vec2::splat(1.0);
    let mut rings = Vec::new();
    for block in &built.blocks {
        for (row, ends) in block.rows.windows(2).enumerate() {
            for position in ends[0]..ends[1] {
                let at =
                    block.cells.min + vec2((position - ends[0]) as f32, row as f32) * built.pitch;
                let cell = Rect::from_min_size(at, side);
                let view = &field.vms[built.order[position] as usize];
                match field.colour.value(view) {
                    None => frame(&mut mesh, cell, 1.0, tokens.faint),
                    Some(_) if view.first_crossing().is_some() => {
                        mesh.add_colored_rect(cell, tokens.critical);
                        let bar = vec2((side.x * 0.22).max(1.0).round(), (side.y * 0.6).round());
                        mesh.add_colored_rect(
                            Rect::from_center_size(cell.center(), bar),
                            if tokens.dark { tokens.bg } else { tokens.card },
                        );
                    }
                    Some(value) => mesh.add_colored_rect(cell, tokens.heat(value)),
                }
                if view.shadow.is_some() {
                    rings.push(cell);
                }
            }
        }
    }
    // Rings lie over their neighbours.
    for cell in rings {
        frame(&mut mesh, cell.expand(2.5), 1.0, tokens.bg);
        frame(&mut mesh, cell.expand(1.5), 1.5, tokens.cast);
    }
    mesh
}

fn frame(mesh: &mut Mesh, rect: Rect, width: f32, colour: Color32) {
    let (a, b) = (rect.min, rect.max);
    for side in [
        Rect::from_min_max(a, pos2(b.x, a.y + width)),
        Rect::from_min_max(pos2(a.x, b.y - width), b),
        Rect::from_min_max(pos2(a.x, a.y + width), pos2(a.x + width, b.y - width)),
        Rect::from_min_max(pos2(b.x - width, a.y + width), pos2(b.x, b.y - width)),
    ] {
        mesh.add_colored_rect(side, colour);
    }
}

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
