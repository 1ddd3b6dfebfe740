//! Words of the command line into values, with errors that say how it is written.

use std::time::Duration;

use crate::{metrics::Metric, units::Timestamp};

/// `25%` or `0.25`. A bare `25` could mean either and is refused.
pub fn share(text: &str) -> Result<f64, String> {
    let usage = || "a share is written `25%` or `0.25`".to_owned();
    let ratio = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map_err(|_| usage())? / 100.0,
        None => text.trim().parse().map_err(|_| usage())?,
    };
    if (0.0..=1.0).contains(&ratio) {
        Ok(ratio)
    } else {
        Err(format!("{} (0 to 100 %)", usage()))
    }
}

/// Whole seconds of `90s`, `2h`, `1day`; at least one.
pub fn seconds(text: &str) -> Result<u32, String> {
    let length: Duration = humantime::parse_duration(text)
        .map_err(|error| format!("{error}; a length of time is written `90s`, `2h` or `1day`"))?;
    match u32::try_from(length.as_secs()) {
        Ok(0) => Err("at least one second is needed".to_owned()),
        Ok(seconds) => Ok(seconds),
        Err(_) => Err("that is longer than a hundred years".to_owned()),
    }
}

pub fn metric(text: &str) -> Result<Metric, String> {
    Metric::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Metric::ALL.into_iter().map(Metric::name).collect();
        format!("the metrics are {}", names.join(", "))
    })
}

/// A moment, or a length of time before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    At(Timestamp),
    SecondsAgo(u32),
}

impl Since {
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::SecondsAgo(seconds) => now.plus_secs(-i64::from(seconds)),
        }
    }
}

pub fn since(text: &str) -> Result<Since, String> {
    if let Some(at) = Timestamp::parse(text) {
        return Ok(Since::At(at));
    }
    seconds(text)
        .map(Since::SecondsAgo)
        .map_err(|_| "a start is written `24h`, `7days` or `2026-11-22T14:00:00Z`".to_owned())
}

/// Which balancer server stands for which VM: `VM=backend/server`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub vm: String,
    pub backend: String,
    pub server: String,
}

/// The last `=` and `/` count, as a VM's name may hold the first.
pub fn member(text: &str) -> Result<Member, String> {
    let parts = text
        .rsplit_once('=')
        .and_then(|(vm, place)| Some((vm, place.rsplit_once('/')?)))
        .filter(|(vm, (backend, server))| {
            !vm.is_empty() && !backend.is_empty() && !server.is_empty()
        });
    match parts {
        Some((vm, (backend, server))) => Ok(Member {
            vm: vm.to_owned(),
            backend: backend.to_owned(),
            server: server.to_owned(),
        }),
        None => Err("a member is written `VM=backend/server`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_never_guessed() {
        assert_eq!(share("25%"), Ok(0.25));
        assert_eq!(share("0.25"), Ok(0.25));
        assert_eq!(share("0"), Ok(0.0));
        for wrong in ["25", "101%", "-1%", "NaN", "inf", "%", "a quarter"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_length_of_time_is_at_least_a_second() {
        assert_eq!(seconds("2h"), Ok(7200));
        for wrong in ["0s", "500ms", "2", "-2h", "1000years"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_start_is_a_moment_or_a_length() {
        assert_eq!(since("24h"), Ok(Since::SecondsAgo(86_400)));
        assert_eq!(
            since("1970-01-01T00:01:00Z"),
            Ok(Since::At(Timestamp::from_secs(60)))
        );
        assert!(since("yesterday").is_err());
    }

    #[test]
    fn a_member_names_vm_backend_and_server() {
        assert_eq!(
            member("a=b=web/w1"),
            Ok(Member {
                vm: "a=b".to_owned(),
                backend: "web".to_owned(),
                server: "w1".to_owned()
            })
        );
        for wrong in ["web-1", "web-1=web", "=web/w1", "web-1=/w1", "web-1=web/"] {
            assert!(member(wrong).is_err(), "{wrong}");
        }
    }
}
