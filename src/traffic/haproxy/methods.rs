//! The map that leads methods to backends, over the runtime API. A reload reads the file again: what was added here is
//! then gone, and reads go to the primaries until it is made so once more.

use super::{HaproxyDirector, check_name, refused};
use crate::{
    traffic::{
        DirectorError,
        methods::{self, Entry},
    },
    units::printable,
};

impl HaproxyDirector {
    /// What is missing in the map; see [`methods::missing`].
    pub(super) fn missing_methods(
        &self,
        map: &str,
        backend: &str,
    ) -> Result<Vec<&'static str>, DirectorError> {
        check_file(map)?;
        check_name(backend)?;
        let table = self.look()?;
        if !(table.backends.iter()).any(|known| known.name == backend) {
            return Err(DirectorError::NotFound(backend.to_owned()));
        }
        if !is_used(&self.ask("show map")?, map) {
            return Err(DirectorError::Refused(format!(
                "no rule of its configuration goes by the map {map}"
            )));
        }
        let entries = parse(&self.ask(&format!("show map {map}"))?)?;
        let missing = methods::missing(&entries, backend).map_err(|why| {
            DirectorError::Refused(format!("in the map {map}, {}", printable(&why)))
        })?;
        // The API does not show rules. A backend that the map leads nothing to and that has requests all the same is
        // reached by another way, most often as the default.
        let has_requests = (table.servers.iter())
            .any(|server| server.stats.backend == backend && server.stats.requests_total > 0);
        if missing.len() == methods::READS.len() && has_requests {
            return Err(DirectorError::Refused(format!(
                "backend {backend} has had requests though the map {map} leads none there: another rule does"
            )));
        }
        Ok(missing)
    }

    pub(super) fn add_methods(&self, map: &str, backend: &str) -> Result<(), DirectorError> {
        for method in self.missing_methods(map, backend)? {
            let answer = self.ask(&format!("add map {map} {method} {backend}"))?;
            if !answer.trim().is_empty() {
                return Err(refused(answer.trim(), map));
            }
        }
        match self.missing_methods(map, backend)?.as_slice() {
            [] => Ok(()),
            left => Err(DirectorError::Refused(format!(
                "the map {map} lacks {} after it was added",
                left.join(" and ")
            ))),
        }
    }
}

/// Whether `show map` lists the file as one that a rule goes by.
fn is_used(list: &str, map: &str) -> bool {
    let file = format!("({map})");
    list.lines().any(|line| {
        let mut words = line.split_whitespace();
        let named = words.nth(1) == Some(file.as_str());
        named && line.contains("used by map")
    })
}

/// `0x55… METHOD BACKEND`, a line an entry.
fn parse(dump: &str) -> Result<Vec<Entry>, DirectorError> {
    let lines = dump.lines().map(str::trim).filter(|line| !line.is_empty());
    lines
        .map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                [_, method, backend] => Ok(Entry {
                    method: method.to_owned(),
                    backend: backend.to_owned(),
                }),
                _ => Err(DirectorError::Garbled(format!(
                    "show map: {}",
                    printable(line)
                ))),
            }
        })
        .collect()
}

/// A file as the configuration names it. A number (`#3`) is none: it changes with a reload.
fn check_file(map: &str) -> Result<(), DirectorError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    if !map.is_empty() && map.len() <= 255 && map.bytes().all(allowed) {
        Ok(())
    } else {
        Err(DirectorError::BadName(printable(map)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_counts_where_a_rule_goes_by_it() {
        let list = "# id (file) description
4 (/etc/h/a.map) pattern loaded from file '/etc/h/a.map' used by map at file 'h.cfg' line 10. curr_ver=0
5 (/etc/h/b.map) pattern loaded from file '/etc/h/b.map' used by acl at file 'h.cfg' line 11. curr_ver=0
";
        assert!(is_used(list, "/etc/h/a.map"));
        assert!(!is_used(list, "/etc/h/b.map"));
        assert!(!is_used(list, "a.map"));
    }

    #[test]
    fn entries_are_read_and_noise_is_refused() {
        let read = parse("0x7f GET reads\n0x80 POST all\n\n").unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!((&*read[1].method, &*read[1].backend), ("POST", "all"));
        assert!(parse("Unknown map identifier. Please use #<id> or <file>.\n").is_err());
    }

    #[test]
    fn only_files_are_taken() {
        assert!(check_file("/etc/haproxy/shop.methods").is_ok());
        for wrong in ["", "#3", "a b", "a;show info", "@1", "a\nb"] {
            assert!(check_file(wrong).is_err(), "{wrong:?}");
        }
    }
}
