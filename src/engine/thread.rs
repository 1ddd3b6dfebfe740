//! Starts the engine on its thread, or attaches to the one that already runs on the same data folder.

use std::{
    fs::{self, File, OpenOptions as FileOptions, Permissions, TryLockError},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::{mpsc, oneshot, watch};

use super::{
    OpenOptions,
    core::{Core, Input, Kept, SettingsText, SourceConfig, SourceRole},
    handle::{Handle, Request},
    remote,
    shell::Shell,
    snapshot::Snapshot,
};
use crate::{
    hypervisor::{
        Claim,
        simulated::{Clock, Fleet, FleetSpec, RealClock},
    },
    policy::Settings,
    problem::Problem,
    store::{
        journal::{Journal, Kind},
        settings::SettingsFile,
    },
    units::EngineId,
    validation::{Prober, prober::NetworkProber},
};

const LOCK_FILE: &str = "engine.lock";
const QUEUE: usize = 1024;
const TICK: Duration = Duration::from_millis(500);
/// At most this many snapshots a second, whatever happens.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
/// Ages and lags grow without news; while anything has one, a snapshot a second shows it.
const PUBLISH_AGES_EVERY: Duration = Duration::from_secs(1);
const EVENTS_KEPT: u32 = 500;
/// After so long without a sign of life another console may change this one's hosts.
const LEASE_STALE: Duration = Duration::from_mins(1);
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// A running engine, or the connection to one; an engine in this process stops when this is dropped.
pub struct Session {
    pub handle: Handle,
    /// The engine runs in another process.
    pub attached: bool,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An engine that has ended by itself needs no stopping.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the engine's thread ended in a panic");
        }
    }
}

/// Attaches to the engine that holds the data folder, or starts one in this process.
///
/// # Errors
/// When the data folder or the settings cannot be used.
pub fn open(options: &OpenOptions) -> Result<Session, Problem> {
    prepare_folder(&options.data_dir)?;
    match lock(&options.data_dir)? {
        Some(lock) => start(options, lock),
        None => remote::attach(&options.data_dir).map(|handle| Session {
            handle,
            attached: true,
            stop: None,
            thread: None,
        }),
    }
}

/// Starts an engine that others attach to, and runs until it is told to stop by SIGTERM or SIGINT.
///
/// # Errors
/// When another engine holds the data folder, or the data folder cannot be used.
pub fn serve(options: &OpenOptions) -> Result<(), Problem> {
    prepare_folder(&options.data_dir)?;
    let Some(lock) = lock(&options.data_dir)? else {
        return Err(Problem::refused(
            "The engine was not started.",
            "another engine runs on this data folder",
            "Use that one, or name another folder with --data-dir.",
        ));
    };
    let session = start(options, lock)?;
    let until_told = async {
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        let mut int = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        std::io::Result::Ok(())
    };
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| runtime.block_on(until_told))
        .map_err(|error| unusable(&options.data_dir, &error))?;
    drop(session);
    Ok(())
}

fn start(options: &OpenOptions, lock: File) -> Result<Session, Problem> {
    let settings_file = SettingsFile::new(&options.settings_file);
    let (settings, text) = read_settings(&settings_file)?;
    let folder = options.data_dir.clone();
    let clock: Arc<dyn Clock> = Arc::new(RealClock);
    let fleet = options
        .demo
        .as_ref()
        .map(|demo| Fleet::new(FleetSpec::demo(demo.vms, demo.seed), clock.clone()));
    let journal = Journal::open(&folder).map_err(|error| unusable(&folder, &error))?;
    let engine = engine_id(&journal).map_err(|error| unusable(&folder, &error))?;
    let kept = Kept {
        settings_file: text,
        ..load(&journal, fleet.as_ref()).map_err(|error| unusable(&folder, &error))?
    };
    let seed = u64::from_le_bytes(
        uuid::Uuid::new_v4().as_bytes()[..8]
            .try_into()
            .unwrap_or_default(),
    );
    let core = Core::new(
        engine.clone(),
        settings.clone(),
        fleet.is_some(),
        seed,
        kept,
    );

    let (inputs, inbox) = mpsc::channel(QUEUE);
    let (requests, asked) = mpsc::channel(QUEUE);
    let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let (stop, stopped) = oneshot::channel();
    let prober: Arc<dyn Prober> = match &fleet {
        Some(fleet) => fleet.prober(),
        None => Arc::new(NetworkProber),
    };
    let handle = Handle::new(snapshots.clone(), requests.clone());
    let shell = Shell::new(
        Claim {
            engine,
            console: console(&folder),
            stale: LEASE_STALE,
        },
        journal,
        folder.clone(),
        &settings,
        settings_file,
        clock,
        prober,
        fleet,
        inputs,
    )
    .map_err(|error| unusable(&folder, &error))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .thread_name("engine-io")
        .build()
        .map_err(|error| unusable(&folder, &error))?;
    let faces = {
        let _inside = runtime.enter();
        remote::listen(&folder, snapshots, requests)?
    };
    let thread = std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            let worker = Worker {
                core,
                shell,
                inbox,
                asked,
                publish,
                stopped,
            };
            runtime.block_on(worker.run());
            drop(faces);
            // Slow effects are left where they are: the journal knows of them.
            runtime.shutdown_background();
            drop(lock);
        })
        .map_err(|error| unusable(&folder, &error))?;
    Ok(Session {
        handle,
        attached: false,
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// The one owner of all state.
struct Worker {
    core: Core,
    shell: Shell,
    inbox: mpsc::Receiver<Input>,
    asked: mpsc::Receiver<Request>,
    publish: watch::Sender<Arc<Snapshot>>,
    stopped: oneshot::Receiver<()>,
}

impl Worker {
    async fn run(mut self) {
        self.shell.take(&mut self.core, Input::Started);
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut published = Instant::now();
        self.publish_now();
        let mut dirty = false;
        loop {
            let wait = PUBLISH_EVERY.saturating_sub(published.elapsed());
            tokio::select! {
                _ = &mut self.stopped => {
                    self.shell.release_leases(RELEASE_LIMIT).await;
                    return;
                }
                Some(input) = self.inbox.recv() => {
                    self.shell.take(&mut self.core, input);
                    dirty = true;
                }
                Some(request) = self.asked.recv() => {
                    let to = self.shell.expect_reply(request.reply);
                    let command = request.command;
                    self.shell.take(&mut self.core, Input::Command { to, command });
                    dirty = true;
                }
                _ = ticks.tick() => {
                    self.shell.take(&mut self.core, Input::Tick);
                    dirty |= self.core.changed_by_tick()
                        || (self.core.has_ages() && published.elapsed() >= PUBLISH_AGES_EVERY);
                }
                () = tokio::time::sleep(wait), if dirty => {
                    self.publish_now();
                    published = Instant::now();
                    dirty = false;
                }
            }
        }
    }

    fn publish_now(&mut self) {
        let snapshot = self.core.snapshot(self.shell.clock.now());
        self.publish.send_replace(Arc::new(snapshot));
    }
}

fn prepare_folder(folder: &Path) -> Result<(), Problem> {
    fs::create_dir_all(folder)
        .and_then(|()| fs::set_permissions(folder, Permissions::from_mode(0o700)))
        .map_err(|error| unusable(folder, &error))
}

/// `None` while another process holds it. The lock goes with the process, however it ends.
fn lock(folder: &Path) -> Result<Option<File>, Problem> {
    let file = FileOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(folder.join(LOCK_FILE))
        .map_err(|error| unusable(folder, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unusable(folder, &error)),
    }
}

fn read_settings(file: &SettingsFile) -> Result<(Settings, SettingsText), Problem> {
    let name = file.path().display().to_string();
    let text = file.open().map_err(|error| {
        Problem::failed(
            "The engine was not started.",
            format!("{name}: {error}"),
            "Make it a text file that can be read, or name another with --config.",
        )
    })?;
    let settings = Settings::parse(&text, &name)?;
    Ok((settings, SettingsText { name, text }))
}

/// This machine and data folder, for those who find our lease.
fn console(folder: &Path) -> String {
    let machine = rustix::system::uname();
    let folder = folder
        .canonicalize()
        .unwrap_or_else(|_| folder.to_path_buf());
    format!(
        "{}:{}",
        machine.nodename().to_string_lossy(),
        folder.display()
    )
}

fn engine_id(journal: &Journal) -> Result<EngineId, crate::store::StoreError> {
    if let Some(id) = journal.all::<EngineId>(Kind::Engine)?.into_iter().next() {
        return Ok(id);
    }
    let id = EngineId(uuid::Uuid::new_v4().simple().to_string());
    journal.put(Kind::Engine, "id", &id)?;
    Ok(id)
}

fn load(journal: &Journal, fleet: Option<&Fleet>) -> Result<Kept, crate::store::StoreError> {
    if let Some(fleet) = fleet {
        // A simulated fleet begins anew with each start: what was kept of an earlier one has nothing to stand on.
        return Ok(demo_sources(fleet));
    }
    Ok(Kept {
        frozen: journal.frozen()?,
        sources: journal.all(Kind::Source)?,
        services: journal.all(Kind::Service)?,
        proposals: journal.all(Kind::Proposal)?,
        manifests: journal.all(Kind::Manifest)?,
        proofs: journal.all(Kind::Proof)?,
        calendar: journal.all(Kind::Calendar)?,
        reserved: journal.all(Kind::Reserved)?,
        rows: journal.rows()?,
        events: journal.events(EVENTS_KEPT)?,
        ..Kept::default()
    })
}

fn demo_sources(fleet: &Fleet) -> Kept {
    let mut sources: Vec<SourceConfig> = fleet
        .sources()
        .into_iter()
        .map(|(name, role)| SourceConfig {
            uri: format!("simulated://{name}"),
            name,
            kind: SourceRole::Hypervisor(role),
            armed: true,
            last_backfill: None,
        })
        .collect();
    let director = fleet.director_name();
    sources.push(SourceConfig {
        uri: format!("simulated://{director}"),
        name: director,
        kind: SourceRole::Balancer,
        armed: true,
        last_backfill: None,
    });
    Kept {
        sources,
        services: fleet.services(),
        calendar: fleet.calendar(),
        ..Kept::default()
    }
}

fn unusable(path: &Path, error: &dyn std::fmt::Display) -> Problem {
    Problem::failed(
        "The engine was not started.",
        format!("{}: {error}", path.display()),
        "Check that the folder can be written and has space, or name another with --data-dir.",
    )
}
