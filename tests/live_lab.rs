//! The lab on real libvirt, QEMU and HAProxy: it comes up, serves, repairs itself and leaves nothing behind.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::Value;
use shadowcast::{lab, problem::ProblemKind, units::Timestamp};
use support::{Lab, await_that, get, processes_naming, verified};
use virt::{
    connect::Connect,
    storage_pool::StoragePool,
    sys::{VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, VIR_DOMAIN_SHUTDOWN_GUEST_AGENT},
};

const A_WHILE: Duration = Duration::from_mins(1);

#[test]
fn a_lab_serves_repairs_itself_and_leaves_nothing() {
    let Some(mut lab) = Lab::start("a_lab_serves_repairs_itself_and_leaves_nothing") else {
        return;
    };
    assert!(lab.status.up, "{:?}", lab.status);
    the_hosts_are_two_and_share_no_folder(&lab);
    services_answer_through_the_balancer(&lab);
    written_files_verify(&lab);
    the_fault_can_be_switched(&lab);
    load_follows_the_curve_and_a_surge_raises_it(&lab);
    history_ends_now(&lab);
    the_power_button_shuts_down_cleanly_and_up_repairs(&mut lab);
    a_second_up_changes_nothing(&lab);

    let dir = lab.dir.clone();
    lab::down(&dir).unwrap();
    assert!(!dir.exists());
    assert_eq!(processes_naming(&dir), Vec::<String>::new());
    lab::down(&dir).unwrap();
    assert!(!lab::status(&dir).unwrap().up);
}

fn pools(uri: &str) -> Vec<StoragePool> {
    Connect::open(Some(uri))
        .unwrap()
        .list_all_storage_pools(0)
        .unwrap()
}

fn the_hosts_are_two_and_share_no_folder(lab: &Lab) {
    let capabilities = |host: &str| {
        Connect::open(Some(lab.uri(host)))
            .unwrap()
            .capabilities()
            .unwrap()
    };
    let host_uuid = |host: &str| {
        let xml = capabilities(host);
        let start = xml.find("<uuid>").unwrap() + 6;
        xml[start..start + 36].to_owned()
    };
    assert_ne!(host_uuid("primary"), host_uuid("secondary"));

    let names = |host: &str| -> BTreeSet<String> {
        pools(lab.uri(host))
            .iter()
            .map(|pool| pool.name().unwrap())
            .collect()
    };
    assert_eq!(
        names("primary"),
        BTreeSet::from(["images", "spool"].map(String::from))
    );
    assert_eq!(names("secondary"), BTreeSet::from(["shadow".to_owned()]));
    let path = |pool: &StoragePool| {
        let xml = pool.xml_desc(0).unwrap();
        let (_, rest) = xml.split_once("<path>").unwrap();
        rest.split_once("</path>").unwrap().0.to_owned()
    };
    let paths: BTreeSet<String> = ["primary", "secondary"]
        .iter()
        .flat_map(|host| pools(lab.uri(host)))
        .map(|pool| path(&pool))
        .collect();
    assert_eq!(paths.len(), 3);

    let guests = Connect::open(Some(lab.uri("primary")))
        .unwrap()
        .list_all_domains(0)
        .unwrap();
    assert_eq!(guests.len(), 3);
    assert!(guests.iter().all(|guest| guest.is_active().unwrap()));
}

fn services_answer_through_the_balancer(lab: &Lab) {
    for service in &lab.status.services {
        let (guest, server) = &service.members[0];
        let answer = get(&service.url);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body.trim(), guest);
        assert_eq!(answer.served_by.as_ref(), Some(server));
        assert_eq!(get(&format!("{}/cgi-bin/work", service.url)).status, 200);
    }
    let weights = lab.haproxy("show servers state shop");
    assert!(weights.contains(" shop-1 "), "{weights}");
}

fn written_files_verify(lab: &Lab) {
    for guest in &lab.status.guests {
        let url = format!("{}/cgi-bin/verify", lab.guest_url(&guest.name));
        await_that(
            "a guest has written and verified five files",
            A_WHILE,
            || {
                let found = verified(&get(&url).body)?;
                assert_eq!(found.bad, 0, "{}", guest.name);
                (found.ok >= 5).then_some(())
            },
        );
    }
}

fn the_fault_can_be_switched(lab: &Lab) {
    let guest = lab.guest_url("search-1");
    let work = format!("{}/cgi-bin/work", lab.service_url("search"));
    get(&format!("{guest}/cgi-bin/setfail?on"));
    assert_eq!(get(&work).status, 500);
    get(&format!("{guest}/cgi-bin/setfail?off"));
    assert_eq!(get(&work).status, 200);
}

fn load_follows_the_curve_and_a_surge_raises_it(lab: &Lab) {
    let load = |service: &str| {
        let state = lab::load_state(&lab.dir).unwrap()?;
        state.services.into_iter().find(|load| load.name == service)
    };
    let usual = await_that("the load is answered", A_WHILE, || {
        load("shop").filter(|load| load.ok > 10)
    });
    let calm = load("ledger").unwrap().requests_per_second;
    lab::surge(&lab.dir, 3.0, None).unwrap();
    await_that("the surge raises the load of shop", A_WHILE, || {
        load("shop").filter(|load| load.requests_per_second > 2.0 * usual.requests_per_second)
    });
    let beside = load("ledger").unwrap().requests_per_second;
    assert!((beside / calm - 1.0).abs() < 0.2, "{calm} {beside}");
    assert_eq!(
        lab::status(&lab.dir)
            .unwrap()
            .surge
            .map(|surge| surge.factor),
        Some(3.0)
    );
    lab::surge(&lab.dir, 1.0, None).unwrap();
    assert!(lab::status(&lab.dir).unwrap().surge.is_none());
}

fn history_ends_now(lab: &Lab) {
    let mut csv = Vec::new();
    let now = Timestamp(jiff::Timestamp::now().as_millisecond());
    let rows = lab::history_csv(&lab.dir, &mut csv, now).unwrap();
    let text = String::from_utf8(csv).unwrap();
    assert_eq!(text.lines().count() as u64, rows + 1);
    assert_eq!(text.lines().next(), Some("vm,metric,at,value"));
    let newest = format!("shop-1,cpu,{}", now.floor_to(300).plus_secs(-300));
    assert!(
        text.lines().any(|line| line.starts_with(&newest)),
        "{newest}"
    );
}

fn record(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("lab.json")).unwrap()).unwrap()
}

fn process_of(dir: &Path, name: &str) -> Value {
    let record = record(dir);
    let all = record["processes"].as_array().unwrap();
    all.iter().find(|process| process["name"] == name).unwrap()["identity"].clone()
}

/// A guest off and HAProxy killed: `up` brings back both and touches nothing else.
fn the_power_button_shuts_down_cleanly_and_up_repairs(lab: &mut Lab) {
    let host = Connect::open(Some(lab.uri("primary"))).unwrap();
    for (name, flag, said) in [
        (
            "ledger-1",
            VIR_DOMAIN_SHUTDOWN_GUEST_AGENT,
            "POWER off by the agent",
        ),
        (
            "search-1",
            VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN,
            "POWER button",
        ),
    ] {
        let guest = host.lookup_domain_by_name(name).unwrap();
        await_that("the guest is asked to power off", A_WHILE, || {
            // The agent of a guest that has just booted may not answer yet.
            guest.shutdown_flags(flag).ok()
        });
        await_that("the guest powers off", A_WHILE, || {
            (!guest.is_active().unwrap()).then_some(())
        });
        let console = lab.dir.join(format!("primary/console/{name}.log"));
        let console = fs::read_to_string(console).unwrap();
        assert!(console.contains(said), "{console}");
    }

    let haproxy = process_of(&lab.dir, "haproxy");
    let others = ["libvirtd-primary", "libvirtd-secondary", "load"];
    let before = others.map(|name| process_of(&lab.dir, name));
    let killed = Command::new("kill")
        .args(["-9", &haproxy["pid"].to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    await_that("the status says what is missing", A_WHILE, || {
        let status = lab::status(&lab.dir).unwrap();
        let off = status
            .guests
            .iter()
            .any(|guest| guest.name == "ledger-1" && !guest.running);
        (!status.up && off).then_some(())
    });

    lab.status = lab::up(&support::options(lab.dir.clone()), &support::show).unwrap();
    assert!(lab.status.up, "{:?}", lab.status);
    assert_eq!(others.map(|name| process_of(&lab.dir, name)), before);
    assert_ne!(process_of(&lab.dir, "haproxy"), haproxy);
    written_files_verify(lab);
    assert_eq!(get(lab.service_url("ledger")).status, 200);
}

fn a_second_up_changes_nothing(lab: &Lab) {
    let before = record(&lab.dir);
    lab::up(&support::options(lab.dir.clone()), &support::show).unwrap();
    assert_eq!(record(&lab.dir), before);
}

#[test]
fn a_lab_that_fails_is_taken_down_again() {
    let name = "a_lab_that_fails_is_taken_down_again";
    if !support::has_lab(name) {
        return;
    }
    let _turn = support::turn();
    let mut options = support::options(support::lab_dir());
    // The last step: by then hosts, guests and HAProxy run.
    options.exe = "/bin/false".into();
    let problem = lab::up(&options, &|_| {}).unwrap_err();
    assert!(problem.what.contains("load"), "{problem}");
    assert!(!options.dir.exists());
    assert_eq!(processes_naming(&options.dir), Vec::<String>::new());
}

#[test]
fn an_up_that_is_killed_half_way_can_be_taken_down() {
    if !support::has_lab("an_up_that_is_killed_half_way_can_be_taken_down") {
        return;
    }
    let _turn = support::turn();
    let dir = support::lab_dir();
    let data = tempfile::tempdir().unwrap();
    let mut up = Command::new(env!("CARGO_BIN_EXE_shadowcast"))
        .args(["lab", "up", "--dir"])
        .arg(&dir)
        .env("SHADOWCAST_DATA_DIR", data.path().join("data"))
        .env("SHADOWCAST_CONFIG", data.path().join("settings.toml"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(up.stderr.take().unwrap());
    let guests_run = said
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("waiting until the guests serve"));
    up.kill().unwrap();
    up.wait().unwrap();
    let left = processes_naming(&dir);
    lab::down(&dir).unwrap();
    assert!(guests_run);
    // Both daemons and three guests outlive the command.
    assert!(left.len() >= 5, "{left:#?}");
    assert!(!dir.exists());
    assert_eq!(processes_naming(&dir), Vec::<String>::new());
}

#[test]
fn what_is_not_a_lab_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let precious = folder.path().join("precious");
    fs::write(&precious, "data").unwrap();
    assert_eq!(
        lab::down(folder.path()).unwrap_err().kind,
        ProblemKind::Refused
    );
    assert_eq!(
        lab::surge(folder.path(), 2.0, None).unwrap_err().kind,
        ProblemKind::Failed
    );
    assert_eq!(
        lab::surge(folder.path(), f64::NAN, None).unwrap_err().kind,
        ProblemKind::Usage
    );
    assert!(lab::history_csv(folder.path(), Vec::new(), Timestamp(0)).is_err());
    if support::has_lab("what_is_not_a_lab_is_left_alone") {
        let mut options = support::options(folder.path().to_owned());
        assert_eq!(
            lab::up(&options, &|_| {}).unwrap_err().kind,
            ProblemKind::Refused
        );
        options.guests = 2;
        assert_eq!(
            lab::up(&options, &|_| {}).unwrap_err().kind,
            ProblemKind::Usage
        );
    }
    assert_eq!(fs::read_to_string(precious).unwrap(), "data");
}

#[test]
fn an_up_that_was_ended_at_once_is_taken_down() {
    let dir = support::lab_dir();
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("lock"), "").unwrap();
    lab::down(&dir).unwrap();
    assert!(!dir.exists());
}
