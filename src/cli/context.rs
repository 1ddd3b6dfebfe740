//! What every verb gets: which engine, and whose hands are on it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::{Args, ValueEnum};
use directories::ProjectDirs;
use tracing_subscriber::EnvFilter;

use super::output;
use crate::{
    engine::{
        DemoOptions, OpenOptions,
        command::{Answer, Command},
        handle::Handle,
        snapshot::Snapshot,
        thread::{self, Session},
    },
    problem::Problem,
};

/// An engine with news publishes at least this often.
const PUBLISHED_WITHIN: Duration = Duration::from_millis(300);

/// Flags that stand before or after any verb.
#[derive(Args)]
pub struct Global {
    /// The data folder; one engine works on it at a time
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SHADOWCAST_DATA_DIR",
        help_heading = "Global"
    )]
    data_dir: Option<PathBuf>,
    /// The settings file; written with its defaults where it is not there
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "SHADOWCAST_CONFIG",
        help_heading = "Global"
    )]
    config: Option<PathBuf>,
    /// What is logged to stderr
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        default_value = "warn",
        env = "SHADOWCAST_LOG",
        help_heading = "Global"
    )]
    log: LogLevel,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The built-in simulated fleet, in its own data folder.
#[derive(Args)]
pub struct Demo {
    /// Work on a simulated fleet, in a data folder of its own
    #[arg(long = "demo", id = "demo")]
    wanted: bool,
    /// How many VMs the simulated fleet has [default: 10000]
    #[arg(long, value_name = "N", requires = "demo", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    vms: Option<u32>,
    /// What the simulated fleet grows from [default: 1]
    #[arg(long, value_name = "N", requires = "demo")]
    seed: Option<u64>,
}

impl Demo {
    fn options(&self) -> Option<DemoOptions> {
        let usual = DemoOptions::default();
        self.wanted.then(|| DemoOptions {
            vms: self.vms.unwrap_or(usual.vms),
            seed: self.seed.unwrap_or(usual.seed),
        })
    }
}

/// The engine that the verb works on.
pub struct Context {
    /// Some verbs need no folder, so that none can be found is told only to those that do.
    options: Result<OpenOptions, Problem>,
}

impl Context {
    /// Starts logging and finds the folders.
    pub fn new(global: &Global, demo: &Demo) -> Self {
        start_log(global.log);
        Self {
            options: Self::find(global, demo),
        }
    }

    fn find(global: &Global, demo: &Demo) -> Result<OpenOptions, Problem> {
        let demo = demo.options();
        let data_dir = match (&global.data_dir, &demo) {
            (Some(dir), None) => dir.clone(),
            // Invented VMs never share a folder with real ones.
            (Some(dir), Some(_)) => dir.join("demo"),
            (None, _) => folders(demo.is_some())?.data_dir().to_owned(),
        };
        let settings_file = match &global.config {
            Some(file) => file.clone(),
            None => folders(demo.is_some())?.config_dir().join("settings.toml"),
        };
        Ok(OpenOptions {
            data_dir,
            settings_file,
            demo,
        })
    }

    pub fn options(&self) -> Result<&OpenOptions, Problem> {
        self.options.as_ref().map_err(Clone::clone)
    }

    pub fn open(&self) -> Result<Session, Problem> {
        thread::open(self.options()?)
    }

    /// An engine that has read every source once, and what it knows.
    pub fn settled(&self) -> Result<(Session, Arc<Snapshot>), Problem> {
        let session = self.open()?;
        let snapshot = settle(&session.handle)?;
        Ok((session, snapshot))
    }
}

/// Waits until every source has been read once.
pub fn settle(handle: &Handle) -> Result<Arc<Snapshot>, Problem> {
    let waiting = output::spinner("reading the sources");
    let answer = handle.ask(Command::Settle);
    waiting.finish_and_clear();
    answer?;
    let snapshot = newest(handle);
    output::alarms(&snapshot);
    Ok(snapshot)
}

/// The engine publishes a moment after it answers, so the snapshot in hand may be the one before.
fn newest(handle: &Handle) -> Arc<Snapshot> {
    let known = handle.snapshot();
    handle
        .wait_for(PUBLISHED_WITHIN, |now| now.version > known.version)
        .unwrap_or(known)
}

/// Asks for something whose answer is a sentence.
pub fn ask_and_say(handle: &Handle, command: Command) -> Result<(), Problem> {
    match handle.ask(command)? {
        Answer::Done { text } => output::line(&text),
        other => Err(unexpected(&other)),
    }
}

/// The engine answered something else than what was asked: two versions that do not fit.
pub fn unexpected(answer: &Answer) -> Problem {
    let kind = match answer {
        Answer::Done { .. } => "a sentence",
        Answer::Started { .. } => "an operation",
        Answer::Event { .. } => "an event",
        Answer::EventReport { .. } => "what an event did",
        Answer::Examined { .. } => "an examination",
        Answer::Settings { .. } => "the settings",
        Answer::SettingsPreview { .. } => "what settings would change",
        Answer::Imported { .. } => "an import",
        Answer::Backfilled { .. } => "a back-fill",
        Answer::HistoryStats { .. } => "what the history holds",
        Answer::HistoryVerified { .. } => "a check of the history",
        Answer::Proposal { .. } => "a proposal",
        Answer::VmDetail { .. } => "a VM's detail",
        Answer::History { .. } => "history",
        Answer::ForecastRecord { .. } => "a record of forecasts",
        Answer::Runway { .. } => "a runway",
        Answer::Journal { .. } => "a journal",
        Answer::Proofs { .. } => "proofs",
    };
    Problem::failed(
        "The engine's answer cannot be shown.",
        format!("It answered with {kind}, which this command did not ask for."),
        "Restart the running engine, so that it is of the same version as this command.",
    )
}

/// Who decides, as the journal shows it: the account's name.
pub fn operator() -> String {
    std::env::var("USER")
        .ok()
        .filter(|user| !user.trim().is_empty())
        .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw()))
}

fn folders(demo: bool) -> Result<ProjectDirs, Problem> {
    let name = if demo {
        "shadowcast-demo"
    } else {
        "shadowcast"
    };
    ProjectDirs::from("", "", name).ok_or_else(|| {
        Problem::usage(
            "Nothing was opened.",
            "There is no home folder to keep data in.",
            "Set HOME, or give --data-dir and --config.",
        )
    })
}

fn start_log(level: LogLevel) {
    let filter = match level {
        LogLevel::Off => "off",
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "warn,shadowcast=info",
        LogLevel::Debug => "warn,shadowcast=debug",
        LogLevel::Trace => "warn,shadowcast=trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_ansi(output::colours_on_stderr())
        .init();
}
