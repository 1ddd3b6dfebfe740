//! SIGKILL of the engine at real steps on real VMs: it goes on where it was or undoes, does nothing twice, and leaves
//! nothing behind.

#[path = "support/console.rs"]
mod console;
#[path = "support/platform.rs"]
mod platform;
mod support;

use std::{collections::BTreeSet, fs, time::Duration};

use console::{Agent, Console, await_that_shown};
use serde_json::Value;
use shadowcast::{
    operation::{Entry, JournalRow, Outcome},
    units::OperationId,
};
use support::{Lab, await_that, get, show, verified};

const VM: &str = "shop-1";
const SERVICE: &str = "shop";
/// Guests are emulated on a machine that may be busy.
const A_WHILE: Duration = Duration::from_mins(2);

/// Short intervals make a short test; nothing is to be proposed, and no response time of a busy machine to matter.
const SETTINGS: &str = "\
[sampling]
interval_seconds = 2
inventory_seconds = 5
[forecast]
min_probability = 1.0
[limits]
cpu = 1.0
[health]
threshold = 0
[shadow]
rpo_seconds = 5
seed_wait_seconds = 5
[gate]
response_millis = 60000.0
";

struct Flow {
    // Dropped in this order: the engine must not work on a lab that goes.
    agent: Option<Agent>,
    console: Console,
    lab: Lab,
}

#[test]
fn a_killed_engine_goes_on_or_undoes_and_leaves_nothing() {
    let Some(mut flow) = Flow::start("a_killed_engine_goes_on_or_undoes_and_leaves_nothing") else {
        return;
    };
    let started = platform::domain(&flow.lab, "primary", VM).id();

    let shadow = flow.create_survives_kills();
    flow.nothing_was_done_twice(&shadow);
    flow.a_cycle_survives_a_kill(&shadow);
    flow.retire_survives_kills(&shadow);
    flow.undoing_survives_a_kill();

    let checked = verified(&get(&format!("{}/cgi-bin/verify", flow.lab.guest_url(VM))).body);
    assert_eq!(checked.unwrap().bad, 0);
    let after = platform::domain(&flow.lab, "primary", VM).id();
    assert_eq!(after, started, "the primary was never restarted");
    flow.the_lab_goes_down_with_its_shadow();
}

/// A plan as it was printed.
struct Plan(Value);

impl Plan {
    fn operation(&self) -> OperationId {
        let owner = (self.steps().iter()).find_map(|step| {
            let owner = &step["increment"]["owner"];
            owner["operation"].as_str()
        });
        OperationId::from(owner.expect("the plan replicates"))
    }

    fn shadow(&self) -> &str {
        self.0["plan"]["shadow"].as_str().unwrap()
    }

    fn steps(&self) -> &Vec<Value> {
        self.0["plan"]["steps"].as_array().unwrap()
    }

    /// The first step of a kind.
    fn step(&self, kind: &str) -> usize {
        let found = self.steps().iter().position(|step| step["step"] == kind);
        found.unwrap_or_else(|| panic!("{kind} in {:#}", self.0))
    }
}

impl Flow {
    fn start(test: &str) -> Option<Self> {
        let lab = Lab::start(test)?;
        let console = Console::new();
        console.settings(SETTINGS);
        show("connecting the lab");
        console.json(&["lab", "up", "--dir", &lab.dir.to_string_lossy()]);
        platform::nothing_is_left(&lab);
        let agent = Some(console.agent());
        Some(Self {
            agent,
            console,
            lab,
        })
    }

    /// SIGKILL, then another engine on the same folder.
    fn kill_and_start_again(&mut self, when: &str) {
        self.agent.take().expect("an agent runs").kill();
        let last = self.console.rows().pop().map(|row| row.entry);
        show(&format!(
            "killed {when}; the journal ends with {}",
            brief(last.as_ref())
        ));
        self.agent = Some(self.console.agent());
    }

    fn await_entry(&self, operation: &OperationId, wanted: &Entry) {
        self.console
            .await_row(&format!("{operation} {wanted:?}"), A_WHILE, |row| {
                (row.operation == *operation && row.entry == *wanted).then_some(())
            });
    }

    fn create(&self) -> Plan {
        Plan(self.console.json(&[
            "shadow", "create", VM, "--share", "25%", "--rpo", "5s", "--yes",
        ]))
    }

    fn create_survives_kills(&mut self) -> String {
        let plan = self.create();
        let operation = plan.operation();

        await_that_shown(
            "the seed has begun on the source",
            A_WHILE,
            || (!platform::checkpoints(&self.lab, VM).is_empty()).then_some(()),
            || self.console.ok(&["operations"]),
        );
        self.kill_and_start_again("in the seed");

        // Done with one step: the kill falls into the gap before the next, or just after.
        let step = plan.step("define_shadow") - 1;
        self.await_done(&operation, step);
        self.kill_and_start_again("between replication and definition");

        let step = plan.step("start_shadow");
        self.await_done(&operation, step);
        self.kill_and_start_again("after the start");

        let step = plan.step("set_share");
        self.await_entry(&operation, &Entry::StepStarted { step });
        self.kill_and_start_again("in the ramp");

        assert_eq!(self.console.await_end(&operation, A_WHILE), Outcome::Done);
        let rows = self.console.rows();
        for step in 0..plan.steps().len() {
            assert_eq!(times_done(&rows, &operation, step), 1, "step {step}");
        }
        let weights = [100 - 25, 25];
        let server = platform::shadow_server(&self.lab, SERVICE).expect("a server was added");
        assert_eq!(
            [VM, &server].map(|server| platform::weight(&self.lab, SERVICE, server)),
            weights
        );
        plan.shadow().to_owned()
    }

    fn await_done(&self, operation: &OperationId, wanted: usize) {
        self.console.await_row(
            &format!("{operation}: step {wanted} is done"),
            A_WHILE,
            |row| {
                let done = matches!(row.entry, Entry::StepDone { step, .. } if step == wanted);
                (row.operation == *operation && done).then_some(())
            },
        );
    }

    /// One VM, one server, one checkpoint; every volume is a point's, the overlay or the manifest.
    fn nothing_was_done_twice(&self, shadow: &str) {
        let row = self.console.shadow(shadow);
        let ours = platform::ours(&self.lab);
        let name = row["name"].as_str().unwrap();
        assert_eq!(ours["secondary VMs"], BTreeSet::from([name.to_owned()]));
        assert_eq!(ours["primary VMs"], BTreeSet::new());
        assert_eq!(ours["shop servers"].len(), 1, "{ours:#?}");
        // A cycle may be under way: between two of them, all must be accounted for.
        await_that_shown(
            "one checkpoint, no spool, and no volume that nothing refers to",
            A_WHILE,
            || {
                let row = self.console.shadow(shadow);
                let points = row["points"].as_array().unwrap();
                let layers: BTreeSet<&str> = (points.iter())
                    .flat_map(|point| point["layers"].as_array().unwrap())
                    .map(|layer| layer.as_str().unwrap())
                    .collect();
                let ours = platform::ours(&self.lab);
                let (named, rest): (Vec<&String>, Vec<&String>) = ours["secondary shadow"]
                    .iter()
                    .partition(|volume| layers.contains(volume.as_str()));
                let of_kind = |kind: &str| rest.iter().filter(|name| name.contains(kind)).count();
                (named.len() == layers.len()
                    && rest.len() == 2
                    && of_kind("-overlay-") == 1
                    && of_kind("-manifest") == 1
                    && ours["shop-1 checkpoints"].len() == 1
                    && ours["primary spool"].is_empty())
                .then_some(())
            },
            || {
                format!(
                    "{:#}\n{:#?}",
                    self.console.shadow(shadow),
                    platform::ours(&self.lab)
                )
            },
        );
    }

    fn a_cycle_survives_a_kill(&mut self, shadow: &str) {
        let spool = self.lab.dir.join("primary/spool");
        await_that("a cycle writes its spool", A_WHILE, || {
            let mut files = fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap());
            files
                .find(|file| !platform::is_lease(&file.path()))
                .map(drop)
        });
        self.kill_and_start_again("in a cycle");

        let layer = platform::identical_while_paused(&self.lab, &self.console, VM, shadow);
        show(&format!("identical: {}", layer.display()));
        self.nothing_was_done_twice(shadow);
    }

    fn retire_survives_kills(&mut self, shadow: &str) {
        let plan = Plan(self.console.json(&["shadow", "retire", shadow, "--yes"]));
        let operation = self.newest_operation("retire");

        for kind in ["stop_shadow", "remove_replica"] {
            let step = plan.step(kind);
            self.await_entry(&operation, &Entry::StepStarted { step });
            self.kill_and_start_again(&format!("in {kind}"));
        }
        assert_eq!(self.console.await_end(&operation, A_WHILE), Outcome::Done);
        platform::nothing_is_left(&self.lab);
        assert_eq!(platform::weight(&self.lab, SERVICE, VM), 100);
    }

    fn newest_operation(&self, kind: &str) -> OperationId {
        let row = self.console.row(&["operations"], "kind", kind);
        let row = row.expect("it has started");
        OperationId::from(row["id"].as_str().unwrap())
    }

    /// Down takes along what stands, and the engine that goes on knows of nothing any more.
    fn the_lab_goes_down_with_its_shadow(&self) {
        let plan = self.create();
        assert_eq!(
            self.console.await_end(&plan.operation(), A_WHILE),
            Outcome::Done
        );
        let dir = self.lab.dir.to_string_lossy();
        self.console.ok(&["lab", "down", "--dir", &dir]);
        assert!(!self.lab.dir.exists(), "{dir} is left");
        for listing in [["source", "list"], ["shadow", "list"]] {
            let shown = self.console.json(&listing);
            let rows = shown.as_object().unwrap().values().next().unwrap();
            assert_eq!(rows, &serde_json::json!([]), "{listing:?}");
        }
    }

    fn undoing_survives_a_kill(&mut self) {
        let plan = self.create();
        let operation = plan.operation();
        let step = plan.step("await_answer");
        self.await_entry(&operation, &Entry::StepStarted { step });
        self.console.ok(&["cancel", operation.as_str()]);

        let step = plan.step("start_shadow");
        self.await_entry(&operation, &Entry::UndoStarted { step });
        self.kill_and_start_again("in an undo");

        assert_eq!(self.console.await_end(&operation, A_WHILE), Outcome::Undone);
        platform::nothing_is_left(&self.lab);
        assert_eq!(platform::weight(&self.lab, SERVICE, VM), 100);
    }
}

fn times_done(rows: &[JournalRow], operation: &OperationId, wanted: usize) -> usize {
    rows.iter()
        .filter(|row| row.operation == *operation)
        .filter(|row| matches!(row.entry, Entry::StepDone { step, .. } if step == wanted))
        .count()
}

/// Plans are long.
fn brief(entry: Option<&Entry>) -> String {
    match entry {
        Some(Entry::Opened { .. }) => "Opened".to_owned(),
        other => format!("{other:?}"),
    }
}
