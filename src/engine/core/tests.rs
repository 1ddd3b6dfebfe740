//! The decision pass from samples and outlooks to proposals, without a platform.

use super::*;
use crate::{
    inventory::{Disk, DiskFormat, PowerState, Storage},
    shadow::ProposalState,
};

mod reservations;

const GIB: u64 = 1 << 30;
const START: i64 = 1_000_000;

fn vm() -> Vm {
    Vm {
        id: VmId::from("a/1"),
        name: "web-1".to_owned(),
        source: "a".into(),
        pool: "a/host".into(),
        host: "host".to_owned(),
        state: PowerState::Running,
        generation: 1,
        vcpus: 2,
        vcpus_max: 4,
        memory_bytes: GIB,
        memory_max_bytes: GIB,
        instance_type: String::new(),
        disks: vec![Disk {
            target: "vda".to_owned(),
            path: "/d.qcow2".to_owned(),
            format: DiskFormat::Qcow2,
            compat: Some("1.1".to_owned()),
            capacity_bytes: GIB,
            allocated_bytes: GIB,
            read_only: false,
            limit_bytes_per_sec: None,
        }],
        net_limit_bytes_per_sec: None,
        has_agent: false,
        foreign_jobs: Vec::new(),
        labels: Vec::new(),
        owner: None,
    }
}

fn pool(source: &str) -> Pool {
    Pool {
        id: PoolId::new(format!("{source}/host")),
        name: "host".to_owned(),
        source: source.into(),
        role: Role::Both,
        hosts: 1,
        cpus: 16,
        memory_bytes: 64 * GIB,
        memory_free_bytes: 60 * GIB,
        cpu_used: None,
        contention: Some(0.0),
        storage: vec![Storage {
            name: "default".to_owned(),
            capacity_bytes: 100 * GIB,
            available_bytes: 90 * GIB,
        }],
        service_address: "127.0.0.1".to_owned(),
    }
}

struct Fleet {
    core: Core,
    second: i64,
    told: Vec<String>,
}

impl Fleet {
    fn new() -> Self {
        let source = |name: &str| SourceConfig {
            name: name.into(),
            uri: format!("qemu:///{name}"),
            kind: SourceRole::Hypervisor(Role::Both),
            armed: false,
            last_backfill: None,
        };
        let kept = Kept {
            sources: vec![source("a"), source("b")],
            ..Kept::default()
        };
        let core = Core::new("e".into(), Settings::default(), false, 1, kept);
        let mut fleet = Self {
            core,
            second: START,
            told: Vec::new(),
        };
        for (name, vms) in [("a", vec![vm()]), ("b", Vec::new())] {
            let inventory = Inventory {
                at: fleet.now(),
                pools: vec![pool(name)],
                vms,
            };
            fleet.put(Input::Inventory {
                source: name.into(),
                result: Ok(inventory),
                millis: 1,
            });
        }
        fleet
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.second)
    }

    fn put(&mut self, input: Input) {
        let at = self.now();
        for effect in self.core.apply(at, input) {
            if let Effect::Event(event) = effect {
                self.told.push(event.text);
            }
        }
    }

    /// Ten seconds later, with a quiet sample and a forecast that crosses in two hours or does not.
    fn step(&mut self, crosses: bool, coverage: f64) {
        self.second += 10;
        let at = self.now();
        let mut values = [None; Metric::COUNT];
        values[Metric::Cpu.index()] = Some(0.3);
        let sample = Sample {
            vm: vm().id,
            at,
            values,
        };
        self.put(Input::Samples {
            source: "a".into(),
            result: Ok(Sampled {
                samples: vec![sample],
                hung: Vec::new(),
            }),
            millis: 1,
        });
        let soon = crosses.then(|| at.plus_secs(7200));
        let outlook = Outlook {
            metric: Metric::Cpu,
            made_at: at,
            peak: if crosses { 0.95 } else { 0.4 },
            peak_upper: 0.97,
            peak_at: at.plus_secs(7200),
            p95: 0.4,
            limit: Some(0.85),
            crosses_at: soon,
            probability: Some(if crosses { 0.9 } else { 0.0 }),
            likely_at: soon,
            no_better_than_naive: false,
        };
        self.put(Input::Outlooks {
            batch: vec![FleetOutlook {
                vm: vm().id,
                outlooks: vec![outlook],
                spark: Vec::new(),
                coverage,
            }],
            pending: 0,
        });
        self.put(Input::Tick);
    }

    fn open(&mut self) -> usize {
        let at = self.now();
        let is_open = |proposal: &&Arc<Proposal>| proposal.state == ProposalState::Open;
        self.core
            .snapshot(at)
            .proposals
            .iter()
            .filter(is_open)
            .count()
    }

    fn withheld(&mut self) -> Option<String> {
        let at = self.now();
        let snapshot = self.core.snapshot(at);
        let view = snapshot.vm(&vm().id).expect("it is in the inventory");
        view.withheld.as_deref().map(str::to_owned)
    }
}

#[test]
fn too_little_measured_withholds_a_proposal_and_says_why_once() {
    let mut fleet = Fleet::new();
    for _ in 0..5 {
        fleet.step(true, 0.5);
    }
    assert_eq!(fleet.open(), 0);
    let why = fleet.withheld().expect("a reason");
    assert!(
        why.contains("only 50 % of the last day was measured"),
        "{why}"
    );
    let told = fleet.told.iter().filter(|text| text.contains("only 50 %"));
    assert_eq!(told.count(), 1, "{:?}", fleet.told);
    fleet.step(true, 0.9);
    assert_eq!((fleet.open(), fleet.withheld()), (1, None));
}

#[test]
fn a_crossing_that_comes_up_must_hold_before_it_is_proposed() {
    let mut fleet = Fleet::new();
    fleet.step(false, 1.0);
    for _ in 0..20 {
        fleet.step(true, 1.0);
        fleet.step(true, 1.0);
        fleet.step(false, 1.0);
        assert_eq!(fleet.open(), 0, "at {} s it flickers", fleet.second - START);
    }
    for _ in 0..3 {
        fleet.step(true, 1.0);
        assert_eq!(fleet.open(), 0);
    }
    fleet.step(true, 1.0);
    assert_eq!(fleet.open(), 1);
}

#[test]
fn a_proposal_outlives_a_flicker_and_goes_when_the_need_has_passed() {
    let mut fleet = Fleet::new();
    fleet.step(true, 1.0);
    assert_eq!(
        fleet.open(),
        1,
        "what is there at the first look is raised at once"
    );
    for round in 0..60 {
        fleet.step(round % 5 == 0, 1.0);
        assert_eq!(fleet.open(), 1, "round {round}");
    }
    for _ in 0..13 {
        fleet.step(false, 1.0);
    }
    assert_eq!(fleet.open(), 0);
}

impl Fleet {
    /// The answer, and what is to be done for it.
    fn ask(&mut self, command: Command) -> (Option<Reply>, Vec<(EffectId, Action)>) {
        let to = ReplyTo(1);
        let at = self.now();
        answered(self.core.apply(at, Input::Command { to, command }))
    }

    fn outcome(&mut self, effect: EffectId, result: Result<Outcome, Failure>) -> Reply {
        let at = self.now();
        let (reply, _) = answered(self.core.apply(at, Input::Outcome { effect, result }));
        reply.expect("an answer")
    }

    fn score(&mut self) -> Option<u8> {
        let at = self.now();
        self.core.snapshot(at).vms[0].health.score
    }
}

fn answered(effects: Vec<Effect>) -> (Option<Reply>, Vec<(EffectId, Action)>) {
    let mut reply = None;
    let mut to_do = Vec::new();
    for effect in effects {
        match effect {
            Effect::Reply { reply: given, .. } => reply = Some(given),
            Effect::Do { effect, action } => to_do.push((effect, action)),
            _ => {}
        }
    }
    (reply, to_do)
}

#[test]
fn settings_are_previewed_without_effect_and_hold_at_once_when_kept() {
    let mut fleet = Fleet::new();
    fleet.step(false, 1.0);
    assert_eq!(fleet.score(), Some(100));

    let text = "[limits]\ncpu = 0.2\n".to_owned();
    let (reply, to_do) = fleet.ask(Command::SettingsPreview { text: text.clone() });
    let Some(Ok(Answer::SettingsPreview { preview })) = reply else {
        panic!("{reply:?}");
    };
    assert!(to_do.is_empty());
    let keys: Vec<&str> = preview.changed.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(keys, ["limits.cpu"]);
    assert!(preview.forecasts_follow);
    let [vm] = preview.vms.as_slice() else {
        panic!("{preview:?}");
    };
    assert_eq!(vm.before.score, Some(100));
    assert!(vm.after.score < Some(100), "{vm:?}");
    assert_eq!(fleet.score(), Some(100), "a preview changes nothing");

    let set = |was: &str| Command::SettingsSet {
        was: was.to_owned(),
        text: text.clone(),
        by: "ann".to_owned(),
    };
    let (reply, to_do) = fleet.ask(set("something older"));
    assert!(matches!(reply, Some(Err(_))) && to_do.is_empty());

    let (reply, to_do) = fleet.ask(set(""));
    assert_eq!(reply, None);
    let [(effect, Action::KeepSettings { .. })] = to_do.as_slice() else {
        panic!("{to_do:?}");
    };
    assert_eq!(fleet.score(), Some(100), "not before they are on disk");
    let note = String::new();
    let reply = fleet.outcome(*effect, Ok(Outcome::Done { note }));
    let Ok(Answer::Done { text: told }) = reply else {
        panic!("{reply:?}");
    };
    assert_eq!(told, "ann changed the settings: limits.cpu 0.85 → 0.2");
    assert_eq!(fleet.score(), vm.after.score);
}

#[test]
fn settings_that_were_not_written_do_not_hold() {
    let mut fleet = Fleet::new();
    fleet.step(false, 1.0);
    let (_, to_do) = fleet.ask(Command::SettingsSet {
        was: String::new(),
        text: "[limits]\ncpu = 0.2\n".to_owned(),
        by: "ann".to_owned(),
    });
    let failure = Failure {
        kind: ErrorKind::Refused,
        why: "no space".to_owned(),
        checkpoint_lost: false,
    };
    let reply = fleet.outcome(to_do[0].0, Err(failure));
    assert_eq!(reply.unwrap_err().why, "no space");
    assert_eq!(fleet.score(), Some(100));
}

#[test]
fn a_dry_run_answers_with_the_plan_and_leaves_no_proposal() {
    let mut fleet = Fleet::new();
    fleet
        .core
        .sources
        .values_mut()
        .for_each(|source| source.config.armed = true);
    fleet.step(false, 1.0);
    let propose = || Command::ShadowPropose {
        vm: vm().id,
        pool: None,
        rpo_seconds: None,
        share: None,
    };
    let of = Box::new(propose());
    let at = fleet.now();
    let to = ReplyTo(1);
    let command = Command::DryRun { of };
    let effects = fleet.core.apply(at, Input::Command { to, command });
    assert!(
        matches!(
            &effects[..],
            [Effect::Reply {
                reply: Ok(Answer::Proposal { .. }),
                ..
            }]
        ),
        "{effects:?}"
    );
    assert_eq!(fleet.open(), 0);
    let (reply, _) = fleet.ask(propose());
    assert!(
        matches!(reply, Some(Ok(Answer::Proposal { .. }))),
        "{reply:?}"
    );
    assert_eq!(fleet.open(), 1);
}

#[test]
fn only_what_proposes_can_be_tried() {
    let mut fleet = Fleet::new();
    let of = Box::new(Command::Freeze {
        frozen: true,
        by: "ann".to_owned(),
    });
    let (reply, _) = fleet.ask(Command::DryRun { of });
    assert!(matches!(reply, Some(Err(_))));
    assert!(!fleet.core.frozen);
}
