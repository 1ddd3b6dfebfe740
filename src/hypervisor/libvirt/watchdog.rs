//! Thaws a guest whose engine died between freeze and thaw.
//!
//! The watchdog is a process of its own with its own connection, opened before the freeze. It thaws when its time
//! is up, or at once when the engine's end of the pipe closes without a word.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use super::{
    address::Address,
    raw,
    worker::{self, Link},
};
use crate::{hypervisor::PlatformError, units::SourceName};

/// How long a guest stays frozen at most.
const AFTER: Duration = Duration::from_secs(10);
const READY: &str = "ready";
const DISMISSED: u8 = b'.';

static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Names the program that has the `watchdog` verb, where it is not the running one.
pub fn use_program(path: PathBuf) {
    // Whoever comes first wins: there is one program.
    let _already_named = PROGRAM.set(path);
}

/// The watchdog's own work, `shadowcast watchdog thaw --uri URI --uuid UUID --after SECONDS`.
///
/// # Errors
/// When the host cannot be reached or the agent does not thaw.
pub fn run_watchdog(uri: &str, uuid: &str, after: Duration) -> Result<(), PlatformError> {
    let source = SourceName::from("watchdog");
    let connect = worker::open(&source, &Address::parse(uri)?)?;
    let link = Link::new(connect, &source);
    let domain = link.domain(uuid)?;
    // Whether the engine still listens shows on its pipe soon enough.
    let _engine_gone = writeln!(std::io::stdout(), "{READY}");

    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut byte = [0_u8];
        let dismissed = matches!(std::io::stdin().read(&mut byte), Ok(1)) && byte[0] == DISMISSED;
        // The main thread may be thawing already.
        let _too_late = tell.send(dismissed);
    });
    if told.recv_timeout(after) == Ok(true) {
        return Ok(());
    }
    raw::fs_thaw(&domain)
        .map(|_| ())
        .map_err(link.during(format!("thaw VM {uuid}")))
}

/// A running watchdog, ready to thaw.
pub struct Watchdog {
    child: Child,
}

impl Watchdog {
    /// Starts it and waits until it is connected.
    pub fn start(uri: &str, uuid: &str) -> Result<Self, PlatformError> {
        let failed = |message: String| PlatformError::Failed {
            what: "start the watchdog that thaws the guest".to_owned(),
            message,
        };
        let program = match PROGRAM.get() {
            Some(program) => program.clone(),
            None => std::env::current_exe().map_err(|error| failed(error.to_string()))?,
        };
        let seconds = AFTER.as_secs().to_string();
        let mut command = Command::new(program);
        command
            .args(["watchdog", "thaw", "--uri", uri, "--uuid", uuid])
            .args(["--after", &seconds])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // Its own process group: what ends the engine at a terminal must not end it as well.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let (tell, told) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let mut line = String::new();
                let read = BufReader::new(stdout.take(64)).read_line(&mut line);
                // Nobody waits any more after the deadline.
                let _too_late = tell.send(read.is_ok() && line.trim_end() == READY);
            });
        }
        let mut watchdog = Self { child };
        if told.recv_timeout(AFTER) == Ok(true) {
            return Ok(watchdog);
        }
        watchdog.end();
        Err(failed("it does not get ready".to_owned()))
    }

    /// The guest is thawed. Without this word the watchdog thaws it.
    pub fn dismiss(mut self) {
        if let Some(mut stdin) = self.child.stdin.take()
            && let Err(error) = stdin.write_all(&[DISMISSED])
        {
            tracing::debug!(%error, "the watchdog is already gone");
        }
        self.reap();
    }

    fn end(&mut self) {
        if let Err(error) = self.child.kill() {
            tracing::debug!(%error, "the watchdog is already gone");
        }
        self.reap();
    }

    fn reap(&mut self) {
        if let Err(error) = self.child.wait() {
            tracing::debug!(%error, "the watchdog is already gone");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        // Closes the pipe first, or it would be waited for in vain.
        drop(self.child.stdin.take());
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        self.reap();
    }
}
