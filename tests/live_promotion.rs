//! A shadow takes its primary's place on real libvirt, QEMU and HAProxy, and gives it back: what the guest had written
//! is there, both sides never run, and an engine that is killed in the middle is carried on by the next.

#[path = "support/console.rs"]
mod console;
#[path = "support/platform.rs"]
mod platform;
mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use console::{Agent, Console, await_that_shown};
use serde_json::Value;
use shadowcast::{
    operation::{Entry, Outcome},
    units::OperationId,
};
use support::{Lab, await_that, get, show, verified};

const VM: &str = "shop-1";
const SERVICE: &str = "shop";
const A_WHILE: Duration = Duration::from_mins(2);

const SETTINGS: &str = "\
[sampling]
interval_seconds = 2
inventory_seconds = 3
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
fn a_promoted_shadow_has_every_write_and_a_rollback_brings_the_primary_back() {
    let name = "a_promoted_shadow_has_every_write_and_a_rollback_brings_the_primary_back";
    let Some(mut flow) = Flow::start(name) else {
        return;
    };
    let shadow = flow.create();
    flow.promote(&shadow);
    flow.the_old_one_is_stopped_when_it_comes_back();
    flow.roll_back(&shadow);
    flow.a_killed_engine_is_carried_on(&shadow);
    flow.console
        .ok(&["shadow", "retire", &shadow, "--yes", "--follow"]);
    platform::nothing_is_left(&flow.lab);
}

impl Flow {
    fn start(test: &str) -> Option<Self> {
        let lab = Lab::start(test)?;
        let console = Console::new();
        console.settings(SETTINGS);
        console.json(&["lab", "up", "--dir", &lab.dir.to_string_lossy()]);
        platform::nothing_is_left(&lab);
        let agent = Some(console.agent());
        Some(Self {
            agent,
            console,
            lab,
        })
    }

    fn create(&self) -> String {
        let plan = self
            .console
            .json(&["shadow", "create", VM, "--rpo", "5s", "--yes", "--follow"]);
        plan["plan"]["shadow"].as_str().unwrap().to_owned()
    }

    fn runs(&self, host: &str, vm: &str) -> bool {
        platform::domain(&self.lab, host, vm).is_active().unwrap()
    }

    fn shadow_name(&self, shadow: &str) -> String {
        self.console.shadow(shadow)["name"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// What the guest's own page says, by way of the balancer.
    fn through_the_service(&self, path: &str) -> String {
        let url = format!("{}{path}", self.lab.service_url(SERVICE));
        await_that("the service answers", A_WHILE, || {
            let answer = get(&url);
            (answer.status == 200).then_some(answer.body)
        })
    }

    fn promote(&self, shadow: &str) {
        // The preflight alone changes nothing.
        let plan = self.console.json(&["shadow", "promote", VM, "--dry-run"]);
        let checks = plan["checks"].as_array().unwrap();
        assert!(
            checks.iter().all(|check| check["outcome"] == "passed"),
            "{checks:#?}"
        );
        assert!(self.runs("primary", VM));
        // Nobody to ask, and nothing approved.
        assert_eq!(self.console.run(&["shadow", "promote", VM]).code, 3);

        platform::domain(&self.lab, "primary", VM)
            .set_autostart(true)
            .unwrap();
        let written = platform::last_written(&self.through_the_service("/cgi-bin/who"));
        let began = Instant::now();
        self.console
            .ok(&["shadow", "promote", VM, "--yes", "--follow"]);
        show(&format!("promoted in {:?}", began.elapsed()));
        self.steps_took();

        let old = platform::domain(&self.lab, "primary", VM);
        assert!(!old.is_active().unwrap(), "the primary is off");
        assert!(
            !old.autostart().unwrap(),
            "and does not come back by itself"
        );
        assert!(old.xml_desc(0).unwrap().contains("urn:shadowcast:1"));
        let row = self.console.shadow(shadow);
        assert_eq!(row["state"], "promoted", "{row:#}");
        assert_eq!(platform::weight(&self.lab, SERVICE, VM), 0);

        // Every block that the primary had is in the point that the promoted VM stands on.
        let points = row["points"].as_array().unwrap();
        let layer = points.last().unwrap()["layers"][0].as_str().unwrap();
        platform::identical(
            &platform::primary_disk(&self.lab, VM),
            &platform::layer(&self.lab, layer),
        );
        let who = self.through_the_service("/cgi-bin/who");
        assert!(
            platform::last_written(&who) >= written,
            "{written} before, {who}"
        );
        let checked = verified(&self.through_the_service("/cgi-bin/verify")).unwrap();
        assert_eq!(checked.bad, 0);
        show(&format!(
            "the promoted VM: {checked:?}, written {written} before"
        ));
    }

    /// How long nobody served, by the journal: from the pause to the shadow's first answer.
    fn steps_took(&self) {
        let rows = self.console.rows();
        for row in rows.iter().rev().take(80).rev() {
            if let Entry::StepDone { step, note } = &row.entry {
                show(&format!("{} step {step} {note}", row.at));
            }
        }
    }

    fn the_old_one_is_stopped_when_it_comes_back(&self) {
        platform::domain(&self.lab, "primary", VM).create().unwrap();
        await_that_shown(
            "the primary that came back is stopped",
            A_WHILE,
            || (!self.runs("primary", VM)).then_some(()),
            || self.console.ok(&["operations"]),
        );
        await_that("the guard has ended", A_WHILE, || {
            let rows = self.console.json(&["operations"]);
            let rows = rows["operations"].as_array().unwrap().clone();
            rows.iter()
                .find(|row| row["kind"] == "guard" && row["state"] == "done")
                .cloned()
        });
    }

    fn roll_back(&self, shadow: &str) {
        let plan = self.console.json(&["shadow", "rollback", VM, "--dry-run"]);
        let cost = plan["plan"]["cost"][0]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        show(&cost);
        assert!(cost.contains("is lost"), "{plan:#}");
        self.console
            .ok(&["shadow", "rollback", VM, "--yes", "--follow"]);
        self.as_before(shadow);
    }

    fn as_before(&self, shadow: &str) {
        let old = platform::domain(&self.lab, "primary", VM);
        assert!(old.is_active().unwrap(), "the primary runs");
        assert!(old.autostart().unwrap(), "with the autostart that it had");
        assert!(!old.xml_desc(0).unwrap().contains("urn:shadowcast:1"));
        assert!(!self.runs("secondary", &self.shadow_name(shadow)));
        assert_eq!(platform::weight(&self.lab, SERVICE, VM), 100);
        assert_eq!(platform::shadow_server(&self.lab, SERVICE), None);
        let checked = verified(&self.through_the_service("/cgi-bin/verify")).unwrap();
        assert_eq!(checked.bad, 0);
        let point = |row: &Value| row["points"].as_array()?.last()?["id"].as_u64();
        let before = point(&self.console.shadow(shadow));
        await_that_shown(
            "increments go on",
            A_WHILE,
            || (point(&self.console.shadow(shadow)) > before).then_some(()),
            || format!("{:#}", self.console.shadow(shadow)),
        );
    }

    fn a_killed_engine_is_carried_on(&mut self, shadow: &str) {
        let plan = self.console.json(&["shadow", "promote", VM, "--yes"]);
        let steps = plan["plan"]["steps"].as_array().unwrap();
        let fence = (steps.iter())
            .find(|step| step["action"] == "pause_primary")
            .unwrap();
        let operation = fence["fence"]["owner"]["operation"].as_str().unwrap();
        let operation = OperationId::from(operation);
        let pause = (steps.iter())
            .position(|step| step["action"] == "pause_primary")
            .unwrap();
        self.console
            .await_row("the primary is paused", A_WHILE, |row| {
                let paused = matches!(&row.entry, Entry::StepDone { step, .. } if *step == pause);
                (row.operation == operation && paused).then_some(())
            });
        self.agent.take().expect("an agent runs").kill();
        show("killed with the primary paused");
        self.agent = Some(self.console.agent());
        assert_eq!(self.console.await_end(&operation, A_WHILE), Outcome::Done);
        assert!(!self.runs("primary", VM));
        assert!(self.runs("secondary", &self.shadow_name(shadow)));
        let checked = verified(&self.through_the_service("/cgi-bin/verify")).unwrap();
        assert_eq!(checked.bad, 0);

        // virsh, past the program: somebody else's command line finds the reason too.
        let said = Command::new("virsh")
            .args(["-c", self.lab.uri("primary"), "dumpxml", VM, "--inactive"])
            .output()
            .unwrap();
        assert!(String::from_utf8_lossy(&said.stdout).contains(shadow));
        self.console
            .ok(&["shadow", "rollback", VM, "--yes", "--follow"]);
        self.as_before(shadow);
    }
}
