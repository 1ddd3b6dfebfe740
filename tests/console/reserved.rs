//! What is kept for shadows: shown with its cost and its users, set and given up by one press.

use super::*;
use shadowcast::{
    engine::snapshot::{ReservationUser, ReservationView},
    inventory::Pool,
    reservation::{
        Reserved, Taken,
        room::{self, NPlusOne},
    },
    units::{PoolId, ShadowId},
};

/// A fleet where 10 % of the first secondary pool is kept, with one shadow in it.
fn kept(taken_gib: u64, change: impl FnOnce(&mut Pool)) -> (Snapshot, PoolId) {
    let mut snapshot = fleet();
    let mut pools = snapshot.pools.to_vec();
    let pool = pools
        .iter_mut()
        .find(|pool| pool.role.takes_shadows())
        .expect("one takes shadows");
    change(pool);
    let reserved = Reserved {
        pool: pool.id.clone(),
        share: 0.1,
        until: Some(sample::NOW.plus_secs(3 * 3600)),
        since: sample::NOW,
        by: "ann".to_owned(),
    };
    let taken = Taken {
        memory_bytes: taken_gib << 30,
        vcpus: 4,
        waiting_bytes: 0,
    };
    let user = ReservationUser {
        shadow: ShadowId::from("s-1"),
        vm_name: "checkout-api-07".to_owned(),
        vcpus: 4,
        memory_bytes: taken_gib << 30,
    };
    let id = pool.id.clone();
    snapshot.reservations = vec![ReservationView {
        room: Some(room::room(&reserved, pool, taken)),
        reserved,
        users: vec![user],
    }];
    snapshot.pools = Arc::new(pools);
    (snapshot, id)
}

fn open_reserved(snapshot: Snapshot, theme: Theme, size: [f32; 2]) -> Window {
    let mut window = open_as(snapshot, theme, size);
    key(&mut window, Key::Num3);
    press(&mut window, "Reserved");
    // The runway that was shown first asked for facts.
    commands(&mut window);
    window
}

/// One of the parts that can be kept.
fn choose(window: &mut Window, part: &str) {
    window.get_by_role_and_label(Role::Tab, part).click();
    settle(window);
}

#[test]
fn what_is_kept_is_shown_with_its_cost_and_its_user() {
    let (snapshot, id) = kept(16, |_| ());
    let idle = snapshot.reservations[0].room.unwrap().idle_bytes;
    let mut window = open_reserved(snapshot, Theme::Dark, [1440.0, 900.0]);
    assert!(shows(&window, "10 % kept by ann, until"));
    assert!(shows(&window, "Costs idle"));
    let idle = shadowcast::ui::format::binary_bytes(idle);
    assert!(shows(&window, &idle), "{idle}");
    assert!(shows(&window, "4 vCPU, 16 GiB"));
    choose(&mut window, "20 %");
    let until = Some(sample::NOW.plus_secs(3 * 3600));
    assert_eq!(
        commands(&mut window),
        [Command::Reserve {
            pool: id.clone(),
            share: 0.2,
            until,
            by: "mo".to_owned()
        }]
    );
    choose(&mut window, "None");
    let by = "mo".to_owned();
    assert_eq!(
        commands(&mut window),
        [Command::ReserveRelease { pool: id, by }]
    );
    choose(&mut window, "10 %");
    assert!(commands(&mut window).is_empty(), "that is kept already");
}

#[test]
fn what_others_took_and_a_host_that_cannot_be_lost_are_said() {
    let (snapshot, _) = kept(0, |pool| {
        pool.hosts = 4;
        pool.memory_free_bytes = 1 << 30;
    });
    let room = snapshot.reservations[0].room.unwrap();
    assert_eq!(room.n_plus_one, NPlusOne::Broken);
    let window = open_reserved(snapshot, Theme::Light, [1280.0, 720.0]);
    assert!(shows(&window, "of it is in use by other VMs"));
    assert!(shows(&window, "no room"));
}

#[test]
fn where_nothing_is_kept_it_says_what_that_means() {
    let mut window = open_reserved(fleet(), Theme::Dark, [1440.0, 900.0]);
    assert!(shows(&window, "Nothing is kept here"));
    choose(&mut window, "10 %");
    let sent = commands(&mut window);
    assert!(
        matches!(&sent[..], [Command::Reserve { until: None, .. }]),
        "{sent:?}"
    );
    let mut none = fleet();
    none.pools = Arc::default();
    let window = open_reserved(none, Theme::Dark, [1440.0, 900.0]);
    assert!(shows(&window, "No pool takes shadows."));
}

#[test]
fn reserved_looks_as_it_did_in_the_dark() {
    let (snapshot, _) = kept(16, |_| ());
    let mut window = open_reserved(snapshot, Theme::Dark, [1440.0, 900.0]);
    window.snapshot_options("reserved_dark_1440", &tolerant());
}

#[test]
fn reserved_looks_as_it_did_in_the_light() {
    let (snapshot, _) = kept(16, |pool| pool.hosts = 1);
    let mut window = open_reserved(snapshot, Theme::Light, [1280.0, 720.0]);
    window.snapshot_options("reserved_light_1280", &tolerant());
}
