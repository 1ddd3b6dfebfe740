//! What the tests on real VMs share: a lab of their own that goes away with them, and skipping by name.
#![allow(
    dead_code,
    reason = "each test program uses the part of it that it needs"
)]

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use shadowcast::lab::{self, LabOptions, LabStatus};

/// One lab at a time in a test program: two would fight for the CPU.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Says that `test` does not run here; `packaging/test.sh` counts these lines.
pub fn skip(test: &str, why: &str) {
    // Straight to stderr, past the harness, which hides what passing tests print.
    let line = format!("\nSKIPPED {test}: {}\n", why.replace('\n', " "));
    io::stderr()
        .write_all(line.as_bytes())
        .expect("stderr takes a line");
}

/// Whether this machine can run a lab; says so by name where it cannot.
pub fn has_lab(test: &str) -> bool {
    match lab::preflight() {
        Ok(()) => true,
        Err(problem) => {
            skip(test, &format!("{} {}", problem.why, problem.next));
            false
        }
    }
}

/// A folder name that is short enough for a lab and not in use.
pub fn lab_dir() -> PathBuf {
    let number = NUMBER.fetch_add(1, Relaxed);
    PathBuf::from(format!("/tmp/s-{}-{number}", process::id()))
}

/// Held by whoever runs a lab.
pub fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Progress, which the harness shows of tests that fail.
pub fn show(step: &str) {
    eprintln!("{step}");
}

/// A running lab, taken down when it goes out of scope.
pub struct Lab {
    pub dir: PathBuf,
    pub status: LabStatus,
    _turn: MutexGuard<'static, ()>,
}

impl Lab {
    /// `None`, said by name, where this machine cannot run one.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_with(test, |_| {})
    }

    /// Three guests, unless `change` says otherwise.
    pub fn start_with(test: &str, change: impl FnOnce(&mut LabOptions)) -> Option<Self> {
        if !has_lab(test) {
            return None;
        }
        let turn = turn();
        let mut options = options(lab_dir());
        change(&mut options);
        let status = lab::up(&options, &show).unwrap_or_else(|problem| panic!("{problem}"));
        Some(Self {
            dir: options.dir,
            status,
            _turn: turn,
        })
    }

    pub fn uri(&self, host: &str) -> &str {
        let host = self.status.hosts.iter().find(|known| known.name == host);
        &host.expect("the lab has this host").uri
    }

    /// `http://address:port` of a guest itself, past the balancer.
    pub fn guest_url(&self, guest: &str) -> String {
        let guest = self.status.guests.iter().find(|known| known.name == guest);
        format!("http://{}", guest.expect("the lab has this guest").address)
    }

    /// `http://address:port` of a service, through the balancer.
    pub fn service_url(&self, service: &str) -> &str {
        let service = self
            .status
            .services
            .iter()
            .find(|known| known.name == service);
        &service.expect("the lab has this service").url
    }

    pub fn socket(&self) -> &Path {
        Path::new(
            self.status
                .haproxy_socket
                .as_deref()
                .expect("the lab has HAProxy"),
        )
    }

    /// What HAProxy answers to a command on its admin socket.
    pub fn haproxy(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).expect("HAProxy listens");
        writeln!(stream, "{command}").expect("HAProxy reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("HAProxy answers");
        answer
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if thread::panicking() {
            for log in ["haproxy", "libvirtd-primary", "libvirtd-secondary", "load"] {
                let text =
                    fs::read_to_string(self.dir.join(format!("{log}.log"))).unwrap_or_default();
                let lines: Vec<&str> = text.lines().rev().take(15).collect();
                let tail: Vec<&str> = lines.into_iter().rev().collect();
                eprintln!("--- {log}\n{}", tail.join("\n"));
            }
        }
        if let Err(problem) = lab::down(&self.dir) {
            eprintln!("{problem}");
        }
    }
}

/// Options of a lab whose load is made by the program under test.
pub fn options(dir: PathBuf) -> LabOptions {
    let mut options = LabOptions::new(dir).expect("this program knows its path");
    options.exe = PathBuf::from(env!("CARGO_BIN_EXE_shadowcast"));
    options
}

/// One answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The balancer's server that gave it.
    pub served_by: Option<String>,
}

/// Asks until there is an answer of any status; a guest under emulation may take its time.
pub fn get(url: &str) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    let asked = runtime.block_on(async {
        shadowcast::validation::prober::choose_tls();
        let client = reqwest::Client::builder()
            .pool_max_idle_per_host(0)
            .build()?;
        let answer = client
            .get(url)
            .timeout(Duration::from_secs(30))
            .send()
            .await?;
        let served_by = answer
            .headers()
            .get("x-served-by")
            .and_then(|value| value.to_str().ok())
            .map(ToOwned::to_owned);
        let status = answer.status().as_u16();
        Ok::<_, reqwest::Error>(Answer {
            status,
            body: answer.text().await?,
            served_by,
        })
    });
    asked.unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// What a guest says of its checksummed files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    pub ok: u64,
    pub bad: u64,
}

/// Reads `VALIDATE ok=… bad=… last=…` out of an answer or a console.
pub fn verified(text: &str) -> Option<Verified> {
    let line = text.lines().find(|line| line.contains("VALIDATE "))?;
    let field = |name: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name))
            .and_then(|value| value.parse().ok())
    };
    Some(Verified {
        ok: field("ok=")?,
        bad: field("bad=")?,
    })
}

/// Waits for something to become so on a real machine; fails with `what` when it does not within `limit`.
pub fn await_that<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Every living process that names `dir` in its arguments.
pub fn processes_naming(dir: &Path) -> Vec<String> {
    let dir = dir.to_string_lossy();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if pid != process::id() && line.contains(&*dir) {
            found.push(format!("{pid} {line}"));
        }
    }
    found
}
