//! Lays the field out and makes its mesh.

use std::{collections::BTreeMap, sync::Arc};

use eframe::egui::{Color32, Mesh, Pos2, Rect, Vec2, pos2, vec2};

use super::{super::status::Tone, Block, Built, BuiltFor, Colour, Field, GAP, HEAD};
use crate::{
    health::HealthState,
    ui::theme::Tokens,
    units::{PoolId, printable},
};

/// Cell pitches that are tried, in whole pixels, largest first.
pub(super) const PITCHES: [f32; 13] = [
    28.0, 24.0, 20.0, 17.0, 14.0, 12.0, 10.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0,
];

/// The VMs of one pool by host, each host busiest first.
pub(super) type Hosts<'a> = BTreeMap<&'a str, Vec<(u32, Option<f32>)>>;

pub(super) fn build(field: &Field<'_>, room: Vec2, tokens: &Tokens) -> Built {
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

/// Block columns and cell pitch with which everything fits and cells are as large as can be.
pub(super) fn fit(pools: &BTreeMap<String, Hosts<'_>>, room: Vec2) -> (usize, Vec2) {
    let most = ((room.x + GAP.x) / (170.0 + GAP.x)).floor().max(1.0) as usize;
    let most = most.clamp(1, pools.len().clamp(1, 4));
    let mut best = (most, vec2(6.0, 6.0), 0.0);
    for wide in PITCHES {
        for columns in 1..=most {
            let width = (room.x - GAP.x * (columns - 1) as f32) / columns as f32;
            let per_row = ((width + 1.0) / wide).floor().max(1.0) as usize;
            let rows: Vec<usize> = pools
                .values()
                .map(|hosts| hosts.values().map(|row| row.len().div_ceil(per_row)).sum())
                .collect();
            let lines: Vec<usize> = rows
                .chunks(columns)
                .map(|line| line.iter().copied().max().unwrap_or(0))
                .collect();
            let heads = lines.len() as f32 * (HEAD + GAP.y) - GAP.y;
            let rows: usize = lines.iter().sum();
            // Nearly square: a little taller reads better, much flatter does not.
            let tall = ((room.y - heads) / rows.max(1) as f32)
                .floor()
                .min(wide + 1.0);
            let area = wide * tall;
            let better = area > best.2 || (area >= best.2 && columns > best.0);
            if tall >= 4.0 && tall >= wide * 0.7 && better {
                best = (columns, vec2(wide, tall), area);
            }
        }
    }
    (best.0, best.1)
}

pub(super) fn block(
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

pub(super) fn mesh(built: &Built, field: &Field<'_>, tokens: &Tokens) -> Mesh {
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

pub(super) fn frame(mesh: &mut Mesh, rect: Rect, width: f32, colour: Color32) {
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
