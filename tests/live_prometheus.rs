//! A real Prometheus server that holds generated history: what is brought equals what was generated, an interrupted
//! back-fill goes on where it was, and what the server says against a query is told.

#[path = "support/console.rs"]
mod console;
mod support;

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use console::Console;
use serde_json::Value;
use shadowcast::{
    engine::send::Sending,
    metrics::{Metric, Sample},
    telemetry::prometheus::{client::Prometheus, remote_write},
    units::{Timestamp, VmId},
};
use support::{await_that, skip};

const DAYS: i64 = 14;
const STEP: i64 = 300;
const VCPUS: f64 = 2.0;
/// The VM of libvirt's own test driver.
const VM: &str = "test";
/// Queries that come through before the kill.
const BEFORE: usize = 3;
const A_WHILE: Duration = Duration::from_mins(1);

/// 0..=1: a day's curve, a noise that anyone can compute, and no two days alike.
fn cpu_at(step: i64) -> f64 {
    let day = (step % 288) as f64 / 288.0 * std::f64::consts::TAU;
    let noise = (step.wrapping_mul(2_654_435_761) % 1000) as f64 / 1000.0;
    (0.4 + 0.25 * day.sin() + 0.1 * noise).clamp(0.0, 1.0)
}

fn read_bytes_per_second(step: i64) -> f64 {
    (1 + step % 97) as f64 * 1000.0
}

/// Nothing was scraped in these steps.
fn is_gap(step: i64, first: i64) -> bool {
    (500..520).contains(&(step - first))
}

struct Server {
    child: Child,
    port: u16,
    /// The first step that is generated, in steps since 1970.
    first: i64,
    last: i64,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("it has an address").port()
}

fn has_prometheus(test: &str) -> bool {
    let there = ["prometheus", "promtool"].iter().all(|program| {
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    if !there {
        skip(
            test,
            "prometheus is not installed; apt-get install prometheus",
        );
    }
    there
}

impl Server {
    /// Two weeks up to now, as a libvirt exporter that is scraped each minute leaves them.
    fn start() -> Self {
        Self::start_with(true, &[])
    }

    fn start_with(history: bool, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs() as i64;
        let last = now / STEP;
        let first = last - DAYS * 288;
        let data = folder.path().join("data");
        if history {
            let text = folder.path().join("history.txt");
            fs::write(&text, open_metrics(first, last)).expect("it is written");
            let made = Command::new("promtool")
                .args(["tsdb", "create-blocks-from", "openmetrics"])
                .args([&text, &data])
                .output()
                .expect("promtool runs");
            let said = String::from_utf8_lossy(&made.stderr);
            assert!(made.status.success(), "{said}");
        }
        let config = folder.path().join("prometheus.yml");
        fs::write(&config, "global: {}\n").expect("it is written");
        let port = free_port();
        let log = fs::File::create(folder.path().join("log")).expect("a log");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", data.display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--storage.tsdb.retention.time=60d")
            .args(more)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus starts");
        let server = Self {
            child,
            port,
            first,
            last,
            _folder: folder,
        };
        await_that("prometheus is ready", A_WHILE, || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
            stream.write_all(b"GET /-/ready HTTP/1.0\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            answer.contains(" 200 ").then_some(())
        });
        server
    }
}

fn open_metrics(first: i64, last: i64) -> String {
    let mut cpu = String::from("# TYPE libvirt_domain_info_cpu_time_seconds counter\n");
    let mut vcpus = String::from("# TYPE libvirt_domain_info_virtual_cpus gauge\n");
    let mut read = String::from("# TYPE libvirt_domain_block_stats_read_bytes counter\n");
    let mut written = String::from("# TYPE libvirt_domain_block_stats_write_bytes counter\n");
    let (mut cpu_seconds, mut bytes) = (1000.0, 5e9);
    for minute in first * 5..=last * 5 {
        let at = minute * 60;
        // The minute that ends at `at` belongs to the step that holds its begin.
        let step = (minute - 1).div_euclid(5);
        cpu_seconds += cpu_at(step) * VCPUS * 60.0;
        bytes += read_bytes_per_second(step) * 60.0;
        if is_gap(minute.div_euclid(5), first) {
            continue;
        }
        // Two disks, and a stranger that belongs to no VM of ours.
        for domain in [VM, "stranger"] {
            let _ = writeln!(
                cpu,
                "libvirt_domain_info_cpu_time_seconds_total{{domain=\"{domain}\"}} {cpu_seconds} {at}"
            );
            let _ = writeln!(
                vcpus,
                "libvirt_domain_info_virtual_cpus{{domain=\"{domain}\"}} {VCPUS} {at}"
            );
        }
        for disk in ["vda", "vdb"] {
            let labels = format!("{{domain=\"{VM}\",target_device=\"{disk}\"}}");
            let _ = writeln!(
                read,
                "libvirt_domain_block_stats_read_bytes_total{labels} {} {at}",
                bytes / 2.0
            );
            let _ = writeln!(
                written,
                "libvirt_domain_block_stats_write_bytes_total{labels} 0 {at}"
            );
        }
    }
    format!("{cpu}{vcpus}{read}{written}# EOF\n")
}

/// A console with the VM and the server; the server is reached over `port`.
fn console_with(port: u16) -> Console {
    let console = Console::new();
    console.settings("[sampling]\ninterval_seconds = 5\ninventory_seconds = 5\n");
    console.ok(&["source", "add", "test:///default", "--name", "t"]);
    let address = format!("prometheus+http://127.0.0.1:{port}");
    console.ok(&["source", "add", &address, "--name", "prom"]);
    console
}

/// How the server does, as `source list` shows it.
fn prom(console: &Console) -> Option<Value> {
    let document = console.json(&["source", "list"]);
    let sources = document["sources"].as_array().expect("a listing");
    sources
        .iter()
        .find(|source| source["name"] == "prom")
        .cloned()
}

/// Steps since 1970 and their values, as `history export` gives them.
fn exported(console: &Console, metric: &str) -> Vec<(i64, f64)> {
    let text = console.ok(&[
        "history", "export", "--vm", VM, "--metric", metric, "--since", "15d",
    ]);
    let mut rows = Vec::new();
    for line in text.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let at: jiff::Timestamp = fields[2].parse().expect("a time");
        rows.push((at.as_second() / STEP, fields[3].parse().expect("a value")));
    }
    rows
}

/// Every step that Prometheus has is there with its value, and no step that it has not.
fn assert_is_what_was_generated(console: &Console, server: &Server) {
    let rows = exported(console, "cpu");
    let within = |step: i64| step > server.first && step < server.last - 1;
    let seen: Vec<&(i64, f64)> = rows.iter().filter(|(step, _)| within(*step)).collect();
    // Around the gap a rate is made of what is left of its window.
    let near_gap = |step: i64| (498..=522).contains(&(step - server.first));
    let mut exact = 0;
    for (step, value) in &seen {
        if near_gap(*step) {
            continue;
        }
        let expected = cpu_at(*step);
        assert!(
            (value - expected).abs() < 2e-3,
            "step {step}: {value}, generated {expected}"
        );
        exact += usize::from((value - expected).abs() < 1e-4);
    }
    assert!(
        exact * 100 >= seen.len() * 99,
        "{exact} of {} are exact",
        seen.len()
    );
    assert!(
        seen.len() as i64 > DAYS * 288 - 40,
        "{} steps came",
        seen.len()
    );
    assert!(
        !rows
            .iter()
            .any(|(step, _)| (502..519).contains(&(step - server.first))),
        "the gap stayed a gap"
    );
    for (step, value) in exported(console, "disk")
        .iter()
        .filter(|(step, _)| within(*step) && !near_gap(*step))
    {
        let expected = read_bytes_per_second(*step);
        assert!(
            (value - expected).abs() <= expected * 2e-3,
            "disk {step}: {value}, generated {expected}"
        );
    }
}

#[test]
fn what_is_brought_is_what_was_generated_and_a_forecast_follows_at_once() {
    let test = "what_is_brought_is_what_was_generated_and_a_forecast_follows_at_once";
    if !has_prometheus(test) {
        return;
    }
    let server = Server::start();
    let console = console_with(server.port);
    let _agent = console.agent();
    let source = await_that("prom has answered", A_WHILE, || {
        let source = prom(&console)?;
        (!source["last_ok"].is_null()).then_some(source)
    });
    assert_eq!(source["kind"], "history");
    assert_eq!(
        console.run(&["source", "arm", "prom"]).code,
        3,
        "it is only ever read"
    );

    let done = console.run(&["history", "backfill", "prom", "--since", "15d"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(done.stdout.contains("Brought "), "{}", done.stdout);
    assert!(done.stderr.contains("domain=stranger"), "{}", done.stderr);
    assert_is_what_was_generated(&console, &server);

    let forecast = console.json(&["forecast", VM]);
    let text = forecast.to_string();
    assert!(text.contains("\"points\""), "a forecast is there: {text}");
    let source = prom(&console).expect("it is listed");
    assert!(!source["last_backfill"].is_null());
    let stats = console.json(&["history", "stats"]);
    assert!(
        stats["tiers"][1]["sealed_values"]
            .as_u64()
            .expect("a count")
            > 2 * 3900
    );
    assert_eq!(console.json(&["history", "verify"])["damaged"], 0);
}

#[test]
fn what_the_server_says_is_told_and_nobody_there_is_unreachable() {
    let test = "what_the_server_says_is_told_and_nobody_there_is_unreachable";
    if !has_prometheus(test) {
        return;
    }
    let server = Server::start();
    let console = console_with(server.port);
    let bad = console.run(&[
        "history", "backfill", "prom", "--metric", "cpu", "--query", "sum by (",
    ]);
    assert_eq!(bad.code, 1);
    assert!(bad.stderr.contains("parse error"), "{}", bad.stderr);
    let twice = console.run(&["history", "backfill", "prom", "--query", "up"]);
    assert_eq!(twice.code, 2, "{}", twice.stderr);
    let percent = console.run(&[
        "history",
        "backfill",
        "prom",
        "--metric",
        "cpu",
        "--query",
        "100 * rate(libvirt_domain_info_cpu_time_seconds_total[5m])",
    ]);
    assert_eq!(percent.code, 1, "{}", percent.stdout);
    assert!(percent.stderr.contains("percent?"), "{}", percent.stderr);
    drop(server);
    let gone = console.run(&["history", "backfill", "prom"]);
    assert_eq!(gone.code, 4, "{}", gone.stderr);
    let nobody = format!("prometheus+http://127.0.0.1:{}", free_port());
    assert_eq!(console.run(&["source", "add", &nobody]).code, 4);
}

/// Stands before the server, counts queries, and lets `pass` of them through before it holds one for ever.
struct Gate {
    port: u16,
    queries: Arc<AtomicUsize>,
    held: mpsc::Receiver<()>,
}

impl Gate {
    fn before(server: u16, pass: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it has an address").port();
        let queries = Arc::new(AtomicUsize::new(0));
        let (tell, held) = mpsc::channel();
        let counted = queries.clone();
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (counted, tell) = (counted.clone(), tell.clone());
                thread::spawn(move || pass_on(client, server, pass, &counted, &tell));
            }
        });
        Self {
            port,
            queries,
            held,
        }
    }
}

/// One connection: requests are looked at, answers go through as they are.
fn pass_on(
    mut client: TcpStream,
    server: u16,
    pass: usize,
    queries: &AtomicUsize,
    held: &mpsc::Sender<()>,
) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).expect("the server runs");
    let (mut answers, mut back) = (
        server.try_clone().expect("a handle"),
        client.try_clone().expect("a handle"),
    );
    let answering = thread::spawn(move || {
        // Either side may end it.
        let _ = std::io::copy(&mut answers, &mut back);
    });
    let mut buffer = vec![0; 65536];
    while let Ok(read @ 1..) = client.read(&mut buffer) {
        if buffer[..read].starts_with(b"POST ") && queries.fetch_add(1, SeqCst) >= pass {
            held.send(()).expect("the test waits");
            // Until the client is gone.
            let _ = client.read(&mut buffer);
            break;
        }
        if server.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = answering.join();
}

#[test]
fn a_killed_back_fill_goes_on_where_it_was() {
    let test = "a_killed_back_fill_goes_on_where_it_was";
    if !has_prometheus(test) {
        return;
    }
    let server = Server::start();
    // All queries of a run that nobody stops.
    let open = Gate::before(server.port, usize::MAX);
    let whole = console_with(open.port);
    whole.ok(&["history", "backfill", "prom", "--since", "15d"]);
    let all = open.queries.load(SeqCst);
    assert!(
        all > BEFORE + 2,
        "{all} queries are too few to be interrupted"
    );

    let gate = Gate::before(server.port, BEFORE);
    let console = console_with(gate.port);
    let agent = console.agent();
    let words = ["history", "backfill", "prom", "--since", "15d"];
    thread::scope(|scope| {
        let run = scope.spawn(|| console.run(&words));
        gate.held
            .recv_timeout(A_WHILE)
            .expect("the fourth query comes");
        agent.kill();
        let done = run.join().expect("it ends");
        assert_ne!(done.code, 0, "{}", done.stdout);
    });
    // The same address, open now.
    let again = Gate::before(server.port, usize::MAX);
    let forward = format!("prometheus+http://127.0.0.1:{}", again.port);
    console.ok(&["source", "remove", "prom"]);
    console.ok(&["source", "add", &forward, "--name", "prom"]);
    let _agent = console.agent();
    let done = console.run(&words);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert!(
        done.stderr.contains("Going on where the last run ended"),
        "{}",
        done.stderr
    );
    assert_eq!(
        again.queries.load(SeqCst),
        all - BEFORE,
        "no slice is asked for twice"
    );
    assert_is_what_was_generated(&console, &server);
    let document: Value = console.json(&["history", "stats"]);
    assert_eq!(document["quarantined"], 0);
}

#[test]
fn samples_go_out_by_remote_write_and_the_same_screens_read_them_there() {
    let test = "samples_go_out_by_remote_write_and_the_same_screens_read_them_there";
    if !has_prometheus(test) {
        return;
    }
    let server = Server::start_with(false, &["--web.enable-remote-write-receiver"]);
    let address = format!("prometheus+http://127.0.0.1:{}", server.port);

    // What is sent comes back, a name that would end its string included.
    let client = Prometheus::at(&address).expect("an address");
    let vm = VmId::new("kvm/0000-1\"}\\");
    let start = server.last * STEP - 1200;
    for step in 0..100 {
        let mut sample = Sample {
            vm: vm.clone(),
            at: Timestamp::from_secs(start + step * 10 + 1),
            ..Sample::default()
        };
        sample.values[Metric::Cpu.index()] = (step != 50).then_some(step as f32 / 100.0);
        sample.values[Metric::Net.index()] = Some(1e6 + step as f32);
        let body = remote_write::encode(&[sample])
            .expect("it is packed")
            .expect("values");
        client.write(body).expect("the server takes it");
    }
    let (from, to) = (
        Timestamp::from_secs(start),
        Timestamp::from_secs(start + 999),
    );
    let back = client
        .series(&vm, Metric::Cpu, from, to, 10)
        .expect("it answers");
    assert_eq!(back.values.len(), 100);
    for (step, value) in back.values.iter().enumerate() {
        if step == 50 {
            assert!(value.is_nan(), "a gap stays a gap");
        } else {
            assert!(
                (value - step as f32 / 100.0).abs() < 1e-6,
                "step {step}: {value}"
            );
        }
    }

    // The thread of the engine that sends.
    let now = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs() as i64
    };
    let console = console_with(server.port);
    let id = console.json(&["vm", VM])["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let mut sending = Sending::start(address).expect("a thread");
    let first = now() - 900;
    for step in 0..90 {
        let mut sample = Sample {
            vm: VmId::new(&*id),
            at: Timestamp::from_secs(first + step * 10),
            ..Sample::default()
        };
        sample.values[Metric::Cpu.index()] = Some(0.625);
        sending.send(&[sample]);
    }
    let span = (
        Timestamp::from_secs(first),
        Timestamp::from_secs(first + 899),
    );
    await_that("all samples are there", A_WHILE, || {
        let series = client
            .series(&VmId::new(&*id), Metric::Cpu, span.0, span.1, 10)
            .ok()?;
        (series
            .values
            .iter()
            .filter(|value| value.is_finite())
            .count()
            == 90)
            .then_some(())
    });

    // The same verbs read there what the own store never had.
    let words = ["history", VM, "--since", "1h", "--format", "csv"];
    let own = console.ok(&words);
    assert_eq!(own.lines().count(), 1, "the own store has nothing: {own}");
    console.settings("[history]\nstore = \"prometheus\"\n[prometheus]\nsource = \"prom\"\n");
    let shown = console.ok(&words);
    assert!(shown.contains(",0.625"), "{shown}");
    drop(server);
    let gone = console.run(&words);
    assert_eq!(
        gone.code, 4,
        "it is read from there: {} {}",
        gone.stdout, gone.stderr
    );
}
