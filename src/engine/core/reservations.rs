//! What operators keep for shadows in the pools: set, released, ended by time, and shown.

use super::{Core, Document, Effect};
use crate::{
    engine::{
        command::{Answer, Reply},
        snapshot::{Alarm, ReservationUser, ReservationView, TimelineKind},
    },
    inventory::Pool,
    problem::Problem,
    reservation::{
        NPlusOne, Reserved, Taken,
        room::{self, Unkept},
    },
    shadow::{Check, CheckOutcome, placement, plan::bytes},
    units::{PoolId, SourceName, Timestamp, printable},
};

const NOT_RESERVED: &str = "Nothing was reserved.";

impl Core {
    pub(super) fn reserve(
        &mut self,
        at: Timestamp,
        pool: &PoolId,
        share: f64,
        until: Option<Timestamp>,
        by: String,
        out: &mut Vec<Effect>,
    ) -> Reply {
        if !(share > 0.0 && share <= 1.0) {
            return Err(Problem::usage(
                NOT_RESERVED,
                "the share is not more than 0 % and at most 100 %",
                "Give for example 10%; `shadowcast reserve release POOL` ends a reservation.",
            ));
        }
        if until.is_some_and(|until| until <= at) {
            return Err(Problem::usage(
                NOT_RESERVED,
                "its end is over already",
                "Give a moment to come, or a length of time such as 8h.",
            ));
        }
        let found = self.pool_for_shadows(pool)?;
        let reserved = Reserved {
            pool: pool.clone(),
            share,
            until,
            since: at,
            by,
        };
        let taken = self.taken_in(pool);
        room::can_keep(&reserved, &found, taken, self.settings.shadow.pool_headroom)
            .map_err(|unkept| self.not_kept(&found, &unkept))?;
        let now = room::room(&reserved, &found, taken);
        let mut text = format!(
            "{:.0} % of {} reserved for shadows by {}: {} of memory and {:.1} CPUs, of which {} and {:.1} stand idle",
            share * 100.0,
            printable(&found.name),
            reserved.by,
            bytes(now.memory_bytes),
            now.cpus,
            bytes(now.idle_bytes),
            now.idle_cpus,
        );
        if now.n_plus_one == NPlusOne::OneHost {
            text.push_str("; the pool has one host, so that N+1 cannot be had");
        }
        out.push(Effect::Put(Document::Reserved(Box::new(reserved.clone()))));
        self.ledger.reserve(reserved);
        let told = text.clone();
        self.event(at, TimelineKind::Decision, told, None, None, false, out);
        Ok(Answer::Done { text })
    }

    fn pool_for_shadows(&self, pool: &PoolId) -> Result<Pool, Problem> {
        let found = self.pools.get(pool).ok_or_else(|| {
            Problem::failed(
                NOT_RESERVED,
                format!("there is no pool {}", printable(pool.as_str())),
                "`shadowcast pools` lists them.",
            )
        })?;
        if !found.role.takes_shadows() {
            return Err(Problem::refused(
                NOT_RESERVED,
                format!(
                    "the source of {} is for primaries only",
                    printable(&found.name)
                ),
                "Reserve in a pool that takes shadows: `shadowcast pools` shows the roles.",
            ));
        }
        Ok(found.clone())
    }

    fn not_kept(&self, pool: &Pool, unkept: &Unkept) -> Problem {
        let name = printable(&pool.name);
        let headroom = self.settings.shadow.pool_headroom * 100.0;
        let (why, possible) = match *unkept {
            Unkept::Memory { possible } => (
                format!("{name} has not so much memory free beside {headroom:.0} % of headroom"),
                possible,
            ),
            Unkept::HostLoss {
                possible,
                host_bytes,
            } => (
                format!(
                    "with it, {name} could not lose one of its {} hosts: {} must stay free",
                    pool.hosts,
                    bytes(host_bytes)
                ),
                possible,
            ),
            Unkept::Cpus { possible } => {
                (format!("{name} has not so many CPUs to spare"), possible)
            }
        };
        let next = if possible > 0.0 {
            format!("At most {:.0} % can be kept there now.", possible * 100.0)
        } else {
            "Nothing can be kept there now: make room, or choose another pool.".to_owned()
        };
        Problem::refused(NOT_RESERVED, why, next)
    }

    pub(super) fn release_reservation(
        &mut self,
        at: Timestamp,
        pool: &PoolId,
        by: &str,
        out: &mut Vec<Effect>,
    ) -> Reply {
        if self.ledger.give_up(pool).is_none() {
            return Err(Problem::failed(
                "Nothing was released.",
                format!("nothing is reserved in {}", printable(pool.as_str())),
                "`shadowcast reserve list` shows what is.",
            ));
        }
        out.push(Effect::Put(Document::ReservedGone(pool.clone())));
        let text = format!(
            "Reservation in {} released by {by}; its shadows stay",
            self.pool_name(pool)
        );
        let told = text.clone();
        self.event(at, TimelineKind::Decision, told, None, None, false, out);
        Ok(Answer::Done { text })
    }

    /// Ends those whose time has come.
    pub(super) fn expire_reservations(&mut self, at: Timestamp, out: &mut Vec<Effect>) {
        let ended = |reserved: &&Reserved| reserved.has_ended(at);
        let pools: Vec<PoolId> = (self.ledger.reserved.iter().filter(ended))
            .map(|reserved| reserved.pool.clone())
            .collect();
        for pool in pools {
            self.ledger.give_up(&pool);
            let text = format!("Reservation in {} ended", self.pool_name(&pool));
            out.push(Effect::Put(Document::ReservedGone(pool)));
            self.event(at, TimelineKind::Decision, text, None, None, false, out);
        }
    }

    /// Where the source of a pool was removed, nothing can be kept.
    pub(super) fn drop_reservations_of(&mut self, source: &SourceName, out: &mut Vec<Effect>) {
        let of = |reserved: &&Reserved| reserved.pool.source() == *source;
        let pools: Vec<PoolId> = (self.ledger.reserved.iter().filter(of))
            .map(|reserved| reserved.pool.clone())
            .collect();
        for pool in pools {
            self.ledger.give_up(&pool);
            out.push(Effect::Put(Document::ReservedGone(pool)));
        }
    }

    /// What another shadow of this size would break in the pool, in words.
    pub(super) fn would_break(&self, pool: &Pool, memory_bytes: u64) -> Option<String> {
        let headroom = self.settings.shadow.pool_headroom;
        let short = self.ledger.keeps(pool, memory_bytes).err()?;
        Some(format!(
            "{}: {}",
            printable(&pool.name),
            placement::in_words(&short, headroom)
        ))
    }

    /// What a shadow takes of what is reserved, for those who decide on it.
    pub(super) fn room_check(&self, pool: &Pool, memory_bytes: u64) -> Option<Check> {
        let reserved = self.ledger.reserved_in(&pool.id)?;
        let now = room::room(reserved, pool, self.taken_in(&pool.id));
        let mut text = format!(
            "Takes {} of {} that are reserved for shadows on {}",
            bytes(memory_bytes),
            bytes(now.memory_bytes),
            printable(&pool.name)
        );
        let (outcome, more) = match now.n_plus_one {
            NPlusOne::Kept => (CheckOutcome::Passed, ", and one host can be lost"),
            NPlusOne::Broken => (CheckOutcome::Note, ", but no host can be lost there"),
            NPlusOne::OneHost => (CheckOutcome::Note, "; of its one host none can be lost"),
        };
        text.push_str(more);
        Some(Check { outcome, text })
    }

    fn taken_in(&self, pool: &PoolId) -> Taken {
        let waiting = self.shadows.values().filter(|shadow| !shadow.running);
        Taken {
            memory_bytes: self.ledger.memory_bytes(pool),
            vcpus: self.ledger.vcpus(pool),
            waiting_bytes: waiting
                .filter_map(|shadow| shadow.hold.as_ref())
                .filter(|hold| hold.pool == *pool)
                .fold(0, |sum, hold| sum.saturating_add(hold.memory_bytes)),
        }
    }

    pub(super) fn reservation_views(&self) -> Vec<ReservationView> {
        let mut views: Vec<ReservationView> = (self.ledger.reserved.iter())
            .map(|reserved| self.reservation_view(reserved))
            .collect();
        views.sort_by(|one, other| one.reserved.pool.cmp(&other.reserved.pool));
        views
    }

    fn reservation_view(&self, reserved: &Reserved) -> ReservationView {
        let pool = self.pools.get(&reserved.pool);
        let users = (self.shadows.values())
            .filter_map(|shadow| Some((shadow, shadow.hold.as_ref()?)))
            .filter(|(_, hold)| hold.pool == reserved.pool)
            .map(|(shadow, hold)| ReservationUser {
                shadow: shadow.id.clone(),
                vm_name: shadow.vm_name.clone(),
                vcpus: hold.vcpus,
                memory_bytes: hold.memory_bytes,
            })
            .collect();
        ReservationView {
            reserved: reserved.clone(),
            room: pool.map(|pool| room::room(reserved, pool, self.taken_in(&pool.id))),
            users,
        }
    }

    pub(super) fn reservation_alarms(&self, at: Timestamp) -> Vec<Alarm> {
        let short = |view: ReservationView| {
            let room = view.room.filter(|room| room.short_bytes > 0)?;
            Some(Alarm {
                text: format!(
                    "{} of what is reserved for shadows in {} is in use by others",
                    bytes(room.short_bytes),
                    self.pool_name(&view.reserved.pool)
                ),
                effect: "a shadow may find no room there".to_owned(),
                since: at,
            })
        };
        self.reservation_views()
            .into_iter()
            .filter_map(short)
            .collect()
    }

    fn pool_name(&self, pool: &PoolId) -> String {
        let name = self
            .pools
            .get(pool)
            .map_or(pool.as_str(), |pool| &pool.name);
        printable(name)
    }
}
