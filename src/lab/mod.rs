//! The lab: two real libvirt hosts, guests, HAProxy and load on this machine.
//!
//! ```text
//!  load ──> HAProxy ──> shop-1, search-1, ledger-1     primary:   libvirtd, pools images and spool
//!              ▲                                       secondary: libvirtd, pool shadow
//!              └── admin socket
//! ```
//!
//! Invariants: everything lies in one folder, whose `lab.json` names every process before it is waited for; a process
//! is only signalled while pid and start time are the recorded ones, a QEMU only when its arguments name the folder;
//! the two hosts share no folder that one of them writes; every wait has an end.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::process::getuid;

use crate::{problem::Problem, units::Timestamp};

mod balancer;
mod calibrate;
mod catalogue;
mod curve;
mod guest;
mod history;
mod host;
mod http;
mod initramfs;
mod layout;
mod lifecycle;
mod load;
mod preflight;
mod process;
mod record;
mod status;

pub use lifecycle::{down, up};
pub use load::{LoadState, ServiceLoad, Surge};
pub use status::{LabGuest, LabHost, LabService, LabStatus};

use layout::{Layout, write_whole};
use record::Record;

/// Brings `shop-1` to its limit at any hour.
pub const DEFAULT_SURGE: f64 = 4.5;

/// What kind of lab is wanted.
#[derive(Clone, Debug)]
pub struct LabOptions {
    pub dir: PathBuf,
    /// At least three: one for each service. A lab that is there already keeps what it has.
    pub guests: u8,
    pub seed: u64,
    /// One more guest, on a qcow2 disk of compatibility level 0.10, which cannot hold dirty bitmaps.
    pub old_disk: bool,
    /// The program that runs `lab load --dir DIR`.
    pub exe: PathBuf,
    /// Kept between labs: what libvirt found out about QEMU.
    pub cache_dir: PathBuf,
}

impl LabOptions {
    /// Three guests, load by this very program.
    ///
    /// # Errors
    /// When this program's path is not known.
    pub fn new(dir: impl Into<PathBuf>) -> io::Result<Self> {
        let cache_dir = directories::ProjectDirs::from("", "", "shadowcast").map_or_else(
            || env::temp_dir().join("shadowcast-cache"),
            |dirs| dirs.cache_dir().to_owned(),
        );
        Ok(Self {
            dir: dir.into(),
            guests: 3,
            seed: 1,
            old_disk: false,
            exe: env::current_exe()?,
            cache_dir,
        })
    }
}

/// A short folder of the user's own; UNIX socket paths leave no room for a long one.
pub fn default_dir() -> PathBuf {
    PathBuf::from(format!("/tmp/sc-lab-{}", getuid().as_raw()))
}

/// The programs and files that a lab needs are here.
///
/// # Errors
/// Names what is missing and how to install it.
pub fn preflight() -> Result<(), Problem> {
    preflight::tools().map(drop)
}

/// The same for a lab that runs, that runs in part, or that is not there.
///
/// # Errors
/// When the lab's files cannot be read.
pub fn status(dir: &Path) -> Result<LabStatus, Problem> {
    status::of(&Layout::new(dir))
}

/// Raises the load of `shop` by (factor - 1) daily peaks, for a while or until it is set to 1 again.
///
/// # Errors
/// When the factor makes no sense or no lab runs in `dir`.
pub fn surge(dir: &Path, factor: f64, for_seconds: Option<u64>) -> Result<(), Problem> {
    let refuse = |why: String, next: &str| Problem::usage("The load was not changed.", why, next);
    if !(factor.is_finite() && (0.0..=20.0).contains(&factor)) {
        return Err(refuse(
            format!("{factor} is not a factor between 0 and 20."),
            "Give --factor 4.5, or 1 for the usual load.",
        ));
    }
    let layout = Layout::new(dir);
    let runs = Record::load(&layout)?.is_some_and(|record| record.running(load::PROCESS).is_some());
    if !runs {
        return Err(Problem::failed(
            "The load was not changed.",
            format!("No lab runs in {}.", dir.display()),
            "Start one with `shadowcast lab up`.",
        ));
    }
    let until = for_seconds
        .map(|seconds| now().plus_secs(i64::try_from(seconds).unwrap_or(i64::MAX / 2000)));
    let surge = Surge { factor, until };
    serde_json::to_vec(&surge)
        .map_err(io::Error::other)
        .and_then(|json| write_whole(&layout.surge(), &json))
        .map_err(|error| {
            Problem::failed(
                "The load was not changed.",
                format!("{}: {error}", layout.surge().display()),
                "Make room and try again.",
            )
        })
}

/// What the load generator of the lab in `dir` does; `None` before its first second.
///
/// # Errors
/// When its state cannot be read.
pub fn load_state(dir: &Path) -> Result<Option<LoadState>, Problem> {
    load::state(&Layout::new(dir)).map_err(|error| {
        Problem::failed(
            "The state of the lab's load could not be read.",
            error.to_string(),
            "Run `shadowcast lab down`, then `shadowcast lab up`.",
        )
    })
}

/// The body of the load generator: runs until the lab is gone or the process is ended.
///
/// # Errors
/// When there is no lab in `dir`.
pub fn run_load(dir: &Path) -> Result<(), Problem> {
    load::run(&Layout::new(dir))
}

/// Two weeks of history of the guests as CSV `vm,metric,at,value`; returns the number of rows.
///
/// # Errors
/// When there is no lab in `dir` or `out` cannot be written.
pub fn history_csv(dir: &Path, out: impl Write, now: Timestamp) -> Result<u64, Problem> {
    history::write_csv(&Layout::new(dir), out, now)
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}
