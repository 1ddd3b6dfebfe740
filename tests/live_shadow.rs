//! The main job on real libvirt, QEMU and HAProxy: load that is really measured raises a proposal, its approval makes a
//! shadow that replicates and serves, the split and the gate act on HAProxy, the bytes are the primary's, and retiring
//! leaves nothing.

#[path = "support/console.rs"]
mod console;
#[path = "support/platform.rs"]
mod platform;
mod support;

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use console::{Agent, Console, await_that_shown};
use serde_json::Value;
use shadowcast::{operation::Outcome, units::OperationId};
use support::{Lab, await_that, get, show, verified};

const VM: &str = "shop-1";
const SERVICE: &str = "shop";
/// Guests are emulated on a machine that may be busy.
const A_WHILE: Duration = Duration::from_mins(4);

/// Short intervals make a short test. Health and response times would say how busy this machine is, which emulates the
/// guests: what is to decide is the load of the guest alone, and errors at the gate.
const SETTINGS: &str = "\
[sampling]
interval_seconds = 2
inventory_seconds = 5
[forecast]
refresh_seconds = 5
[health]
threshold = 0
[shadow]
rpo_seconds = 5
max_chain = 12
keep_points = 100
seed_wait_seconds = 5
[gate]
window_seconds = 5
min_requests = 4
response_millis = 60000.0
";

struct Flow {
    // Dropped in this order: the engine must not work on a lab that goes.
    agent: Option<Agent>,
    console: Console,
    lab: Lab,
}

#[test]
fn measured_load_becomes_a_shadow_that_serves_and_goes_without_a_trace() {
    let name = "measured_load_becomes_a_shadow_that_serves_and_goes_without_a_trace";
    let Some(mut flow) = Flow::start(name) else {
        return;
    };
    let started = platform::domain(&flow.lab, "primary", VM).id();

    let proposal = flow.load_raises_a_proposal();
    let shadow = flow.approval_makes_the_shadow(&proposal);
    flow.the_shadow_answers_its_share(&shadow);
    flow.traffic_moves_and_drift_is_put_right(&shadow);
    flow.errors_bring_the_share_back_to_zero(&shadow);
    flow.a_point_holds_the_primarys_bytes(&shadow);
    flow.retiring_leaves_nothing(&shadow);
    flow.only_one_console_may_change_the_hosts();

    let after = platform::domain(&flow.lab, "primary", VM).id();
    assert_eq!(after, started, "the primary was never restarted");
}

/// What the steps need to know of the shadow that was made.
struct Made {
    id: String,
    name: String,
    server: String,
    url: String,
}

impl Flow {
    fn start(test: &str) -> Option<Self> {
        let lab = Lab::start(test)?;
        let console = Console::new();
        console.settings(SETTINGS);
        show("connecting the lab");
        console.json(&["lab", "up", "--dir", &lab.dir.to_string_lossy()]);
        platform::nothing_is_left(&lab);
        Some(Self {
            agent: None,
            console,
            lab,
        })
    }

    fn surge(&self, factor: &str) {
        let dir = self.lab.dir.to_string_lossy();
        self.console
            .ok(&["lab", "surge", "--dir", &dir, "--factor", factor]);
    }

    fn open_proposal(&self) -> Option<Value> {
        self.console
            .row(&["proposals"], "vm_name", VM)
            .filter(|row| row["state"] == "open")
    }

    /// The operator's limit lies a little above what the guest's usual day reaches: the usual load raises nothing, and
    /// more than usual does.
    fn load_raises_a_proposal(&mut self) -> Value {
        let forecast = self.console.json(&["forecast", VM]);
        let usual = (forecast["points"].as_array().unwrap().iter())
            .filter_map(|point| point["upper"].as_f64())
            .fold(0.0, f64::max);
        let limit = (usual * 1.1).min(0.85);
        let mut settings = SETTINGS.to_owned();
        writeln!(settings, "[vm.\"{VM}\"]\ncpu = {limit:.3}").unwrap();
        self.console.settings(&settings);
        self.agent = Some(self.console.agent());

        let outlook = |vm: &Value| {
            let outlooks = vm["outlooks"].as_array()?;
            outlooks.iter().find(|o| o["metric"] == "cpu").cloned()
        };
        let calm = await_that("the engine has a forecast", A_WHILE, || {
            outlook(&self.console.json(&["vm", VM]))
        });
        assert!(calm["crosses_at"].is_null(), "{calm:#}");
        assert!(
            self.open_proposal().is_none(),
            "{:#?}",
            self.open_proposal()
        );

        self.surge("6");
        let proposal = await_that_shown(
            "the surge raises a proposal",
            A_WHILE,
            || self.open_proposal(),
            || format!("{:#}", self.console.json(&["vm", VM])),
        );
        show(&format!(
            "limit {limit:.3} of usually {usual:.3}: {} {} share {}",
            proposal["urgency"], proposal["why"], proposal["share"]
        ));
        assert_eq!(proposal["kind"], "create");
        assert!(!proposal["crosses_at"].is_null(), "{proposal:#}");
        assert!(proposal["share"].as_f64().unwrap() > 0.0, "{proposal:#}");
        assert_eq!(proposal["pool"], "secondary/secondary");
        proposal
    }

    fn approval_makes_the_shadow(&self, proposal: &Value) -> Made {
        let id = proposal["id"].as_str().unwrap();
        let stale = self
            .console
            .run(&["approve", id, "--digest", &"0".repeat(64)]);
        assert_eq!(stale.code, 3, "{}", stale.stderr);
        platform::nothing_is_left(&self.lab);

        let digest = proposal["digest"].as_str().unwrap();
        let operation = self.console.json(&["approve", id, "--digest", digest]);
        let operation = OperationId::from(operation["id"].as_str().unwrap());
        assert_eq!(self.console.await_end(&operation, A_WHILE), Outcome::Done);

        let steps = proposal["plan"]["steps"].as_array().unwrap();
        let network = &(steps.iter())
            .find(|step| step["step"] == "define_shadow")
            .unwrap()["spec"]["network"];
        let row = self
            .console
            .row(&["shadow", "list"], "vm_name", VM)
            .unwrap();
        assert_eq!(row["state"], "serving", "{row:#}");
        assert_eq!(row["id"], proposal["plan"]["shadow"]);
        let made = Made {
            id: row["id"].as_str().unwrap().to_owned(),
            name: row["name"].as_str().unwrap().to_owned(),
            server: platform::shadow_server(&self.lab, SERVICE).expect("a server was added"),
            url: format!(
                "http://{}:{}",
                network["address"].as_str().unwrap(),
                network["port"]
            ),
        };
        assert!(
            platform::domain(&self.lab, "secondary", &made.name)
                .is_active()
                .unwrap()
        );
        // From here on usual load will do.
        self.surge("1");
        self.replication_goes_on(&made);
        made
    }

    /// New points keep coming by themselves.
    fn replication_goes_on(&self, made: &Made) {
        let points = || {
            self.console.shadow(&made.id)["points"]
                .as_array()
                .unwrap()
                .len()
        };
        let before = points();
        await_that_shown(
            "two more recovery points",
            A_WHILE,
            || (points() >= before + 2).then_some(()),
            || format!("{:#}", self.console.shadow(&made.id)),
        );
        let row = self.console.shadow(&made.id);
        show(&format!(
            "{} points, lag {} s, {} bytes behind, newest cycle {} ms",
            points(),
            row["lag_seconds"],
            row["lag_bytes"],
            row["last_cycle_millis"]
        ));
        assert!(row["lag_seconds"].is_u64(), "{row:#}");
        assert!(row["stalled"].is_null(), "{row:#}");
    }

    /// Who answers through the service, by HAProxy's own header and counters.
    fn the_shadow_answers_its_share(&self, made: &Made) {
        let direct = get(&format!("{}/cgi-bin/who", made.url)).body;
        assert!(direct.contains(&format!("name={VM}")), "{direct}");

        let weights = |server: &str| f64::from(platform::weight(&self.lab, SERVICE, server));
        let share = weights(&made.server) / (weights(&made.server) + weights(VM));
        let row = self.console.shadow(&made.id);
        let wanted = row["wanted_share"].as_f64().unwrap();
        assert!(
            (share - wanted).abs() < 0.01,
            "{share} in HAProxy, {wanted} wanted"
        );

        let totals = || {
            [VM, &made.server].map(|server| platform::requests(&self.lab, SERVICE, server) as f64)
        };
        let before = totals();
        let service = self.lab.service_url(SERVICE);
        let mut by_shadow = 0_u32;
        for _ in 0..200 {
            let answer = get(service);
            assert_eq!(answer.status, 200);
            by_shadow += u32::from(answer.served_by.as_deref() == Some(&*made.server));
        }
        let after = totals();
        let [primary, shadow] = [after[0] - before[0], after[1] - before[1]];
        let served = shadow / (primary + shadow);
        show(&format!(
            "the shadow answered {by_shadow} of 200 and {shadow} of all {}: {served:.3}, {share:.3} wanted",
            primary + shadow
        ));
        assert!(by_shadow > 0);
        // 10,000 requests and half a point are tested on HAProxy alone; emulated guests answer some hundreds.
        assert!((served - share).abs() < 0.02, "{served} of {share}");
    }

    fn weights_become(&self, what: &str, made: &Made, wanted: [u32; 2]) {
        let weights =
            || [VM, &made.server].map(|server| platform::weight(&self.lab, SERVICE, server));
        await_that_shown(
            what,
            A_WHILE,
            || (weights() == wanted).then_some(()),
            || {
                format!(
                    "weights {:?}, {wanted:?} wanted\n{:#}",
                    weights(),
                    self.console.shadow(&made.id)
                )
            },
        );
    }

    fn traffic_moves_and_drift_is_put_right(&self, made: &Made) {
        let base = 100;
        self.console
            .ok(&["traffic", "set", SERVICE, "--shadow", "40%"]);
        self.weights_become("40 % go to the shadow", made, [base - 40, 40]);
        self.operations_have_ended();

        self.lab
            .haproxy(&format!("set weight {SERVICE}/{} 90", made.server));
        self.lab.haproxy(&format!("set weight {SERVICE}/{VM} 10"));
        self.weights_become("weights that someone changed are put right", made, [60, 40]);
        assert_eq!(self.console.shadow(&made.id)["wanted_share"], 0.4);
    }

    fn operations_have_ended(&self) {
        let operations = || self.console.json(&["operations"])["operations"].clone();
        await_that_shown(
            "no operation runs",
            A_WHILE,
            || {
                let all = operations();
                let ended = |row: &Value| row["state"] == "done" || row["state"] == "undone";
                all.as_array().unwrap().iter().all(ended).then_some(())
            },
            || format!("{:#}", operations()),
        );
    }

    /// Nobody watches and nobody acts: the engine alone takes the traffic back.
    fn errors_bring_the_share_back_to_zero(&self, made: &Made) {
        assert_eq!(get(&format!("{}/cgi-bin/work", made.url)).status, 200);
        get(&format!("{}/cgi-bin/setfail?on", made.url));
        assert_eq!(get(&format!("{}/cgi-bin/work", made.url)).status, 500);
        self.weights_become("the gate returns the share to zero", made, [100, 0]);
        self.operations_have_ended();
        let row = self.console.shadow(&made.id);
        show(&format!("gate: {}", row["last_breach"]));
        assert_eq!(row["wanted_share"], 0.0, "{row:#}");
        assert!(
            row["last_breach"].as_str().unwrap().contains("failed"),
            "{row:#}"
        );
        get(&format!("{}/cgi-bin/setfail?off", made.url));
    }

    /// While the primary stands still, its disk and the newest point must hold the same bytes; what its guest had
    /// written and checksummed by then must verify in a clone.
    fn a_point_holds_the_primarys_bytes(&self, made: &Made) {
        let who = get(&format!("{}/cgi-bin/who", self.lab.guest_url(VM))).body;
        let written = platform::last_written(&who);
        let layer = platform::identical_while_paused(&self.lab, &self.console, VM, &made.id);
        platform::nothing_is_shared(&self.lab, &layer);

        let (found, last) = platform::boot_and_verify(&self.lab, &layer);
        show(&format!(
            "a clone booted from {}: {found:?}, newest file {last}, {written} before the pause",
            layer.display()
        ));
        assert_eq!(found.bad, 0);
        assert!(found.ok > 0);
        assert!(
            last >= written,
            "{last} in the clone, {written} on the primary"
        );
    }

    fn retiring_leaves_nothing(&self, made: &Made) {
        self.console
            .ok(&["shadow", "retire", &made.id, "--yes", "--follow"]);
        platform::nothing_is_left(&self.lab);
        assert!(
            self.console
                .row(&["shadow", "list"], "id", &made.id)
                .is_none()
        );
        assert_eq!(platform::weight(&self.lab, SERVICE, VM), 100);

        let primary = platform::domain(&self.lab, "primary", VM);
        assert!(primary.is_active().unwrap());
        let service = self.lab.service_url(SERVICE);
        assert_eq!(get(service).served_by.as_deref(), Some(VM));
        let checked = verified(&get(&format!("{}/cgi-bin/verify", self.lab.guest_url(VM))).body);
        assert_eq!(checked.unwrap().bad, 0);
    }

    fn only_one_console_may_change_the_hosts(&mut self) {
        let other = Console::new();
        let uri = self.lab.uri("primary");
        other.ok(&["source", "add", uri, "--name", "theirs"]);
        let refused = other.run(&["source", "arm", "theirs"]);
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("acts on theirs"),
            "{}",
            refused.stderr
        );

        // Closed in order, a console leaves its hosts to others at once.
        self.agent.take().expect("the engine runs").stop();
        assert_eq!(platform::leases(&self.lab), [""; 0].map(PathBuf::from));
        other.ok(&["source", "arm", "theirs"]);
    }
}
