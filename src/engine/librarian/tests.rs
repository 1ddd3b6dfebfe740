use std::path::Path;

use super::*;
use crate::{
    forecast::record,
    health::{Contribution, HealthScore, HealthState},
    hypervisor::simulated::VirtualClock,
    policy::Limits,
    shadow::{
        Reason,
        need::{NeedInput, NeedPolicy, need},
    },
};

pub const NOW: Timestamp = Timestamp::from_secs(1_795_305_600);
const DAY_SECONDS: i64 = 86_400;

/// A thread's own connection, at [`NOW`].
pub fn desk(folder: &Path) -> Desk {
    desk_at(folder, NOW)
}

fn desk_at(folder: &Path, now: Timestamp) -> Desk {
    Desk {
        folder: folder.to_owned(),
        keeping: Keeping::default(),
        metrics: None,
        server: None,
        profiles: Profiles::default(),
        records: Arc::new(Records::new(true)),
        clock: Arc::new(VirtualClock::new(now)),
    }
}

/// Days that are all alike but for a little noise, up to `NOW`.
fn alike(days: i64) -> Series {
    let mut random = fastrand::Rng::with_seed(5);
    let value = |step: i64| {
        let angle = step as f32 / 288.0 * std::f32::consts::TAU;
        0.3 - 0.2 * angle.cos() + 0.01 * random.f32()
    };
    Series {
        start: NOW.plus_secs(-days * DAY_SECONDS),
        step_seconds: STEP_SECONDS,
        values: (0..days * 288).map(value).collect(),
    }
}

fn job(vm: &str) -> ForecastJob {
    ForecastJob {
        vm: vm.into(),
        limits: Limits {
            cpu: Some(0.85),
            ..Limits::default()
        },
        horizon_seconds: 12 * 3600,
        events: Vec::new(),
        kin: Kin::default(),
    }
}

fn fleet(vms: &[&str]) -> Judging {
    let mut judging = Judging::default();
    judging.fleet(vms.iter().map(|vm| (job(vm), None)).collect());
    judging
}

fn put(desk: &mut Desk, vm: &str, series: &Series) {
    let metrics = desk.metrics().unwrap();
    metrics.import(&vm.into(), Metric::Cpu, series).unwrap();
}

/// Judges until there is nothing left to do, and says how often it did.
fn judge_all(desk: &mut Desk, judging: &mut Judging) -> usize {
    (0..1000).take_while(|_| desk.judge_next(judging)).count()
}

#[test]
fn records_are_kept_up_until_all_are_fresh_and_outlive_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(folder.path());
    put(&mut desk, "dc/1", &alike(9));
    put(&mut desk, "dc/2", &alike(4));
    let mut judging = fleet(&["dc/1", "dc/2"]);
    // Whoever nobody has looked at comes first: the newest day of each, then further back.
    assert!(desk.judge_next(&mut judging) && desk.judge_next(&mut judging));
    let vms: Vec<VmId> = vec!["dc/1".into(), "dc/2".into()];
    let all = |desk: &Desk| desk.records.all_of(&vms, Metric::Cpu, NOW);
    assert_eq!((all(&desk).vms.len(), all(&desk).waiting), (2, 0));
    judge_all(&mut desk, &mut judging);
    let known = all(&desk);
    let days = |index: usize| {
        let record = &known.vms[index];
        record.to.secs_since(record.from) / DAY_SECONDS
    };
    // Nine days and four of which the newest is not over, and the one in which nothing was known yet.
    assert_eq!((days(0), days(1)), (9, 4));
    // Of the first day of each nothing can be forecast.
    assert!(known.total.refused >= 8, "{:?}", known.total);
    assert_eq!(known.total.origins + known.total.refused, 4 * (8 + 3));
    // Nothing is due before the next day is over, in this engine and in the one after it.
    judging.fleet(fleet(&["dc/1", "dc/2"]).into_jobs());
    assert_eq!(judge_all(&mut desk, &mut judging), 0);
    let mut next = desk_at(folder.path(), NOW.plus_secs(3600));
    next.load_records();
    assert_eq!(all(&next).vms, known.vms);
    assert_eq!(judge_all(&mut next, &mut fleet(&["dc/1", "dc/2"])), 0);
    let mut tomorrow = desk_at(folder.path(), NOW.plus_secs(DAY_SECONDS));
    tomorrow.load_records();
    // CPU and memory of two VMs.
    assert_eq!(judge_all(&mut tomorrow, &mut fleet(&["dc/1", "dc/2"])), 4);
    let mut years_later = desk_at(folder.path(), NOW.plus_secs(400 * DAY_SECONDS));
    years_later.load_records();
    assert_eq!(all(&years_later).vms, []);
}

#[test]
fn a_vm_that_is_asked_for_is_looked_at_before_its_turn() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(folder.path());
    put(&mut desk, "dc/1", &alike(9));
    let asked = Some((Some(0.85), Vec::new()));
    let vms: [VmId; 1] = ["dc/1".into()];
    let found = desk.fleet_record(&vms, Metric::Cpu, asked.as_ref(), &None);
    assert_eq!(found.vms[0].worth.origins, 8);
    assert_eq!(found.total, found.vms[0].worth);
    assert_eq!(desk.record(&vms[0], Metric::Disk, None, &[], &None), None);
}

#[test]
fn history_that_is_brought_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(folder.path());
    let mut judging = fleet(&["dc/1"]);
    judge_all(&mut desk, &mut judging);
    assert!(
        desk.records
            .all_of(&["dc/1".into()], Metric::Cpu, NOW)
            .total
            .origins
            == 0
    );
    put(&mut desk, "dc/1", &alike(9));
    // As each round of forecasts does.
    desk.outlook(&job("dc/1"), &None);
    judge_all(&mut desk, &mut judging);
    assert!(
        desk.records
            .all_of(&["dc/1".into()], Metric::Cpu, NOW)
            .total
            .origins
            > 20
    );
}

#[test]
fn a_fleet_whose_forecasts_are_no_better_than_naive_is_flagged_and_does_not_act_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut desk = desk(folder.path());
    let vms = ["dc/1", "dc/2", "dc/3"];
    for vm in vms {
        // Of so little the model repeats the day before.
        put(&mut desk, vm, &alike(7));
    }
    put(&mut desk, "dc/steady", &alike(30));
    judge_all(
        &mut desk,
        &mut fleet(&["dc/1", "dc/2", "dc/3", "dc/steady"]),
    );
    let steady = desk.outlook(&job("dc/steady"), &None);
    assert!(!steady.outlooks[0].no_better_than_naive);
    let total = |vms: &[VmId]| desk.records.all_of(vms, Metric::Cpu, NOW).total;
    let (steady, young) = (total(&["dc/steady".into()]), total(&vms.map(VmId::from)));
    assert_eq!(steady.no_better_than_naive(), Some(false));
    assert_eq!(young.no_better_than_naive(), Some(true));
    for vm in vms {
        let worth = desk.records.view(&vm.into(), Metric::Cpu).unwrap().worth;
        assert!(worth.origins >= 2 * record::ORIGINS_A_DAY as u32);
        let found = desk.outlook(&job(vm), &None);
        let outlook = found.outlooks[0];
        assert_eq!(
            Some(outlook.no_better_than_naive),
            worth.no_better_than_naive(),
            "the record decides: {:?}",
            worth.day.of_naive()
        );
        assert!(outlook.no_better_than_naive, "{:?}", worth.day.of_naive());
        let crossing = crate::forecast::Outlook {
            crosses_at: Some(NOW.plus_secs(900)),
            probability: Some(0.9),
            ..outlook
        };
        let needed = |score: u8| {
            let health = HealthScore {
                score: Some(score),
                state: HealthState::Ok,
                contributions: Vec::<Contribution>::new(),
            };
            let input = NeedInput {
                vm: &vm.into(),
                now: NOW,
                outlooks: &[crossing],
                health: &health,
                coverage: 1.0,
                sampled_at: Some(NOW),
                helped: None,
            };
            need(&input, &NeedPolicy::default()).unwrap()
        };
        let need = needed(90);
        assert!(matches!(
            need.reasons[..],
            [Reason::ForecastCrosses {
                no_better_than_naive: true,
                ..
            }]
        ));
        assert!(need.is_no_better_than_naive());
        assert!(
            !needed(10).is_no_better_than_naive(),
            "its health speaks too"
        );
    }
}
