//! The program as an operator uses it, on a data folder of its own: verbs with `--json`, and an agent beside them.
#![allow(
    dead_code,
    reason = "each test program uses the part of it that it needs"
)]

use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use shadowcast::{
    operation::{JournalRow, Outcome},
    store::journal::Journal,
    units::OperationId,
};
use tempfile::TempDir;

use crate::support::await_that;

const STARTS_WITHIN: Duration = Duration::from_secs(30);

pub struct Console {
    home: TempDir,
}

/// How a verb ended.
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Console {
    pub fn new() -> Self {
        Self {
            home: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// Engines read them when they start.
    pub fn settings(&self, toml: &str) {
        fs::write(self.home.path().join("settings.toml"), toml).expect("settings are written");
    }

    pub fn data_dir(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shadowcast"));
        command
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.home.path())
            .env("USER", "ana")
            .env("SHADOWCAST_DATA_DIR", self.data_dir())
            .env("SHADOWCAST_CONFIG", self.home.path().join("settings.toml"))
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Done {
        let output = self.command(words).output().expect("the program starts");
        Done {
            code: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
        }
    }

    #[track_caller]
    pub fn ok(&self, words: &[&str]) -> String {
        let done = self.run(words);
        assert_eq!(
            done.code, 0,
            "{words:?}\nstdout:\n{}\nstderr:\n{}",
            done.stdout, done.stderr
        );
        done.stdout
    }

    /// The document that a verb prints with `--json`.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
        let text = self.ok(&words);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error} in\n{text}"))
    }

    /// The row of a listing in which `field` is `value`.
    #[track_caller]
    pub fn row(&self, listing: &[&str], field: &str, value: &str) -> Option<Value> {
        let name = if listing[0] == "shadow" {
            "shadows"
        } else {
            listing[0]
        };
        let document = self.json(listing);
        let rows = document[name].as_array().expect("a listing");
        rows.iter().find(|row| row[field] == value).cloned()
    }

    /// Starts an engine without a window and waits until it can be asked.
    pub fn agent(&self) -> Agent {
        let log = self.home.path().join("agent.log");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .expect("a log is opened");
        let child = self
            .command(&["agent"])
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the agent starts");
        let mut agent = Agent { child, log };
        let socket = self.data_dir().join("engine.sock");
        await_that("the agent listens", STARTS_WITHIN, || {
            assert!(
                agent.child.try_wait().expect("it can be asked").is_none(),
                "the agent ended: {}",
                agent.log_tail()
            );
            UnixStream::connect(&socket).ok()
        });
        agent
    }

    fn journal(&self) -> Journal {
        Journal::open(&self.data_dir()).expect("the journal can be read")
    }

    /// Every row of the journal, read beside the engine that writes it.
    pub fn rows(&self) -> Vec<JournalRow> {
        self.journal().rows().expect("the journal can be read")
    }

    /// Waits until a row is written that `wanted` says something about; looks often, to be there when it happens.
    pub fn await_row<T>(
        &self,
        what: &str,
        limit: Duration,
        mut wanted: impl FnMut(&JournalRow) -> Option<T>,
    ) -> T {
        let journal = self.journal();
        let end = std::time::Instant::now() + limit;
        loop {
            let rows = journal.rows().expect("the journal can be read");
            if let Some(found) = rows.iter().find_map(&mut wanted) {
                return found;
            }
            let last: Vec<_> = rows.iter().rev().take(3).map(|row| &row.entry).collect();
            assert!(
                std::time::Instant::now() < end,
                "not within {limit:?}: {what}; the journal's last rows, newest first: {last:#?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for an operation's end.
    pub fn await_end(&self, operation: &OperationId, limit: Duration) -> Outcome {
        let mut last = Value::Null;
        let outcome = await_that_shown(
            &format!("{operation} has ended"),
            limit,
            || {
                last = self
                    .row(&["operations"], "id", operation.as_str())
                    .unwrap_or_default();
                match last["state"].as_str() {
                    Some("done") => Some(Outcome::Done),
                    Some("undone") => Some(Outcome::Undone),
                    Some("parked" | "failed") => panic!("{last:#}"),
                    _ => None,
                }
            },
            || self.run(&["operation", operation.as_str()]).stdout,
        );
        crate::support::show(&format!("{operation}: {outcome:?} {}", last["why"]));
        outcome
    }

    #[track_caller]
    pub fn shadow(&self, id: &str) -> Value {
        self.json(&["shadow", "show", id])
    }
}

/// As [`await_that`], and says on failure what `seen` shows then.
pub fn await_that_shown<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Option<T>,
    seen: impl FnOnce() -> String,
) -> T {
    let end = std::time::Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            std::time::Instant::now() < end,
            "not within {limit:?}: {what}\nlast seen:\n{}",
            seen()
        );
        thread::sleep(Duration::from_millis(200));
    }
}

/// An engine in a process of its own, which ends with the test at the latest.
pub struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// SIGKILL: no line of ours runs after it.
    pub fn kill(mut self) {
        self.end().expect("the agent is killed");
    }

    /// SIGTERM, as a service manager ends it.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}: {}", self.log_tail());
    }

    fn end(&mut self) -> io::Result<process::ExitStatus> {
        self.child.kill()?;
        self.child.wait()
    }

    fn log_tail(&self) -> String {
        tail(&self.log, 40)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- agent\n{}", self.log_tail());
        }
        // It may have ended already.
        let _ = self.end();
    }
}

fn tail(file: &Path, lines: usize) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
