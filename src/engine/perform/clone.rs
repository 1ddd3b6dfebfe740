//! Puts the checks of a validation to a clone: each until it passes or its time is over.

use std::time::Duration;

use super::{POLL_MILLIS, Performer};
use crate::{
    engine::core::{Failure, Layer},
    hypervisor::{AgentAnswer, AgentQuestion, Control, Hypervisor, PlatformError},
    shadow::CloneSpec,
    validation::check::{Check, CheckResult},
};

/// One try of a check over the network.
const TRY: Duration = Duration::from_secs(5);
/// A guest that takes a connection does so within this.
const TAKEN_MILLIS: u64 = 2000;

/// What one look came to.
enum Look {
    Passed(String),
    /// It may still come.
    NotYet(String),
    /// It will not.
    Never(String),
}

impl From<Result<String, String>> for Look {
    fn from(judged: Result<String, String>) -> Self {
        match judged {
            Ok(seen) => Self::Passed(seen),
            Err(seen) => Self::NotYet(seen),
        }
    }
}

/// One clone that is asked.
struct Asked<'a> {
    performer: &'a Performer,
    target: &'a dyn Hypervisor,
    clone: &'a CloneSpec,
    check: &'a Check,
    timeout: Duration,
}

impl Performer {
    pub(super) fn start_clone(&self, clone: &CloneSpec) -> Result<(), Failure> {
        let target = self.hypervisor(&clone.spec.pool.source())?;
        let model = target.definition(&clone.model)?;
        Ok(target.ensure_clone(clone, &model)?)
    }

    /// Removes it; returns what it has said on its console.
    pub(super) fn remove_clone(&self, clone: &CloneSpec) -> Result<String, Failure> {
        let target = self.hypervisor(&clone.spec.pool.source())?;
        let console = target.clone_console(clone)?;
        target.ensure_clone_absent(clone)?;
        Ok(console)
    }

    /// Asks until the answer is right, or for `timeout_seconds`. A wrong answer is no failure.
    pub(super) fn check_clone(
        &self,
        clone: &CloneSpec,
        check: &Check,
        timeout_seconds: u32,
        layers: &[Layer],
        control: &Control,
    ) -> Result<CheckResult, Failure> {
        let target = self.hypervisor(&clone.spec.pool.source())?;
        let started = self.clock.now();
        let millis = || (self.clock.now().as_millis() - started.as_millis()).max(0) as u64;
        if *check == Check::Blocks {
            let judged = compare_layers(&*target, clone, layers, control)?;
            return Ok(CheckResult::new(check, judged, millis()));
        }
        // An engine that was started anew has lost its clone: it boots again. One that ended by itself does not.
        let model = target.definition(&clone.model)?;
        match target.ensure_clone(clone, &model) {
            Ok(()) => {}
            Err(ended @ PlatformError::NotFound { .. }) => {
                return Ok(CheckResult::new(check, Err(ended.to_string()), millis()));
            }
            Err(error) => return Err(error.into()),
        }
        let asked = Asked {
            performer: self,
            target: &*target,
            clone,
            check,
            timeout: Duration::from_secs(u64::from(timeout_seconds)),
        };
        let deadline = started.plus_secs(i64::from(timeout_seconds));
        loop {
            control.check()?;
            let seen = match asked.look()? {
                Look::Passed(seen) => return Ok(CheckResult::new(check, Ok(seen), millis())),
                Look::Never(seen) => return Ok(CheckResult::new(check, Err(seen), millis())),
                Look::NotYet(seen) => seen,
            };
            if self.clock.now() >= deadline {
                let seen = format!("{seen} (within {timeout_seconds} s)");
                return Ok(CheckResult::new(check, Err(seen), millis()));
            }
            self.clock.sleep(POLL_MILLIS);
        }
    }
}

/// Compares each layer that the point stands on with what the source gave for it.
fn compare_layers(
    target: &dyn Hypervisor,
    clone: &CloneSpec,
    layers: &[Layer],
    control: &Control,
) -> Result<Result<String, String>, Failure> {
    let spec = &clone.spec;
    let mut equal = 0;
    for layer in layers {
        let Some(wanted) = &layer.digest else {
            continue;
        };
        let found = target.layer_digest(&spec.pool, &spec.storage, &layer.volume, control)?;
        if found != *wanted {
            return Ok(Err(format!(
                "{} is not what the source gave: SHA-256 {found:.12}…, not {wanted:.12}…",
                layer.volume
            )));
        }
        equal += 1;
    }
    let merged = layers.len() - equal;
    Ok(match (equal, merged) {
        (0, _) => Err("nothing to compare: its layers were merged since".to_owned()),
        (_, 0) => Ok(format!("{equal} layer(s) equal what the source gave")),
        _ => Ok(format!(
            "{equal} layer(s) equal what the source gave, {merged} were merged since"
        )),
    })
}

impl Asked<'_> {
    fn look(&self) -> Result<Look, Failure> {
        let look = match self.check {
            Check::Boots => self.boots(),
            Check::Agent => self
                .agent(&AgentQuestion::Ping)
                .map(|_| Look::Passed("answered".to_owned())),
            Check::Tcp { port } => self.takes(*port),
            Check::Http { port, path, .. } => Ok(self.page(*port, path)),
            Check::Command { argv, .. } => self.command(argv),
            Check::Console { .. } => self.console(),
            Check::Files { sha256 } => self.files(sha256),
            Check::Blocks => Ok(Look::Never("it is not asked of a guest".to_owned())),
        };
        match look {
            Ok(look) => Ok(look),
            // The clone has ended: no answer will come any more.
            Err(error @ PlatformError::NotFound { .. }) => Ok(Look::Never(error.to_string())),
            Err(error @ (PlatformError::Unreachable { .. } | PlatformError::Leased { .. })) => {
                Err(error.into())
            }
            Err(error) => Ok(Look::NotYet(error.to_string())),
        }
    }

    fn agent(&self, question: &AgentQuestion) -> Result<AgentAnswer, PlatformError> {
        self.target.ask_agent(self.clone, question)
    }

    /// Any sign will do; what was seen names the first.
    fn boots(&self) -> Result<Look, PlatformError> {
        let console = self.target.clone_console(self.clone)?;
        let said = self.check.judge_console(&console);
        if let Err(seen) = &said
            && seen.contains("Kernel panic")
        {
            return Ok(Look::Never(seen.clone()));
        }
        match self.agent(&AgentQuestion::Ping) {
            Ok(_) => return Ok(Look::Passed("guest agent answers".to_owned())),
            Err(error @ (PlatformError::NotFound { .. } | PlatformError::Unreachable { .. })) => {
                return Err(error);
            }
            Err(_) => {}
        }
        for forward in &self.clone.spec.network.more {
            if let Look::Passed(seen) = self.takes(forward.guest_port)? {
                return Ok(Look::Passed(format!("port {}: {seen}", forward.guest_port)));
            }
        }
        Ok(said.into())
    }

    fn port_of(&self, guest_port: u16) -> Option<u16> {
        let forwards = &self.clone.spec.network.more;
        forwards
            .iter()
            .find(|forward| forward.guest_port == guest_port)
            .map(|forward| forward.port)
    }

    /// The forwarded port opens by itself; whether the guest has taken the connection is what counts.
    fn takes(&self, guest_port: u16) -> Result<Look, PlatformError> {
        let Some(port) = self.port_of(guest_port) else {
            return Ok(Look::Never(format!("port {guest_port} is not forwarded")));
        };
        let address = &self.clone.spec.network.address;
        let _held = match self.performer.prober.hold(address, port, TRY) {
            Ok(held) => held,
            Err(seen) => return Ok(Look::NotYet(seen)),
        };
        let mut waited = 0;
        while waited <= TAKEN_MILLIS {
            if self.target.clone_takes(self.clone, guest_port)? {
                return Ok(Look::Passed("the guest took the connection".to_owned()));
            }
            self.performer.clock.sleep(POLL_MILLIS);
            waited += POLL_MILLIS;
        }
        Ok(Look::NotYet(
            "the guest did not take the connection".to_owned(),
        ))
    }

    fn page(&self, guest_port: u16, path: &str) -> Look {
        let Some(port) = self.port_of(guest_port) else {
            return Look::Never(format!("port {guest_port} is not forwarded"));
        };
        let address = &self.clone.spec.network.address;
        match self.performer.prober.page(address, port, path, TRY) {
            Ok(page) => self.check.judge_page(page.status, &page.body).into(),
            Err(seen) => Look::NotYet(seen),
        }
    }

    fn command(&self, argv: &[String]) -> Result<Look, PlatformError> {
        let question = AgentQuestion::Run {
            argv: argv.to_vec(),
            timeout: self.timeout,
        };
        Ok(match self.agent(&question)? {
            AgentAnswer::Ran { code, output } => self.check.judge_command(code, &output).into(),
            other => Look::Never(format!("the agent answered {other:?}")),
        })
    }

    fn console(&self) -> Result<Look, PlatformError> {
        let said = self.target.clone_console(self.clone)?;
        let judged = self.check.judge_console(&said);
        if judged.is_err() {
            // It is known whether the guest can still say it.
            self.target.clone_takes(self.clone, 0)?;
        }
        Ok(judged.into())
    }

    fn files(
        &self,
        sums: &std::collections::BTreeMap<String, String>,
    ) -> Result<Look, PlatformError> {
        for (path, wanted) in sums {
            let path = path.clone();
            match self.agent(&AgentQuestion::Sha256 { path: path.clone() })? {
                AgentAnswer::Sha256(found) if found == *wanted => {}
                AgentAnswer::Sha256(found) => {
                    return Ok(Look::NotYet(format!(
                        "{path} has SHA-256 {found:.12}…, not {wanted:.12}…"
                    )));
                }
                other => return Ok(Look::Never(format!("the agent answered {other:?}"))),
            }
        }
        Ok(Look::Passed(format!("{} file(s) as declared", sums.len())))
    }
}
