//! A lab on its way up and down.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    process::Command,
    time::Duration,
};

use super::{
    LabOptions, balancer, calibrate, catalogue, guest, host, http, initramfs,
    layout::{Layout, RunAs},
    load, preflight, process,
    record::{PRIMARY, Record},
    status::{self, LabStatus},
};
use crate::problem::Problem;

/// Brings up whatever of the lab does not run. A new lab that fails is taken down again.
///
/// # Errors
/// What did not start, why, and what to do.
pub fn up(options: &LabOptions, progress: &dyn Fn(&str)) -> Result<LabStatus, Problem> {
    if options.guests < 3 || options.guests > 12 {
        return Err(Problem::usage(
            "The lab was not started.",
            format!("{} guests are asked for; it takes 3 to 12.", options.guests),
            "Give --guests 3.",
        ));
    }
    let tools = preflight::tools()?;
    let run_as = RunAs::choose();
    preflight::folder(&options.dir, run_as)?;
    let layout = Layout::new(&options.dir);
    let made = |error: io::Error| {
        Problem::failed(
            "The lab was not started.",
            format!("{}: {error}", options.dir.display()),
            "Give another folder with --dir.",
        )
    };
    make_folder(&layout).map_err(made)?;
    let _lock = lock(&layout)?;
    let known = Record::load(&layout)?;
    let is_new = known.is_none();
    let record = match known {
        Some(record) => record,
        None => catalogue::plan(options.guests, options.old_disk, options.seed).map_err(made)?,
    };
    let mut building = Building {
        layout: &layout,
        tools: &tools,
        run_as,
        options,
        record,
        progress,
        started: Vec::new(),
    };
    building.record.save(&layout)?;
    if let Err(problem) = building.bring_up() {
        progress("taking down what was started");
        let undone = if is_new {
            take_down(&layout)
        } else {
            building.stop_started()
        };
        return Err(match undone {
            Ok(()) => problem,
            Err(left) => Problem {
                why: format!("{}; {} {}", problem.why, left.what, left.why),
                ..problem
            },
        });
    }
    if building.started.is_empty() {
        progress("the lab is already up");
    }
    status::of(&layout)
}

/// Ends every process of the lab and removes its folder. No lab is no error.
///
/// # Errors
/// When the folder holds no lab, or something of it cannot be ended or removed.
pub fn down(dir: &Path) -> Result<(), Problem> {
    let layout = Layout::new(dir);
    if !dir.exists() {
        return Ok(());
    }
    let only_locked = layout.lock().exists() && preflight::is_unused(dir);
    if Record::load(&layout)?.is_none() && !only_locked {
        return Err(Problem::refused(
            "The lab was not taken down.",
            format!("{} holds no lab.", dir.display()),
            "Give the lab's folder with --dir.",
        ));
    }
    let _lock = lock(&layout)?;
    take_down(&layout)
}

fn make_folder(layout: &Layout) -> io::Result<()> {
    match fs::DirBuilder::new().mode(0o755).create(&layout.dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => fs::set_permissions(&layout.dir, fs::Permissions::from_mode(0o755)),
    }
}

/// One verb at a time changes a lab.
fn lock(layout: &Layout) -> Result<fs::File, Problem> {
    let refused = |why: String| {
        Problem::refused(
            "The lab was not changed.",
            why,
            "Wait until the other `shadowcast lab` has ended.",
        )
    };
    let file = fs::File::create(layout.lock())
        .map_err(|error| refused(format!("{}: {error}", layout.lock().display())))?;
    file.try_lock()
        .map_err(|error| refused(format!("{}: {error}", layout.lock().display())))?;
    Ok(file)
}

/// A lab on its way up: each step makes something so that is not so yet.
struct Building<'a> {
    layout: &'a Layout,
    tools: &'a preflight::Tools,
    run_as: RunAs,
    options: &'a LabOptions,
    record: Record,
    progress: &'a dyn Fn(&str),
    started: Vec<process::Identity>,
}

impl Building<'_> {
    fn bring_up(&mut self) -> Result<(), Problem> {
        if !self.layout.initramfs().exists() {
            (self.progress)("building the guests' image");
            initramfs::build(self.layout, self.tools)?;
        }
        self.ensure_hosts()?;
        if guest::ensure_started(self.layout, self.tools, self.run_as, &self.record)? {
            (self.progress)("waiting until the guests serve");
        }
        let client = http::Client::new()?;
        guest::wait_serving(self.layout, &self.record, &client)?;
        if self.record.running(balancer::PROCESS).is_none() {
            (self.progress)("starting HAProxy");
            balancer::start(
                self.layout,
                self.tools,
                self.run_as,
                &mut self.record,
                &client,
            )?;
            self.note_started(balancer::PROCESS);
        }
        if self
            .record
            .guests
            .iter()
            .any(|guest| guest.calibration.is_none())
        {
            (self.progress)("measuring what a request costs the guests");
            calibrate::run(self.layout, &mut self.record)?;
        }
        if self.record.running(load::PROCESS).is_none() {
            (self.progress)("starting the load");
            self.start_load()?;
        }
        Ok(())
    }

    fn ensure_hosts(&mut self) -> Result<(), Problem> {
        let cache = self.options.cache_dir.join("libvirt");
        for host in self.record.hosts.clone() {
            let name = host::process_name(&host.name);
            if self.record.running(&name).is_some() {
                continue;
            }
            (self.progress)(&format!("starting the host {}", host.name));
            let (layout, record, started) = (self.layout, &mut self.record, &mut self.started);
            host::start(layout, self.tools, self.run_as, &host, &cache, |identity| {
                started.push(identity.clone());
                record.started(layout, &name, identity)
            })?;
            // The second host starts from what the first has learnt.
            if host.name == PRIMARY {
                host::learn_capabilities(self.layout, &host.name, &cache)?;
            }
            host::ensure_pools(self.layout, &host.name)?;
        }
        Ok(())
    }

    fn start_load(&mut self) -> Result<(), Problem> {
        let not_started = |why: String| {
            Problem::failed(
                "The lab's load was not started.",
                why,
                "Run `shadowcast lab down`, then `shadowcast lab up`.",
            )
        };
        let log = self.layout.log(load::PROCESS);
        let mut command = Command::new("setsid");
        command
            .arg(&self.options.exe)
            .args(["lab", "load", "--dir"])
            .arg(&self.layout.dir)
            .current_dir("/");
        let before = load::state(self.layout).map_err(|error| not_started(error.to_string()))?;
        let identity = process::start_detached(&mut command, &log)
            .map_err(|error| not_started(format!("{}: {error}", self.options.exe.display())))?;
        self.record
            .started(self.layout, load::PROCESS, identity.clone())?;
        self.note_started(load::PROCESS);
        let sends = process::wait_until(Duration::from_secs(30), || {
            let state = load::state(self.layout).ok().flatten();
            let news = state.is_some() && state != before;
            (news || !identity.is_alive()).then_some(news)
        });
        if sends == Some(true) {
            Ok(())
        } else {
            Err(not_started(host::last_lines(&log)))
        }
    }

    fn note_started(&mut self, name: &str) {
        self.started.extend(self.record.running(name).cloned());
    }

    /// Leaves what stood before.
    fn stop_started(&self) -> Result<(), Problem> {
        stop_all(&self.started)
    }
}

/// Ends the lab's processes, the hosts before their guests so that nothing is started again, and removes its folder.
fn take_down(layout: &Layout) -> Result<(), Problem> {
    let processes = Record::load(layout)?.map_or_else(Vec::new, |record| record.processes);
    let known: Vec<process::Identity> = processes
        .into_iter()
        .rev()
        .map(|known| known.identity)
        .collect();
    stop_all(&known)?;
    // Guests, shadows and clones alike, whether libvirt still knows them or not.
    let inside = format!("{}/", layout.dir.display());
    let strays = || {
        process::find(|arguments| {
            let is_qemu = arguments
                .first()
                .is_some_and(|program| program.contains("qemu-system-"));
            is_qemu && arguments.iter().any(|argument| argument.contains(&inside))
        })
    };
    stop_all(&strays())?;
    fs::remove_dir_all(&layout.dir).map_err(|error| {
        Problem::failed(
            "The lab's folder was not removed.",
            format!("{}: {error}", layout.dir.display()),
            "Remove it by hand; its processes have ended.",
        )
    })
}

fn stop_all(processes: &[process::Identity]) -> Result<(), Problem> {
    for process in processes {
        process.stop(Duration::from_secs(10)).map_err(|error| {
            Problem::failed(
                format!("The lab's process {} was not ended.", process.pid),
                error.to_string(),
                "Run `shadowcast lab down` again as the user who started the lab.",
            )
        })?;
    }
    Ok(())
}
