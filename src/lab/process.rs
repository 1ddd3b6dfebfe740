//! Processes that outlive the verb that started them: known by pid and start time, so that a recycled pid is never hit.

use std::{
    fs,
    io::{self, ErrorKind},
    os::fd::OwnedFd,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid},
};
use serde::{Deserialize, Serialize};

/// One life of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub pid: i32,
    /// Clock ticks since boot at which it started; tells it from a later process with the same pid.
    pub started_ticks: u64,
}

impl Identity {
    /// The process that has `pid` now; `None` when there is none or it has ended.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command's name stands in brackets and may hold anything, brackets included.
        let (_, fields) = stat.rsplit_once(") ")?;
        let mut fields = fields.split(' ');
        let state = fields.next()?;
        if state == "Z" || state == "X" {
            return None;
        }
        let started_ticks = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started_ticks })
    }

    pub fn is_alive(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }

    /// Asks it to end, and ends it when `grace` has passed. A process that is gone is no error.
    ///
    /// # Errors
    /// When it may not be signalled, or lives on after a SIGKILL.
    pub fn stop(&self, grace: Duration) -> io::Result<()> {
        let Some(handle) = self.open()? else {
            return Ok(());
        };
        for (signal, limit) in [
            (Signal::TERM, grace),
            (Signal::KILL, Duration::from_secs(10)),
        ] {
            match pidfd_send_signal(&handle, signal) {
                Err(rustix::io::Errno::SRCH) => return Ok(()),
                other => other?,
            }
            if wait_for_end(&handle, limit)? {
                self.reap();
                return Ok(());
            }
        }
        Err(io::Error::new(
            ErrorKind::TimedOut,
            format!("process {} does not end", self.pid),
        ))
    }

    /// A handle on this very process: taken first, compared after, so that no other one can slip in between.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(self.is_alive().then_some(handle))
    }

    /// Collects the ended process where it is a child of ours; it is none where another verb started it.
    fn reap(&self) {
        if let Some(pid) = Pid::from_raw(self.pid) {
            let _not_our_child = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

fn wait_for_end(handle: &OwnedFd, limit: Duration) -> io::Result<bool> {
    let end = Instant::now() + limit;
    loop {
        let left = Timespec::try_from(end.saturating_duration_since(Instant::now()))
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error.to_string()))?;
        let mut fds = [PollFd::new(handle, PollFlags::IN)];
        match poll(&mut fds, Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Starts `command` in a session of its own with its output in `log`.
///
/// `setsid` and `setpriv` replace themselves by what they start, so the pid is the program's.
///
/// # Errors
/// When the log or the program cannot be opened.
pub fn start_detached(command: &mut Command, log: &Path) -> io::Result<Identity> {
    let output = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    Identity::of(pid).ok_or_else(|| io::Error::other("it ended at once"))
}

/// All living processes of which `wants` likes the arguments.
pub fn find(wants: impl Fn(&[&str]) -> bool) -> Vec<Identity> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter_map(|pid| {
            let identity = Identity::of(pid)?;
            let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line);
            let arguments: Vec<&str> = line.split('\0').collect();
            wants(&arguments).then_some(identity)
        })
        .collect()
}

/// Waits until `probe` finds something, looking every 50 ms.
pub fn wait_until<T>(limit: Duration, mut probe: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = probe() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> Identity {
        let log = tempfile::NamedTempFile::new().unwrap();
        start_detached(Command::new("sleep").arg("600"), log.path()).unwrap()
    }

    #[test]
    fn a_process_is_stopped_once() {
        let identity = sleeper();
        assert!(identity.is_alive());
        identity.stop(Duration::from_secs(5)).unwrap();
        assert!(!identity.is_alive());
        identity.stop(Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn a_recycled_pid_is_left_alone() {
        let identity = sleeper();
        let earlier = Identity {
            pid: identity.pid,
            started_ticks: identity.started_ticks - 1,
        };
        earlier.stop(Duration::from_secs(1)).unwrap();
        assert!(identity.is_alive());
        identity.stop(Duration::from_secs(5)).unwrap();
    }

    #[test]
    fn one_that_ignores_the_request_is_ended() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]);
        let identity = start_detached(&mut command, log.path()).unwrap();
        let ready = wait_until(Duration::from_secs(20), || {
            (fs::read_to_string(log.path()).ok()? == "ready\n").then_some(())
        });
        assert!(ready.is_some());
        identity.stop(Duration::from_millis(100)).unwrap();
        assert!(!identity.is_alive());
    }
}
