//! HAProxy in front of the guests: one frontend and one backend a service, an admin socket, loopback only.

use std::{
    fmt::Write as _,
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::PathBuf,
    time::Duration,
};

use super::{
    host::last_lines,
    http::Client,
    layout::{Layout, RunAs},
    preflight::Tools,
    process::{Identity, start_detached, wait_until},
    record::{Record, ServiceRecord},
};
use crate::{inventory::ServiceKind, problem::Problem};

pub const PROCESS: &str = "haproxy";
const SERVER_STATE: &str = "server.state";

/// Where clients reach a service.
pub fn service_url(service: &ServiceRecord) -> String {
    format!("http://127.0.0.1:{}", service.port)
}

/// Where shadows of the service stand: of a read-only one, in a backend of its own for GET and HEAD.
pub fn backend(service: &ServiceRecord) -> String {
    match service.kind {
        ServiceKind::ReadOnly => format!("{}-reads", service.name),
        _ => service.name.clone(),
    }
}

/// What leads methods to backends.
pub fn method_map(layout: &Layout, service: &ServiceRecord) -> PathBuf {
    layout.haproxy().join(format!("{}.methods", service.name))
}

/// Starts HAProxy and waits until every service answers through it.
///
/// # Errors
/// When it cannot be started or a service does not answer in time.
pub fn start(
    layout: &Layout,
    tools: &Tools,
    run_as: RunAs,
    record: &mut Record,
    client: &Client,
) -> Result<(), Problem> {
    let log = layout.log(PROCESS);
    let not_started = |why: String| {
        Problem::failed(
            "The lab's HAProxy was not started.",
            why,
            "Run `shadowcast lab down`, then `shadowcast lab up`.",
        )
    };
    let identity =
        spawn(layout, tools, run_as, record).map_err(|error| not_started(error.to_string()))?;
    record.started(layout, PROCESS, identity.clone())?;
    let socket = layout.haproxy_socket();
    let listens = wait_until(Duration::from_secs(20), || {
        let ended = !identity.is_alive();
        (ended || UnixStream::connect(&socket).is_ok()).then_some(!ended)
    });
    if listens != Some(true) {
        return Err(not_started(format!(
            "it does not listen: {}",
            last_lines(&log)
        )));
    }
    let mut silent: Vec<&ServiceRecord> = record.services.iter().collect();
    wait_until(Duration::from_secs(30), || {
        silent.retain(|service| {
            let answer = client.get(&service_url(service), Duration::from_secs(5));
            !matches!(answer, Ok((200, _)))
        });
        silent.is_empty().then_some(())
    })
    .ok_or_else(|| {
        let names: Vec<&str> = silent.iter().map(|service| &*service.name).collect();
        not_started(format!("no answer through it from {}", names.join(", ")))
    })
}

fn spawn(layout: &Layout, tools: &Tools, run_as: RunAs, record: &Record) -> io::Result<Identity> {
    run_as.private_dir(&layout.haproxy())?;
    let settings = layout.haproxy().join("haproxy.cfg");
    fs::write(&settings, configuration(layout, record))?;
    fs::set_permissions(&settings, fs::Permissions::from_mode(0o644))?;
    let routed = |service: &&ServiceRecord| service.kind == ServiceKind::ReadOnly;
    for service in record.services.iter().filter(routed) {
        let reads = backend(service);
        let map = method_map(layout, service);
        fs::write(&map, format!("GET {reads}\nHEAD {reads}\n"))?;
        fs::set_permissions(&map, fs::Permissions::from_mode(0o644))?;
    }
    let state = layout.haproxy().join(SERVER_STATE);
    if !state.exists() {
        // Nothing saved yet; without the file HAProxy warns at every start.
        fs::write(&state, "1\n")?;
        run_as.give(&state)?;
    }
    match fs::remove_file(layout.haproxy_socket()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut command = run_as.command(&tools.haproxy);
    command.arg("-db").arg("-f").arg(settings);
    start_detached(&mut command, &layout.log(PROCESS))
}

fn configuration(layout: &Layout, record: &Record) -> String {
    let mut text = format!(
        "global
    stats socket {socket} mode 600 level admin expose-fd listeners
    # `show servers state` saved here carries the weights over a reload.
    server-state-file {state}
    maxconn 2000
    log stdout format raw local0 info

defaults
    mode http
    log global
    # The log names what went wrong, not every request.
    option httplog
    option dontlog-normal
    option httpchk GET /
    http-check expect status 200
    option redispatch
    retries 2
    # All requests here are GETs: one that got no answer may be asked again.
    retry-on conn-failure empty-response
    timeout connect 2s
    timeout client 30s
    timeout server 30s
    timeout queue 10s
    # A guest at its limit is slow to answer and not down.
    timeout check 5s
    load-server-state-from-file global
",
        socket = layout.haproxy_socket().display(),
        state = layout.haproxy().join(SERVER_STATE).display(),
    );
    for service in &record.services {
        let (name, reads) = (&service.name, backend(service));
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "
frontend {name}
    bind 127.0.0.1:{port}
",
            port = service.port
        );
        if reads != *name {
            let map = method_map(layout, service);
            let _ = writeln!(
                text,
                "    use_backend %[method,map({},{name})]",
                map.display()
            );
        }
        let _ = writeln!(text, "    default_backend {name}");
        let mut backends = vec![name, &reads];
        backends.dedup();
        for backend in backends {
            let _ = write!(
                text,
                "
backend {backend}
    balance roundrobin
    http-response set-header X-Served-By %s
"
            );
            for guest in record.members(name) {
                let _ = writeln!(
                    text,
                    "    server {} 127.0.0.1:{} weight 100 check inter 500 fall 4 rise 1",
                    guest.name, guest.port
                );
            }
        }
    }
    text
}
