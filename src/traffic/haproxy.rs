//! HAProxy's runtime API: servers and weights changed at run time, each change read back.
//!
//! One command is one connection. A name that reaches a command is checked against a strict alphabet first: to the
//! runtime API `vm1; disable frontend f` is two commands.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use super::{DirectorError, ServerSpec, TrafficDirector, TrafficReading};
use crate::units::{Timestamp, Weight, printable};

mod methods;
mod stats;
mod wire;

use wire::Wire;

/// For one command, from connecting to the last byte of the answer.
const COMMAND_DEADLINE: Duration = Duration::from_secs(5);
/// For requests that still run on a server that is to go.
const DRAIN_DEADLINE: Duration = Duration::from_secs(10);
const DRAIN_POLL: Duration = Duration::from_millis(50);
/// Backends (2) and servers (4), of all processes.
const SHOW_STAT: &str = "show stat -1 6 -1";

/// A HAProxy reached by its `stats socket`, which needs `level admin`.
pub struct HaproxyDirector {
    wire: Wire,
}

impl HaproxyDirector {
    /// Takes `haproxy+unix:///path` or, on the loopback only, `haproxy+tcp://127.0.0.1:port`, and asks once for an
    /// answer.
    ///
    /// # Errors
    /// `BadAddress` for anything else, `Unreachable` where nothing answers.
    pub fn connect(uri: &str) -> Result<Self, DirectorError> {
        let director = Self {
            wire: Wire::parse(uri)?,
        };
        director.version()?;
        Ok(director)
    }

    fn ask(&self, command: &str) -> Result<String, DirectorError> {
        self.wire.ask(command, Instant::now() + COMMAND_DEADLINE)
    }

    /// Sends a command that answers nothing when it worked.
    fn tell(&self, command: &str, place: &str) -> Result<(), DirectorError> {
        let answer = self.ask(command)?;
        match answer.trim() {
            "" => Ok(()),
            refusal => Err(refused(refusal, place)),
        }
    }

    fn version(&self) -> Result<String, DirectorError> {
        let info = self.ask("show info")?;
        info.lines()
            .find_map(|line| line.strip_prefix("Version: "))
            .map(|version| printable(version.trim()))
            .ok_or_else(|| garbled("show info", &info))
    }

    fn look(&self) -> Result<stats::Table, DirectorError> {
        stats::parse(&self.ask(SHOW_STAT)?)
    }

    fn set_weight(&self, backend: &str, server: &str, weight: Weight) -> Result<(), DirectorError> {
        let place = format!("{backend}/{server}");
        self.tell(&format!("set weight {place} {}", weight.0), &place)
    }

    fn set_state(&self, place: &str, state: &str) -> Result<(), DirectorError> {
        self.tell(&format!("set server {place} state {state}"), place)
    }

    /// Waits for the last request, then deletes; both until `deadline`.
    fn delete(&self, backend: &str, server: &str, deadline: Instant) -> Result<(), DirectorError> {
        let place = format!("{backend}/{server}");
        self.set_state(&place, "drain")?;
        loop {
            let table = self.look()?;
            let Some(found) = table.server(backend, server) else {
                return Ok(());
            };
            if found.stats.sessions_now == 0 {
                break;
            }
            if Instant::now() >= deadline {
                return Err(DirectorError::Refused(format!(
                    "{} requests still run on {place} after {} s; it gets no new ones",
                    found.stats.sessions_now,
                    DRAIN_DEADLINE.as_secs()
                )));
            }
            thread::sleep(DRAIN_POLL);
        }
        self.set_state(&place, "maint")?;
        loop {
            let answer = self.ask(&format!("del server {place}"))?;
            match answer.trim() {
                "Server deleted." | "No such server." => return Ok(()),
                // Idle connections to it are closed within moments of the maintenance state.
                refusal if refusal.contains("connection") && Instant::now() < deadline => {
                    thread::sleep(DRAIN_POLL);
                }
                refusal => return Err(refused(refusal, &place)),
            }
        }
    }
}

impl TrafficDirector for HaproxyDirector {
    fn examine(&self) -> Result<Vec<String>, DirectorError> {
        let version = self.version()?;
        if !has_dynamic_servers(&version) {
            return Err(DirectorError::Refused(format!(
                "HAProxy {version} cannot add servers with checks at run time; 2.5 or newer can"
            )));
        }
        let level = self.ask("show cli level")?;
        let level = level.trim();
        if level != "admin" {
            return Err(DirectorError::Refused(format!(
                "its socket gives level {}; add `level admin` to the `stats socket` line",
                printable(level)
            )));
        }
        let mut findings = vec![
            format!("HAProxy {version} answers; servers can be added at run time"),
            "the socket has level admin".to_owned(),
        ];
        for backend in self.read()?.backends {
            let name = printable(&backend.name);
            if !backend.dynamic_weights {
                findings.push(format!(
                    "backend {name} balances by {}: it takes no share but 0 or 100 %",
                    printable(&backend.algorithm)
                ));
            }
            if backend.sticky {
                findings.push(format!(
                    "backend {name} keeps clients on their server: a share holds for new clients only"
                ));
            }
            if backend.dynamic_weights && !backend.sticky {
                findings.push(format!(
                    "backend {name} balances by {}: any share",
                    printable(&backend.algorithm)
                ));
            }
        }
        Ok(findings)
    }

    fn read(&self) -> Result<TrafficReading, DirectorError> {
        let mut table = self.look()?;
        let sticky = stats::table_names(&self.ask("show table")?);
        for backend in &mut table.backends {
            backend.sticky |= sticky.contains(&backend.name);
        }
        Ok(TrafficReading {
            at: Timestamp(jiff::Timestamp::now().as_millisecond()),
            servers: table
                .servers
                .into_iter()
                .map(|server| server.stats)
                .collect(),
            backends: table.backends,
        })
    }

    /// A server of that name at that very address is adopted with the weight that it has.
    fn ensure_server(&self, spec: &ServerSpec) -> Result<(), DirectorError> {
        check_name(&spec.backend)?;
        check_generated(&spec.server)?;
        check_address(&spec.address)?;
        let place = format!("{}/{}", spec.backend, spec.server);
        let address = endpoint(&spec.address, spec.port);
        let table = self.look()?;
        if !table
            .backends
            .iter()
            .any(|backend| backend.name == spec.backend)
        {
            return Err(DirectorError::NotFound(spec.backend.clone()));
        }
        match table.server(&spec.backend, &spec.server) {
            Some(found) if same_endpoint(&found.stats.address, &address) => {}
            Some(found) => {
                return Err(DirectorError::Refused(format!(
                    "{place} exists already and stands for {}, not {address}",
                    printable(&found.stats.address)
                )));
            }
            None => {
                let answer = self.ask(&format!(
                    "add server {place} {address} check inter {} weight 0",
                    spec.check_interval_millis.max(1)
                ))?;
                if answer.trim() != "New server registered." {
                    return Err(refused(answer.trim(), &place));
                }
            }
        }
        // Both are without effect on a server that is checked and ready already.
        self.tell(&format!("enable health {place}"), &place)?;
        self.set_state(&place, "ready")?;
        match self.look()?.server(&spec.backend, &spec.server) {
            Some(found) if !found.in_maintenance => Ok(()),
            Some(found) => Err(DirectorError::Refused(format!(
                "{place} stays in state {}",
                printable(&found.stats.status)
            ))),
            None => Err(DirectorError::Refused(format!(
                "{place} was added and is gone again"
            ))),
        }
    }

    fn ensure_weights(
        &self,
        backend: &str,
        weights: &[(String, Weight)],
    ) -> Result<(), DirectorError> {
        check_name(backend)?;
        for (server, weight) in weights {
            check_name(server)?;
            if *weight > Weight::MAX {
                return Err(DirectorError::Refused(format!(
                    "{} is no weight: 0 to {} are",
                    weight.0,
                    Weight::MAX.0
                )));
            }
        }
        let table = self.look()?;
        let mut changes = Vec::new();
        for (server, weight) in weights {
            let place = format!("{backend}/{server}");
            let found = table
                .server(backend, server)
                .ok_or(DirectorError::NotFound(place))?;
            if found.stats.weight != *weight {
                changes.push((server.as_str(), *weight, found.stats.weight));
            }
        }
        refuse_no_weight(&table, backend, |server| {
            weights
                .iter()
                .find(|(name, _)| name == server)
                .map(|(_, weight)| *weight)
        })?;
        // Raise before lowering: between two commands the backend must not be without weight either.
        changes.sort_by_key(|(_, wanted, present)| wanted < present);
        for (server, wanted, _) in &changes {
            self.set_weight(backend, server, *wanted)?;
        }
        if changes.is_empty() {
            return Ok(());
        }
        let table = self.look()?;
        for (server, wanted) in weights {
            let present = table
                .server(backend, server)
                .ok_or_else(|| DirectorError::NotFound(format!("{backend}/{server}")))?
                .stats
                .weight;
            if present != *wanted {
                return Err(DirectorError::Refused(format!(
                    "{backend}/{server} has weight {} after it was set to {}",
                    present.0, wanted.0
                )));
            }
        }
        Ok(())
    }

    fn check_methods(&self, map: &str, backend: &str) -> Result<(), DirectorError> {
        self.missing_methods(map, backend).map(drop)
    }

    fn ensure_methods(&self, map: &str, backend: &str) -> Result<(), DirectorError> {
        self.add_methods(map, backend)
    }

    fn ensure_server_absent(&self, backend: &str, server: &str) -> Result<(), DirectorError> {
        check_name(backend)?;
        check_generated(server)?;
        let table = self.look()?;
        let Some(found) = table.server(backend, server) else {
            return Ok(());
        };
        if found.stats.weight > Weight(0) && !found.in_maintenance {
            refuse_no_weight(&table, backend, |name| {
                (name == server).then_some(Weight(0))
            })?;
            self.set_weight(backend, server, Weight(0))?;
        }
        self.delete(backend, server, Instant::now() + DRAIN_DEADLINE)
    }
}

/// Refuses what would leave the servers of `backend` without any weight: clients would get 503. A server in
/// maintenance does not count, one that is down does: it comes back by itself.
fn refuse_no_weight(
    table: &stats::Table,
    backend: &str,
    wanted: impl Fn(&str) -> Option<Weight>,
) -> Result<(), DirectorError> {
    let in_use =
        |server: &&stats::Server| server.stats.backend == backend && !server.in_maintenance;
    let before: u32 = table
        .servers
        .iter()
        .filter(in_use)
        .map(|server| u32::from(server.stats.weight.0))
        .sum();
    let after: u32 = table
        .servers
        .iter()
        .filter(in_use)
        .map(|server| {
            u32::from(
                wanted(&server.stats.server)
                    .unwrap_or(server.stats.weight)
                    .0,
            )
        })
        .sum();
    if after == 0 && before > 0 {
        return Err(DirectorError::Refused(format!(
            "backend {backend} would be left without any weight, and every request would fail"
        )));
    }
    Ok(())
}

fn refused(answer: &str, place: &str) -> DirectorError {
    match answer {
        "No such backend." | "No such server." | "Require 'backend/server'." => {
            DirectorError::NotFound(place.to_owned())
        }
        _ => {
            let line = answer.lines().next().unwrap_or_default();
            DirectorError::Refused(printable(line))
        }
    }
}

fn garbled(command: &str, answer: &str) -> DirectorError {
    let start: String = answer.chars().take(80).collect();
    DirectorError::Garbled(format!("{command}: {}", printable(start.trim())))
}

/// A name out of the balancer's own configuration, by HAProxy's alphabet.
fn check_name(name: &str) -> Result<(), DirectorError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if !name.is_empty() && name.len() <= 255 && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(DirectorError::BadName(printable(name)))
    }
}

/// A name of a server that is ours to make and delete.
fn check_generated(name: &str) -> Result<(), DirectorError> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !name.is_empty() && name.len() <= 32 && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(DirectorError::BadName(printable(name)))
    }
}

/// An IP address or a host name.
fn check_address(address: &str) -> Result<(), DirectorError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:".contains(&byte);
    if !address.is_empty() && address.len() <= 253 && address.bytes().all(allowed) {
        Ok(())
    } else {
        Err(DirectorError::BadName(printable(address)))
    }
}

fn endpoint(address: &str, port: u16) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

fn same_endpoint(one: &str, other: &str) -> bool {
    match (one.parse::<SocketAddr>(), other.parse::<SocketAddr>()) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

/// `add server` with checks came out of its experiment with 2.5.
fn has_dynamic_servers(version: &str) -> bool {
    let mut numbers = version
        .split(|character: char| !character.is_ascii_digit())
        .map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (2, 5),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_commands_are_refused() {
        for name in [
            "vm1; disable frontend f",
            "vm1\ndisable frontend f",
            "vm1 <<",
            "a/b",
            "#2",
            "",
            "größe",
        ] {
            assert!(
                matches!(check_name(name), Err(DirectorError::BadName(_))),
                "{name}"
            );
            assert!(check_generated(name).is_err(), "{name}");
            assert!(check_address(name).is_err(), "{name}");
        }
        assert_eq!(check_name("web-1_a.b:c"), Ok(()));
        assert_eq!(check_generated("sc0badcafe"), Ok(()));
        assert!(check_generated("sc-0badcafe").is_err());
        assert!(check_generated(&"a".repeat(33)).is_err());
    }

    #[test]
    fn a_version_says_whether_servers_can_be_added() {
        assert!(has_dynamic_servers("2.6.12-1+deb12u4"));
        assert!(has_dynamic_servers("3.0"));
        assert!(!has_dynamic_servers("2.4.22"));
        assert!(!has_dynamic_servers("unknown"));
    }

    #[test]
    fn addresses_compare_by_meaning() {
        assert!(same_endpoint("[::1]:80", &endpoint("0:0::1", 80)));
        assert!(!same_endpoint("127.0.0.1:80", "127.0.0.1:81"));
    }
}
