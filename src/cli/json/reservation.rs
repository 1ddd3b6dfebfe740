//! What is kept for shadows.

use serde::Serialize;

use crate::{
    engine::snapshot::{ReservationUser, ReservationView, Snapshot},
    reservation::NPlusOne,
    units::{PoolId, Timestamp},
};

#[derive(Serialize)]
pub struct Reservations<'a> {
    pub reservations: Vec<ReservationJson<'a>>,
}

#[derive(Serialize)]
pub struct ReservationJson<'a> {
    pool: &'a PoolId,
    share: f64,
    since: Timestamp,
    until: Option<Timestamp>,
    by: &'a str,
    memory_bytes: Option<u64>,
    cpus: Option<f64>,
    taken_bytes: Option<u64>,
    idle_bytes: Option<u64>,
    idle_cpus: Option<f64>,
    short_bytes: Option<u64>,
    short_cpus: Option<f64>,
    n_plus_one: Option<NPlusOne>,
    used_by: &'a [ReservationUser],
}

impl<'a> From<&'a ReservationView> for ReservationJson<'a> {
    fn from(view: &'a ReservationView) -> Self {
        let (reserved, room) = (&view.reserved, view.room);
        Self {
            pool: &reserved.pool,
            share: reserved.share,
            since: reserved.since,
            until: reserved.until,
            by: &reserved.by,
            memory_bytes: room.map(|room| room.memory_bytes),
            cpus: room.map(|room| room.cpus),
            taken_bytes: room.map(|room| room.taken_bytes),
            idle_bytes: room.map(|room| room.idle_bytes),
            idle_cpus: room.map(|room| room.idle_cpus),
            short_bytes: room.map(|room| room.short_bytes),
            short_cpus: room.map(|room| room.short_cpus),
            n_plus_one: room.map(|room| room.n_plus_one),
            used_by: &view.users,
        }
    }
}

pub fn reservations(now: &Snapshot) -> Reservations<'_> {
    Reservations {
        reservations: now.reservations.iter().map(ReservationJson::from).collect(),
    }
}
