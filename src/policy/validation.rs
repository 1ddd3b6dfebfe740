//! How recovery points are proven: how often, when, and by which checks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{inventory::Service, units::Timestamp, validation::check::Check};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationSettings {
    /// Hours after which a shadow's newest proof is renewed by itself; 0: only by hand.
    pub every_hours: u32,
    /// Clones that run at once.
    pub at_once: u32,
    /// Hours of the day (UTC) from and until which it begins by itself; equal: at any time.
    pub from_hour: u32,
    pub until_hour: u32,
    /// The first sign of life comes within this.
    pub boot_seconds: u32,
    /// Each further check gets its answer within this.
    pub check_seconds: u32,
    /// A clone's power is cut after this.
    pub lifetime_seconds: u32,
    /// What a point must answer, in this order; none for a VM: signs of life and its service.
    pub check: Vec<DeclaredCheck>,
}

impl Default for ValidationSettings {
    fn default() -> Self {
        Self {
            every_hours: 24,
            at_once: 1,
            from_hour: 0,
            until_hour: 0,
            boot_seconds: 120,
            check_seconds: 30,
            lifetime_seconds: 600,
            check: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    Boots,
    Agent,
    Tcp,
    Http,
    Command,
    Console,
    Blocks,
    Files,
}

/// A check as the settings declare it; which keys it needs depends on its kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredCheck {
    pub kind: CheckKind,
    /// Only for the VM of this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm: Option<String>,
    /// Only for VMs of this instance type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
}

impl DeclaredCheck {
    fn is_for(&self, vm: &str, instance_type: &str) -> bool {
        self.vm.as_deref().is_none_or(|name| name == vm)
            && self
                .instance_type
                .as_deref()
                .is_none_or(|name| name == instance_type)
    }

    /// # Errors
    /// Which key is missing or wrong, in words.
    pub fn check(&self) -> Result<Check, String> {
        let missing = |key: &str| format!("has no `{key}`");
        let port = || {
            self.port
                .filter(|port| *port != 0)
                .ok_or_else(|| missing("port"))
        };
        Ok(match self.kind {
            CheckKind::Boots => Check::Boots,
            CheckKind::Agent => Check::Agent,
            CheckKind::Blocks => Check::Blocks,
            CheckKind::Tcp => Check::Tcp { port: port()? },
            CheckKind::Http => Check::Http {
                port: port()?,
                path: self.path.clone().unwrap_or_else(|| "/".to_owned()),
                status: self.status,
                body: self.body.clone(),
            },
            CheckKind::Command if self.argv.is_empty() => return Err(missing("argv")),
            CheckKind::Command => Check::Command {
                argv: self.argv.clone(),
                exit: self.exit.unwrap_or(0),
                expect: self.expect.clone(),
            },
            CheckKind::Console => Check::Console {
                text: self
                    .text
                    .clone()
                    .filter(|text| !text.is_empty())
                    .ok_or_else(|| missing("text"))?,
            },
            CheckKind::Files if self.sha256.is_empty() => return Err(missing("sha256")),
            CheckKind::Files => Check::Files {
                sha256: self
                    .sha256
                    .iter()
                    .map(|(path, sum)| is_sum(sum).map(|sum| (path.clone(), sum)))
                    .collect::<Result<_, String>>()?,
            },
        })
    }
}

fn is_sum(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("has a `sha256` that is not 64 hexadecimal digits".to_owned())
    }
}

impl ValidationSettings {
    /// What a point of this VM must answer. Where nothing is declared: signs of life, and its service where it has one.
    pub fn checks_for(
        &self,
        vm: &str,
        instance_type: &str,
        service: Option<&Service>,
        has_agent: bool,
    ) -> Vec<Check> {
        let declared: Vec<Check> = self
            .check
            .iter()
            .filter(|check| check.is_for(vm, instance_type))
            .filter_map(|check| check.check().ok())
            .collect();
        if !declared.is_empty() {
            return declared;
        }
        let mut checks = vec![Check::Boots];
        checks.extend(has_agent.then_some(Check::Agent));
        let served = service.filter(|service| service.guest_port != 0);
        checks.extend(served.map(|service| Check::Http {
            port: service.guest_port,
            path: service.probe_path.clone(),
            status: None,
            body: None,
        }));
        checks
    }

    /// Whether validations may begin by themselves at this time of day.
    pub fn is_open(&self, at: Timestamp) -> bool {
        if self.from_hour == self.until_hour {
            return true;
        }
        let hour = at.as_millis().div_euclid(3_600_000).rem_euclid(24) as u32;
        if self.from_hour < self.until_hour {
            (self.from_hour..self.until_hour).contains(&hour)
        } else {
            hour >= self.from_hour || hour < self.until_hour
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Settings;

    #[test]
    fn checks_are_declared_by_vm_and_type() {
        let settings = Settings::parse(
            r#"
            [[validation.check]]
            kind = "boots"
            [[validation.check]]
            kind = "http"
            type = "large"
            port = 8080
            body = "ready"
            [[validation.check]]
            kind = "command"
            vm = "db"
            argv = ["pg_isready"]
            "#,
            "s",
        )
        .unwrap();
        let names = |vm: &str, kind: &str| -> Vec<&str> {
            let checks = settings.validation.checks_for(vm, kind, None, true);
            checks.iter().map(Check::name).collect()
        };
        assert_eq!(names("web", "small"), ["boots"]);
        assert_eq!(names("web", "large"), ["boots", "http"]);
        assert_eq!(names("db", "large"), ["boots", "http", "command"]);
        let none = ValidationSettings::default();
        let default: Vec<Check> = none.checks_for("web", "small", None, true);
        assert_eq!(default, [Check::Boots, Check::Agent]);
    }

    #[test]
    fn a_check_that_lacks_what_it_needs_is_refused_with_its_place() {
        for (text, why) in [
            ("kind = \"http\"", "has no `port`"),
            ("kind = \"tcp\"\nport = 0", "has no `port`"),
            ("kind = \"command\"", "has no `argv`"),
            ("kind = \"console\"\ntext = \"\"", "has no `text`"),
            (
                "kind = \"files\"\nsha256 = { \"/a\" = \"12\" }",
                "64 hexadecimal digits",
            ),
            ("kind = \"boot\"", "unknown variant"),
            ("kind = \"boots\"\nprot = 1", "unknown field"),
        ] {
            let file = format!("[[validation.check]]\n{text}\n");
            let problem = Settings::parse(&file, "s").unwrap_err();
            assert!(problem.why.contains(why), "{} / {why}", problem.why);
        }
    }

    #[test]
    fn the_window_may_go_over_midnight() {
        let at = |hour: i64| Timestamp::from_secs(1_795_305_600 + hour * 3600);
        let mut settings = ValidationSettings::default();
        assert!(settings.is_open(at(13)));
        (settings.from_hour, settings.until_hour) = (22, 5);
        assert!(settings.is_open(at(23)) && settings.is_open(at(4)));
        assert!(!settings.is_open(at(5)) && !settings.is_open(at(13)));
        (settings.from_hour, settings.until_hour) = (1, 5);
        assert!(settings.is_open(at(1)) && !settings.is_open(at(5)));
    }
}
