//! What a validation found, kept as evidence.

use serde::{Deserialize, Serialize};

use super::check::CheckResult;
use crate::units::{OperationId, ShadowId, Timestamp, VmId, printable};

/// The end of the console that is kept.
const CONSOLE_BYTES: usize = 8 << 10;

/// One validation of one point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    pub operation: OperationId,
    pub shadow: ShadowId,
    pub vm: VmId,
    pub point: u64,
    /// When the point was taken.
    pub point_at: Timestamp,
    pub by: String,
    pub started_at: Timestamp,
    /// When the verdict stood.
    pub ended_at: Option<Timestamp>,
    /// `None` while it is being tried.
    pub verdict: Option<Conclusion>,
    /// Why it failed or could not be tried.
    pub why: Option<String>,
    pub results: Vec<CheckResult>,
    /// What the clone wrote to its serial console, the end of it.
    pub console: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Conclusion {
    Passed,
    Failed,
    /// It could not be tried to its end; nothing is known.
    Inconclusive,
}

impl Proof {
    /// Takes a check's result; one that is done again after a crash replaces what it said before.
    pub fn take(&mut self, index: usize, result: CheckResult) {
        if index < self.results.len() {
            self.results[index] = result;
            self.results.truncate(index + 1);
        } else {
            self.results.push(result);
        }
    }

    /// All checks are done.
    pub fn conclude(&mut self, at: Timestamp) {
        let failed: Vec<String> = self
            .results
            .iter()
            .filter(|result| !result.passed)
            .map(|result| format!("{}: {}", result.check, result.seen))
            .collect();
        self.ended_at = Some(at);
        if failed.is_empty() {
            self.verdict = Some(Conclusion::Passed);
            self.why = None;
        } else {
            self.verdict = Some(Conclusion::Failed);
            self.why = Some(failed.join("; "));
        }
    }

    /// It ends without a verdict, unless it has one already.
    pub fn give_up(&mut self, at: Timestamp, why: &str) {
        if self.verdict.is_none() {
            self.verdict = Some(Conclusion::Inconclusive);
            self.ended_at = Some(at);
            self.why = Some(printable(why));
        }
    }

    pub fn passed(&self) -> bool {
        self.verdict == Some(Conclusion::Passed)
    }

    /// It says something about the point.
    pub fn concluded(&self) -> bool {
        matches!(self.verdict, Some(Conclusion::Passed | Conclusion::Failed))
    }

    /// Keeps the end of the console, with everything that a terminal would act on made visible.
    pub fn keep_console(&mut self, console: &str) {
        let lines: Vec<String> = console.lines().map(printable).collect();
        let text = lines.join("\n");
        let start = text.len().saturating_sub(CONSOLE_BYTES);
        let start = (start..=text.len())
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(text.len());
        text[start..].clone_into(&mut self.console);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::check::Check;

    fn proof() -> Proof {
        Proof {
            operation: "op-1".into(),
            shadow: "s-1".into(),
            vm: "a/1".into(),
            point: 3,
            point_at: Timestamp(0),
            by: "me".to_owned(),
            started_at: Timestamp(0),
            ended_at: None,
            verdict: None,
            why: None,
            results: Vec::new(),
            console: String::new(),
        }
    }

    fn result(passed: bool) -> CheckResult {
        let verdict = if passed {
            Ok("fine".to_owned())
        } else {
            Err("HTTP 503".to_owned())
        };
        CheckResult::new(&Check::Agent, verdict, 5)
    }

    #[test]
    fn one_failed_check_fails_the_proof_and_is_named() {
        let mut proof = proof();
        proof.take(0, result(true));
        proof.take(1, result(false));
        proof.conclude(Timestamp(9));
        assert_eq!(proof.verdict, Some(Conclusion::Failed));
        assert_eq!(proof.why.as_deref(), Some("guest agent answers: HTTP 503"));
        proof.give_up(Timestamp(10), "cancelled");
        assert_eq!(proof.verdict, Some(Conclusion::Failed), "a verdict stays");
    }

    #[test]
    fn a_check_that_is_done_again_counts_once() {
        let mut proof = proof();
        proof.take(0, result(false));
        proof.take(0, result(true));
        proof.conclude(Timestamp(9));
        assert!(proof.passed());
        assert_eq!(proof.results.len(), 1);
    }

    #[test]
    fn the_consoles_end_is_kept_and_made_printable() {
        let mut proof = proof();
        proof.keep_console(&format!(
            "{}\nlast \u{1b}[2J é\n",
            "é".repeat(CONSOLE_BYTES)
        ));
        assert!(proof.console.len() <= CONSOLE_BYTES);
        assert!(proof.console.contains("last"));
        assert!(!proof.console.contains('\u{1b}'));
    }
}
