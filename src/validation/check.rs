//! What can be asked of a clone of a recovery point, and whether what was seen is the answer.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use crate::units::printable;

/// One question that a point has to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Check {
    /// Some sign of life: the guest agent, a taken connection, or words on the console.
    Boots,
    /// The guest agent answers.
    Agent,
    /// The guest takes a connection.
    Tcp { port: u16 },
    /// The guest answers with this status (any of 2xx and 3xx where none is named) and a body that holds this.
    Http {
        port: u16,
        path: String,
        status: Option<u16>,
        body: Option<String>,
    },
    /// A command in the guest ends with this code and prints something that holds this.
    Command {
        argv: Vec<String>,
        exit: i64,
        expect: Option<String>,
    },
    /// The guest writes this to its serial console.
    Console { text: String },
    /// The layers on the target are the blocks that the source's checkpoint gave.
    Blocks,
    /// Files in the guest have these SHA-256 sums, by their paths.
    Files { sha256: BTreeMap<String, String> },
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    pub check: Check,
    pub passed: bool,
    /// What was seen last, for example `HTTP 503` or `exit code 1: no such file`.
    pub seen: String,
    /// From the check's start to its verdict.
    pub millis: u64,
}

/// The end of what a check saw; more says no more to a person.
const MOST_SEEN_CHARS: usize = 300;

impl CheckResult {
    pub fn new(check: &Check, verdict: Result<String, String>, millis: u64) -> Self {
        let (passed, seen) = match verdict {
            Ok(seen) => (true, seen),
            Err(seen) => (false, seen),
        };
        Self {
            check: check.clone(),
            passed,
            seen: shortened(&printable(&seen), MOST_SEEN_CHARS),
            millis,
        }
    }
}

fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

impl Check {
    /// One word for tables.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Boots => "boots",
            Self::Agent => "agent",
            Self::Tcp { .. } => "tcp",
            Self::Http { .. } => "http",
            Self::Command { .. } => "command",
            Self::Console { .. } => "console",
            Self::Blocks => "blocks",
            Self::Files { .. } => "files",
        }
    }

    /// The guest's port that must be reached for it.
    pub const fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp { port } | Self::Http { port, .. } => Some(*port),
            _ => None,
        }
    }

    /// Judges an answer over HTTP.
    ///
    /// # Errors
    /// What was seen instead, in words.
    pub fn judge_page(&self, status: u16, page: &str) -> Result<String, String> {
        let seen = format!("HTTP {status}");
        let Self::Http {
            status: wanted,
            body,
            ..
        } = self
        else {
            return Ok(seen);
        };
        let right = match wanted {
            Some(wanted) => status == *wanted,
            None => (200..400).contains(&status),
        };
        if !right {
            return Err(seen);
        }
        match body {
            Some(text) if !page.contains(text) => Err(format!(
                "{seen} without «{text}»: {}",
                shortened(page.trim(), 80)
            )),
            Some(text) => Ok(format!("{seen} with «{text}»")),
            None => Ok(seen),
        }
    }

    /// Judges the end of a command.
    ///
    /// # Errors
    /// What was seen instead, in words.
    pub fn judge_command(&self, code: i64, output: &str) -> Result<String, String> {
        let seen = format!("exit code {code}: {}", shortened(output.trim(), 120));
        let Self::Command { exit, expect, .. } = self else {
            return Ok(seen);
        };
        let told = expect.as_ref().is_none_or(|text| output.contains(text));
        if code == *exit && told {
            Ok(seen)
        } else {
            Err(seen)
        }
    }

    /// Judges what the console has said so far. A guest that has given up says so there.
    ///
    /// # Errors
    /// What was seen instead, in words.
    pub fn judge_console(&self, console: &str) -> Result<String, String> {
        let panic = console.lines().find(|line| line.contains("Kernel panic"));
        match self {
            Self::Console { text } => match console.lines().find(|line| line.contains(&**text)) {
                Some(line) => Ok(shortened(line.trim(), 120)),
                None => Err(panic.map_or_else(
                    || format!("{} lines without it", console.lines().count()),
                    |line| line.trim().to_owned(),
                )),
            },
            _ => match (panic, console.trim()) {
                (Some(line), _) => Err(line.trim().to_owned()),
                (None, "") => Err("nothing on the console".to_owned()),
                (None, said) => {
                    let line = said.lines().last().unwrap_or_default();
                    Ok(format!("console: {}", shortened(line.trim(), 80)))
                }
            },
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boots => f.write_str("shows a sign of life"),
            Self::Agent => f.write_str("guest agent answers"),
            Self::Tcp { port } => write!(f, "port {port} takes a connection"),
            Self::Http {
                port,
                path,
                status,
                body,
            } => {
                write!(f, "HTTP :{port}{} answers", printable(path))?;
                if let Some(status) = status {
                    write!(f, " {status}")?;
                }
                match body {
                    Some(body) => write!(f, " with «{}»", printable(body)),
                    None => Ok(()),
                }
            }
            Self::Command { argv, exit, expect } => {
                write!(f, "`{}` ends with {exit}", printable(&argv.join(" ")))?;
                match expect {
                    Some(expect) => write!(f, " and prints «{}»", printable(expect)),
                    None => Ok(()),
                }
            }
            Self::Console { text } => write!(f, "console says «{}»", printable(text)),
            Self::Blocks => f.write_str("blocks equal the source's checkpoint"),
            Self::Files { sha256 } => write!(f, "SHA-256 of {} file(s)", sha256.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(status: Option<u16>, body: Option<&str>) -> Check {
        Check::Http {
            port: 80,
            path: "/".to_owned(),
            status,
            body: body.map(str::to_owned),
        }
    }

    #[test]
    fn status_and_body_both_count() {
        assert!(http(None, None).judge_page(302, "").is_ok());
        assert_eq!(
            http(None, None).judge_page(503, "ok").unwrap_err(),
            "HTTP 503"
        );
        assert!(http(Some(401), None).judge_page(401, "").is_ok());
        assert!(http(Some(401), None).judge_page(200, "").is_err());
        assert!(
            http(None, Some("ready"))
                .judge_page(200, "it is ready")
                .is_ok()
        );
        assert!(
            http(None, Some("ready"))
                .judge_page(200, "starting")
                .is_err()
        );
    }

    #[test]
    fn a_command_is_judged_by_its_code_and_its_words() {
        let check = |exit, expect: Option<&str>| Check::Command {
            argv: vec!["true".to_owned()],
            exit,
            expect: expect.map(str::to_owned),
        };
        assert!(check(0, None).judge_command(0, "").is_ok());
        assert!(check(0, None).judge_command(1, "").is_err());
        assert!(check(3, None).judge_command(3, "").is_ok());
        assert!(
            check(0, Some("clean"))
                .judge_command(0, "state: clean\n")
                .is_ok()
        );
        assert!(check(0, Some("clean")).judge_command(0, "errors").is_err());
    }

    #[test]
    fn the_console_is_looked_through_and_a_panic_is_no_life() {
        let ready = Check::Console {
            text: "ready".to_owned(),
        };
        assert!(ready.judge_console("booting\nweb ready now\n").is_ok());
        assert!(ready.judge_console("booting\n").is_err());
        assert!(Check::Boots.judge_console("booting\n").is_ok());
        assert!(Check::Boots.judge_console(" \n").is_err());
        let panic = "booting\nKernel panic - not syncing: VFS\n";
        assert_eq!(
            Check::Boots.judge_console(panic).unwrap_err(),
            "Kernel panic - not syncing: VFS"
        );
    }

    #[test]
    fn what_was_seen_is_printable_and_short() {
        let verdict = Err(format!("\u{1b}[31m{}", "x".repeat(2000)));
        let result = CheckResult::new(&Check::Boots, verdict, 1);
        assert!(!result.passed);
        assert!(!result.seen.contains('\u{1b}'));
        assert_eq!(result.seen.chars().count(), MOST_SEEN_CHARS + 1);
    }
}
