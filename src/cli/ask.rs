//! A question on the terminal.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::problem::Problem;

/// Whether the answer is exactly `word`.
///
/// # Errors
/// When nobody can be asked.
pub fn typed(question: &str, word: &str, without: impl Fn() -> String) -> Result<bool, Problem> {
    Ok(answer(&format!("{question} "), without)?.trim() == word)
}

/// Whether the answer is yes. Where there is no terminal nobody can say so, and `without` tells what to do instead.
///
/// # Errors
/// When nobody can be asked.
pub fn yes(question: &str, without: impl Fn() -> String) -> Result<bool, Problem> {
    let answer = answer(&format!("{question} [y/N] "), without)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn answer(question: &str, without: impl Fn() -> String) -> Result<String, Problem> {
    if !io::stdin().is_terminal() {
        return Err(Problem::refused(
            "Nothing was changed.",
            "It is not approved, and there is no terminal to ask on.",
            without(),
        ));
    }
    let unanswered = |error: io::Error| {
        Problem::refused(
            "Nothing was changed.",
            format!("It is not approved: {error}."),
            "Ask again, or give --yes.",
        )
    };
    let mut stderr = io::stderr().lock();
    stderr
        .write_all(question.as_bytes())
        .and_then(|()| stderr.flush())
        .map_err(unanswered)?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(unanswered)?;
    Ok(answer)
}
