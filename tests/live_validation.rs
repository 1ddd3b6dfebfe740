//! A recovery point of a real guest is tried in a clone: a sound one passes, one that is broken on purpose fails the
//! check that is made for it, nothing of it reaches anybody, and an engine that is killed meanwhile leaves nothing.

#[path = "support/bench.rs"]
mod bench;
#[path = "support/console.rs"]
mod console;
#[path = "support/platform.rs"]
mod platform;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    net::TcpListener,
    os::unix::fs::{MetadataExt, chown},
    path::Path,
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bench::{A_WHILE, Bench, ENGINE, STORAGE, increment, owner};
use console::{Console, await_that_shown};
use serde_json::{Value, json};
use shadowcast::{
    engine::{
        core::{Action, Layer, Outcome},
        perform::{Performer, Platform},
    },
    hypervisor::{AgentAnswer, AgentQuestion, Claim, Control, simulated::RealClock},
    inventory::Vm,
    operation::Entry,
    replication::{IncrementSpec, digest::Digested},
    shadow::{CloneSpec, Forward, OverlaySpec, ShadowNetwork, ShadowSpec, Step},
    units::{EngineId, OperationId, PoolId, ShadowId, SourceName, VmId},
    validation::{
        check::{Check, CheckResult},
        prober::NetworkProber,
    },
};
use support::show;
use virt::connect::Connect;

const VM: &str = "shop-1";
const PORTS: std::ops::Range<u16> = 43_100..43_900;

#[test]
fn every_kind_of_check_passes_a_sound_clone_and_fails_a_broken_one() {
    let test = "every_kind_of_check_passes_a_sound_clone_and_fails_a_broken_one";
    let Some(bench) = Bench::start(test, false) else {
        return;
    };
    let trial = Trial::new(&bench);
    trial.a_sound_clone_passes_and_each_damage_in_it_is_seen();
    trial.a_clone_on_a_damaged_layer_fails();
    trial.a_clone_that_does_not_boot_fails();
    trial.clear();
    drop(trial);
    engine_and_schedule(bench);
}

/// One point of one guest, with the performer that the engine uses.
struct Trial<'a> {
    bench: &'a Bench,
    performer: Performer,
    vm: Vm,
    /// The shadow's definition on the target, powered off.
    model: VmId,
    point: IncrementSpec,
    digest: String,
    /// A file that the guest wrote before the point, with its sum.
    file: (String, String),
}

fn ask_primary(bench: &Bench, vm: &Vm, name: &str, arguments: Value) -> Value {
    let command = json!({"execute": name, "arguments": arguments}).to_string();
    let said = bench
        .domain("primary", vm)
        .qemu_agent_command(&command, 10, 0);
    let mut said: Value = serde_json::from_str(&said.unwrap()).unwrap();
    said["return"].take()
}

/// Starts a program in the primary; its number there.
fn start_in_primary(bench: &Bench, vm: &Vm, argv: &[&str]) -> Value {
    let arguments = json!({"path": argv[0], "arg": &argv[1..], "capture-output": true});
    ask_primary(bench, vm, "guest-exec", arguments)["pid"].take()
}

fn run_in_primary(bench: &Bench, vm: &Vm, argv: &[&str]) -> String {
    let pid = start_in_primary(bench, vm, argv);
    support::await_that("the command in the primary ends", A_WHILE, || {
        let status = ask_primary(bench, vm, "guest-exec-status", json!({"pid": pid}));
        let text = status["out-data"].as_str().unwrap_or_default();
        let bytes = STANDARD.decode(text).unwrap();
        (status["exited"] == true).then(|| String::from_utf8(bytes).unwrap())
    })
}

impl<'a> Trial<'a> {
    fn new(bench: &'a Bench) -> Self {
        let vm = bench.vm(VM);
        let file = support::await_that("the guest has written a file", A_WHILE, || {
            let manifest = run_in_primary(bench, &vm, &["/bin/cat", "/data/manifest"]);
            let (sum, name) = manifest.lines().last()?.split_once("  ")?;
            Some((format!("/data/{name}"), sum.to_owned()))
        });
        let point = increment(&vm, 0, None);
        bench
            .source
            .ensure_increment(&point, false, &Control::default())
            .unwrap();
        let mut spool = Digested::new(bench.source.read_spool(&point, 0).unwrap());
        bench
            .target
            .ensure_layer(&point, 0, &mut spool, &Control::default())
            .unwrap();
        let digest = spool.finish();
        bench.source.ensure_increment_finished(&point).unwrap();
        let slots = [("primary", &bench.source), ("secondary", &bench.target)];
        let platforms = slots.map(|(name, platform)| {
            let slot = OnceLock::from(Arc::clone(platform));
            (SourceName::from(name), Platform::Hypervisor(Arc::new(slot)))
        });
        let performer = Performer {
            claim: Claim {
                engine: EngineId::from(ENGINE),
                console: "test".to_owned(),
                stale: Duration::from_mins(1),
            },
            platforms: platforms.into(),
            armed: BTreeSet::from(["secondary".into()]),
            settings: None,
            prober: Arc::new(NetworkProber),
            clock: Arc::new(RealClock),
        };
        let model = define_shadow(bench, &vm);
        Self {
            bench,
            performer,
            vm,
            model,
            point,
            digest,
            file,
        }
    }

    fn clone_of(&self, number: u64, layer: &str, model: &VmId) -> CloneSpec {
        let ports: Vec<u16> = PORTS
            .filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .skip(number as usize * 3)
            .take(2)
            .collect();
        CloneSpec {
            spec: ShadowSpec {
                owner: owner(),
                shadow: ShadowId::from("s1"),
                of: self.vm.id.clone(),
                name: format!("sc-0123abcd-c{number}"),
                uuid: format!("5ade0000-0000-4000-8000-00000000000{number}"),
                pool: PoolId::from("secondary/secondary"),
                storage: STORAGE.to_owned(),
                vcpus: 1,
                vcpus_max: 1,
                memory_bytes: 128 << 20,
                overlays: vec![OverlaySpec {
                    target: "vda".to_owned(),
                    volume: format!("sc-0123abcd-s1-clone-vda-{number}"),
                    layer_volume: layer.to_owned(),
                    capacity_bytes: self.vm.disks[0].capacity_bytes,
                }],
                network: ShadowNetwork {
                    mac: format!("52:54:00:c1:0a:0{number}"),
                    address: "127.0.0.1".to_owned(),
                    port: 0,
                    guest_port: 0,
                    guest_address: None,
                    outbound_allowed: false,
                    more: vec![
                        Forward {
                            port: ports[0],
                            guest_port: 80,
                        },
                        Forward {
                            port: ports[1],
                            guest_port: 81,
                        },
                    ],
                },
            },
            model: model.clone(),
            point: number,
            console_volume: format!("sc-0123abcd-s1-console-{number}"),
            boot_seconds: 120,
            lifetime_seconds: 300,
        }
    }

    fn perform(&self, action: &Action) -> Outcome {
        self.performer
            .perform(action, &Control::default(), &|| {})
            .unwrap_or_else(|failure| panic!("{action:?}: {failure:?}"))
    }

    fn start(&self, clone: &CloneSpec) {
        let model = self.bench.target.definition(&clone.model).unwrap();
        self.bench.target.ensure_clone(clone, &model).unwrap();
    }

    fn check(&self, clone: &CloneSpec, check: &Check, timeout_seconds: u32) -> CheckResult {
        let layers = vec![Layer {
            volume: clone.spec.overlays[0].layer_volume.clone(),
            digest: Some(self.digest.clone()),
        }];
        let action = Action::CheckClone {
            clone: Box::new(clone.clone()),
            check: check.clone(),
            timeout_seconds,
            layers,
        };
        let Outcome::Checked(result) = self.perform(&action) else {
            panic!("a check has a result");
        };
        show(&format!(
            "  {} {check}: {} ({} ms)",
            if result.passed { "passed" } else { "FAILED" },
            result.seen,
            result.millis
        ));
        result
    }

    #[track_caller]
    fn passes(&self, clone: &CloneSpec, check: &Check, timeout_seconds: u32) {
        let result = self.check(clone, check, timeout_seconds);
        assert!(result.passed, "{result:#?}");
    }

    #[track_caller]
    fn fails(&self, clone: &CloneSpec, check: &Check, seen: &str) {
        let result = self.check(clone, check, 4);
        assert!(!result.passed, "{result:#?}");
        assert!(result.seen.contains(seen), "{seen} in {result:#?}");
    }

    fn remove(&self, clone: &CloneSpec) -> String {
        let step = Step::RemoveClone {
            clone: Box::new(clone.clone()),
        };
        let Outcome::CloneGone { console } = self.perform(&Action::Step(Box::new(step))) else {
            panic!("a removal gives the console");
        };
        console
    }

    fn run_in(&self, clone: &CloneSpec, argv: &[&str]) -> (i64, String) {
        let question = AgentQuestion::Run {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            timeout: Duration::from_secs(30),
        };
        match self.bench.target.ask_agent(clone, &question).unwrap() {
            AgentAnswer::Ran { code, output } => (code, output),
            other => panic!("{other:?}"),
        }
    }

    fn checks(&self) -> Vec<Check> {
        vec![
            Check::Boots,
            Check::Agent,
            Check::Tcp { port: 80 },
            http("/cgi-bin/work", Some("done")),
            command(&["/bin/verify"], "bad=0"),
            Check::Console {
                text: "DISK mounted".to_owned(),
            },
            Check::Blocks,
            Check::Files {
                sha256: BTreeMap::from([self.file.clone()]),
            },
        ]
    }

    fn a_sound_clone_passes_and_each_damage_in_it_is_seen(&self) {
        let clone = self.clone_of(1, &self.point.disks[0].layer_volume, &self.model);
        show("a sound clone");
        self.start(&clone);
        for check in &self.checks() {
            self.passes(&clone, check, 120);
        }
        self.reaches_nobody(&clone);

        show("what is broken in it now");
        let [_, agent, tcp, http, verify, _, _, files] = &self.checks()[..] else {
            panic!("eight checks");
        };
        self.fails(&clone, &Check::Tcp { port: 81 }, "did not take");
        assert_eq!(self.run_in(&clone, &["/bin/touch", "/run/fail"]).0, 0);
        self.fails(&clone, http, "HTTP 500");
        assert_eq!(self.run_in(&clone, &["/bin/rm", "/run/fail"]).0, 0);
        self.fails(&clone, &self::http("/", Some("another page")), "without");
        let (path, _) = &self.file;
        let script = format!("echo changed >> {path}");
        assert_eq!(self.run_in(&clone, &["/bin/sh", "-c", &script]).0, 0);
        self.fails(&clone, files, "has SHA-256");
        self.fails(&clone, verify, "bad=1");
        assert_eq!(self.run_in(&clone, &["/bin/killall", "httpd"]).0, 0);
        self.fails(&clone, tcp, "did not take");
        // The agent ends before it can answer.
        let question = AgentQuestion::Run {
            argv: vec!["/bin/killall".to_owned(), "qemu-ga".to_owned()],
            timeout: Duration::from_secs(5),
        };
        let _gone = self.bench.target.ask_agent(&clone, &question);
        self.fails(&clone, agent, "");

        let console = self.remove(&clone);
        assert!(console.contains("READY after"), "{console}");
    }

    /// Read back from libvirt and from QEMU itself, and tried from inside.
    fn reaches_nobody(&self, clone: &CloneSpec) {
        show("isolation");
        let connect = Connect::open(Some(self.bench.lab.uri("secondary"))).unwrap();
        let domain = connect.lookup_domain_by_name(&clone.spec.name).unwrap();
        let xml = domain.xml_desc(0).unwrap();
        assert!(!xml.contains("<interface"), "{xml}");
        let line = qemu_line(&clone.spec.uuid);
        let devices: Vec<&String> = line
            .iter()
            .filter(|word| word.contains("net") && word.contains(','))
            .collect();
        assert!(
            line.iter().any(|word| word.contains("restrict=on")),
            "{devices:?}"
        );
        for word in &line {
            assert!(!word.contains("bridge") && !word.contains("tap,"), "{word}");
            assert!(
                !word.contains("52:54:00:1a:b0"),
                "the primary's address: {word}"
            );
        }
        let cards = line
            .iter()
            .filter(|word| word.contains("virtio-net"))
            .count();
        assert_eq!(cards, 1, "{devices:?}");

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        // 10.0.2.2 is the host, as guests of QEMU's own network see it.
        let knock = format!("/bin/nc -w 3 10.0.2.2 {port} < /dev/null");
        let (code, said) = self.run_in(clone, &["/bin/sh", "-c", &knock]);
        assert_ne!(code, 0, "the clone reached the host: {said}");
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        // The same from the primary, which may: the listener hears who can reach it.
        start_in_primary(self.bench, &self.vm, &["/bin/sh", "-c", &knock]);
        support::await_that("the primary reaches the listener", A_WHILE, || {
            listener.accept().ok()
        });
    }

    /// The layer's bytes are not what the source gave: the digest sees it, and so does the guest.
    fn a_clone_on_a_damaged_layer_fails(&self) {
        show("a damaged layer");
        let sound = self.bench.layer(&self.point.disks[0].layer_volume);
        let name = "sc-0123abcd-s1-damaged.qcow2";
        let damaged = self.bench.layer(name);
        fs::copy(&sound, &damaged).unwrap();
        // The superblock and what follows it.
        qemu_io(&damaged, "write -P 0 0 64k");
        let owner = fs::metadata(&sound).unwrap();
        chown(&damaged, Some(owner.uid()), Some(owner.gid())).unwrap();
        let clone = self.clone_of(2, name, &self.model);
        self.start(&clone);
        let [boots, _, _, _, verify, console, blocks, files] = &self.checks()[..] else {
            panic!("eight checks");
        };
        self.passes(&clone, boots, 120);
        self.passes(&clone, &Check::Agent, 60);
        self.fails(&clone, console, "lines without it");
        self.fails(&clone, blocks, "is not what the source gave");
        self.fails(&clone, files, "guest-file-open");
        self.fails(&clone, verify, "bad=1");
        self.remove(&clone);
        fs::remove_file(damaged).unwrap();
    }

    fn a_clone_that_does_not_boot_fails(&self) {
        show("a clone without a kernel");
        let uuid = "0ddba11e-0000-4000-8000-000000000002";
        let xml = format!(
            "<domain type='qemu'><name>no-kernel</name><uuid>{uuid}</uuid><memory unit='MiB'>64</memory>\
             <os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
             <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/none'/>\
             <target dev='vda' bus='virtio'/></disk></devices></domain>"
        );
        let connect = Connect::open(Some(self.bench.lab.uri("secondary"))).unwrap();
        let model = connect.define_domain_xml(&xml).unwrap();
        let id = VmId::of(&SourceName::from("secondary"), uuid);
        let clone = self.clone_of(3, &self.point.disks[0].layer_volume, &id);
        self.start(&clone);
        self.fails(&clone, &Check::Boots, "nothing on the console");
        self.fails(&clone, &Check::Tcp { port: 80 }, "did not take");
        self.fails(&clone, &http("/", None), "");
        // Its power is cut under the check, as a timer or a person would.
        connect
            .lookup_domain_by_uuid_string(&clone.spec.uuid)
            .unwrap()
            .destroy()
            .unwrap();
        self.fails(&clone, &Check::Agent, "its power was cut");
        self.remove(&clone);
        model.undefine().unwrap();
    }

    fn clear(&self) {
        let connect = Connect::open(Some(self.bench.lab.uri("secondary"))).unwrap();
        let model = connect.lookup_domain_by_uuid_string(self.model.uuid());
        model.unwrap().undefine().unwrap();
        self.bench.retire(&self.vm, &[&self.point]);
        self.bench
            .target
            .release_lease(&self.performer.claim)
            .unwrap();
    }
}

/// A shadow as the target has it: powered off, and all that a clone is modelled on.
fn define_shadow(bench: &Bench, vm: &Vm) -> VmId {
    let uuid = "0ddba11e-0000-4000-8000-000000000001";
    let xml = bench.source.definition(&vm.id).unwrap();
    let xml = xml.replace(vm.id.uuid(), uuid).replace(
        &format!("<name>{VM}</name>"),
        &format!("<name>{VM}-s1</name>"),
    );
    let connect = Connect::open(Some(bench.lab.uri("secondary"))).unwrap();
    connect.define_domain_xml(&xml).unwrap();
    VmId::of(&SourceName::from("secondary"), uuid)
}

fn http(path: &str, body: Option<&str>) -> Check {
    Check::Http {
        port: 80,
        path: path.to_owned(),
        status: None,
        body: body.map(str::to_owned),
    }
}

fn command(argv: &[&str], expect: &str) -> Check {
    Check::Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        exit: 0,
        expect: Some(expect.to_owned()),
    }
}

/// The command line of the QEMU that runs this machine.
fn qemu_line(uuid: &str) -> Vec<String> {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<String> = line
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        if words[0].contains("qemu") && words.iter().any(|word| word == uuid) {
            return words;
        }
    }
    panic!("no QEMU runs {uuid}");
}

fn qemu_io(image: &Path, command: &str) {
    let output = Command::new("qemu-io")
        .args(["-c", command])
        .arg(image)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Short intervals make a short test; the check by command makes the clone last until the engine was killed.
const SETTINGS: &str = r#"
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
keep_points = 3
keep_hourly = 0
keep_daily = 0
[validation]
every_hours = 0
[[validation.check]]
kind = "boots"
[[validation.check]]
kind = "http"
port = 80
[[validation.check]]
kind = "command"
argv = ["/bin/verify"]
expect = "bad=0"
[[validation.check]]
kind = "blocks"
"#;

/// The whole way, by the command line: points are made and merged, one is proven, and the engine is killed on the way.
fn engine_and_schedule(bench: Bench) {
    let Bench {
        lab,
        source,
        target,
    } = bench;
    drop((source, target));
    let console = Console::new();
    console.settings(SETTINGS);
    console.json(&["lab", "up", "--dir", &lab.dir.to_string_lossy()]);
    let agent = console.agent();
    let created = console.json(&["shadow", "create", VM, "--rpo", "5s", "--yes"]);
    let operation = operation_of(&created);
    console.await_end(&operation, A_WHILE);
    let shadow = created["plan"]["shadow"].as_str().unwrap().to_owned();

    let merged = await_that_shown(
        "expired points are merged",
        A_WHILE,
        || {
            let points = console.json(&["shadow", "points", &shadow]);
            let rows = points["points"].as_array().unwrap();
            let first = rows.first()?;
            (first["id"].as_u64()? > 0).then(|| points.clone())
        },
        || console.ok(&["shadow", "points", &shadow]),
    );
    show(&format!(
        "{} points left",
        merged["points"].as_array().unwrap().len()
    ));

    show("a proof by the command line, its engine killed while the clone boots");
    let started = console.json(&["shadow", "validate", &shadow, "--yes"]);
    let operation = OperationId::from(started["id"].as_str().unwrap());
    console.await_row("the clone was started", A_WHILE, |row| {
        let done = matches!(row.entry, Entry::StepDone { step: 0, .. });
        (done && row.operation == operation).then_some(())
    });
    agent.kill();
    let left = platform::host(&lab, "secondary")
        .list_all_domains(0)
        .unwrap()
        .iter()
        .filter(|domain| domain.name().unwrap().starts_with("sc-"))
        .count();
    show(&format!("{left} clone(s) right after the kill"));
    let agent = console.agent();
    console.await_end(&operation, A_WHILE);
    let proofs = console.json(&["shadow", "proofs", &shadow]);
    let proof = &proofs["proofs"][0];
    assert_eq!(proof["id"], operation.as_str(), "{proofs:#}");
    assert_eq!(proof["passed"], true, "{proof:#}");
    assert_eq!(proof["checks"].as_array().unwrap().len(), 4, "{proof:#}");
    assert!(
        proof["console"].as_str().unwrap().contains("READY"),
        "{proof:#}"
    );
    let row = console.shadow(&shadow);
    assert_eq!(row["last_proof"]["passed"], true, "{row:#}");
    let left = |part: &str| {
        platform::ours(&lab)
            .into_values()
            .flatten()
            .filter(|name| name.contains(part))
            .collect::<Vec<_>>()
    };
    assert_eq!(left("-clone-"), [""; 0]);
    assert_eq!(left("-console-"), [""; 0]);
    let helpers = platform::ours(&lab)["secondary VMs"].clone();
    assert!(
        !helpers.iter().any(|name| name.starts_with("sc-")),
        "{helpers:?}"
    );
    show(&console.ok(&["shadow", "proofs", &shadow]));
    show(&console.ok(&["shadow", "points", &shadow]));

    console.ok(&["shadow", "retire", &shadow, "--yes", "--follow"]);
    platform::nothing_is_left(&lab);
    agent.stop();
}

fn operation_of(plan: &Value) -> OperationId {
    let steps = plan["plan"]["steps"].as_array().unwrap();
    let owner = steps
        .iter()
        .find_map(|step| step["increment"]["owner"]["operation"].as_str());
    OperationId::from(owner.expect("the plan replicates"))
}
