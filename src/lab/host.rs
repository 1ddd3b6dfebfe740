//! One libvirt host: a session-mode `libvirtd` with folders, identity and storage pools of its own.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use virt::{
    connect::Connect,
    error::{ErrorNumber, clear_error_callback},
};

use super::{
    layout::{Layout, RunAs},
    preflight::Tools,
    process::{Identity, start_detached, wait_until},
    record::{HostRecord, PRIMARY},
};
use crate::problem::Problem;

/// Where a host keeps disks: what it holds is what its pools are called.
pub fn pool_names(host: &str) -> &'static [&'static str] {
    if host == PRIMARY {
        &["images", "spool"]
    } else {
        &["shadow"]
    }
}

/// The name of a host's daemon in the lab's record.
pub fn process_name(host: &str) -> String {
    format!("libvirtd-{host}")
}

/// Starts the host's daemon and waits until it listens.
///
/// # Errors
/// When a file cannot be written or the daemon does not listen in time.
pub fn start(
    layout: &Layout,
    tools: &Tools,
    run_as: RunAs,
    host: &HostRecord,
    capabilities_cache: &Path,
    note: impl FnOnce(Identity) -> Result<(), Problem>,
) -> Result<(), Problem> {
    let log = layout.log(&process_name(&host.name));
    let not_started = |why: String| {
        Problem::failed(
            format!("The lab's host {} was not started.", host.name),
            why,
            "Mend what libvirtd says, then run `shadowcast lab up` again.",
        )
    };
    let settings = prepare(layout, run_as, host, capabilities_cache)
        .map_err(|error| not_started(error.to_string()))?;
    let home = layout.host(&host.name);
    let mut command = run_as.command(&tools.libvirtd);
    command
        .arg("-f")
        .arg(settings)
        .arg("-p")
        .arg(home.join("libvirtd.pid"))
        .env("HOME", &home)
        .env("XDG_RUNTIME_DIR", home.join("r"))
        .env("XDG_CONFIG_HOME", home.join("c"))
        .env("XDG_DATA_HOME", home.join("d"))
        .env("XDG_CACHE_HOME", home.join("cache"));
    let identity = start_detached(&mut command, &log)
        .map_err(|error| not_started(format!("{}: {error}", tools.libvirtd.display())))?;
    note(identity.clone())?;
    let socket = layout.libvirt_socket(&host.name);
    let listens = wait_until(Duration::from_secs(30), || {
        (socket.exists() || !identity.is_alive()).then(|| identity.is_alive())
    });
    match listens {
        Some(true) => Ok(()),
        Some(false) => Err(not_started(format!("libvirtd ended: {}", last_lines(&log)))),
        None => Err(not_started(format!(
            "libvirtd did not listen within 30 s: {}",
            last_lines(&log)
        ))),
    }
}

/// Writes the host's folders and settings.
fn prepare(
    layout: &Layout,
    run_as: RunAs,
    host: &HostRecord,
    capabilities_cache: &Path,
) -> io::Result<PathBuf> {
    let home = layout.host(&host.name);
    for folder in [
        "",
        "r",
        "c",
        "c/libvirt",
        "d",
        "cache",
        "cache/libvirt",
        "console",
    ] {
        run_as.private_dir(&home.join(folder))?;
    }
    for pool in pool_names(&host.name) {
        run_as.private_dir(&home.join(pool))?;
    }
    let socket = layout.libvirt_socket(&host.name);
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    copy_tree(
        capabilities_cache,
        &home.join("cache/libvirt"),
        Some(run_as),
    )?;
    fs::write(
        home.join("c/libvirt/qemu.conf"),
        "security_driver = \"none\"\nstdio_handler = \"file\"\n",
    )?;
    let settings = home.join("c/libvirt/libvirtd.conf");
    fs::write(
        &settings,
        format!(
            "host_uuid = \"{}\"\nauth_unix_rw = \"none\"\nlog_outputs = \"3:stderr\"\n",
            host.uuid
        ),
    )?;
    Ok(settings)
}

/// Asks for the capabilities, which a host without a cache takes seconds to find out, and keeps them for the next lab.
///
/// # Errors
/// When the host does not answer in time.
pub fn learn_capabilities(
    layout: &Layout,
    host: &str,
    capabilities_cache: &Path,
) -> Result<(), Problem> {
    on_host(layout, host, Duration::from_secs(90), |connection| {
        connection.capabilities().map(drop)
    })?;
    let learned = layout.host(host).join("cache/libvirt");
    // The next lab starts more slowly without it; this one does not need it.
    if let Err(error) = copy_tree(&learned, capabilities_cache, None) {
        tracing::warn!(%error, "libvirt's capabilities were not kept for the next lab");
    }
    Ok(())
}

/// Copies the regular files of `from`, which need not exist.
fn copy_tree(from: &Path, to: &Path, owner: Option<RunAs>) -> io::Result<()> {
    let entries = match fs::read_dir(from) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let target = to.join(entry.file_name());
        if kind.is_dir() {
            copy_tree(&entry.path(), &target, owner)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), &target)?;
        } else {
            continue;
        }
        if let Some(owner) = owner {
            owner.give(&target)?;
        }
    }
    Ok(())
}

/// Defines and starts the host's storage pools.
///
/// # Errors
/// When libvirt refuses.
pub fn ensure_pools(layout: &Layout, host: &str) -> Result<(), Problem> {
    let pools: Vec<(&str, PathBuf)> = pool_names(host)
        .iter()
        .map(|name| (*name, layout.host(host).join(name)))
        .collect();
    on_host(layout, host, Duration::from_secs(30), move |connection| {
        for (name, path) in &pools {
            let xml = format!(
                "<pool type='dir'><name>{name}</name><target><path>{}</path></target></pool>",
                path.display()
            );
            // A host that was started again still knows its pools; to define one without its uuid is to make another.
            let pool = match connection.lookup_storage_pool_by_name(name) {
                Err(error) if error.code().is(ErrorNumber::NoStoragePool) => {
                    connection.define_storage_pool_xml(&xml, 0)?
                }
                found => found?,
            };
            if !pool.is_active()? {
                pool.create(0)?;
            }
            pool.set_autostart(true)?;
        }
        Ok(())
    })
}

/// Runs `work` on a connection to the host. libvirt's calls cannot be cancelled: one that hangs keeps its thread
/// until the daemon ends, and the caller goes on after `limit`.
///
/// # Errors
/// When the host cannot be reached, refuses, or does not answer in time.
pub fn on_host<T: Send + 'static>(
    layout: &Layout,
    host: &str,
    limit: Duration,
    work: impl FnOnce(&Connect) -> Result<T, virt::error::Error> + Send + 'static,
) -> Result<T, Problem> {
    let uri = layout.uri(host);
    let (sender, receiver) = mpsc::channel();
    let outcome = thread::Builder::new()
        .name(format!("lab-{host}"))
        .spawn(move || {
            clear_error_callback();
            let outcome = Connect::open(Some(&uri)).and_then(|connection| work(&connection));
            // A caller that has stopped waiting needs no answer.
            let _gone = sender.send(outcome);
        })
        .map_err(|error| error.to_string())
        .and_then(|_| match receiver.recv_timeout(limit) {
            Ok(outcome) => outcome.map_err(|error| error.message().to_owned()),
            Err(RecvTimeoutError::Timeout) => Err(format!("no answer within {limit:?}")),
            Err(RecvTimeoutError::Disconnected) => Err("the call was broken off".to_owned()),
        });
    outcome.map_err(|why| {
        Problem::unreachable(
            format!("The lab's host {host} did not do as asked."),
            why,
            "Run `shadowcast lab down`, then `shadowcast lab up`.",
        )
    })
}

/// The end of a log, for an error's reason.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    if lines.is_empty() {
        return "its log is empty".to_owned();
    }
    crate::units::printable(&lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
}
